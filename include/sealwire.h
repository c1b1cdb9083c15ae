/*
 * Sealwire: encrypted transport for database connections.
 *
 * Contents, in the order of this file
 *   versions          sealwire_version_number
 *   results           sealwire_result, sealwire_result_name
 *   configurations    sealwire_config_builder_*, sealwire_config_*
 *   connections       sealwire_conn_*
 *
 * The contract
 *
 * Results    A call returns 0 when it is done, a positive condition when
 *            nothing is wrong and the peer has to act first, and a negative
 *            error. After an error only the facts, the words for the error
 *            and _free remain of a connection. A call that fails for its
 *            arguments (NULL, ARGUMENT, STATE) changes nothing.
 * Ownership  _new gives a handle; only the _free of the same name takes it
 *            back, once. No other call consumes a handle. NULL is fine to
 *            free. Handles may be freed in any order.
 * Buffers    The library keeps no pointer to the caller's memory when a call
 *            has returned. What it hands out is borrowed until the next call
 *            that takes the same handle non-const. Out-parameters come last,
 *            end in _out, and are written only where the result is 0 or more.
 * Threads    A handle is used by one thread at a time; a second one at the
 *            same time is told SEALWIRE_ERR_THREAD. Configurations are shared
 *            freely. An engine and its connections belong to the thread that
 *            made the engine.
 * Signals    Sends raise no SIGPIPE. Calls that a signal interrupts are
 *            taken up again. Descriptors made by the library close on exec.
 *            A child of fork may only _exit or exec: handles of its parent
 *            answer SEALWIRE_ERR_FORKED.
 * Errors     The words for the last failed call are in the handle, whichever
 *            thread asks (_error_text, _os_error, _alert).
 */


#ifndef SEALWIRE_H
#define SEALWIRE_H

#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

/* What stands before each function: a calling program may define it. */
#ifndef SEALWIRE_API
#define SEALWIRE_API
#endif


/**
 * The major version of the header. Versions below 1 may change in every minor version.
 */
#define SEALWIRE_VERSION_MAJOR 0

/**
 * The minor version of the header.
 */
#define SEALWIRE_VERSION_MINOR 1

/**
 * The patch version of the header.
 */
#define SEALWIRE_VERSION_PATCH 0

/**
 * The version of the header as one number that grows: major * 65536 + minor * 256 + patch.
 */
#define SEALWIRE_VERSION_NUMBER (((SEALWIRE_VERSION_MAJOR << 16) | (SEALWIRE_VERSION_MINOR << 8)) | SEALWIRE_VERSION_PATCH)

/**
 * What a call came to. Zero: done. Positive: nothing is wrong; act, then call again. Negative: an
 * error, in classes: -1xx the caller, -2xx the system or the link, -3xx TLS, -4xx the peer's
 * certificate, -5xx the database protocol, -9xx this library.
 *
 * Codes are never given a new meaning, and later versions may add some: treat one that is unknown
 * by its sign and its class.
 */
