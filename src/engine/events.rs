use super::address::PeerAddress;
use crate::error::Error;

/// One connection of an engine. An id is never used for a second connection: calls with one that is
/// stale do nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// One listening socket of an engine. Calls with one that is stale do nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// How far a connection came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The socket was being connected.
    Connect,
    /// The socket was connected; the protocol's handshake was not complete.
    Handshake,
    /// The connection was in use.
    Established,
}

/// What [`Engine::wait`](super::Engine::wait) reports.
#[derive(Debug)]
pub enum Event {
    /// A connection was accepted; the answer is [`Engine::start`](super::Engine::start) or
    /// [`Engine::abort`](super::Engine::abort).
    Accepted {
        /// Where.
        listener: ListenerId,
        /// The new connection.
        id: ConnId,
        /// From where.
        peer: PeerAddress,
    },
    /// The connection is in use from now on: its handshake is complete, where its protocol has one.
    Connected {
        /// Which connection.
        id: ConnId,
    },
    /// Plaintext can be read. Repeated by every wait while some is unread and reading is on.
    Readable {
        /// Which connection.
        id: ConnId,
    },
    /// The send queue, which had refused bytes, has fallen to
    /// [`SEND_QUEUE_LEN_LOW`](crate::limits::SEND_QUEUE_LEN_LOW). Reported once per refusal.
    Writable {
        /// Which connection.
        id: ConnId,
    },
    /// The peer ended its side cleanly, and all it sent has been read. Reported once; this side may
    /// still send, and the connection stays until it is closed.
    PeerClosed {
        /// Which connection.
        id: ConnId,
    },
    /// The time set by [`Engine::set_timer`](super::Engine::set_timer) has come.
    Timer {
        /// Which connection.
        id: ConnId,
    },
    /// The last event of a connection: its socket is gone. Up to the next wait the id still answers
    /// questions (user data, peer, facts); then it is stale.
    Closed {
        /// Which connection.
        id: ConnId,
        /// Why; nothing where it was closed or aborted by this side and all that was queued has
        /// been sent.
        error: Option<Error>,
        /// How far it came.
        stage: Stage,
    },
    /// The listening socket is gone; the last event of a listener.
    Unlistened {
        /// Which listener.
        listener: ListenerId,
    },
    /// Accepting failed for want of descriptors or memory. It is tried again when a connection
    /// closes, and every [`ACCEPT_RETRY_MS`](crate::limits::ACCEPT_RETRY_MS).
    AcceptPaused {
        /// Which listener.
        listener: ListenerId,
        /// Why.
        error: Error,
    },
    /// A connection was accepted again.
    AcceptResumed {
        /// Which listener.
        listener: ListenerId,
    },
    /// Another thread called [`Waker::wake`](super::Waker::wake).
    Woken,
}
