//! How connections of OB-RPC begin, and end.

use super::*;
use crate::ffi::config::protocol::*;
use crate::ffi::config::require::*;
use crate::ffi::conn::facts::{sealwire_conn_application_protocol, sealwire_conn_version};
use crate::ffi::conn::require::sealwire_conn_check_require;
use crate::ffi::tests::require::NOTHING;
use crate::frame::obrpc::{Message, Method, USSL_MESSAGE_LEN};

#[test]
fn both_ends_become_what_was_asked_for() {
    for (method, version, is_readable) in [
        (SEALWIRE_OBRPC_NONE, 0, true),
        (SEALWIRE_OBRPC_SSL_NO_ENCRYPT, SEALWIRE_TLS_1_2, true),
        (SEALWIRE_OBRPC_SSL_IO, SEALWIRE_TLS_1_3, false),
    ] {
        let client = Conn::client(&client_builder(method).build(), "localhost");
        let server = Conn::server(&server_builder(ALL).build());
        assert_eq!((client.method(), server.method()), (0, 0));
        assert_eq!(shake(&client, &server), (SEALWIRE_OK, SEALWIRE_OK));
        for conn in [&client, &server] {
            assert_eq!(conn.method(), method);
            assert_eq!(sealwire_conn_version(conn.0), version);
        }
        talk(&client, &server);
        assert_eq!(client.write(b"in the clear?"), (SEALWIRE_OK, 13));
        assert_eq!(client.output() == b"in the clear?", is_readable);
    }
}

#[test]
fn a_promised_method_is_none_before_the_handshake_has_kept_it() {
    let client = Conn::client(&client_builder(SEALWIRE_OBRPC_SSL_IO).build(), "localhost");
    let server = Conn::server(&server_builder(ALL).build());
    assert_eq!(client.handshake(), SEALWIRE_WANT_READ);
    pump(&client, &server);
    assert_eq!(server.handshake(), SEALWIRE_WANT_READ);
    pump(&server, &client);
    assert!(!client.output().is_empty(), "ClientHello");
    assert_eq!((client.method(), server.method()), (0, 0));
}

#[test]
fn a_method_that_is_not_admitted_is_refused() {
    for method in METHODS {
        let client = Conn::client(&client_builder(method).build(), "localhost");
        let server = Conn::server(&server_builder(ALL & !method).build());
        let (_, refused) = shake(&client, &server);
        assert_eq!(refused, SEALWIRE_ERR_NOT_TLS);
        let expected = "which is not offered";
        assert!(server.error().contains(expected), "{}", server.error());
        assert_eq!(server.method(), 0);
    }
}

#[test]
fn the_server_is_judged_by_its_name() {
    let client = Conn::client(&client_builder(SEALWIRE_OBRPC_SSL_IO).build(), "other");
    let server = Conn::server(&server_builder(ALL).build());
    let (refused, told) = shake(&client, &server);
    assert_eq!(refused, SEALWIRE_ERR_CERT_NAME, "{}", client.error());
    assert_eq!(told, SEALWIRE_ERR_TLS_ALERT);
    assert_eq!((client.method(), server.method()), (0, 0));
}

#[test]
fn the_thread_that_is_asked_for_is_named() {
    let builder = client_builder(SEALWIRE_OBRPC_SSL_IO);
    for (gid, expected) in [(None, 1 << 32), (Some(0x7_0000_0003), 0x7_0000_0003)] {
        if let Some(gid) = gid {
            ok(sealwire_config_builder_set_obrpc_gid(builder.0, gid));
        }
        let client = Conn::client(&builder.build(), "localhost");
        assert_eq!(client.handshake(), SEALWIRE_WANT_READ);
        let message = Message::new(Method::SslIo, expected);
        assert_eq!(client.output(), message.encode());
    }
}

