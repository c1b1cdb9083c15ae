use super::trust::check_error;
use super::*;
use crate::frame::obrpc::{Bypass, Method};

/// In the directory of [`certificates`]; the client's keys begin at line 6.
fn rpc(client: &str, server: &str) -> String {
    two_sided(client, server).replace("\"tcp\"", "\"obrpc\"")
}

const ENCRYPTED: &str = "cert = \"server-cert.pem\"\nkey = \"server-key.pem\"\nca = \"ca.pem\"";
const NONE: &str = "method = \"none\"";

#[test]
fn tls_is_on_by_default_in_both_directions() {
    let dir = certificates();
    let plan = load_in(&dir, &rpc(ENCRYPTED, CA)).unwrap();
    let route = &plan.routes[0];
    let ClientTls::Negotiated {
        policy,
        client_cert,
        is_loopback_exempt,
        ..
    } = &route.client.tls
    else {
        panic!("{:?}", route.client.tls)
    };
    assert_eq!(policy.methods, Method::SslIo.into());
    assert_eq!(policy.bypass, Bypass::Nobody);
    assert!(policy.is_keepalive_admitted && !policy.is_tls_admitted);
    assert_eq!(*client_cert, ClientCert::Required);
    assert!(!is_loopback_exempt);
    let ServerTls::Negotiated { method, mode, .. } = &route.server.tls else {
        panic!("{:?}", route.server.tls)
    };
    assert_eq!((*method, *mode), (Method::SslIo, VerifyMode::Full));
    assert_eq!(route.dangers().count(), 0);
}

#[test]
fn every_method_can_be_chosen_on_each_side() {
    let dir = certificates();
    for method in ["none", "ssl_no_encrypt", "ssl_io"] {
        let towards = match method {
            "none" => NONE.to_owned(),
            _ => format!("method = \"{method}\"\n{CA}"),
        };
        let plan = load_in(&dir, &rpc(NONE, &towards)).unwrap();
        let ServerTls::Negotiated { method: asked, .. } = &plan.routes[0].server.tls else {
            panic!("not negotiated")
        };
        assert_eq!(asked.name(), method);
    }
    let all = format!("method = [\"none\", \"ssl_no_encrypt\", \"ssl_io\"]\n{ENCRYPTED}");
    let plan = load_in(&dir, &rpc(&all, NONE)).unwrap();
    let ClientTls::Negotiated { policy, .. } = &plan.routes[0].client.tls else {
        panic!("not negotiated")
    };
    assert_eq!(policy.methods.names().count(), 3);
}

#[test]
fn what_lowers_security_is_a_danger() {
    let dir = certificates();
    for (client, server, danger) in [
        (
            "method = \"ssl_io\"\ndanger_bypass = \"table-api\"",
            NONE,
            "danger_bypass = \"table-api\"",
        ),
        (
            "danger_bypass = \"everybody\"",
            NONE,
            "danger_bypass = \"everybody\"",
        ),
        ("", "tls = \"danger-none\"", "tls = \"danger-none\""),
    ] {
        let client = format!("{client}\n{ENCRYPTED}");
        let plan = load_in(&dir, &rpc(&client, server)).unwrap();
        let dangers: Vec<_> = plan.routes[0].dangers().collect();
        assert_eq!(dangers.len(), 1, "{dangers:?}");
        assert!(dangers[0].starts_with(danger), "{dangers:?}");
    }
}

#[test]
fn keys_without_an_effect_are_errors() {
    let dir = certificates();
    let encrypted = |more: &str| format!("{more}\n{ENCRYPTED}");
    let cases = [
        (rpc("", NONE), ":5: [route.client] needs cert and key"),
        (
            rpc(&encrypted("tls = \"required\""), NONE),
            ":6: tls has no effect in [route.client] with protocol = \"obrpc\"",
        ),
        (
            rpc(&encrypted("tickets = \"keys\""), NONE),
            ":6: tickets has no effect with protocol = \"obrpc\"",
        ),
        (
            rpc(&format!("{NONE}\n{CA}"), NONE),
            ":7: ca has no effect with method = [\"none\"]",
        ),
        (
            rpc(NONE, &format!("{NONE}\ntls = \"verify-ca\"")),
            ":10: tls has no effect with method = \"none\"",
        ),
        (
            rpc(NONE, &format!("{NONE}\n{CA}")),
            ":10: ca has no effect with method = \"none\"",
        ),
        (
            rpc(NONE, "tls = \"off\""),
            ":9: tls = \"off\" cannot go with this method: say method = \"none\"",
        ),
        (
            rpc(NONE, "tls = \"danger-preferred\""),
            ":9: tls = \"danger-preferred\" is for protocol = \"mysql\"",
        ),
        (
            rpc(NONE, "method = [\"ssl_io\", \"none\"]"),
            ":9: a server is asked for one method",
        ),
        (
            rpc(
                &format!("{NONE}\nproxy_protocol_from = [\"10.0.0.0/8\"]"),
                NONE,
            ),
            ":7: proxy_protocol_from has no effect with protocol = \"obrpc\"",
        ),
        (
            rpc(NONE, &format!("{NONE}\nproxy_protocol = \"v2\"")),
            ":10: proxy_protocol has no effect with protocol = \"obrpc\"",
        ),
        (
            two_sided(CERT, OFF).replace("db.example:1", "original"),
            ":9: address = \"original\" is for protocol = \"obrpc\"",
        ),
        (
            rpc("method = \"ssl\"", NONE),
            ":6: method = \"ssl\" is not one of none, ssl_no_encrypt, ssl_io; did you mean",
        ),
        (
            rpc(&encrypted("danger_bypass = \"all\""), NONE),
            ":6: danger_bypass = \"all\" is not one of nobody, table-api, everybody",
        ),
        (
            rpc(
                &encrypted("method = \"ssl_no_encrypt\"\nmin_version = \"1.3\""),
                NONE,
            ),
            "method ssl_no_encrypt needs TLS 1.2",
        ),
        (
            two_sided(&format!("{CERT}\ncompat_loopback = true"), OFF),
            ":8: compat_loopback has no effect without protocol = \"obrpc\"",
        ),
        (
            two_sided(CERT, &format!("{OFF}\nmethod = \"none\"")),
            "method has no effect without protocol = \"obrpc\"",
        ),
        (
            rpc(&format!("{NONE}\ntrusted_proxies = [\"10.0.0.1\"]"), NONE),
            ":7: trusted_proxies has no effect without protocol = \"mysql\"",
        ),
    ];
    for (text, expected) in cases {
        check_error(&dir, &text, expected);
    }
}
