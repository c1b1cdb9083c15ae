/*
 * Sealwire: encrypted transport for database connections.
 *
 * Contents, in the order of this file
 *   versions          sealwire_version_number
 *   results           sealwire_result, sealwire_result_name
 *   configurations    sealwire_config_builder_*, sealwire_config_*
 *   connections       sealwire_conn_*, their facts, and accounts
 *                     (sealwire_conn_check_require)
 *   packets, calls    sealwire_conn_*_mysql_*, sealwire_conn_*_obrpc_*
 *   engines           sealwire_engine_*, sealwire_event, sealwire_listener_*
 *
 * The contract
 *
 * Results    A call returns 0 when it is done, a positive condition when
 *            nothing is wrong and the peer has to act first, and a negative
 *            error. After an error only the facts, the words for the error
 *            and _free remain of a connection, but for an account that is
 *            denied. A call that fails for its
 *            arguments (NULL, ARGUMENT, STATE) changes nothing.
 * Ownership  _new gives a handle; only the _free of the same name takes it
 *            back, once. No other call consumes a handle. NULL is fine to
 *            free. Handles may be freed in any order.
 * Buffers    The library keeps no pointer to the caller's memory when a call
 *            has returned. What it hands out is borrowed until the next call
 *            that takes the same handle non-const. Out-parameters come last,
 *            end in _out, and are written only where the result is 0 or more.
 * Threads    A handle is used by one thread at a time; a second one at the
 *            same time is told SEALWIRE_ERR_THREAD, and a handle that is freed
 *            then is leaked. Configurations are shared
 *            freely. An engine, its listeners and its connections belong to
 *            the thread that made the engine, a connection from its attach or
 *            connect on: other threads are told SEALWIRE_ERR_THREAD, a _free
 *            from there frees nothing. Only sealwire_engine_wake() is for all,
 *            and for signal handlers.
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
 * Clients are not asked for a certificate.
 */
#define SEALWIRE_CLIENT_CERT_NONE 0

/**
 * Clients are asked for a certificate and may do without; one that is shown must be good.
 */
#define SEALWIRE_CLIENT_CERT_OPTIONAL 1

/**
 * Clients have to show a good certificate.
 */
#define SEALWIRE_CLIENT_CERT_REQUIRED 2

/**
 * TLS 1.2 (RFC 5246): the number it has on the wire, and in OpenSSL.
 */
#define SEALWIRE_TLS_1_2 771

/**
 * TLS 1.3 (RFC 8446): the number it has on the wire, and in OpenSSL.
 */
#define SEALWIRE_TLS_1_3 772

/**
 * rustls opens and seals records, which are copied on their way. The default.
 */
#define SEALWIRE_RECORDS_RUSTLS 0

/**
 * Records are opened where they arrived and sealed where they are sent from.
 */
#define SEALWIRE_RECORDS_IN_PLACE 1

/**
 * OB-RPC in plaintext, and nobody is authenticated.
 */
#define SEALWIRE_OBRPC_NONE 1

/**
 * A TLS 1.2 handshake, which authenticates, and plaintext after it: whoever is on the path reads
 * and changes what passes.
 */
#define SEALWIRE_OBRPC_SSL_NO_ENCRYPT 2

/**
 * TLS from the negotiation to the end.
 */
#define SEALWIRE_OBRPC_SSL_IO 4

/**
 * MySQL's semantics.
 */
#define SEALWIRE_DIALECT_MYSQL 0

/**
 * MariaDB's: REQUIRE CIPHER alone needs no client certificate.
 */
#define SEALWIRE_DIALECT_MARIADB 1

/**
 * OceanBase's: logins name a tenant and a cluster.
 */
#define SEALWIRE_DIALECT_OCEANBASE 2

/**
 * Names on one line as OpenSSL 3 writes them: `/` and `+` in values follow a backslash.
 */
#define SEALWIRE_ONELINE_OPENSSL3 0

/**
 * Names on one line as OpenSSL 1 writes them: nothing is escaped, so two names may read the same.
 */
#define SEALWIRE_ONELINE_OPENSSL1 1

/**
 * A flag of sealwire_obrpc_packet: a response.
 */
#define SEALWIRE_OBRPC_FLAG_RESPONSE (1 << 15)

/**
 * A flag: a part of a stream.
 */
#define SEALWIRE_OBRPC_FLAG_STREAM (1 << 14)

/**
 * A flag: the last part of a stream; from a client: the stream is to end.
 */
#define SEALWIRE_OBRPC_FLAG_STREAM_LAST (1 << 13)

/**
 * A flag: the request is not answered.
 */
#define SEALWIRE_OBRPC_FLAG_NO_RESPONSE (1 << 10)

/**
 * A flag: the traffic is that of a background task.
 */
#define SEALWIRE_OBRPC_FLAG_BACKGROUND (1 << 7)

/**
 * Three flags: no log level is asked for, as every client has it.
 */
#define SEALWIRE_OBRPC_FLAG_NO_LOG_LEVEL 7

/**
 * io_uring where the kernel allows it, else epoll. The environment variable SEALWIRE_BACKEND
 * ("uring" or "epoll") decides in its place.
 */
#define SEALWIRE_BACKEND_AUTO 0

/**
 * io_uring, or an error.
 */
#define SEALWIRE_BACKEND_IO_URING 1

/**
 * epoll.
 */
#define SEALWIRE_BACKEND_EPOLL 2

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
   * The handle is not in a state for this call: before its time, after its end, or after an
   * error.
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
 * What happened. Later versions may report more: ignore a kind that is unknown.
 */
enum sealwire_event_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * A listener accepted `conn`, which is the caller's from here, to be freed by
   * sealwire_conn_free(). Its handshake goes on by itself. `user_data` is the listener's.
   */
  SEALWIRE_EVENT_ACCEPTED = 1,
  /**
   * `conn` is in use: connected, and its handshake complete where it has one. Once more after
   * sealwire_conn_start_tls().
   */
  SEALWIRE_EVENT_READY = 2,
  /**
   * Plaintext can be read from `conn`, at least `bytes` of it; or the peer has ended its side
   * cleanly (`bytes` 0), and a read says so. Repeated by every wait until it was read, so a
   * short read is never a hang; sealwire_conn_set_reading() stops that.
   */
  SEALWIRE_EVENT_READABLE = 3,
  /**
   * `conn` takes bytes again, after a write that took fewer than were given. Once per such
   * write.
   */
  SEALWIRE_EVENT_WRITABLE = 4,
  /**
   * The last event of `conn`: both ends have ended it and all was sent (`result` is
   * ::SEALWIRE_OK), or it failed with `result`, and sealwire_conn_error_text() has the words.
   * Its facts can be asked for until it is freed, which is still the caller's to do.
   */
  SEALWIRE_EVENT_CLOSED = 5,
  /**
   * sealwire_engine_wake() was called, once or more often.
   */
  SEALWIRE_EVENT_WOKEN = 6,
  /**
   * `listener` found no descriptor or no memory for a connection: `result` says so, and
   * sealwire_engine_error_text() how. It tries again when a connection ends, and every second.
   */
  SEALWIRE_EVENT_ACCEPT_PAUSED = 7,
  /**
   * `listener` accepts again.
   */
  SEALWIRE_EVENT_ACCEPT_RESUMED = 8,
  /**
   * The last event of a listener that was freed: its socket is closed. `user_data` is the
   * listener's, `listener` is NULL.
   */
  SEALWIRE_EVENT_UNLISTENED = 9,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sealwire_event_kind sealwire_event_kind;