enum sealwire_result
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Done.
   */
  SEALWIRE_OK = 0,
  /**
   * The peer has to send something first: wait until the descriptor is readable.
   */
  SEALWIRE_WANT_READ = 1,
  /**
   * The peer has to take something first: wait until the descriptor is writable.
   */
  SEALWIRE_WANT_WRITE = 2,
  /**
   * The peer ended its side cleanly; all that it sent has been read.
   */
  SEALWIRE_EOF = 3,
  /**
   * A pointer is NULL that may not be.
   */
  SEALWIRE_ERR_NULL = -100,
  /**
   * The handle is not in a state for this call: before its time, after its end, or after an error.
   */
  SEALWIRE_ERR_STATE = -101,
  /**
   * A value is out of its range, or a pointer is not aligned.
   */
  SEALWIRE_ERR_ARGUMENT = -102,
  /**
   * Another thread is using the handle at this moment, or the handle belongs to another thread.
   */
  SEALWIRE_ERR_THREAD = -103,
  /**
   * The handle was made before fork, by the parent. A child that used it would repeat nonces.
   */
  SEALWIRE_ERR_FORKED = -104,
  /**
   * A certificate, key or option of the configuration cannot be used.
   */
  SEALWIRE_ERR_CONFIG = -105,
  /**
   * A system call failed; sealwire_conn_os_error() has errno.
   */
  SEALWIRE_ERR_IO = -200,
  /**
   * The stream ended without the peer's close_notify: data may be missing at its end.
   */
  SEALWIRE_ERR_TRUNCATED = -201,
  /**
   * A deadline passed.
   */
  SEALWIRE_ERR_TIMEOUT = -202,
  /**
   * The peer broke the TLS protocol.
   */
  SEALWIRE_ERR_TLS_PROTOCOL = -300,
  /**
   * The peer gave up and sent an alert; sealwire_conn_alert() has its number.
   */
  SEALWIRE_ERR_TLS_ALERT = -301,
  /**
   * The peer speaks something else than TLS.
   */
  SEALWIRE_ERR_NOT_TLS = -302,
  /**
   * The ends share no version, suite, group or signature scheme.
   */
  SEALWIRE_ERR_TLS_INCOMPATIBLE = -303,
  /**
   * The peer's certificate cannot be used: purpose, version, algorithm, encoding or signature.
   */
  SEALWIRE_ERR_CERT_UNUSABLE = -400,
  /**
   * The peer's certificate has expired.
   */
  SEALWIRE_ERR_CERT_EXPIRED = -401,
  /**
   * The peer's certificate is not valid yet.
   */
  SEALWIRE_ERR_CERT_NOT_YET_VALID = -402,
  /**
   * The peer's certificate is for another name.
   */
  SEALWIRE_ERR_CERT_NAME = -403,
  /**
   * No trusted authority issued the peer's certificate.
   */
  SEALWIRE_ERR_CERT_UNKNOWN_ISSUER = -404,
  /**
   * The peer's certificate was revoked, or may have been.
   */
  SEALWIRE_ERR_CERT_REVOKED = -405,
  /**
   * The peer's certificate is good, but not among those that may connect.
   */
  SEALWIRE_ERR_CERT_NOT_ALLOWED = -406,
  /**
   * The peer had to present a certificate and did not.
   */
  SEALWIRE_ERR_CERT_MISSING = -407,
  /**
   * The account may not log in over such a connection.
   */
  SEALWIRE_ERR_ACCOUNT_DENIED = -408,
  /**
   * The peer broke the database protocol.
   */
  SEALWIRE_ERR_FRAME = -500,
  /**
   * A packet or a number of packets is beyond its bound.
   */
  SEALWIRE_ERR_FRAME_TOO_LARGE = -501,
  /**
   * Memory or another resource of this process is used up.
   */
  SEALWIRE_ERR_NO_MEMORY = -900,
  /**
   * A defect of this library. The handle is good for its facts and its _free only.
   */
  SEALWIRE_ERR_INTERNAL = -901,
  /**
   * A defect of this library was caught. The handle is good for its _free only.
   */
  SEALWIRE_ERR_PANIC = -902,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sealwire_result sealwire_result;
#else
typedef int32_t sealwire_result;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What connections share: whom to trust, who we are, which versions and suites.
 *
 * It is immutable, and shared by any number of connections and threads. A connection keeps what it
 * began with, so the handle may be freed while connections live.
 *
 * Made by sealwire_config_builder_build(), freed by sealwire_config_free().
 */
typedef struct sealwire_config sealwire_config;

/**
 * The options of a configuration, while they are being collected.
 *
 * Made by sealwire_config_builder_new_client() or _new_server(), freed by
 * sealwire_config_builder_free(), after a build too. One thread at a time.
 */
typedef struct sealwire_config_builder sealwire_config_builder;

/**
 * One end of a connection.
 *
 * Made by sealwire_conn_new_client() or _new_server(), or accepted by an engine; freed by
 * sealwire_conn_free(). It begins with its first use: until then it can be given a transport, and
 * be set to begin in plaintext. One thread at a time.
 *
 * Four things can move its bytes: a descriptor of the caller, blocking or not
 * (sealwire_conn_set_fd()), an engine (sealwire_engine_attach()), or the caller itself
 * (sealwire_conn_feed() and sealwire_conn_output()), which is what happens where nothing else was
 * asked for.
 */
typedef struct sealwire_conn sealwire_conn;

/**
 * One packet of MySQL's protocol. A payload of 0xffffff bytes is continued by the next packet.
 */
typedef struct {
  /**
   * The payload.
   */
  const uint8_t *payload;
  /**
   * Its length, in bytes.
   */
  size_t payload_len;
  /**
   * Rises by one with every packet of either side, and begins at 0 with each command.
   */
  uint8_t sequence_id;
} sealwire_mysql_packet;

