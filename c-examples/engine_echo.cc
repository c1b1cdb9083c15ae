/*
 * A server in C++: the engine's events, and connections that free themselves.
 *
 *     engine_echo ADDRESS:PORT CHAIN.pem KEY.pem CA.pem COUNT
 *
 * It prints its port once it listens, sends back what it gets, tells of each
 * client how it came, and ends when COUNT of them have come and gone.
 */
#include <array>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <unordered_map>

#include <sealwire.hpp>

namespace {

using Connections = std::unordered_map<sealwire_conn *, sealwire::Connection>;

std::string file(const char *path)
{
    std::ifstream stream(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
}

void tell(const sealwire::Connection &conn)
{
    const std::string subject = conn.peer_subject();
    std::cout << conn.suite() << " " << (subject.empty() ? "nobody" : subject);
    for (const auto &name : conn.peer_alt_names())
        std::cout << " " << name;
    std::cout << std::endl;
}

/* Each turn sends what it reads, and so a client that reads nothing is the only one that can fill the queue. */
void echo(sealwire::Connection &conn)
{
    std::array<char, 16384> buf;
    const auto got = conn.read(buf.data(), buf.size());
    if (got.result == SEALWIRE_EOF)
        conn.shutdown();
    else if (got && conn.write(buf.data(), got.len).len < got.len)
        throw std::runtime_error("the client does not read what it asks for");
}

}  // namespace

int main(int argc, char **argv)
try {
    if (argc != 6) {
        std::cerr << "usage: engine_echo ADDRESS:PORT CHAIN.pem KEY.pem CA.pem COUNT\n";
        return 2;
    }
    sealwire::Engine engine;
    const auto config = sealwire::ConfigBuilder::server()
                            .set_identity_pem(file(argv[2]), file(argv[3]))
                            .add_roots_pem(file(argv[4]))
                            .build();
    const auto listener = engine.listen(config, argv[1]);
    std::cout << listener.port() << std::endl;

    Connections connections;
    std::array<sealwire_event, 64> events;
    for (int left = std::stoi(argv[5]); left > 0;) {
        const std::size_t count = engine.wait(events);
        for (std::size_t at = 0; at < count; at++) {
            sealwire_conn *const conn = events[at].conn;
            switch (events[at].kind) {
            case SEALWIRE_EVENT_ACCEPTED:
                connections.emplace(conn, sealwire::Connection(conn));
                break;
            case SEALWIRE_EVENT_READY:
                tell(connections.at(conn));
                break;
            case SEALWIRE_EVENT_READABLE:
                echo(connections.at(conn));
                break;
            case SEALWIRE_EVENT_CLOSED:
                connections.erase(conn);
                left--;
                break;
            default:
                break;
            }
        }
    }
    return 0;
} catch (const std::exception &error) {
    std::cerr << error.what() << "\n";
    return 1;
}
