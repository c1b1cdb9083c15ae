//! The state machine of one connection: bytes and time go in; bytes, events and the next deadline
//! come out.

mod negotiation;
mod upgrade;

use std::ops::Range;
use std::sync::Arc;

use crate::buf::{Buf, Pools, SendQueue};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::obrpc::Beginning;
use crate::limits;
use crate::time::{Monotonic, Now};
use crate::tls::record::{Header, Opened as RecordOpened, Records};
use crate::tls::session::Handshake;
use crate::tls::{ClientConfig, Facts, ServerConfig, ServerName};

use negotiation::Negotiation;
pub use negotiation::{NegotiationClient, NegotiationOptions, NegotiationServer};

/// One end of a connection, without its socket.
///
/// Whoever moves its bytes calls, in this order: [`Connection::handle_recv`] with what arrived,
/// [`Connection::poll_event`] until it is empty, [`Connection::poll_transmit`] until it is empty,
/// and [`Connection::poll_timeout`] for the time at which [`Connection::handle_timeout`] is due.
///
/// A plain connection may begin TLS later, in the midst of its stream
/// ([`Connection::start_tls_client`], [`Connection::start_tls_server`]).
///
/// An error is final: what [`Connection::poll_transmit`] still holds (the TLS alert) is sent, then
/// the socket is closed. [`Connection::release`] must be the last call, since buffers belong to the
/// pools.
pub struct Connection {
    layer: Layer,
    out: SendQueue,
    /// A record that has arrived in part; or one that was opened and is held.
    partial: Option<Buf>,
    /// Where the plaintext of [`Data::Held`] lies.
    held: Option<Held>,
    events: Events,
    deadline: Option<Monotonic>,
    facts: Option<Arc<Facts>>,
    /// Boxed, since few connections have one.
    beginning: Option<Box<Beginning>>,
    is_closing: bool,
    is_peer_closed: bool,
    /// TLS began in the midst of a plain connection, as both ends had agreed.
    is_upgraded: bool,
    is_plain_after_handshake: bool,
    is_eof_an_end: bool,
}

/// What stands between the application and the wire.
enum Layer {
    /// Nothing.
    Plain,
    /// Nothing yet: the ends agree on what it will be.
    Negotiating(Box<Negotiation>),
    /// A server before the first byte: a peer that says nothing costs no handshake state.
    Accepting(Arc<ServerConfig>),
    /// A handshake under way.
    Handshaking(Box<Handshake>),
    /// TLS.
    Established(Box<dyn Records>),
    /// An error was returned; nothing goes in or out any more but what is queued.
    Failed,
}

enum Held {
    InPartial(Range<usize>),
    InRecords,
}

/// Events that were not asked for yet. Each happens once, in this order.
#[derive(Default)]
struct Events {
    handshake_done: bool,
    peer_closed: bool,
}

/// What one call of [`Connection::handle_recv`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Bytes at the front of the input that are done with: all of it where `data` is
    /// [`Data::None`].
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
    /// The peer ended its side cleanly. What it sent before has been opened; this side may still
    /// send.
    PeerClosed,
}

impl Connection {
    /// A connection without TLS: bytes pass as they are.
    pub fn plain() -> Self {
        Self::new(Layer::Plain, None)
    }

    /// The client end of a TLS connection to the server that is to be known as `name`. Its
    /// ClientHello waits in [`Connection::poll_transmit`].
    pub fn client(
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
        now: Now,
        pools: &mut Pools,
    ) -> Result<Self> {
        let mut conn = Self::plain();
        conn.start_tls_client(config, name, now, pools)?;
        Ok(conn)
    }

    /// The server end of a TLS connection. Until the first byte arrives it holds next to nothing.
    pub fn server(config: &Arc<ServerConfig>, now: Now) -> Self {
        let deadline = now.monotonic.after(config.handshake_timeout());
        Self::new(Layer::Accepting(Arc::clone(config)), Some(deadline))
    }

