//! Connections that negotiate what they are to be: each role, each method, each cut.

use std::time::Duration;

use super::*;
use crate::conn::{NegotiationClient, NegotiationServer};
use crate::frame::obrpc::{
    Bypass, ClientRequest, FirstBytes, Message, Method, Methods, PacketDecoder, Pcode, ResultCode,
    ServerPolicy, Then, read_response, refusal,
};

const METHODS: [Method; 3] = [Method::None, Method::SslNoEncrypt, Method::SslIo];

fn server(methods: Methods, path: RecordPath) -> NegotiationServer {
    let tls12 = ServerOptions {
        suites: TLS12_SUITES.map(String::from).to_vec(),
        ..server_options(path)
    };
    NegotiationServer {
        policy: ServerPolicy {
            methods,
            bypass: Bypass::Nobody,
            is_keepalive_admitted: true,
            is_tls_admitted: false,
        },
        tls: Some(ServerConfig::new(&server_options(path)).unwrap()),
        handshake: Some(ServerConfig::new(&tls12).unwrap()),
        timeout: Duration::from_secs(3),
        danger_end_without_close_notify: true,
    }
}

fn client(method: Method, path: RecordPath) -> NegotiationClient {
    let mut options = client_options(path);
    if method == Method::SslNoEncrypt {
        options.suites = TLS12_SUITES.map(String::from).to_vec();
    }
    let name = ServerName::try_from("localhost").unwrap();
    NegotiationClient {
        request: ClientRequest {
            method,
            gid: 0x1_0000_0003,
            is_exempt: false,
        },
        tls: Some((ClientConfig::new(&options).unwrap(), name)),
        timeout: Duration::from_secs(3),
        danger_end_without_close_notify: true,
    }
}

fn all() -> Methods {
    METHODS.into_iter().collect()
}

fn near(client: &NegotiationClient) -> End {
    let mut pools = Pools::new(8);
    let conn = Connection::negotiated_client(client, now(), &mut pools).unwrap();
    End::new(conn, pools)
}

fn far(server: NegotiationServer) -> End {
    let conn = Connection::negotiated_server(&Arc::new(server), false, now()).unwrap();
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
    let (config, name) = client(Method::SslIo, path).tls.unwrap();
    let hello = |pools: &mut Pools| Connection::client(&config, &name, now(), pools).unwrap();
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
        let mut server = server(Methods::SSL_IO, path);
        server.policy.is_tls_admitted = true;
        let mut pools = Pools::new(8);
        let (config, name) = client(Method::SslIo, path).tls.unwrap();
        let conn = Connection::client(&config, &name, now(), &mut pools).unwrap();
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
        options.request.is_exempt = true;
        let server = Arc::new(server(Methods::SSL_IO, RecordPath::InPlace));
        let conn = Connection::negotiated_server(&server, true, now()).unwrap();
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
fn methods_without_tls_are_misuse() {
    let mut without = server(all(), RecordPath::InPlace);
    without.handshake = None;
    let error = Connection::negotiated_server(&Arc::new(without), false, now()).map(|_| ());
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Misuse);
    let mut without = client(Method::SslIo, RecordPath::InPlace);
    without.tls = None;
    let error = Connection::negotiated_client(&without, now(), &mut Pools::new(1)).map(|_| ());
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Misuse);
}
