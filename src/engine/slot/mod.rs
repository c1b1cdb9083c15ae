mod completions;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::address::PeerAddress;
use super::backend::SocketKey;
use super::events::{ConnId, Event, Stage};
use super::fifo::Fifos;
use super::inbox::{Chunk, Inbox};
use super::io::Io;
use super::own::OwnConnection;
use crate::buf::{Buf, Pools};
use crate::conn::{ConnEvent, Connection};
use crate::error::{Error, Result};
use crate::frame::obrpc::Beginning;
use crate::limits;
use crate::time::Monotonic;
use crate::tls::Facts;

/// One connection of an engine: its socket's state, and what it has to report.
///
/// Completions only take note ([`Slot::handle_received`] and its like); [`Slot::advance`] then
/// feeds the protocol and reports, and [`Slot::flush`], at the start of the next cycle, asks the
/// back end for what is to be done.
pub(super) struct Slot {
    pub(super) id: ConnId,
    pub(super) peer: PeerAddress,
    /// Where the peer of a connection that was redirected here connected to.
    pub(super) redirected_from: Option<SocketAddr>,
    pub(super) user_data: u64,
    /// When the socket was connected; that of its making before.
    pub(super) opened_at: Monotonic,
    pub(super) last_activity: Monotonic,
    /// Invariant: true exactly while the engine's dirty list holds this slot.
    pub(super) is_dirty: bool,
    key: SocketKey,
    /// None on an accepted connection that was not started.
    conn: Option<Connection>,
    life: Life,
    stage: Stage,
    error: Option<Error>,

    inbox: Inbox,
    receiving: Receiving,
    is_reading: bool,
    /// The peer's stream has ended, cleanly or not.
    is_input_ended: bool,
    /// The connection has been told so.
    is_eof_handled: bool,
    /// Late bytes that nobody looks at.
    dropped: usize,

    output: Output,
    /// Length of the send that is under way.
    in_flight: Option<usize>,
    /// The application ended its stream before it could begin.
    is_shutdown_wanted: bool,
    /// The rest of a send that came back short.
    unsent: Option<Buf>,

    /// It is to be known by its ends once it is connected.
    is_recognized: bool,
    /// While it is.
    own: Option<OwnConnection>,
    /// Whether the peer is such a connection, once something has arrived.
    is_own: Option<bool>,

    /// When connecting is given up, or lingering.
    deadline: Option<Monotonic>,
    timer: Option<Monotonic>,

    is_connected_due: bool,
    is_timer_due: bool,
    is_writable_wanted: bool,
    is_peer_closed_reported: bool,
}

/// What the socket is for at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Accepted, and not started.
    Accepted,
    Connecting,
    Open,
    /// The socket failed. What arrived before is still handed out, for a while.
    Failing,
    /// This side ends the connection: what is queued leaves, what arrives is dropped.
    Closing,
    /// The back end was told to close it.
    Closed,
    /// The back end has closed it, and the application knows.
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receiving {
    Off,
    Armed,
    Stopping,
}

/// The state of this side's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Open,
    /// It ends behind what is queued.
    Ending,
    Ended,
    /// The socket takes nothing more.
    Broken,
}

impl Slot {
    pub(super) fn accepted(id: ConnId, key: SocketKey, peer: PeerAddress, now: Monotonic) -> Self {
        Self {
            id,
            peer,
            redirected_from: None,
            user_data: 0,
            opened_at: now,
            last_activity: now,
            is_dirty: false,
            key,
            conn: None,
            life: Life::Accepted,
            stage: Stage::Handshake,
            error: None,
            inbox: Inbox::default(),
            receiving: Receiving::Off,
            is_reading: true,
            is_input_ended: false,
            is_eof_handled: false,
            dropped: 0,
            output: Output::Open,
            in_flight: None,
            is_shutdown_wanted: false,
            unsent: None,
            is_recognized: false,
            own: None,
            is_own: None,
            deadline: None,
            timer: None,
            is_connected_due: false,
            is_timer_due: false,
            is_writable_wanted: false,
            is_peer_closed_reported: false,
        }
    }

