/*
 * Sealwire for C++11 and later: the handles of sealwire.h as values that free
 * themselves. Each is as large as a pointer, and moves and does not copy.
 *
 * What is an error in C is thrown here, as sealwire::Error; what is a condition
 * (SEALWIRE_WANT_READ, SEALWIRE_WANT_WRITE, SEALWIRE_EOF) is returned. The
 * contract at the top of sealwire.h holds. For what has no wrapper, get() gives
 * the handle.
 */
#ifndef SEALWIRE_HPP
#define SEALWIRE_HPP

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "sealwire.h"

namespace sealwire {

/* A result below 0, with the words that the handle had for it. */
class Error : public std::runtime_error {
public:
    Error(sealwire_result code, const std::string &text)
        : std::runtime_error(text.empty() ? sealwire_result_name(code) : text), code_(code) {}

    sealwire_result code() const noexcept { return code_; }

private:
    sealwire_result code_;
};

/* What a call that moves bytes came to: SEALWIRE_OK or a condition, and how many bytes were moved. */
struct Moved {
    sealwire_result result;
    std::size_t len;

    explicit operator bool() const noexcept { return result == SEALWIRE_OK; }
};

namespace detail {

struct Free {
    void operator()(sealwire_config_builder *builder) const noexcept { sealwire_config_builder_free(builder); }
    void operator()(const sealwire_config *config) const noexcept { sealwire_config_free(config); }
    void operator()(sealwire_conn *conn) const noexcept { sealwire_conn_free(conn); }
    void operator()(sealwire_engine *engine) const noexcept { sealwire_engine_free(engine); }
    void operator()(sealwire_listener *listener) const noexcept { sealwire_listener_free(listener); }
};

/* The words of a handle, by its function with snprintf's rule. */
template <typename Handle>
std::string text(std::size_t (*copy)(const Handle *, char *, std::size_t), const Handle *handle)
{
    std::string words(copy(handle, nullptr, 0), '\0');
    if (!words.empty()) {
        words.resize(words.size() + 1);
        words.resize(copy(handle, &words[0], words.size()));
    }
    return words;
}

inline void check(sealwire_result result)
{
    if (result == SEALWIRE_ERR_NO_MEMORY)
        throw std::bad_alloc();
    if (result < 0)
        throw Error(result, std::string());
}

}  // namespace detail

/* What connections share. It may go before they do. */
class Config {
public:
    explicit Config(const sealwire_config *config) noexcept : config_(config) {}

    const sealwire_config *get() const noexcept { return config_.get(); }

private:
    std::unique_ptr<const sealwire_config, detail::Free> config_;
};

/* The options of a configuration, while they are being collected. */
class ConfigBuilder {
public:
    static ConfigBuilder client() { return ConfigBuilder(sealwire_config_builder_new_client); }
    static ConfigBuilder server() { return ConfigBuilder(sealwire_config_builder_new_server); }

    ConfigBuilder &add_roots_pem(const std::string &pem)
    {
        return keep(sealwire_config_builder_add_roots_pem(get(), bytes(pem), pem.size()));
    }

    ConfigBuilder &add_roots_file(const std::string &path)
    {
        return keep(sealwire_config_builder_add_roots_file(get(), path.c_str()));
    }

    ConfigBuilder &add_roots_system()
    {
        return keep(sealwire_config_builder_add_roots_system(get()));
    }

    ConfigBuilder &set_identity_pem(const std::string &chain, const std::string &key)
    {
        return keep(sealwire_config_builder_set_identity_pem(get(), bytes(chain), chain.size(), bytes(key),
                                                             key.size()));
    }

    ConfigBuilder &set_handshake_timeout_ms(std::uint32_t timeout_ms)
    {
        return keep(sealwire_config_builder_set_handshake_timeout_ms(get(), timeout_ms));
    }

    ConfigBuilder &danger_accept_any_certificate()
    {
        return keep(sealwire_config_builder_danger_accept_any_certificate(get()));
    }

    Config build() const
    {
        const sealwire_config *config = nullptr;
        check(sealwire_config_builder_build(get(), &config));
        return Config(config);
    }

