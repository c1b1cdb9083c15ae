//! Every pointer of every function of the header, as NULL and out of alignment.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use super::*;
use crate::ffi::config::obrpc::*;
use crate::ffi::config::protocol::*;
use crate::ffi::config::require::*;
use crate::ffi::config::sealwire_config_reload;
use crate::ffi::conn::facts::*;
use crate::ffi::conn::mysql::*;
use crate::ffi::conn::obrpc::call::*;
use crate::ffi::conn::obrpc::name::*;
use crate::ffi::conn::obrpc::packet::*;
use crate::ffi::conn::obrpc::sealwire_conn_obrpc_method;
use crate::ffi::conn::require::*;
use crate::ffi::engine::event::sealwire_event;
use crate::ffi::engine::event::sealwire_event_kind::SEALWIRE_EVENT_WOKEN;
use crate::ffi::engine::listener::*;
use crate::ffi::engine::options::{sealwire_engine_options, sealwire_listen_options};
use crate::ffi::engine::*;
use crate::ffi::result::sealwire_result_name;
use crate::ffi::version::*;

/// An argument, and how to spoil it; `None` where it cannot be spoilt so.
trait Argument: Copy {
    fn nulled(self) -> Option<Self>;
    fn misaligned(self) -> Option<Self>;
}

macro_rules! pointers {
    ($($kind:tt)*) => {
        impl<T> Argument for *$($kind)* T {
            fn nulled(self) -> Option<Self> {
                Some(std::ptr::null::<T>() as Self)
            }

            fn misaligned(self) -> Option<Self> {
                (align_of::<T>() > 1).then(|| self.cast::<u8>().wrapping_add(1).cast())
            }
        }
    };
}

pointers!(const);
pointers!(mut);

macro_rules! values {
    ($($value:ty),*) => {
        $(impl Argument for $value {
            fn nulled(self) -> Option<Self> {
                None
            }

            fn misaligned(self) -> Option<Self> {
                None
            }
        })*
    };
}

values!(usize, u32, u64, u8, bool, c_int, sealwire_key_log_callback);

/// What a call returns, where it is a result.
trait Returned {
    fn result(self) -> Option<sealwire_result>;
}

impl Returned for sealwire_result {
    fn result(self) -> Option<sealwire_result> {
        Some(self)
    }
}

macro_rules! no_results {
    ($($value:ty),*) => {
        $(impl Returned for $value {
            fn result(self) -> Option<sealwire_result> {
                None
            }
        })*
    };
}

no_results!(
    (),
    usize,
    u16,
    u32,
    u64,
    c_int,
    bool,
    *const c_char,
    *mut c_void
);

/// One function: what it returned for each of its pointers being NULL, and being out of alignment.
struct Spoilt {
    nulled: Vec<Option<sealwire_result>>,
    misaligned: Vec<Option<sealwire_result>>,
}

/// The functions, each called once for each argument that can be spoilt.
macro_rules! spoil {
    ($($function:ident($($argument:expr),*)),* $(,)?) => {
        BTreeMap::from([$((stringify!($function), Spoilt {
            nulled: spoil!(@ nulled $function($($argument),*)),
            misaligned: spoil!(@ misaligned $function($($argument),*)),
        })),*])
    };
    (@ $how:ident $function:ident($($argument:expr),*)) => {{
        let mut returned = Vec::new();
        let can_be_spoilt: &[bool] = &[$($argument.$how().is_some()),*];
        for chosen in (0..can_be_spoilt.len()).filter(|at| can_be_spoilt[*at]) {
            let mut places = 0usize..;
            #[allow(unused_mut, unused_variables, reason = "there may be no argument")]
            let mut is_chosen = || places.next() == Some(chosen);
            let result = $function($(match is_chosen() {
                true => $argument.$how().unwrap_or($argument),
                false => $argument,
            }),*);
            returned.push(Returned::result(result));
        }
        returned
    }};
}

