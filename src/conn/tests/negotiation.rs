//! Connections that negotiate what they are to be: each role, each method, each cut.

use std::time::Duration;

use super::*;
use crate::conn::{NegotiationClient, NegotiationOptions, NegotiationServer};
use crate::frame::obrpc::{
    Bypass, FirstBytes, Message, Method, Methods, PacketDecoder, Pcode, ResultCode, ServerPolicy,
    Then, read_response, refusal,
};

const METHODS: [Method; 3] = [Method::None, Method::SslNoEncrypt, Method::SslIo];

const OPTIONS: NegotiationOptions = NegotiationOptions {
    timeout: Duration::from_secs(3),
    requires_binding: false,
    danger_end_without_close_notify: true,
};

fn policy(methods: Methods) -> ServerPolicy {
    ServerPolicy {
        methods,
        bypass: Bypass::Nobody,
        is_keepalive_admitted: true,
        is_tls_admitted: false,
    }
}

fn server(methods: Methods, path: RecordPath) -> Arc<NegotiationServer> {
    NegotiationServer::new(policy(methods), Some(&server_options(path)), OPTIONS).unwrap()
}

fn client(method: Method, path: RecordPath) -> NegotiationClient {
    let (tls, name) = (client_options(path), localhost());
    NegotiationClient::new(method, 0x1_0000_0003, Some(&tls), name, OPTIONS).unwrap()
}

fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

fn all() -> Methods {
    METHODS.into_iter().collect()
}

fn near(client: &NegotiationClient) -> End {
    let mut pools = Pools::new(8);
    let conn = Connection::negotiated_client(client, now(), &mut pools);
    End::new(conn, pools)
}

fn far(server: Arc<NegotiationServer>) -> End {
    let conn = Connection::negotiated_server(&server, false, now());
    End::new(conn, Pools::new(8))
}

fn pair(method: Method, client_path: RecordPath, server_path: RecordPath) -> Pair {
    Pair {
        client: near(&client(method, client_path)),
        server: far(server(all(), server_path)),
    }
}

#[test]
fn every_method_works_in_segments_of_every_length() {
    for method in METHODS {
        for (client_path, server_path) in [(PATHS[0], PATHS[1]), (PATHS[1], PATHS[0])] {
            for segment_len in [1, 2, 3, 5, 11, 12, 13, 27, 28, 29, 1_000, usize::MAX] {
                let mut pair = pair(method, client_path, server_path);
                pair.settle(segment_len).unwrap();
                pair.client.write(b"request");
                pair.server.write(b"response");
                pair.settle(segment_len).unwrap();
                assert_eq!(pair.server.received, b"request");
                assert_eq!(pair.client.received, b"response");
                for end in [&pair.client, &pair.server] {
                    assert_eq!(end.conn.facts().is_some(), method != Method::None);
                    assert_eq!(end.conn.poll_timeout(), None);
                    assert!(end.conn.partial.is_none(), "an idle end holds no buffer");
                }
                let beginning = *pair.server.conn.beginning().unwrap();
                assert_eq!(beginning.first, FirstBytes::Ussl);
                assert_eq!(beginning.message.unwrap().gid, 0x1_0000_0003);
                assert_eq!(beginning.then, method.into());
                assert_eq!(pair.server.events, [ConnEvent::HandshakeDone]);
            }
        }
    }
}

/// What the wire carries after the handshake tells the methods apart.
#[test]
fn only_ssl_io_encrypts() {
    for (method, is_sealed) in METHODS.into_iter().zip([false, false, true]) {
        let mut pair = pair(method, RecordPath::InPlace, RecordPath::InPlace);
        pair.settle(usize::MAX).unwrap();
        pair.client.write(b"request");
        let wire = pair.client.take_output().unwrap();
        assert_eq!(!wire.ends_with(b"request"), is_sealed);
    }
}

