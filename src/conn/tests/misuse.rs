//! Calls out of order, calls with nothing in them, and what must still hold after an error.

use super::*;
use crate::conn::Layer;
use crate::limits;
use crate::tls::record::tests::keys;
use crate::tls::record::{InPlaceRecords, Protocol};

/// A TLS 1.2 connection on AES-GCM that may seal `left` records more.
fn nearly_spent(left: u64) -> End {
    let worn = || {
        let mut keys = keys(Protocol::Tls12, 7);
        keys.set_sequence(limits::GCM_RECORDS_MAX - left);
        keys
    };
    let records = InPlaceRecords::tls12(worn(), worn(), true);
    let conn = Connection::new(Layer::Established(Box::new(records)), None);
    End::new(conn, Pools::new(4))
}

#[test]
fn writing_nothing_does_nothing() {
    each_pairing(|client, server| {
        let mut pair = Pair::established(&client, &server);
        let End { conn, pools, .. } = &mut pair.client;
        assert_eq!(conn.write(&[], pools).unwrap(), 0);
        let mut taken = 0;
        while conn.writable() > 0 {
            taken += conn.write(&[7; 5_000], pools).unwrap();
        }
        for len in 0..3 {
            assert_eq!(conn.write(&[7; 3][..len], pools).unwrap(), 0);
        }
        pair.settle(usize::MAX).unwrap();
        assert_eq!(pair.server.received.len(), taken);
    });
}

#[test]
fn an_error_leaves_no_deadline() {
    let config = ServerConfig::new(&server_options(RecordPath::InPlace)).unwrap();
    let mut end = End::new(Connection::server(&config, now()), Pools::new(1));
    end.feed(b"GET / HTTP/1.1\r\n").unwrap_err();
    assert_eq!(end.conn.poll_timeout(), None);
    let mut end = End::new(Connection::server(&config, now()), Pools::new(1));
    end.conn.handle_eof(now()).unwrap_err();
    assert_eq!(end.conn.poll_timeout(), None);
}

#[test]
fn a_close_in_mid_handshake_is_announced_when_it_is_complete() {
    each_pairing(|client, server| {
        for client_closes in [true, false] {
            let mut pair = Pair::new(&client, &server);
            let End { conn, pools, .. } = if client_closes {
                &mut pair.client
            } else {
                &mut pair.server
            };
            conn.close(pools).unwrap();
            pair.settle(usize::MAX).unwrap();
            let told = if client_closes {
                &pair.server
            } else {
                &pair.client
            };
            assert!(told.conn.is_peer_closed());
        }
    });
}

#[test]
fn an_error_of_sending_is_final_and_leaves_what_was_sealed() {
    let mut end = nearly_spent(2);
    end.write(&[1; 5_000]);
    end.write(&[2; 10]);
    assert_eq!(end.take_output().unwrap().len(), 5_000 + 10 + 2 * 29);
    let mut end = nearly_spent(1);
    end.write(&[1; 5_000]);
    end.write(&[2; 10]);
    assert_eq!(end.take_output().unwrap_err().kind(), ErrorKind::Limit);
    assert_eq!(end.take_output().unwrap().len(), 5_029);
    assert_eq!(
        end.conn.write(b"x", &mut end.pools).unwrap_err().kind(),
        ErrorKind::Misuse
    );
}

#[test]
fn a_close_that_cannot_follow_the_data_is_an_error_and_final() {
    let mut end = nearly_spent(0);
    end.write(b"accepted");
    let End { conn, pools, .. } = &mut end;
    assert_eq!(conn.close(pools).unwrap_err().kind(), ErrorKind::Limit);
    assert!(
        end.take_output().unwrap().is_empty(),
        "no clean end where data is missing"
    );
    assert_eq!(end.feed(b"x").unwrap_err().kind(), ErrorKind::Misuse);
}

#[test]
fn a_spent_key_still_closes() {
    let mut end = nearly_spent(1);
    end.write(&[1; 5_000]);
    let End { conn, pools, .. } = &mut end;
    conn.close(pools).unwrap();
    assert_eq!(end.take_output().unwrap().len(), 5_029 + 31);
}

/// A connection may move to another thread once it is established, and a ticket may come much
/// later: what rustls makes of it must not depend on the last handshake of that thread.
#[test]
fn a_ticket_is_dated_by_the_call_that_brings_it() {
    for path in PATHS {
        let server_config = ServerConfig::new(&server_options(path)).unwrap();
        let client_config = ClientConfig::new(&client_options(path)).unwrap();
        let connect = || Pair::of(&client_config, &server_config);
        let mut pair = connect();
        let hello = pair.client.take_output().unwrap();
        pair.server.feed(&hello).unwrap();
        let flight = pair.server.take_output().unwrap();
        pair.client.feed(&flight).unwrap();
        let finished = pair.client.take_output().unwrap();
        pair.server.feed(&finished).unwrap();
        let tickets = pair.server.take_output().unwrap();
        std::thread::scope(|scope| {
            let client = &mut pair.client;
            scope.spawn(move || client.feed(&tickets).unwrap());
        });
        let mut pair = connect();
        pair.settle(usize::MAX).unwrap();
        assert!(pair.client.conn.facts().unwrap().resumed, "{path:?}");
    }
}

#[test]
fn without_resumption_every_handshake_is_a_full_one() {
    for path in PATHS {
        let client = ClientConfig::new(&client_options(path)).unwrap();
        let server = ServerConfig::new(&server_options(path)).unwrap();
        for (client, server, resumes) in [
            (client.without_resumption(), Arc::clone(&server), false),
            (Arc::clone(&client), server.without_resumption(), false),
            (client, server, true),
        ] {
            let mut last = None;
            for _ in 0..2 {
                let mut pair = Pair::of(&client, &server);
                pair.settle(usize::MAX).unwrap();
                last = pair.client.conn.facts().map(|facts| facts.resumed);
            }
            assert_eq!(last, Some(resumes), "{path:?}");
        }
    }
}