#[test]
fn null_and_misaligned_pointers_are_told_apart_from_good_ones() {
    let (client, server) = (Builder::usual_client(), Builder::usual_server());
    let (config, conn) = (client.build(), Conn::client(&client.build(), "localhost"));
    let mut spoilt = of_configurations(&client, &server, &config);
    spoilt.append(&mut of_connections(&config, &conn));
    spoilt.append(&mut of_mysql(&conn));
    spoilt.append(&mut of_obrpc(&conn));
    spoilt.append(&mut of_engines(&conn));
    let declared = declared();
    let known: Vec<_> = declared.keys().map(String::as_str).collect();
    let tried: Vec<_> = spoilt.keys().copied().collect();
    assert_eq!(tried, known, "a function of the header is not tried here");
    for (function, Spoilt { nulled, misaligned }) in &spoilt {
        assert_eq!(nulled.len(), declared[*function], "{function}");
        for (at, result) in nulled.iter().enumerate() {
            let expected = match OPTIONAL
                .iter()
                .find(|(name, it, _)| name == function && *it == at)
            {
                Some((_, _, result)) => *result,
                None => SEALWIRE_ERR_NULL,
            };
            assert!(
                result.is_none_or(|it| it == expected),
                "{function} {at}: {result:?}"
            );
        }
        for result in misaligned {
            assert!(
                result.is_none_or(|it| it == SEALWIRE_ERR_ARGUMENT),
                "{function}"
            );
        }
    }
}

/// Pointers that may be NULL, by their place among the pointers of the function, and what it says.
const OPTIONAL: &[(&str, usize, sealwire_result)] = &[
    ("sealwire_config_builder_danger_set_key_log", 1, SEALWIRE_OK),
    ("sealwire_conn_check_require", 3, SEALWIRE_ERR_STATE),
    ("sealwire_conn_check_require", 4, SEALWIRE_ERR_STATE),
    ("sealwire_conn_mysql_connect", 1, SEALWIRE_ERR_STATE),
    ("sealwire_conn_set_user_data", 1, SEALWIRE_OK),
    ("sealwire_engine_listen", 1, SEALWIRE_ERR_IO),
    ("sealwire_engine_listen", 3, SEALWIRE_ERR_IO),
    ("sealwire_engine_new", 0, SEALWIRE_OK),
];

extern "C" fn ignore_line(_line: *const c_char, _user_data: *mut c_void) {}

