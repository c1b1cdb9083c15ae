//! A blocking stream over a [`Connection`] and any socket: no engine, no ring.

use std::io::{self, Read, Write};
use std::sync::Arc;

use crate::buf::Pools;
use crate::conn::Connection;
use crate::endpoint::Endpoint;
use crate::engine::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::tls::{ClientConfig, ServerConfig, ServerName};

/// Reads and writes plaintext over a blocking socket. Deadlines are the socket's: its read and
/// write timeouts.
pub struct Stream<S> {
    end: Endpoint,
    socket: S,
    clock: Clock,
    pools: Pools,
}

impl<S: Read + Write> Stream<S> {
    /// A stream over a connected socket. Nothing is sent or received yet.
    pub fn new(conn: Connection, socket: S, clock: Clock, pools: Pools) -> Self {
        Self {
            end: Endpoint::new(conn),
            socket,
            clock,
            pools,
        }
    }

    /// Completes the handshake. [`Read::read`] and [`Write::write`] do so by themselves.
    ///
    /// # Errors
    ///
    /// As the connection says; the alert that the peer is owed has been sent.
    pub fn handshake(&mut self) -> Result<()> {
        while self.end.connection().is_handshaking() {
            self.exchange()?;
        }
        self.send_all()
    }

    /// Begins TLS as the client of a plain stream, to the server that is to be known as `name`.
    /// What was read was plain; everything after it, received already or not, belongs to TLS.
    ///
    /// # Errors
    ///
    /// As [`Connection::start_tls_client`].
    pub fn start_tls_client(
        &mut self,
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
    ) -> Result<()> {
        let now = self.clock.now();
        self.end
            .start_tls_client(config, name, now, &mut self.pools)
    }

    /// Begins TLS as the server of a plain stream: the counterpart of [`Stream::start_tls_client`].
    ///
    /// # Errors
    ///
    /// As [`Connection::start_tls_server`].
    pub fn start_tls_server(&mut self, config: &Arc<ServerConfig>) -> Result<()> {
        self.end.start_tls_server(config, self.clock.now())
    }

    /// The connection, for its facts.
    pub fn connection(&self) -> &Connection {
        self.end.connection()
    }

    /// The socket, for its options.
    pub fn socket_mut(&mut self) -> &mut S {
        &mut self.socket
    }

    /// Ends this side with close_notify; the peer may go on sending.
    ///
    /// # Errors
    ///
    /// Where the socket cannot be written to.
    pub fn close(&mut self) -> Result<()> {
        self.end.close(&mut self.pools)?;
        self.send_all()
    }

    fn read_some(&mut self, target: &mut [u8]) -> Result<usize> {
        loop {
            let now = self.clock.now();
            let len = self.end.read(now, target, &mut self.pools)?;
            if len > 0 || self.end.is_ended() {
                return Ok(len);
            }
            self.exchange()?;
        }
    }

    fn write_some(&mut self, data: &[u8]) -> Result<usize> {
        self.handshake()?;
        if self.end.connection().writable() == 0 {
            self.send_all()?;
        }
        self.end.write(data, &mut self.pools)
    }

    /// Sends what waits, waits for the peer, and goes as far as what arrived goes.
    fn exchange(&mut self) -> Result<()> {
        self.send_all()?;
        if self.end.pending() == 0 && !self.end.has_input() {
            match receive(&mut self.end, &mut self.socket, &mut self.pools)? {
                Moved::All => {}
                Moved::WouldBlock => return Err(timeout("read")),
            }
        }
        let now = self.clock.now();
        self.end.advance(now, &mut self.pools).inspect_err(|_| {
            // The error is what counts, not whether the peer still hears of it.
            let _ = send(&mut self.end, &mut self.socket, &mut self.pools);
        })
    }

    fn send_all(&mut self) -> Result<()> {
        match send(&mut self.end, &mut self.socket, &mut self.pools)? {
            Moved::All => self
                .socket
                .flush()
                .map_err(|error| Error::io("flush", &error)),
            Moved::WouldBlock => Err(timeout("write")),
        }
    }
}

/// How far a socket let bytes be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// Everything that was to be moved.
    All,
    /// Not everything: the socket has to become ready first, or its own time has passed.
    WouldBlock,
}

