use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::plan::Settings;
use super::*;
use crate::engine::PeerAddress;
use crate::frame::mysql::auth::{KeySource, PrivateKey};

mod digest;
mod obrpc;
mod proxy;
mod require;
mod trust;

/// The error of a configuration, without the directory it lay in.
fn error_of(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gateway.toml");
    fs::write(&path, text).unwrap();
    let error = load(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let dir = format!("{}/", dir.path().display());
    error.to_string().replace(&dir, "")
}

fn plan_of(text: &str) -> Arc<Plan> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gateway.toml");
    fs::write(&path, text).unwrap();
    load(&path).unwrap()
}

/// A route that is good; `extra` goes behind `[[route]]`'s own keys, from line 5 on.
fn route(extra: &str) -> String {
    format!(
        r#"[[route]]
name = "web"
protocol = "tcp"
listen = ["127.0.0.1:8443"]
{extra}"#
    )
}

const PLAIN: &str = r#"
[route.client]
tls = "off"

[route.server]
address = "127.0.0.1:8080"
tls = "off"
"#;

#[test]
fn defaults_are_the_documented_ones() {
    let plan = plan_of(&route(PLAIN));
    assert_eq!(
        plan.settings,
        Settings {
            workers: 0,
            backend: crate::engine::BackendChoice::Auto,
            records: crate::tls::RecordPath::default(),
            connections_max: 0,
            half_open_max_per_address: 1_000,
            drain_timeout: Some(Duration::from_secs(30)),
            metrics: None,
            reload_drain: None,
        }
    );
    let route = &plan.routes[0];
    assert_eq!(&*route.name, "web");
    assert_eq!(route.connect_timeout, Duration::from_millis(5_000));
    assert_eq!(route.handshake_timeout, Duration::from_secs(10));
    assert_eq!(route.idle_timeout, Some(Duration::from_secs(28_800)));
    assert_eq!(route.connections_max, 0);
    assert_eq!(route.client.socket.keepalive, Some(Duration::from_secs(60)));
    assert_eq!(route.server.socket.user_timeout, None);
}

#[test]
fn bounds_of_the_gateway_are_read_from_its_keys() {
    let keys = "[gateway]\nmax_connections = 7\nhalf_open_max_per_address = 3\n";
    let plan = plan_of(&format!("{keys}{}", route(PLAIN)));
    assert_eq!(plan.settings.connections_max, 7);
    assert_eq!(plan.settings.half_open_max_per_address, 3);
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
    let text = format!("[gateway]\nworkers = 1\n\n{}", route(PLAIN)).replace("listen", "lisen");
    assert_eq!(
        error_of(&text),
        r#"gateway.toml:7: unknown key "lisen" in [[route]]; did you mean "listen"?"#
    );
    assert_eq!(
        error_of("[gatway]\n"),
        r#"gateway.toml:1: unknown key "gatway" in the file; did you mean "gateway"?"#
    );
    let text = route(PLAIN).replace("address", "\"adress\\u0007\"");
    assert_eq!(
        error_of(&text),
        concat!(
            r#"gateway.toml:10: unknown key "adress\u{7}" in [route.server]; "#,
            r#"did you mean "address"?"#
        )
    );
}

#[test]
fn a_key_like_no_other_gets_the_list() {
    assert_eq!(
        error_of("\n[gateway]\nzzz = 1\nyyy = 2\n"),
        "gateway.toml:3: unknown key \"zzz\" in [gateway]; \
         known keys: workers, backend, records, max_connections, half_open_max_per_address, \
         drain_timeout_s, metrics, metrics_names, danger_expose_metrics, reload_drain_s"
    );
}

#[test]
fn broken_toml_is_named_with_its_line() {
    assert_eq!(
        error_of("[gateway]\nworkers = \n"),
        "gateway.toml:2: string values must be quoted, expected literal string"
    );
    assert_eq!(
        error_of("[gateway]\nworkers = 1\nworkers = 2\n"),
        "gateway.toml:3: duplicate key"
    );
}