#[test]
fn what_is_glued_behind_the_message_belongs_to_what_was_agreed_at_every_cut() {
    let request = refusal(3, Pcode::SET_CONFIG, 0);
    for method in METHODS {
        let message = Message::new(method, 1).encode();
        let glued = [&message[..], &request].concat();
        for cut in 0..=glued.len() {
            let mut end = far(server(all(), RecordPath::InPlace));
            let result = [&glued[..cut], &glued[cut..]]
                .into_iter()
                .try_for_each(|piece| end.feed(piece));
            if method == Method::None {
                result.unwrap();
                assert_eq!(end.received, request, "cut at {cut}");
            } else {
                assert_eq!(
                    result.unwrap_err().kind(),
                    ErrorKind::NotTls,
                    "cut at {cut}"
                );
                assert!(end.received.is_empty(), "cut at {cut}");
            }
        }
    }
}

/// A server's answer with plain bytes behind it: a client that takes them would be deceived.
#[test]
fn what_is_glued_behind_the_acknowledgement_is_never_plaintext() {
    for method in [Method::SslNoEncrypt, Method::SslIo] {
        let glued = [&Message::new(method, 0).encode()[..], b"smuggled answer"].concat();
        for cut in 0..=glued.len() {
            let mut end = near(&client(method, RecordPath::Rustls));
            let result = [&glued[..cut], &glued[cut..]]
                .into_iter()
                .try_for_each(|piece| end.feed(piece));
            assert_eq!(
                result.unwrap_err().kind(),
                ErrorKind::NotTls,
                "cut at {cut}"
            );
            assert!(end.received.is_empty());
        }
    }
}

#[test]
fn a_client_hello_glued_behind_the_message_is_tls_at_every_cut() {
    let path = RecordPath::InPlace;
    let config = ClientConfig::new(&client_options(path)).unwrap();
    let hello =
        |pools: &mut Pools| Connection::client(&config, &localhost(), now(), pools).unwrap();
    for cut in 0..60 {
        let mut pools = Pools::new(8);
        let mut near = End::new(hello(&mut pools), pools);
        let mut far = far(server(all(), path));
        let mut glued = Message::new(Method::SslIo, 1).encode();
        glued.extend(near.take_output().unwrap());
        far.feed(&glued[..cut]).unwrap();
        far.feed(&glued[cut..]).unwrap();
        let answer = far.take_output().unwrap();
        let acknowledgement = Message::new(Method::SslIo, 0).encode();
        assert_eq!(answer[..28], acknowledgement, "in front of the ServerHello");
        near.feed(&answer[28..]).unwrap();
        near.write(b"request");
        far.feed(&near.take_output().unwrap()).unwrap();
        assert_eq!(far.received, b"request");
    }
}

#[test]
fn a_connection_without_a_negotiation_passes_from_its_first_byte_on() {
    for stream in [
        refusal(3, Pcode::SET_CONFIG, 0),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nframes".to_vec(),
        vec![0x12, 0x34, 0x56, 0x78, 0, 0],
    ] {
        for cut in 0..=stream.len() {
            let mut end = far(server(all(), RecordPath::InPlace));
            end.feed(&stream[..cut]).unwrap();
            end.feed(&stream[cut..]).unwrap();
            assert_eq!(end.received, stream, "cut at {cut}");
            assert_eq!(end.conn.beginning().unwrap().then, Then::Plain);
            assert_eq!(end.events, [ConnEvent::HandshakeDone]);
            assert!(end.conn.partial.is_none());
        }
    }
}

#[test]
fn tls_may_begin_at_once_where_it_is_admitted() {
    let path = RecordPath::InPlace;
    for segment_len in [1, 2, 3, 1_000] {
        let policy = ServerPolicy {
            is_tls_admitted: true,
            ..policy(Methods::SSL_IO)
        };
        let server = NegotiationServer::new(policy, Some(&server_options(path)), OPTIONS).unwrap();
        let mut pools = Pools::new(8);
        let config = ClientConfig::new(&client_options(path)).unwrap();
        let conn = Connection::client(&config, &localhost(), now(), &mut pools).unwrap();
        let mut pair = Pair {
            client: End::new(conn, pools),
            server: far(server),
        };
        pair.settle(segment_len).unwrap();
        pair.client.write(b"request");
        pair.settle(segment_len).unwrap();
        assert_eq!(pair.server.received, b"request");
    }
}

