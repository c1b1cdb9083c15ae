//! What went wrong in other hands: each habit of rustls' unbuffered connections that asks for care,
//! on both record paths, against a peer that seals what it is told to.

use sealwire::conn::{ConnEvent, Connection};
use sealwire::error::ErrorKind;

use crate::harness::{peer_client, peer_server, suite};
use crate::sealer::{APPLICATION_DATA, Config, HANDSHAKE, Sealer};
use crate::support::{End, Kind, PATHS, client_options, server_options};

/// Both record paths in both roles, on TLS 1.3.
fn each(mut check: impl FnMut(End, Sealer)) {
    for records in PATHS {
        let mut client = End::client(&client_options(records));
        let peer = Sealer::establish(&mut client, Config::Server(peer_server(suite(0))));
        check(client, peer);
        let mut server = End::server(&server_options(records, Kind::Ecdsa));
        let peer = Sealer::establish(&mut server, Config::Client(peer_client(suite(0))));
        check(server, peer);
    }
}

/// rustls panics when it has begun a handshake message and is called without its bytes.
#[test]
fn writing_in_the_middle_of_a_handshake_message_is_safe() {
    each(|mut ours, mut peer| {
        for cut in 1..KEY_UPDATE.len() {
            ours.feed(&peer.send.seal(HANDSHAKE, &KEY_UPDATE[..cut], 0))
                .unwrap();
            ours.write(b"in between");
            let sent = peer.open_all(&ours.take_output().unwrap());
            assert!(sent.contains(&(APPLICATION_DATA, b"in between".to_vec())));
            ours.refresh_keys().unwrap();
            peer.open_all(&ours.take_output().unwrap());
            ours.feed(&peer.send.seal(HANDSHAKE, &KEY_UPDATE[cut..], 0))
                .unwrap();
            peer.send.update();
            ours.feed(&peer.send.seal(APPLICATION_DATA, b"x", 0))
                .unwrap();
        }
        assert_eq!(ours.received, b"xxxx");
    });
}

/// rustls forgets a fatal error: asked again it would read on.
#[test]
fn an_error_is_remembered() {
    each(|mut ours, mut peer| {
        let mut record = peer.send.seal(APPLICATION_DATA, b"altered", 0);
        record[9] ^= 1;
        assert_eq!(
            ours.feed(&record).unwrap_err().kind(),
            ErrorKind::TlsProtocol
        );
        record[9] ^= 1;
        assert_eq!(ours.feed(&record).unwrap_err().kind(), ErrorKind::Misuse);
        assert!(ours.received.is_empty());
        let sent = peer.open_all(&ours.take_output().unwrap());
        assert_eq!(sent, [(crate::sealer::ALERT, vec![2, 20])]);
        assert!(ours.take_output().unwrap().is_empty());
    });
}

/// rustls still encrypts behind its own close_notify, and a KeyUpdate would ask for it.
#[test]
fn nothing_follows_our_close_notify() {
    each(|mut ours, mut peer| {
        ours.write(b"last");
        ours.close().unwrap();
        ours.close().unwrap();
        ours.refresh_keys().unwrap();
        ours.feed(&peer.send.seal(HANDSHAKE, &KEY_UPDATE, 0))
            .unwrap();
        peer.send.update();
        let refused = ours.conn.write(b"x", &mut ours.pools).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Misuse);
        ours.feed(&peer.send.seal(APPLICATION_DATA, b"heard", 0))
            .unwrap();
        assert_eq!(ours.received, b"heard");
        let sent = peer.open_all(&ours.take_output().unwrap());
        let expected = [
            (APPLICATION_DATA, b"last".to_vec()),
            (crate::sealer::ALERT, vec![1, 0]),
        ];
        assert_eq!(sent, expected);
    });
}

/// rustls answers a KeyUpdate only in front of the next data; RFC 8446 section 4.6.3 asks for no
/// more.
#[test]
fn a_key_update_is_answered_in_front_of_the_next_data_at_the_latest() {
    each(|mut ours, mut peer| {
        ours.feed(&peer.send.seal(HANDSHAKE, &KEY_UPDATE, 0))
            .unwrap();
        peer.send.update();
        let mut sent = peer.open_all(&ours.take_output().unwrap());
        ours.write(b"data");
        sent.extend(peer.open_all(&ours.take_output().unwrap()));
        let expected = [
            (HANDSHAKE, vec![24, 0, 0, 1, 0]),
            (APPLICATION_DATA, b"data".to_vec()),
        ];
        assert_eq!(sent, expected);
    });
}

#[test]
fn the_peers_close_notify_ends_one_side_only() {
    each(|mut ours, mut peer| {
        ours.feed(&peer.send.seal(crate::sealer::ALERT, &[1, 0], 0))
            .unwrap();
        assert_eq!(
            ours.events,
            [ConnEvent::HandshakeDone, ConnEvent::PeerClosed]
        );
        for _ in 0..2 {
            ours.write(b"still here");
            let sent = peer.open_all(&ours.take_output().unwrap());
            assert_eq!(sent, [(APPLICATION_DATA, b"still here".to_vec())]);
        }
        ours.feed(b"rubbish behind it").unwrap();
        assert!(ours.received.is_empty());
    });
}

/// A private-key operation goes to another thread with its whole connection.
#[test]
fn a_connection_moves_between_threads_in_mid_handshake() {
    fn can_move<T: Send>() {}
    can_move::<Connection>();
    for records in PATHS {
        let mut client = End::client(&client_options(records));
        let mut server = End::server(&server_options(records, Kind::Ecdsa));
        while client.conn.is_handshaking() || server.conn.is_handshaking() {
            let to_server = client.take_output().unwrap();
            let to_client = elsewhere(&mut server, |server| {
                server.feed(&to_server).unwrap();
                server.take_output().unwrap()
            });
            elsewhere(&mut client, |client| client.feed(&to_client).unwrap());
        }
        let facts = server.conn.facts().unwrap();
        assert_eq!(facts.server_name.as_deref(), Some("localhost"));
        client.write(b"moved");
        server.feed(&client.take_output().unwrap()).unwrap();
        assert_eq!(server.received, b"moved");
    }
}

fn elsewhere<T: Send>(end: &mut End, act: impl FnOnce(&mut End) -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(|| act(end)).join().unwrap())
}

/// A KeyUpdate that asks for one in return.
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 1];
