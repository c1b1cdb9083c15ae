//! PROXY headers before the client's stream and before the server's.

use super::mysql::{all, greeting, mysql_route, packet, read_packet};
use super::*;
use crate::frame::mysql::{Attributes, Capabilities, ErrPacket, HandshakeResponse};
use crate::frame::proxy::{Origin, write_v2};
use crate::gateway::config::ProxyHeader;

const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 3306\r\n";

/// A route whose clients all come through a balancer.
fn behind_balancer(route: Route) -> Route {
    let client = ClientSide {
        proxy_protocol_from: Networks::of(&["127.0.0.0/8", "unix"]),
        ..route.client
    };
    Route { client, ..route }
}

fn bench(route: Route) -> Bench {
    let bench = Bench::with_route(behind_balancer(route), SimOptions::default());
    bench.sim.listen(&ip(SERVER));
    bench
}

/// The line of a client that is connected to the balancer.
fn line(address: &str) -> Vec<u8> {
    format!("PROXY TCP4 {address} 192.0.2.1 50000 3306\r\n").into_bytes()
}

/// Of one who says by an attribute that he speaks for somebody else.
fn login_of_proxy() -> Vec<u8> {
    let response = HandshakeResponse {
        capabilities: all().with(Capabilities::CONNECT_ATTRS),
        user: b"u",
        auth_response: &[1; 20],
        plugin: Some(b"mysql_native_password"),
        attributes: Attributes::parse(b"\x0b__client_ip\x071.2.3.4").unwrap(),
        ..HandshakeResponse::default()
    };
    packet(1, |w| response.write(w))
}

impl Bench {
    fn peers(&self) -> Vec<String> {
        let sessions = self.sessions.slab.iter();
        sessions.map(|(_, it)| it.peer.to_string()).collect()
    }

    fn is_announcing(&self) -> bool {
        let mut sessions = self.sessions.slab.iter();
        sessions.any(|(_, it)| it.phase == Phase::Announcing)
    }
}

#[test]
fn the_header_names_the_client_and_nothing_behind_it_is_taken() {
    let stream = [LINE, b"what the client sent"].concat();
    for split in 0..=LINE.len() {
        let mut bench = bench(route(fixed()));
        let client = bench.client();
        client.send(&stream[..split]);
        bench.until(|bench| !bench.sessions.is_empty());
        for _ in 0..3 {
            bench.cycle();
        }
        client.send(&stream[split..]);
        let server = bench.server(SERVER);
        assert_eq!(bench.recv(&server, 20), b"what the client sent");
        assert_eq!(bench.peers(), ["192.0.2.7:50000"]);
        drop((client, server));
        bench.assert_empty();
    }
}

#[test]
fn a_header_comes_in_single_bytes_and_whatever_the_network_does() {
    for seed in 0..20 {
        let options = SimOptions {
            seed,
            faults: Faults::harmless(),
            ..SimOptions::default()
        };
        let mut bench = Bench::with_route(behind_balancer(route(fixed())), options);
        bench.sim.listen(&ip(SERVER));
        let client = bench.client();
        for byte in LINE.iter().chain(b"x") {
            assert_eq!(client.send(&[*byte]), 1);
            bench.cycle();
        }
        let server = bench.server(SERVER);
        assert_eq!(bench.recv(&server, 1), b"x");
        assert_eq!(bench.peers(), ["192.0.2.7:50000"], "seed {seed}");
    }
}

#[test]
fn who_has_no_address_of_his_own_has_the_one_that_connected() {
    let (mut local, mut unknown) = (Vec::new(), Vec::new());
    write_v2(&mut local, Origin::Sender, None);
    write_v2(&mut unknown, Origin::Unknown, None);
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), local, unknown] {
        let mut bench = bench(route(fixed()));
        let client = bench.client();
        client.send(&header);
        client.send(b"x");
        let server = bench.server(SERVER);
        assert_eq!(bench.recv(&server, 1), b"x");
        assert!(bench.peers()[0].starts_with("127.0.0.1:"));
    }
}