    sealwire_config_builder *get() const noexcept { return builder_.get(); }

private:
    explicit ConfigBuilder(sealwire_result (*make)(sealwire_config_builder **))
    {
        sealwire_config_builder *builder = nullptr;
        detail::check(make(&builder));
        builder_.reset(builder);
    }

    static const std::uint8_t *bytes(const std::string &text)
    {
        return reinterpret_cast<const std::uint8_t *>(text.data());
    }

    void check(sealwire_result result) const
    {
        if (result < 0)
            throw Error(result, detail::text<sealwire_config_builder>(sealwire_config_builder_error_text, get()));
    }

    ConfigBuilder &keep(sealwire_result result)
    {
        check(result);
        return *this;
    }

    std::unique_ptr<sealwire_config_builder, detail::Free> builder_;
};

/* One end of a connection. */
class Connection {
public:
    static Connection client(const Config &config, const std::string &server_name)
    {
        sealwire_conn *conn = nullptr;
        detail::check(sealwire_conn_new_client(config.get(), server_name.c_str(), &conn));
        return Connection(conn);
    }

    static Connection server(const Config &config)
    {
        sealwire_conn *conn = nullptr;
        detail::check(sealwire_conn_new_server(config.get(), &conn));
        return Connection(conn);
    }

    explicit Connection(sealwire_conn *conn) noexcept : conn_(conn) {}

    void set_fd(int fd) { check(sealwire_conn_set_fd(get(), fd)); }
    void set_plaintext() { check(sealwire_conn_set_plaintext(get())); }
    void start_tls() { check(sealwire_conn_start_tls(get())); }

    sealwire_result handshake() { return check(sealwire_conn_handshake(get())); }
    sealwire_result flush() { return check(sealwire_conn_flush(get())); }
    sealwire_result shutdown() { return check(sealwire_conn_shutdown(get())); }

    Moved read(void *buf, std::size_t len)
    {
        std::size_t read = 0;
        const sealwire_result result = check(sealwire_conn_read(get(), buf, len, &read));
        return Moved{result, read};
    }

    Moved write(const void *buf, std::size_t len)
    {
        std::size_t written = 0;
        const sealwire_result result = check(sealwire_conn_write(get(), buf, len, &written));
        return Moved{result, written};
    }

    Moved write(const std::string &data) { return write(data.data(), data.size()); }

    std::size_t pending() const noexcept { return sealwire_conn_pending(get()); }
    std::size_t queued() const noexcept { return sealwire_conn_queued(get()); }
    bool wants_read() const noexcept { return sealwire_conn_wants_read(get()); }
    bool wants_write() const noexcept { return sealwire_conn_wants_write(get()); }
    int timeout_ms() const noexcept { return sealwire_conn_timeout_ms(get()); }

    /* On a connection of an engine. */
    void set_reading(bool is_on) { check(sealwire_conn_set_reading(get(), is_on)); }
    std::string peer_address() const { return text(sealwire_conn_peer_address); }

    /* What the handshake came to; empty, 0 or false before it is complete. */
    int version() const noexcept { return sealwire_conn_version(get()); }
    std::string suite() const { return text(sealwire_conn_suite); }
    std::string openssl_suite() const { return text(sealwire_conn_openssl_suite); }
    std::string group() const { return text(sealwire_conn_group); }
    std::string server_name() const { return text(sealwire_conn_server_name); }
    std::string application_protocol() const { return text(sealwire_conn_application_protocol); }
    bool is_resumed() const noexcept { return sealwire_conn_is_resumed(get()); }

    /* The peer's certificate; empty or 0 where it has shown none. */
    std::string peer_subject() const { return text(sealwire_conn_peer_subject); }
    std::string peer_issuer() const { return text(sealwire_conn_peer_issuer); }
    std::uint64_t peer_not_before_s() const noexcept { return sealwire_conn_peer_not_before_s(get()); }
    std::uint64_t peer_not_after_s() const noexcept { return sealwire_conn_peer_not_after_s(get()); }

    std::vector<std::string> peer_alt_names() const
    {
        std::vector<std::string> names;
        for (;;) {
            const std::size_t index = names.size();
            std::string name(sealwire_conn_peer_alt_name(get(), index, nullptr, 0) + 1, '\0');
            name.resize(sealwire_conn_peer_alt_name(get(), index, &name[0], name.size()));
            if (name.empty())
                return names;
            names.push_back(name);
        }
    }

