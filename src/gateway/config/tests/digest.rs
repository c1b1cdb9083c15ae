//! By what a reload knows the routes that it changes.

use std::path::Path;

use super::*;

/// Two routes, whose files are in the directory of [`certificates`].
const BOTH: &str = r#"
[[route]]
name = "one"
protocol = "tcp"
listen = ["127.0.0.1:1"]
[route.client]
cert = "server-cert.pem"
key = "server-key.pem"
ca = "ca.pem"
allowed_clients = ["cn:alice", "cn:bob"]
[route.server]
address = "127.0.0.1:3"
tls = "off"

[[route]]
name = "two"
protocol = "mysql"
listen = ["127.0.0.1:2"]
[route.client]
tls = "off"
[route.server]
address = "127.0.0.1:3"
server_name = "localhost"
ca = "other-ca.pem"
"#;

fn both() -> tempfile::TempDir {
    let dir = certificates();
    copy(dir.path(), "ca.pem", "other-ca.pem");
    dir
}

fn copy(dir: &Path, from: &str, to: &str) {
    fs::copy(dir.join(from), dir.join(to)).unwrap();
}

fn digests(dir: &tempfile::TempDir, text: &str) -> [RouteDigest; 2] {
    let plan = load_in(dir, text).unwrap();
    ["one", "two"].map(|name| {
        let mut routes = plan.routes.iter();
        routes.find(|route| &*route.name == name).unwrap().digest
    })
}

#[test]
fn a_route_is_the_same_wherever_it_is_written_and_whenever_its_files_were() {
    let dir = both();
    let before = digests(&dir, BOTH);
    for name in ["server-cert.pem", "server-key.pem", "ca.pem"] {
        copy(dir.path(), name, "new");
        fs::rename(dir.path().join("new"), dir.path().join(name)).unwrap();
    }
    let (one, two) = BOTH
        .trim_start()
        .split_at(BOTH.rfind("[[route]]").unwrap() - 1);
    let text = format!("# Swapped.\n[gateway]\nmax_connections = 7\n{two}\n{one}");
    assert_eq!(digests(&dir, &text), before);
}

#[test]
fn every_key_of_a_route_changes_it_and_no_other() {
    let dir = both();
    let before = digests(&dir, BOTH);
    for (from, to) in [
        ("\"127.0.0.1:1\"", "\"127.0.0.1:4\""),
        ("[\"cn:alice\", \"cn:bob\"]", "[\"cn:alice\"]"),
        ("\"cn:bob\"]", "\"cn:bob\"]\nclient_cert = \"optional\""),
        (
            "\"one\"\nprotocol = \"tcp\"",
            "\"one\"\nprotocol = \"mysql\"",
        ),
    ] {
        let text = BOTH.replacen(from, to, 1);
        let after = digests(&dir, &text);
        assert_ne!(after[0], before[0], "{to}");
        assert_eq!(after[1], before[1], "{to}");
    }
    let both_change = digests(&dir, &format!("[gateway]\nrecords = \"in-place\"\n{BOTH}"));
    assert_ne!(both_change[0], before[0]);
    assert_ne!(both_change[1], before[1]);
}

#[test]
fn the_contents_of_its_files_change_a_route_and_no_other() {
    let dir = both();
    let before = digests(&dir, BOTH);
    // A line more says nothing, and is another file all the same.
    for (name, changed) in [
        ("server-cert.pem", 0),
        ("server-key.pem", 0),
        ("ca.pem", 0),
        ("other-ca.pem", 1),
    ] {
        let path = dir.path().join(name);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("# renewed\n{text}")).unwrap();
        let after = digests(&dir, BOTH);
        assert_ne!(after[changed], before[changed], "{name}");
        assert_eq!(after[1 - changed], before[1 - changed], "{name}");
        fs::write(&path, text).unwrap();
    }
    assert_eq!(digests(&dir, BOTH), before);
}
