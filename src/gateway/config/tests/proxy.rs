use super::*;

/// A route of this protocol with more keys on its sides.
fn text(protocol: &str, client: &str, server: &str) -> String {
    format!(
        r#"[[route]]
name = "web"
protocol = "{protocol}"
listen = ["127.0.0.1:8443"]
[route.client]
{client}
[route.server]
address = "127.0.0.1:8080"
tls = "off"
{server}"#
    )
}

#[test]
fn nothing_is_announced_by_default() {
    let plan = plan_of(&text("tcp", OFF, ""));
    let route = &plan.routes[0];
    assert!(route.client.proxy_protocol_from.is_empty());
    assert_eq!(route.server.proxy_header, None);
    let plan = plan_of(&text("tcp", OFF, "proxy_protocol = \"off\""));
    assert_eq!(plan.routes[0].server.proxy_header, None);
}

#[test]
fn headers_are_taken_and_sent_on_every_kind_of_route() {
    let client = "proxy_protocol_from = [\"10.0.0.0/8\", \"unix\"]";
    for (protocol, tls) in [
        ("tcp", "off"),
        ("mysql", "off"),
        ("tcp", "passthrough"),
        ("mysql", "passthrough"),
    ] {
        let client = format!("tls = \"{tls}\"\n{client}");
        let plan = plan_of(&text(protocol, &client, "proxy_protocol = \"v2\""));
        let route = &plan.routes[0];
        let expected = Networks::of(&["10.0.0.0/8", "unix"]);
        assert_eq!(route.client.proxy_protocol_from, expected);
        let header = ProxyHeader { has_subject: false };
        assert_eq!(route.server.proxy_header, Some(header));
        let is_dangerous = route.dangers().any(|it| it.contains("pose as any address"));
        assert_eq!(is_dangerous, (protocol, tls) == ("mysql", "passthrough"));
    }
}

#[test]
fn the_subject_is_told_where_there_can_be_one() {
    let dir = certificates();
    let server = "proxy_protocol = \"v2\"\nproxy_protocol_subject = true";
    for mode in ["optional", "required"] {
        let more = format!("ca = \"ca.pem\"\nclient_cert = \"{mode}\"");
        let client = format!("{CERT}\n{more}");
        let plan = load_in(&dir, &text("tcp", &client, server)).unwrap();
        let header = ProxyHeader { has_subject: true };
        assert_eq!(plan.routes[0].server.proxy_header, Some(header));
    }
    let with_ca = format!("{CERT}\nca = \"ca.pem\"");
    for (protocol, client, server, why) in [
        ("tcp", OFF, server, "where clients show no certificate"),
        (
            "tcp",
            "tls = \"passthrough\"",
            server,
            "where clients show no certificate",
        ),
        ("tcp", CERT, server, "where clients show no certificate"),
        (
            "mysql",
            &with_ca,
            server,
            "with protocol = \"mysql\": the header goes out before clients begin TLS",
        ),
        (
            "tcp",
            &with_ca,
            "proxy_protocol_subject = true",
            "without proxy_protocol = \"v2\"",
        ),
    ] {
        let error = load_in(&dir, &text(protocol, client, server))
            .unwrap_err()
            .to_string();
        let expected = format!(": proxy_protocol_subject has no effect {why}");
        assert!(error.ends_with(&expected), "{error}");
    }
    load_in(&dir, &text("tcp", OFF, "proxy_protocol_subject = false")).unwrap();
}

#[test]
fn what_is_written_wrongly_is_told() {
    let version = text("tcp", OFF, "proxy_protocol = \"v1\"");
    assert_eq!(
        error_of(&version),
        "gateway.toml:10: proxy_protocol = \"v1\" is not one of off, v2"
    );
    let network = text(
        "tcp",
        "tls = \"off\"\nproxy_protocol_from = [\"10.0.0.1/8\"]",
        "",
    );
    assert_eq!(
        error_of(&network),
        "gateway.toml:7: proxy_protocol_from: \"10.0.0.1/8\" has bits set behind its prefix"
    );
    for (client, server) in [
        ("tls = \"off\"\nproxy_protocol = \"v2\"", ""),
        (OFF, "proxy_protocol_from = [\"10.0.0.0/8\"]"),
    ] {
        assert!(error_of(&text("tcp", client, server)).contains("unknown key \"proxy_protocol"));
    }
}