#[test]
fn what_is_no_header_is_refused_and_reaches_no_server() {
    for (bytes, failures) in [
        (&b"GET / HTTP/1.1\r\n"[..], "protocol=1"),
        (b"\x16\x03\x01\x02\0\x01\0", "protocol=1"),
        (b"PROXY TCP4 192.0.2.7\r\n", "protocol=1"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", "limit=1"),
        (&[b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat(), "limit=1"),
    ] {
        let mut bench = bench(route(fixed()));
        let client = bench.client();
        client.send(bytes);
        bench.until(|_| client.is_reset());
        drop(client);
        bench.assert_empty();
        assert_eq!(bench.failures(), failures, "{bytes:?}");
        assert!(bench.sim.accept(&ip(SERVER)).is_none());
    }
}

#[test]
fn a_header_that_does_not_come_ends_at_the_timeout() {
    for sent in [&b""[..], &LINE[..20]] {
        let mut bench = bench(route(fixed()));
        let client = bench.client();
        client.send(sent);
        bench.until(|_| client.is_reset());
        let waited = bench.elapsed();
        assert!(waited >= Duration::from_secs(10) && waited < Duration::from_secs(11));
        drop(client);
        bench.assert_empty();
        assert_eq!(bench.failures(), "timeout=1");
    }
}

#[test]
fn an_end_before_the_header_is_whole_is_a_failure() {
    for is_reset in [true, false] {
        let mut bench = bench(route(fixed()));
        let client = bench.client();
        client.send(&LINE[..20]);
        bench.until(Bench::is_announcing);
        match is_reset {
            true => client.reset(),
            false => client.shutdown(),
        }
        bench.until(|bench| bench.sessions.is_empty());
        drop(client);
        bench.assert_empty();
        let class = if is_reset { "io=1" } else { "truncated=1" };
        assert_eq!(bench.failures(), class);
    }
}

#[test]
fn a_header_of_anybody_else_is_what_the_client_sent() {
    let mut route = route(fixed());
    route.client.proxy_protocol_from = Networks::of(&["10.0.0.0/8", "unix"]);
    let mut bench = Bench::with_route(route, SimOptions::default());
    bench.sim.listen(&ip(SERVER));
    let client = bench.client();
    client.send(LINE);
    let server = bench.server(SERVER);
    assert_eq!(bench.recv(&server, LINE.len()), LINE);
    assert!(bench.peers()[0].starts_with("127.0.0.1:"));
}

#[test]
fn half_open_connections_count_for_the_client_and_not_for_the_balancer() {
    let mut bench = bench(mysql_route());
    bench.bounds.half_open_max_per_address = 2;
    // More than the bound have sent no header yet, and keep nobody out.
    let _silent: Vec<_> = (0..5).map(|_| bench.client()).collect();
    let mut flood = Vec::new();
    for _ in 0..2 {
        let client = bench.client();
        client.send(&line("192.0.2.66"));
        flood.push((client, bench.server(SERVER)));
    }
    let refused = bench.client();
    refused.send(&line("192.0.2.66"));
    let told = read_packet(&mut bench, &refused);
    assert_eq!(ErrPacket::parse(&told).unwrap().code, 1040);
    bench.until(|_| refused.is_eof());
    assert_eq!(bench.failures(), "limit=1");
    let other = bench.client();
    other.send(&line("192.0.2.8"));
    let _server = bench.server(SERVER);
    assert!(bench.peers().contains(&"192.0.2.8:50000".to_owned()));
    drop((flood, refused, other, _silent, _server));
    bench.assert_empty();
}

#[test]
fn a_full_address_is_reset_where_nothing_can_be_said() {
    let mut bench = bench(route(named("unknown")));
    bench.bounds.half_open_max_per_address = 1;
    let first = bench.client();
    first.send(&line("192.0.2.66"));
    bench.until(|bench| bench.peers() == ["192.0.2.66:50000"]);
    let second = bench.client();
    second.send(&line("192.0.2.66"));
    bench.until(|_| second.is_reset());
    assert_eq!(bench.failures(), "limit=1");
}

/// Trust in those who speak for others is trust in whom the header names, not in the balancer: all
/// the world comes through that.
#[test]
fn trusted_proxies_are_those_behind_the_balancer() {
    let mut unknown = Vec::new();
    write_v2(&mut unknown, Origin::Unknown, None);
    let mut local = Vec::new();
    write_v2(&mut local, Origin::Sender, None);
    for (header, trusted, is_trusted) in [
        (line("192.0.2.7"), "192.0.2.7", true),
        (line("192.0.2.7"), "127.0.0.0/8", false),
        (unknown, "127.0.0.0/8", false),
        (local, "127.0.0.0/8", true),
    ] {
        let mut route = mysql_route();
        route.client.trusted_proxies = Networks::of(&[trusted]);
        let mut bench = bench(route);
        let client = bench.client();
        client.send(&header);
        let server = bench.server(SERVER);
        let greeting = greeting(all().with(Capabilities::CONNECT_ATTRS));
        server.send(&greeting);
        bench.recv(&client, greeting.len());
        let login = login_of_proxy();
        client.send(&login);
        match is_trusted {
            true => assert_eq!(bench.recv(&server, login.len()), login),
            false => {
                let told = read_packet(&mut bench, &client);
                assert_eq!(ErrPacket::parse(&told).unwrap().code, 1045);
            }
        }
    }
}

#[test]
fn the_server_is_told_first_of_all_where_the_client_comes_from() {
    for (announced, protocol) in [
        (true, Protocol::Tcp),
        (false, Protocol::Tcp),
        (true, Protocol::Mysql),
        (false, Protocol::Mysql),
    ] {
        let mut route = route(fixed());
        route.protocol = protocol;
        route.server.proxy_header = Some(ProxyHeader { has_subject: false });
        let mut bench = match announced {
            true => bench(route),
            false => {
                let bench = Bench::with_route(route, SimOptions::default());
                bench.sim.listen(&ip(SERVER));
                bench
            }
        };
        let client = bench.client();
        if announced {
            client.send(LINE);
        }
        let server = bench.server(SERVER);
        let source = bench.sessions.slab.iter().next().unwrap().1.peer;
        let PeerAddress::Ip(source) = source else {
            panic!("{source}");
        };
        let destination = match announced {
            true => "192.0.2.1:3306".parse().unwrap(),
            false => FRONT.into(),
        };
        let mut header = Vec::new();
        let origin = Origin::Relayed {
            source,
            destination,
        };
        write_v2(&mut header, origin, None);
        assert_eq!(bench.recv(&server, header.len()), header);
        assert!(server.recv(1).is_empty());
        if protocol == Protocol::Tcp {
            client.send(b"x");
            assert_eq!(bench.recv(&server, 1), b"x");
        }
    }
}

#[test]
fn of_a_client_on_a_unix_socket_the_server_sees_the_gateway() {
    let mut route = route(fixed());
    route.server.proxy_header = Some(ProxyHeader { has_subject: false });
    let mut bench = Bench::with_route(route, SimOptions::default());
    bench.sim.listen(&ip(SERVER));
    bench.peer_is_local = true;
    let client = bench.client();
    client.send(b"x");
    let server = bench.server(SERVER);
    let mut header = Vec::new();
    write_v2(&mut header, Origin::Sender, None);
    header.push(b'x');
    assert_eq!(bench.recv(&server, header.len()), header);
}