/**
 * What a server says first.
 */
typedef struct {
  /**
   * What it offers, CLIENT_* with MariaDB's extended half above.
   */
  uint64_t capabilities;
  /**
   * What KILL calls the connection.
   */
  uint32_t thread_id;
  /**
   * SERVER_STATUS_*.
   */
  uint16_t status;
  /**
   * The low byte of its default collation.
   */
  uint8_t collation;
  /**
   * What the proof of a password covers.
   */
  uint8_t nonce[20];
  /**
   * Its version, ended by NUL and cut where it is longer.
   */
  char server_version[64];
  /**
   * The plugin that most accounts use, ended by NUL and cut where it is longer; empty where it
   * names none.
   */
  char plugin[64];
} sealwire_mysql_greeting;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of the library that is linked, to be compared with ::SEALWIRE_VERSION_NUMBER of the
 * header that was compiled against.
 *
 * Any thread, at any time.
 */
SEALWIRE_API
uint32_t sealwire_version_number(void);

/**
 * The version of the library as text, such as "0.1.0". It lives for ever.
 *
 * Any thread, at any time.
 */
SEALWIRE_API const char *sealwire_version(void);

/**
 * The name of a result, such as "SEALWIRE_WANT_READ"; "unknown result" for a number that is none.
 * It lives for ever.
 *
 * Any thread, at any time.
 */
SEALWIRE_API
const char *sealwire_result_name(int result);

/**
 * Frees a configuration. Connections that were made with it live on. NULL is fine.
 *
 * Any thread, once.
 */
SEALWIRE_API
void sealwire_config_free(const sealwire_config *config);

/**
 * Begins the configuration of clients. As it stands, servers are verified in full: a chain to a
 * trusted authority, dates, and the name; authorities have to be added.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_new_client(sealwire_config_builder **builder_out);

/**
 * Begins the configuration of servers. It needs an identity. As it stands, clients are asked for a
 * certificate where authorities were added, and may do without.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_new_server(sealwire_config_builder **builder_out);

/**
 * Frees a builder. NULL is fine. Configurations that it built live on.
 */
SEALWIRE_API
void sealwire_config_builder_free(sealwire_config_builder *builder);

/**
 * Adds trusted certificate authorities: one or more certificates as PEM.
 *
 * ::SEALWIRE_ERR_CONFIG where there is none in it or one cannot be read.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_add_roots_pem(sealwire_config_builder *builder,
                                                      const uint8_t *pem,
                                                      size_t pem_len);

/**
 * Sets who this end is: its certificate chain, leaf first, and its private key, both as PEM. Keys
 * may be PKCS#8, PKCS#1 or SEC1.
 *
 * ::SEALWIRE_ERR_CONFIG where one cannot be read or they do not belong together.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_set_identity_pem(sealwire_config_builder *builder,
                                                         const uint8_t *chain,
                                                         size_t chain_len,
                                                         const uint8_t *key,
                                                         size_t key_len);

/**
 * Sets the time from the first use of a connection to the end of its handshake, in milliseconds.
 * 10,000 where it is not set; 0 is an error.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_set_handshake_timeout_ms(sealwire_config_builder *builder,
                                                                 uint32_t timeout_ms);

/**
 * Accepts any server certificate: whoever answers is believed to be the server, and anybody on the
 * path can read and change everything. For clients only.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_danger_accept_any_certificate(sealwire_config_builder *builder);

/**
 * Checks the options together and makes a configuration of them. The builder stays, to be freed or
 * built from again.
 *
 * ::SEALWIRE_ERR_CONFIG where they do not go together; sealwire_config_builder_error_text() says
 * why.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_build(const sealwire_config_builder *builder,
                                              const sealwire_config **config_out);

/**
 * Copies the words for the builder's last failed call to `buf`, cut to `len` and ended by NUL, and
 * returns their whole length without the NUL (snprintf's rule). 0 where no call failed.
 */
SEALWIRE_API
size_t sealwire_config_builder_error_text(const sealwire_config_builder *builder,
                                          char *buf,
                                          size_t len);

/**
 * Begins the configuration of clients. As it stands, servers are verified in full: a chain to a
 * trusted authority, dates, and the name; authorities have to be added.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_new_client(sealwire_config_builder **builder_out);

/**
 * Begins the configuration of servers. It needs an identity. As it stands, clients are asked for a
 * certificate where authorities were added, and may do without.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_new_server(sealwire_config_builder **builder_out);

/**
 * Frees a builder. NULL is fine. Configurations that it built live on.
 */
