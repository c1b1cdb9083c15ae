//! Sessions that are taken up again, and those that must not be.

use std::sync::Arc;

use sealwire::error::{CertificateFault as Fault, ErrorKind, Result};
use sealwire::time::Now;
use sealwire::tls::{
    ClientAuth, ClientConfig, ClientIdentity, ClientOptions, Facts, RecordPath, ServerConfig,
    ServerOptions, TicketKeys, Tickets, Verify, Version,
};

use crate::pair::{Outcome, client, fault, handshake};
use crate::pki::{FOR_CLIENT, FOR_LOCALHOST, Pki, in_days, now, pki};

fn keys(numbers: [u8; 3]) -> Arc<TicketKeys> {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| [*number; 48]).collect();
    TicketKeys::from_bytes("tickets", &bytes).unwrap()
}

fn made() -> Option<Pki> {
    let pki = pki()?;
    pki.ca("ca", "/CN=Test~CA");
    pki.leaf("server", "/CN=localhost", "ca", FOR_LOCALHOST);
    pki.leaf("alice", "/CN=alice", "ca", FOR_CLIENT);
    Some(pki)
}

fn server(pki: &Pki, numbers: [u8; 3], route: &str) -> ServerOptions {
    ServerOptions {
        client_auth: ClientAuth::Required(pki.roots("ca")),
        tickets: Some(Tickets::new(keys(numbers), route)),
        ..ServerOptions::new(pki.identity("server"))
    }
}

fn config(options: &ServerOptions) -> Arc<ServerConfig> {
    ServerConfig::new(options).unwrap()
}

/// A client that holds alice's certificate, for each version.
fn each_client(pki: &Pki, check: impl Fn(&Arc<ClientConfig>)) {
    each_client_on(pki, RecordPath::default(), check);
}

fn each_client_on(pki: &Pki, records: RecordPath, check: impl Fn(&Arc<ClientConfig>)) {
    for (version, suite) in [
        (Version::Tls12, "ECDHE-ECDSA-AES128-GCM-SHA256"),
        (Version::Tls13, "TLS_AES_128_GCM_SHA256"),
    ] {
        let options = ClientOptions {
            identity: Some(pki.identity("alice")),
            suites: vec![suite.into()],
            min_version: version,
            records,
            ..client(Verify::Full(pki.roots("ca")))
        };
        check(&ClientConfig::new(&options).unwrap());
    }
}

