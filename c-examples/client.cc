/*
 * A client in C++: handles free themselves, and errors are thrown.
 *
 *     client HOST PORT CA.pem TEXT
 */
#include <iostream>
#include <string>

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sealwire.hpp>

namespace {

class Socket {
public:
    Socket(const char *host, const char *port)
    {
        addrinfo hints{}, *found = nullptr;
        hints.ai_socktype = SOCK_STREAM;
        if (getaddrinfo(host, port, &hints, &found) != 0)
            throw std::runtime_error("no such host");
        fd_ = socket(found->ai_family, found->ai_socktype, found->ai_protocol);
        const bool is_connected = connect(fd_, found->ai_addr, found->ai_addrlen) == 0;
        freeaddrinfo(found);
        if (!is_connected) {
            close(fd_);
            throw std::runtime_error("no connection");
        }
    }
    Socket(const Socket &) = delete;
    Socket &operator=(const Socket &) = delete;
    ~Socket() { close(fd_); }

    int fd() const { return fd_; }

private:
    int fd_;
};

}  // namespace

int main(int argc, char **argv)
try {
    if (argc != 5) {
        std::cerr << "usage: client HOST PORT CA.pem TEXT\n";
        return 2;
    }
    const auto config = sealwire::ConfigBuilder::client().add_roots_file(argv[3]).build();
    /* The socket comes first, so that it goes last. */
    const Socket socket(argv[1], argv[2]);
    auto conn = sealwire::Connection::client(config, argv[1]);
    conn.set_fd(socket.fd());
    conn.write(std::string(argv[4]) + "\n");

    std::string answer;
    char buf[1024];
    while (answer.find('\n') == std::string::npos) {
        const auto got = conn.read(buf, sizeof buf);
        if (!got)
            break;
        answer.append(buf, got.len);
    }
    std::cout << answer;
    conn.shutdown();
    return 0;
} catch (const sealwire::Error &error) {
    std::cerr << sealwire_result_name(error.code()) << ": " << error.what() << "\n";
    return 1;
} catch (const std::exception &error) {
    std::cerr << error.what() << "\n";
    return 1;
}