    fn new(layer: Layer, deadline: Option<Monotonic>) -> Self {
        Self {
            layer,
            out: SendQueue::default(),
            partial: None,
            held: None,
            events: Events::default(),
            deadline,
            facts: None,
            beginning: None,
            is_closing: false,
            is_peer_closed: false,
            is_upgraded: false,
            is_plain_after_handshake: false,
            is_eof_an_end: false,
        }
    }

    /// Takes bytes that arrived and opens at most one chunk of plaintext, in place.
    ///
    /// Called again with the rest of the input until all of it is consumed, and once more, with
    /// nothing, to let go of [`Data::Held`]. A record that is incomplete is consumed and kept. What
    /// follows the peer's close_notify is consumed and ignored (RFC 8446 section 6.1). On a plain
    /// connection all of the input is one chunk.
    pub fn handle_recv(&mut self, now: Now, input: &mut [u8], pools: &mut Pools) -> Result<Opened> {
        self.let_go_of_held(pools);
        match &self.layer {
            Layer::Plain if input.is_empty() => Ok(Opened {
                consumed: 0,
                data: Data::None,
            }),
            Layer::Plain => Ok(Opened {
                consumed: input.len(),
                data: Data::Input(0..input.len()),
            }),
            Layer::Negotiating(_) => self
                .negotiate(now, input, pools)
                .inspect_err(|_| self.fail()),
            Layer::Failed => Err(failed_before()),
            _ => self
                .handle_records(now, input, pools)
                .inspect_err(|_| self.fail()),
        }
    }

    /// The plaintext of [`Data::Held`].
    pub fn held(&self) -> &[u8] {
        match (&self.held, &self.partial, &self.layer) {
            (Some(Held::InPartial(range)), Some(partial), _) => {
                partial.filled().get(range.clone()).unwrap_or_default()
            }
            (Some(Held::InRecords), _, Layer::Established(records)) => records.held(),
            _ => &[],
        }
    }

    /// Takes note that the peer's stream has ended. An end without close_notify is
    /// [`ErrorKind::Truncated`] on a TLS connection and the ordinary end on a plain one.
    pub fn handle_eof(&mut self, _now: Now) -> Result<()> {
        if self.is_peer_closed {
            return Ok(());
        }
        let text = match &self.layer {
            Layer::Plain => {
                self.note_peer_closed();
                return Ok(());
            }
            Layer::Failed => return Err(failed_before()),
            Layer::Negotiating(negotiation) => negotiation.eof_text(),
            Layer::Accepting(_) => "peer closed the connection before it began TLS",
            Layer::Handshaking(_) => "peer closed the connection in mid-handshake",
            Layer::Established(_) if self.is_eof_an_end && !self.is_in_mid_record() => {
                self.note_peer_closed();
                return Ok(());
            }
            Layer::Established(_) => {
                "peer closed the connection without close_notify: data may be missing at its end"
            }
        };
        self.fail();
        Err(Error::new(ErrorKind::Truncated, text))
    }

    /// Takes plaintext to send and says how much of it was taken: less than given, down to nothing,
    /// where the queue is full or the handshake is not complete.
    pub fn write(&mut self, data: &[u8], pools: &mut Pools) -> Result<usize> {
        if self.is_closing {
            return Err(Error::new(ErrorKind::Misuse, "write after close"));
        }
        let data = &data[..data.len().min(self.writable())];
        match &mut self.layer {
            Layer::Plain => self.out.append(data, &mut pools.send),
            Layer::Established(records) => records
                .write(data, &mut self.out, &mut pools.send)
                .inspect_err(|_| self.fail())?,
            Layer::Negotiating(_) | Layer::Accepting(_) | Layer::Handshaking(_) => return Ok(0),
            Layer::Failed => return Err(failed_before()),
        }
        Ok(data.len())
    }

