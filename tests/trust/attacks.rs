//! What was tried against it, each by name.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sealwire::buf::Pools;
use sealwire::conn::Connection;
use sealwire::error::{CertificateFault as Fault, ErrorKind};
use sealwire::time::Now;
use sealwire::tls::{
    ClientAuth, ClientConfig, ClientIdentity, ClientOptions, Oneline, Roots, ServerName,
    ServerOptions, Verify,
};

use crate::pair::{client, fault, with_every_version};
use crate::pki::{EC, FOR_CLIENT, FOR_LOCALHOST, Pki, in_days, now, pki};

/// What a client that trusts `roots` says of the server `name`.
fn server_is(pki: &Pki, name: &str, roots: &Arc<Roots>, now: Now, expected: Option<Fault>) {
    let server = ServerOptions::new(pki.identity(name));
    let client = client(Verify::Full(roots.clone()));
    with_every_version(&client, &server, "localhost", now, |version, outcome| {
        assert_eq!(fault(&outcome.client), expected, "{version:?}: {outcome:?}");
        assert_eq!(outcome.client.is_ok(), expected.is_none(), "{outcome:?}");
    });
}

/// What a server says of the client `name`.
fn client_is(pki: &Pki, name: &str, server: &ServerOptions, now: Now, expected: Option<Fault>) {
    let client = ClientOptions {
        identity: Some(pki.identity(name)),
        ..client(Verify::DangerNone)
    };
    with_every_version(&client, server, "localhost", now, |version, outcome| {
        assert_eq!(
            fault(&outcome.server),
            expected,
            "{name}, {version:?}: {outcome:?}"
        );
        assert_eq!(outcome.server.is_ok(), expected.is_none(), "{outcome:?}");
    });
}

fn server(pki: &Pki, roots: &Arc<Roots>, allowed: &[ClientIdentity]) -> ServerOptions {
    ServerOptions {
        client_auth: ClientAuth::Required(roots.clone()),
        allowed_clients: allowed.to_vec(),
        ..ServerOptions::new(pki.identity("server"))
    }
}

fn with_server() -> Option<Pki> {
    let pki = pki()?;
    pki.ca("ca", "/CN=Test~CA");
    pki.leaf("server", "/CN=localhost", "ca", FOR_LOCALHOST);
    Some(pki)
}

#[test]
fn a_common_name_that_contains_or_is_contained_in_an_allowed_one() {
    let Some(pki) = with_server() else { return };
    let allowed = [ClientIdentity::CommonName("alice".into())];
    let server = server(&pki, &pki.roots("ca"), &allowed);
    pki.leaf("client", "/CN=alice", "ca", FOR_CLIENT);
    client_is(&pki, "client", &server, now(), None);
    for name in [
        "alic",
        "alice2",
        "malice",
        "Alice",
        "alice~",
        "*",
        "alice,bob",
        "",
    ] {
        let subject = format!("/O=x/CN={name}");
        pki.leaf("client", &subject, "ca", FOR_CLIENT);
        client_is(&pki, "client", &server, now(), Some(Fault::NotAllowed));
    }
}

#[test]
fn a_second_common_name() {
    let Some(pki) = with_server() else { return };
    let allowed = [ClientIdentity::CommonName("alice".into())];
    let server = server(&pki, &pki.roots("ca"), &allowed);
    for subject in ["/CN=mallory/CN=alice", "/CN=alice/CN=mallory"] {
        pki.leaf("client", subject, "ca", FOR_CLIENT);
        client_is(&pki, "client", &server, now(), Some(Fault::NotAllowed));
    }
}

#[test]
fn a_common_name_inside_the_value_of_another_attribute() {
    let Some(pki) = with_server() else { return };
    let allowed = [ClientIdentity::CommonName("alice".into())];
    let server = server(&pki, &pki.roots("ca"), &allowed);
    pki.leaf("client", "/O=x\\/CN=alice", "ca", FOR_CLIENT);
    client_is(&pki, "client", &server, now(), Some(Fault::NotAllowed));
    let text = pki.text("client.pem");
    let der = pem_der(&text);
    let certificate = sealwire::tls::Certificate::from_der(&der).unwrap();
    let subject = |style| certificate.subject(style).unwrap();
    assert_eq!(subject(Oneline::OpenSsl3), "/O=x\\/CN=alice");
    assert_eq!(subject(Oneline::OpenSsl1), "/O=x/CN=alice");
}