/// Sends what waits in `end`.
///
/// # Errors
///
/// Where the socket cannot be written to.
pub fn send(end: &mut Endpoint, socket: &mut impl Write, pools: &mut Pools) -> Result<Moved> {
    loop {
        let output = end.output(pools);
        if output.is_empty() {
            return Ok(Moved::All);
        }
        match socket.write(output) {
            Ok(0) => return Err(Error::io("write", &io::ErrorKind::WriteZero.into())),
            Ok(len) => end.output_sent(len, pools),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Moved::WouldBlock);
            }
            Err(error) => return Err(Error::io("write", &error)),
        }
    }
}

/// Receives once, as much as there is and fits.
///
/// # Errors
///
/// Where the socket cannot be read from.
pub fn receive(end: &mut Endpoint, socket: &mut impl Read, pools: &mut Pools) -> Result<Moved> {
    loop {
        match socket.read(end.recv_buf(pools)) {
            Ok(0) => {
                end.received_eof(pools);
                return Ok(Moved::All);
            }
            Ok(len) => {
                end.received(len, pools);
                return Ok(Moved::All);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                end.received(0, pools);
                return match error.kind() {
                    io::ErrorKind::WouldBlock => Ok(Moved::WouldBlock),
                    _ => Err(Error::io("read", &error)),
                };
            }
        }
    }
}

/// What a blocking socket says by "would block": its read or write timeout has passed.
fn timeout(doing: &str) -> Error {
    let error = io::Error::from(io::ErrorKind::TimedOut);
    Error::io(doing, &error)
}

impl<S: Read + Write> Read for Stream<S> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if target.is_empty() {
            return Ok(0);
        }
        self.read_some(target).map_err(into_io)
    }
}

impl<S: Read + Write> Write for Stream<S> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.write_some(data).map_err(into_io)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send_all().map_err(into_io)
    }
}

fn into_io(error: Error) -> io::Error {
    let kind = match error.kind() {
        ErrorKind::Truncated => io::ErrorKind::UnexpectedEof,
        ErrorKind::Timeout => io::ErrorKind::TimedOut,
        ErrorKind::Io => error.os_error().map_or(io::ErrorKind::Other, |errno| {
            io::Error::from_raw_os_error(errno).kind()
        }),
        _ => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, error)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use super::*;
    use crate::tls::{Identity, Pem, RecordPath, ServerOptions};

    #[test]
    fn bytes_pass_and_the_end_is_seen() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let echo = thread::spawn(move || {
            let (socket, _) = listener.accept().unwrap();
            let mut stream =
                Stream::new(Connection::plain(), socket, Clock::start(), Pools::new(4));
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            stream.write_all(&received).unwrap();
            stream.flush().unwrap();
        });
        let socket = TcpStream::connect(address).unwrap();
        let sending = socket.try_clone().unwrap();
        let mut stream = Stream::new(Connection::plain(), socket, Clock::start(), Pools::new(4));
        let data: Vec<u8> = (0..300_000u32).map(|i| i as u8).collect();
        stream.write_all(&data).unwrap();
        stream.flush().unwrap();
        sending.shutdown(std::net::Shutdown::Write).unwrap();
        let mut echoed = Vec::new();
        stream.read_to_end(&mut echoed).unwrap();
        assert!(echoed == data);
        echo.join().unwrap();
    }

    fn server_config() -> Arc<ServerConfig> {
        let lone = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let (chain, key) = (lone.cert.pem(), lone.signing_key.serialize_pem());
        let pem = |text| Pem {
            name: "test.pem",
            text,
        };
        let identity = Identity::from_pem(pem(chain.as_bytes()), pem(key.as_bytes())).unwrap();
        let options = ServerOptions {
            records: RecordPath::InPlace,
            ..ServerOptions::new(identity)
        };
        ServerConfig::new(&options).unwrap()
    }

    #[test]
    fn what_was_received_behind_the_plain_part_belongs_to_tls() {
        let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        far.write_all(b"plainsmuggled").unwrap();
        drop(far);
        let mut stream = Stream::new(Connection::plain(), near, Clock::start(), Pools::new(4));
        let mut plain = [0; 5];
        stream.read_exact(&mut plain).unwrap();
        assert_eq!(&plain, b"plain");
        stream.start_tls_server(&server_config()).unwrap();
        let error = stream.handshake().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotTls);
        assert!(error.to_string().contains("\"smuggled\""), "{error}");
    }
}
