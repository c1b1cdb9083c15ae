//! The state machine of one connection: bytes and time go in; bytes, events and the next deadline come out.

use std::ops::Range;
use std::sync::Arc;

use crate::buf::{Buf, Pools, SendQueue};
use crate::error::{Error, ErrorKind, Result};
use crate::time::{Monotonic, Now};
use crate::tls::{ClientConfig, Facts, ServerConfig, ServerName};

/// One end of a connection, without its socket.
///
/// Whoever moves its bytes calls, in this order: [`Connection::handle_recv`] with what arrived,
/// [`Connection::poll_event`] until it is empty, [`Connection::poll_transmit`] until it is empty, and
/// [`Connection::poll_timeout`] for the time at which [`Connection::handle_timeout`] is due.
///
/// An error is final: what [`Connection::poll_transmit`] still holds (the TLS alert) is sent, then the socket is
/// closed. [`Connection::release`] must be the last call, since buffers belong to the pools.
pub struct Connection {
    out: SendQueue,
    is_closing: bool,
    peer_closed: bool,
}

/// What one call of [`Connection::handle_recv`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Bytes at the front of the input that are done with. Where this is less than the input and `data` is
    /// [`Data::None`], the rest was not looked at: the peer has closed its side.
    pub consumed: usize,
    /// Where the plaintext lies.
    pub data: Data,
}

/// Where opened plaintext lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Nothing was opened: more input is needed.
    None,
    /// In the input, at this range.
    Input(Range<usize>),
    /// In the connection: [`Connection::held`], until the next call of [`Connection::handle_recv`].
    Held,
}

/// What happened on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnEvent {
    /// The handshake is complete; the connection's facts are known.
    HandshakeDone,
    /// The peer ended its side cleanly. What it sent before has been opened; this side may still send.
    PeerClosed,
}

impl Connection {
    /// A connection without TLS: bytes pass as they are.
    pub fn plain() -> Self {
        Self {
            out: SendQueue::default(),
            is_closing: false,
            peer_closed: false,
        }
    }

    /// The client end of a TLS connection to the server that is to be known as `name`.
    pub fn client(
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
        now: Now,
    ) -> Result<Self> {
        let _ = (config, name, now);
        Err(Error::new(ErrorKind::Internal, "TLS is not built yet"))
    }

    /// The server end of a TLS connection. Until the first byte arrives it holds next to nothing.
    pub fn server(config: &Arc<ServerConfig>, now: Now) -> Self {
        let _ = (config, now);
        Self::plain()
    }

    /// Takes bytes that arrived and opens at most one chunk of plaintext, in place.
    ///
    /// Called again with the rest of the input until all of it is consumed. A record that is incomplete is
    /// consumed and kept.
    pub fn handle_recv(&mut self, now: Now, input: &mut [u8], pools: &mut Pools) -> Result<Opened> {
        let _ = (now, pools);
        if input.is_empty() {
            return Ok(Opened {
                consumed: 0,
                data: Data::None,
            });
        }
        Ok(Opened {
            consumed: input.len(),
            data: Data::Input(0..input.len()),
        })
    }

    /// The plaintext of [`Data::Held`].
    pub fn held(&self) -> &[u8] {
        &[]
    }

    /// Takes note that the peer's stream has ended. An end without close_notify is
    /// [`ErrorKind::Truncated`] on a TLS connection and the ordinary end on a plain one.
    pub fn handle_eof(&mut self, now: Now) -> Result<()> {
        let _ = now;
        self.peer_closed = true;
        Ok(())
    }

    /// Takes plaintext to send and says how much of it was taken: less than given, down to nothing, where the
    /// queue is full or the handshake is not complete.
    pub fn write(&mut self, data: &[u8], pools: &mut Pools) -> Result<usize> {
        if self.is_closing {
            return Err(Error::new(ErrorKind::Misuse, "write after close"));
        }
        self.out.append(data, &mut pools.send);
        Ok(data.len())
    }

    /// Ends this side: a close_notify is queued behind what was written.
    pub fn close(&mut self, pools: &mut Pools) {
        let _ = pools;
        self.is_closing = true;
    }

    /// The next bytes to send. The buffer is the caller's until it gives it back to `pools.send`.
    #[must_use]
    pub fn poll_transmit(&mut self, pools: &mut Pools) -> Option<Buf> {
        let _ = pools;
        self.out.pop()
    }

    /// The next event, to be asked for after every `handle_` call.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<ConnEvent> {
        None
    }

    /// The time at which [`Connection::handle_timeout`] is due, to be asked for after every `handle_` call.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        None
    }

    /// Judges the deadlines: [`ErrorKind::Timeout`] where one has passed.
    pub fn handle_timeout(&mut self, now: Now) -> Result<()> {
        let _ = now;
        Ok(())
    }

    /// Bytes that wait for [`Connection::poll_transmit`].
    pub fn queued(&self) -> usize {
        self.out.len()
    }

    /// Room for plaintext before [`Connection::write`] takes no more.
    pub fn writable(&self) -> usize {
        crate::limits::SEND_QUEUE_LEN_HIGH.saturating_sub(self.queued())
    }

    /// True until application data can be written.
    pub fn is_handshaking(&self) -> bool {
        false
    }

    /// True from [`Connection::close`] on.
    pub fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// True once the peer has ended its side cleanly.
    pub fn is_peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// What the handshake agreed on, once it is complete on a TLS connection.
    pub fn facts(&self) -> Option<&Arc<Facts>> {
        None
    }

    /// Gives every buffer back.
    pub fn release(&mut self, pools: &mut Pools) {
        self.out.clear(&mut pools.send);
    }
}
