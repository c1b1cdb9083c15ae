//! The clients.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::Duration;

use sealwire::buf::Pools;
use sealwire::conn::Connection;
use sealwire::engine::{
    Address, BackendChoice, ConnId, Engine, EngineOptions, Event, SocketOptions, Waker,
};
use sealwire::frame::obrpc::{Message, Method};
use sealwire::tls::{
    ApplicationProtocol, ClientConfig, ClientOptions, Pem, RecordPath, Roots, ServerName, Verify,
};

use crate::{CLIENTS, EACH, Kind, TOLD};

pub(crate) const REQUEST: &[u8] = b"request";
pub(crate) const RESPONSE: &[u8] = b"response";

/// What a slow client sends: its negotiation, and half a ClientHello.
pub(crate) const SLOW_LEN: usize = MESSAGE_LEN + 116;

/// What one sends that stops in mid-negotiation.
pub(crate) const HALFWAY_LEN: usize = MESSAGE_LEN / 2;

/// Connects all clients, and does what is read from standard input until that ends.
pub(crate) fn run(choice: BackendChoice, address: &str, authority: &str) {
    let mut crowd = Crowd::new(choice, authority);
    crowd.connect(&address.parse().unwrap());
    let words = listen(crowd.engine.waker());
    loop {
        match words.try_recv() {
            Ok(word) if word == "begin" => crowd.begin(),
            Ok(word) if word == "call" => crowd.call(),
            Ok(word) => panic!("{word}"),
            Err(TryRecvError::Empty) => crowd.turn(None),
            Err(TryRecvError::Disconnected) => break,
        }
    }
    // What the server closed before it ended the input may still be under way.
    while crowd.closed < CLIENTS - EACH {
        crowd.turn(Some(Duration::from_secs(1)));
    }
    println!(
        "\n{TOLD}{} answered, {} closed",
        crowd.answered, crowd.closed
    );
}

/// The lines of standard input, each of which wakes the engine.
fn listen(waker: Waker) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            sender.send(line.unwrap()).unwrap();
            waker.wake();
        }
        drop(sender);
        waker.wake();
    });
    receiver
}

struct Crowd {
    engine: Engine,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    ids: Vec<ConnId>,
    connected: usize,
    answered: usize,
    closed: usize,
}

impl Crowd {
    fn new(choice: BackendChoice, authority: &str) -> Self {
        let options = EngineOptions {
            backend: choice,
            ..EngineOptions::default()
        };
        let pem = Pem {
            name: "authority",
            text: authority.as_bytes(),
        };
        let config = ClientConfig::new(&ClientOptions {
            records: RecordPath::InPlace,
            handshake_timeout: PATIENCE,
            application_protocol: Some(ApplicationProtocol {
                name: Method::SslIo.application_protocol().unwrap(),
                is_required: true,
            }),
            ..ClientOptions::new(Verify::Full(Roots::from_pem(&[pem]).unwrap()))
        });
        Self {
            engine: Engine::new(&options).unwrap(),
            config: config.unwrap(),
            name: ServerName::try_from("localhost").unwrap(),
            ids: Vec::new(),
            connected: 0,
            answered: 0,
            closed: 0,
        }
    }

    fn connect(&mut self, address: &Address) {
        while self.connected < CLIENTS {
            while self.ids.len() < CLIENTS.min(self.connected + UNDER_WAY_MAX) {
                let index = self.ids.len() as u64;
                let options = SocketOptions::default();
                let conn = Connection::plain();
                let id = self
                    .engine
                    .connect(address, conn, &options, PATIENCE, index)
                    .unwrap();
                self.ids.push(id);
            }
            self.turn(None);
        }
    }

    fn each(&self, kind: Kind) -> Vec<ConnId> {
        let ids = self.ids.iter().enumerate();
        ids.filter(|(index, _)| Kind::of(*index) == kind)
            .map(|(_, id)| *id)
            .collect()
    }

    fn kind(&self, id: ConnId) -> Kind {
        Kind::of(self.engine.user_data(id) as usize)
    }

    /// Those that are slow send what they ever will, piece by piece.
    fn begin(&mut self) {
        let mut hello = Message::new(Method::SslIo, 1).encode();
        hello.extend(client_hello(&self.config, &self.name, &self.engine));
        for id in self.each(Kind::Halfway) {
            self.engine.write(id, &hello[..HALFWAY_LEN]);
        }
        let slow = self.each(Kind::Slow);
        for piece in hello[..SLOW_LEN].chunks(PIECE_LEN) {
            for id in &slow {
                assert_eq!(self.engine.write(*id, piece), piece.len());
            }
            while slow.iter().any(|id| self.engine.queued(*id) > 0) {
                self.turn(Some(Duration::ZERO));
            }
        }
    }

    /// Those that are honest negotiate, all at once.
    fn call(&mut self) {
        for id in self.each(Kind::Honest) {
            self.engine
                .write(id, &Message::new(Method::SslIo, 1).encode());
        }
    }

    fn turn(&mut self, timeout: Option<Duration>) {
        let mut events = Vec::new();
        self.engine.wait(timeout, &mut events).unwrap();
        for event in events {
            match event {
                Event::Connected { id } if self.engine.facts(id).is_some() => {
                    assert_eq!(self.engine.write(id, REQUEST), REQUEST.len());
                }
                Event::Connected { .. } => self.connected += 1,
                Event::Readable { id } => self.read(id),
                Event::PeerClosed { id } => self.engine.close(id),
                Event::Closed { id, .. } => {
                    assert_ne!(self.kind(id), Kind::Honest);
                    self.closed += 1;
                }
                Event::Woken => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn read(&mut self, id: ConnId) {
        let is_honest = self.kind(id) == Kind::Honest;
        let (is_tls, len) = (self.engine.facts(id).is_some(), self.engine.peek(id).len());
        match (is_honest, is_tls) {
            (true, true) => {
                assert_eq!(self.engine.peek(id), RESPONSE);
                self.answered += 1;
            }
            // Nothing follows the acknowledgement before the ClientHello does.
            (true, false) => {
                assert_eq!(len, MESSAGE_LEN);
                self.engine.consume(id, MESSAGE_LEN);
                return self.engine.start_tls_client(id, &self.config, &self.name);
            }
            // An acknowledgement, or an alert.
            (false, _) => {}
        }
        self.engine.consume(id, len);
    }
}

fn client_hello(
    config: &Arc<ClientConfig>,
    name: &ServerName<'static>,
    engine: &Engine,
) -> Vec<u8> {
    let mut pools = Pools::new(1);
    let mut conn = Connection::client(config, name, engine.now(), &mut pools).unwrap();
    let hello = conn.poll_transmit(&mut pools).unwrap().unwrap();
    hello.filled().to_vec()
}

const MESSAGE_LEN: usize = 28;

/// Neither divides the message nor the header of a record.
const PIECE_LEN: usize = 9;

/// Connects that are under way at once: less than the listener queues.
const UNDER_WAY_MAX: usize = 1_000;

const PATIENCE: Duration = Duration::from_secs(120);