    /// Waits for the socket to be connected before `conn` starts.
    pub(super) fn connect(
        &mut self,
        conn: Connection,
        user_data: u64,
        deadline: Monotonic,
        is_recognized: bool,
    ) {
        self.conn = Some(conn);
        self.user_data = user_data;
        self.life = Life::Connecting;
        self.stage = Stage::Connect;
        self.deadline = Some(deadline);
        self.is_recognized = is_recognized;
    }

    pub(super) fn start(&mut self, conn: Connection, user_data: u64, io: &mut Io) {
        if self.life == Life::Accepted {
            self.user_data = user_data;
            self.open(conn, io);
        }
    }

    // What the application does.

    pub(super) fn plain<'a>(&'a self, chunks: &'a Fifos<Chunk>) -> &'a [u8] {
        match &self.conn {
            Some(conn) if self.stage == Stage::Established => self.inbox.plain(conn, chunks),
            _ => &[],
        }
    }

    pub(super) fn consume(&mut self, len: usize, io: &mut Io) {
        let Some(conn) = &self.conn else { return };
        if self.inbox.consume(len, conn) {
            self.open_records(io);
        }
    }

    pub(super) fn write(&mut self, data: &[u8], io: &mut Io) -> usize {
        match self.try_write(data, &mut io.pools) {
            Ok(taken) => taken,
            Err(error) => {
                self.fail(error, io);
                0
            }
        }
    }

    pub(super) fn try_write(&mut self, data: &[u8], pools: &mut Pools) -> Result<usize> {
        let Some(conn) = self
            .conn
            .as_mut()
            .filter(|_| self.stage == Stage::Established)
        else {
            return Ok(0);
        };
        if self.life != Life::Open || self.output != Output::Open {
            return Ok(0);
        }
        let taken = conn.write(data, pools)?;
        self.is_writable_wanted |= taken < data.len();
        Ok(taken)
    }

    /// Has `begin` put the plain connection under TLS. What was not consumed belongs to TLS.
    pub(super) fn start_tls(
        &mut self,
        io: &mut Io,
        begin: impl FnOnce(&mut Connection, &mut Io) -> Result<()>,
    ) {
        let Some(conn) = self.conn.as_mut().filter(|_| self.life == Life::Open) else {
            return;
        };
        match begin(conn, io) {
            Ok(()) => {
                self.inbox.unread();
                self.stage = Stage::Handshake;
                self.is_connected_due = false;
            }
            Err(error) => self.fail(error, io),
        }
    }

    pub(super) fn set_reading(&mut self, on: bool) {
        self.is_reading = on;
    }

    pub(super) fn shutdown(&mut self, io: &mut Io) {
        match (self.life, self.stage) {
            (Life::Open, Stage::Established) => self.end_output(io),
            _ => self.is_shutdown_wanted = true,
        }
    }

    pub(super) fn close(&mut self, io: &mut Io) {
        match self.life {
            Life::Open => {
                self.end_output(io);
                if self.life == Life::Open {
                    self.linger(io);
                }
            }
            Life::Accepted | Life::Connecting | Life::Failing => self.drop_socket(io),
            Life::Closing | Life::Closed | Life::Dead => {}
        }
    }

    /// Ends the connection so that the peer cannot take it for an orderly end.
    pub(super) fn abort(&mut self, io: &mut Io) {
        if !matches!(self.life, Life::Connecting | Life::Closed | Life::Dead) {
            io.backend.reset(self.key);
        }
        self.drop_socket(io);
    }

    fn drop_socket(&mut self, io: &mut Io) {
        if matches!(self.life, Life::Closed | Life::Dead) {
            return;
        }
        self.life = Life::Closed;
        // While the socket is there, whose ends nobody else can have.
        self.own = None;
        self.inbox.clear(io);
        if let Some(buf) = self.unsent.take() {
            io.pools.send.give(buf);
        }
        io.backend.close(self.key);
    }

    pub(super) fn set_timer(&mut self, at: Option<Monotonic>) {
        self.timer = at;
        self.is_timer_due = false;
    }

    /// What the back end may be asked by: nothing once it was told to close the socket.
    pub(super) fn key(&self) -> Option<SocketKey> {
        let is_closed = matches!(self.life, Life::Closed | Life::Dead);
        (!is_closed).then_some(self.key)
    }

