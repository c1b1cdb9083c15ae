//! Sessions of OB-RPC that go on to where their clients meant to go.

use super::*;
use crate::conn::{NegotiationClient, NegotiationOptions, NegotiationServer};
use crate::frame::obrpc::{
    Bypass, DEFAULT_GID, Method, Pcode, RpcHeader, ServerPolicy, write_packet,
};
use crate::gateway::config::{ClientCert, VerifyMode};

/// Where clients mean to go, and are redirected to the gateway from.
const NODE: ([u8; 4], u16) = ([10, 0, 0, 9], 2_882);

const OPTIONS: NegotiationOptions = NegotiationOptions {
    timeout: Duration::from_secs(10),
    requires_binding: false,
    danger_end_without_close_notify: true,
};

/// A route in the clear on both sides.
fn redirected() -> Route {
    let policy = ServerPolicy {
        methods: [Method::None].into_iter().collect(),
        bypass: Bypass::Nobody,
        is_keepalive_admitted: true,
        is_tls_admitted: false,
    };
    let nobody = std::net::IpAddr::from([127, 0, 0, 1]).into();
    let client = NegotiationClient::new(Method::None, DEFAULT_GID, None, nobody, OPTIONS).unwrap();
    let route = route(ServerAddress::Original);
    Route {
        protocol: Protocol::Obrpc,
        client: ClientSide {
            tls: ClientTls::Negotiated {
                server: NegotiationServer::new(policy, None, OPTIONS).unwrap(),
                policy,
                identity: None,
                client_cert: ClientCert::None,
                is_loopback_exempt: false,
            },
            ..route.client
        },
        server: ServerSide {
            tls: ServerTls::Negotiated {
                client: Box::new(client),
                name: None,
                method: Method::None,
                mode: VerifyMode::DangerNone,
                identity: None,
                is_loopback_exempt: false,
            },
            socket: SocketOptions {
                is_recognized: true,
                ..SocketOptions::default()
            },
            ..route.server
        },
        ..route
    }
}

fn bench(seed: u64) -> Bench {
    let options = SimOptions {
        seed,
        faults: Faults {
            late_steps_max: 20,
            ..Faults::default()
        },
        ..SimOptions::default()
    };
    let bench = Bench::with_route(redirected(), options);
    bench.sim.redirect(&ip(NODE), &ip(FRONT));
    bench
}

fn request() -> Vec<u8> {
    let header = RpcHeader {
        pcode: Pcode::SET_CONFIG,
        ..RpcHeader::default()
    };
    let mut out = Vec::new();
    write_packet(&mut out, 1, &header, |w| w.bytes(b"a=b")).unwrap();
    out
}

#[test]
fn a_redirected_client_comes_to_where_it_meant_to_go() {
    let mut bench = bench(0);
    bench.sim.listen(&ip(NODE));
    let client = bench.sim.connect(&ip(NODE)).unwrap();
    client.send(&request());
    let node = bench.server(NODE);
    assert_eq!(bench.recv(&node, request().len()), request());
    drop((client, node));
    bench.assert_empty();
    assert_eq!(bench.failures(), "");
}

#[test]
fn what_the_packet_filter_brings_back_goes_no_further() {
    for seed in 0..50 {
        let mut bench = bench(seed);
        let client = bench.sim.connect(&ip(NODE)).unwrap();
        client.send(&request());
        bench.until(|_| client.is_reset());
        bench.assert_empty();
        // That of the client, and the one that was made for it.
        assert_eq!(bench.totals().connections, 2, "seed {seed}");
        assert_eq!(bench.failures(), "io=1 misuse=1", "seed {seed}");
    }
}

#[test]
fn whoever_was_not_redirected_has_nowhere_to_go() {
    let mut bench = bench(0);
    let client = bench.client();
    client.send(&request());
    bench.until(|_| client.is_reset());
    bench.assert_empty();
    assert_eq!(bench.totals().connections, 1);
    assert_eq!(bench.failures(), "misuse=1");
}