SEALWIRE_API
void sealwire_config_builder_free(sealwire_config_builder *builder);

/**
 * Adds trusted certificate authorities: one or more certificates as PEM.
 *
 * ::SEALWIRE_ERR_CONFIG where there is none in it or one cannot be read.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_add_roots_pem(sealwire_config_builder *builder,
                                                      const uint8_t *pem,
                                                      size_t pem_len);

/**
 * Sets who this end is: its certificate chain, leaf first, and its private key, both as PEM. Keys
 * may be PKCS#8, PKCS#1 or SEC1.
 *
 * ::SEALWIRE_ERR_CONFIG where one cannot be read or they do not belong together.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_set_identity_pem(sealwire_config_builder *builder,
                                                         const uint8_t *chain,
                                                         size_t chain_len,
                                                         const uint8_t *key,
                                                         size_t key_len);

/**
 * Sets the time from the first use of a connection to the end of its handshake, in milliseconds.
 * 10,000 where it is not set; 0 is an error.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_set_handshake_timeout_ms(sealwire_config_builder *builder,
                                                                 uint32_t timeout_ms);

/**
 * Accepts any server certificate: whoever answers is believed to be the server, and anybody on the
 * path can read and change everything. For clients only.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_danger_accept_any_certificate(sealwire_config_builder *builder);

/**
 * Checks the options together and makes a configuration of them. The builder stays, to be freed or
 * built from again.
 *
 * ::SEALWIRE_ERR_CONFIG where they do not go together; sealwire_config_builder_error_text() says
 * why.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_build(const sealwire_config_builder *builder,
                                              const sealwire_config **config_out);

/**
 * Copies the words for the builder's last failed call to `buf`, cut to `len` and ended by NUL, and
 * returns their whole length without the NUL (snprintf's rule). 0 where no call failed.
 */
SEALWIRE_API
size_t sealwire_config_builder_error_text(const sealwire_config_builder *builder,
                                          char *buf,
                                          size_t len);

/**
 * Makes the client end of a connection to the server that is to be known as `server_name`: a DNS
 * name or an IP address. It may be NULL where the configuration does not look at names.
 *
 * ::SEALWIRE_ERR_ARGUMENT where it is neither, or the configuration is one of servers.
 */
SEALWIRE_API
sealwire_result sealwire_conn_new_client(const sealwire_config *config,
                                         const char *server_name,
                                         sealwire_conn **conn_out);

/**
 * Makes the server end of a connection.
 *
 * ::SEALWIRE_ERR_ARGUMENT where the configuration is one of clients.
 */
SEALWIRE_API
sealwire_result sealwire_conn_new_server(const sealwire_config *config,
                                         sealwire_conn **conn_out);

/**
 * Frees a connection; NULL is fine. Nothing is sent that was not sent before: call
 * sealwire_conn_shutdown() for an orderly end. A descriptor of the caller stays open.
 */
SEALWIRE_API
void sealwire_conn_free(sealwire_conn *conn);

/**
 * Lets the connection read from and write to `fd`, a connected stream socket, which stays the
 * caller's: it must be open until the connection is freed, and the caller closes it.
 *
 * On a blocking descriptor calls wait; SO_RCVTIMEO and SO_SNDTIMEO hold, and end them with
 * ::SEALWIRE_WANT_READ or ::SEALWIRE_WANT_WRITE. On one with O_NONBLOCK no call waits.
 *
 * ::SEALWIRE_ERR_STATE where the connection has begun or has a transport;
 * ::SEALWIRE_ERR_ARGUMENT where `fd` is no open socket.
 */
SEALWIRE_API
sealwire_result sealwire_conn_set_fd(sealwire_conn *conn,
                                     int fd);

/**
 * Lets the connection begin in plaintext, as protocols with an upgrade in their stream do;
 * sealwire_conn_start_tls() ends that.
 *
 * ::SEALWIRE_ERR_STATE where the connection has begun.
 */
SEALWIRE_API
sealwire_result sealwire_conn_set_plaintext(sealwire_conn *conn);

/**
 * Begins TLS on a connection that began in plaintext. What was read so far was plain; every byte
 * behind it, received already or not, belongs to TLS. What was written goes out in front.
 *
 * ::SEALWIRE_ERR_STATE where the connection is not in plaintext.
 */