/// Lets a client of OB-RPC and a server of TLS that negotiates by hand shake hands.
fn shake_with_stranger(client: &Conn) -> (sealwire_result, sealwire_result) {
    let server = Conn::server(&Builder::usual_server().build());
    assert_eq!(client.handshake(), SEALWIRE_WANT_READ);
    let message = client.output();
    assert_eq!(message.len(), USSL_MESSAGE_LEN);
    ok(sealwire_conn_output_sent(client.0, message.len()));
    assert_eq!(client.feed(&message), (SEALWIRE_OK, message.len()));
    shake(client, &server)
}

#[test]
fn a_client_that_requires_the_binding_refuses_a_server_without() {
    let builder = client_builder(SEALWIRE_OBRPC_SSL_IO);
    let trusting = Conn::client(&builder.build(), "localhost");
    let shaken = shake_with_stranger(&trusting);
    assert_eq!(shaken, (SEALWIRE_OK, SEALWIRE_OK));
    ok(sealwire_config_builder_obrpc_require_binding(builder.0));
    let strict = Conn::client(&builder.build(), "localhost");
    let (refused, _) = shake_with_stranger(&strict);
    assert_eq!(refused, SEALWIRE_ERR_TLS_INCOMPATIBLE, "{}", strict.error());
    assert_eq!(strict.method(), 0);
}

#[test]
fn a_server_that_requires_the_binding_refuses_a_client_without() {
    let builder = server_builder(SEALWIRE_OBRPC_SSL_IO);
    let shake = |server: &Conn| {
        let message = Message::new(Method::SslIo, 0).encode();
        assert_eq!(server.feed(&message), (SEALWIRE_OK, message.len()));
        let acknowledgement = server.output().len();
        assert_eq!(acknowledgement, USSL_MESSAGE_LEN);
        ok(sealwire_conn_output_sent(server.0, acknowledgement));
        let client = Conn::client(&Builder::usual_client().build(), "localhost");
        shake(&client, server)
    };
    let trusting = Conn::server(&builder.build());
    assert_eq!(shake(&trusting), (SEALWIRE_OK, SEALWIRE_OK));
    ok(sealwire_config_builder_obrpc_require_binding(builder.0));
    let strict = Conn::server(&builder.build());
    let (_, refused) = shake(&strict);
    assert_eq!(refused, SEALWIRE_ERR_TLS_INCOMPATIBLE, "{}", strict.error());
}

#[test]
fn ends_that_require_the_binding_find_each_other() {
    for method in [SEALWIRE_OBRPC_SSL_NO_ENCRYPT, SEALWIRE_OBRPC_SSL_IO] {
        let (client, server) = (client_builder(method), server_builder(method));
        ok(sealwire_config_builder_obrpc_require_binding(client.0));
        ok(sealwire_config_builder_obrpc_require_binding(server.0));
        let (client, server) = pair(&client.build(), &server.build());
        talk(&client, &server);
        let name = text_of(|buf, len| sealwire_conn_application_protocol(server.0, buf, len));
        assert!(name.starts_with("ob-rpc/"), "{name}");
    }
}

#[test]
fn an_end_without_close_notify_is_one_where_that_was_said() {
    let builder = client_builder(SEALWIRE_OBRPC_SSL_IO);
    for expected in [SEALWIRE_ERR_TRUNCATED, SEALWIRE_EOF] {
        let (client, _server) = pair(&builder.build(), &server_builder(ALL).build());
        assert_eq!(client.feed(b""), (SEALWIRE_OK, 0));
        assert_eq!(client.read(1).0, expected);
        let cut = sealwire_config_builder_danger_obrpc_end_without_close_notify(builder.0);
        assert_eq!(cut, SEALWIRE_OK);
    }
}

#[test]
fn a_negotiation_ends_at_its_deadline() {
    let builder = client_builder(SEALWIRE_OBRPC_SSL_IO);
    let timeout = sealwire_config_builder_set_handshake_timeout_ms(builder.0, 1);
    assert_eq!(timeout, SEALWIRE_OK);
    let client = Conn::client(&builder.build(), "localhost");
    let mut result = SEALWIRE_WANT_READ;
    while result == SEALWIRE_WANT_READ {
        result = client.handshake();
    }
    assert_eq!(result, SEALWIRE_ERR_TIMEOUT);
    assert!(client.error().contains("acknowledge"), "{}", client.error());
}

