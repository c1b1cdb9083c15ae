//! Every pointer of every function of the header, as NULL and out of alignment.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};

use super::*;
use crate::ffi::config::protocol::*;
use crate::ffi::config::require::*;
use crate::ffi::config::sealwire_config_reload;
use crate::ffi::conn::facts::*;
use crate::ffi::conn::require::*;
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

values!(usize, u32, c_int, sealwire_key_log_callback);

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

no_results!((), usize, u32, u64, c_int, bool, *const c_char);

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
    let declared = declared();
    let is_here = |name: &&str| !NOT_HERE.iter().any(|part| name.contains(part));
    let known: Vec<_> = declared
        .keys()
        .map(String::as_str)
        .filter(is_here)
        .collect();
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

/// Parts of the names of functions that are not tried here: the engine's, which its own tests give
/// NULL, and MySQL's.
const NOT_HERE: &[&str] = &[
    "sealwire_engine_",
    "sealwire_listener_",
    "sealwire_conn_peer_address",
    "sealwire_conn_set_reading",
    "_user_data",
    "_mysql_",
];

/// Pointers that may be NULL, by their place among the pointers of the function, and what it says.
const OPTIONAL: &[(&str, usize, sealwire_result)] = &[
    ("sealwire_config_builder_danger_set_key_log", 1, SEALWIRE_OK),
    ("sealwire_conn_check_require", 3, SEALWIRE_ERR_STATE),
    ("sealwire_conn_check_require", 4, SEALWIRE_ERR_STATE),
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
    ]
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