fn connect(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Outcome {
    handshake(client, server, "localhost", now())
}

/// At a server with these ticket keys and of this route.
fn visit(client: &Arc<ClientConfig>, pki: &Pki, keys: [u8; 3], route: &str) -> Outcome {
    connect(client, &config(&server(pki, keys, route)))
}

fn is_resumed(result: &Result<Facts>) -> bool {
    result.as_ref().unwrap().resumed
}

#[track_caller]
fn check(outcome: &Outcome, resumed: bool) {
    assert_eq!(is_resumed(&outcome.client), resumed, "{outcome:?}");
    assert_eq!(is_resumed(&outcome.server), resumed, "{outcome:?}");
}

#[test]
fn a_session_is_resumed_by_another_process_with_the_same_keys() {
    let Some(pki) = made() else { return };
    each_client(&pki, |client| {
        let first = config(&server(&pki, [1, 2, 3], "r"));
        check(&connect(client, &first), false);
        let outcome = visit(client, &pki, [1, 2, 3], "r");
        check(&outcome, true);
        let facts = outcome.server.unwrap();
        assert_eq!(facts.peer().unwrap().common_name().unwrap(), "alice");
        assert_eq!(
            outcome
                .client
                .unwrap()
                .peer()
                .unwrap()
                .common_name()
                .unwrap(),
            "localhost"
        );
    });
}

#[test]
fn a_stolen_ticket_after_rotation() {
    let Some(pki) = made() else { return };
    each_client(&pki, |client| {
        check(&visit(client, &pki, [1, 2, 3], "r"), false);
        check(&visit(client, &pki, [2, 3, 4], "r"), true);
        // Sealed with key 3 by now.
        check(&visit(client, &pki, [3, 4, 5], "r"), true);
        check(&visit(client, &pki, [5, 6, 7], "r"), false);
    });
}

#[test]
fn a_ticket_of_another_route() {
    let Some(pki) = made() else { return };
    each_client(&pki, |client| {
        check(&visit(client, &pki, [1, 2, 3], "r"), false);
        check(&visit(client, &pki, [1, 2, 3], "s"), false);
    });
}

#[test]
fn a_ticket_of_a_lax_route_on_a_strict_one() {
    let Some(pki) = made() else { return };
    pki.ca("other", "/CN=Other~CA");
    pki.write("both.pem", &["ca.pem", "other.pem"]);
    let with = |client_auth| ServerOptions {
        client_auth,
        ..server(&pki, [1, 2, 3], "r")
    };
    let strict = ClientAuth::Required(pki.roots("ca"));
    let lax = [
        ClientAuth::None,
        ClientAuth::Optional(pki.roots("ca")),
        ClientAuth::Required(pki.roots("both")),
        ClientAuth::Fingerprint(vec![pki.fingerprint("alice")]),
    ];
    for lax in lax {
        each_client(&pki, |client| {
            check(&connect(client, &config(&with(lax.clone()))), false);
            check(&connect(client, &config(&with(strict.clone()))), false);
        });
    }
}

#[test]
fn a_resumed_session_is_judged_by_the_lists_of_today() {
    let Some(pki) = made() else { return };
    each_client(&pki, |client| {
        check(&visit(client, &pki, [1, 2, 3], "r"), false);
        check(&visit(client, &pki, [1, 2, 3], "r"), true);
        let narrowed = ServerOptions {
            allowed_clients: vec![ClientIdentity::CommonName("bob".into())],
            ..server(&pki, [1, 2, 3], "r")
        };
        let outcome = connect(client, &config(&narrowed));
        assert_eq!(
            fault(&outcome.server),
            Some(Fault::NotAllowed),
            "{outcome:?}"
        );
    });
    pki.revoke("alice", "ca");
    let crls = pki.crl("ca");
    each_client(&pki, |client| {
        check(&visit(client, &pki, [1, 2, 3], "r"), false);
        let revoking = ServerOptions {
            client_auth: ClientAuth::Required(pki.roots("ca").with_crls(crls.clone(), false)),
            ..server(&pki, [1, 2, 3], "r")
        };
        let outcome = connect(client, &config(&revoking));
        assert_eq!(fault(&outcome.server), Some(Fault::Revoked), "{outcome:?}");
    });
}

/// On each record path of the end that refuses.
fn on_each_path(check: impl Fn(RecordPath)) {
    for records in [RecordPath::Rustls, RecordPath::InPlace] {
        check(records);
    }
}

#[test]
fn a_client_that_may_not_resume_is_told_by_the_alert_of_a_full_handshake() {
    let Some(pki) = made() else { return };
    pki.revoke("alice", "ca");
    let revoking = ClientAuth::Required(pki.roots("ca").with_crls(pki.crl("ca"), false));
    let bob = vec![ClientIdentity::CommonName("bob".into())];
    for (client_auth, allowed_clients, alert) in [
        (ClientAuth::Required(pki.roots("ca")), bob, ACCESS_DENIED),
        (revoking, Vec::new(), CERTIFICATE_REVOKED),
    ] {
        on_each_path(|records| {
            let strict = ServerOptions {
                client_auth: client_auth.clone(),
                allowed_clients: allowed_clients.clone(),
                records,
                ..server(&pki, [1, 2, 3], "r")
            };
            each_client(&pki, |client| {
                check(&visit(client, &pki, [1, 2, 3], "r"), false);
                let resumed = connect(client, &config(&strict));
                let full = connect(&client.without_resumption(), &config(&strict));
                for outcome in [resumed, full] {
                    let told = outcome.client.unwrap_err().kind();
                    assert_eq!(told, ErrorKind::TlsAlert(alert), "{records:?}");
                }
            });
        });
    }
}

#[test]
fn a_server_that_may_not_be_resumed_is_told_by_the_alert_of_a_full_handshake() {
    let Some(pki) = made() else { return };
    // The certificate of the client expires as well, and is not asked for.
    let server = config(&ServerOptions {
        client_auth: ClientAuth::None,
        ..server(&pki, [1, 2, 3], "r")
    });
    let half_hour_s = 1_800;
    let [good, expired] = [-half_hour_s, half_hour_s].map(|s| Now {
        wall_s: in_days(365).wall_s.saturating_add_signed(s),
        ..Now::default()
    });
    on_each_path(|records| {
        each_client_on(&pki, records, |client| {
            check(&handshake(client, &server, "localhost", good), false);
            let resumed = handshake(client, &server, "localhost", expired);
            let full = handshake(&client.without_resumption(), &server, "localhost", expired);
            for outcome in [resumed, full] {
                assert_eq!(fault(&outcome.client), Some(Fault::Expired), "{outcome:?}");
                let told = outcome.server.unwrap_err().kind();
                assert_eq!(
                    told,
                    ErrorKind::TlsAlert(CERTIFICATE_EXPIRED),
                    "{records:?}"
                );
            }
        });
    });
}

const CERTIFICATE_REVOKED: u8 = 44;
const CERTIFICATE_EXPIRED: u8 = 45;
const ACCESS_DENIED: u8 = 49;

#[test]
fn a_session_is_not_resumed_for_longer_than_its_lifetime() {
    let Some(pki) = made() else { return };
    each_client(&pki, |client| {
        let server = config(&server(&pki, [1, 2, 3], "r"));
        check(&connect(client, &server), false);
        check(&handshake(client, &server, "localhost", in_days(1)), false);
    });
}

#[test]
fn without_shared_keys_a_session_stays_with_its_configuration() {
    let Some(pki) = made() else { return };
    let options = ServerOptions {
        tickets: None,
        ..server(&pki, [1, 2, 3], "r")
    };
    each_client(&pki, |client| {
        let first = config(&options);
        check(&connect(client, &first), false);
        check(&connect(client, &first), true);
        check(&connect(client, &config(&options)), false);
    });
}