#else
typedef int32_t sealwire_event_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What connections share: whom to trust, who we are, which versions and suites.
 *
 * It is shared by any number of connections and threads. A connection keeps what it was made with,
 * so the handle may be freed while connections live, and sealwire_config_reload() is for those
 * that are made later.
 *
 * Made by sealwire_config_builder_build(), freed by sealwire_config_free().
 */
typedef struct sealwire_config sealwire_config;

/**
 * The options of a configuration, while they are being collected.
 *
 * Made by sealwire_config_builder_new_client() or _new_server(), freed by
 * sealwire_config_builder_free(), after a build too. One thread at a time.
 *
 * A call that fails sets nothing. Options of the other end are ::SEALWIRE_ERR_STATE. Files are
 * read at once; ::SEALWIRE_ERR_CONFIG where one cannot be read, and
 * sealwire_config_builder_error_text() names it and the reason.
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
 * The connections and listeners of one thread.
 *
 * Made by sealwire_engine_new(), freed by sealwire_engine_free(). It belongs to the thread that
 * made it, with its connections and listeners: calls from other threads are answered
 * ::SEALWIRE_ERR_THREAD, but for sealwire_engine_wake(). A program with several threads makes an
 * engine on each, all of which may listen on one port (`reuse_port`).
 *
 * Bytes move in sealwire_engine_wait() only: what was written since goes out at its beginning,
 * in as few records as it fits. Nothing is called back; what happened is told as events.
 */
typedef struct sealwire_engine sealwire_engine;

/**
 * A socket on which an engine accepts connections.
 *
 * Made by sealwire_engine_listen(), freed by sealwire_listener_free(). It belongs to the thread of
 * its engine.
 */
typedef struct sealwire_listener sealwire_listener;

/**
 * Is told one secret of a session: a line of NSS's key log format, which Wireshark reads, without
 * its end. `line` is the library's, and gone when the call returns.
 *
 * It is called on any thread that drives a connection, on several at once, and must not call
 * sealwire_* or leave by longjmp() or an exception.
 */
typedef void (*sealwire_key_log_callback)(const char *line, void *user_data);

/**
 * What the connections of an account must be like: MySQL's
 * `'user'@'host' REQUIRE SSL | X509 | CIPHER … AND ISSUER … AND SUBJECT …`. Everything that is
 * given must hold; nothing given is REQUIRE NONE.
 *
 * Set it to zero but for `size`, then fill in: later versions of the library have more members.
 * The text is copied.
 */
typedef struct {
  /**
   * sizeof(sealwire_require).
   */
  size_t size;
  /**
   * The user; NULL or empty: every user.
   */
  const char *user;
  /**
   * Where the client is, with MySQL's wildcards, a network, or an address; NULL: everywhere.
   */
  const char *host;
  /**
   * OceanBase's tenant; NULL: every tenant.
   */
  const char *tenant;
  /**
   * OceanBase's cluster; NULL: every cluster.
   */
  const char *cluster;
  /**
   * Not 0: TLS, with or without a client certificate.
   */
  int ssl;
  /**
   * Not 0: a client certificate that was verified.
   */
  int x509;
  /**
   * The cipher suite by OpenSSL's name; NULL: any.
   */
  const char *cipher;
  /**
   * The certificate's issuer on one line, as in "/C=CN/O=Test Org/CN=Test CA"; NULL: any.
   */
  const char *issuer;
  /**
   * The certificate's subject on one line, as in "/C=CN/O=Test Org/CN=alice"; NULL: any.
   */
  const char *subject;
} sealwire_require;

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

/**
 * A request or a response of OB-RPC.
 */
typedef struct {
  /**
   * The channel: a number that the client chooses and the server repeats in its answer.
   */
  uint32_t chid;
  /**
   * What is called; sealwire_obrpc_pcode_name() names some.
   */
  uint32_t pcode;
  /**
   * SEALWIRE_OBRPC_FLAG_*, with others of OceanBase as they are on the wire.
   */
  uint16_t flags;
  /**
   * From 0 to 11; clients use 5.
   */
  uint8_t priority;
  /**
   * The resource group.
   */
  uint32_t group_id;
  /**
   * How deep calls are nested.
   */
  uint32_t request_level;
  /**
   * The tenant; 1 is sys.
   */
  uint64_t tenant_id;
  /**
   * The tenant whose privileges count.
   */
  uint64_t priv_tenant_id;
  /**
   * The session, as of a stream.
   */
  uint64_t session_id;
  /**
   * The trace id. Older ends leave its last two words 0.
   */
  uint64_t trace_id[4];
  /**
   * How long the sender waits, in microseconds.
   */
  uint64_t timeout_us;
  /**
   * When it was sent, in microseconds since 1970.
   */
  uint64_t timestamp_us;
  /**
   * The sender's cluster; -1 for tools and clients.
   */
  int64_t src_cluster_id;
  /**
   * The cluster that is meant; -1 for any.
   */
  int64_t dst_cluster_id;
  /**
   * Hash of the cluster's name; 0 within one cluster.
   */
  uint64_t cluster_name_hash;
  /**
   * Version of the serialization.
   */
  uint64_t unis_version;
  /**
   * A logical clock of servers.
   */
  uint64_t seq_no;
  /**
   * The sender's data version; 0 from clients.
   */
  uint64_t data_version;
  /**
   * The payload, never compressed.
   */
  const uint8_t *payload;
  /**
   * Its length, in bytes.
   */
  size_t payload_len;
} sealwire_obrpc_packet;

/**
 * What is called. All but `pcode` may be 0, which is for the default.
 */
typedef struct {
  /**
   * What is called.
   */
  uint32_t pcode;
  /**
   * How long the answer is waited for, each part of a stream anew, in milliseconds; 0 for
   * 2,000. The server is told.
   */
  uint32_t timeout_ms;
  /**
   * The resource group.
   */
  uint32_t group_id;
  /**
   * SEALWIRE_OBRPC_FLAG_NO_RESPONSE, SEALWIRE_OBRPC_FLAG_BACKGROUND, or others of OceanBase, in
   * addition to SEALWIRE_OBRPC_FLAG_NO_LOG_LEVEL.
   */
  uint16_t flags;
  /**
   * From 1 to 11; 0 for 5, which clients use.
   */
  uint8_t priority;
  /**
   * The tenant; 0 for 1, which is sys.
   */
  uint64_t tenant_id;
  /**
   * The tenant whose privileges count; 0 for `tenant_id`.
   */
  uint64_t priv_tenant_id;
  /**
   * The cluster that is meant; 0 for any.
   */
  int64_t dst_cluster_id;
  /**
   * The trace id.
   */
  uint64_t trace_id[4];
  /**
   * The arguments, serialized; NULL is fine for none.
   */
  const void *args;
  /**
   * Their length, in bytes.
   */
  size_t args_len;
} sealwire_obrpc_call;