    pub(super) fn is_own(&self) -> bool {
        self.is_own == Some(true)
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    pub(super) fn facts(&self) -> Option<&Arc<Facts>> {
        self.conn.as_ref()?.facts()
    }

    pub(super) fn beginning(&self) -> Option<&Beginning> {
        self.conn.as_ref()?.beginning()
    }

    pub(super) fn queued(&self) -> usize {
        let waiting = self.conn.as_ref().map_or(0, Connection::queued);
        let unsent = self.unsent.as_ref().map_or(0, Buf::len);
        waiting + unsent + self.in_flight.unwrap_or(0)
    }

    /// An error of the protocol, which ends the connection: its last words are sent, the rest is
    /// dropped.
    pub(super) fn fail(&mut self, error: Error, io: &mut Io) {
        // A broken socket says less than the alert that was found in its last bytes.
        self.error = Some(error);
        if self.output == Output::Open {
            self.output = Output::Ending;
        }
        self.linger(io);
    }

    // The two visits of a cycle.

    /// Feeds the protocol with what arrived, and reports.
    pub(super) fn advance(&mut self, io: &mut Io, events: &mut Vec<Event>) {
        self.open_records(io);
        let id = self.id;
        if self.is_connected_due() {
            self.is_connected_due = false;
            events.push(Event::Connected { id });
        }
        if self.is_readable() {
            events.push(Event::Readable { id });
        }
        if self.is_writable_due() {
            self.is_writable_wanted = false;
            events.push(Event::Writable { id });
        }
        if self.is_peer_closed_due() {
            self.is_peer_closed_reported = true;
            events.push(Event::PeerClosed { id });
        }
        if self.is_timer_due() {
            self.is_timer_due = false;
            events.push(Event::Timer { id });
        }
    }

    /// Asks the back end for what is to be done.
    pub(super) fn flush(&mut self, io: &mut Io) {
        match self.life {
            Life::Open | Life::Failing | Life::Closing => {}
            Life::Accepted | Life::Connecting | Life::Closed | Life::Dead => return,
        }
        self.inbox.keep(io);
        self.flush_output(io);
        self.flush_input(io);
        if self.is_finished() {
            self.drop_socket(io);
        }
    }

    /// True where [`Slot::advance`] has something to report even if nothing happens.
    pub(super) fn is_due(&self) -> bool {
        self.is_connected_due()
            || self.is_readable()
            || self.is_writable_due()
            || self.is_peer_closed_due()
            || self.is_timer_due()
    }

    /// When [`Slot::handle_timeout`] is to be called.
    pub(super) fn next_deadline(&self) -> Option<Monotonic> {
        let protocol = match self.life {
            Life::Open => self.conn.as_ref().and_then(Connection::poll_timeout),
            Life::Closed | Life::Dead => return None,
            _ => None,
        };
        let timer = self.timer.filter(|_| self.is_reporting());
        [timer, self.deadline, protocol].into_iter().flatten().min()
    }

    // Steps of the above.

    fn open(&mut self, conn: Connection, io: &mut Io) {
        self.life = Life::Open;
        let is_established = !conn.is_handshaking();
        self.conn = Some(conn);
        if is_established {
            self.establish(io);
        }
    }

    fn establish(&mut self, io: &mut Io) {
        self.stage = Stage::Established;
        self.is_connected_due = true;
        if self.is_shutdown_wanted {
            self.end_output(io);
        }
    }

    fn open_records(&mut self, io: &mut Io) {
        let Some(conn) = &mut self.conn else { return };
        if !matches!(self.life, Life::Open | Life::Failing) {
            return;
        }
        let mut result = self
            .inbox
            .open(conn, io)
            .map(|dropped| self.dropped += dropped);
        if result.is_ok() && self.is_input_ended && self.inbox.is_empty() && !self.is_eof_handled {
            self.is_eof_handled = true;
            if self.life == Life::Open {
                result = conn.handle_eof(io.now);
            }
        }
        let mut is_established = false;
        while let Some(event) = conn.poll_event() {
            is_established |= event == ConnEvent::HandshakeDone;
        }
        if is_established {
            self.establish(io);
        }
        if let Err(error) = result {
            self.fail(error, io);
        }
    }

    fn end_output(&mut self, io: &mut Io) {
        let Some(conn) = self.conn.as_mut().filter(|_| self.output == Output::Open) else {
            return;
        };
        self.output = Output::Ending;
        if let Err(error) = conn.close(&mut io.pools) {
            self.fail(error, io);
        }
    }

    fn linger(&mut self, io: &mut Io) {
        self.life = Life::Closing;
        self.inbox.clear(io);
        self.set_deadline(io);
    }

    fn set_deadline(&mut self, io: &Io) {
        let wait_ms = match self.error {
            Some(_) => limits::LINGER_FAILED_MS,
            None => limits::LINGER_MS,
        };
        self.deadline = Some(io.now.monotonic.after(Duration::from_millis(wait_ms)));
    }

    fn flush_output(&mut self, io: &mut Io) {
        if self.in_flight.is_some() || matches!(self.output, Output::Ended | Output::Broken) {
            return;
        }
        let Some(conn) = &mut self.conn else { return };
        let next = match self.unsent.take() {
            Some(rest) => Ok(Some(rest)),
            None => conn.poll_transmit(&mut io.pools),
        };
        match next {
            Ok(Some(buf)) => {
                self.in_flight = Some(buf.len());
                io.backend.send(self.key, buf);
            }
            Ok(None) if self.output == Output::Ending => {
                self.output = Output::Ended;
                io.backend.shutdown(self.key);
            }
            Ok(None) => {}
            Err(error) => self.handle_worn_out(error, io),
        }
    }

    /// An error of sealing. What was sealed before still leaves; a second one says that nothing
    /// more will.
    fn handle_worn_out(&mut self, error: Error, io: &mut Io) {
        if self.life == Life::Closing {
            self.output = Output::Broken;
            self.error.get_or_insert(error);
        } else {
            self.fail(error, io);
            self.flush_output(io);
        }
    }

    fn flush_input(&mut self, io: &mut Io) {
        match (self.receiving, self.wants_input()) {
            (Receiving::Off, true) => {
                self.receiving = Receiving::Armed;
                io.backend.recv(self.key);
            }
            (Receiving::Armed, false) => {
                self.receiving = Receiving::Stopping;
                io.backend.recv_stop(self.key);
            }
            _ => {}
        }
    }

    fn wants_input(&self) -> bool {
        if self.is_input_ended || self.dropped > limits::LINGER_LEN_MAX {
            return false;
        }
        let is_reading = self.is_reading || self.stage != Stage::Established;
        self.life == Life::Closing || is_reading && self.inbox.is_empty()
    }

    /// True where the socket is of no further use.
    fn is_finished(&self) -> bool {
        match self.life {
            Life::Failing => self.is_input_ended && self.inbox.is_empty(),
            // Up to the peer's end of stream, so that no reset destroys what it has not read yet.
            Life::Closing => match self.output {
                Output::Open | Output::Ending => false,
                Output::Ended => self.is_input_ended || self.dropped > limits::LINGER_LEN_MAX,
                Output::Broken => true,
            },
            _ => false,
        }
    }

    fn is_reporting(&self) -> bool {
        !matches!(self.life, Life::Closing | Life::Closed | Life::Dead)
    }

    fn is_connected_due(&self) -> bool {
        self.is_connected_due && self.is_reporting()
    }

    fn is_readable(&self) -> bool {
        self.is_reading
            && self.stage == Stage::Established
            && self.inbox.has_plain()
            && self.is_reporting()
    }

    fn is_writable_due(&self) -> bool {
        self.is_writable_wanted
            && self.life == Life::Open
            && self.output == Output::Open
            && self
                .conn
                .as_ref()
                .is_some_and(|conn| conn.queued() <= limits::SEND_QUEUE_LEN_LOW)
    }

    fn is_peer_closed_due(&self) -> bool {
        !self.is_peer_closed_reported
            && self.life == Life::Open
            && self.stage == Stage::Established
            && self.inbox.is_empty()
            && self.conn.as_ref().is_some_and(Connection::is_peer_closed)
    }

    fn is_timer_due(&self) -> bool {
        self.is_timer_due && self.is_reporting()
    }
}
