//! What the handshake of a connection agreed on, and who the peer is.

use std::ffi::{c_char, c_int};

use super::{Conn, sealwire_conn};
use crate::ffi::config::{SEALWIRE_TLS_1_2, SEALWIRE_TLS_1_3};
use crate::ffi::handle::{self, ask};
use crate::ffi::pointer::Out;
use crate::ffi::result::Failure;
use crate::ffi::result::sealwire_result::{self, *};
use crate::tls::{AltName, Certificate, Facts, Oneline, Version};

/// The protocol version, SEALWIRE_TLS_1_2 or SEALWIRE_TLS_1_3; 0 where no handshake is complete.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_version(conn: *const sealwire_conn) -> c_int {
    ask(conn, 0, |conn| {
        match conn.link.facts().map(|facts| facts.version) {
            None => 0,
            Some(Version::Tls12) => SEALWIRE_TLS_1_2,
            Some(Version::Tls13) => SEALWIRE_TLS_1_3,
        }
    })
}

/// Copies the cipher suite by IANA's name, as in "TLS_AES_128_GCM_SHA256", to `buf`, cut to `len`
/// and ended by NUL, and returns its whole length without the NUL (snprintf's rule). 0 where no
/// handshake is complete. `buf` may be NULL where `len` is 0.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_suite(
    conn: *const sealwire_conn,
    buf: *mut c_char,
    len: usize,
) -> usize {
    copy(conn, buf, len, |facts| Some(facts.suite.to_owned()))
}

/// The cipher suite by OpenSSL's name, as in "ECDHE-RSA-AES128-GCM-SHA256"; copied as by
/// sealwire_conn_suite().
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_openssl_suite(
    conn: *const sealwire_conn,
    buf: *mut c_char,
    len: usize,
) -> usize {
    copy(conn, buf, len, |facts| {
        Some(facts.openssl_suite().to_owned())
    })
}

/// The key exchange group, as in "X25519MLKEM768"; copied as by sealwire_conn_suite().
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_group(
    conn: *const sealwire_conn,
    buf: *mut c_char,
    len: usize,
) -> usize {
    copy(conn, buf, len, |facts| Some(facts.group.to_owned()))
}

/// True where an earlier session was taken up again.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_is_resumed(conn: *const sealwire_conn) -> bool {
    ask(conn, false, |conn| {
        conn.link.facts().is_some_and(|facts| facts.resumed)
    })
}

/// At a server, the name that the client asked for (SNI); copied as by sealwire_conn_suite(), 0
/// where it asked for none. Anybody may ask for any name.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_server_name(
    conn: *const sealwire_conn,
    buf: *mut c_char,
    len: usize,
) -> usize {
    copy(conn, buf, len, |facts| facts.server_name.clone())
}

/// The application protocol that both ends named (ALPN); copied as by sealwire_conn_suite(), 0 where
/// there is none.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_application_protocol(
    conn: *const sealwire_conn,
    buf: *mut c_char,
    len: usize,
) -> usize {
    copy(conn, buf, len, |facts| facts.application_protocol.clone())
}

/// The peer's certificate at `index` in DER: its own at 0, then those that it sent along. Returns
/// its length; 0 where there is none, and `*der_out` is left alone.
///
/// It is borrowed until the next call that takes the connection non-const.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_peer_certificate(
    conn: *const sealwire_conn,
    index: usize,
    der_out: *mut *const u8,
) -> usize {
    let found = handle::enter(conn, |conn| {
        let out = Out::new("der_out", der_out)?;
        let facts = conn.link.facts();
        let Some(der) = facts.and_then(|facts| facts.peer_chain.get(index)) else {
            return Ok(0);
        };
        out.set(der.as_ptr());
        Ok(der.len())
    });
    found.unwrap_or(0)
}

/// The subject of the peer's certificate on one line, as OpenSSL 3 writes it and rules compare it:
/// "/C=CN/O=Test Org/CN=alice". Copied as by sealwire_conn_suite(), 0 where the peer showed none.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_peer_subject(
    conn: *const sealwire_conn,
    buf: *mut c_char,
    len: usize,
) -> usize {
    copy(conn, buf, len, |facts| {
        facts.peer()?.subject(Oneline::OpenSsl3)
    })
}

/// The issuer of the peer's certificate, as sealwire_conn_peer_subject() has its subject.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_peer_issuer(
    conn: *const sealwire_conn,
    buf: *mut c_char,
    len: usize,
) -> usize {
    copy(conn, buf, len, |facts| {
        facts.peer()?.issuer(Oneline::OpenSsl3)
    })
}

/// The alternative name at `index` of the peer's certificate, with its kind in front: "DNS:db1",
/// "IP:10.0.0.1", "email:a@b" or "URI:…". Copied as by sealwire_conn_suite(), 0 behind the last.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_peer_alt_name(
    conn: *const sealwire_conn,
    index: usize,
    buf: *mut c_char,
    len: usize,
) -> usize {
    copy(conn, buf, len, |facts| {
        let name = facts.peer()?.alt_names().into_iter().nth(index)?;
        let kind = match name {
            AltName::Dns(_) => "DNS",
            AltName::Ip(_) => "IP",
            AltName::Email(_) => "email",
            AltName::Uri(_) => "URI",
        };
        Some(format!("{kind}:{name}"))
    })
}

/// Writes the SHA-256 of the peer's certificate, 32 bytes, to `sha256_out`.
///
/// ::SEALWIRE_ERR_STATE where the peer has shown none, or not yet.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_peer_fingerprint(
    conn: *const sealwire_conn,
    sha256_out: *mut u8,
) -> sealwire_result {
    handle::call(conn, |conn: &mut Conn| {
        let out = Out::new("sha256_out", sha256_out.cast::<[u8; 32]>())?;
        let Some(peer) = conn.link.facts().and_then(Facts::peer) else {
            return Err(Failure::state("the peer has shown no certificate"));
        };
        out.set(peer.fingerprint());
        Ok(SEALWIRE_OK)
    })
}

/// The first second at which the peer's certificate is valid, since 1970-01-01 UTC; 0 where it has
/// shown none.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_peer_not_before_s(conn: *const sealwire_conn) -> u64 {
    peer_s(conn, |peer| peer.not_before_s())
}

/// The last second at which the peer's certificate is valid, since 1970-01-01 UTC; 0 where it has
/// shown none.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_peer_not_after_s(conn: *const sealwire_conn) -> u64 {
    peer_s(conn, |peer| peer.not_after_s())
}

fn copy(
    conn: *const sealwire_conn,
    buf: *mut c_char,
    len: usize,
    fact: impl FnOnce(&Facts) -> Option<String>,
) -> usize {
    handle::ask_text(conn, buf, len, |conn| conn.link.facts().and_then(fact))
}

fn peer_s(conn: *const sealwire_conn, time: impl FnOnce(&Certificate<'_>) -> u64) -> u64 {
    ask(conn, 0, |conn| {
        let peer = conn.link.facts().and_then(Facts::peer);
        peer.map_or(0, |peer| time(&peer))
    })
}