#[test]
fn values_of_the_wrong_type_or_size_are_named() {
    let cases = [
        (
            "[gateway]\nworkers = \"two\"\n",
            "gateway.toml:2: workers in [gateway] must be a whole number from 0 to 1024, \
             not a string",
        ),
        (
            "[gateway]\n\nworkers = -1\n",
            "gateway.toml:3: workers = -1 in [gateway] is not a whole number from 0 to 1024",
        ),
        (
            "gateway = 3\n",
            "gateway.toml:1: gateway in the file must be a table, [gateway], not a number",
        ),
        (
            "route = \"web\"\n",
            "gateway.toml:1: route in the file must be a list of tables, [[route]], not a string",
        ),
        (
            "[gateway]\nbackend = \"io_uring\"\n",
            "gateway.toml:2: backend = \"io_uring\" is not one of auto, uring, epoll; \
             did you mean \"uring\"?",
        ),
        (
            "[[route]]\nname = \"a\"\nprotocol = \"tcp\"\nlisten = \"127.0.0.1:1\"\n",
            "gateway.toml:4: listen in [[route]] must be a list of strings, not a string",
        ),
        (
            "[[route]]\nhandshake_timeout_s = 0\n",
            "gateway.toml:2: handshake_timeout_s = 0 in [[route]] is not a whole number \
             from 1 to 3600",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(error_of(text), expected);
    }
}

#[test]
fn what_a_route_cannot_do_without_is_asked_for() {
    let cases = [
        ("", "gateway.toml:1: no [[route]]: there is nothing to do"),
        (
            "[gateway]\n\n[[route]]\n",
            "gateway.toml:3: [[route]] needs a name",
        ),
        (
            "[[route]]\nname = \"a\"\n",
            "gateway.toml:1: [[route]] needs protocol, as in protocol = \"tcp\"",
        ),
        (
            "[[route]]\nname = \"a\"\nprotocol = \"tcp\"\n",
            "gateway.toml:1: [[route]] needs listen, as in listen = [\"127.0.0.1:8443\"]",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(error_of(text), expected);
    }
    assert_eq!(
        error_of(&route("[route.client]\ntls = \"off\"\n[route.server]\n")),
        "gateway.toml:7: [route.server] needs address, as in address = \"127.0.0.1:8080\""
    );
}

#[test]
fn a_protocol_that_is_not_known_is_an_error() {
    let text = route(PLAIN).replace("\"tcp\"", "\"udp\"");
    assert_eq!(
        error_of(&text),
        "gateway.toml:3: protocol = \"udp\" is not one of tcp, mysql, obrpc"
    );
}

#[test]
fn names_and_addresses_are_unique() {
    let other = route(PLAIN);
    assert_eq!(
        error_of(&format!("{}{other}", route(PLAIN))),
        "gateway.toml:13: a route named \"web\" is already at line 2"
    );
    let other = other.replace("\"web\"", "\"api\"");
    assert_eq!(
        error_of(&format!("{}{other}", route(PLAIN))),
        "gateway.toml:15: 127.0.0.1:8443 is already listened on by route \"web\" (line 4)"
    );
}

#[test]
fn addresses_are_read_or_refused() {
    for (text, expected) in [
        ("db.example:3306", Some("db.example:3306")),
        ("[::1]:443", Some("[::1]:443")),
        ("unix:/run/db.sock", Some("unix:/run/db.sock")),
        ("db.example", None),
        ("db.example:99999", None),
        ("http://db:80", None),
        (":80", None),
        ("", None),
    ] {
        let parsed = ServerAddress::parse(text).ok().map(|a| a.to_string());
        assert_eq!(parsed.as_deref(), expected, "{text}");
    }
    let text = route(PLAIN).replace("127.0.0.1:8443", "localhost:8443");
    assert_eq!(
        error_of(&text),
        "gateway.toml:4: `localhost:8443` is neither ip:port nor unix:/path"
    );
}

#[test]
fn relative_paths_are_relative_to_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gateway.toml");
    let text = route(PLAIN)
        .replace("127.0.0.1:8443", "unix:in.sock")
        .replace("127.0.0.1:8080", "unix:/run/out.sock");
    fs::write(&path, text).unwrap();
    let plan = load(&path).unwrap();
    let inside = crate::engine::Address::Unix(dir.path().join("in.sock"));
    assert_eq!(plan.routes[0].listen, [inside]);
    assert_eq!(
        plan.routes[0].server.address.to_string(),
        "unix:/run/out.sock"
    );
}

#[test]
fn passthrough_goes_with_an_open_server_side_only() {
    let server = "[route.server]\naddress = \"127.0.0.1:8080\"\n";
    let passthrough = format!("[route.client]\ntls = \"passthrough\"\n{server}");
    plan_of(&route(&format!("{passthrough}tls = \"off\"\n")));
    let reason = "cannot go with tls = \"passthrough\" in [route.client]: the client's TLS ends at \
                  the server, and the gateway cannot verify what it does not open; say \
                  tls = \"off\" in [route.server]";
    for mode in ["verify-ca", "verify-full"] {
        assert_eq!(
            error_of(&route(&format!("{passthrough}tls = \"{mode}\"\n"))),
            format!("gateway.toml:9: tls = \"{mode}\" in [route.server] {reason}")
        );
    }
    assert_eq!(
        error_of(&route(&passthrough)),
        format!("gateway.toml:7: tls = \"verify-full\" in [route.server] {reason}")
    );
}

#[test]
fn tls_is_on_unless_off_is_said() {
    let open = "[route.client]\ntls = \"off\"\n";
    let server = "[route.server]\naddress = \"127.0.0.1:8080\"\n";
    assert_eq!(
        error_of(&route(server)),
        "gateway.toml:1: tls = \"required\" needs cert and key"
    );
    assert_eq!(
        error_of(&route(&format!("{open}{server}"))),
        "gateway.toml:7: tls = \"verify-full\" needs ca: the authorities that may issue the \
         server's certificate, a file or \"system\"; say tls = \"off\" for a server without TLS"
    );
}

#[test]
fn keys_without_effect_are_errors() {
    let server = "[route.server]\naddress = \"127.0.0.1:8080\"\ntls = \"off\"\n";
    let cases = [
        (
            format!("[route.client]\ntls = \"off\"\ncert = \"a.pem\"\n{server}"),
            "gateway.toml:7: cert has no effect with tls = \"off\"",
        ),
        (
            format!("[route.client]\ntls = \"passthrough\"\nsuites = [\"A\"]\n{server}"),
            "gateway.toml:7: suites has no effect with tls = \"passthrough\"",
        ),
        (
            format!("[route.client]\ntls = \"off\"\n{server}server_name = \"db\"\n"),
            "gateway.toml:10: server_name has no effect with tls = \"off\"",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(error_of(&route(&text)), expected);
    }
}

#[test]
fn files_that_cannot_be_read_are_named_with_the_line() {
    let extra = "[route.client]\ncert = \"server-cert.pem\"\nkey = \"server-key.pem\"\n";
    assert_eq!(
        error_of(&route(extra)),
        "gateway.toml:6: server-cert.pem: No such file or directory (os error 2)"
    );
    assert_eq!(
        error_of(&route(&extra.replace("server-cert.pem", "/dev/zero"))),
        "gateway.toml:6: /dev/zero: larger than 1048576 bytes"
    );
    assert_eq!(
        error_of(&route(&extra.replace("cert = \"server-cert.pem\"\n", ""))),
        "gateway.toml:6: key needs cert, its certificate"
    );
    let missing = load(&PathBuf::from("no-such-dir/gateway.toml")).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "no-such-dir/gateway.toml: No such file or directory (os error 2)"
    );
}

#[test]
fn flags_are_judged_like_a_file() {
    let error = assemble(from_flags(|_| {})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "--client-tls: tls = \"required\" needs cert and key"
    );
    let source = from_flags(|route| {
        route.client.tls = Some(Given::flag("--client-tls", "off".into()));
        route.server.tls = Some(Given::flag("--server-tls", "off".into()));
        route.server.address = Some(Given::flag("--upstream", "localhost:80".into()));
    });
    let plan = assemble(source).unwrap();
    assert_eq!(plan.routes[0].server.address.to_string(), "localhost:80");
}

fn from_flags(complete: impl Fn(&mut RouteSource)) -> Source {
    let leg = |flag| LegSource::empty(Place::Flag(flag));
    let mut source = Source {
        gateway: GatewaySource::default(),
        routes: vec![RouteSource {
            name: Some(Given::flag("--listen", "default".into())),
            protocol: Some(Given::flag("--listen", "tcp".into())),
            listen: vec![Given::flag("--listen", "127.0.0.1:0".into())],
            client: leg("--client-tls"),
            server: leg("--server-tls"),
            ..RouteSource::empty(Place::Flag("--listen"))
        }],
        place: Place::Flag("--listen"),
    };
    complete(&mut source.routes[0]);
    source
}

/// A directory with an authority, a certificate of its own making, and a foreign key.
fn certificates() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| fs::write(dir.path().join(name), text).unwrap();
    let params = rcgen::CertificateParams::new(vec!["db.example".to_owned()]).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    write("ca.pem", certificate.clone());
    write("server-cert.pem", certificate);
    write("server-key.pem", key.serialize_pem());
    let foreign = rcgen::KeyPair::generate().unwrap();
    write("client-key.pem", foreign.serialize_pem());
    dir
}

