//! Whom each way to judge lets through, and by which code and words the others are refused.

use super::pki::{PKI, hex};
use super::*;

/// How a handshake ends at the client, and its words.
fn client_says(client: &Builder, server: &Builder, name: &str) -> (sealwire_result, String) {
    let (client, server) = (client.build(), server.build());
    let (client, server) = (Conn::client(&client, name), Conn::server(&server));
    let (result, _) = shake(&client, &server);
    if result == SEALWIRE_OK {
        talk(&client, &server);
    }
    (result, client.error())
}

/// How a handshake ends at the server, and its words.
fn server_says(client: &Builder, server: &Builder) -> (sealwire_result, String) {
    let (client, server) = (client.build(), server.build());
    let (client, server) = (Conn::client(&client, "localhost"), Conn::server(&server));
    let (_, result) = shake(&client, &server);
    if result == SEALWIRE_OK {
        talk(&client, &server);
    } else {
        // The alert reaches the client although the server has failed.
        assert_eq!(client.read(1).0, SEALWIRE_ERR_TLS_ALERT);
        assert!(sealwire_conn_alert(client.0) > 0);
    }
    (result, server.error())
}

#[track_caller]
fn assert_says(said: (sealwire_result, String), code: sealwire_result, words: &str) {
    assert_eq!(said.0, code, "{}", said.1);
    assert!(said.1.contains(words), "{}", said.1);
}

#[test]
fn servers_are_verified_in_full() {
    let client = Builder::usual_client();
    for name in ["localhost", "127.0.0.1"] {
        let said = client_says(&client, &Builder::usual_server(), name);
        assert_says(said, SEALWIRE_OK, "");
    }
    for (identity, name, code, words) in [
        (&PKI.server, "db1", SEALWIRE_ERR_CERT_NAME, "`db1`"),
        (
            &PKI.unnamed,
            "localhost",
            SEALWIRE_ERR_CERT_NAME,
            "CN=localhost",
        ),
        (
            &PKI.expired,
            "localhost",
            SEALWIRE_ERR_CERT_EXPIRED,
            "expired",
        ),
        (
            &PKI.not_yet,
            "localhost",
            SEALWIRE_ERR_CERT_NOT_YET_VALID,
            "not valid",
        ),
    ] {
        let said = client_says(&client, &Builder::server_with(identity), name);
        assert_says(said, code, words);
    }
    let stranger = Builder::client();
    stranger.add_roots(&PKI.other_ca);
    let said = client_says(&stranger, &Builder::usual_server(), "localhost");
    assert_says(said, SEALWIRE_ERR_CERT_UNKNOWN_ISSUER, "roots");
}

#[test]
fn a_common_name_counts_where_it_is_allowed() {
    let client = Builder::usual_client();
    ok(sealwire_config_builder_allow_cn_name(client.0));
    let server = Builder::server_with(&PKI.unnamed);
    assert_says(client_says(&client, &server, "localhost"), SEALWIRE_OK, "");
    let said = client_says(&client, &server, "db1");
    assert_says(said, SEALWIRE_ERR_CERT_NAME, "db1");
}

#[test]
fn an_authority_alone_looks_at_no_name() {
    let client = Builder::usual_client();
    ok(sealwire_config_builder_set_verify_ca(client.0));
    let said = client_says(&client, &Builder::usual_server(), "db1");
    assert_says(said, SEALWIRE_OK, "");
    let said = client_says(&client, &Builder::server_with(&PKI.expired), "db1");
    assert_says(said, SEALWIRE_ERR_CERT_EXPIRED, "expired");
    let mut conn = ptr::null_mut();
    let config = client.build();
    ok(sealwire_conn_new_client(
        config.0,
        ptr::null(),
        &raw mut conn,
    ));
    sealwire_conn_free(conn);
}