SEALWIRE_API
sealwire_result sealwire_conn_start_tls(sealwire_conn *conn);

/**
 * Completes the handshake. Reading and writing do so by themselves.
 *
 * ::SEALWIRE_WANT_READ or ::SEALWIRE_WANT_WRITE where the peer has to act first.
 */
SEALWIRE_API
sealwire_result sealwire_conn_handshake(sealwire_conn *conn);

/**
 * Reads up to `len` bytes of plaintext; `*read_out` is at least 1 where the result is
 * ::SEALWIRE_OK and `len` is not 0.
 *
 * A read that filled `buf` may have left more behind, which no poll of the descriptor tells:
 * see sealwire_conn_pending() and sealwire_conn_timeout_ms().
 *
 * ::SEALWIRE_WANT_READ where nothing has arrived; ::SEALWIRE_EOF at the clean end of the stream;
 * ::SEALWIRE_ERR_TRUNCATED where it ended without close_notify.
 */
SEALWIRE_API
sealwire_result sealwire_conn_read(sealwire_conn *conn,
                                   void *buf,
                                   size_t len,
                                   size_t *read_out);

/**
 * Writes up to `len` bytes of plaintext, and tells in `*written_out` how many were taken. Those are
 * the library's: they are sent in order, and are not to be given again. The rest may be given in
 * a later call from any place. The memory is the caller's again when the call returns.
 *
 * Over a descriptor the bytes are sent at once as far as the socket takes them; what is left
 * (sealwire_conn_queued()) goes out with the next call, or with sealwire_conn_flush().
 *
 * ::SEALWIRE_WANT_WRITE or, in mid-handshake, ::SEALWIRE_WANT_READ where nothing was taken.
 */
SEALWIRE_API
sealwire_result sealwire_conn_write(sealwire_conn *conn,
                                    const void *buf,
                                    size_t len,
                                    size_t *written_out);

/**
 * Sends what was written and is still queued.
 *
 * ::SEALWIRE_WANT_WRITE where some of it could not be sent yet.
 */
SEALWIRE_API sealwire_result sealwire_conn_flush(sealwire_conn *conn);

/**
 * Ends this side with close_notify, behind what was written. The peer may go on sending, and what
 * it sends can be read.
 *
 * ::SEALWIRE_WANT_WRITE where some of it could not be sent yet: sealwire_conn_flush() goes on.
 */
SEALWIRE_API
sealwire_result sealwire_conn_shutdown(sealwire_conn *conn);

/**
 * Plaintext that can be read without waiting for the peer, in bytes; more may lie behind it.
 */
SEALWIRE_API
size_t sealwire_conn_pending(const sealwire_conn *conn);

/**
 * Bytes that were written and not sent, sealed or not.
 */
SEALWIRE_API size_t sealwire_conn_queued(const sealwire_conn *conn);

/**
 * True where the connection waits for its descriptor to become readable.
 */
SEALWIRE_API bool sealwire_conn_wants_read(const sealwire_conn *conn);

/**
 * True where the connection waits for its descriptor to become writable.
 */
SEALWIRE_API bool sealwire_conn_wants_write(const sealwire_conn *conn);

/**
 * How long to wait for the descriptor at most, in milliseconds, as poll() takes it: -1 for ever; 0
 * where something can be read without waiting, so that a loop which polls with it never hangs on
 * plaintext that the descriptor does not tell of. When the time has passed, any call judges the
 * deadline.
 */
SEALWIRE_API
int sealwire_conn_timeout_ms(const sealwire_conn *conn);

/**
 * Takes bytes that arrived, where the caller moves them, and tells in `*consumed_out` how many:
 * fewer than given where what arrived before has to be read first. `tls_len` 0 says that the
 * peer's stream has ended.
 *
 * ::SEALWIRE_ERR_STATE where the connection has another transport.
 */
SEALWIRE_API
sealwire_result sealwire_conn_feed(sealwire_conn *conn,
                                   const uint8_t *tls,
                                   size_t tls_len,
                                   size_t *consumed_out);

/**
 * The next bytes to send, where the caller moves them, and their number; 0 where there are none.
 * They are borrowed until the next call that takes the connection.
 */
SEALWIRE_API
size_t sealwire_conn_output(const sealwire_conn *conn,
                            const uint8_t **tls_out);