#[test]
fn an_alternative_name_or_a_fingerprint_that_is_nearly_right() {
    let Some(pki) = with_server() else { return };
    let with_name = format!("{FOR_CLIENT};subjectAltName=DNS:app.example,email:a@b.c,IP:10.0.0.1");
    pki.leaf("client", "/CN=x", "ca", &with_name);
    let roots = pki.roots("ca");
    let mut near = pki.fingerprint("client");
    let right = ClientIdentity::Fingerprint(near);
    near[31] ^= 1;
    for name in ["app.example", "a@b.c", "10.0.0.1"] {
        let allowed = [ClientIdentity::AltName(name.into())];
        client_is(&pki, "client", &server(&pki, &roots, &allowed), now(), None);
    }
    client_is(&pki, "client", &server(&pki, &roots, &[right]), now(), None);
    let wrong = [
        ClientIdentity::AltName("example".into()),
        ClientIdentity::AltName("*.example".into()),
        ClientIdentity::AltName("app.example.".into()),
        ClientIdentity::AltName("x".into()),
        ClientIdentity::CommonName("app.example".into()),
        ClientIdentity::Fingerprint(near),
    ];
    let server = server(&pki, &roots, &wrong);
    client_is(&pki, "client", &server, now(), Some(Fault::NotAllowed));
}

#[test]
fn an_expired_leaf_and_one_that_is_not_valid_yet() {
    let Some(pki) = with_server() else { return };
    let roots = pki.roots("ca");
    pki.leaf("v1", "/CN=localhost", "ca", "");
    pki.leaf("client", "/CN=alice", "ca", FOR_CLIENT);
    let required = server(&pki, &roots, &[]);
    for (day, expected) in [(400, Fault::Expired), (-2, Fault::NotYetValid)] {
        server_is(&pki, "server", &roots, in_days(day), Some(expected));
        server_is(&pki, "v1", &roots, in_days(day), Some(expected));
        client_is(&pki, "client", &required, in_days(day), Some(expected));
        client_is(&pki, "v1", &required, in_days(day), Some(expected));
    }
}

#[test]
fn a_leaf_of_another_authority_with_the_same_name() {
    let Some(pki) = with_server() else { return };
    pki.ca("other", "/CN=Test~CA");
    pki.leaf("v3", "/CN=localhost", "other", FOR_LOCALHOST);
    pki.leaf("v1", "/CN=localhost", "other", "");
    // Its key is of another kind, too.
    pki.key("third", "RSA");
    pki.openssl("req -x509 -new -key third-key.pem -subj /CN=Test~CA -days 365 -out third.pem");
    pki.leaf("rsa", "/CN=localhost", "third", FOR_LOCALHOST);
    let roots = pki.roots("ca");
    let required = server(&pki, &roots, &[]);
    for name in ["v3", "v1", "rsa"] {
        server_is(&pki, name, &roots, now(), Some(Fault::UnknownIssuer));
        client_is(&pki, name, &required, now(), Some(Fault::UnknownIssuer));
    }
}

#[test]
fn a_leaf_that_was_made_to_look_as_if_it_were_trusted_itself() {
    let Some(pki) = with_server() else { return };
    // The subject of the authority, and another key.
    pki.ca("twin", "/CN=Test~CA");
    let roots = pki.roots("ca");
    server_is(&pki, "twin", &roots, now(), Some(Fault::UnknownIssuer));
}

#[test]
fn a_leaf_that_was_signed_by_itself() {
    let Some(pki) = with_server() else { return };
    let roots = pki.roots("ca");
    for extensions in ["", "-addext basicConstraints=critical,CA:FALSE"] {
        pki.key("own", EC);
        pki.openssl(&format!(
            "req -x509 -new -key own-key.pem -subj /CN=localhost -days 365 -out own.pem \
             -addext subjectAltName=DNS:localhost {extensions}"
        ));
        server_is(&pki, "own", &roots, now(), Some(Fault::UnknownIssuer));
        let server = server(&pki, &roots, &[]);
        client_is(&pki, "own", &server, now(), Some(Fault::UnknownIssuer));
    }
}

