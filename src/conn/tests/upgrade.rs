//! TLS that begins, and ends, in the midst of a stream.

use super::*;

/// What precedes TLS: as long as the longest message of a negotiation is.
const PREFACE: [u8; 36] = [b'p'; 36];

/// A plain end that puts itself under TLS once it has used a certain number of plain bytes.
struct Upgrading {
    end: End,
    plain_len: usize,
    start: Box<dyn Fn(&mut End)>,
}

impl Upgrading {
    fn server(server: &ServerOptions, then: fn(&mut Connection)) -> Self {
        let config = ServerConfig::new(server).unwrap();
        Self::new(move |end| {
            end.conn.start_tls_server(&config, now()).unwrap();
            then(&mut end.conn);
        })
    }

    fn client(client: &ClientOptions, then: fn(&mut Connection)) -> Self {
        let config = ClientConfig::new(client).unwrap();
        Self::new(move |end| {
            let name = ServerName::try_from("localhost").unwrap();
            let End { conn, pools, .. } = end;
            conn.start_tls_client(&config, &name, now(), pools).unwrap();
            then(conn);
        })
    }

    fn new(start: impl Fn(&mut End) + 'static) -> Self {
        Self {
            end: End::new(Connection::plain(), Pools::new(8)),
            plain_len: PREFACE.len(),
            start: Box::new(start),
        }
    }

    /// As a reader of the plain part does: it uses its bytes, and gives the others to what follows.
    fn feed(&mut self, input: &[u8]) -> Result<()> {
        let plain = &input[..input.len().min(self.plain_len)];
        if !plain.is_empty() {
            // All of it is handed out as plaintext, used or not.
            let opened =
                self.end
                    .conn
                    .handle_recv(now(), &mut input.to_vec(), &mut self.end.pools)?;
            assert_eq!(opened.data, Data::Input(0..input.len()));
            self.end.received.extend_from_slice(plain);
            self.plain_len -= plain.len();
            if self.plain_len == 0 {
                (self.start)(&mut self.end);
            }
        }
        self.end.feed(&input[plain.len()..])
    }

    fn feed_cut(&mut self, input: &[u8], cut: usize) -> Result<()> {
        let (head, tail) = input.split_at(cut.min(input.len()));
        self.feed(head)?;
        self.feed(tail)
    }
}

/// Moves bytes until both are silent.
fn settle(client: &mut Upgrading, server: &mut Upgrading) -> Result<()> {
    loop {
        let to_server = client.end.take_output()?;
        server.feed(&to_server)?;
        let to_client = server.end.take_output()?;
        client.feed(&to_client)?;
        if to_server.is_empty() && to_client.is_empty() {
            return Ok(());
        }
    }
}

fn nothing(_: &mut Connection) {}

fn plain_afterwards(conn: &mut Connection) {
    conn.danger_plain_after_handshake().unwrap();
}

fn tls12(path: RecordPath) -> ClientOptions {
    let mut client = client_options(path);
    client.suites = TLS12_SUITES.map(String::from).to_vec();
    client
}

#[test]
fn tls_begins_at_the_boundary_wherever_it_is_cut_around_it() {
    each_pairing(|client, server| {
        let len = PREFACE.len() + 40;
        for cut in 0..len {
            let mut far = Upgrading::server(&server, nothing);
            let mut near = Upgrading::client(&client, nothing);
            // The client does not wait: its ClientHello is glued to its last plain bytes.
            near.end.write(&PREFACE);
            (near.start)(&mut near.end);
            near.plain_len = 0;
            let glued = near.end.take_output().unwrap();
            assert_eq!(glued[..PREFACE.len()], PREFACE);
            far.feed_cut(&glued, cut).unwrap();
            assert_eq!(far.end.received, PREFACE);
            settle(&mut near, &mut far).unwrap();
            assert_eq!(far.end.events, [ConnEvent::HandshakeDone]);

            near.end.write(b"select 1");
            settle(&mut near, &mut far).unwrap();
            assert_eq!(far.end.received[PREFACE.len()..], *b"select 1");
        }
    });
}