#[test]
fn options_are_looked_at() {
    let (client, server) = (Builder::usual_client(), Builder::usual_server());
    let set = sealwire_config_builder_set_obrpc_method;
    for method in [0, 3, 5, 7, 8] {
        assert_eq!(set(client.0, method), SEALWIRE_ERR_ARGUMENT);
    }
    assert_eq!(set(server.0, SEALWIRE_OBRPC_SSL_IO), SEALWIRE_ERR_STATE);
    let set = sealwire_config_builder_set_obrpc_methods;
    for methods in [0, 8, 15] {
        assert_eq!(set(server.0, methods), SEALWIRE_ERR_ARGUMENT);
    }
    assert_eq!(set(client.0, ALL), SEALWIRE_ERR_STATE);
    let gid = sealwire_config_builder_set_obrpc_gid;
    assert_eq!(gid(server.0, 1), SEALWIRE_ERR_STATE);
}

#[test]
fn options_that_do_not_go_together_are_no_configuration() {
    let refused = |builder: &Builder, words: &str| {
        let (result, text) = builder.refusal();
        assert_eq!(result, SEALWIRE_ERR_CONFIG);
        assert!(text.contains(words), "{text}");
    };
    let alone = Builder::usual_client();
    ok(sealwire_config_builder_set_obrpc_gid(alone.0, 1));
    refused(&alone, "no method is");

    let newest = client_builder(SEALWIRE_OBRPC_SSL_NO_ENCRYPT);
    ok(sealwire_config_builder_set_min_version(
        newest.0,
        SEALWIRE_TLS_1_3,
    ));
    refused(&newest, "needs TLS 1.2");

    let nobody = Builder::server();
    let methods = sealwire_config_builder_set_obrpc_methods;
    ok(methods(nobody.0, SEALWIRE_OBRPC_NONE));
    nobody.build();
    ok(methods(nobody.0, ALL));
    refused(&nobody, "needs an identity");

    let ruled = server_builder(ALL);
    let rule = sealwire_require {
        user: c"root".as_ptr(),
        ssl: 1,
        ..NOTHING
    };
    ok(sealwire_config_builder_add_require(
        ruled.0,
        &raw const rule,
    ));
    refused(&ruled, "no logins");
}

#[test]
fn who_asks_for_nothing_needs_no_name_and_no_authority() {
    let builder = Builder::client();
    let set = sealwire_config_builder_set_obrpc_method;
    ok(set(builder.0, SEALWIRE_OBRPC_NONE));
    let mut conn = ptr::null_mut();
    let made = sealwire_conn_new_client(builder.build().0, ptr::null(), &raw mut conn);
    assert_eq!(made, SEALWIRE_OK);
    let _conn = Conn(conn);
    let config = client_builder(SEALWIRE_OBRPC_SSL_IO).build();
    let made = sealwire_conn_new_client(config.0, ptr::null(), &raw mut conn);
    assert_eq!(made, SEALWIRE_ERR_NULL);
}

#[test]
fn plaintext_in_front_and_accounts_are_for_others() {
    let (client, server) = rpc_pair(SEALWIRE_OBRPC_NONE);
    for conn in [&client, &server] {
        assert_eq!(sealwire_conn_start_tls(conn.0), SEALWIRE_ERR_STATE);
    }
    let unbegun = Conn::server(&server_builder(ALL).build());
    assert_eq!(sealwire_conn_set_plaintext(unbegun.0), SEALWIRE_ERR_STATE);
    assert!(unbegun.error().contains("negotiates"));
    let (user, host) = (c"root".as_ptr(), c"::1".as_ptr());
    let checked = sealwire_conn_check_require(server.0, user, host, ptr::null(), ptr::null());
    assert_eq!(checked, SEALWIRE_ERR_STATE);
}
