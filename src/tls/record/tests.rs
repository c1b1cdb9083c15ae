//! The in-place records against a peer that seals whatever it likes.

use rustls::ConnectionTrafficSecrets;
use rustls::crypto::cipher::{AeadKey, Iv};

use super::header::{ContentType, Header};
use super::in_place::{InPlaceRecords, KeySchedule};
use super::keys::{Protocol, TrafficKeys};
use super::{Opened, Records};
use crate::buf::{BufPool, SendQueue};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::time::Now;

/// Keys of one generation and direction; every generation has its own.
pub(crate) fn keys(protocol: Protocol, generation: u8) -> TrafficKeys {
    let secrets = ConnectionTrafficSecrets::Aes256Gcm {
        key: AeadKey::from([generation; 32]),
        iv: Iv::new([generation; 12]),
    };
    TrafficKeys::new(protocol, (0, secrets)).unwrap()
}

/// Sends under 100, 101, …; receives under 200, 201, …
struct Schedule {
    sent: u8,
    received: u8,
    is_client: bool,
}

impl KeySchedule for Schedule {
    fn next_send_keys(&mut self) -> Result<TrafficKeys> {
        self.sent += 1;
        Ok(keys(Protocol::Tls13, 100 + self.sent))
    }

    fn next_receive_keys(&mut self) -> Result<TrafficKeys> {
        self.received += 1;
        Ok(keys(Protocol::Tls13, 200 + self.received))
    }

    fn take_ticket(&mut self, _now: Now, _body: &[u8]) -> Result<()> {
        if self.is_client {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::TlsProtocol,
            "client sent a NewSessionTicket",
        ))
    }
}

/// The end under test with the keys of a peer that knows no rules.
struct Bench {
    records: InPlaceRecords,
    peer_send: TrafficKeys,
    peer_receive: TrafficKeys,
    out: SendQueue,
    pool: BufPool,
}

impl Bench {
    fn tls13(is_client: bool) -> Self {
        let schedule = Schedule {
            sent: 0,
            received: 0,
            is_client,
        };
        let (send, receive) = (keys(Protocol::Tls13, 100), keys(Protocol::Tls13, 200));
        Self::new(
            Protocol::Tls13,
            InPlaceRecords::tls13(send, receive, Box::new(schedule)),
        )
    }

    fn tls12(is_client: bool) -> Self {
        let (send, receive) = (keys(Protocol::Tls12, 100), keys(Protocol::Tls12, 200));
        Self::new(
            Protocol::Tls12,
            InPlaceRecords::tls12(send, receive, is_client),
        )
    }

    fn new(protocol: Protocol, records: InPlaceRecords) -> Self {
        Self {
            records,
            peer_send: keys(protocol, 200),
            peer_receive: keys(protocol, 100),
            out: SendQueue::default(),
            pool: BufPool::new(limits::SEND_BUF_LEN, 4),
        }
    }

    fn sealed(&mut self, content_type: ContentType, plain: &[u8]) -> Vec<u8> {
        let mut record = vec![0; plain.len() + limits::RECORD_OVERHEAD_MAX];
        let len = self
            .peer_send
            .seal(content_type, plain, &mut record)
            .unwrap();
        record.truncate(len);
        record
    }

    fn open(&mut self, mut record: Vec<u8>) -> Result<Option<Vec<u8>>> {
        match self
            .records
            .open(Now::default(), &mut record, &mut self.out, &mut self.pool)?
        {
            Opened::InRecord(range) => Ok(Some(record[range].to_vec())),
            Opened::Nothing => Ok(None),
            Opened::Closed => Ok(Some(b"closed".to_vec())),
            Opened::Held => unreachable!("in place means in place"),
        }
    }

    fn receive(&mut self, content_type: ContentType, plain: &[u8]) -> Result<Option<Vec<u8>>> {
        let record = self.sealed(content_type, plain);
        self.open(record)
    }

    fn write(&mut self, plain: &[u8]) {
        self.records
            .write(plain, &mut self.out, &mut self.pool)
            .unwrap();
    }

    fn seal(&mut self) -> Result<()> {
        self.records.seal(&mut self.out, &mut self.pool)
    }

