//! Pages of a gateway that is made up: one route, whatever sessions a test wants.

use std::collections::BTreeMap;
use std::fs;

use super::http::Parsed;
use super::*;
use crate::gateway::config::{self, Given, LegSource, Place, RouteSource, Source};
use crate::gateway::counters::Gauges;
use crate::gateway::service::Service;
use crate::gateway::session::{Phase, Side};
use crate::gateway::sessions::{Live, LiveSession};
use crate::tls::{Facts, Version};

fn status() -> Arc<Status> {
    let given = |text: &str| Given::flag("--test", text.to_owned());
    let place = Place::Flag("--test");
    let dir = tempfile::tempdir().unwrap();
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let write = |name: &str, text: String| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        Some(given(path.to_str().unwrap()))
    };
    let client = LegSource {
        tls: Some(given("preferred")),
        cert: write("cert.pem", own.cert.pem()),
        key: write("key.pem", own.signing_key.serialize_pem()),
        ..LegSource::empty(place.clone())
    };
    let server = LegSource {
        tls: Some(given("off")),
        address: Some(given("127.0.0.1:3306")),
        ..LegSource::empty(place.clone())
    };
    let source = Source {
        gateway: Default::default(),
        routes: vec![RouteSource {
            name: Some(given("a \"route\"\\")),
            protocol: Some(given("mysql")),
            listen: vec![given("127.0.0.1:3307")],
            client,
            server,
            ..RouteSource::empty(place.clone())
        }],
        place,
    };
    let plan = config::assemble(source).unwrap();
    let info = Info {
        backend: "io_uring: of a test".into(),
        fallback_reason: None,
        started_s: 1_000,
    };
    let shown = Shown {
        service: Arc::new(Service::new(plan, None, 1, 500).unwrap()),
        reloads: Reloads::default(),
        is_draining: false,
    };
    Arc::new(Status::new(info, Gauges::default(), Vec::new(), shown))
}

fn answers(status: &Arc<Status>) -> Answers {
    Answers {
        names: vec!["gateway.example".into()],
        status: status.clone(),
        look: None,
    }
}

/// The response to a request with this first line and host.
fn ask(status: &Arc<Status>, line: &str, host: &str) -> String {
    let text = format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let Parsed::Whole(request) = Request::parse(text.as_bytes()) else {
        panic!("{text}");
    };
    let response = answers(status).to(&request);
    String::from_utf8(response.into_bytes(request.is_head())).unwrap()
}

fn code(status: &Arc<Status>, line: &str, host: &str) -> String {
    let response = ask(status, line, host);
    response.split(' ').nth(1).unwrap().to_owned()
}

fn session(age_s: u64) -> LiveSession {
    LiveSession {
        route: "route".into(),
        peer: crate::engine::PeerAddress::Unix,
        phase: Phase::Relaying,
        age: Duration::from_secs(age_s),
        client: None,
        server: None,
        user: None,
        to_server_bytes: 0,
        to_client_bytes: 0,
    }
}

fn page_with(sessions: Vec<LiveSession>, count: usize) -> String {
    page::write(&status(), &Look::of(Live { sessions, count }))
}

#[test]
fn there_are_three_pages_to_be_read_by_known_names() {
    let status = status();
    for path in ["/", "/metrics", "/healthz", "/metrics?a=b"] {
        assert_eq!(code(&status, &format!("GET {path}"), "127.0.0.1:1"), "200");
        assert_eq!(
            code(&status, &format!("HEAD {path}"), "gateway.example"),
            "200"
        );
        assert_eq!(code(&status, &format!("POST {path}"), "localhost"), "405");
        assert_eq!(code(&status, &format!("GET {path}"), "evil.example"), "421");
    }
    for path in ["/metrics/", "//", "/../metrics", "/%2e%2e/etc/passwd", "*"] {
        assert_eq!(
            code(&status, &format!("GET {path}"), "localhost"),
            "404",
            "{path}"
        );
    }
    assert_eq!(code(&status, "DELETE /nothing", "localhost"), "404");
}

#[test]
fn a_gateway_that_drains_is_not_healthy() {
    let status = status();
    assert!(ask(&status, "GET /healthz", "localhost").ends_with("\r\n\r\nserving\n"));
    status.show(Shown {
        is_draining: true,
        ..status.shown()
    });
    let response = ask(&status, "GET /healthz", "localhost");
    assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
    assert!(response.ends_with("\r\n\r\ndraining\n"), "{response}");
    assert!(ask(&status, "GET /", "localhost").contains(">draining<"));
}

#[test]
fn the_style_that_is_allowed_is_the_one_that_the_page_has() {
    let response = ask(&status(), "GET /", "localhost");
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let style = body.split("<style>").nth(1).unwrap();
    let style = style.split("</style>").next().unwrap();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes());
    let hash = data_encoding::BASE64.encode(hash.as_ref());
    let policy = format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'");
    assert!(head.contains(&policy), "{head}");
    let other = ask(&status(), "GET /metrics", "localhost");
    assert!(!other.contains("style-src"), "{other}");
    assert!(!other.contains("Access-Control"), "{other}");
}