    /// Ends this side: a close_notify is queued behind what was written, in mid-handshake as soon
    /// as it is complete.
    pub fn close(&mut self, pools: &mut Pools) -> Result<()> {
        if std::mem::replace(&mut self.is_closing, true) {
            return Ok(());
        }
        self.announce_close(pools).inspect_err(|_| self.fail())
    }

    /// Replaces the key that this side sends under (TLS 1.3; nothing happens elsewhere).
    pub fn refresh_keys(&mut self, pools: &mut Pools) -> Result<()> {
        match &mut self.layer {
            Layer::Established(records) if !self.is_closing => records
                .refresh(&mut self.out, &mut pools.send)
                .inspect_err(|_| self.fail()),
            _ => Ok(()),
        }
    }

    /// The next bytes to send, to be asked for whenever a send can begin. The buffer is the
    /// caller's until it gives it back to `pools.send`.
    ///
    /// What is owed to the peer is sealed here and no earlier, so that the queue of a peer that
    /// asks and never reads does not grow. An error, as of a key that is spent, is final like every
    /// other: asked again, this gives what was sealed before.
    pub fn poll_transmit(&mut self, pools: &mut Pools) -> Result<Option<Buf>> {
        if let Layer::Established(records) = &mut self.layer
            && !self.is_closing
        {
            records
                .seal(&mut self.out, &mut pools.send)
                .inspect_err(|_| self.fail())?;
        }
        Ok(self.out.pop())
    }