/// Those without a connection. No handle is freed: `_free` has one argument, which is spoilt.
fn of_configurations(
    client: &Builder,
    server: &Builder,
    config: &Config,
) -> BTreeMap<&'static str, Spoilt> {
    let (text, path) = (c"text".as_ptr(), c"/dev/null".as_ptr());
    let pin = c(&"ab".repeat(32));
    let mut byte = [0u8; 64];
    let buf = byte.as_mut_ptr().cast::<c_char>();
    let memory: *mut c_void = byte.as_mut_ptr().cast();
    let bytes = byte.as_ptr();
    let mut builder_out: *mut sealwire_config_builder = ptr::null_mut();
    let mut config_out: *const sealwire_config = ptr::null();
    let (builder_out, config_out) = (&raw mut builder_out, &raw mut config_out);
    let require = [0usize; 16];
    let require = require.as_ptr().cast::<sealwire_require>();
    let (c, s, config) = (client.0, server.0, config.0);
    let ignore: sealwire_key_log_callback = Some(ignore_line);
    spoil![
        sealwire_version_number(),
        sealwire_version(),
        sealwire_result_name(0 as c_int),
        sealwire_config_builder_new_client(builder_out),
        sealwire_config_builder_new_server(builder_out),
        sealwire_config_builder_free(c),
        sealwire_config_builder_build(c.cast_const(), config_out),
        sealwire_config_builder_error_text(c.cast_const(), buf, 64usize),
        sealwire_config_builder_set_identity_pem(c, bytes, 9usize, bytes, 9usize),
        sealwire_config_builder_set_identity_encrypted_pem(
            c, bytes, 9usize, bytes, 9usize, bytes, 9usize
        ),
        sealwire_config_builder_set_identity_files(c, path, path),
        sealwire_config_builder_set_identity_encrypted_files(c, path, path, bytes, 9usize),
        sealwire_config_builder_add_roots_pem(c, bytes, 9usize),
        sealwire_config_builder_add_roots_file(c, path),
        sealwire_config_builder_add_roots_system(c),
        sealwire_config_builder_add_crls_pem(c, bytes, 9usize),
        sealwire_config_builder_add_crls_file(c, path),
        sealwire_config_builder_set_crls_required(c),
        sealwire_config_builder_set_verify_ca(c),
        sealwire_config_builder_allow_cn_name(c),
        sealwire_config_builder_add_server_fingerprint(c, pin.as_ptr()),
        sealwire_config_builder_danger_accept_any_certificate(c),
        sealwire_config_builder_set_client_cert(s, 0 as c_int),
        sealwire_config_builder_add_client_fingerprint(s, pin.as_ptr()),
        sealwire_config_builder_add_allowed_client(s, text),
        sealwire_config_builder_set_min_version(c, SEALWIRE_TLS_1_2),
        sealwire_config_builder_set_max_version(c, SEALWIRE_TLS_1_3),
        sealwire_config_builder_set_suites(c, text),
        sealwire_config_builder_set_records(c, 0 as c_int),
        sealwire_config_builder_set_handshake_timeout_ms(c, 9u32),
        sealwire_config_builder_set_tickets(s, bytes, 9usize, text),
        sealwire_config_builder_disable_resumption(c),
        sealwire_config_builder_danger_set_key_log(c, ignore, memory),
        sealwire_config_builder_set_obrpc_method(c, SEALWIRE_OBRPC_SSL_IO),
        sealwire_config_builder_set_obrpc_methods(s, SEALWIRE_OBRPC_SSL_IO),
        sealwire_config_builder_set_obrpc_gid(c, 9u64),
        sealwire_config_builder_obrpc_require_binding(c),
        sealwire_config_builder_danger_obrpc_end_without_close_notify(c),
        sealwire_config_builder_add_require(s, require),
        sealwire_config_builder_set_require_default_deny(s),
        sealwire_config_builder_set_require_dialect(s, 0 as c_int),
        sealwire_config_builder_set_require_oneline(s, 0 as c_int),
        sealwire_config_reload(config, c.cast_const()),
        sealwire_config_free(config),
    ]
}