#[test]
fn a_fingerprint_is_all_that_counts() {
    let client = Builder::client();
    let (pin, lower) = (
        hex(&PKI.server_sha256),
        hex(&PKI.server_sha256).to_lowercase(),
    );
    for pin in [pin.clone(), lower.replace(':', "")] {
        let pin = c(&pin);
        ok(sealwire_config_builder_add_server_fingerprint(
            client.0,
            pin.as_ptr(),
        ));
    }
    let said = client_says(&client, &Builder::usual_server(), "whatever");
    assert_says(said, SEALWIRE_OK, "");
    let said = client_says(&client, &Builder::server_with(&PKI.unnamed), "localhost");
    assert_says(said, SEALWIRE_ERR_CERT_NOT_ALLOWED, "fingerprint");
    for text in ["", "ab", &pin[3..], "zz", &format!("{pin}:00")] {
        let text = c(text);
        let added = sealwire_config_builder_add_server_fingerprint(client.0, text.as_ptr());
        assert_eq!(added, SEALWIRE_ERR_ARGUMENT, "{text:?}");
    }
}

#[test]
fn any_certificate_will_do_where_that_was_asked_for() {
    let client = Builder::client();
    ok(sealwire_config_builder_danger_accept_any_certificate(
        client.0,
    ));
    let said = client_says(&client, &Builder::server_with(&PKI.expired), "db1");
    assert_says(said, SEALWIRE_OK, "");
}

#[test]
fn servers_are_judged_in_one_way() {
    let pin = c(&hex(&PKI.server_sha256));
    let ways: [&dyn Fn(&Builder) -> sealwire_result; 3] = [
        &|builder| sealwire_config_builder_set_verify_ca(builder.0),
        &|builder| sealwire_config_builder_add_server_fingerprint(builder.0, pin.as_ptr()),
        &|builder| sealwire_config_builder_danger_accept_any_certificate(builder.0),
    ];
    for (at, first) in ways.iter().enumerate() {
        let builder = Builder::client();
        for (other_at, other) in ways.iter().enumerate() {
            ok(first(&builder));
            let expected = match at == other_at {
                true => SEALWIRE_OK,
                false => SEALWIRE_ERR_STATE,
            };
            assert_eq!(other(&builder), expected, "{at} {other_at}");
        }
        ok(sealwire_config_builder_allow_cn_name(builder.0));
        assert_says(builder.refusal(), SEALWIRE_ERR_CONFIG, "common name");
    }
    for way in &ways[1..] {
        let builder = Builder::usual_client();
        ok(way(&builder));
        assert_says(builder.refusal(), SEALWIRE_ERR_CONFIG, "have no effect");
    }
    let nothing = Builder::client();
    assert_says(
        nothing.refusal(),
        SEALWIRE_ERR_CONFIG,
        "no certificate authority",
    );
}

#[test]
fn what_was_revoked_is_refused() {
    let add = |builder: &Builder| {
        ok(sealwire_config_builder_add_crls_pem(
            builder.0,
            PKI.crl.as_ptr(),
            PKI.crl.len(),
        ));
    };
    let client = Builder::usual_client();
    let revoked = Builder::server_with(&PKI.revoked);
    assert_says(client_says(&client, &revoked, "localhost"), SEALWIRE_OK, "");
    add(&client);
    let said = client_says(&client, &revoked, "localhost");
    assert_says(said, SEALWIRE_ERR_CERT_REVOKED, "revoked");
    ok(sealwire_config_builder_set_crls_required(client.0));
    let said = client_says(&client, &Builder::usual_server(), "localhost");
    assert_says(said, SEALWIRE_OK, "");
    let required = Builder::usual_client();
    ok(sealwire_config_builder_set_crls_required(required.0));
    assert_says(required.refusal(), SEALWIRE_ERR_CONFIG, "none was added");
    let lone = Builder::usual_server();
    add(&lone);
    assert_says(
        lone.refusal(),
        SEALWIRE_ERR_CONFIG,
        "revocation lists have no effect",
    );
}

