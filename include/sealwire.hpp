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

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>

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

    sealwire_conn *get() const noexcept { return conn_.get(); }

private:
    sealwire_result check(sealwire_result result) const
    {
        if (result < 0)
            throw Error(result, detail::text<sealwire_conn>(sealwire_conn_error_text, get()));
        return result;
    }

    std::unique_ptr<sealwire_conn, detail::Free> conn_;
};

static_assert(sizeof(Config) == sizeof(void *), "a handle is as large as a pointer");
static_assert(sizeof(ConfigBuilder) == sizeof(void *), "a handle is as large as a pointer");
static_assert(sizeof(Connection) == sizeof(void *), "a handle is as large as a pointer");

}  // namespace sealwire

#endif
