//! Every bound of the library, with its unit and its reason.

/// Plaintext in one TLS record, in bytes (RFC 8446 section 5.1).
pub const RECORD_PLAIN_LEN_MAX: usize = 16_384;

/// Header of a TLS record, in bytes: content type, version, length.
pub const RECORD_HEADER_LEN: usize = 5;

/// Ciphertext of one TLS 1.3 record, in bytes: plaintext, content type, tag, padding (RFC 8446
/// section 5.2).
pub const RECORD_CIPHER_LEN_MAX: usize = RECORD_PLAIN_LEN_MAX + 256;

/// Ciphertext of one TLS 1.2 record, in bytes (RFC 5246 section 6.2.3).
pub const RECORD_CIPHER_LEN_MAX_TLS12: usize = RECORD_PLAIN_LEN_MAX + 2_048;

/// What a sealed record adds to its plaintext at most, in bytes: header, TLS 1.2 explicit nonce or
/// TLS 1.3 content type, tag.
pub const RECORD_OVERHEAD_MAX: usize = RECORD_HEADER_LEN + 8 + 16;

/// Memory of a send buffer, in bytes: four full records, since sends of 64 KiB are what loopback
/// and network stacks move cheapest, and room for an alert behind them.
pub const SEND_BUF_LEN: usize = 4 * (RECORD_PLAIN_LEN_MAX + RECORD_OVERHEAD_MAX) + 64;

/// Memory of a buffer for a record that has arrived in part, in bytes: the largest record there is.
pub const PARTIAL_BUF_LEN: usize = RECORD_HEADER_LEN + RECORD_CIPHER_LEN_MAX_TLS12;

/// From this length on, in bytes, a write is sealed straight from the caller's memory; a shorter
/// one is gathered with its neighbours, as the fixed cost of a record (about 100 ns) outweighs a
/// copy.
pub const SEAL_DIRECT_LEN_MIN: usize = 4_096;

/// Queued bytes of one connection from which on it takes no more from the application.
pub const SEND_QUEUE_LEN_HIGH: usize = 256 * 1024;

/// Queued bytes of one connection at which a full queue is writable again.
pub const SEND_QUEUE_LEN_LOW: usize = 64 * 1024;

/// Records in a row that carry nothing, as rustls and BoringSSL bound them.
pub const EMPTY_RECORDS_MAX: u32 = 32;

/// KeyUpdate messages in a row without application data between them, as rustls and BoringSSL bound
/// them.
pub const KEY_UPDATES_MAX: u32 = 32;

/// Warning alerts in a row (TLS 1.2 only), as rustls and BoringSSL bound them.
pub const WARNING_ALERTS_MAX: u32 = 4;

/// A handshake message after the handshake, in bytes: the largest NewSessionTicket that is
/// accepted.
pub const POST_HANDSHAKE_MESSAGE_LEN_MAX: usize = 16 * 1024;

/// Records that one AES-GCM key may protect (RFC 8446 section 5.5 allows 2^24.5).
pub const GCM_RECORDS_MAX: u64 = 1 << 24;

/// Records before [`GCM_RECORDS_MAX`] at which a TLS 1.3 key is replaced.
pub const GCM_RECORDS_MARGIN: u64 = 1 << 12;

/// Handshake bytes of one connection that rustls has begun to read and not let go of, in bytes: its
/// longest message (64 KiB) in records of ordinary length. In records of a byte or two it would be
/// several times that, and all of it before the peer has authenticated.
pub const HANDSHAKE_CARRY_LEN_MAX: usize = 128 * 1024;

/// Default time from the first byte, or from the connection being made, to the end of the
/// handshake, in ms.
pub const HANDSHAKE_TIMEOUT_MS: u64 = 10_000;

/// How long a connection that this side closes waits without progress for its bytes to leave and
/// for the peer's end of stream, in ms. Closing earlier could answer late bytes of the peer with a
/// reset, which destroys what it has not read yet.
pub const LINGER_MS: u64 = 5_000;

/// The same for a connection that failed, in ms: what is left to deliver is one alert, and the
/// error is reported only behind it.
pub const LINGER_FAILED_MS: u64 = 1_000;