#[test]
fn a_leaf_that_is_an_authority() {
    let Some(pki) = with_server() else { return };
    let extensions = "subjectAltName=DNS:localhost;basicConstraints=critical,CA:TRUE";
    pki.leaf("authority", "/CN=localhost", "ca", extensions);
    let roots = pki.roots("ca");
    server_is(&pki, "authority", &roots, now(), Some(Fault::Unusable));
    client_is(
        &pki,
        "authority",
        &server(&pki, &roots, &[]),
        now(),
        Some(Fault::Unusable),
    );
}

#[test]
fn a_leaf_that_was_signed_by_a_leaf() {
    let Some(pki) = with_server() else { return };
    pki.leaf("v3", "/CN=localhost", "server", FOR_LOCALHOST);
    pki.leaf("v1", "/CN=localhost", "server", "");
    for name in ["v3", "v1"] {
        let whole = format!("{name}.pem");
        pki.write(&whole, &[&whole, "server.pem"]);
        let expected = match name {
            "v3" => Fault::Unusable,
            _ => Fault::UnknownIssuer,
        };
        server_is(&pki, name, &pki.roots("ca"), now(), Some(expected));
    }
}

#[test]
fn a_missing_intermediate() {
    let Some(pki) = pki() else { return };
    pki.ca("ca", "/CN=Test~CA");
    pki.leaf(
        "middle",
        "/CN=Middle",
        "ca",
        "basicConstraints=critical,CA:TRUE",
    );
    pki.leaf("server", "/CN=localhost", "middle", FOR_LOCALHOST);
    let roots = pki.roots("ca");
    server_is(&pki, "server", &roots, now(), Some(Fault::UnknownIssuer));
    client_is(
        &pki,
        "server",
        &server(&pki, &roots, &[]),
        now(),
        Some(Fault::UnknownIssuer),
    );
    pki.write("server.pem", &["server.pem", "middle.pem"]);
    server_is(&pki, "server", &roots, now(), None);
}

#[test]
fn a_certificate_for_another_purpose() {
    let Some(pki) = with_server() else { return };
    pki.leaf(
        "client",
        "/CN=localhost",
        "ca",
        &format!("{FOR_CLIENT};subjectAltName=DNS:localhost"),
    );
    server_is(
        &pki,
        "client",
        &pki.roots("ca"),
        now(),
        Some(Fault::Unusable),
    );
}

#[test]
fn a_revoked_leaf() {
    let Some(pki) = with_server() else { return };
    pki.leaf("v1", "/CN=localhost", "ca", "");
    pki.leaf("good", "/CN=localhost", "ca", FOR_LOCALHOST);
    pki.leaf("good-v1", "/CN=localhost", "ca", "");
    pki.revoke("server", "ca");
    pki.revoke("v1", "ca");
    let roots = pki.roots("ca").with_crls(pki.crl("ca"), true);
    let required = ServerOptions {
        client_auth: ClientAuth::Required(roots.clone()),
        ..ServerOptions::new(pki.identity("good"))
    };
    for name in ["server", "v1"] {
        client_is(&pki, name, &required, now(), Some(Fault::Revoked));
        server_is(&pki, name, &roots, now(), Some(Fault::Revoked));
    }
    for name in ["good", "good-v1"] {
        client_is(&pki, name, &required, now(), None);
    }
    server_is(&pki, "good", &roots, now(), None);
}

#[test]
fn a_revocation_list_that_is_overdue_or_missing() {
    let Some(pki) = with_server() else { return };
    pki.leaf("v1", "/CN=localhost", "ca", "");
    pki.ca("other", "/CN=Other~CA");
    let (own, foreign) = (pki.crl("ca"), pki.crl("other"));
    let roots = pki.roots("ca");
    let required = |crls, is_required| ServerOptions {
        client_auth: ClientAuth::Required(roots.with_crls(crls, is_required)),
        ..ServerOptions::new(pki.identity("server"))
    };
    for name in ["server", "v1"] {
        client_is(&pki, name, &required(own.clone(), true), now(), None);
        client_is(
            &pki,
            name,
            &required(own.clone(), true),
            in_days(60),
            Some(Fault::Revoked),
        );
        client_is(&pki, name, &required(own.clone(), false), in_days(60), None);
        client_is(
            &pki,
            name,
            &required(foreign.clone(), true),
            now(),
            Some(Fault::Revoked),
        );
        client_is(&pki, name, &required(foreign.clone(), false), now(), None);
    }
}