    /// Everything that was queued, opened by the peer: content type and plaintext of each record.
    fn sent(&mut self) -> Vec<(ContentType, Vec<u8>)> {
        let mut wire = Vec::new();
        while let Some(buf) = self.out.pop() {
            wire.extend_from_slice(buf.filled());
        }
        let mut records = Vec::new();
        let mut rest = &mut wire[..];
        while let Some(header) = Header::read(rest).unwrap() {
            let (record, after) = rest.split_at_mut(header.record_len());
            let range = self
                .peer_receive
                .open(record)
                .expect("the peer can open it");
            let mut plain = record[range].to_vec();
            let content_type = match self.peer_receive.trailer_len() {
                17 => ContentType::from_wire(plain.pop().unwrap()).unwrap(),
                _ => header.content_type,
            };
            records.push((content_type, plain));
            rest = after;
        }
        records
    }

    fn alert(&mut self) -> u8 {
        let sent = self.sent();
        let (content_type, body) = sent.last().expect("an alert");
        assert_eq!(*content_type, ContentType::Alert);
        body[1]
    }
}

const KEY_UPDATE_REQUESTED: [u8; 5] = [24, 0, 0, 1, 1];

#[test]
fn short_writes_share_a_record_and_long_ones_have_their_own() {
    for mut bench in [Bench::tls13(true), Bench::tls12(true)] {
        bench.write(b"abc");
        bench.write(b"def");
        bench.write(&[1; 20_000]);
        bench.write(b"ghi");
        bench.seal().unwrap();
        let lens: Vec<_> = bench.sent().iter().map(|(_, plain)| plain.len()).collect();
        assert_eq!(lens, [6, 16_384, 3_616, 3]);
    }
}