#[test]
fn clients_show_certificates_as_they_are_asked_to() {
    let (nobody, alice) = (Builder::usual_client(), Builder::usual_client());
    ok(alice.set_identity(&PKI.alice));
    let server = |client_cert: Option<i32>| {
        let server = Builder::usual_server();
        server.add_roots(&PKI.ca);
        if let Some(client_cert) = client_cert {
            ok(sealwire_config_builder_set_client_cert(
                server.0,
                client_cert,
            ));
        }
        server
    };
    for optional in [server(None), server(Some(SEALWIRE_CLIENT_CERT_OPTIONAL))] {
        assert_says(server_says(&nobody, &optional), SEALWIRE_OK, "");
        assert_says(server_says(&alice, &optional), SEALWIRE_OK, "");
    }
    let required = server(Some(SEALWIRE_CLIENT_CERT_REQUIRED));
    assert_says(server_says(&alice, &required), SEALWIRE_OK, "");
    let said = server_says(&nobody, &required);
    assert_says(said, SEALWIRE_ERR_CERT_MISSING, "certificate");
    let none = server(Some(SEALWIRE_CLIENT_CERT_NONE));
    assert_says(none.refusal(), SEALWIRE_ERR_CONFIG, "have no effect");
    let rootless = Builder::usual_server();
    ok(sealwire_config_builder_set_client_cert(
        rootless.0,
        SEALWIRE_CLIENT_CERT_REQUIRED,
    ));
    assert_says(
        rootless.refusal(),
        SEALWIRE_ERR_CONFIG,
        "judge the client by",
    );
    let wrong = sealwire_config_builder_set_client_cert(rootless.0, 3);
    assert_eq!(wrong, SEALWIRE_ERR_ARGUMENT);
    assert_eq!(rootless.error(), "client_cert cannot be 3");
}

#[test]
fn of_the_clients_those_that_are_allowed_get_in() {
    let (alice, bob) = (Builder::usual_client(), Builder::usual_client());
    ok(alice.set_identity(&PKI.alice));
    ok(bob.set_identity(&PKI.bob));
    let pin = hex(&PKI.alice_sha256);
    for allowed in ["cn:alice", &format!("sha256:{pin}")] {
        let server = Builder::usual_server();
        server.add_roots(&PKI.ca);
        let allowed = c(allowed);
        ok(sealwire_config_builder_add_allowed_client(
            server.0,
            allowed.as_ptr(),
        ));
        assert_says(server_says(&alice, &server), SEALWIRE_OK, "");
        assert_says(
            server_says(&bob, &server),
            SEALWIRE_ERR_CERT_NOT_ALLOWED,
            "bob",
        );
    }
    let pinned = Builder::usual_server();
    let pin = c(&pin);
    ok(sealwire_config_builder_add_client_fingerprint(
        pinned.0,
        pin.as_ptr(),
    ));
    assert_says(server_says(&alice, &pinned), SEALWIRE_OK, "");
    assert_says(
        server_says(&bob, &pinned),
        SEALWIRE_ERR_CERT_NOT_ALLOWED,
        "bob",
    );
    let said = server_says(&Builder::usual_client(), &pinned);
    assert_says(said, SEALWIRE_ERR_CERT_MISSING, "");
    for text in ["", "alice", "cn:", "dn:alice", "sha256:00"] {
        let text = c(text);
        let added = sealwire_config_builder_add_allowed_client(pinned.0, text.as_ptr());
        assert_eq!(added, SEALWIRE_ERR_ARGUMENT, "{text:?}");
    }
}

#[test]
fn files_are_read_and_named_where_they_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        c(path.to_str().unwrap())
    };
    let (ca, crl) = (file("ca.pem", &PKI.ca), file("crl.pem", &PKI.crl));
    let (chain, key) = (
        file("cert.pem", &PKI.server.0),
        file("key.pem", &PKI.server.1),
    );
    let client = Builder::client();
    ok(sealwire_config_builder_add_roots_file(
        client.0,
        ca.as_ptr(),
    ));
    ok(sealwire_config_builder_add_crls_file(
        client.0,
        crl.as_ptr(),
    ));
    let server = Builder::server();
    ok(sealwire_config_builder_set_identity_files(
        server.0,
        chain.as_ptr(),
        key.as_ptr(),
    ));
    assert_says(client_says(&client, &server, "localhost"), SEALWIRE_OK, "");
    let said = client_says(&client, &Builder::server_with(&PKI.expired), "localhost");
    assert_says(said, SEALWIRE_ERR_CERT_EXPIRED, "ca.pem");
    let absent = c("/nowhere/ca.pem");
    let result = sealwire_config_builder_add_roots_file(client.0, absent.as_ptr());
    assert_eq!(result, SEALWIRE_ERR_CONFIG);
    assert!(
        client
            .error()
            .starts_with("/nowhere/ca.pem: cannot be read: No such file")
    );
    let result = sealwire_config_builder_add_roots_file(client.0, key.as_ptr());
    assert_says(
        (result, client.error()),
        SEALWIRE_ERR_CONFIG,
        "key.pem: holds no certificate",
    );
    let other = file("other.pem", &PKI.alice.1);
    let result =
        sealwire_config_builder_set_identity_files(server.0, chain.as_ptr(), other.as_ptr());
    assert_says(
        (result, server.error()),
        SEALWIRE_ERR_CONFIG,
        "does not belong",
    );
}

