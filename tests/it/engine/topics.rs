//! What holds on every back end.

use std::time::Duration;

use sealwire::engine::{Event, PeerAddress, RelayState, SocketOptions, Stage};
use sealwire::error::ErrorKind;
use sealwire::limits;
use sealwire::tls::ServerName;

pub(super) use super::negotiation::{
    a_refused_request_is_answered_and_closed, connections_negotiate_each_method,
};

use super::Open;
use super::chain::{Chain, listen_options, pattern};
use super::pair::Pair;
use super::tls::{CONFIGS, Protocol};

const PROTOCOLS: [Protocol; 2] = [Protocol::Plain, Protocol::Tls];

pub(super) fn streams_pass_a_relay_whole(open: Open) {
    relay_whole(open, Protocol::Plain, 20, 400_000);
}

pub(super) fn tls_streams_pass_a_relay_whole(open: Open) {
    relay_whole(open, Protocol::Tls, 10, 200_000);
}

fn relay_whole(open: Open, protocol: Protocol, clients: usize, total: usize) {
    let Some(engine) = open() else { return };
    let mut chain = Chain::with_engine(engine, protocol, 3);
    for index in 0..clients {
        chain.add_client(total / (index + 1));
    }
    chain.run();
    chain.end();
    for client in &chain.clients {
        assert_eq!(client.received, client.total);
    }
    assert_eq!(chain.peer_closes, 4 * clients);
    assert!(chain.errors.is_empty(), "{:?}", chain.errors);
    let relayed = chain.engine.counters().relayed_bytes as usize;
    assert_eq!(
        relayed,
        2 * chain
            .clients
            .iter()
            .map(|client| client.total)
            .sum::<usize>()
    );
}

/// The client does not wait: its ClientHello may arrive with its last plain bytes, or in any number
/// of pieces.
pub(super) fn tls_begins_behind_what_was_consumed(open: Open) {
    let Some(engine) = open() else { return };
    let mut pair = Pair::new(engine, Protocol::Plain);
    let (client, server) = (pair.client, pair.server);
    pair.engine.write(client, b"upgrade");
    let name = ServerName::try_from("localhost").unwrap();
    pair.engine.start_tls_client(client, &CONFIGS.client, &name);
    assert_eq!(pair.engine.write(client, b"too early"), 0);
    assert_eq!(pair.read(server, 7), b"upgrade");
    pair.engine.start_tls_server(server, &CONFIGS.server);
    assert!(pair.engine.peek(server).is_empty());
    for end in [client, server] {
        pair.until(|event| matches!(event, Event::Connected { id } if *id == end));
        assert!(pair.engine.facts(end).is_some());
    }
    pair.engine.write(client, b"sealed");
    pair.engine.write(server, b"answer");
    assert_eq!(pair.read(server, 6), b"sealed");
    assert_eq!(pair.read(client, 6), b"answer");

    pair.engine.start_tls_server(server, &CONFIGS.server);
    let Event::Closed { error, .. } = pair.closed(server) else {
        unreachable!()
    };
    assert_eq!(error.unwrap().kind(), ErrorKind::Misuse);
}

/// Plain bytes behind the last ones that were consumed are no plaintext any more.
pub(super) fn plaintext_behind_the_boundary_belongs_to_tls(open: Open) {
    let Some(engine) = open() else { return };
    let mut pair = Pair::new(engine, Protocol::Plain);
    let (client, server) = (pair.client, pair.server);
    pair.engine.write(client, b"upgradesmuggled");
    assert_eq!(pair.read(server, 7), b"upgrade");
    pair.engine.start_tls_server(server, &CONFIGS.server);
    let alert = pair.read(client, 7);
    assert!(matches!(alert[..], [21, 3, _, 0, 2, 2, _]), "{alert:?}");
    let Event::Closed { error, stage, .. } = pair.closed(server) else {
        unreachable!()
    };
    assert_eq!(error.unwrap().kind(), ErrorKind::NotTls);
    assert_eq!(stage, Stage::Handshake);
}