#[test]
fn a_revocation_list_that_another_authority_of_the_name_signed() {
    let Some(pki) = with_server() else { return };
    pki.leaf("v1", "/CN=localhost", "ca", "");
    pki.ca("twin", "/CN=Test~CA");
    let roots = pki.roots("ca").with_crls(pki.crl("twin"), true);
    let required = server(&pki, &roots, &[]);
    client_is(&pki, "v1", &required, now(), Some(Fault::Revoked));
    server_is(&pki, "server", &roots, now(), Some(Fault::Revoked));
}

#[test]
fn a_pinned_certificate_and_one_with_the_same_names_and_key() {
    let Some(pki) = with_server() else { return };
    let pins = vec![pki.fingerprint("server")];
    let pinned = client(Verify::Fingerprint(pins.clone()));
    let options = ServerOptions::new(pki.identity("server"));
    // Ten years on: a pin says everything.
    with_every_version(
        &pinned,
        &options,
        "other.example",
        in_days(3_650),
        |_, outcome| {
            outcome.client.unwrap();
        },
    );
    pki.sign("server", "/CN=localhost", "ca", FOR_LOCALHOST);
    let options = ServerOptions::new(pki.identity("server"));
    with_every_version(&pinned, &options, "localhost", now(), |_, outcome| {
        assert_eq!(
            fault(&outcome.client),
            Some(Fault::NotAllowed),
            "{outcome:?}"
        );
    });
    let by_pin = ServerOptions {
        client_auth: ClientAuth::Fingerprint(pins),
        ..options
    };
    client_is(&pki, "server", &by_pin, now(), Some(Fault::NotAllowed));
    let by_pin = ServerOptions {
        client_auth: ClientAuth::Fingerprint(vec![pki.fingerprint("server")]),
        ..by_pin
    };
    client_is(&pki, "server", &by_pin, now(), None);
    with_every_version(
        &client(Verify::DangerNone),
        &by_pin,
        "localhost",
        now(),
        |_, outcome| {
            assert_eq!(fault(&outcome.server), Some(Fault::Missing), "{outcome:?}");
        },
    );
}

#[test]
fn a_certificate_without_its_key() {
    let Some(pki) = with_server() else { return };
    pki.key("thief", EC);
    let error = pki
        .identity_of("server.pem", "thief-key.pem")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("does not belong to any certificate"),
        "{error}"
    );
    pki.leaf("v1", "/CN=localhost", "ca", "");
    for name in ["server", "v1"] {
        let modes = [
            Verify::Ca(pki.roots("ca")),
            Verify::Fingerprint(vec![pki.fingerprint(name)]),
            Verify::DangerNone,
        ];
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            for verify in &modes {
                let client = ClientConfig::new(&client(verify.clone())).unwrap();
                // The chain is good, and remembered as such from the first time on.
                let (chain, own) = (format!("{name}.pem"), format!("{name}-key.pem"));
                against_rustls(&client, presenting(&pki, &chain, &own, version)).unwrap();
                let thief = presenting(&pki, &chain, "thief-key.pem", version);
                let error = against_rustls(&client, thief).unwrap_err();
                assert_eq!(
                    error.kind(),
                    ErrorKind::Certificate(Fault::Unusable),
                    "{error}"
                );
            }
        }
    }
}

/// A server of rustls, which does not ask whether the key is the certificate's.
fn presenting(
    pki: &Pki,
    chain: &str,
    key: &str,
    version: &'static rustls::SupportedProtocolVersion,
) -> rustls::ServerConnection {
    let chain = CertificateDer::pem_slice_iter(&pki.text(chain))
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(&pki.text(key)).unwrap();
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let identity = Arc::new(rustls::sign::CertifiedKey::new(chain, key));
    let config = rustls::ServerConfig::builder_with_protocol_versions(&[version])
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(identity)));
    rustls::ServerConnection::new(Arc::new(config)).unwrap()
}