/// Those of connections.
fn of_connections(config: &Config, conn: &Conn) -> BTreeMap<&'static str, Spoilt> {
    let text = c"text".as_ptr();
    let mut byte = [0u8; 64];
    let memory: *mut c_void = byte.as_mut_ptr().cast();
    let (bytes, buf) = (byte.as_ptr(), byte.as_mut_ptr().cast::<c_char>());
    let mut conn_out: *mut sealwire_conn = ptr::null_mut();
    let (mut len, mut borrowed) = (0usize, ptr::null::<u8>());
    let (conn_out, len_out, borrowed_out) = (&raw mut conn_out, &raw mut len, &raw mut borrowed);
    let (config, conn) = (config.0, conn.0);
    let konn = conn.cast_const();
    spoil![
        sealwire_conn_new_client(config, text, conn_out),
        sealwire_conn_new_server(config, conn_out),
        sealwire_conn_free(conn),
        sealwire_conn_set_fd(conn, -1 as c_int),
        sealwire_conn_set_plaintext(conn),
        sealwire_conn_start_tls(conn),
        sealwire_conn_handshake(conn),
        sealwire_conn_read(conn, memory, 9usize, len_out),
        sealwire_conn_write(conn, memory.cast_const(), 9usize, len_out),
        sealwire_conn_flush(conn),
        sealwire_conn_shutdown(conn),
        sealwire_conn_pending(konn),
        sealwire_conn_queued(konn),
        sealwire_conn_wants_read(konn),
        sealwire_conn_wants_write(konn),
        sealwire_conn_timeout_ms(konn),
        sealwire_conn_feed(conn, bytes, 9usize, len_out),
        sealwire_conn_output(konn, borrowed_out),
        sealwire_conn_output_sent(conn, 0usize),
        sealwire_conn_os_error(konn),
        sealwire_conn_alert(konn),
        sealwire_conn_error_text(konn, buf, 64usize),
        sealwire_conn_version(konn),
        sealwire_conn_suite(konn, buf, 64usize),
        sealwire_conn_openssl_suite(konn, buf, 64usize),
        sealwire_conn_group(konn, buf, 64usize),
        sealwire_conn_is_resumed(konn),
        sealwire_conn_server_name(konn, buf, 64usize),
        sealwire_conn_application_protocol(konn, buf, 64usize),
        sealwire_conn_peer_certificate(konn, 0usize, borrowed_out),
        sealwire_conn_peer_subject(konn, buf, 64usize),
        sealwire_conn_peer_issuer(konn, buf, 64usize),
        sealwire_conn_peer_alt_name(konn, 0usize, buf, 64usize),
        sealwire_conn_peer_fingerprint(konn, memory.cast::<u8>()),
        sealwire_conn_peer_not_before_s(konn),
        sealwire_conn_peer_not_after_s(konn),
        sealwire_conn_check_require(conn, text, text, text, text),
        sealwire_conn_set_user_data(conn, memory),
        sealwire_conn_user_data(konn),
        sealwire_conn_set_reading(conn, true),
        sealwire_conn_peer_address(konn, buf, 64usize),
    ]
}

/// Those of OB-RPC.
fn of_obrpc(conn: &Conn) -> BTreeMap<&'static str, Spoilt> {
    let (mut packet, asked) = ([0usize; 32], [0usize; 16]);
    let packet = packet.as_mut_ptr().cast::<sealwire_obrpc_packet>();
    let asked = asked.as_ptr().cast::<sealwire_obrpc_call>();
    let (mut reply, mut id) = ([0usize; 16], 0u64);
    let reply = reply.as_mut_ptr().cast::<sealwire_obrpc_reply>();
    let id_out = &raw mut id;
    let memory = [0u8; 64];
    let memory: *const c_void = memory.as_ptr().cast();
    let conn = conn.0;
    spoil![
        sealwire_conn_obrpc_method(conn.cast_const()),
        sealwire_conn_next_obrpc_packet(conn, packet),
        sealwire_conn_write_obrpc_packet(conn, packet.cast_const()),
        sealwire_conn_answer_obrpc_packet(conn, packet.cast_const(), 0 as c_int, memory, 9usize),
        sealwire_conn_obrpc_call(conn, asked, id_out),
        sealwire_conn_obrpc_next_reply(conn, reply),
        sealwire_conn_obrpc_next_part(conn, 9u64),
        sealwire_conn_obrpc_cancel(conn, 9u64),
        sealwire_obrpc_rcode_name(0 as c_int),
        sealwire_obrpc_pcode_name(0u32),
    ]
}

/// Those of MySQL's protocol.
fn of_mysql(conn: &Conn) -> BTreeMap<&'static str, Spoilt> {
    let text = c"mysql_native_password".as_ptr();
    // Aligned, and longer than a packet and a greeting.
    let mut memory = [0u64; 64];
    let (packet, greeting) = (memory.as_mut_ptr().cast(), memory.as_mut_ptr().cast());
    let (nonce, buf) = (
        memory.as_ptr().cast::<u8>(),
        memory.as_mut_ptr().cast::<u8>(),
    );
    let mut len = 0usize;
    let (conn, len_out) = (conn.0, &raw mut len);
    let given: *mut sealwire_mysql_packet = packet;
    let said: *mut sealwire_mysql_greeting = greeting;
    spoil![
        sealwire_conn_next_mysql_packet(conn, given),
        sealwire_conn_write_mysql_packet(conn, given.cast_const()),
        sealwire_conn_mysql_connect(conn, 0u32, 0u8, said),
        sealwire_conn_mysql_accept(conn, said.cast_const()),
        sealwire_mysql_prove_password(text, text, nonce, buf, 32usize, len_out),
    ]
}