/**
 * Tells that the first `len` bytes of sealwire_conn_output() were sent.
 */
SEALWIRE_API
sealwire_result sealwire_conn_output_sent(sealwire_conn *conn,
                                          size_t len);

/**
 * errno of the connection's last failed call; 0 where it was no system call that failed.
 */
SEALWIRE_API
int sealwire_conn_os_error(const sealwire_conn *conn);

/**
 * The number of the TLS alert (RFC 8446 section 6) by which the peer gave up; -1 where it did not.
 */
SEALWIRE_API
int sealwire_conn_alert(const sealwire_conn *conn);

/**
 * Copies the words for the connection's last failed call to `buf`, cut to `len` and ended by NUL,
 * and returns their whole length without the NUL (snprintf's rule). 0 where no call failed.
 *
 * The words name certificates and reasons: for a log, or whoever runs this end; never for the peer.
 */
SEALWIRE_API
size_t sealwire_conn_error_text(const sealwire_conn *conn,
                                char *buf,
                                size_t len);

/**
 * Gives the next packet in `*packet_out`. The payload is borrowed until the next call that takes
 * the connection non-const.
 *
 * ::SEALWIRE_WANT_READ where it has not arrived in whole; ::SEALWIRE_EOF where the stream ended
 * cleanly in front of it; ::SEALWIRE_ERR_TRUNCATED where it ended within.
 */
SEALWIRE_API
sealwire_result sealwire_conn_next_mysql_packet(sealwire_conn *conn,
                                                sealwire_mysql_packet *packet_out);

/**
 * Writes a payload of any length, as one packet or, from 0xffffff bytes on, as several; all of it
 * is taken, or nothing. The payload is the caller's again when the call returns.
 *
 * Over a descriptor it is sent as far as the socket takes it; sealwire_conn_flush() goes on.
 *
 * ::SEALWIRE_WANT_WRITE or, in mid-handshake, ::SEALWIRE_WANT_READ where nothing was taken, since
 * an earlier packet is still waiting.
 */
SEALWIRE_API
sealwire_result sealwire_conn_write_mysql_packet(sealwire_conn *conn,
                                                 const sealwire_mysql_packet *packet);

/**
 * Brings a client from its first byte into TLS: reads the server's greeting, asks for TLS and
 * completes the handshake. Called again after ::SEALWIRE_WANT_READ or ::SEALWIRE_WANT_WRITE it goes
 * on where it was.
 *
 * The connection has to be set to begin in plaintext (sealwire_conn_set_plaintext()).
 * `capabilities` and `collation` are the client's: CLIENT_SSL is added, and the login that the
 * caller writes next, with sequence id 2, repeats them, since servers read it by what was asked
 * for here. `greeting_out` may be NULL; with the result ::SEALWIRE_OK it has been written, by a
 * server that nobody has authenticated at the time.
 *
 * ::SEALWIRE_ERR_NOT_TLS where the server offers no TLS, or somebody on the path took that out;
 * ::SEALWIRE_ERR_FRAME where it speaks something else than MySQL, or refuses the connection.
 */
SEALWIRE_API
sealwire_result sealwire_conn_mysql_connect(sealwire_conn *conn,
                                            uint32_t capabilities,
                                            uint8_t collation,
                                            sealwire_mysql_greeting *greeting_out);

/**
 * Brings a server from its first byte into TLS: sends `greeting` with CLIENT_SSL added, reads the
 * client's request for TLS and completes the handshake. Called again after ::SEALWIRE_WANT_READ or
 * ::SEALWIRE_WANT_WRITE, with the same greeting, it goes on where it was. The client's login comes
 * next (sealwire_conn_next_mysql_packet()).
 *
 * The connection has to be set to begin in plaintext (sealwire_conn_set_plaintext()).
 *
 * ::SEALWIRE_ERR_NOT_TLS where the client logs in without TLS: it has been told so, as by a server
 * with require_secure_transport (error 3159).
 */
SEALWIRE_API
sealwire_result sealwire_conn_mysql_accept(sealwire_conn *conn,
                                           const sealwire_mysql_greeting *greeting);

/**
 * Computes what a client answers for `password` to a server's nonce of 20 bytes, by the
 * authentication plugin of that name: mysql_native_password or caching_sha2_password. Writes up to
 * `len` bytes to `buf`; 32 suffice.
 *
 * Where caching_sha2_password goes on to ask for the password itself (a payload of 1 and 4), the
 * answer inside of TLS is the password with a NUL behind it.
 *
 * ::SEALWIRE_ERR_ARGUMENT where the plugin is another one, or `len` is too small.
 *
 * Any thread, at any time.
 */