pub(super) fn a_slow_reader_stops_the_writer(open: Open) {
    let Some(engine) = open() else { return };
    let mut chain = Chain::with_engine(engine, Protocol::Plain, 5);
    // More than the kernel's buffers of four sockets hold, and its patience for a bound that is
    // asserted.
    chain.add_client(256 << 20);
    chain.pause_client(0, true);
    let mut idle = 0;
    while idle < 3 {
        idle = if chain.step(Duration::from_millis(50)) {
            0
        } else {
            idle + 1
        };
    }
    let stopped_at = chain.clients[0].sent;
    assert!(
        stopped_at < 128 << 20,
        "{stopped_at} bytes without a reader"
    );

    chain.clients[0].total = stopped_at + 1_000_000;
    chain.pause_client(0, false);
    chain.run();
    assert_eq!(chain.clients[0].received, stopped_at + 1_000_000);
    assert!(chain.errors.is_empty(), "{:?}", chain.errors);
}

pub(super) fn each_side_ends_its_stream_by_itself(open: Open) {
    for protocol in PROTOCOLS {
        let Some(engine) = open() else { return };
        let mut pair = Pair::new(engine, protocol);
        let (client, server) = (pair.client, pair.server);

        assert_eq!(pair.engine.write(client, b"request"), 7);
        pair.engine.shutdown(client);
        assert_eq!(pair.engine.write(client, b"more"), 0);
        assert_eq!(pair.read(server, 7), b"request");
        pair.peer_closed(server);

        assert_eq!(pair.engine.write(server, b"answer"), 6);
        assert_eq!(pair.read(client, 6), b"answer");
        pair.engine.shutdown(server);
        pair.peer_closed(client);

        for id in [client, server] {
            pair.engine.close(id);
            let end = pair.closed(id);
            assert!(matches!(
                end,
                Event::Closed {
                    error: None,
                    stage: Stage::Established,
                    ..
                }
            ));
        }
        assert!(pair.events.is_empty(), "{:?}", pair.events);
        assert_eq!(pair.engine.conns_len(), 0);
    }
}

pub(super) fn a_closed_connection_sends_what_is_queued(open: Open) {
    for protocol in PROTOCOLS {
        let Some(engine) = open() else { return };
        let mut pair = Pair::new(engine, protocol);
        let (client, server) = (pair.client, pair.server);
        let mut len = 0;
        loop {
            let taken = pair.engine.write(client, pattern(len, 10_000));
            len += taken;
            if taken == 0 {
                break;
            }
        }
        assert!(len > limits::SEND_QUEUE_LEN_HIGH - 10_000, "{len}");
        pair.engine.close(client);
        // What the other side still says is nobody's business any more, and does no harm.
        pair.engine.write(server, pattern(0, 30_000));
        let received = pair.read(server, len);
        assert!(received == pattern_of(len), "other bytes than were sent");
        pair.peer_closed(server);
        pair.engine.close(server);
        for id in [client, server] {
            let end = pair.closed(id);
            assert!(matches!(end, Event::Closed { error: None, .. }), "{end:?}");
        }
    }
}

pub(super) fn aborting_ends_both_sides(open: Open) {
    for protocol in PROTOCOLS {
        let Some(engine) = open() else { return };
        let mut pair = Pair::new(engine, protocol);
        let (client, server) = (pair.client, pair.server);
        pair.engine.write(client, pattern(0, 50_000));
        pair.engine.abort(client);
        let end = pair.closed(client);
        assert!(matches!(end, Event::Closed { error: None, .. }), "{end:?}");
        // An error on either protocol: nobody may take what was aborted for the whole.
        let end = pair.closed(server);
        let Event::Closed {
            error: Some(error),
            stage: Stage::Established,
            ..
        } = end
        else {
            panic!("{end:?}");
        };
        assert_eq!(error.kind(), ErrorKind::Io, "{error:?}");
    }
}