/// Those of engines and listeners.
fn of_engines(conn: &Conn) -> BTreeMap<&'static str, Spoilt> {
    let mut made: *mut sealwire_engine = ptr::null_mut();
    let mut engine: *mut sealwire_engine = ptr::null_mut();
    let mut listener: *mut sealwire_listener = ptr::null_mut();
    ok(sealwire_engine_new(ptr::null(), &raw mut engine));
    let address = c"127.0.0.1:0".as_ptr();
    ok(sealwire_engine_listen(
        engine,
        ptr::null(),
        address,
        ptr::null(),
        &raw mut listener,
    ));
    // All that is right is asked of the system, which refuses it.
    let address = c"unix:/nowhere/at/all".as_ptr();
    let config = Builder::usual_server().build();
    let options = sealwire_engine_options::default();
    let listen_options = sealwire_listen_options::default();
    let mut event = sealwire_event::new(SEALWIRE_EVENT_WOKEN);
    let mut other: *mut sealwire_listener = ptr::null_mut();
    let (mut byte, mut count) = ([0u8; 64], 0usize);
    let buf = byte.as_mut_ptr().cast::<c_char>();
    let (made_out, other_out) = (&raw mut made, &raw mut other);
    let (event_out, count_out) = (&raw mut event, &raw mut count);
    let (options, listen_options) = (&raw const options, &raw const listen_options);
    let (socket, _peer) = UnixStream::pair().unwrap();
    let fd: RawFd = socket.as_raw_fd();
    let (conn, config) = (conn.0, config.0);
    let (enjine, listenur) = (engine.cast_const(), listener.cast_const());
    let spoilt = spoil![
        sealwire_engine_new(options, made_out),
        sealwire_engine_backend(enjine),
        sealwire_engine_describe(enjine, buf, 64usize),
        sealwire_engine_connect(engine, conn, address, 1u32),
        sealwire_engine_attach(engine, conn, fd),
        sealwire_engine_wait(engine, 0 as c_int, event_out, 1usize, count_out),
        sealwire_engine_wake(enjine),
        sealwire_engine_fd(enjine),
        sealwire_engine_timeout_ms(enjine),
        sealwire_engine_conn_count(enjine),
        sealwire_engine_error_text(enjine, buf, 64usize),
        sealwire_engine_os_error(enjine),
        sealwire_engine_free(engine),
        sealwire_engine_listen(engine, config, address, listen_options, other_out),
        sealwire_listener_port(listenur),
        sealwire_listener_address(listenur, buf, 64usize),
        sealwire_listener_free(listener),
    ];
    sealwire_listener_free(listener);
    for engine in [engine, made] {
        sealwire_engine_free(engine);
    }
    spoilt
}

/// The functions of the header, and how many pointers each takes.
fn declared() -> BTreeMap<String, usize> {
    let header = include_str!("../../../include/sealwire.h");
    let code: String = header
        .lines()
        .filter(|line| !line.starts_with([' ', '/', '#']) || line.starts_with("    "))
        .flat_map(|line| [line, " "])
        .collect();
    let declarations = code.split("SEALWIRE_API").skip(1);
    let parsed = declarations.filter_map(|text| {
        let (head, rest) = text.split_once('(')?;
        let (parameters, _) = rest.split_once(')')?;
        let name = head.rsplit([' ', '*']).next()?;
        let pointers = parameters
            .split(',')
            .filter(|parameter| parameter.contains('*'));
        Some((name.to_owned(), pointers.count()))
    });
    parsed.collect()
}
