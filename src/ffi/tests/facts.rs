//! What both ends are told of a handshake.

use super::pki::{ALICE_NAME, CA_NAME, NOT_AFTER_S, NOT_BEFORE_S, PKI};
use super::*;
use crate::ffi::config::protocol::*;
use crate::ffi::conn::facts::*;

type Fact = extern "C" fn(*const sealwire_conn, *mut c_char, usize) -> usize;

fn fact(conn: &Conn, fact: Fact) -> String {
    text_of(|buf, len| fact(conn.0, buf, len))
}

fn alt_name(conn: &Conn, index: usize) -> String {
    text_of(|buf, len| sealwire_conn_peer_alt_name(conn.0, index, buf, len))
}

#[test]
fn both_ends_know_what_was_agreed_on() {
    for (version, suite, openssl_suite) in [
        (
            SEALWIRE_TLS_1_3,
            "TLS_AES_256_GCM_SHA384",
            "TLS_AES_256_GCM_SHA384",
        ),
        (
            SEALWIRE_TLS_1_2,
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            "ECDHE-ECDSA-AES256-GCM-SHA384",
        ),
    ] {
        let client = Builder::usual_client();
        let suites = c(&format!("{openssl_suite}:"));
        ok(sealwire_config_builder_set_suites(
            client.0,
            suites.as_ptr(),
        ));
        let (client, server) = pair(&client.build(), &Builder::usual_server().build());
        for end in [&client, &server] {
            assert_eq!(sealwire_conn_version(end.0), version);
            assert_eq!(fact(end, sealwire_conn_suite), suite);
            assert_eq!(fact(end, sealwire_conn_openssl_suite), openssl_suite);
            assert!(!sealwire_conn_is_resumed(end.0));
            assert_eq!(fact(end, sealwire_conn_application_protocol), "");
        }
        let group = fact(&client, sealwire_conn_group);
        assert_eq!(group, fact(&server, sealwire_conn_group));
        assert!(group.contains("25519"), "{group}");
        assert_eq!(fact(&server, sealwire_conn_server_name), "localhost");
    }
}

#[test]
fn both_ends_know_who_the_other_is() {
    let (client, server) = (Builder::usual_client(), Builder::usual_server());
    ok(client.set_identity(&PKI.alice));
    server.add_roots(&PKI.ca);
    let (client, server) = pair(&client.build(), &server.build());
    assert_eq!(fact(&server, sealwire_conn_peer_subject), ALICE_NAME);
    assert_eq!(fact(&server, sealwire_conn_peer_issuer), CA_NAME);
    assert_eq!(alt_name(&server, 0), "");
    assert_eq!(alt_name(&client, 0), "DNS:localhost");
    assert_eq!(alt_name(&client, 1), "IP:127.0.0.1");
    assert_eq!(alt_name(&client, 2), "");
    for (end, sha256) in [(&client, PKI.server_sha256), (&server, PKI.alice_sha256)] {
        assert_eq!(sealwire_conn_peer_not_before_s(end.0), NOT_BEFORE_S);
        assert_eq!(sealwire_conn_peer_not_after_s(end.0), NOT_AFTER_S);
        let mut found = [0; 32];
        ok(sealwire_conn_peer_fingerprint(end.0, found.as_mut_ptr()));
        assert_eq!(found, sha256);
        let mut der = ptr::null();
        let len = sealwire_conn_peer_certificate(end.0, 0, &raw mut der);
        // SAFETY: borrowed from the connection, which lives.
        let der = unsafe { std::slice::from_raw_parts(der, len) };
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
        assert_eq!(digest.as_ref(), sha256);
        let mut none = ptr::null();
        assert_eq!(sealwire_conn_peer_certificate(end.0, 9, &raw mut none), 0);
        assert!(none.is_null());
    }
}

#[test]
fn nothing_is_known_before_the_handshake_and_of_a_peer_without_a_certificate() {
    let (client, server) = (
        Builder::usual_client().build(),
        Builder::usual_server().build(),
    );
    let (fresh, (_client, server)) = (Conn::client(&client, "localhost"), pair(&client, &server));
    assert_eq!(sealwire_conn_version(fresh.0), 0);
    assert_eq!(fact(&fresh, sealwire_conn_suite), "");
    for end in [&fresh, &server] {
        assert_eq!(fact(end, sealwire_conn_peer_subject), "");
        assert_eq!(sealwire_conn_peer_not_after_s(end.0), 0);
        let mut sha256 = [7; 32];
        let found = sealwire_conn_peer_fingerprint(end.0, sha256.as_mut_ptr());
        assert_eq!(found, SEALWIRE_ERR_STATE);
        assert_eq!(sha256, [7; 32]);
    }
}

#[test]
fn text_is_cut_as_snprintf_cuts_it() {
    let client = Builder::usual_client().build();
    let (client, _server) = pair(&client, &Builder::usual_server().build());
    let whole = fact(&client, sealwire_conn_peer_issuer);
    assert_eq!(whole, CA_NAME);
    let mut buf = [1u8; 8];
    let len = sealwire_conn_peer_issuer(client.0, buf.as_mut_ptr().cast(), 5);
    assert_eq!(len, CA_NAME.len());
    assert_eq!(&buf, b"/C=C\0\x01\x01\x01");
}
