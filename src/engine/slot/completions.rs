//! What happened to the socket of a connection, and which deadlines have passed.

use std::io;

use super::{Life, Output, Receiving, Slot};
use crate::buf::Buf;
use crate::engine::address::{Address, PeerAddress};
use crate::engine::events::{Event, Stage};
use crate::engine::io::Io;
use crate::engine::lease::Lease;
use crate::error::{Error, ErrorKind};

impl Slot {
    pub(in crate::engine) fn handle_connected(&mut self, result: io::Result<()>, io: &mut Io) {
        if self.life != Life::Connecting {
            return;
        }
        match result {
            Ok(()) => {
                self.deadline = None;
                self.opened_at = io.now.monotonic;
                self.stage = Stage::Handshake;
                self.note_own(io);
                if let Some(conn) = self.conn.take() {
                    self.open(conn, io);
                }
            }
            Err(error) => {
                self.error = Some(Error::io(format_args!("connect to {}", self.peer), &error));
                self.drop_socket(io);
            }
        }
    }

    pub(in crate::engine) fn handle_received(&mut self, lease: Lease, more: bool, io: &mut Io) {
        if !more {
            self.receiving = Receiving::Off;
        }
        self.last_activity = io.now.monotonic;
        self.judge_own(io);
        match self.life {
            Life::Open | Life::Failing => self.inbox.push(lease, io),
            _ => {
                self.dropped += lease.bytes().len();
                io.backend.recycle(lease);
            }
        }
    }

    /// True where nothing that was received is left to be read.
    pub(in crate::engine) fn has_no_input(&self) -> bool {
        self.inbox.is_empty()
    }

    pub(in crate::engine) fn handle_recv_stopped(&mut self) {
        self.receiving = Receiving::Off;
    }

    pub(in crate::engine) fn handle_eof(&mut self) {
        self.receiving = Receiving::Off;
        self.is_input_ended = true;
    }

    pub(in crate::engine) fn handle_recv_failed(&mut self, error: &io::Error, io: &Io) {
        self.receiving = Receiving::Off;
        self.is_input_ended = true;
        // A peer that resets the connection after it got everything has lost nothing.
        if self.life != Life::Closing || self.output != Output::Ended {
            self.handle_broken("receive from", error, io);
        }
    }

    pub(in crate::engine) fn handle_sent(
        &mut self,
        mut buf: Buf,
        result: io::Result<usize>,
        io: &mut Io,
    ) {
        self.in_flight = None;
        match result {
            Ok(len) if len < buf.len() && self.life != Life::Closed => {
                buf.advance(len);
                self.unsent = Some(buf);
                self.handle_progress(io);
            }
            Ok(_) => {
                io.pools.send.give(buf);
                self.handle_progress(io);
            }
            Err(error) => {
                io.pools.send.give(buf);
                self.handle_broken("send to", &error, io);
            }
        }
    }

    /// Reports the end. The slot stays until the application has seen it.
    pub(in crate::engine) fn handle_closed(&mut self, io: &mut Io, events: &mut Vec<Event>) {
        self.life = Life::Dead;
        if let Some(conn) = &mut self.conn {
            conn.release(&mut io.pools);
        }
        events.push(Event::Closed {
            id: self.id,
            error: self.error.take(),
            stage: self.stage,
        });
    }

    /// Judges every deadline.
    pub(in crate::engine) fn handle_timeout(&mut self, io: &mut Io) {
        let now = io.now.monotonic;
        if self.timer.take_if(|at| *at <= now).is_some() {
            self.is_timer_due = true;
        }
        if self.deadline.take_if(|at| *at <= now).is_some() {
            self.give_up(io);
        }
        if self.life == Life::Open
            && let Some(conn) = &mut self.conn
            && conn.poll_timeout().is_some_and(|at| at <= now)
            && let Err(error) = conn.handle_timeout(io.now)
        {
            self.fail(error, io);
        }
    }

    /// Bytes have arrived, and an own connection is noted before it sends any.
    fn judge_own(&mut self, io: &Io) {
        if self.is_own.is_none()
            && let Some(to) = self.redirected_from
            && let PeerAddress::Ip(from) = self.peer
        {
            self.is_own = Some(io.own.contains(from, to));
        }
    }

    fn note_own(&mut self, io: &Io) {
        if self.is_recognized
            && let PeerAddress::Ip(to) = self.peer
            && let Ok(Address::Ip(from)) = io.backend.local_address(self.key)
        {
            self.own = Some(io.own.enter(from, to));
        }
    }

    fn handle_progress(&mut self, io: &Io) {
        self.last_activity = io.now.monotonic;
        if self.life == Life::Closing {
            self.set_deadline(io);
        }
    }

    fn handle_broken(&mut self, doing: &str, error: &io::Error, io: &Io) {
        if !matches!(self.life, Life::Open | Life::Failing | Life::Closing) {
            return;
        }
        self.output = Output::Broken;
        if self.error.is_none() {
            self.error = Some(Error::io(format_args!("{doing} {}", self.peer), error));
        }
        if self.life == Life::Open {
            self.life = Life::Failing;
            self.set_deadline(io);
        }
    }

    fn give_up(&mut self, io: &mut Io) {
        if self.life == Life::Connecting {
            let text = format!("connect to {}: no answer in time", self.peer);
            self.error = Some(Error::new(ErrorKind::Timeout, text));
        }
        if self.life == Life::Closing && self.error.is_none() && self.output != Output::Ended {
            let text = format!(
                "{} did not take the last {} bytes",
                self.peer,
                self.queued()
            );
            self.error = Some(Error::new(ErrorKind::Timeout, text));
        }
        self.drop_socket(io);
    }
}