/**
 * An answer, or its absence.
 */
typedef struct {
  /**
   * The call that is answered.
   */
  uint64_t call_id;
  /**
   * ::SEALWIRE_OK: the server answered. ::SEALWIRE_ERR_TIMEOUT: it did not before the call's
   * deadline; the call is over, and whether it was carried out is unknown.
   */
  sealwire_result status;
  /**
   * What the server answered: 0, or an error of OceanBase (sealwire_obrpc_rcode_name()).
   */
  int32_t rcode;
  /**
   * The server's words for it, not ended by NUL; often none.
   */
  const char *message;
  /**
   * Their length, in bytes.
   */
  size_t message_len;
  /**
   * The result, serialized; none behind an error.
   */
  const uint8_t *result;
  /**
   * Its length, in bytes.
   */
  size_t result_len;
  /**
   * True for a part of a stream that more follow: sealwire_conn_obrpc_next_part() or
   * sealwire_conn_obrpc_cancel() is due. Otherwise the call is over.
   */
  bool has_more;
} sealwire_obrpc_reply;

/**
 * Options of an engine. All zero but for `size` are the defaults.
 */
typedef struct {
  /**
   * sizeof (sealwire_engine_options): what tells later versions which fields there are.
   */
  size_t size;
  /**
   * What moves the bytes: one of SEALWIRE_BACKEND_*.
   */
  int backend;
  /**
   * Length of one receive buffer, in bytes; 0: 32 KiB. 1 MiB at most.
   */
  uint32_t recv_buf_len;
  /**
   * Number of receive buffers that all connections share, a power of two; 0: 256.
   */
  uint32_t recv_buf_count;
  /**
   * Unused buffers of each kind that are kept for the next use; 0: 256.
   */
  uint32_t pool_free_max;
} sealwire_engine_options;

/**
 * Something that happened, 64 bytes.
 */
typedef struct {
  /**
   * What.
   */
  sealwire_event_kind kind;
  /**
   * ::SEALWIRE_OK, or why it happened.
   */
  sealwire_result result;
  /**
   * The connection; NULL where it is about none.
   */
  sealwire_conn *conn;
  /**
   * The listener, of an accepted connection too; NULL where it is about none, or about one that
   * was freed.
   */
  sealwire_listener *listener;
  /**
   * The word of the caller that belongs to the connection, or to the listener.
   */
  void *user_data;
  /**
   * Plaintext that can be read at once, in bytes.
   */
  uint64_t bytes;
  /**
   * 0; later versions may tell more in it.
   */
  uint64_t reserved[3];
} sealwire_event;

/**
 * Options of a listener. All zero but for `size` are the defaults.
 */
typedef struct {
  /**
   * sizeof (sealwire_listen_options): what tells later versions which fields there are.
   */
  size_t size;
  /**
   * A word of the caller, which the listener's events carry.
   */
  void *user_data;
  /**
   * Connections that the kernel lets wait to be accepted; 0: 1,024.
   */
  uint32_t backlog;
  /**
   * 1: other engines may listen on the same port, and the kernel spreads the connections
   * (SO_REUSEPORT); 0: no.
   */
  int reuse_port;
  /**
   * 1: accepted connections begin in plaintext, for sealwire_conn_start_tls(); 0: with TLS.
   */
  int plaintext_first;
  /**
   * Idle time before TCP probes the peer, and between two probes, in seconds; 0: never.
   */
  uint32_t keepalive_s;
  /**
   * How long what was sent may stay unacknowledged before the connection fails, in milliseconds;
   * 0: as the system says.
   */
  uint32_t user_timeout_ms;
  /**
   * 0.
   */
  uint32_t reserved;
} sealwire_listen_options;

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
 * Replaces a configuration by what the builder says now, for connections that are made from here
 * on; those that live go on as they began. Where it fails the old one stays in service, whole.
 *
 * Any thread, while others make connections of the configuration; the builder is this thread's.
 *
 * ::SEALWIRE_ERR_CONFIG where the options do not go together, ::SEALWIRE_ERR_ARGUMENT where the
 * builder is one of the other end; sealwire_config_builder_error_text() says why.
 */
SEALWIRE_API
sealwire_result sealwire_config_reload(const sealwire_config *config,
                                       const sealwire_config_builder *builder);

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
 *
 * ::SEALWIRE_ERR_NULL where `builder_out` is NULL.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_new_client(sealwire_config_builder **builder_out);

/**
 * Begins the configuration of servers. It needs an identity. As it stands, clients are asked for a
 * certificate where authorities were added, and may do without.
 *
 * ::SEALWIRE_ERR_NULL where `builder_out` is NULL.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_new_server(sealwire_config_builder **builder_out);

/**
 * Frees a builder. NULL is fine. Configurations that it built live on.
 */
SEALWIRE_API
void sealwire_config_builder_free(sealwire_config_builder *builder);

/**
 * Checks the options together and makes a configuration of them, to be freed by
 * sealwire_config_free(). The builder stays, to be freed or built from again.
 *
 * ::SEALWIRE_ERR_CONFIG where they do not go together; sealwire_config_builder_error_text() says
 * why.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_build(const sealwire_config_builder *builder,
                                              const sealwire_config **config_out);

/**
 * Copies the words for the builder's last failed call to `buf`, cut to `len` and ended by NUL, and
 * returns their whole length without the NUL (snprintf's rule). 0 where no call failed. `buf` may
 * be NULL where `len` is 0.
 */
SEALWIRE_API
size_t sealwire_config_builder_error_text(const sealwire_config_builder *builder,
                                          char *buf,
                                          size_t len);

