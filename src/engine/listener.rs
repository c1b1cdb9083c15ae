use std::io;

use super::backend::SocketKey;
use super::events::ListenerId;

/// One listening socket of an engine.
pub(super) struct Listener {
    pub(super) id: ListenerId,
    pub(super) key: SocketKey,
    pub(super) state: ListenerState,
    /// See [`ListenOptions::is_redirected`](super::ListenOptions::is_redirected).
    pub(super) is_redirected: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListenerState {
    Accepting,
    /// Descriptors or memory ran out; no accept is armed.
    Paused,
    /// An accept is armed again, and has not brought a connection yet.
    Retrying,
    /// The back end was told to stop accepting, then to close the socket.
    Stopping,
}

/// True where accepting fails until something is freed, and not for one connection only.
pub(super) fn is_exhaustion(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}