    /* Throws where the peer has shown no certificate. */
    std::array<std::uint8_t, 32> peer_fingerprint() const
    {
        std::array<std::uint8_t, 32> sha256;
        check(sealwire_conn_peer_fingerprint(get(), sha256.data()));
        return sha256;
    }

    sealwire_conn *get() const noexcept { return conn_.get(); }

private:
    std::string text(std::size_t (*copy)(const sealwire_conn *, char *, std::size_t)) const
    {
        return detail::text<sealwire_conn>(copy, get());
    }

    sealwire_result check(sealwire_result result) const
    {
        if (result < 0)
            throw Error(result, detail::text<sealwire_conn>(sealwire_conn_error_text, get()));
        return result;
    }

    std::unique_ptr<sealwire_conn, detail::Free> conn_;
};

/* Where an engine accepts connections. */
class Listener {
public:
    explicit Listener(sealwire_listener *listener) noexcept : listener_(listener) {}

    std::uint16_t port() const noexcept { return sealwire_listener_port(get()); }
    std::string address() const { return detail::text<sealwire_listener>(sealwire_listener_address, get()); }

    sealwire_listener *get() const noexcept { return listener_.get(); }

private:
    std::unique_ptr<sealwire_listener, detail::Free> listener_;
};

/* The connections and listeners of one thread. An accepted connection is its event's, to be made a Connection of. */
class Engine {
public:
    explicit Engine(const sealwire_engine_options *options = nullptr)
    {
        sealwire_engine *engine = nullptr;
        detail::check(sealwire_engine_new(options, &engine));
        engine_.reset(engine);
    }

    Listener listen(const Config &config, const std::string &address,
                    const sealwire_listen_options *options = nullptr)
    {
        sealwire_listener *listener = nullptr;
        check(sealwire_engine_listen(get(), config.get(), address.c_str(), options, &listener));
        return Listener(listener);
    }

    void connect(Connection &conn, const std::string &address, std::uint32_t timeout_ms)
    {
        check(sealwire_engine_connect(get(), conn.get(), address.c_str(), timeout_ms));
    }

    /* The descriptor is the engine's from here on, unless this throws. */
    void attach(Connection &conn, int fd) { check(sealwire_engine_attach(get(), conn.get(), fd)); }

    /* The number of events that happened, at most `max`. */
    std::size_t wait(sealwire_event *events, std::size_t max, int timeout_ms = -1)
    {
        std::size_t count = 0;
        check(sealwire_engine_wait(get(), timeout_ms, events, max, &count));
        return count;
    }

    template <std::size_t Max>
    std::size_t wait(std::array<sealwire_event, Max> &events, int timeout_ms = -1)
    {
        return wait(events.data(), Max, timeout_ms);
    }

    /* For any thread, and for signal handlers. */
    void wake() const noexcept { sealwire_engine_wake(get()); }

    int fd() const noexcept { return sealwire_engine_fd(get()); }
    int timeout_ms() const noexcept { return sealwire_engine_timeout_ms(get()); }
    std::size_t conn_count() const noexcept { return sealwire_engine_conn_count(get()); }
    std::string describe() const { return detail::text<sealwire_engine>(sealwire_engine_describe, get()); }

    sealwire_engine *get() const noexcept { return engine_.get(); }

private:
    void check(sealwire_result result) const
    {
        if (result < 0)
            throw Error(result, detail::text<sealwire_engine>(sealwire_engine_error_text, get()));
    }

    std::unique_ptr<sealwire_engine, detail::Free> engine_;
};

static_assert(sizeof(Config) == sizeof(void *), "a handle is as large as a pointer");
static_assert(sizeof(ConfigBuilder) == sizeof(void *), "a handle is as large as a pointer");
static_assert(sizeof(Connection) == sizeof(void *), "a handle is as large as a pointer");
static_assert(sizeof(Listener) == sizeof(void *), "a handle is as large as a pointer");
static_assert(sizeof(Engine) == sizeof(void *), "a handle is as large as a pointer");

}  // namespace sealwire

#endif
