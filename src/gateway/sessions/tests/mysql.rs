//! Sessions of MySQL: logins to their end or not, what is followed behind them, and drains.

use super::*;
use crate::frame::mysql::{
    Capabilities, Command, ErrPacket, Greeting, HandshakeResponse, OkPacket, Packet,
    PacketAssembler, Sequence, StatusFlags, write_packet,
};
use crate::wire::Writer;

pub(super) fn mysql_bench(options: SimOptions) -> Bench {
    let bench = Bench::with_route(mysql_route(), options);
    bench.sim.listen(&ip(SERVER));
    bench
}

pub(super) fn mysql_route() -> Route {
    Route {
        protocol: Protocol::Mysql,
        ..route(fixed())
    }
}

/// A client and a server of which the client is logged in.
pub(super) struct Ends {
    pub(super) client: SimPeer,
    pub(super) server: SimPeer,
}

impl Ends {
    pub(super) fn logged_in(
        bench: &mut Bench,
        capabilities: Capabilities,
        status: StatusFlags,
    ) -> Self {
        let client = bench.client();
        let server = bench.server(SERVER);
        let ends = Self { client, server };
        for (from, bytes) in login(capabilities, status) {
            ends.pass(bench, from, &bytes);
        }
        ends
    }

    fn of(&self, side: Side) -> &SimPeer {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    /// Sends bytes that the other end gets as they are.
    pub(super) fn pass(&self, bench: &mut Bench, from: Side, bytes: &[u8]) {
        assert_eq!(self.of(from).send(bytes), bytes.len());
        assert_eq!(bench.recv(self.of(from.other()), bytes.len()), bytes);
    }

    pub(super) fn query(&self, bench: &mut Bench) {
        let query = packet(0, |w| w.bytes(b"\x03UPDATE t SET a = 1"));
        self.pass(bench, Side::Client, &query);
    }

    pub(super) fn answer(&self, bench: &mut Bench, status: StatusFlags) {
        let ok = ok(1, status);
        self.pass(bench, Side::Server, &ok);
    }

    /// The gateway has ended the session as a server and a client do.
    pub(super) fn assert_left(&self, bench: &mut Bench) {
        let told = read_packet(bench, &self.client);
        let told = ErrPacket::parse(&told).unwrap();
        assert_eq!((told.code, told.sql_state), (1053, Some(*b"08S01")));
        assert_eq!(bench.recv(&self.server, 5), [1, 0, 0, 0, Command::QUIT.0]);
        bench.until(|_| self.client.is_eof() && self.server.is_eof());
    }
}

/// The packets of a login, with who sends them. They pass unchanged where neither leg has TLS.
pub(super) fn login(capabilities: Capabilities, status: StatusFlags) -> Vec<(Side, Vec<u8>)> {
    vec![
        (Side::Server, greeting(capabilities)),
        (Side::Client, response(capabilities)),
        (Side::Server, packet(2, |w| w.bytes(SWITCH))),
        (Side::Client, packet(3, |w| w.bytes(&[7; 20]))),
        (Side::Server, ok(4, status)),
    ]
}

pub(super) fn greeting(capabilities: Capabilities) -> Vec<u8> {
    let greeting = Greeting {
        version: b"8.0.36",
        nonce: [9; 20],
        capabilities,
        plugin: Some(b"mysql_native_password"),
        ..Greeting::default()
    };
    packet(0, |w| greeting.write(w))
}

fn response(capabilities: Capabilities) -> Vec<u8> {
    let response = HandshakeResponse {
        capabilities,
        user: b"u",
        auth_response: &[1; 20],
        plugin: Some(b"mysql_native_password"),
        ..HandshakeResponse::default()
    };
    packet(1, |w| response.write(w))
}

fn ok(sequence: u8, status: StatusFlags) -> Vec<u8> {
    let ok = OkPacket {
        status,
        ..OkPacket::default()
    };
    packet(sequence, |w| ok.write(w))
}

fn denied(sequence: u8) -> Vec<u8> {
    packet(sequence, |w| w.bytes(b"\xff\x15\x04#28000denied"))
}

pub(super) fn packet(sequence: u8, write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_packet(&mut bytes, &mut Sequence(sequence), write);
    bytes
}

pub(super) fn read_packet(bench: &mut Bench, peer: &SimPeer) -> Vec<u8> {
    let header = bench.recv(peer, 4);
    let len = u32::from_le_bytes([header[0], header[1], header[2], 0]);
    bench.recv(peer, len as usize)
}

pub(super) fn all() -> Capabilities {
    Capabilities::PROTOCOL_41
        .with(Capabilities::LONG_PASSWORD)
        .with(Capabilities::SECURE_CONNECTION)
        .with(Capabilities::PLUGIN_AUTH)
}

/// A server that has asked nobody's login for anything refuses it, and every further answer.
fn refuse_all(bench: &mut Bench, server: &SimPeer) {
    let mut packets = PacketAssembler::new(1_024);
    let mut has_greeted = false;
    bench.until(|_| {
        if !has_greeted {
            has_greeted = true;
            server.send(&greeting(all()));
        }
        let bytes = server.recv(1_024);
        let mut rest = &bytes[..];
        if let Some(Packet { sequence, payload }) = packets.next(&mut rest).unwrap() {
            let login = HandshakeResponse::parse(payload).unwrap();
            assert!(login.user.starts_with(b"sealwire"));
            server.send(&denied(sequence + 1));
        }
        server.is_eof()
    });
}

pub(super) const IDLE: StatusFlags = StatusFlags::AUTOCOMMIT;
const SWITCH: &[u8] = b"\xfemysql_native_password\0aaaaaaaaaaaaaaaaaaaa\0";

#[test]
fn a_session_passes_from_login_to_quit_in_pieces_of_any_size() {
    for seed in 0..40 {
        let options = SimOptions {
            seed,
            faults: Faults::harmless(),
            ..SimOptions::default()
        };
        let mut bench = mysql_bench(options);
        let ends = Ends {
            client: bench.client(),
            server: bench.server(SERVER),
        };
        for (from, bytes) in login(all(), IDLE) {
            for byte in bytes.chunks(1 + seed as usize % 5) {
                ends.of(from).send(byte);
                bench.cycle();
            }
            assert_eq!(bench.recv(ends.of(from.other()), bytes.len()), bytes);
        }
        ends.query(&mut bench);
        ends.answer(&mut bench, IDLE);
        ends.pass(&mut bench, Side::Client, &[1, 0, 0, 0, 1]);
        // Both leave as MySQL's peers do: the client does not wait, the server resets.
        ends.client.reset();
        ends.server.reset();
        bench.assert_empty();
        assert_eq!(bench.failures(), "", "seed {seed}");
    }
}

#[test]
fn whatever_breaks_at_whichever_byte_nothing_is_left() {
    let whole: Vec<_> = login(all(), IDLE)
        .into_iter()
        .flat_map(|(from, bytes)| bytes.into_iter().map(move |byte| (from, byte)))
        .collect();
    for cut in 0..=whole.len() {
        for breaks_client in [true, false] {
            let mut bench = mysql_bench(SimOptions::default());
            let ends = Ends {
                client: bench.client(),
                server: bench.server(SERVER),
            };
            for &(from, byte) in &whole[..cut] {
                ends.of(from).send(&[byte]);
                bench.cycle();
            }
            let Ends { client, server } = ends;
            let (broken, other) = match breaks_client {
                true => (client, server),
                false => (server, client),
            };
            broken.reset();
            for _ in 0..20 {
                bench.cycle();
            }
            drop(other);
            bench.assert_empty();
        }
    }
}

#[test]
fn a_server_whose_client_left_in_the_login_is_answered_up_to_its_verdict() {
    for is_reset in [true, false] {
        // Before the greeting, and behind it.
        for packets_len in 0..2 {
            let mut bench = mysql_bench(SimOptions::default());
            let client = bench.client();
            let server = bench.server(SERVER);
            if packets_len == 1 {
                server.send(&greeting(all()));
                read_packet(&mut bench, &client);
            }
            leave(client, is_reset);
            match packets_len {
                0 => refuse_all(&mut bench, &server),
                _ => {
                    let login = read_packet(&mut bench, &server);
                    let login = HandshakeResponse::parse(&login).unwrap();
                    assert!(login.user.starts_with(b"sealwire"));
                    server.send(&packet(2, |w| w.bytes(SWITCH)));
                    assert_eq!(read_packet(&mut bench, &server), [0; 20]);
                    server.send(&denied(4));
                    bench.until(|_| server.is_eof());
                }
            }
            assert!(!server.is_reset());
            drop(server);
            bench.assert_empty();
        }
    }
}

#[test]
fn a_client_that_leaves_before_the_server_is_there_is_not_waited_for() {
    for seed in 0..20 {
        let mut bench = mysql_bench(SimOptions {
            seed,
            ..SimOptions::default()
        });
        let client = bench.client();
        client.shutdown();
        let server = bench.server(SERVER);
        refuse_all(&mut bench, &server);
        bench.until(|_| client.is_eof());
        assert!(bench.elapsed() < Duration::from_secs(1));
        drop((client, server));
        bench.assert_empty();
        assert_eq!(bench.failures(), "truncated=1");
    }
}

#[test]
fn a_client_that_leaves_behind_its_login_leaves_an_answer_to_every_question() {
    for (questions, verdict) in [(1, false), (1, true), (3, false)] {
        let mut bench = mysql_bench(SimOptions::default());
        let client = bench.client();
        let server = bench.server(SERVER);
        server.send(&greeting(all()));
        read_packet(&mut bench, &client);
        client.send(&response(all()));
        read_packet(&mut bench, &server);
        server.send(&packet(2, |w| w.bytes(SWITCH)));
        read_packet(&mut bench, &client);
        leave(client, false);
        assert_eq!(read_packet(&mut bench, &server), b"");
        let mut sequence = 4;
        for _ in 1..questions {
            server.send(&packet(sequence, |w| w.bytes(b"\x01more?")));
            assert_eq!(read_packet(&mut bench, &server), b"");
            sequence += 2;
        }
        match verdict {
            true => {
                server.send(&ok(sequence, IDLE));
                assert_eq!(bench.recv(&server, 5), [1, 0, 0, 0, Command::QUIT.0]);
            }
            false => drop(server.send(&denied(sequence))),
        }
        bench.until(|_| server.is_eof());
        drop(server);
        bench.assert_empty();
        assert_eq!(bench.failures(), "truncated=1");
    }
}

#[test]
fn a_server_that_never_answers_is_left_in_the_end() {
    let mut bench = mysql_bench(SimOptions::default());
    let client = bench.client();
    let server = bench.server(SERVER);
    server.send(&greeting(all()));
    read_packet(&mut bench, &client);
    leave(client, true);
    read_packet(&mut bench, &server);
    let start = bench.elapsed();
    bench.until(|_| server.is_eof());
    assert!(bench.elapsed() - start >= Duration::from_secs(9));
    drop(server);
    bench.assert_empty();
}

fn leave(client: SimPeer, is_reset: bool) {
    if is_reset {
        client.reset();
    }
    drop(client);
}

#[test]
fn a_client_without_a_place_is_told_so_before_a_greeting() {
    let mut bench = mysql_bench(SimOptions::default());
    bench.bounds.connections_max = 1;
    let _first = bench.client();
    let _server = bench.server(SERVER);
    let second = bench.client();
    let told = bench.recv(&second, 4 + 23);
    assert_eq!(told, b"\x17\0\0\0\xff\x10\x04Too many connections");
    bench.until(|_| second.is_eof());
    assert_eq!(bench.failures(), "limit=1");
}

#[test]
fn a_client_with_too_many_others_half_open_is_told_so() {
    let mut bench = mysql_bench(SimOptions::default());
    bench.bounds.half_open_max_per_address = 1;
    let ends = Ends::logged_in(&mut bench, all(), IDLE);
    let half_open = bench.client();
    let server = bench.server(SERVER);
    server.send(&greeting(all()));
    read_packet(&mut bench, &half_open);
    let refused = bench.client();
    assert_eq!(
        ErrPacket::parse(&read_packet(&mut bench, &refused))
            .unwrap()
            .code,
        1040
    );
    assert_eq!(bench.failures(), "limit=1");
    // One that has left counts until its server has been told.
    drop(half_open);
    read_packet(&mut bench, &server);
    let refused = bench.client();
    assert_eq!(
        ErrPacket::parse(&read_packet(&mut bench, &refused))
            .unwrap()
            .code,
        1040
    );
    server.send(&denied(2));
    bench.until(|bench| bench.sessions.gauges.half_open.is_empty());
    let other = Ends::logged_in(&mut bench, all(), IDLE);
    ends.query(&mut bench);
    other.query(&mut bench);
}

#[test]
fn a_client_that_says_nothing_is_told_off_and_its_server_released() {
    let mut bench = mysql_bench(SimOptions::default());
    let client = bench.client();
    let server = bench.server(SERVER);
    server.send(&greeting(all()));
    read_packet(&mut bench, &client);
    let login = read_packet(&mut bench, &server);
    assert!(bench.elapsed() >= Duration::from_secs(10));
    assert!(
        HandshakeResponse::parse(&login)
            .unwrap()
            .user
            .starts_with(b"sealwire")
    );
    server.send(&denied(2));
    bench.until(|_| server.is_eof() && client.is_eof());
    drop((client, server));
    bench.assert_empty();
    assert_eq!(bench.failures(), "timeout=1");
}

#[test]
fn a_drain_ends_what_is_idle_and_waits_for_the_rest() {
    let mut bench = mysql_bench(SimOptions::default());
    let idle = Ends::logged_in(&mut bench, all(), IDLE);
    let busy = Ends::logged_in(&mut bench, all(), IDLE);
    busy.query(&mut bench);
    let in_transaction = Ends::logged_in(&mut bench, all(), IDLE);
    in_transaction.query(&mut bench);
    in_transaction.answer(&mut bench, IDLE | StatusFlags::IN_TRANS);

    bench.sessions.drain(&mut bench.engine);
    idle.assert_left(&mut bench);

    busy.answer(&mut bench, IDLE);
    busy.assert_left(&mut bench);

    in_transaction.query(&mut bench);
    in_transaction.answer(&mut bench, IDLE | StatusFlags::IN_TRANS);
    in_transaction.query(&mut bench);
    in_transaction.answer(&mut bench, IDLE);
    in_transaction.assert_left(&mut bench);

    drop((idle, busy, in_transaction));
    bench.assert_empty();
    assert_eq!(bench.failures(), "");
}

#[test]
fn a_drain_lets_a_command_through_that_was_under_way_to_the_gateway() {
    let mut bench = mysql_bench(SimOptions::default());
    let ends = Ends::logged_in(&mut bench, all(), IDLE);
    // Received, and not yet passed on, when the drain begins.
    let query = packet(0, |w| w.bytes(b"\x03UPDATE t SET a = 1"));
    ends.client.send(&query);
    let mut events = Vec::new();
    while !events
        .iter()
        .any(|event| matches!(event, Event::Readable { .. }))
    {
        bench.engine.wait(Some(CYCLE), &mut events).unwrap();
    }
    bench.sessions.drain(&mut bench.engine);
    assert_eq!(bench.recv(&ends.server, query.len()), query);
    ends.answer(&mut bench, IDLE);
    ends.assert_left(&mut bench);
}

#[test]
fn a_login_that_a_drain_overtakes_is_completed_and_ended() {
    let mut bench = mysql_bench(SimOptions::default());
    let client = bench.client();
    let server = bench.server(SERVER);
    bench.sessions.drain(&mut bench.engine);
    let ends = Ends { client, server };
    for (from, bytes) in login(all(), IDLE) {
        ends.pass(&mut bench, from, &bytes);
    }
    ends.assert_left(&mut bench);
}

#[test]
fn a_drain_leaves_alone_what_cannot_be_followed() {
    let mut bench = mysql_bench(SimOptions::default());
    let zstd = all().with(Capabilities::ZSTD_COMPRESSION_ALGORITHM);
    let ends = Ends::logged_in(&mut bench, zstd, IDLE);
    bench.sessions.drain(&mut bench.engine);
    ends.query(&mut bench);
    ends.answer(&mut bench, IDLE);
    assert!(!ends.client.is_eof() && !ends.server.is_eof());
}

#[test]
fn an_end_in_mid_command_is_a_failure_and_breaks_the_other_side() {
    let mut bench = mysql_bench(SimOptions::default());
    let ends = Ends::logged_in(&mut bench, all(), IDLE);
    ends.query(&mut bench);
    ends.client.reset();
    bench.until(|_| ends.server.is_reset());
    assert_eq!(bench.failures(), "io=1");
}

#[test]
fn a_server_that_closes_an_idle_session_is_heard_to_its_end() {
    let mut bench = mysql_bench(SimOptions::default());
    let Ends { client, server } = Ends::logged_in(&mut bench, all(), IDLE);
    let error = packet(0, |w| w.bytes(b"\xff\xbf\x0f#HY000inactive"));
    server.send(&error);
    drop(server);
    assert_eq!(bench.recv(&client, error.len()), error);
    bench.until(|_| client.is_eof());
    // It has not read that yet, and asks for more.
    client.send(&packet(0, |w| w.u8(Command::PING.0)));
    for _ in 0..20 {
        bench.cycle();
    }
    assert!(!client.is_reset());
    drop(client);
    bench.assert_empty();
    assert_eq!(bench.failures(), "");
}

#[test]
fn a_large_answer_to_a_slow_client_is_followed_to_its_end() {
    let mut bench = mysql_bench(SimOptions::default());
    let ends = Ends::logged_in(&mut bench, all(), IDLE);
    ends.query(&mut bench);
    let mut answer = packet(1, |w| w.u8(1));
    let end = [0xfe, 0, 0, 2, 0];
    let rows = (4..).take(40);
    answer.extend(packet(2, |w| w.bytes(b"\x03defa definition")));
    answer.extend(packet(3, |w| w.bytes(&end)));
    rows.for_each(|id| answer.extend(packet(id, |w| w.bytes(&pattern(60_000)))));
    answer.extend(packet(44, |w| w.bytes(&end)));

    bench.sessions.drain(&mut bench.engine);
    let mut sent_len = 0;
    for _ in 0..200 {
        sent_len += ends.server.send(&answer[sent_len..]);
        bench.cycle();
    }
    assert!(sent_len < answer.len(), "the server was not stopped");
    let mut received = Vec::new();
    bench.until(|_| {
        sent_len += ends.server.send(&answer[sent_len..]);
        received.extend(ends.client.recv(answer.len() - received.len()));
        received.len() == answer.len()
    });
    assert!(received == answer);
    ends.assert_left(&mut bench);
}

#[test]
fn a_change_of_user_passes_like_a_login_and_the_session_goes_on() {
    for is_refused in [false, true] {
        let mut bench = mysql_bench(SimOptions::default());
        let ends = Ends::logged_in(&mut bench, all(), IDLE);
        ends.query(&mut bench);
        ends.answer(&mut bench, IDLE | StatusFlags::IN_TRANS);
        let change = packet(0, |w| w.bytes(CHANGE_USER));
        for byte in change.chunks(5) {
            ends.client.send(byte);
            bench.cycle();
        }
        assert_eq!(bench.recv(&ends.server, change.len()), change);
        ends.pass(&mut bench, Side::Server, &packet(1, |w| w.bytes(SWITCH)));
        ends.pass(&mut bench, Side::Client, &packet(2, |w| w.bytes(&[7; 20])));
        let verdict = match is_refused {
            true => denied(3),
            false => ok(3, IDLE),
        };
        ends.pass(&mut bench, Side::Server, &verdict);
        ends.query(&mut bench);
        ends.answer(&mut bench, IDLE);
        bench.sessions.drain(&mut bench.engine);
        ends.assert_left(&mut bench);
        drop(ends);
        bench.assert_empty();
        assert_eq!(bench.failures(), "");
    }
}

#[test]
fn a_change_of_user_may_not_claim_to_be_a_proxy() {
    let mut bench = mysql_bench(SimOptions::default());
    let attributes = all().with(Capabilities::CONNECT_ATTRS);
    let ends = Ends::logged_in(&mut bench, attributes, IDLE);
    let claim = [CHANGE_USER, b"\x0e\x0b__client_ip\x011"].concat();
    ends.client.send(&packet(0, |w| w.bytes(&claim)));
    let told = read_packet(&mut bench, &ends.client);
    assert_eq!(ErrPacket::parse(&told).unwrap().code, 1045);
    bench.until(|_| ends.server.is_eof());
    assert!(ends.server.recv(1).is_empty());
}

#[test]
fn a_change_of_user_that_was_not_seen_in_time_ends_a_session_of_unlike_legs() {
    for is_client_safe in [true, false] {
        let mut bench = mysql_bench(SimOptions::default());
        bench.peer_is_local = is_client_safe;
        let ends = Ends::logged_in(&mut bench, all(), IDLE);
        let mut commands = packet(0, |w| w.bytes(b"\x19\x01\0\0\0"));
        commands.extend(packet(0, |w| w.bytes(CHANGE_USER)));
        ends.client.send(&commands);
        if is_client_safe {
            bench.until(|_| ends.server.is_reset());
            assert_eq!(bench.failures(), "misuse=1");
        } else {
            assert_eq!(bench.recv(&ends.server, commands.len()), commands);
        }
    }
}

const CHANGE_USER: &[u8] = b"\x11other\0\x14aaaaaaaaaaaaaaaaaaaa\0\x21\0mysql_native_password\0";