#[test]
fn gathered_writes_fill_records_to_the_brim_in_order() {
    let mut bench = Bench::tls13(false);
    let mut expected = Vec::new();
    for i in 0..400u32 {
        let piece = vec![i as u8; 1 + (i as usize * 37) % 4_000];
        bench.write(&piece);
        expected.extend(piece);
    }
    bench.seal().unwrap();
    let sent = bench.sent();
    assert!(
        sent.iter()
            .all(|(_, plain)| plain.len() <= limits::RECORD_PLAIN_LEN_MAX)
    );
    assert!(
        sent.len() < expected.len() / 10_000,
        "{} records",
        sent.len()
    );
    assert_eq!(
        sent.into_iter()
            .flat_map(|(_, plain)| plain)
            .collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn padding_is_stripped() {
    let mut bench = Bench::tls13(true);
    // The type and the zeros behind it are data to a peer that seals by hand.
    let mut plain = b"padded".to_vec();
    plain.push(23);
    plain.extend([0; 100]);
    let record = {
        let mut record = vec![0; plain.len() + limits::RECORD_OVERHEAD_MAX];
        let last = plain.pop().unwrap();
        assert_eq!(last, 0);
        let len = bench.peer_send.seal_typed(0, &plain, &mut record).unwrap();
        record.truncate(len);
        record
    };
    assert_eq!(bench.open(record).unwrap().unwrap(), b"padded");
}

#[test]
fn a_record_of_nothing_but_padding_is_refused() {
    let mut bench = Bench::tls13(true);
    let mut record = vec![0; 64];
    let len = bench
        .peer_send
        .seal_typed(0, &[0; 20], &mut record)
        .unwrap();
    record.truncate(len);
    assert_eq!(
        bench.open(record).unwrap_err().kind(),
        ErrorKind::TlsProtocol
    );
    assert_eq!(bench.alert(), 10);
}

#[test]
fn plaintext_beyond_the_limit_is_refused() {
    let mut bench = Bench::tls13(true);
    assert!(
        bench
            .receive(ContentType::ApplicationData, &[0; 16_384])
            .is_ok()
    );
    assert!(
        bench
            .receive(ContentType::ApplicationData, &[0; 16_385])
            .is_err()
    );
    assert_eq!(bench.alert(), 22);
    let mut bench = Bench::tls13(true);
    assert!(bench.open(vec![23, 3, 3, 0x41, 1]).is_err());
    let mut bench = Bench::tls12(true);
    assert!(
        bench
            .receive(ContentType::ApplicationData, &[0; 16_385])
            .is_err()
    );
    assert_eq!(bench.alert(), 22);
}

#[test]
fn a_key_update_is_answered_though_nothing_is_written() {
    let mut bench = Bench::tls13(false);
    assert_eq!(
        bench
            .receive(ContentType::Handshake, &KEY_UPDATE_REQUESTED)
            .unwrap(),
        None
    );
    bench.peer_send = keys(Protocol::Tls13, 201);
    assert_eq!(
        bench
            .receive(ContentType::ApplicationData, b"new key")
            .unwrap()
            .unwrap(),
        b"new key"
    );
    assert!(bench.out.is_empty(), "owed, not queued");
    bench.seal().unwrap();
    assert_eq!(
        bench.sent(),
        [(ContentType::Handshake, vec![24, 0, 0, 1, 0])]
    );
    bench.peer_receive = keys(Protocol::Tls13, 101);
    bench.write(b"under the next key");
    bench.seal().unwrap();
    assert_eq!(bench.sent()[0].1, b"under the next key");
}

#[test]
fn many_requests_are_answered_once() {
    let mut bench = Bench::tls13(false);
    for generation in 201..211 {
        bench
            .receive(ContentType::Handshake, &KEY_UPDATE_REQUESTED)
            .unwrap();
        bench.peer_send = keys(Protocol::Tls13, generation);
        bench.receive(ContentType::ApplicationData, b"x").unwrap();
    }
    assert_eq!(
        bench.out.len(),
        0,
        "a peer that only asks makes nothing grow"
    );
    bench.seal().unwrap();
    assert_eq!(bench.sent().len(), 1);
}

#[test]
fn a_storm_of_key_updates_ends_the_connection() {
    let mut bench = Bench::tls13(false);
    let mut taken = 0;
    let error = loop {
        match bench.receive(ContentType::Handshake, &KEY_UPDATE_REQUESTED) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        bench.peer_send = keys(Protocol::Tls13, 200 + taken as u8);
    };
    assert_eq!(taken, limits::KEY_UPDATES_MAX);
    assert!(error.to_string().contains("KeyUpdates"), "{error}");
    assert_eq!(bench.alert(), 10);
}

#[test]
fn a_flood_of_empty_records_ends_the_connection() {
    for mut bench in [Bench::tls13(true), Bench::tls12(true)] {
        for _ in 0..limits::EMPTY_RECORDS_MAX {
            assert_eq!(
                bench.receive(ContentType::ApplicationData, b"").unwrap(),
                None
            );
        }
        bench
            .receive(ContentType::ApplicationData, b"data")
            .unwrap();
        for _ in 0..limits::EMPTY_RECORDS_MAX {
            bench.receive(ContentType::ApplicationData, b"").unwrap();
        }
        assert!(bench.receive(ContentType::ApplicationData, b"").is_err());
        assert_eq!(bench.alert(), 10);
    }
}

#[test]
fn a_flood_of_warnings_ends_the_connection() {
    let mut bench = Bench::tls12(true);
    for _ in 0..limits::WARNING_ALERTS_MAX {
        assert_eq!(bench.receive(ContentType::Alert, &[1, 90]).unwrap(), None);
    }
    assert!(bench.receive(ContentType::Alert, &[1, 90]).is_err());
}

#[test]
fn alerts_end_or_close_the_connection() {
    let mut bench = Bench::tls13(true);
    assert_eq!(
        bench.receive(ContentType::Alert, &[1, 0]).unwrap().unwrap(),
        b"closed"
    );
    let mut bench = Bench::tls13(true);
    let error = bench.receive(ContentType::Alert, &[2, 20]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TlsAlert(20));
    assert!(bench.sent().is_empty(), "a fatal alert is not answered");
    let mut bench = Bench::tls13(true);
    assert!(bench.receive(ContentType::Alert, &[2, 20, 0]).is_err());
    assert_eq!(bench.alert(), 50);
}

#[test]
fn handshake_messages_arrive_in_pieces_but_not_among_other_records() {
    let mut bench = Bench::tls13(true);
    bench
        .receive(ContentType::Handshake, &KEY_UPDATE_REQUESTED[..3])
        .unwrap();
    bench
        .receive(ContentType::Handshake, &KEY_UPDATE_REQUESTED[3..])
        .unwrap();
    bench.peer_send = keys(Protocol::Tls13, 201);
    bench
        .receive(ContentType::Handshake, &KEY_UPDATE_REQUESTED[..3])
        .unwrap();
    assert!(bench.receive(ContentType::ApplicationData, b"x").is_err());
    assert_eq!(bench.alert(), 10);
}

#[test]
fn handshake_messages_out_of_place_are_refused() {
    let glued: Vec<u8> = KEY_UPDATE_REQUESTED
        .iter()
        .chain(&[4, 0, 0, 0])
        .copied()
        .collect();
    for (message, alert) in [
        (&b""[..], 10),
        (&[24, 0, 0, 1, 2], 47),
        (&[13, 0, 0, 0], 10),
        (&[0, 0, 0, 0], 10),
        (&[4, 0xFF, 0, 0], 50),
        (&glued, 10),
    ] {
        let mut bench = Bench::tls13(true);
        assert!(
            bench.receive(ContentType::Handshake, message).is_err(),
            "{message:?}"
        );
        assert_eq!(bench.alert(), alert, "{message:?}");
    }
    let mut server = Bench::tls13(false);
    assert!(
        server
            .receive(ContentType::Handshake, &[4, 0, 0, 0])
            .is_err(),
        "tickets are a server's"
    );
    let mut client = Bench::tls13(true);
    assert!(
        client
            .receive(ContentType::Handshake, &[4, 0, 0, 0])
            .is_ok()
    );
}

#[test]
fn unprotected_records_are_refused() {
    for content_type in [20, 21, 22] {
        let mut bench = Bench::tls13(true);
        assert!(bench.open(vec![content_type, 3, 3, 0, 2, 1, 0]).is_err());
        assert_eq!(bench.alert(), 10);
    }
    for body_len in [0, 7, 16, 23] {
        for mut bench in [Bench::tls13(true), Bench::tls12(true)] {
            let mut record = vec![23, 3, 3, 0, body_len];
            record.extend(vec![0; usize::from(body_len)]);
            assert!(bench.open(record).is_err());
            assert_eq!(bench.alert(), 20);
        }
    }
}

#[test]
fn tls12_renegotiation_is_declined_once() {
    for (is_client, message) in [(true, &[0, 0, 0, 0][..]), (false, &[1, 0, 0, 1, 9])] {
        let mut bench = Bench::tls12(is_client);
        assert_eq!(
            bench.receive(ContentType::Handshake, message).unwrap(),
            None
        );
        bench.seal().unwrap();
        assert_eq!(bench.sent(), [(ContentType::Alert, vec![1, 100])]);
        assert!(bench.receive(ContentType::Handshake, message).is_err());
        let mut bench = Bench::tls12(!is_client);
        assert!(bench.receive(ContentType::Handshake, message).is_err());
    }
}

#[test]
fn a_worn_key_is_replaced_before_its_limit() {
    let mut bench = Bench::tls13(true);
    let worn = limits::GCM_RECORDS_MAX - limits::GCM_RECORDS_MARGIN - 1;
    bench.records.send_keys().set_sequence(worn);
    bench.peer_receive.set_sequence(worn);
    bench.write(b"last");
    bench.seal().unwrap();
    let sent = bench.sent();
    assert_eq!(sent[0].1, b"last");
    assert_eq!(sent[1].0, ContentType::Handshake);
    bench.peer_receive = keys(Protocol::Tls13, 101);
    bench.write(b"first");
    bench.seal().unwrap();
    assert_eq!(bench.sent()[0].1, b"first");
}

#[test]
fn tls12_stops_at_the_limit_of_its_key() {
    let mut bench = Bench::tls12(true);
    bench
        .records
        .send_keys()
        .set_sequence(limits::GCM_RECORDS_MAX);
    bench.write(b"one too many");
    assert_eq!(bench.seal().unwrap_err().kind(), ErrorKind::Limit);
}

#[test]
fn a_replayed_record_is_refused() {
    for mut bench in [Bench::tls13(true), Bench::tls12(true)] {
        let record = bench.sealed(ContentType::ApplicationData, b"once");
        bench.open(record.clone()).unwrap();
        assert!(bench.open(record).is_err());
    }
}

#[test]
fn close_notify_comes_behind_everything() {
    let mut bench = Bench::tls13(true);
    bench.write(b"data");
    bench
        .receive(ContentType::Handshake, &KEY_UPDATE_REQUESTED)
        .unwrap();
    bench
        .records
        .close(&mut bench.out, &mut bench.pool)
        .unwrap();
    let wire = bench.out.len();
    assert!(wire > 3 * 22);
    let buf = bench.out.pop().unwrap();
    let mut bytes = buf.filled().to_vec();
    for (generation, expected) in [
        (100, &b"data\x17"[..]),
        (100, b"\x18\0\0\x01\0\x16"),
        (101, b"\x01\0\x15"),
    ] {
        let len = Header::read(&bytes).unwrap().unwrap().record_len();
        let mut record: Vec<u8> = bytes.drain(..len).collect();
        if generation == 101 {
            bench.peer_receive = keys(Protocol::Tls13, 101);
        }
        let range = bench.peer_receive.open(&mut record).unwrap();
        assert_eq!(&record[range], expected);
    }
}