/// Late bytes of the peer that are read and dropped while a connection closes, in bytes: what a
/// peer may well have under way, and no more.
pub const LINGER_LEN_MAX: usize = 1024 * 1024;

/// Time after which accepting is tried again where descriptors or memory ran out, in ms.
pub const ACCEPT_RETRY_MS: u64 = 1_000;

/// Length of a receive buffer that a caller may ask for, in bytes: sixty records and more, which no
/// socket hands over at once.
pub const RECV_BUF_LEN_MAX: usize = 1024 * 1024;

/// Operations that one system call of the engine carries: what a busy cycle of a thousand
/// connections asks for. A cycle that asks for more makes more calls.
pub const BACKEND_QUEUE_LEN: u32 = 1_024;

/// Chains that one verifier remembers as good: more peers than a database has applications, and 100
/// KB.
pub const VERIFIED_CHAINS_MAX: usize = 1_024;

/// Servers whose TLS sessions a client configuration keeps for resumption: its server, by each of
/// its names.
pub const CLIENT_SESSIONS_MAX: usize = 256;

/// How long a session may be resumed by default, in seconds: what OpenSSL has.
pub const TICKET_LIFETIME_S: u32 = 7_200;

/// How far the clocks of two gateways that share ticket keys may differ, in seconds.
pub const TICKET_SKEW_S: u64 = 60;

/// Login packet of a MySQL client, in bytes: 64 KiB of attributes, which is what servers take, and
/// the longest names and answers many times over.
pub const LOGIN_PACKET_LEN_MAX: usize = 1024 * 1024;

/// MySQL commands that a client sends before the first is answered: more than any driver that
/// pipelines. Beyond that the session is no longer followed.
pub const COMMANDS_IN_FLIGHT_MAX: usize = 1_024;

/// Plain bytes that are inflated at a time, in bytes: enough to be cheap, and little enough for
/// each of many connections to have at once.
pub const INFLATED_PIECE_LEN: usize = 8 * 1024;

/// Header of version 1 of the PROXY protocol, in bytes: its specification's own bound.
pub const PROXY_LINE_LEN_MAX: usize = 107;

/// Header of version 2 of the PROXY protocol, in bytes: the prefix, and 4 KiB of addresses and
/// values, of which those of certificates and clouds need some hundred. The wire allows 64 KiB,
/// from whoever has not said yet who he is.
pub const PROXY_HEADER_LEN_MAX: usize = 16 + 4_096;

/// One text in a header of the PROXY protocol that is sent, in bytes: names that are in use many
/// times over, and so little that all four of them fit.
pub const PROXY_TEXT_LEN_MAX: usize = 1_000;

/// OB-RPC packet behind its net header, in bytes: several times the largest answer of a log reader
/// (17 MiB). The wire allows 2047 MiB.
pub const RPC_PACKET_LEN_MAX: usize = 64 * 1024 * 1024;

/// Calls of one connection that are not over: what OceanBase's own client allows itself.
pub const RPC_CALLS_MAX: usize = 4_096;

/// How long a call of OB-RPC is waited for where its caller does not say, in ms: OceanBase's
/// rpc_timeout.
pub const RPC_TIMEOUT_MS: u32 = 2_000;

/// The longest OB-RPC packet that the wire allows behind its net header, in bytes: what passes
/// through is counted, and takes no memory.
pub const RPC_PACKET_LEN_WIRE_MAX: usize = 2_047 * 1024 * 1024;

/// Calls that are followed on one connection that passes through: more than OceanBase's own ends
/// have in flight (4,096 per category). Beyond them the connection has no safe moment any more.
pub const RPC_CALLS_FOLLOWED_MAX: usize = 65_536;

/// Streams that one connection of a server keeps open between two parts: each is state of the
/// server's application.
pub const RPC_STREAMS_MAX: usize = 256;

/// How long a stream is kept whose client does not ask for the next part, in ms: OceanBase's
/// default.
pub const RPC_STREAM_IDLE_MS: u64 = 1_200_000;

/// Memory of one connection that has not begun its handshake, in bytes: what the engine keeps of
/// every connection, and a negotiation in part. A peer that holds it back in the midst of a record
/// costs [`PARTIAL_BUF_LEN`] more.
pub const NEGOTIATION_MEMORY_LEN_MAX: usize = 2 * 1024;