/**
 * Sets who this end is: its certificate chain, leaf first, and its private key, both as PEM. Keys
 * may be PKCS#8, PKCS#1 or SEC1. The memory is not kept; the key is erased with the configuration.
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
 * The same with a private key that is encrypted: PKCS#8 with PBES2. The passphrase is not kept.
 *
 * ::SEALWIRE_ERR_CONFIG where it is the wrong one, too.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_set_identity_encrypted_pem(sealwire_config_builder *builder,
                                                                   const uint8_t *chain,
                                                                   size_t chain_len,
                                                                   const uint8_t *key,
                                                                   size_t key_len,
                                                                   const uint8_t *passphrase,
                                                                   size_t passphrase_len);

/**
 * Sets who this end is from files: its certificate chain and its private key as PEM. They may be
 * the same file.
 *
 * ::SEALWIRE_ERR_CONFIG where one cannot be read or they do not belong together.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_set_identity_files(sealwire_config_builder *builder,
                                                           const char *chain_path,
                                                           const char *key_path);

/**
 * The same with a private key that is encrypted: PKCS#8 with PBES2. The passphrase is not kept.
 *
 * ::SEALWIRE_ERR_CONFIG where it is the wrong one, too.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_set_identity_encrypted_files(sealwire_config_builder *builder,
                                                                     const char *chain_path,
                                                                     const char *key_path,
                                                                     const uint8_t *passphrase,
                                                                     size_t passphrase_len);

/**
 * Adds trusted certificate authorities: one or more certificates as PEM. Each call adds to those
 * of the calls before.
 *
 * ::SEALWIRE_ERR_CONFIG where there is none in it or one cannot be read.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_add_roots_pem(sealwire_config_builder *builder,
                                                      const uint8_t *pem,
                                                      size_t pem_len);

/**
 * The same from a file.
 *
 * ::SEALWIRE_ERR_CONFIG where it cannot be read, there is none in it or one cannot be used.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_add_roots_file(sealwire_config_builder *builder,
                                                       const char *path);

/**
 * Adds the certificate authorities of the operating system, wherever it keeps them; the
 * environment variables SSL_CERT_FILE and SSL_CERT_DIR say otherwise, as to OpenSSL. They are read
 * by this call. Those that cannot be used are passed over.
 *
 * ::SEALWIRE_ERR_CONFIG where there is none.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_add_roots_system(sealwire_config_builder *builder);

/**
 * Adds certificate revocation lists of the authorities: one or more as PEM. A certificate that is
 * on one is refused, and so is one that its authority's revoked.
 *
 * ::SEALWIRE_ERR_CONFIG where there is none in it or one cannot be read.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_add_crls_pem(sealwire_config_builder *builder,
                                                     const uint8_t *pem,
                                                     size_t pem_len);

/**
 * The same from a file.
 *
 * ::SEALWIRE_ERR_CONFIG where it cannot be read, there is none in it or one cannot be used.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_add_crls_file(sealwire_config_builder *builder,
                                                      const char *path);

/**
 * Refuses certificates of which it is not known whether they were revoked: the list of their
 * issuer is missing or overdue. Without this call they are good, and an overdue list counts as it
 * stands.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_set_crls_required(sealwire_config_builder *builder);

/**
 * Believes a server with any certificate of the trusted authorities that is in date; its name is
 * not looked at. Give the servers an authority of their own: a client's certificate will do, too.
 * For clients only.
 *
 * ::SEALWIRE_ERR_STATE where it was told to judge in another way.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_set_verify_ca(sealwire_config_builder *builder);

/**
 * Lets the common name of a server's certificate count where it has no DNS name, it is the only
 * one, and it equals the name. Otherwise such a certificate is refused. For clients that verify in
 * full.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_allow_cn_name(sealwire_config_builder *builder);

/**
 * Believes a server with this certificate, or with one of several where it is called several
 * times. Nothing else about it counts, dates and authorities included. For clients only.
 *
 * `sha256` is the SHA-256 of the certificate in 64 hexadecimal digits, with colons or without, as
 * `openssl x509 -noout -fingerprint -sha256` prints it. ::SEALWIRE_ERR_ARGUMENT where it is not;
 * ::SEALWIRE_ERR_STATE where servers are to be judged in another way.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_add_server_fingerprint(sealwire_config_builder *builder,
                                                               const char *sha256);

/**
 * Accepts any server certificate: whoever answers is believed to be the server, and anybody on the
 * path can read and change everything. For clients only.
 *
 * ::SEALWIRE_ERR_STATE where it was told to judge in another way.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_danger_accept_any_certificate(sealwire_config_builder *builder);

/**
 * Says whether clients have to show a certificate: SEALWIRE_CLIENT_CERT_NONE, _OPTIONAL or
 * _REQUIRED; by default _OPTIONAL where authorities were added, _NONE otherwise. For servers only.
 *
 * ::SEALWIRE_ERR_ARGUMENT where `client_cert` is none of these.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_set_client_cert(sealwire_config_builder *builder,
                                                        int client_cert);

/**
 * Lets in clients with this certificate alone, or with one of several where it is called several
 * times. Nothing else about it counts, dates and authorities included. For servers only.
 *
 * `sha256` is as for sealwire_config_builder_add_server_fingerprint().
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_add_client_fingerprint(sealwire_config_builder *builder,
                                                               const char *sha256);

/**
 * Of the clients with a good certificate, lets in this one, or one of several where it is called
 * several times. `client` is "cn:NAME" for the only common name of the subject, "san:NAME" for an
 * alternative name as written, or "sha256:FINGERPRINT"; names are compared whole. For servers
 * only.
 *
 * ::SEALWIRE_ERR_ARGUMENT where it is none of these.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_add_allowed_client(sealwire_config_builder *builder,
                                                           const char *client);

/**
 * Sets the oldest version that is spoken, SEALWIRE_TLS_1_2 or SEALWIRE_TLS_1_3; by default the
 * former.
 *
 * ::SEALWIRE_ERR_ARGUMENT where `version` is neither.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_set_min_version(sealwire_config_builder *builder,
                                                        int version);

/**
 * Sets the newest version that is spoken, SEALWIRE_TLS_1_2 or SEALWIRE_TLS_1_3; by default the
 * latter.
 *
 * ::SEALWIRE_ERR_ARGUMENT where `version` is neither.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_set_max_version(sealwire_config_builder *builder,
                                                        int version);

/**
 * Sets the cipher suites by OpenSSL's or IANA's names, with `:` between them, those of TLS 1.2 and
 * of TLS 1.3 in one list. A client offers them in this order; a server takes the first of the
 * client's that is among them. By default all that the library speaks, which are safe ones only.
 *
 * Unknown names are ::SEALWIRE_ERR_CONFIG when the configuration is built;
 * ::SEALWIRE_ERR_ARGUMENT where there is no name.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_set_suites(sealwire_config_builder *builder,
                                                   const char *names);

/**
 * Sets who opens and seals records once the handshake is done: SEALWIRE_RECORDS_RUSTLS or
 * SEALWIRE_RECORDS_IN_PLACE. What is on the wire is the same.
 *
 * ::SEALWIRE_ERR_ARGUMENT where `records` is neither.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_set_records(sealwire_config_builder *builder,
                                                    int records);

/**
 * Sets the time from the first use of a connection to the end of its handshake, in milliseconds.
 * 10,000 where it is not set; 0 is ::SEALWIRE_ERR_ARGUMENT.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_set_handshake_timeout_ms(sealwire_config_builder *builder,
                                                                 uint32_t timeout_ms);

/**
 * Resumes sessions by tickets that every server with the same keys and the same `route` takes up:
 * several processes, or one that was restarted. For servers only; without it a session is taken up
 * by the configuration that it began with alone.
 *
 * `keys` are three keys of 48 random bytes, the previous, the current and the next one, as
 * `sealwire cert tickets` makes them: rotating moves each one place to the front. They are as
 * secret as a private key. `route` is any text that tells what is served.
 *
 * ::SEALWIRE_ERR_CONFIG where they are fewer, more, or not different.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_set_tickets(sealwire_config_builder *builder,
                                                    const uint8_t *keys,
                                                    size_t keys_len,
                                                    const char *route);

/**
 * Makes every session begin with a full handshake: none is kept, offered or taken up again.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_disable_resumption(sealwire_config_builder *builder);

/**
 * Tells `callback` the secrets of every session. Whoever has them reads all that passes, and all
 * that has passed: for debugging, on a machine where nothing is secret.
 *
 * `user_data` is given back to the callback, may be NULL, and has to live as long as the
 * configurations that are built and their connections. ::SEALWIRE_ERR_NULL where `callback` is.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_danger_set_key_log(sealwire_config_builder *builder,
                                                           sealwire_key_log_callback callback,
                                                           void *user_data);

/**
 * Makes this the configuration of clients of OB-RPC ports, which ask for `method` first:
 * SEALWIRE_OBRPC_NONE, SEALWIRE_OBRPC_SSL_NO_ENCRYPT or SEALWIRE_OBRPC_SSL_IO. No other one is
 * accepted in its place. Whatever completes the handshake negotiates first, and the handshake's
 * deadline covers both. No session is resumed, and sealwire_conn_set_plaintext() is refused.
 *
 * How servers are verified is set as for other clients; with SEALWIRE_OBRPC_NONE none is.
 *
 * ::SEALWIRE_ERR_ARGUMENT where `method` is none of them; ::SEALWIRE_ERR_STATE at a server.
 * SEALWIRE_OBRPC_SSL_NO_ENCRYPT with TLS 1.3 as the oldest version is ::SEALWIRE_ERR_CONFIG when
 * the configuration is built.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_set_obrpc_method(sealwire_config_builder *builder,
                                                         unsigned int method);

/**
 * Makes this the configuration of servers of OB-RPC ports: what a client negotiates first decides
 * what its connection becomes, and `methods` are those that are admitted, with `|` between them.
 * With SEALWIRE_OBRPC_NONE among them whoever negotiates nothing is admitted in plaintext too; an
 * identity is needed unless it is the only one. sealwire_conn_obrpc_method() tells what became of
 * a connection. No session is resumed, and plaintext in front of TLS is refused.
 *
 * Rules for accounts (sealwire_config_builder_add_require()) do not go with it: OB-RPC has no
 * logins.
 *
 * ::SEALWIRE_ERR_ARGUMENT where `methods` has none of the methods, or others;
 * ::SEALWIRE_ERR_STATE at a client.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_set_obrpc_methods(sealwire_config_builder *builder,
                                                          unsigned int methods);

/**
 * Sets which thread of the server the connections of a client are for: the group in the upper
 * half, the index in the lower. By default the first thread of OceanBase's default group.
 *
 * ::SEALWIRE_ERR_STATE at a server.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_set_obrpc_gid(sealwire_config_builder *builder,
                                                      uint64_t gid);

/**
 * Requires the peer to name the method within the handshake too (ALPN), so that nobody on the path
 * can have changed it: the negotiation itself is in plaintext. This library's ends always name it;
 * OceanBase's never do, and are refused then, by ::SEALWIRE_ERR_TLS_INCOMPATIBLE or an alert.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_obrpc_require_binding(sealwire_config_builder *builder);

/**
 * Takes an end of the stream without close_notify for a clean one, where it is not within a
 * record: OceanBase's ends never send one. Whoever is on the path can then cut the stream behind
 * any record unnoticed; packets are still whole or not at all.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_danger_obrpc_end_without_close_notify(sealwire_config_builder *builder);

/**
 * Adds what the connections of an account must be like, to be asked for by
 * sealwire_conn_check_require(). The most specific host comes first, then the user; one rule
 * applies to a login. For servers only.
 *
 * ::SEALWIRE_ERR_ARGUMENT where `size` is not that of this version's or text is not UTF-8, and
 * ::SEALWIRE_ERR_CONFIG where the host is no pattern or another rule is about the same account.
 * What no connection could ever meet is ::SEALWIRE_ERR_CONFIG when the configuration is built.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_add_require(sealwire_config_builder *builder,
                                                    const sealwire_require *require);

/**
 * Denies accounts that no rule names; by default they may log in as they come. For servers only.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_set_require_default_deny(sealwire_config_builder *builder);

/**
 * Says whose semantics rules have: SEALWIRE_DIALECT_MYSQL, _MARIADB or _OCEANBASE; by default
 * OceanBase's where a rule names a tenant or a cluster, and MySQL's otherwise. For servers only.
 *
 * ::SEALWIRE_ERR_ARGUMENT where `dialect` is none of these.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_set_require_dialect(sealwire_config_builder *builder,
                                                            int dialect);

/**
 * Says how the names in rules are written: SEALWIRE_ONELINE_OPENSSL3, the default, or
 * SEALWIRE_ONELINE_OPENSSL1. For servers only.
 *
 * ::SEALWIRE_ERR_ARGUMENT where `oneline` is neither.
 */