#[test]
fn a_refused_request_is_told_why_in_its_own_protocol() {
    let mut end = far(server(Methods::SSL_IO, RecordPath::InPlace));
    let request = refusal(77, Pcode::SET_CONFIG, 0);
    let error = end.feed(&request).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotTls);
    assert!(error.to_string().contains("SET_CONFIG"), "{error}");
    let answer = end.take_output().unwrap();
    let mut decoder = PacketDecoder::default();
    let frame = decoder.next(&mut &answer[..]).unwrap().unwrap();
    let packet = frame.packet().unwrap();
    let content = packet.content(100).unwrap();
    let (rcode, _) = read_response(&content).unwrap();
    assert_eq!(packet.chid, 77);
    assert_eq!(rcode.rcode, ResultCode::UNKNOWN_CONNECTION);
    assert!(end.feed(b"more").is_err(), "an error is final");
}

#[test]
fn neither_message_can_be_edited_into_a_weaker_method() {
    // The client's: the server does not offer what it then asks for.
    let mut end = far(server(Methods::SSL_IO, RecordPath::InPlace));
    for weaker in [Method::None, Method::SslNoEncrypt] {
        let error = end.feed(&Message::new(weaker, 1).encode()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotTls);
        assert!(end.take_output().unwrap().is_empty());
        end = far(server(Methods::SSL_IO, RecordPath::InPlace));
    }
    // The server's.
    let mut end = near(&client(Method::SslIo, RecordPath::InPlace));
    let weaker = Message::new(Method::SslNoEncrypt, 0).encode();
    let error = end.feed(&weaker).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    // Stripped: what comes instead is no acknowledgement.
    let mut end = near(&client(Method::SslIo, RecordPath::InPlace));
    assert!(end.feed(&refusal(1, Pcode::SET_CONFIG, 0)).is_err());
    let mut end = near(&client(Method::SslIo, RecordPath::InPlace));
    let error = end.conn.handle_eof(now()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Truncated);
    assert!(error.to_string().contains("does not offer it"), "{error}");
}

#[test]
fn an_exempt_connection_is_plain_on_both_ends() {
    for method in METHODS {
        let mut options = client(method, RecordPath::InPlace);
        options.is_exempt = true;
        let server = server(Methods::SSL_IO, RecordPath::InPlace);
        let conn = Connection::negotiated_server(&server, true, now());
        let mut pair = Pair {
            client: near(&options),
            server: End::new(conn, Pools::new(8)),
        };
        assert!(!pair.client.conn.is_handshaking(), "it waits for nothing");
        pair.client.write(b"request");
        pair.settle(5).unwrap();
        assert_eq!(pair.server.received, b"request");
        assert!(pair.server.conn.facts().is_none());
    }
}

#[test]
fn one_deadline_covers_the_negotiation_and_the_handshake() {
    let mut far = far(server(all(), RecordPath::InPlace));
    let deadline = far.conn.poll_timeout();
    assert_eq!(deadline, Some(Monotonic::from_ns(3_000_000_000)));
    far.feed(&Message::new(Method::SslIo, 1).encode()).unwrap();
    assert_eq!(far.conn.poll_timeout(), deadline);

    let late = Now {
        monotonic: Monotonic::from_ns(3_000_000_000),
        ..now()
    };
    for (fed, text) in [
        (
            &b""[..],
            "peer sent nothing before the negotiation deadline",
        ),
        (&[0x12], "half a negotiation"),
    ] {
        let mut far = self::far(server(all(), RecordPath::InPlace));
        far.feed(fed).unwrap();
        let error = far.conn.handle_timeout(late).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.to_string().contains(text), "{error}");
    }
    let mut near = near(&client(Method::SslIo, RecordPath::InPlace));
    let error = near.conn.handle_timeout(late).unwrap_err();
    assert!(error.to_string().contains("did not acknowledge"), "{error}");
}

#[test]
fn a_peer_that_negotiates_holds_no_buffer_of_a_record() {
    for len in 0..28 {
        let mut end = far(server(all(), RecordPath::InPlace));
        end.feed(&Message::new(Method::SslIo, 1).encode()[..len])
            .unwrap();
        assert!(end.conn.partial.is_none());
        assert_eq!(end.conn.queued(), 0);
    }
}

