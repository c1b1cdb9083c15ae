use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};

use slab::Slab;

use crate::engine::address::Address;
use crate::engine::backend::SocketKey;

/// The connections of the network, each of two ends.
pub(super) struct Links {
    ends: Slab<End>,
    pipe_len: usize,
}

/// One end of a connection.
pub(super) struct End {
    pub(super) other: usize,
    /// The back end's socket; none on a scripted peer and in an accept queue.
    pub(super) socket: Option<SocketKey>,
    /// Where the connection was made to; none on the end that made it.
    pub(super) meant_for: Option<Address>,
    /// What the other end sent and this one has not taken.
    inbound: VecDeque<u8>,
    /// The other end's stream has ended.
    is_ended: bool,
    is_reset: bool,
    is_closed: bool,
}

/// What can be read from an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Nothing,
    Bytes(usize),
    Eof,
    Reset,
}

/// What can be written to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Bytes(usize),
    Reset,
    /// The other end is closed.
    Gone,
}

impl Links {
    pub(super) fn new(pipe_len: usize) -> Self {
        Self {
            ends: Slab::new(),
            pipe_len,
        }
    }

    /// A connection to `address`; returns the end that connects and the end that is accepted.
    pub(super) fn connect(&mut self, address: &Address) -> (usize, usize) {
        let near = self.ends.insert(End::new());
        let far = self.ends.insert(End {
            meant_for: Some(address.clone()),
            ..End::new()
        });
        self.ends[near].other = far;
        self.ends[far].other = near;
        (near, far)
    }

    pub(super) fn end(&self, end: usize) -> &End {
        &self.ends[end]
    }

    pub(super) fn end_mut(&mut self, end: usize) -> &mut End {
        &mut self.ends[end]
    }

    /// The address that a connection comes from whose connecting end is `near`: no other one's
    /// while it lives.
    pub(super) fn source(near: usize) -> SocketAddr {
        let port = 1_024 + (near % 60_000) as u16;
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
    }

    pub(super) fn input(&self, end: usize) -> Input {
        let end = &self.ends[end];
        match end.inbound.len() {
            0 if end.is_reset => Input::Reset,
            0 if end.is_ended => Input::Eof,
            0 => Input::Nothing,
            len => Input::Bytes(len),
        }
    }

    pub(super) fn room(&self, end: usize) -> Room {
        let end = &self.ends[end];
        let other = &self.ends[end.other];
        if end.is_reset {
            Room::Reset
        } else if other.is_closed {
            Room::Gone
        } else {
            Room::Bytes(self.pipe_len - other.inbound.len())
        }
    }

    pub(super) fn write(&mut self, end: usize, bytes: &[u8]) {
        let other = self.ends[end].other;
        assert!(
            !self.ends[other].is_ended,
            "bytes behind the end of the stream"
        );
        self.ends[other].inbound.extend(bytes);
    }

    pub(super) fn read(&mut self, end: usize, len: usize, mut take: impl FnMut(&[u8])) {
        let inbound = &mut self.ends[end].inbound;
        let (front, back) = inbound.as_slices();
        let front_len = front.len().min(len);
        take(&front[..front_len]);
        take(&back[..len - front_len]);
        inbound.drain(..len);
    }

    pub(super) fn end_stream(&mut self, end: usize) {
        let other = self.ends[end].other;
        self.ends[other].is_ended = true;
    }

    /// Breaks one end, as a reset from the other does; where `is_lossy` it takes what was not read
    /// with it.
    pub(super) fn reset(&mut self, end: usize, is_lossy: bool) {
        let end = &mut self.ends[end];
        end.is_reset = true;
        if is_lossy {
            end.inbound.clear();
        }
    }

    /// Closes one end, and says whether bytes were left unread there, which resets the other.
    pub(super) fn close(&mut self, end: usize) -> bool {
        let other = self.ends[end].other;
        let is_unread = !self.ends[end].inbound.is_empty();
        self.ends[end].is_closed = true;
        self.ends[end].socket = None;
        self.ends[other].is_ended = true;
        if self.ends[other].is_closed {
            self.ends.remove(end);
            self.ends.remove(other);
            return false;
        }
        is_unread
    }
}

impl End {
    fn new() -> Self {
        Self {
            other: usize::MAX,
            socket: None,
            meant_for: None,
            inbound: VecDeque::new(),
            is_ended: false,
            is_reset: false,
            is_closed: false,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }
}