/// Handshakes without resumption between a client of ours and a server of rustls.
fn against_rustls(
    client: &Arc<ClientConfig>,
    mut server: rustls::ServerConnection,
) -> sealwire::error::Result<()> {
    let mut pools = Pools::new(8);
    let name = ServerName::try_from("localhost").unwrap();
    let mut conn = Connection::client(client, &name, now(), &mut pools)?;
    while conn.is_handshaking() {
        while let Some(buf) = conn.poll_transmit(&mut pools)? {
            server.read_tls(&mut buf.filled()).unwrap();
            pools.send.give(buf);
        }
        // An alert of ours is none of its business here.
        let _ = server.process_new_packets();
        let mut answer = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut answer).unwrap();
        }
        let mut at = 0;
        while at < answer.len() {
            at += conn
                .handle_recv(now(), &mut answer[at..], &mut pools)?
                .consumed;
        }
    }
    Ok(())
}

#[test]
fn a_common_name_for_a_host_only_where_nothing_else_names_one() {
    let Some(pki) = with_server() else { return };
    let roots = pki.roots("ca");
    let by_cn = ClientOptions {
        allow_cn_name: true,
        ..client(Verify::Full(roots))
    };
    let cases = [
        (
            "/CN=localhost",
            "subjectAltName=DNS:other.example",
            Some(Fault::Name),
        ),
        ("/CN=localhost", "subjectAltName=IP:127.0.0.1", None),
        ("/CN=localhost/CN=x", "", Some(Fault::Name)),
        ("/CN=xlocalhost", "", Some(Fault::Name)),
        ("/CN=localhost.x", "", Some(Fault::Name)),
        ("/O=localhost", "", Some(Fault::Name)),
        ("/CN=LocalHost", "", None),
    ];
    for (subject, extensions, expected) in cases {
        pki.leaf("x", subject, "ca", extensions);
        let server = ServerOptions::new(pki.identity("x"));
        with_every_version(&by_cn, &server, "localhost", now(), |_, outcome| {
            assert_eq!(fault(&outcome.client), expected, "{subject}: {outcome:?}");
        });
    }
    pki.leaf("x", "/CN=127.0.0.1", "ca", "");
    let server = ServerOptions::new(pki.identity("x"));
    with_every_version(&by_cn, &server, "127.0.0.1", now(), |_, outcome| {
        assert_eq!(fault(&outcome.client), Some(Fault::Name), "{outcome:?}");
    });
}

#[test]
fn refusals_name_certificate_file_reason_and_remedy() {
    let Some(pki) = with_server() else { return };
    pki.leaf("v1", "/CN=localhost", "ca", "");
    pki.ca("other", "/CN=Other~CA");
    let cases = [
        (
            "server",
            "other",
            "server certificate was issued by an authority that is not trusted here, or an \
             intermediate certificate is missing (CN=localhost, issued by CN=Test CA, judged by \
             other.pem); add the authority to the trusted ones, or let the peer send its \
             intermediate certificates: `openssl verify -show_chain -CAfile CA -untrusted CHAIN \
             CERT` shows what is missing",
        ),
        (
            "v1",
            "ca",
            "server certificate names no host, and `localhost` was asked for (CN=localhost, \
             issued by CN=Test CA, judged by ca.pem); issue it again with `openssl x509 -req … \
             -extfile` and subjectAltName = DNS:localhost, allow its common name (allow_cn_name), \
             or verify the authority alone (verify-ca)",
        ),
    ];
    for (name, roots, expected) in cases {
        let server = ServerOptions::new(pki.identity(name));
        let client = client(Verify::Full(pki.roots(roots)));
        with_every_version(&client, &server, "localhost", now(), |_, outcome| {
            assert_eq!(outcome.client.unwrap_err().to_string(), expected);
        });
    }
}

fn pem_der(text: &[u8]) -> Vec<u8> {
    x509_parser::pem::parse_x509_pem(text).unwrap().1.contents
}
