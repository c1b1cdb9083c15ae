//! A blocking stream over a [`Connection`] and any socket: no engine, no ring.

use std::io::{self, Read, Write};
use std::sync::Arc;

use crate::buf::{Buf, Pools};
use crate::conn::{ConnEvent, Connection, Data};
use crate::engine::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::tls::{ClientConfig, ServerConfig, ServerName};

/// Reads and writes plaintext over a blocking socket. Deadlines are the socket's: its read and
/// write timeouts.
pub struct Stream<S> {
    conn: Connection,
    socket: S,
    clock: Clock,
    pools: Pools,
    input: Buf,
    chunk: Chunk,
}

/// Plaintext that was opened and not read yet.
enum Chunk {
    None,
    /// So many bytes at the front of the input, which are followed by so many that are done with.
    Input {
        len: usize,
        done_len: usize,
    },
    /// What the connection holds, from this offset on.
    Held {
        offset: usize,
    },
}

impl<S: Read + Write> Stream<S> {
    /// A stream over a connected socket. Nothing is sent or received yet.
    pub fn new(conn: Connection, socket: S, clock: Clock, pools: Pools) -> Self {
        Self {
            conn,
            socket,
            clock,
            pools,
            input: Buf::new(INPUT_LEN),
            chunk: Chunk::None,
        }
    }

    /// Completes the handshake. [`Read::read`] and [`Write::write`] do so by themselves.
    ///
    /// # Errors
    ///
    /// As the connection says; the alert that the peer is owed has been sent.
    pub fn handshake(&mut self) -> Result<()> {
        while self.conn.is_handshaking() {
            self.flush_conn()?;
            if self.input.is_empty() {
                self.receive()?;
            }
            self.open()?;
        }
        self.flush_conn()
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
        self.conn
            .start_tls_client(config, name, now, &mut self.pools)?;
        self.chunk = Chunk::None;
        Ok(())
    }

    /// Begins TLS as the server of a plain stream: the counterpart of [`Stream::start_tls_client`].
    ///
    /// # Errors
    ///
    /// As [`Connection::start_tls_server`].
    pub fn start_tls_server(&mut self, config: &Arc<ServerConfig>) -> Result<()> {
        self.conn.start_tls_server(config, self.clock.now())?;
        self.chunk = Chunk::None;
        Ok(())
    }

    /// The connection, for its facts.
    pub fn connection(&self) -> &Connection {
        &self.conn
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
        self.conn.close(&mut self.pools)?;
        self.flush_conn()
    }

    fn read_some(&mut self, target: &mut [u8]) -> Result<usize> {
        loop {
            if let Some(len) = self.take_chunk(target) {
                return Ok(len);
            }
            if self.conn.is_peer_closed() {
                return Ok(0);
            }
            self.flush_conn()?;
            if self.input.is_empty() {
                self.receive()?;
            }
            self.open()?;
        }
    }

    fn write_some(&mut self, data: &[u8]) -> Result<usize> {
        self.handshake()?;
        if self.conn.writable() == 0 {
            self.flush_conn()?;
        }
        self.conn.write(data, &mut self.pools)
    }

    fn take_chunk(&mut self, target: &mut [u8]) -> Option<usize> {
        match &mut self.chunk {
            Chunk::None => None,
            Chunk::Input { len, done_len } => {
                let taken = target.len().min(*len);
                target[..taken].copy_from_slice(&self.input.filled()[..taken]);
                self.input.advance(taken);
                *len -= taken;
                if *len == 0 {
                    self.input.advance(*done_len);
                    self.chunk = Chunk::None;
                }
                Some(taken)
            }
            Chunk::Held { offset } => {
                let held = &self.conn.held()[*offset..];
                let taken = target.len().min(held.len());
                target[..taken].copy_from_slice(&held[..taken]);
                *offset += taken;
                if taken == held.len() {
                    self.chunk = Chunk::None;
                }
                Some(taken)
            }
        }
    }

    /// Opens what is in the input, up to the next plaintext. The alert of an error is sent.
    fn open(&mut self) -> Result<()> {
        let now = self.clock.now();
        let opened = match self
            .conn
            .handle_recv(now, self.input.filled_mut(), &mut self.pools)
        {
            Ok(opened) => opened,
            Err(error) => {
                // The error is what counts, not whether the peer still hears of it.
                let _ = self.flush_conn();
                return Err(error);
            }
        };
        while let Some(ConnEvent::HandshakeDone | ConnEvent::PeerClosed) = self.conn.poll_event() {}
        match opened.data {
            Data::None => self.input.advance(opened.consumed),
            Data::Input(range) => {
                self.input.advance(range.start);
                let done_len = opened.consumed - range.end;
                self.chunk = Chunk::Input {
                    len: range.len(),
                    done_len,
                };
            }
            Data::Held => {
                self.input.advance(opened.consumed);
                self.chunk = Chunk::Held { offset: 0 };
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<()> {
        self.input.clear();
        let len = loop {
            match self.socket.read(self.input.spare_mut()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result.map_err(|error| Error::io("read", &error))?,
            }
        };
        if len == 0 {
            return self.conn.handle_eof(self.clock.now());
        }
        self.input.fill(len);
        Ok(())
    }

    fn flush_conn(&mut self) -> Result<()> {
        while let Some(buf) = self.conn.poll_transmit(&mut self.pools)? {
            let result = self.socket.write_all(buf.filled());
            self.pools.send.give(buf);
            result.map_err(|error| Error::io("write", &error))?;
        }
        self.socket
            .flush()
            .map_err(|error| Error::io("flush", &error))
    }
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
        self.flush_conn().map_err(into_io)
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

/// Memory for what is received at once, in bytes: some records, so that few of them arrive in part.
const INPUT_LEN: usize = 64 * 1024;

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
