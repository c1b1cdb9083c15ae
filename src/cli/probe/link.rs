use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::buf::Pools;
use crate::cli::trust::addresses;
use crate::conn::Connection;
use crate::engine::{Address, Clock};
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::config::ServerAddress;
use crate::stream::Stream;

/// A connected socket, all of whose answers together have to come before a deadline.
pub(super) struct Link {
    socket: Socket,
    /// As connected: a name has been resolved.
    address: Address,
    deadline: Instant,
    received_len: u64,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Link {
    /// Connects within `timeout`, to the first address of a name that accepts.
    pub(super) fn connect(server: &ServerAddress, timeout: Duration) -> Result<Self> {
        let deadline = Instant::now() + timeout;
        let mut result = Err(Error::new(
            ErrorKind::Io,
            format!("resolve {server}: no address"),
        ));
        for address in addresses(server)? {
            result = Socket::connect(&address, deadline)
                .map(|socket| (socket, address.clone()))
                .map_err(|error| Error::io(format_args!("connect to {address}"), &error));
            if result.is_ok() {
                break;
            }
        }
        let (socket, address) = result?;
        Ok(Self {
            socket,
            address,
            deadline,
            received_len: 0,
        })
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Bytes that came from the server.
    pub(super) fn received_len(&self) -> u64 {
        self.received_len
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// A plain stream over it.
    pub(super) fn into_stream(self) -> Stream<Self> {
        Stream::new(Connection::plain(), self, Clock::start(), Pools::new(4))
    }

    fn left(&self) -> io::Result<Duration> {
        left(self.deadline)
    }
}

impl Read for Link {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let left = self.left()?;
        let read = match &mut self.socket {
            Socket::Tcp(socket) => {
                socket.set_read_timeout(Some(left))?;
                socket.read(target)
            }
            Socket::Unix(socket) => {
                socket.set_read_timeout(Some(left))?;
                socket.read(target)
            }
        };
        let len = read.map_err(in_time)?;
        self.received_len += len as u64;
        Ok(len)
    }
}

impl Write for Link {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let left = self.left()?;
        let written = match &mut self.socket {
            Socket::Tcp(socket) => {
                socket.set_write_timeout(Some(left))?;
                socket.write(data)
            }
            Socket::Unix(socket) => {
                socket.set_write_timeout(Some(left))?;
                socket.write(data)
            }
        };
        written.map_err(in_time)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket {
    fn connect(address: &Address, deadline: Instant) -> io::Result<Self> {
        match address {
            Address::Ip(address) => {
                let socket = TcpStream::connect_timeout(address, left(deadline)?)?;
                socket.set_nodelay(true)?;
                Ok(Self::Tcp(socket))
            }
            Address::Unix(path) => UnixStream::connect(path).map(Self::Unix),
        }
    }
}

/// The time left, of which a socket takes any but none.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}

/// A blocking socket says that it would block where it has waited for long enough.
fn in_time(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}