fn load_in(dir: &tempfile::TempDir, text: &str) -> Result<Arc<Plan>> {
    let path = dir.path().join("gateway.toml");
    fs::write(&path, text).unwrap();
    load(&path).map_err(|error| {
        let dir = format!("{}/", dir.path().display());
        Error::new(error.kind(), error.to_string().replace(&dir, ""))
    })
}

/// `client` and `server` are the lines of the two tables; those of the client begin at line 6.
fn two_sided(client: &str, server: &str) -> String {
    route(&format!(
        "[route.client]\n{client}\n[route.server]\naddress = \"db.example:1\"\n{server}\n"
    ))
}

const CERT: &str = "cert = \"server-cert.pem\"\nkey = \"server-key.pem\"";
const CA: &str = "ca = \"ca.pem\"";
const OFF: &str = "tls = \"off\"";

#[test]
fn every_legal_combination_is_accepted() {
    let dir = certificates();
    let verify_ca = format!("tls = \"verify-ca\"\n{CA}");
    for client in [OFF, CERT] {
        for server in [OFF, CA, &verify_ca] {
            let plan = load_in(&dir, &two_sided(client, server)).unwrap();
            let route = &plan.routes[0];
            assert_eq!(matches!(route.client.tls, ClientTls::Off), client == OFF);
            match &route.server.tls {
                ServerTls::Off => assert_eq!(server, OFF),
                ServerTls::Verify { mode, name, .. } => {
                    assert_eq!(*mode == VerifyMode::Full, server == CA);
                    assert_eq!(name.to_str(), "db.example");
                }
                other @ ServerTls::Negotiated { .. } => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn client_certificates_are_required_where_an_authority_is_given() {
    let dir = certificates();
    let mode = |extra: &str| -> Result<ClientCert> {
        let plan = load_in(&dir, &two_sided(&format!("{CERT}\n{extra}"), OFF))?;
        match &plan.routes[0].client.tls {
            ClientTls::Terminated { client_cert, .. } => Ok(*client_cert),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(mode(""), Ok(ClientCert::None));
    assert_eq!(mode(CA), Ok(ClientCert::Required));
    let optional = mode(&format!("{CA}\nclient_cert = \"optional\""));
    assert_eq!(optional, Ok(ClientCert::Optional));
    let none = mode(&format!("{CA}\nclient_cert = \"none\"")).unwrap_err();
    assert_eq!(
        none.to_string(),
        "gateway.toml:8: ca has no effect with client_cert = \"none\""
    );
    let without = mode("client_cert = \"required\"").unwrap_err();
    assert_eq!(
        without.to_string(),
        "gateway.toml:8: client_cert needs ca: the authorities that may issue client certificates"
    );
}

#[test]
fn a_unix_socket_has_no_name_of_its_own() {
    let dir = certificates();
    let text = two_sided(OFF, CA).replace("db.example:1", "unix:/run/db.sock");
    assert_eq!(
        load_in(&dir, &text).unwrap_err().to_string(),
        "gateway.toml:7: tls = \"verify-full\" needs server_name, since the path of a socket is \
         none"
    );
    let named = text.replace(CA, &format!("{CA}\nserver_name = \"db.example\""));
    load_in(&dir, &named).unwrap();
    let bad = text.replace(CA, &format!("{CA}\nserver_name = \"no name\""));
    assert_eq!(
        load_in(&dir, &bad).unwrap_err().to_string(),
        "gateway.toml:10: server_name = \"no name\" is neither a DNS name nor an IP address"
    );
}

#[test]
fn certificates_and_keys_that_cannot_be_used_are_named_with_their_line() {
    let dir = certificates();
    let error = |client: &str| {
        let error = load_in(&dir, &two_sided(client, OFF)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        error.to_string()
    };
    let foreign = error(&CERT.replace("server-key", "client-key"));
    assert!(
        foreign.starts_with("gateway.toml:7: client-key.pem: the private key does not belong to"),
        "{foreign}"
    );
    fs::write(dir.path().join("server-key.pem"), ENCRYPTED).unwrap();
    let encrypted = error(CERT);
    assert!(
        encrypted.starts_with("gateway.toml:7: server-key.pem: "),
        "{encrypted}"
    );
    assert!(encrypted.contains("encrypted"), "{encrypted}");
    fs::write(dir.path().join("server-cert.pem"), "not PEM").unwrap();
    let no_pem = error(CERT);
    assert!(
        no_pem.starts_with("gateway.toml:6: server-cert.pem: "),
        "{no_pem}"
    );
}

#[test]
fn unknown_suites_are_named_with_their_line() {
    let dir = certificates();
    let suites = format!("{CERT}\nsuites = [\"TLS_AES_128_GCM_SHA256\",\n\"RC4-MD5\"]");
    let error = load_in(&dir, &two_sided(&suites, OFF))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("gateway.toml:8: "), "{error}");
    assert!(error.contains("RC4-MD5"), "{error}");
}

fn mysql(client: &str, server: &str) -> String {
    two_sided(client, server).replace("\"tcp\"", "\"mysql\"")
}

#[test]
fn keys_for_passwords_are_read_and_dangers_told() {
    let dir = certificates();
    let pem = PrivateKey::generate().unwrap().public_pem().to_owned();
    fs::write(dir.path().join("public.pem"), pem).unwrap();
    let load = |server: &str| load_in(&dir, &mysql(CERT, server)).unwrap();
    let told = |plan: &Plan| plan.routes[0].dangers().count();

    let plan = load(OFF);
    assert!(matches!(
        *plan.routes[0].server.public_key,
        KeySource::Refused
    ));
    assert_eq!(told(&plan), 0);
    let plan = load(&format!("{OFF}\nserver_public_key = \"public.pem\""));
    assert!(matches!(
        *plan.routes[0].server.public_key,
        KeySource::Known(_)
    ));
    assert_eq!(told(&plan), 0);
    let plan = load(&format!("{OFF}\ndanger_fetch_server_public_key = true"));
    assert!(matches!(
        *plan.routes[0].server.public_key,
        KeySource::DangerFetched
    ));
    assert_eq!(told(&plan), 1);
    let plan = load("tls = \"danger-preferred\"\ndanger_fetch_server_public_key = true");
    assert_eq!(told(&plan), 2);
    let plan = load(&format!("{OFF}\ndanger_fetch_server_public_key = false"));
    assert_eq!(told(&plan), 0);
}

#[test]
fn the_gateway_makes_a_key_where_a_plain_client_may_need_one() {
    let dir = certificates();
    let needs = |client: &str, server: &str| {
        let plan = load_in(&dir, &mysql(client, server)).unwrap();
        plan.routes[0].needs_password_key()
    };
    let preferred = format!("tls = \"preferred\"\n{CERT}");
    assert!(needs(OFF, CA));
    assert!(needs(&preferred, CA));
    assert!(needs(&preferred, "tls = \"danger-preferred\""));
    assert!(!needs(CERT, CA));
    assert!(!needs(OFF, OFF));
    let unix = mysql(OFF, OFF).replace("db.example:1", "unix:/run/db.sock");
    assert!(load_in(&dir, &unix).unwrap().routes[0].needs_password_key());
    let tcp = load_in(&dir, &two_sided(OFF, CA)).unwrap();
    assert!(!tcp.routes[0].needs_password_key());
}

#[test]
fn proxies_are_trusted_where_they_are_listed() {
    let dir = certificates();
    let trusts = |list: &str| {
        let client = format!("{CERT}\n{list}");
        let plan = load_in(&dir, &mysql(&client, OFF)).unwrap();
        let peer = ([10, 1, 2, 3], 1).into();
        plan.routes[0]
            .client
            .trusted_proxies
            .contains(PeerAddress::Ip(peer))
    };
    assert!(!trusts(""));
    assert!(trusts("trusted_proxies = [\"unix\", \"10.0.0.0/8\"]"));
    assert!(!trusts("trusted_proxies = [\"192.168.0.0/16\"]"));
}

#[test]
fn keys_of_mysql_without_effect_are_errors() {
    let dir = certificates();
    let cases = [
        (
            two_sided(&format!("{CERT}\ntrusted_proxies = [\"unix\"]"), OFF),
            "gateway.toml:8: trusted_proxies has no effect without protocol = \"mysql\"",
        ),
        (
            mysql(
                CERT,
                &format!("{CA}\ndanger_fetch_server_public_key = true"),
            ),
            "gateway.toml:11: danger_fetch_server_public_key has no effect where passwords go to \
             the server in TLS",
        ),
        (
            mysql(CERT, &format!("{OFF}\nserver_public_key = \"public.pem\""))
                .replace("db.example:1", "unix:/run/db.sock"),
            "gateway.toml:11: server_public_key has no effect over a Unix socket, on which nobody \
             listens in",
        ),
        (
            mysql(
                CERT,
                &format!("{OFF}\nserver_public_key = \"a\"\ndanger_fetch_server_public_key = true"),
            ),
            "gateway.toml:12: danger_fetch_server_public_key has no effect beside \
             server_public_key",
        ),
        (
            mysql(
                "tls = \"passthrough\"",
                &format!("{OFF}\ndanger_fetch_server_public_key = true"),
            ),
            "gateway.toml:10: danger_fetch_server_public_key has no effect with tls = \
             \"passthrough\" in [route.client]: logins pass unread",
        ),
        (
            two_sided(CERT, "tls = \"danger-preferred\""),
            "gateway.toml:10: tls = \"danger-preferred\" is for protocol = \"mysql\": only there \
             does the server say whether it speaks TLS",
        ),
        (
            mysql(CERT, &format!("tls = \"danger-preferred\"\n{CA}")),
            "gateway.toml:11: ca has no effect with tls = \"danger-preferred\"",
        ),
        (
            mysql(CERT, &format!("{OFF}\nserver_public_key = \"ca.pem\"")),
            "gateway.toml:11: ca.pem: no PEM of a public key: no items found",
        ),
        (
            mysql(CERT, &format!("{OFF}\ndanger_fetch_server_public_key = 1")),
            "gateway.toml:11: danger_fetch_server_public_key in [route.server] must be true or \
             false, not a number",
        ),
        (
            mysql(&format!("{CERT}\ntrusted_proxies = [\"10.0.0.1/8\"]"), OFF),
            "gateway.toml:8: trusted_proxies: \"10.0.0.1/8\" has bits set behind its prefix",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(load_in(&dir, &text).unwrap_err().to_string(), expected);
    }
}

const ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAg=
-----END ENCRYPTED PRIVATE KEY-----
";
