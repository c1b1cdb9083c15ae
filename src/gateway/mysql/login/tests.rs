use std::sync::Arc;

use super::*;
use crate::frame::mysql::auth::KeySource;
use crate::frame::mysql::{Attributes, OkPacket, SslRequestSettings};
use crate::wire::Writer;

impl LoginPolicy {
    /// Without TLS, keys or trust on either side.
    pub(in crate::gateway) fn plain() -> Self {
        Self {
            offers_tls: false,
            requires_tls: false,
            is_client_local: false,
            is_proxy_trusted: false,
            server_tls: ServerUpgrade::Never,
            is_server_local: false,
            keys: PasswordKeys {
                server: Arc::new(KeySource::Refused),
                own: None,
            },
            accounts: None,
        }
    }
}

fn upgrade(server_tls: bool) -> ServerUpgrade {
    match server_tls {
        true => ServerUpgrade::Always,
        false => ServerUpgrade::Never,
    }
}

/// A login between two ends that are written by the test.
struct Bench {
    login: Login,
    client: Sequence,
    server: Sequence,
}

impl Bench {
    /// A greeting has passed.
    fn greeted(policy: LoginPolicy) -> Self {
        let mut bench = Self::new(policy.clone());
        let greeting = greeting(policy.server_tls != ServerUpgrade::Never);
        assert_eq!(bench.server(|w| greeting.write(w)), Ok(Step::Go));
        let shown = bench.at_client();
        let shown = Greeting::parse(&shown).unwrap();
        let offers = shown.capabilities.contains(Capabilities::SSL);
        assert_eq!(offers, policy.offers_tls);
        assert_eq!(shown.capabilities, with_ssl(greeting.capabilities, offers));
        bench
    }

    fn new(policy: LoginPolicy) -> Self {
        Self {
            login: Login::new(policy),
            client: Sequence::default(),
            server: Sequence::default(),
        }
    }