#[test]
fn keys_may_be_encrypted() {
    let (chain, key) = ENCRYPTED;
    let set = |server: &Builder, passphrase: &[u8]| {
        sealwire_config_builder_set_identity_encrypted_pem(
            server.0,
            chain.as_ptr(),
            chain.len(),
            key.as_ptr(),
            key.len(),
            passphrase.as_ptr(),
            passphrase.len(),
        )
    };
    let server = Builder::server();
    assert_eq!(set(&server, b"wrong"), SEALWIRE_ERR_CONFIG);
    assert!(server.error().contains("passphrase"), "{}", server.error());
    assert!(!server.error().contains("wrong,"), "{}", server.error());
    ok(set(&server, b"open sesame"));
    let client = Builder::client();
    ok(sealwire_config_builder_danger_accept_any_certificate(
        client.0,
    ));
    let said = client_says(&client, &server, "localhost");
    assert_says(said, SEALWIRE_OK, "");
}

/// A certificate that signed itself, and its key as `openssl pkcs8 -topk8 -v2 aes-256-cbc`
/// writes it.
const ENCRYPTED: (&str, &str) = (
    "\
-----BEGIN CERTIFICATE-----
MIIBVTCCAQegAwIBAgIUE3ExPXYmZSiPFpnFtp6kc0Qlc5QwBQYDK2VwMBQxEjAQ
BgNVBAMMCWxvY2FsaG9zdDAgFw0yNjExMjQxOTMwMzJaGA8yMTI2MTAzMTE5MzAz
MlowFDESMBAGA1UEAwwJbG9jYWxob3N0MCowBQYDK2VwAyEArJ2mFOZFoFK2DZ69
4HdaWTKVAK+3DjJxvWRLow7vSc+jaTBnMB0GA1UdDgQWBBTdQU2N9HeLpJ9nYPu0
CXiyrmflIDAfBgNVHSMEGDAWgBTdQU2N9HeLpJ9nYPu0CXiyrmflIDAPBgNVHRMB
Af8EBTADAQH/MBQGA1UdEQQNMAuCCWxvY2FsaG9zdDAFBgMrZXADQQBEe+U40Dwz
rTsjuoIkX46B9gGKwNCanNbOu0jj+AGkxhVX+oHwTZeq48cn3l6Q+jy/te4kjyi3
wra1wNMX8wgB
-----END CERTIFICATE-----
",
    "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAi8UKtc3V60fgICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEBmsUx62wCHo5LX1vvmxFaEEQC5o
aHlJRxmGunlmYQ74Y7fo1mCvQi1F86tWny62GvmUgnAvXK0t1xbeDik3VBE5+4UV
/ukpqp+ZkT/GaOr7fsU=
-----END ENCRYPTED PRIVATE KEY-----
",
);

#[test]
fn the_systems_authorities_judge_like_others() {
    let client = Builder::client();
    let result = sealwire_config_builder_add_roots_system(client.0);
    if result != SEALWIRE_OK {
        // This machine has none.
        let words = "the system's authorities: holds no certificate authority";
        return assert_says((result, client.error()), SEALWIRE_ERR_CONFIG, words);
    }
    let said = client_says(&client, &Builder::usual_server(), "localhost");
    assert_says(
        said,
        SEALWIRE_ERR_CERT_UNKNOWN_ISSUER,
        "the system's authorities",
    );
}