SEALWIRE_API
sealwire_result sealwire_mysql_prove_password(const char *plugin,
                                              const char *password,
                                              const uint8_t *nonce,
                                              uint8_t *buf,
                                              size_t len,
                                              size_t *len_out);

/**
 * Gives the next packet in `*packet_out`. The payload is borrowed until the next call that takes
 * the connection non-const.
 *
 * ::SEALWIRE_WANT_READ where it has not arrived in whole; ::SEALWIRE_EOF where the stream ended
 * cleanly in front of it; ::SEALWIRE_ERR_TRUNCATED where it ended within.
 */
SEALWIRE_API
sealwire_result sealwire_conn_next_mysql_packet(sealwire_conn *conn,
                                                sealwire_mysql_packet *packet_out);

/**
 * Writes a payload of any length, as one packet or, from 0xffffff bytes on, as several; all of it
 * is taken, or nothing. The payload is the caller's again when the call returns.
 *
 * Over a descriptor it is sent as far as the socket takes it; sealwire_conn_flush() goes on.
 *
 * ::SEALWIRE_WANT_WRITE or, in mid-handshake, ::SEALWIRE_WANT_READ where nothing was taken, since
 * an earlier packet is still waiting.
 */
SEALWIRE_API
sealwire_result sealwire_conn_write_mysql_packet(sealwire_conn *conn,
                                                 const sealwire_mysql_packet *packet);

/**
 * Brings a client from its first byte into TLS: reads the server's greeting, asks for TLS and
 * completes the handshake. Called again after ::SEALWIRE_WANT_READ or ::SEALWIRE_WANT_WRITE it goes
 * on where it was.
 *
 * The connection has to be set to begin in plaintext (sealwire_conn_set_plaintext()).
 * `capabilities` and `collation` are the client's: CLIENT_SSL is added, and the login that the
 * caller writes next, with sequence id 2, repeats them, since servers read it by what was asked
 * for here. `greeting_out` may be NULL; with the result ::SEALWIRE_OK it has been written, by a
 * server that nobody has authenticated at the time.
 *
 * ::SEALWIRE_ERR_NOT_TLS where the server offers no TLS, or somebody on the path took that out;
 * ::SEALWIRE_ERR_FRAME where it speaks something else than MySQL, or refuses the connection.
 */
SEALWIRE_API
sealwire_result sealwire_conn_mysql_connect(sealwire_conn *conn,
                                            uint32_t capabilities,
                                            uint8_t collation,
                                            sealwire_mysql_greeting *greeting_out);

/**
 * Brings a server from its first byte into TLS: sends `greeting` with CLIENT_SSL added, reads the
 * client's request for TLS and completes the handshake. Called again after ::SEALWIRE_WANT_READ or
 * ::SEALWIRE_WANT_WRITE, with the same greeting, it goes on where it was. The client's login comes
 * next (sealwire_conn_next_mysql_packet()).
 *
 * The connection has to be set to begin in plaintext (sealwire_conn_set_plaintext()).
 *
 * ::SEALWIRE_ERR_NOT_TLS where the client logs in without TLS: it has been told so, as by a server
 * with require_secure_transport (error 3159).
 */
SEALWIRE_API
sealwire_result sealwire_conn_mysql_accept(sealwire_conn *conn,
                                           const sealwire_mysql_greeting *greeting);

/**
 * Computes what a client answers for `password` to a server's nonce of 20 bytes, by the
 * authentication plugin of that name: mysql_native_password or caching_sha2_password. Writes up to
 * `len` bytes to `buf`; 32 suffice.
 *
 * Where caching_sha2_password goes on to ask for the password itself (a payload of 1 and 4), the
 * answer inside of TLS is the password with a NUL behind it.
 *
 * ::SEALWIRE_ERR_ARGUMENT where the plugin is another one, or `len` is too small.
 *
 * Any thread, at any time.
 */
SEALWIRE_API
sealwire_result sealwire_mysql_prove_password(const char *plugin,
                                              const char *password,
                                              const uint8_t *nonce,
                                              uint8_t *buf,
                                              size_t len,
                                              size_t *len_out);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SEALWIRE_H */
