//! One end of a connection with memory of its own: what arrived waits in it until it is read, and
//! what was written until it is sent.

use std::sync::Arc;

use crate::buf::{Buf, Pools};
use crate::conn::{ConnEvent, Connection, Data};
use crate::error::{Error, Result};
use crate::time::{Monotonic, Now};
use crate::tls::{ClientConfig, ServerConfig, ServerName};

/// A [`Connection`] and the memory that its bytes need, without a socket.
///
/// Whoever moves the bytes gives what arrived to [`Endpoint::feed`], or receives it into
/// [`Endpoint::recv_buf`], and sends [`Endpoint::output`]. Whoever uses the plaintext reads and
/// writes. Buffers belong to the pools that are given with each call; an endpoint that waits for its
/// peer holds none.
///
/// An error is final: every later call returns it again, while the output (the TLS alert) may still
/// be sent.
pub struct Endpoint {
    conn: Connection,
    /// What arrived and is not done with.
    input: Option<Buf>,
    chunk: Chunk,
    output: Option<Buf>,
    /// The peer's stream has ended behind the input.
    is_eof: bool,
    failure: Option<Error>,
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
    /// What the connection held has been read, and it may let go of it.
    HeldRead,
}

impl Endpoint {
    /// An endpoint on which nothing has been sent or received.
    pub fn new(conn: Connection) -> Self {
        Self {
            conn,
            input: None,
            chunk: Chunk::None,
            output: None,
            is_eof: false,
            failure: None,
        }
    }

    /// Begins TLS as the client of a plain connection, to the server that is to be known as `name`.
    /// What was read was plain; everything after it, received already or not, belongs to TLS.
    ///
    /// # Errors
    ///
    /// As [`Connection::start_tls_client`].
    pub fn start_tls_client(
        &mut self,
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
        now: Now,
        pools: &mut Pools,
    ) -> Result<()> {
        self.conn.start_tls_client(config, name, now, pools)?;
        self.chunk = Chunk::None;
        Ok(())
    }

    /// Begins TLS as the server of a plain connection: the counterpart of
    /// [`Endpoint::start_tls_client`].
    ///
    /// # Errors
    ///
    /// As [`Connection::start_tls_server`].
    pub fn start_tls_server(&mut self, config: &Arc<ServerConfig>, now: Now) -> Result<()> {
        self.conn.start_tls_server(config, now)?;
        self.chunk = Chunk::None;
        Ok(())
    }

    /// The connection, for its facts.
    pub fn connection(&self) -> &Connection {
        &self.conn
    }

    /// Memory to receive into: empty while what arrived has to be read first.
    pub fn recv_buf(&mut self, pools: &mut Pools) -> &mut [u8] {
        let input = self.input.get_or_insert_with(|| pools.send.take());
        if input.is_empty() {
            input.clear();
        }
        input.spare_mut()
    }

    /// Takes note that so many bytes arrived in [`Endpoint::recv_buf`].
    pub fn received(&mut self, len: usize, pools: &mut Pools) {
        if let Some(input) = &mut self.input {
            input.fill(len);
        }
        self.let_go_of_input(pools);
    }

    /// Takes note that the peer's stream has ended.
    pub fn received_eof(&mut self, pools: &mut Pools) {
        self.is_eof = true;
        self.let_go_of_input(pools);
    }

    /// Takes bytes that arrived, and says how many: fewer than given where what arrived before has
    /// to be read first.
    pub fn feed(&mut self, bytes: &[u8], pools: &mut Pools) -> usize {
        let memory = self.recv_buf(pools);
        let len = memory.len().min(bytes.len());
        memory[..len].copy_from_slice(&bytes[..len]);
        self.received(len, pools);
        len
    }