    fn client(&mut self, write: impl FnOnce(&mut Writer<'_>)) -> Progress {
        let mut bytes = Vec::new();
        write_packet(&mut bytes, &mut self.client, write);
        let (len, step) = self.login.feed(Side::Client, &bytes);
        assert_eq!(len, bytes.len());
        step
    }

    fn server(&mut self, write: impl FnOnce(&mut Writer<'_>)) -> Progress {
        let mut bytes = Vec::new();
        write_packet(&mut bytes, &mut self.server, write);
        self.login.feed(Side::Server, &bytes).1
    }

    /// The payload of the packet for the client, which has the id that is due there.
    fn at_client(&mut self) -> Vec<u8> {
        take(self.login.out(Side::Client), &mut self.client)
    }

    fn at_server(&mut self) -> Vec<u8> {
        take(self.login.out(Side::Server), &mut self.server)
    }

    fn ssl_request(&mut self) {
        let request = request();
        let step = self.client(|w| w.bytes(&request));
        assert_eq!(step, Ok(Step::StartTls(Side::Client)));
        assert!(!self.login.wants(Side::Client));
        self.login.secured(Side::Client, None);
    }
}

fn take(out: &mut Vec<u8>, sequence: &mut Sequence) -> Vec<u8> {
    let mut packets = PacketAssembler::new(LOGIN_PACKET_LEN_MAX);
    let mut bytes = &out[..];
    let packet = packets.next(&mut bytes).unwrap().unwrap();
    sequence.expect(packet.sequence).unwrap();
    assert!(bytes.is_empty());
    let payload = packet.payload.to_vec();
    out.clear();
    payload
}

fn greeting(ssl: bool) -> Greeting<'static> {
    let all = Capabilities::PROTOCOL_41
        .with(Capabilities::LONG_PASSWORD)
        .with(Capabilities::SECURE_CONNECTION)
        .with(Capabilities::PLUGIN_AUTH)
        .with(Capabilities::CONNECT_ATTRS);
    Greeting {
        version: b"8.0.36",
        thread_id: 7,
        nonce: [9; 20],
        capabilities: with_ssl(all, ssl),
        plugin: Some(b"caching_sha2_password"),
        ..Greeting::default()
    }
}

fn response(plugin: &'static [u8]) -> HandshakeResponse<'static> {
    HandshakeResponse {
        capabilities: greeting(false).capabilities,
        user: b"u",
        auth_response: &[1; 32],
        plugin: Some(plugin),
        ..HandshakeResponse::default()
    }
}

fn request() -> Vec<u8> {
    let mut login = Vec::new();
    response(NATIVE).write(&mut Writer::new(&mut login));
    SslRequest::before(&login).unwrap().to_vec()
}

/// The number and SQLSTATE of what the client is told.
fn told(bench: &mut Bench, refusal: &Refusal) -> (u16, Option<[u8; 5]>) {
    bench.login.refuse(refusal);
    let payload = bench.at_client();
    let packet = ErrPacket::parse(&payload).unwrap();
    (packet.code, packet.sql_state)
}

const NATIVE: &[u8] = b"mysql_native_password";
const SHA2: &[u8] = b"caching_sha2_password";

#[test]
fn every_mix_of_legs_passes_with_ids_and_ssl_as_each_needs() {
    for (offers_tls, client_tls, server_tls) in [
        (false, false, false),
        (false, false, true),
        (true, false, false),
        (true, false, true),
        (true, true, false),
        (true, true, true),
    ] {
        let policy = LoginPolicy {
            offers_tls,
            requires_tls: client_tls,
            server_tls: upgrade(server_tls),
            ..LoginPolicy::plain()
        };
        let mut bench = Bench::greeted(policy);
        if client_tls {
            bench.ssl_request();
        }
        let sent = HandshakeResponse {
            capabilities: with_ssl(response(NATIVE).capabilities, client_tls),
            ..response(NATIVE)
        };
        let step = bench.client(|w| sent.write(w)).unwrap();
        let mut request = None;
        if server_tls {
            assert_eq!(step, Step::StartTls(Side::Server));
            request = Some(bench.at_server());
            bench.login.secured(Side::Server, None);
        }
        let login = bench.at_server();
        if let Some(request) = request {
            assert_eq!(request, login[..32]);
        }
        let got = HandshakeResponse::parse(&login).unwrap();
        assert_eq!(got.capabilities.contains(Capabilities::SSL), server_tls);
        assert_eq!(
            (got.user, got.auth_response),
            (sent.user, sent.auth_response)
        );

        let mut switch = vec![0xfe];
        switch.extend_from_slice(b"mysql_native_password\0aaaaaaaaaaaaaaaaaaaa\0");
        assert_eq!(bench.server(|w| w.bytes(&switch)), Ok(Step::Go));
        assert_eq!(bench.at_client(), switch);
        assert_eq!(bench.client(|w| w.bytes(&[5; 20])), Ok(Step::Go));
        assert_eq!(bench.at_server(), [5; 20]);
        let ok = OkPacket::default();
        assert_eq!(bench.server(|w| ok.write(w)), Ok(Step::Relay));
        assert_eq!(bench.at_client()[0], 0);
    }
}

#[test]
fn ids_go_on_behind_255() {
    let mut bench = Bench::greeted(LoginPolicy {
        offers_tls: true,
        ..LoginPolicy::plain()
    });
    bench.ssl_request();
    bench.client(|w| response(NATIVE).write(w)).unwrap();
    bench.at_server();
    for _ in 0..200 {
        bench.server(|w| w.bytes(&[1, 7])).unwrap();
        bench.at_client();
        bench.client(|w| w.bytes(&[8])).unwrap();
        bench.at_server();
    }
}

#[test]
fn what_follows_a_request_for_tls_is_left_for_tls() {
    let mut bench = Bench::greeted(LoginPolicy {
        offers_tls: true,
        ..LoginPolicy::plain()
    });
    let mut bytes = Vec::new();
    write_packet(&mut bytes, &mut bench.client, |w| w.bytes(&request()));
    bytes.extend_from_slice(b"\x16\x03\x01");
    let (len, step) = bench.login.feed(Side::Client, &bytes);
    assert_eq!((len, step), (36, Ok(Step::StartTls(Side::Client))));
}

#[test]
fn a_request_of_four_bytes_is_one_too() {
    let request = SslRequest::parse(&request()).unwrap();
    assert!(matches!(request.settings, Some(SslRequestSettings { .. })));
    let mut bench = Bench::greeted(LoginPolicy {
        offers_tls: true,
        ..LoginPolicy::plain()
    });
    let step = bench.client(|w| w.u32_le(request.capabilities.low()));
    assert_eq!(step, Ok(Step::StartTls(Side::Client)));
}

#[test]
fn a_plain_client_is_refused_where_tls_is_required_and_nothing_goes_on() {
    let policy = LoginPolicy {
        offers_tls: true,
        requires_tls: true,
        ..LoginPolicy::plain()
    };
    let mut bench = Bench::greeted(policy);
    let refusal = bench.client(|w| response(NATIVE).write(w)).unwrap_err();
    assert!(bench.login.out(Side::Server).is_empty());
    assert_eq!(told(&mut bench, &refusal), (3159, Some(*b"HY000")));
}

#[test]
fn breaches_of_the_protocol_have_errors_of_their_own() {
    let mut bench = Bench::greeted(LoginPolicy::plain());
    let (_, step) = bench.login.feed(Side::Client, &[1, 0, 0, 9, 0]);
    assert_eq!(told_state(&mut bench, step), (1156, Some(*b"08S01")));
    let mut bench = Bench::greeted(LoginPolicy::plain());
    let (_, step) = bench.login.feed(Side::Client, &[0xfe, 0xff, 0xff, 1]);
    assert_eq!(told_state(&mut bench, step), (1153, Some(*b"08S01")));
    let mut bench = Bench::new(LoginPolicy::plain());
    let step = bench.server(|w| w.bytes(b"SSH-2.0"));
    assert_eq!(told_state(&mut bench, step), (2013, None));
}

fn told_state(bench: &mut Bench, step: Progress) -> (u16, Option<[u8; 5]>) {
    told(bench, &step.unwrap_err())
}

#[test]
fn a_server_that_refuses_is_quoted_and_the_log_has_the_remedy() {
    for (error, remedy) in [
        (&b"\xff\x10\x04Too many connections"[..], None),
        (
            b"\xff\x69\x04Host 'a' is blocked",
            Some("`mariadb-admin flush-hosts`"),
        ),
    ] {
        let mut bench = Bench::new(LoginPolicy::plain());
        match (bench.server(|w| w.bytes(error)), remedy) {
            (Ok(Step::Blocked(reason)), Some(remedy)) => {
                let reason = reason.to_string();
                assert!(reason.contains("Host 'a' is blocked"), "{reason}");
                assert!(reason.contains(remedy), "{reason}");
            }
            (step, _) => assert_eq!((step, remedy), (Ok(Step::End), None)),
        }
        assert_eq!(bench.at_client(), error);
    }
}

#[test]
fn what_is_no_greeting_is_logged_by_its_first_bytes() {
    for (bytes, opening) in [
        (
            &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
            "5353482d322e302d4f70656e5353485f",
        ),
        (&[0xff, 0xff, 0xff, 0, 10, 56], "ffffff000a38"),
        (b"\x04\0\0\0\x0911.", "040000000931312e"),
        (b"\x04\0\0\x05\x0a11.", "040000050a31312e"),
    ] {
        for cut in 1..bytes.len().min(4) {
            let mut bench = Bench::new(LoginPolicy::plain());
            let (pieces, rest) = bytes.split_at(cut);
            let first = bench.login.feed(Side::Server, pieces);
            assert_eq!(first, (cut, Ok(Step::Go)));
            let refusal = bench.login.feed(Side::Server, rest).1.unwrap_err();
            let text = refusal.error.to_string();
            assert!(
                text.ends_with(&format!("it began with {opening}")),
                "{text}"
            );
            assert_eq!(told(&mut bench, &refusal), (2013, None));
        }
    }
}

#[test]
fn a_login_that_is_too_long_is_refused_by_its_header() {
    for (len, is_refused) in [(1 << 20, false), ((1 << 20) + 1, true), (0xff_ffff, true)] {
        let mut bench = Bench::greeted(LoginPolicy::plain());
        let [a, b, c, _] = u32::to_le_bytes(len);
        let (_, step) = bench.login.feed(Side::Client, &[a, b, c, 1]);
        assert_eq!(step.is_err(), is_refused);
        if let Err(refusal) = step {
            assert_eq!(told(&mut bench, &refusal), (1153, Some(*b"08S01")));
        }
    }
}

#[test]
fn an_id_out_of_order_is_logged_with_the_one_that_was_due() {
    let mut bench = Bench::greeted(LoginPolicy::plain());
    bench.client = Sequence(7);
    let refusal = bench.client(|w| response(NATIVE).write(w)).unwrap_err();
    let text = refusal.error.to_string();
    assert_eq!(text, "packet out of order: sequence id 7, expected 1");
    bench.client = Sequence(1);
    assert_eq!(told(&mut bench, &refusal), (1156, Some(*b"08S01")));
    assert!(bench.login.out(Side::Server).is_empty());
}

#[test]
fn whose_turn_it_is_is_known_at_every_stage() {
    let mut bench = Bench::new(LoginPolicy {
        offers_tls: true,
        server_tls: ServerUpgrade::Always,
        ..LoginPolicy::plain()
    });
    assert_eq!(
        bench.login.awaited(),
        (Side::Server, "the server's greeting")
    );
    bench.server(|w| greeting(true).write(w)).unwrap();
    bench.at_client();
    let request_or_login = (Side::Client, "the client's login or request for TLS");
    assert_eq!(bench.login.awaited(), request_or_login);
    bench.client(|w| w.bytes(&request())).unwrap();
    assert_eq!(
        bench.login.awaited(),
        (Side::Client, "the client's TLS handshake")
    );
    bench.login.secured(Side::Client, None);
    assert_eq!(
        bench.login.awaited(),
        (Side::Client, "the client's login in TLS")
    );
    bench.client(|w| response(SHA2).write(w)).unwrap();
    assert_eq!(
        bench.login.awaited(),
        (Side::Server, "the server's TLS handshake")
    );
    bench.login.secured(Side::Server, None);
    assert_eq!(
        bench.login.awaited(),
        (Side::Server, "the server's verdict")
    );
    bench.server.0 = 3;
    bench.server(|w| w.bytes(&[1, FULL_AUTH])).unwrap();
    let answer = (Side::Client, "the client's answer to the server");
    assert_eq!(bench.login.awaited(), answer);
    bench.at_client();
    bench.client(|w| w.bytes(b"secret\0")).unwrap();
    assert_eq!(
        bench.login.awaited(),
        (Side::Server, "the server's verdict")
    );
    bench.server.0 = 5;
    bench.server(|w| w.bytes(&[1, 3])).unwrap();
    assert_eq!(
        bench.login.awaited(),
        (Side::Server, "the server's verdict")
    );
}

/// Before the client logs in it may be about to speak TLS, in which a plain error is no answer.
#[test]
fn a_server_without_tls_that_is_demanded_is_told_once_the_client_can_hear_it() {
    for is_client_tls in [false, true] {
        let mut bench = Bench::new(LoginPolicy {
            offers_tls: true,
            server_tls: ServerUpgrade::Always,
            ..LoginPolicy::plain()
        });
        bench.server(|w| greeting(false).write(w)).unwrap();
        bench.at_client();
        if is_client_tls {
            bench.ssl_request();
        }
        let refusal = bench.client(|w| response(NATIVE).write(w)).unwrap_err();
        assert!(bench.login.out(Side::Server).is_empty());
        assert_eq!(told(&mut bench, &refusal), (2026, Some(*b"HY000")));
    }
}

#[test]
fn tls_that_is_preferred_is_begun_where_it_is_offered() {
    for is_offered in [true, false] {
        let mut bench = Bench::new(LoginPolicy {
            server_tls: ServerUpgrade::Offered,
            ..LoginPolicy::plain()
        });
        bench.server(|w| greeting(is_offered).write(w)).unwrap();
        bench.at_client();
        let step = bench.client(|w| response(NATIVE).write(w)).unwrap();
        let expected = match is_offered {
            true => Step::StartTls(Side::Server),
            false => Step::Go,
        };
        assert_eq!(step, expected);
        let sent = bench.at_server();
        let flags =
            Capabilities::from_bits(u32::from_le_bytes(*sent.first_chunk().unwrap()).into());
        assert_eq!(flags.contains(Capabilities::SSL), is_offered);
    }
}

#[test]
fn a_password_in_clear_passes_no_leg_that_is_not_safe() {
    let full = [1, FULL_AUTH];
    for (client_tls, server_tls, passes) in [
        (true, true, true),
        (true, false, false),
        (false, true, false),
        (false, false, true),
    ] {
        let policy = LoginPolicy {
            offers_tls: true,
            server_tls: upgrade(server_tls),
            ..LoginPolicy::plain()
        };
        let mut bench = Bench::greeted(policy);
        if client_tls {
            bench.ssl_request();
        }
        bench.client(|w| response(SHA2).write(w)).unwrap();
        bench.login.secured(Side::Server, None);
        bench.login.out(Side::Server).clear();
        bench.server.0 = if server_tls { 3 } else { 2 };
        let step = bench.server(|w| w.bytes(&full));
        assert_eq!(step.is_ok(), passes);
        if passes {
            bench.at_client();
            let clear = bench.client(|w| w.bytes(b"secret\0"));
            assert_eq!(clear.is_ok(), server_tls);
        }
    }
    let mut bench = Bench::greeted(LoginPolicy {
        offers_tls: true,
        ..LoginPolicy::plain()
    });
    bench.ssl_request();
    let refusal = bench
        .client(|w| response(b"mysql_clear_password").write(w))
        .unwrap_err();
    assert!(bench.login.out(Side::Server).is_empty());
    assert_eq!(told(&mut bench, &refusal).0, 3159);
}

#[test]
fn claims_of_being_a_proxy_are_refused() {
    for pair in [
        &b"\x0b__client_ip\x011"[..],
        b"\x13__mysql_client_type\x0a__ob_proxy",
    ] {
        let mut bench = Bench::greeted(LoginPolicy::plain());
        let attributes = Attributes::parse(pair).unwrap();
        let login = HandshakeResponse {
            attributes,
            ..response(NATIVE)
        };
        let refusal = bench.client(|w| login.write(w)).unwrap_err();
        assert!(bench.login.out(Side::Server).is_empty());
        assert_eq!(told(&mut bench, &refusal), (1045, Some(*b"28000")));

        let mut bench = Bench::greeted(LoginPolicy {
            is_proxy_trusted: true,
            ..LoginPolicy::plain()
        });
        bench.client(|w| login.write(w)).unwrap();
        let arrived = bench.at_server();
        let arrived = HandshakeResponse::parse(&arrived).unwrap();
        assert_eq!(arrived.attributes, attributes);
    }
}

/// Behind another command, where it passes without its login being seen.
#[test]
fn claims_of_being_a_proxy_do_not_pass_in_a_change_of_user_either() {
    let claim = b"\x0b__client_ip\x011";
    for (version, trusted, attributes, passes) in [
        (&b"5.7.25-OceanBase_CE-v4.3.5"[..], false, &claim[..], false),
        (b"5.7.25-OceanBase_CE-v4.3.5", false, b"", true),
        (b"5.7.25-OceanBase_CE-v4.3.5", true, claim, true),
        (b"8.0.36", false, claim, true),
    ] {
        let mut bench = Bench::new(LoginPolicy {
            is_proxy_trusted: trusted,
            ..LoginPolicy::plain()
        });
        let greeting = Greeting {
            version,
            ..greeting(false)
        };
        bench.server(|w| greeting.write(w)).unwrap();
        bench.at_client();
        bench.client(|w| response(NATIVE).write(w)).unwrap();
        let mut follower = bench.login.follow();
        let mut command =
            b"\x11u\0\x14aaaaaaaaaaaaaaaaaaaa\0\x2d\0mysql_native_password\0".to_vec();
        command.push(attributes.len() as u8);
        command.extend(attributes);
        let mut bytes = Vec::new();
        for payload in [&[Command::PING.0][..], &command] {
            write_packet(&mut bytes, &mut Sequence(0), |w| w.bytes(payload));
        }
        follower.passed(Side::Client, &bytes);
        assert_eq!(follower.violation().is_none(), passes, "{version:?}");
    }
}

#[test]
fn a_server_that_waits_for_a_login_gets_one_of_nobody_when_the_client_has_left() {
    let mut bench = Bench::greeted(LoginPolicy::plain());
    bench.login.abandon();
    let login = bench.at_server();
    assert!(
        HandshakeResponse::parse(&login)
            .unwrap()
            .user
            .starts_with(b"sealwire")
    );
    bench.login.abandon();
    assert!(bench.login.out(Side::Server).is_empty());
}

mod accounts;
mod passwords;
