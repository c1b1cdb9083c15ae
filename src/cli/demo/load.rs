use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::connect;
use super::mysql::{Account, Client};
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
    client: Client<Wire>,
}

/// What a listener on the wire would have read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Readable {
    pub(super) requests: usize,
    pub(super) of: usize,
}

impl Leg {
    /// Connects and logs in, over TLS where it is given how.
    pub(super) fn open(
        name: &'static str,
        address: SocketAddr,
        account: &Account,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Self> {
        let wire = Wire {
            socket: connect(address)?,
            tap: None,
        };
        let stream = Stream::new(Connection::plain(), wire, Clock::start(), Pools::new(4));
        let server = ServerName::try_from("localhost")
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        let client = Client::login(stream, account, tls.map(|config| (config, &server)))
            .map_err(|error| error.at(format_args!("{name} leg")))?;
        let latency_ns = Histogram::new_with_max(LATENCY_NS_MAX, 3)
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        Ok(Self {
            name,
            latency_ns,
            readable: Readable::default(),
            client,
        })
    }

    pub(super) fn server_version(&self) -> &str {
        &self.client.server_version
    }

    pub(super) fn facts(&self) -> Option<&Arc<Facts>> {
        self.client.connection().facts()
    }

    /// Sends requests while everything on the wire is looked at.
    pub(super) fn prove(&mut self) -> Result<()> {
        self.client.stream().socket_mut().tap = Some(Vec::new());
        for _ in 0..PROOFS {
            self.request()?;
        }
        let seen = self
            .client
            .stream()
            .socket_mut()
            .tap
            .take()
            .unwrap_or_default();
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

    /// The marker passes twice: in the statement, and in the row that answers it.
    fn request(&mut self) -> Result<()> {
        let mut value = [b'.'; VALUE_LEN];
        value[..MARKER.len()].copy_from_slice(MARKER);
        let statement = [b"SELECT '", &value[..], b"' AS answer"].concat();
        let cell = self.client.cell(&statement);
        if cell.map_err(|error| error.at(format_args!("{} leg", self.name)))? != value {
            let text = "the answer is not what was selected";
            return Err(Error::new(ErrorKind::Internal, text));
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

/// Length of the text that is selected, in bytes.
pub(super) const VALUE_LEN: usize = 200;

/// What that text begins with, and what is looked for on the wire.
const MARKER: &[u8] = b"the balance of account 4711";

/// Requests that are looked for on the wire.
const PROOFS: usize = 100;

/// How long a leg is driven before it is the other's turn.
const SLICE: Duration = Duration::from_millis(50);

/// The longest latency that is told from a longer one.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
