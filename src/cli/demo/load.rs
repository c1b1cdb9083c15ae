use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::connect;
use crate::buf::Pools;
use crate::conn::Connection;
use crate::engine::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::stream::Stream;
use crate::tls::{ClientConfig, Facts, ServerName};

/// One way to the server: a connection, and what was measured on it.
pub(super) struct Leg {
    pub(super) name: &'static str,
    pub(super) latency_ns: Histogram<u64>,
    /// Requests that could be read on the wire, of those that were looked for there.
    pub(super) readable: Readable,
    stream: Stream<Wire>,
}

/// What a listener on the wire would have read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Readable {
    pub(super) requests: usize,
    pub(super) of: usize,
}

impl Leg {
    /// Connects, and completes the handshake where there is one.
    pub(super) fn open(
        name: &'static str,
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Self> {
        let (clock, mut pools) = (Clock::start(), Pools::new(4));
        let conn = match tls {
            None => Connection::plain(),
            Some(config) => {
                let name = ServerName::try_from("localhost")
                    .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
                Connection::client(config, &name, clock.now(), &mut pools)?
            }
        };
        let wire = Wire {
            socket: connect(address)?,
            tap: None,
        };
        let mut stream = Stream::new(conn, wire, clock, pools);
        stream.handshake()?;
        let latency_ns = Histogram::new_with_max(LATENCY_NS_MAX, 3)
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        Ok(Self {
            name,
            latency_ns,
            readable: Readable::default(),
            stream,
        })
    }

    pub(super) fn facts(&self) -> Option<&Arc<Facts>> {
        self.stream.connection().facts()
    }

    /// Sends requests while everything on the wire is looked at.
    pub(super) fn prove(&mut self) -> Result<()> {
        self.stream.socket_mut().tap = Some(Vec::new());
        for _ in 0..PROOFS {
            self.request()?;
        }
        let seen = self.stream.socket_mut().tap.take().unwrap_or_default();
        let requests = seen
            .windows(MARKER.len())
            .filter(|window| *window == MARKER)
            .count();
        self.readable = Readable {
            requests,
            of: 2 * PROOFS,
        };
        Ok(())
    }

    /// Sends one request after the other for as long as `slice`.
    fn measure(&mut self, slice: Duration) -> Result<()> {
        let begin = Instant::now();
        let mut sent = begin;
        while sent - begin < slice {
            self.request()?;
            let answered = Instant::now();
            let ns = u64::try_from((answered - sent).as_nanos()).unwrap_or(u64::MAX);
            self.latency_ns.saturating_record(ns);
            sent = answered;
        }
        Ok(())
    }

    fn request(&mut self) -> Result<()> {
        let mut request = [b'.'; REQUEST_LEN];
        request[..MARKER.len()].copy_from_slice(MARKER);
        let mut answer = [0; REQUEST_LEN];
        let exchanged = self
            .stream
            .write_all(&request)
            .and_then(|()| self.stream.flush())
            .and_then(|()| self.stream.read_exact(&mut answer));
        exchanged.map_err(|error| Error::io(format_args!("{} leg", self.name), &error))?;
        if answer != request {
            return Err(Error::new(
                ErrorKind::Internal,
                "the answer is not the request",
            ));
        }
        Ok(())
    }
}

/// Drives the legs in turn, so that whatever else the machine does falls on both.
pub(super) fn alternate(
    legs: &mut [Leg],
    total: Duration,
    is_interrupted: &AtomicBool,
) -> Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < total && !is_interrupted.load(Ordering::Acquire) {
        for leg in &mut *legs {
            leg.measure(SLICE)?;
        }
    }
    Ok(())
}

/// The socket, with a copy of what passes while it is tapped.
struct Wire {
    socket: TcpStream,
    tap: Option<Vec<u8>>,
}

impl Read for Wire {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let len = self.socket.read(target)?;
        if let Some(tap) = &mut self.tap {
            tap.extend_from_slice(&target[..len]);
        }
        Ok(len)
    }
}

impl Write for Wire {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let len = self.socket.write(data)?;
        if let Some(tap) = &mut self.tap {
            tap.extend_from_slice(&data[..len]);
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// Length of requests and answers, in bytes: a short statement and its row.
pub(super) const REQUEST_LEN: usize = 256;

/// What every request begins with, and what is looked for on the wire.
const MARKER: &[u8] = b"SELECT secret FROM accounts";

/// Requests that are looked for on the wire.
const PROOFS: usize = 100;

/// How long a leg is driven before it is the other's turn.
const SLICE: Duration = Duration::from_millis(50);

/// The longest latency that is told from a longer one.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