SEALWIRE_API
sealwire_result sealwire_config_builder_set_require_oneline(sealwire_config_builder *builder,
                                                            int oneline);

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
 * Writes up to `len` bytes of plaintext, and tells in `*written_out` how many were taken. Those
 * are the library's: they are sent in order, and are not to be given again. The rest may be given
 * in a later call from any place. The memory is the caller's again when the call returns.
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
 * deadline of the handshake, and sealwire_conn_obrpc_next_reply() those of calls.
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
 * Keeps a word of the caller with the connection; the events of an engine carry it. NULL before.
 */
SEALWIRE_API
sealwire_result sealwire_conn_set_user_data(sealwire_conn *conn,
                                            void *user_data);

/**
 * The word of the caller; NULL where none was kept.
 */
SEALWIRE_API void *sealwire_conn_user_data(const sealwire_conn *conn);

/**
 * Whether ::SEALWIRE_EVENT_READABLE is told and bytes are received, on a connection of an engine:
 * true before. While it is false the kernel's memory fills, which stops the peer: for a program
 * that cannot pass on at once what it reads. A handshake goes on regardless.
 *
 * ::SEALWIRE_ERR_STATE where the connection belongs to no engine.
 */
SEALWIRE_API
sealwire_result sealwire_conn_set_reading(sealwire_conn *conn,
                                          bool is_on);

/**
 * Copies the address of the peer of a connection of an engine ("192.0.2.7:50123", or "unix") to
 * `buf`, cut to `len` and ended by NUL, and returns its whole length without the NUL (snprintf's
 * rule). 0 where the connection belongs to no engine.
 */