pub(super) fn a_refused_connect_is_reported(open: Open) {
    let Some(mut engine) = open() else { return };
    let any = "127.0.0.1:0".parse().unwrap();
    let listener = engine.listen(&any, &listen_options()).unwrap();
    let address = engine.local_address(listener).unwrap();
    engine.unlisten(listener);
    let mut events = Vec::new();
    while !events
        .iter()
        .any(|event| matches!(event, Event::Unlistened { .. }))
    {
        engine.wait(None, &mut events).unwrap();
    }
    assert!(engine.local_address(listener).is_err());

    let conn = Protocol::Plain.client(engine.now(), engine.pools());
    let options = SocketOptions::default();
    let id = engine
        .connect(&address, conn, &options, Duration::from_secs(5), 9)
        .unwrap();
    while events.is_empty() || matches!(events[0], Event::Unlistened { .. }) {
        engine.wait(None, &mut events).unwrap();
    }
    let Event::Closed {
        id: of,
        error: Some(error),
        stage,
    } = &events[0]
    else {
        panic!("{events:?}");
    };
    assert_eq!((*of, *stage), (id, Stage::Connect));
    assert_eq!(error.os_error(), Some(libc::ECONNREFUSED), "{error}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert_eq!(engine.user_data(id), 9);
}

pub(super) fn a_recognized_connection_knows_where_it_comes_from(open: Open) {
    let Some(mut engine) = open() else { return };
    let any = "127.0.0.1:0".parse().unwrap();
    let listener = engine.listen(&any, &listen_options()).unwrap();
    let address = engine.local_address(listener).unwrap();
    let conn = Protocol::Plain.client(engine.now(), engine.pools());
    let options = SocketOptions {
        is_recognized: true,
        ..SocketOptions::default()
    };
    let patience = Duration::from_secs(5);
    let id = engine
        .connect(&address, conn, &options, patience, 0)
        .unwrap();
    let mut events = Vec::new();
    let (mut own, mut accepted) = (None, None);
    while own.is_none() || accepted.is_none() {
        engine.wait(None, &mut events).unwrap();
        for event in &events {
            match event {
                Event::Connected { .. } => own = engine.local(id),
                Event::Accepted { peer, .. } => accepted = Some(*peer),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(own.map(PeerAddress::Ip), accepted);
}

pub(super) fn plaintext_to_a_tls_port_fails_the_handshake(open: Open) {
    let Some(engine) = open() else { return };
    let mut pair = Pair::accepted(engine, Protocol::Plain, Protocol::Tls);
    let (client, server) = (pair.client, pair.server);
    pair.until(|event| matches!(event, Event::Connected { id } if *id == client));
    pair.engine.write(client, b"GET / HTTP/1.0\r\n\r\n");
    pair.peer_closed(client);
    pair.engine.close(client);
    let end = pair.closed(server);
    let Event::Closed {
        error: Some(error),
        stage: Stage::Handshake,
        ..
    } = end
    else {
        panic!("{end:?}");
    };
    assert_eq!(error.kind(), ErrorKind::NotTls);
}

pub(super) fn stale_ids_do_nothing(open: Open) {
    let Some(engine) = open() else { return };
    let mut pair = Pair::new(engine, Protocol::Plain);
    let (client, server) = (pair.client, pair.server);
    pair.engine.abort(client);
    pair.closed(client);
    assert_eq!(pair.engine.user_data(client), 1);
    pair.closed(server);
    pair.step(Duration::ZERO);
    assert_eq!(pair.engine.user_data(client), 0);
    assert_eq!(pair.engine.write(client, b"lost"), 0);
    assert!(pair.engine.peek(client).is_empty());
    pair.engine.consume(client, 1);
    pair.engine.set_reading(client, true);
    pair.engine
        .set_timer(client, Some(pair.engine.now().monotonic));
    pair.engine.shutdown(client);
    pair.engine.close(client);
    pair.engine.abort(client);
    assert_eq!(pair.engine.relay(client, server).state, RelayState::Drained);
    assert_eq!(pair.engine.queued(client), 0);
    assert_eq!(pair.engine.conns_len(), 0);

    // The next connection takes the place of the first, not its name.
    let address = pair.address.clone();
    let conn = Protocol::Plain.client(pair.engine.now(), pair.engine.pools());
    let (options, timeout) = (SocketOptions::default(), Duration::from_secs(5));
    let next = pair
        .engine
        .connect(&address, conn, &options, timeout, 3)
        .unwrap();
    pair.engine.abort(client);
    pair.engine.set_user_data(client, 4);
    assert_eq!(pair.engine.user_data(next), 3);
    pair.until(|event| matches!(event, Event::Connected { id } if *id == next));
    assert_eq!(pair.engine.relay(next, client).state, RelayState::SinkFull);
    assert_eq!(pair.engine.write(next, b"kept"), 4);
    let accepted = pair.until(|event| matches!(event, Event::Accepted { .. }));
    let Event::Accepted { id, .. } = accepted else {
        unreachable!()
    };
    pair.engine.abort(id);
    pair.closed(id);
    pair.engine.abort(next);
    pair.closed(next);
    assert_eq!(pair.engine.conns_len(), 0);
}

pub(super) fn timers_fire_when_due_and_once(open: Open) {
    let Some(engine) = open() else { return };
    let mut pair = Pair::new(engine, Protocol::Plain);
    let (client, server) = (pair.client, pair.server);
    let start = pair.engine.now().monotonic;
    let at = |ms| Some(start.after(Duration::from_millis(ms)));
    pair.engine.set_timer(client, at(5));
    pair.engine.set_timer(server, at(50));
    pair.engine.set_timer(client, at(80));
    let mut fired = Vec::new();
    for _ in 0..2 {
        let event = pair.until(|event| matches!(event, Event::Timer { .. }));
        let Event::Timer { id } = event else {
            unreachable!()
        };
        fired.push(id);
        let due = if id == server { at(50) } else { at(80) };
        assert!(Some(pair.engine.now().monotonic) >= due);
    }
    assert_eq!(fired, [server, client]);

    pair.engine.set_timer(client, at(100));
    pair.engine.set_timer(client, None);
    pair.engine.set_timer(server, at(120));
    let event = pair.until(|event| matches!(event, Event::Timer { .. }));
    assert!(matches!(event, Event::Timer { id } if id == server));
}

pub(super) fn a_waker_ends_a_wait(open: Open) {
    let Some(mut engine) = open() else { return };
    let waker = engine.waker();
    std::thread::spawn(move || waker.wake()).join().unwrap();
    let mut events = Vec::new();
    engine.wait(None, &mut events).unwrap();
    assert!(matches!(events[..], [Event::Woken]), "{events:?}");
}

pub(super) fn unlisten_reports_what_was_accepted(open: Open) {
    let Some(mut engine) = open() else { return };
    let any = "127.0.0.1:0".parse().unwrap();
    let listener = engine.listen(&any, &listen_options()).unwrap();
    let address = engine.local_address(listener).unwrap();
    for _ in 0..10 {
        let conn = Protocol::Plain.client(engine.now(), engine.pools());
        let timeout = Duration::from_secs(5);
        engine
            .connect(&address, conn, &SocketOptions::default(), timeout, 0)
            .unwrap();
    }
    let (mut connected, mut accepted) = (0, 0);
    let mut events = Vec::new();
    let mut is_unlistened = false;
    while !is_unlistened {
        engine.wait(None, &mut events).unwrap();
        for event in events.drain(..) {
            match event {
                Event::Connected { .. } => connected += 1,
                Event::Accepted { listener: of, .. } => {
                    assert_eq!(of, listener);
                    accepted += 1;
                }
                Event::Unlistened { .. } => is_unlistened = true,
                other => panic!("{other:?}"),
            }
        }
        if connected == 10 {
            engine.unlisten(listener);
        }
    }
    assert_eq!(accepted, 10);
}

fn pattern_of(len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < len {
        bytes.extend_from_slice(pattern(bytes.len(), 50_000.min(len - bytes.len())));
    }
    bytes
}