#[test]
fn methods_whose_tls_is_missing_or_unfit_are_told_to_the_operator() {
    let tls13 = ServerOptions {
        min_version: Version::Tls13,
        ..server_options(RecordPath::InPlace)
    };
    for (methods, tls, is_good) in [
        (Methods::from(Method::None), None, true),
        (Methods::SSL_IO, None, false),
        (Method::SslNoEncrypt.into(), None, false),
        (Methods::SSL_IO, Some(&tls13), true),
        (Method::SslNoEncrypt.into(), Some(&tls13), false),
    ] {
        let result = NegotiationServer::new(policy(methods), tls, OPTIONS);
        match result {
            Ok(_) => assert!(is_good, "{methods:?}"),
            Err(error) => {
                assert!(!is_good, "{error}");
                assert_eq!(error.kind(), ErrorKind::Config);
            }
        }
    }
    for (method, is_good) in METHODS.into_iter().zip([true, false, false]) {
        let result = NegotiationClient::new(method, 1, None, localhost(), OPTIONS);
        assert_eq!(result.is_ok(), is_good, "{method:?}");
    }
}

/// Two ends of this library, and one between them that has each message changed as it likes.
fn with_edited(client: Method, edit_to: Method, edit_back: Method) -> (Result<()>, Result<()>) {
    let mut near = near(&self::client(client, RecordPath::InPlace));
    let mut far = far(server(all(), RecordPath::Rustls));
    assert_eq!(near.take_output().unwrap().len(), 28);
    far.feed(&Message::new(edit_to, 1).encode()).unwrap();
    let acknowledged = far.take_output().unwrap();
    assert_eq!(acknowledged.is_empty(), edit_to == Method::None);
    near.feed(&Message::new(edit_back, 1).encode()).unwrap();
    let hello = near.take_output().unwrap();
    let at_server = far.feed(&hello);
    let answer = far.take_output().unwrap();
    (near.feed(&answer), at_server)
}

#[test]
fn an_edited_negotiation_fails_the_handshake_where_the_server_offers_both() {
    for (method, other) in [
        (Method::SslIo, Method::SslNoEncrypt),
        (Method::SslNoEncrypt, Method::SslIo),
    ] {
        let (at_client, at_server) = with_edited(method, other, method);
        let error = at_server.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TlsIncompatible, "{error}");
        assert!(
            error.to_string().contains("was changed on its way"),
            "{error}"
        );
        let error = at_client.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TlsAlert(120), "{error}");
        assert!(
            error.to_string().contains("was changed on its way"),
            "{error}"
        );
        let (at_client, at_server) = with_edited(method, method, method);
        assert!(at_client.is_ok() && at_server.is_ok());
    }
}

/// The server begins in the clear; whoever is between must then be the TLS server itself.
#[test]
fn a_negotiation_edited_to_none_ends_at_a_client_that_waits_for_tls() {
    for method in [Method::SslIo, Method::SslNoEncrypt] {
        let (at_client, at_server) = with_edited(method, Method::None, method);
        at_server.unwrap();
        at_client.unwrap();
        let mut near = near(&client(method, RecordPath::InPlace));
        near.feed(&Message::new(method, 1).encode()).unwrap();
        near.take_output().unwrap();
        let error = near.feed(&refusal(1, Pcode::SET_CONFIG, 0)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotTls);
        assert!(near.received.is_empty());
    }
}

#[test]
fn ends_name_what_they_speak_and_resume_nothing() {
    for (method, name, version) in [
        (Method::SslIo, "ob-rpc/io", Version::Tls13),
        (Method::SslNoEncrypt, "ob-rpc/auth", Version::Tls12),
    ] {
        for path in PATHS {
            let (client, server) = (client(method, path), server(all(), path));
            for _ in 0..2 {
                let mut pair = Pair {
                    client: near(&client),
                    server: far(Arc::clone(&server)),
                };
                pair.settle(usize::MAX).unwrap();
                for end in [&pair.client, &pair.server] {
                    let facts = end.conn.facts().unwrap();
                    assert_eq!(facts.application_protocol.as_deref(), Some(name));
                    assert_eq!(facts.version, version);
                    assert!(!facts.resumed);
                }
            }
        }
    }
}