#[test]
fn what_peers_say_of_themselves_is_shown_as_text() {
    let hostile = session(1);
    let page = page_with(
        vec![LiveSession {
            route: "<b>".into(),
            user: Some(b"a\n\"'</td><script>\xff".as_slice().into()),
            ..hostile
        }],
        1,
    );
    let user = r"a<i>\n</i>&quot;&#39;&lt;/td&gt;&lt;script&gt;<i>\xff</i>";
    assert!(page.contains(user), "{page}");
    assert!(page.contains("&lt;b&gt;"));
    assert!(!page.contains("<script") && !page.contains("<b>"));
}

#[test]
fn the_newest_connections_come_first_and_the_rest_is_counted() {
    let page = page_with((0..3).map(session).collect(), 3);
    let places = ["0 s<", "1 s<", "2 s<"].map(|age| page.find(&format!("<div>{age}")).unwrap());
    assert!(places.is_sorted(), "{places:?}");
    assert!(page.contains("3, the newest first"));

    let page = page_with((0..250).map(session).collect(), 1_250);
    assert!(
        page.contains("The newest 200 of 1,250; 1,050 more are open."),
        "{page}"
    );
    assert_eq!(page.matches("in use</small>").count(), 200);
}

#[test]
fn a_reload_that_failed_is_shown_until_one_succeeds() {
    let status = status();
    let mut shown = status.shown();
    shown
        .reloads
        .note("SIGHUP", Some("<gateway.toml:7>".into()));
    status.show(shown.clone());
    assert!(ask(&status, "GET /", "localhost").contains("&lt;gateway.toml:7&gt;"));
    let metrics = ask(&status, "GET /metrics", "localhost");
    assert!(
        metrics.contains("sealwire_config_last_reload_successful 0\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("sealwire_reloads_total{result=\"failed\"} 1\n"),
        "{metrics}"
    );

    shown.reloads.note("files", None);
    status.show(shown);
    assert!(!ask(&status, "GET /", "localhost").contains("gateway.toml"));
    let metrics = ask(&status, "GET /metrics", "localhost");
    assert!(
        metrics.contains("sealwire_config_last_reload_successful 1\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("sealwire_reloads_total{result=\"ok\"} 1\n"),
        "{metrics}"
    );
}

#[test]
fn values_of_labels_are_escaped_and_histograms_add_up() {
    let status = status();
    let counters = &status.shown().service.routes[0].counters;
    for ms in [1, 2, 20_000] {
        counters
            .shard(0)
            .connects
            .observe(Duration::from_millis(ms));
    }
    let text = ask(&status, "GET /metrics", "localhost");
    let name = "sealwire_connect_duration_seconds";
    let route = r#"route="a \"route\"\\""#;
    for line in [
        format!("{name}_bucket{{{route},le=\"0.0005\"}} 0\n"),
        format!("{name}_bucket{{{route},le=\"0.001\"}} 1\n"),
        format!("{name}_bucket{{{route},le=\"10\"}} 2\n"),
        format!("{name}_bucket{{{route},le=\"+Inf\"}} 3\n"),
        format!("{name}_sum{{{route}}} 20.003\n"),
        format!("{name}_count{{{route}}} 3\n"),
    ] {
        assert!(text.contains(&line), "{line}{text}");
    }
}

/// Everything that a gateway can serve, with the list in the guide.
#[test]
fn the_guide_lists_what_is_served() {
    let status = status();
    let counters = &status.shown().service.routes[0].counters;
    counters.shard(0).count_failure("limit");
    let facts = Facts {
        version: Version::Tls12,
        suite: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        group: "X25519",
        resumed: true,
        server_name: None,
        application_protocol: None,
        peer_chain: Vec::new(),
    };
    let handshakes = counters.shard(0).handshakes(Side::Server);
    handshakes.done(&facts, Duration::from_millis(1));
    let busy = [Some(Duration::from_millis(1_500))];
    let text = exposition::write(&status.info, &status.shown(), &busy);
    assert!(text.contains(
        "side=\"server\",result=\"ok\",version=\"1.2\",\
         suite=\"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\",resumed=\"true\"} 1\n"
    ));
    assert_eq!(
        served(&text),
        documented(include_str!("../../../docs/gateway.md"))
    );
}

/// Of each family its kind and the names of its labels.
type Families = BTreeMap<String, (String, String)>;

fn served(text: &str) -> Families {
    let mut families = Families::new();
    let mut name = "";
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let kind;
            (name, kind) = family.split_once(' ').unwrap();
            families.insert(name.into(), (kind.into(), String::new()));
        } else if let Some((_, labels)) = line.split_once('{') {
            let names = labels
                .split("\",")
                .map(|label| label.trim_start_matches(','));
            let names = names
                .filter_map(|label| label.split_once("=\""))
                .map(|(name, _)| name);
            let names: Vec<_> = names.filter(|name| *name != "le").collect();
            families.get_mut(name).unwrap().1 = names.join(", ");
        }
    }
    families
}

/// The rows of the table: name, kind, labels, meaning.
fn documented(guide: &str) -> Families {
    let section = guide.split("\n## Metrics and status\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let rows = rows.filter(|line| !line.starts_with("| `/"));
    rows.map(|row| {
        let cells: Vec<_> = row
            .split('|')
            .map(|cell| cell.trim().replace('`', ""))
            .collect();
        (cells[1].clone(), (cells[2].clone(), cells[3].clone()))
    })
    .collect()
}