    /// The next event, to be asked for after every `handle_` call.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<ConnEvent> {
        if std::mem::take(&mut self.events.handshake_done) {
            return Some(ConnEvent::HandshakeDone);
        }
        std::mem::take(&mut self.events.peer_closed).then_some(ConnEvent::PeerClosed)
    }

    /// The time at which [`Connection::handle_timeout`] is due, to be asked for after every
    /// `handle_` call.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        self.deadline
    }

    /// Judges the deadlines: [`ErrorKind::Timeout`] where one has passed.
    pub fn handle_timeout(&mut self, now: Now) -> Result<()> {
        if self
            .deadline
            .is_none_or(|deadline| now.monotonic < deadline)
        {
            return Ok(());
        }
        let text = match (&self.layer, &self.partial) {
            (Layer::Negotiating(negotiation), _) => negotiation.timeout_text(),
            (Layer::Accepting(_), None) => "peer sent nothing before the handshake deadline",
            (Layer::Accepting(_), Some(_)) => "peer sent half a ClientHello and then nothing",
            _ => "the handshake was not complete at its deadline",
        };
        self.fail();
        Err(Error::new(ErrorKind::Timeout, text))
    }

    /// Bytes that were written and not given out by [`Connection::poll_transmit`].
    pub fn queued(&self) -> usize {
        let gathered = match &self.layer {
            Layer::Established(records) => records.gathered(),
            _ => 0,
        };
        self.out.len() + gathered
    }

    /// Room for plaintext before [`Connection::write`] takes no more.
    pub fn writable(&self) -> usize {
        limits::SEND_QUEUE_LEN_HIGH.saturating_sub(self.queued())
    }

    /// True until application data can be written.
    pub fn is_handshaking(&self) -> bool {
        matches!(
            self.layer,
            Layer::Negotiating(_) | Layer::Accepting(_) | Layer::Handshaking(_)
        )
    }

    /// True from [`Connection::close`] on.
    pub fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// True once the peer has ended its side cleanly.
    pub fn is_peer_closed(&self) -> bool {
        self.is_peer_closed
    }

    /// What the handshake agreed on, once it is complete on a TLS connection.
    pub fn facts(&self) -> Option<&Arc<Facts>> {
        self.facts.as_ref()
    }

    /// Gives every buffer back.
    pub fn release(&mut self, pools: &mut Pools) {
        self.out.clear(&mut pools.send);
        if let Some(partial) = self.partial.take() {
            pools.partial.give(partial);
        }
        self.held = None;
    }

    /// Opens records until one holds data or the input is spent.
    fn handle_records(&mut self, now: Now, input: &mut [u8], pools: &mut Pools) -> Result<Opened> {
        let mut consumed = 0;
        while consumed < input.len() && !self.is_peer_closed {
            if matches!(self.layer, Layer::Plain) {
                return Ok(Opened {
                    consumed: input.len(),
                    data: Data::Input(consumed..input.len()),
                });
            }
            let rest = &mut input[consumed..];
            if self.partial.is_some() {
                let (len, is_whole) = match self.complete_partial(rest) {
                    Ok(completed) => completed,
                    Err(error) => return Err(self.refuse_partial(now, error, pools)),
                };
                consumed += len;
                if is_whole && self.open_partial(now, pools)? {
                    return Ok(Opened {
                        consumed,
                        data: Data::Held,
                    });
                }
                continue;
            }
            let record_len = match Header::read(rest) {
                Ok(header) => header.map(Header::record_len),
                Err(error) => return Err(self.refuse(now, rest, error, pools)),
            };
            let Some(record_len) = record_len.filter(|len| *len <= rest.len()) else {
                self.keep_partial(rest, pools);
                break;
            };
            match self.open_record(now, &mut rest[..record_len], pools)? {
                RecordOpened::InRecord(range) => {
                    let data = Data::Input(consumed + range.start..consumed + range.end);
                    return Ok(Opened {
                        consumed: consumed + record_len,
                        data,
                    });
                }
                RecordOpened::Held => {
                    self.held = Some(Held::InRecords);
                    return Ok(Opened {
                        consumed: consumed + record_len,
                        data: Data::Held,
                    });
                }
                RecordOpened::Nothing | RecordOpened::Closed => consumed += record_len,
            }
        }
        Ok(Opened {
            consumed: input.len(),
            data: Data::None,
        })
    }

    /// Answers bytes that begin no record: TLS has alerts for them. A peer that has never spoken of
    /// TLS gets none, since it would not know what they are.
    fn refuse(&mut self, now: Now, input: &[u8], error: Error, pools: &mut Pools) -> Error {
        let is_record = input.first().is_some_and(|first| (20..24).contains(first));
        let is_plain = self.is_handshaking() && !is_record;
        if is_plain && !self.is_upgraded {
            return not_tls(input);
        }
        let mut header = [0; limits::RECORD_HEADER_LEN];
        let len = input.len().min(header.len());
        header[..len].copy_from_slice(&input[..len]);
        // The record path refuses such a header too, and queues the alert.
        let _ = self.open_record(now, &mut header, pools);
        match is_plain {
            true => not_tls(input),
            false => error,
        }
    }

    fn refuse_partial(&mut self, now: Now, error: Error, pools: &mut Pools) -> Error {
        let Some(partial) = self.partial.take() else {
            return error;
        };
        let error = self.refuse(now, partial.filled(), error, pools);
        pools.partial.give(partial);
        error
    }

    fn keep_partial(&mut self, input: &[u8], pools: &mut Pools) {
        let mut partial = pools.partial.take();
        partial.append(input);
        self.partial = Some(partial);
    }

    /// Adds input to the partial record: up to its header first, then up to its end.
    fn complete_partial(&mut self, input: &[u8]) -> Result<(usize, bool)> {
        let Some(partial) = &mut self.partial else {
            return Ok((0, false));
        };
        let mut consumed = 0;
        loop {
            let record_len = Header::read(partial.filled())?.map(Header::record_len);
            let wanted = record_len.unwrap_or(limits::RECORD_HEADER_LEN) - partial.len();
            if wanted == 0 {
                return Ok((consumed, true));
            }
            let rest = &input[consumed..];
            if rest.is_empty() {
                return Ok((consumed, false));
            }
            consumed += partial.append(&rest[..wanted.min(rest.len())]);
        }
    }

    /// Opens the record that the partial buffer now holds whole; true where it holds data, which
    /// stays there.
    fn open_partial(&mut self, now: Now, pools: &mut Pools) -> Result<bool> {
        let Some(mut partial) = self.partial.take() else {
            return Ok(false);
        };
        let opened = self.open_record(now, partial.filled_mut(), pools);
        self.held = match &opened {
            Ok(RecordOpened::InRecord(range)) => Some(Held::InPartial(range.clone())),
            Ok(RecordOpened::Held) => Some(Held::InRecords),
            _ => None,
        };
        match self.held {
            Some(Held::InPartial(_)) => self.partial = Some(partial),
            _ => pools.partial.give(partial),
        }
        opened.map(|_| self.held.is_some())
    }

    fn open_record(
        &mut self,
        now: Now,
        record: &mut [u8],
        pools: &mut Pools,
    ) -> Result<RecordOpened> {
        if let Layer::Accepting(config) = &self.layer {
            self.layer = Layer::Handshaking(Box::new(Handshake::server(config, now)?));
        }
        match &mut self.layer {
            Layer::Established(records) => {
                let opened = records.open(now, record, &mut self.out, &mut pools.send)?;
                if opened == RecordOpened::Closed {
                    self.note_peer_closed();
                }
                Ok(opened)
            }
            Layer::Handshaking(handshake) => {
                handshake.advance(now, record, &mut self.out, &mut pools.send)?;
                if handshake.is_done() {
                    self.establish(now, pools)?;
                }
                Ok(RecordOpened::Nothing)
            }
            Layer::Plain | Layer::Negotiating(_) | Layer::Accepting(_) | Layer::Failed => {
                Err(failed_before())
            }
        }
    }

    fn establish(&mut self, now: Now, pools: &mut Pools) -> Result<()> {
        let Layer::Handshaking(handshake) = std::mem::replace(&mut self.layer, Layer::Failed)
        else {
            return Err(failed_before());
        };
        let (facts, records) = handshake.finish(now, &mut self.out, &mut pools.send)?;
        self.layer = self.layer_behind(&facts, records)?;
        self.facts = Some(Arc::new(facts));
        self.deadline = None;
        self.events.handshake_done = true;
        if self.is_closing {
            self.announce_close(pools)?;
        }
        Ok(())
    }

    fn announce_close(&mut self, pools: &mut Pools) -> Result<()> {
        match &mut self.layer {
            Layer::Established(records) => records.close(&mut self.out, &mut pools.send),
            _ => Ok(()),
        }
    }

    /// Ends the connection for good: an error has been returned.
    fn fail(&mut self) {
        self.layer = Layer::Failed;
        self.deadline = None;
    }

    fn note_peer_closed(&mut self) {
        self.is_peer_closed = true;
        self.events.peer_closed = true;
    }

    fn is_in_mid_record(&self) -> bool {
        self.partial.is_some() && self.held.is_none()
    }

    fn let_go_of_held(&mut self, pools: &mut Pools) {
        match (self.held.take(), &mut self.layer) {
            (Some(Held::InPartial(_)), _) => {
                if let Some(partial) = self.partial.take() {
                    pools.partial.give(partial);
                }
            }
            (Some(Held::InRecords), Layer::Established(records)) => {
                records.let_go(&mut pools.send);
            }
            _ => {}
        }
    }
}

fn not_tls(input: &[u8]) -> Error {
    let head: String = input
        .iter()
        .take(16)
        .flat_map(|byte| std::ascii::escape_default(*byte))
        .map(char::from)
        .collect();
    let text = format!(
        "peer does not speak TLS: it began with \"{head}\"; connect with TLS, or to a port \
         without it"
    );
    Error::new(ErrorKind::NotTls, text)
}

fn failed_before() -> Error {
    Error::new(ErrorKind::Misuse, "the connection has failed before")
}

#[cfg(test)]
mod tests;