/// The other end knows nothing of application protocols, as OceanBase's.
#[test]
fn an_end_that_names_nothing_is_admitted_unless_that_is_required() {
    for (requires_binding, is_good) in [(false, true), (true, false)] {
        let options = NegotiationOptions {
            requires_binding,
            ..OPTIONS
        };
        for path in PATHS {
            for min_version in [Version::Tls12, Version::Tls13] {
                let tls = ServerOptions {
                    min_version,
                    ..server_options(path)
                };
                let server = policy(Methods::SSL_IO);
                let server = NegotiationServer::new(server, Some(&tls), options).unwrap();
                let mut far = far(server);
                far.feed(&Message::new(Method::SslIo, 1).encode()).unwrap();
                far.take_output().unwrap();
                let config = ClientConfig::new(&client_options(path)).unwrap();
                let mut pools = Pools::new(8);
                let conn = Connection::client(&config, &localhost(), now(), &mut pools).unwrap();
                let client = End::new(conn, pools);
                check_binding(client, far, is_good);

                let tls = client_options(path);
                let client =
                    NegotiationClient::new(Method::SslIo, 1, Some(&tls), localhost(), options);
                let mut near = near(&client.unwrap());
                near.take_output().unwrap();
                near.feed(&Message::new(Method::SslIo, 1).encode()).unwrap();
                let tls = ServerOptions {
                    min_version,
                    ..server_options(path)
                };
                let conn = Connection::server(&ServerConfig::new(&tls).unwrap(), now());
                check_binding(near, End::new(conn, Pools::new(8)), is_good);
            }
        }
    }
}

fn check_binding(client: End, server: End, is_good: bool) {
    let mut pair = Pair { client, server };
    match pair.settle(usize::MAX) {
        Ok(()) => assert!(is_good && !pair.client.conn.is_handshaking()),
        Err(error) => {
            assert!(!is_good, "{error}");
            assert_eq!(error.kind(), ErrorKind::TlsIncompatible);
            assert!(
                error.to_string().contains("`ob-rpc/io` is required"),
                "{error}"
            );
        }
    }
}

/// Lengths that are 16 in every message there is. A longer one is read to its end, wherever it is
/// cut, and what follows it belongs to what was agreed on.
#[test]
fn a_message_of_another_length_ends_where_it_says_or_is_refused() {
    for (body_len, is_taken) in [
        (0, false),
        (15, false),
        (17, true),
        (244, true),
        (245, false),
        (256, false),
        (u32::MAX, false),
    ] {
        let mut stream = Message::new(Method::None, 1).encode();
        stream[8..12].copy_from_slice(&body_len.to_le_bytes());
        let extra = (body_len as usize).saturating_sub(16).min(400);
        stream.extend(vec![0xaa; extra]);
        stream.extend(b"what follows");
        for cut in 0..=stream.len() {
            let mut end = far(server(all(), RecordPath::InPlace));
            let result = [&stream[..cut], &stream[cut..]]
                .into_iter()
                .try_for_each(|piece| end.feed(piece));
            match result {
                Ok(()) => assert_eq!(end.received, b"what follows"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Protocol, "{error}"),
            }
            assert_eq!(
                !end.received.is_empty(),
                is_taken,
                "{body_len} cut at {cut}"
            );
        }
        // An acknowledgement is held to the same.
        let mut answer = Message::new(Method::SslIo, 1).encode();
        answer[8..12].copy_from_slice(&body_len.to_le_bytes());
        answer.extend(vec![0xaa; extra]);
        let mut end = near(&client(Method::SslIo, RecordPath::InPlace));
        end.take_output().unwrap();
        assert_eq!(end.feed(&answer).is_ok(), is_taken, "{body_len}");
        assert_eq!(!end.take_output().unwrap().is_empty(), is_taken);
    }
}