SEALWIRE_API
size_t sealwire_conn_peer_address(const sealwire_conn *conn,
                                  char *buf,
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
 * The words name certificates and reasons: for a log, or whoever runs this end; never for the
 * peer.
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
 * completes the handshake. Called again after ::SEALWIRE_WANT_READ or ::SEALWIRE_WANT_WRITE it
 * goes on where it was.
 *
 * The connection has to be set to begin in plaintext (sealwire_conn_set_plaintext()).
 * `capabilities` and `collation` are the client's: CLIENT_SSL is added, and the login that the
 * caller writes next, with sequence id 2, repeats them, since servers read it by what was asked
 * for here. `greeting_out` may be NULL; with the result ::SEALWIRE_OK it has been written, by a
 * server that nobody has authenticated at the time.
 *
 * ::SEALWIRE_ERR_STATE where the connection is not in plaintext;
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
 * The protocol version, SEALWIRE_TLS_1_2 or SEALWIRE_TLS_1_3; 0 where no handshake is complete.
 */
SEALWIRE_API
int sealwire_conn_version(const sealwire_conn *conn);

/**
 * Copies the cipher suite by IANA's name, as in "TLS_AES_128_GCM_SHA256", to `buf`, cut to `len`
 * and ended by NUL, and returns its whole length without the NUL (snprintf's rule). 0 where no
 * handshake is complete. `buf` may be NULL where `len` is 0.
 */
SEALWIRE_API
size_t sealwire_conn_suite(const sealwire_conn *conn,
                           char *buf,
                           size_t len);

/**
 * The cipher suite by OpenSSL's name, as in "ECDHE-RSA-AES128-GCM-SHA256"; copied as by
 * sealwire_conn_suite().
 */
SEALWIRE_API
size_t sealwire_conn_openssl_suite(const sealwire_conn *conn,
                                   char *buf,
                                   size_t len);

/**
 * The key exchange group, as in "X25519MLKEM768"; copied as by sealwire_conn_suite().
 */
SEALWIRE_API
size_t sealwire_conn_group(const sealwire_conn *conn,
                           char *buf,
                           size_t len);

/**
 * True where an earlier session was taken up again.
 */
SEALWIRE_API bool sealwire_conn_is_resumed(const sealwire_conn *conn);

/**
 * At a server, the name that the client asked for (SNI); copied as by sealwire_conn_suite(), 0
 * where it asked for none. Anybody may ask for any name.
 */
SEALWIRE_API
size_t sealwire_conn_server_name(const sealwire_conn *conn,
                                 char *buf,
                                 size_t len);

/**
 * The application protocol that both ends named (ALPN); copied as by sealwire_conn_suite(), 0
 * where there is none.
 */
SEALWIRE_API
size_t sealwire_conn_application_protocol(const sealwire_conn *conn,
                                          char *buf,
                                          size_t len);

/**
 * The peer's certificate at `index` in DER: its own at 0, then those that it sent along. Returns
 * its length; 0 where there is none, and `*der_out` is left alone.
 *
 * It is borrowed until the next call that takes the connection non-const.
 */
SEALWIRE_API
size_t sealwire_conn_peer_certificate(const sealwire_conn *conn,
                                      size_t index,
                                      const uint8_t **der_out);

/**
 * The subject of the peer's certificate on one line, as OpenSSL 3 writes it and rules compare it:
 * "/C=CN/O=Test Org/CN=alice". Copied as by sealwire_conn_suite(), 0 where the peer showed none.
 */
SEALWIRE_API
size_t sealwire_conn_peer_subject(const sealwire_conn *conn,
                                  char *buf,
                                  size_t len);

/**
 * The issuer of the peer's certificate, as sealwire_conn_peer_subject() has its subject.
 */
SEALWIRE_API
size_t sealwire_conn_peer_issuer(const sealwire_conn *conn,
                                 char *buf,
                                 size_t len);

/**
 * The alternative name at `index` of the peer's certificate, with its kind in front: "DNS:db1",
 * "IP:10.0.0.1", "email:a@b" or "URI:…". Copied as by sealwire_conn_suite(), 0 behind the last.
 */
SEALWIRE_API
size_t sealwire_conn_peer_alt_name(const sealwire_conn *conn,
                                   size_t index,
                                   char *buf,
                                   size_t len);

/**
 * Writes the SHA-256 of the peer's certificate, 32 bytes, to `sha256_out`.
 *
 * ::SEALWIRE_ERR_STATE where the peer has shown none, or not yet.
 */
SEALWIRE_API
sealwire_result sealwire_conn_peer_fingerprint(const sealwire_conn *conn,
                                               uint8_t *sha256_out);

/**
 * The first second at which the peer's certificate is valid, since 1970-01-01 UTC; 0 where it has
 * shown none.
 */
SEALWIRE_API
uint64_t sealwire_conn_peer_not_before_s(const sealwire_conn *conn);

/**
 * The last second at which the peer's certificate is valid, since 1970-01-01 UTC; 0 where it has
 * shown none.
 */
SEALWIRE_API
uint64_t sealwire_conn_peer_not_after_s(const sealwire_conn *conn);

/**
 * How a connection of OB-RPC is protected: SEALWIRE_OBRPC_NONE, SEALWIRE_OBRPC_SSL_NO_ENCRYPT or
 * SEALWIRE_OBRPC_SSL_IO. 0 before the negotiation and the handshake behind it are complete, and
 * where the configuration is none of OB-RPC.
 *
 * A server that admits more than one method asks this before it believes a request.
 */
SEALWIRE_API
unsigned int sealwire_conn_obrpc_method(const sealwire_conn *conn);

/**
 * Gives the next packet in `*packet_out`, whole and with the checksum of its payload verified; a
 * payload that came compressed is inflated. The payload is borrowed until the next call that takes
 * the connection non-const. Keepalives within the stream are skipped.
 *
 * A connection is used for packets, as by servers, or for calls (sealwire_conn_obrpc_call()), from
 * the first such use on.
 *
 * ::SEALWIRE_WANT_READ where it has not arrived in whole; ::SEALWIRE_EOF where the stream ended
 * cleanly in front of it; ::SEALWIRE_ERR_TRUNCATED where it ended within; ::SEALWIRE_ERR_FRAME
 * where it is none, or damaged; ::SEALWIRE_ERR_FRAME_TOO_LARGE where its header promises more than
 * 64 MiB, as sent or as inflated; ::SEALWIRE_ERR_STATE where the connection is used for calls.
 */
SEALWIRE_API
sealwire_result sealwire_conn_next_obrpc_packet(sealwire_conn *conn,
                                                sealwire_obrpc_packet *packet_out);

/**
 * Writes a packet: all of it is taken, or nothing. Its fields are written as they are; length and
 * checksum are computed. The memory is the caller's again when the call returns.
 *
 * Over a descriptor it is sent as far as the socket takes it; sealwire_conn_flush() goes on.
 *
 * ::SEALWIRE_WANT_WRITE or, in mid-handshake, ::SEALWIRE_WANT_READ where nothing was taken, since
 * an earlier packet is still waiting; ::SEALWIRE_ERR_FRAME_TOO_LARGE where the payload is longer
 * than the wire allows (2047 MiB), and ::SEALWIRE_ERR_STATE where the connection is used for
 * calls: nothing was taken, and the connection goes on.
 */
SEALWIRE_API
sealwire_result sealwire_conn_write_obrpc_packet(sealwire_conn *conn,
                                                 const sealwire_obrpc_packet *packet);

/**
 * Answers a request: `rcode`, 0 or an error of OceanBase, and behind a 0 the `result_len` bytes of
 * the result, which are left out behind an error. A request that wants no answer gets none, and
 * ::SEALWIRE_OK. All of it is taken, or nothing; the memory is the caller's again when the call
 * returns. Of `request` the header counts alone: a copy of it may be kept and answered later, in
 * any order.
 *
 * The answer repeats the flags SEALWIRE_OBRPC_FLAG_STREAM and SEALWIRE_OBRPC_FLAG_STREAM_LAST of
 * the request and its session. A server that streams sets them in its copy of the request: the
 * former and a session of its choice for a part that more follow, the latter beside it for the
 * last one. The client asks on with a request of the same session and the former flag; both flags
 * say that it wants no more, which is answered as it is.
 *
 * Results as of sealwire_conn_write_obrpc_packet(); ::SEALWIRE_ERR_ARGUMENT where `request` is a
 * response.
 */
SEALWIRE_API
sealwire_result sealwire_conn_answer_obrpc_packet(sealwire_conn *conn,
                                                  const sealwire_obrpc_packet *request,
                                                  int32_t rcode,
                                                  const void *result,
                                                  size_t result_len);

/**
 * Makes a call, and tells in `*call_id_out` by which number its answer is known: never 0, and
 * never used twice on a connection. Any number of calls may be under way, up to 4,096; answers
 * come in any order (sealwire_conn_obrpc_next_reply()). A call with
 * SEALWIRE_OBRPC_FLAG_NO_RESPONSE is over at once. The memory of the arguments is the caller's
 * again when this returns.
 *
 * The call's deadline counts from here, negotiation and handshake included where they are still to
 * come. Over a descriptor it is sent as far as the socket takes it; the next call on the
 * connection, or sealwire_conn_flush(), goes on.
 *
 * ::SEALWIRE_WANT_READ where nothing was taken, since too many calls wait for their answers;
 * ::SEALWIRE_WANT_WRITE where nothing was taken, since too many bytes wait to be sent;
 * ::SEALWIRE_ERR_ARGUMENT where `flags` has those of responses or streams;
 * ::SEALWIRE_ERR_FRAME_TOO_LARGE where the arguments are longer than the wire allows (2047 MiB),
 * and ::SEALWIRE_ERR_STATE where the connection is used for packets: nothing was taken, and the
 * connection goes on.
 */
SEALWIRE_API
sealwire_result sealwire_conn_obrpc_call(sealwire_conn *conn,
                                         const sealwire_obrpc_call *call,
                                         uint64_t *call_id_out);

/**
 * Gives the next answer in `*reply_out`, or the next call whose deadline has passed. What it
 * points to is borrowed until the next call that takes the connection non-const.
 *
 * A blocking descriptor is waited for until the nearest deadline of a call, whatever its own
 * timeouts are, and not at all where no call is under way. Everywhere else
 * sealwire_conn_timeout_ms() tells how long to wait for the descriptor, or in
 * sealwire_engine_wait(), before this is to be called again. It is to be called until it returns
 * ::SEALWIRE_WANT_READ. Answers to calls that are over are dropped.
 *
 * ::SEALWIRE_WANT_READ where nothing has arrived; ::SEALWIRE_EOF where the server ended the
 * connection cleanly, and ::SEALWIRE_ERR_FRAME where it sent something else than answers, or a
 * damaged one. Behind these and every other error no call is under way any more: whether those
 * that were have been carried out is unknown. ::SEALWIRE_ERR_STATE where the connection is used
 * for packets.
 */
SEALWIRE_API
sealwire_result sealwire_conn_obrpc_next_reply(sealwire_conn *conn,
                                               sealwire_obrpc_reply *reply_out);

/**
 * Asks for the next part of a stream, whose latest one said that there is more. Its deadline
 * begins anew.
 *
 * ::SEALWIRE_ERR_STATE where the call is no stream that waits for this.
 */
SEALWIRE_API
sealwire_result sealwire_conn_obrpc_next_part(sealwire_conn *conn,
                                              uint64_t call_id);

/**
 * Gives a call up: its answer, should it come, is dropped, and the server of a stream that has
 * more is told. Of a call that is over already nothing happens.
 */
SEALWIRE_API
sealwire_result sealwire_conn_obrpc_cancel(sealwire_conn *conn,
                                           uint64_t call_id);

/**
 * OceanBase's name of a result code, such as "OB_TIMEOUT" for -4012; "unknown result code" for one
 * that has none here. It lives for ever.
 *
 * Any thread, at any time.
 */
SEALWIRE_API
const char *sealwire_obrpc_rcode_name(int32_t rcode);

/**
 * OceanBase's name of what is called, such as "OB_SET_CONFIG" for 0x106; "unknown call" for a code
 * that has none here. It lives for ever.
 *
 * Any thread, at any time.
 */
SEALWIRE_API
const char *sealwire_obrpc_pcode_name(uint32_t pcode);

/**
 * Judges by the configuration's rules whether an account may log in over this connection: for a
 * server that learns of the account after the handshake. The connection stays as it is, so that
 * the client can be told what it would be told for a wrong password, and nothing else.
 *
 * `host` is where the client is: an address as text, or "localhost" for a Unix socket. `tenant`
 * and `cluster` are OceanBase's; NULL where they are not known. Where both are NULL and the
 * dialect is OceanBase's, `user` may have them in it (user@tenant#cluster).
 *
 * ::SEALWIRE_ERR_ACCOUNT_DENIED where it may not, and sealwire_conn_error_text() says why, for the
 * log. ::SEALWIRE_ERR_STATE before the handshake is complete, at a client, and with OB-RPC.
 */
SEALWIRE_API
sealwire_result sealwire_conn_check_require(sealwire_conn *conn,
                                            const char *user,
                                            const char *host,
                                            const char *tenant,
                                            const char *cluster);

/**
 * Makes an engine for the calling thread; `options` may be NULL, for the defaults.
 *
 * ::SEALWIRE_ERR_ARGUMENT where an option cannot be; ::SEALWIRE_ERR_IO where the back end that was
 * asked for cannot be used.
 */
SEALWIRE_API
sealwire_result sealwire_engine_new(const sealwire_engine_options *options,
                                    sealwire_engine **engine_out);

/**
 * What moves the bytes: ::SEALWIRE_BACKEND_IO_URING or ::SEALWIRE_BACKEND_EPOLL; -1 where it may
 * not be asked.
 */
SEALWIRE_API
int sealwire_engine_backend(const sealwire_engine *engine);

/**
 * Copies a description of the back end for a log to `buf` (what it has switched on, and why it is
 * not io_uring), cut to `len` and ended by NUL, and returns its whole length without the NUL
 * (snprintf's rule).
 */
SEALWIRE_API
size_t sealwire_engine_describe(const sealwire_engine *engine,
                                char *buf,
                                size_t len);

/**
 * Connects `conn`, which sealwire_conn_new_client() made and which has not begun, to `address`
 * ("127.0.0.1:3306", "[::1]:3306" or "unix:/run/db.sock"), within `timeout_ms` milliseconds; the
 * handshake has its own time. ::SEALWIRE_EVENT_READY tells that it is in use, or
 * ::SEALWIRE_EVENT_CLOSED why it failed.
 *
 * Names are not resolved: a resolver would block the thread. From success on the connection is one
 * of the engine and of its thread; on an error it is as before.
 *
 * ::SEALWIRE_ERR_STATE where the connection has begun or has a transport; ::SEALWIRE_ERR_ARGUMENT
 * where the address cannot be read, or `timeout_ms` is 0; ::SEALWIRE_ERR_IO where no socket could
 * be opened.
 */
SEALWIRE_API
sealwire_result sealwire_engine_connect(sealwire_engine *engine,
                                        sealwire_conn *conn,
                                        const char *address,
                                        uint32_t timeout_ms);

/**
 * Gives `conn`, which has not begun, and the connected stream socket `fd` to the engine, which
 * begins the connection on it as its client or its server.
 *
 * On success the descriptor is the engine's, which closes it: the caller must not use its number
 * again. On an error it stays the caller's, and the connection is as before. From success on the
 * connection is one of the engine and of its thread.
 *
 * ::SEALWIRE_ERR_STATE where the connection has begun or has a transport; ::SEALWIRE_ERR_ARGUMENT
 * where `fd` is no open stream socket; ::SEALWIRE_ERR_IO where it is not connected, or cannot be
 * taken.
 */
SEALWIRE_API
sealwire_result sealwire_engine_attach(sealwire_engine *engine,
                                       sealwire_conn *conn,
                                       int fd);

/**
 * Sends what was written, waits until something happens, and tells what did: up to `events_max`
 * events, and their number in `*count_out`. What there was no room for is told by the next call,
 * without waiting; nothing is lost. Events of a connection that was freed are not told.
 *
 * It waits for `timeout_ms` milliseconds at most; -1: for ever; 0: not at all. It ends early for
 * an event only: for a signal it does not, whose handler may call sealwire_engine_wake().
 *
 * ::SEALWIRE_OK with 0 events where the time has passed; ::SEALWIRE_ERR_ARGUMENT where
 * `events_max` is 0; ::SEALWIRE_ERR_IO where the system refuses to wait.
 */
SEALWIRE_API
sealwire_result sealwire_engine_wait(sealwire_engine *engine,
                                     int timeout_ms,
                                     sealwire_event *events_out,
                                     size_t events_max,
                                     size_t *count_out);

/**
 * Ends the present wait of the engine, or its next one, by ::SEALWIRE_EVENT_WOKEN.
 *
 * Any thread, and signal handlers too: it takes no lock, asks for no memory and leaves errno where
 * it succeeds. The engine must not be freed meanwhile.
 */
SEALWIRE_API
sealwire_result sealwire_engine_wake(const sealwire_engine *engine);

/**
 * A descriptor that is readable, as poll() and epoll see it, where sealwire_engine_wait() has
 * something to do: by it, and by sealwire_engine_timeout_ms(), the engine is nested in another
 * loop. Each turn of that loop asks for the timeout, polls, and calls
 * sealwire_engine_wait() with a timeout of 0 whatever the poll said.
 *
 * It is the engine's, which closes it. Nothing but to poll it is allowed; register it
 * level-triggered. -1 where it may not be asked for.
 */
SEALWIRE_API
int sealwire_engine_fd(const sealwire_engine *engine);

/**
 * How long another loop may wait for sealwire_engine_fd(), in milliseconds as poll() takes it: -1:
 * for ever; 0 where something is to be done at once, such as sending what was written. To be asked
 * right before each poll.
 */
SEALWIRE_API
int sealwire_engine_timeout_ms(const sealwire_engine *engine);

/**
 * Number of connections that have not ended, with those that were freed and are being ended in the
 * background: a program waits until it is 0 before it frees the engine, so that all is sent.
 */
SEALWIRE_API
size_t sealwire_engine_conn_count(const sealwire_engine *engine);

/**
 * Copies the words for the engine's last failed call to `buf`, cut to `len` and ended by NUL, and
 * returns their whole length without the NUL (snprintf's rule). 0 where no call failed.
 */
SEALWIRE_API
size_t sealwire_engine_error_text(const sealwire_engine *engine,
                                  char *buf,
                                  size_t len);

/**
 * errno of the engine's last failed call; 0 where it was no system call that failed.
 */
SEALWIRE_API
int sealwire_engine_os_error(const sealwire_engine *engine);

/**
 * Frees an engine; NULL is fine. Its connections are cut at once and its listeners closed: what
 * was written and not sent is lost (sealwire_engine_conn_count()). Handles of them that are left
 * answer ::SEALWIRE_ERR_STATE and are still to be freed.
 *
 * The engine's thread; on another one nothing happens.
 */
SEALWIRE_API
void sealwire_engine_free(sealwire_engine *engine);

/**
 * Listens on `address` ("127.0.0.1:3306", "[::1]:3306" or "unix:/run/db.sock"; port 0: one that is
 * free) and accepts from the next wait on: each connection is told by ::SEALWIRE_EVENT_ACCEPTED.
 *
 * Connections begin with TLS as servers of `config`, as it is when they are accepted; with the
 * option `plaintext_first` they begin in plaintext, and sealwire_conn_start_tls() ends that. Where
 * `config` is NULL they stay in plaintext. Where it is one of OB-RPC, what each client negotiates
 * decides. The listener keeps the configuration: its handle may be freed. `options` may be NULL,
 * for the defaults.
 *
 * ::SEALWIRE_ERR_ARGUMENT where the address cannot be read, the configuration is one of clients,
 * or `plaintext_first` is set with one of OB-RPC; ::SEALWIRE_ERR_IO where the address is in use or
 * may not be listened on.
 */
SEALWIRE_API
sealwire_result sealwire_engine_listen(sealwire_engine *engine,
                                       const sealwire_config *config,
                                       const char *address,
                                       const sealwire_listen_options *options,
                                       sealwire_listener **listener_out);

/**
 * The TCP port, as the system chose it for port 0; 0 on a Unix socket, and on another thread.
 */
SEALWIRE_API
uint16_t sealwire_listener_port(const sealwire_listener *listener);

/**
 * Copies the address, in the words that sealwire_engine_connect() takes, to `buf`, cut to `len`
 * and ended by NUL, and returns its whole length without the NUL (snprintf's rule).
 */
SEALWIRE_API
size_t sealwire_listener_address(const sealwire_listener *listener,
                                 char *buf,
                                 size_t len);

/**
 * Stops accepting and frees the handle; NULL is fine. Accepted connections live on. What the
 * kernel had accepted is still told, with `listener` NULL, then ::SEALWIRE_EVENT_UNLISTENED.
 *
 * The engine's thread; on another one nothing happens.
 */
SEALWIRE_API
void sealwire_listener_free(sealwire_listener *listener);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SEALWIRE_H */