#[test]
fn plaintext_behind_the_boundary_never_reaches_the_plain_reader() {
    let path = RecordPath::InPlace;
    for role in ["client", "server"] {
        let glued = [&PREFACE[..], b"smuggled query"].concat();
        for cut in 0..=glued.len() {
            let mut end = match role {
                "client" => Upgrading::client(&client_options(path), nothing),
                _ => Upgrading::server(&server_options(path), nothing),
            };
            let error = end.feed_cut(&glued, cut).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotTls, "{role}, cut at {cut}");
            assert_eq!(end.end.received, PREFACE);
            let sent = end.end.take_output().unwrap();
            let alert = sent.split_last_chunk::<7>().map(|(_, alert)| alert);
            let is_alert = alert.is_some_and(|alert| matches!(alert, [21, 3, _, 0, 2, 2, _]));
            assert!(is_alert, "{role}, cut at {cut}: {sent:?}");
        }
    }
}

#[test]
fn a_handshake_alone_ends_at_its_last_byte_at_every_cut() {
    for path in PATHS {
        let replay = || {
            let mut far = Upgrading::server(&server_options(path), plain_afterwards);
            let mut near = Upgrading::client(&tls12(path), plain_afterwards);
            for end in [&mut near, &mut far] {
                end.plain_len = 0;
                (end.start)(&mut end.end);
            }
            let hello = near.end.take_output().unwrap();
            far.feed(&hello).unwrap();
            let flight = far.end.take_output().unwrap();
            near.feed(&flight).unwrap();
            (near, far)
        };
        for cut in 0..200 {
            // A client that does not wait for the server's Finished.
            let (mut near, mut far) = replay();
            let glued = [near.end.take_output().unwrap(), b"early".to_vec()].concat();
            assert!(glued.len() < 200);
            far.feed_cut(&glued, cut).unwrap();
            assert_eq!(far.end.received, b"early");
            assert_eq!(far.end.conn.facts().unwrap().version, Version::Tls12);

            far.end.write(b"reply");
            let glued = far.end.take_output().unwrap();
            assert!(glued.ends_with(b"reply"), "plain on the wire");
            near.feed_cut(&glued, cut).unwrap();
            assert_eq!(near.end.received, b"reply");
            near.end.conn.handle_eof(now()).unwrap();
        }
    }
}

#[test]
fn a_handshake_alone_needs_tls_1_2() {
    for path in PATHS {
        let mut far = Upgrading::server(&server_options(path), plain_afterwards);
        let mut near = Upgrading::client(&client_options(path), plain_afterwards);
        near.end.write(&PREFACE);
        (near.start)(&mut near.end);
        near.plain_len = 0;
        let error = settle(&mut near, &mut far).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TlsIncompatible);
        assert!(error.to_string().contains("TLS 1.3 was agreed on"));
    }
}

#[test]
fn tls_begins_once_and_only_on_a_stream_that_goes_on() {
    let path = RecordPath::InPlace;
    let config = ServerConfig::new(&server_options(path)).unwrap();
    let mut conn = Connection::plain();
    assert_eq!(
        conn.danger_plain_after_handshake().unwrap_err().kind(),
        ErrorKind::Misuse
    );
    conn.start_tls_server(&config, now()).unwrap();
    assert!(conn.is_handshaking() && conn.poll_timeout().is_some());
    let again = conn.start_tls_server(&config, now()).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Misuse);

    let mut closed = Connection::plain();
    closed.close(&mut Pools::new(1)).unwrap();
    let error = closed.start_tls_server(&config, now()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misuse);

    let mut ended = Connection::plain();
    ended.handle_eof(now()).unwrap();
    let error = ended.start_tls_server(&config, now()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Truncated);
}

#[test]
fn an_end_without_close_notify_is_clean_where_asked_for_and_never_within_a_record() {
    each_pairing(|client, server| {
        let mut pair = Pair::established(&client, &server);
        pair.server.conn.danger_end_without_close_notify();
        pair.client.write(b"select 1");
        let record = pair.client.take_output().unwrap();
        pair.server.feed(&record[..record.len() - 1]).unwrap();
        let mut halved = pair.server.conn;
        assert_eq!(
            halved.handle_eof(now()).unwrap_err().kind(),
            ErrorKind::Truncated
        );

        let mut pair = Pair::established(&client, &server);
        pair.server.conn.danger_end_without_close_notify();
        pair.client.write(b"select 1");
        pair.settle(3).unwrap();
        pair.server.conn.handle_eof(now()).unwrap();
        assert_eq!(pair.server.received, b"select 1");
        assert!(pair.server.conn.is_peer_closed());
    });
}