    /// Goes as far as what has arrived goes: up to the end of the handshake, or to plaintext.
    ///
    /// # Errors
    ///
    /// As the connection says.
    pub fn advance(&mut self, now: Now, pools: &mut Pools) -> Result<()> {
        while self.pending() == 0 && self.failure.is_none() && self.has_input() {
            if let Err(error) = self.open(now, pools) {
                self.failure = Some(error);
            }
        }
        match &self.failure {
            Some(error) if self.pending() == 0 => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// The plaintext at the front, at most a record's worth; empty where none has arrived.
    ///
    /// # Errors
    ///
    /// As the connection says, behind all plaintext that came before.
    pub fn plaintext(&mut self, now: Now, pools: &mut Pools) -> Result<&[u8]> {
        self.advance(now, pools)?;
        Ok(self.chunk())
    }

    /// Drops the first `len` bytes of the plaintext at the front.
    pub fn consume(&mut self, len: usize, pools: &mut Pools) {
        match (&mut self.chunk, &mut self.input) {
            (Chunk::None | Chunk::HeldRead, _) => return,
            (Chunk::Input { len: left, .. }, Some(input)) => {
                let taken = len.min(*left);
                *left -= taken;
                input.advance(taken);
            }
            (Chunk::Input { len: left, .. }, None) => *left = 0,
            (Chunk::Held { offset }, _) => *offset = offset.saturating_add(len),
        }
        if self.pending() == 0 {
            self.let_go_of_chunk(pools);
        }
    }

    /// Reads into all of `target`, as far as what has arrived goes, and says how much was read.
    ///
    /// The record behind is opened too, so that [`Endpoint::pending`] tells whether there is more.
    ///
    /// # Errors
    ///
    /// As the connection says, behind all plaintext that came before.
    pub fn read(&mut self, now: Now, target: &mut [u8], pools: &mut Pools) -> Result<usize> {
        let mut done = 0;
        loop {
            match self.advance(now, pools) {
                Err(error) if done == 0 => return Err(error),
                Err(_) => return Ok(done),
                Ok(()) => {}
            }
            let rest = &mut target[done..];
            let chunk = self.chunk();
            let len = chunk.len().min(rest.len());
            if len == 0 {
                return Ok(done);
            }
            rest[..len].copy_from_slice(&chunk[..len]);
            self.consume(len, pools);
            done += len;
        }
    }

    /// Takes plaintext to send, and says how much: less than given, down to nothing, where the
    /// queue is full or the handshake is not complete.
    ///
    /// # Errors
    ///
    /// As the connection says.
    pub fn write(&mut self, data: &[u8], pools: &mut Pools) -> Result<usize> {
        if let Some(error) = &self.failure {
            return Err(error.clone());
        }
        self.conn.write(data, pools)
    }

    /// Ends this side with close_notify, behind what was written; the peer may go on sending.
    ///
    /// # Errors
    ///
    /// As the connection says.
    pub fn close(&mut self, pools: &mut Pools) -> Result<()> {
        if let Some(error) = &self.failure {
            return Err(error.clone());
        }
        self.conn.close(pools)
    }

    /// The next bytes to send; empty where there are none. The error of a key that is spent is told
    /// by the next call that can fail.
    pub fn output(&mut self, pools: &mut Pools) -> &[u8] {
        if self.output.is_none() {
            self.output = match self.conn.poll_transmit(pools) {
                Ok(output) => output,
                Err(error) => {
                    self.failure.get_or_insert(error);
                    // What was sealed before, and the alert.
                    self.conn.poll_transmit(pools).unwrap_or_default()
                }
            };
        }
        self.output.as_ref().map_or(&[], Buf::filled)
    }

    /// Takes note that the first `len` bytes of the output were sent.
    pub fn output_sent(&mut self, len: usize, pools: &mut Pools) {
        let Some(output) = &mut self.output else {
            return;
        };
        output.advance(len);
        if output.is_empty()
            && let Some(output) = self.output.take()
        {
            pools.send.give(output);
        }
    }

    /// Plaintext that [`Endpoint::read`] gives without further input, in bytes; at most a record's.
    pub fn pending(&self) -> usize {
        self.chunk().len()
    }

    /// Bytes that were written and not sent.
    pub fn queued(&self) -> usize {
        self.output.as_ref().map_or(0, Buf::len) + self.conn.queued()
    }

    /// True once all that the peer sent has been read and it ended its side cleanly.
    pub fn is_ended(&self) -> bool {
        self.conn.is_peer_closed() && self.pending() == 0
    }

    /// True where [`Endpoint::advance`] has something to do before anything else arrives.
    pub fn has_input(&self) -> bool {
        let is_end_to_tell = self.is_eof && !self.conn.is_peer_closed();
        self.input.is_some() || is_end_to_tell || matches!(self.chunk, Chunk::HeldRead)
    }

    /// The error that ended the connection.
    pub fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// When [`Endpoint::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        self.conn.poll_timeout()
    }

    /// Judges the deadlines.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`] where one has passed.
    pub fn handle_timeout(&mut self, now: Now) -> Result<()> {
        if let Err(error) = self.conn.handle_timeout(now) {
            self.failure.get_or_insert(error);
        }
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn chunk(&self) -> &[u8] {
        match (&self.chunk, &self.input) {
            (Chunk::Input { len, .. }, Some(input)) => &input.filled()[..*len],
            (Chunk::Held { offset }, _) => self.conn.held().get(*offset..).unwrap_or_default(),
            _ => &[],
        }
    }

    /// Opens what is in the input, up to the next plaintext.
    fn open(&mut self, now: Now, pools: &mut Pools) -> Result<()> {
        let is_held_read = matches!(self.chunk, Chunk::HeldRead);
        self.chunk = Chunk::None;
        let Some(input) = &mut self.input else {
            return match is_held_read {
                true => self.conn.handle_recv(now, &mut [], pools).map(|_| ()),
                false => self.conn.handle_eof(now),
            };
        };
        let opened = self.conn.handle_recv(now, input.filled_mut(), pools)?;
        while let Some(ConnEvent::HandshakeDone | ConnEvent::PeerClosed) = self.conn.poll_event() {}
        match opened.data {
            Data::None => input.advance(opened.consumed),
            Data::Input(range) => {
                input.advance(range.start);
                self.chunk = Chunk::Input {
                    len: range.len(),
                    done_len: opened.consumed - range.end,
                };
            }
            Data::Held => {
                input.advance(opened.consumed);
                self.chunk = Chunk::Held { offset: 0 };
            }
        }
        self.let_go_of_input(pools);
        Ok(())
    }

    fn let_go_of_chunk(&mut self, pools: &mut Pools) {
        self.chunk = match (&self.chunk, &mut self.input) {
            (Chunk::Input { done_len, .. }, Some(input)) => {
                input.advance(*done_len);
                Chunk::None
            }
            (Chunk::Held { .. }, _) => Chunk::HeldRead,
            _ => Chunk::None,
        };
        self.let_go_of_input(pools);
    }

    fn let_go_of_input(&mut self, pools: &mut Pools) {
        if self.input.as_ref().is_some_and(Buf::is_empty)
            && let Some(input) = self.input.take()
        {
            pools.send.give(input);
        }
    }
}

impl Endpoint {
    /// Gives every buffer back.
    pub fn release(&mut self, pools: &mut Pools) {
        for buf in [self.input.take(), self.output.take()]
            .into_iter()
            .flatten()
        {
            pools.send.give(buf);
        }
        self.chunk = Chunk::None;
        self.conn.release(pools);
    }
}

#[cfg(test)]
mod tests;
