use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ends the wait of an engine from another thread.
///
/// Clones wake the same engine. Calls between two waits cost one system call in all.
#[derive(Clone, Debug)]
pub struct Waker {
    // Invariant: where it is true, the bell has rung and the back end has not yet reported it.
    is_woken: Arc<AtomicBool>,
    bell: Bell,
}

/// What ends a system call that waits.
#[derive(Clone, Debug)]
enum Bell {
    Eventfd(Arc<File>),
    Mio(Arc<mio::Waker>),
    /// Nothing waits in the kernel: the flag is looked at.
    None,
}

impl Waker {
    /// A waker that only sets `is_woken`, for a back end that waits for nothing else.
    pub fn from_flag(is_woken: Arc<AtomicBool>) -> Self {
        Self {
            is_woken,
            bell: Bell::None,
        }
    }

    /// A waker that writes to an eventfd.
    pub(super) fn from_eventfd(eventfd: Arc<File>) -> Self {
        Self {
            is_woken: Arc::default(),
            bell: Bell::Eventfd(eventfd),
        }
    }

    /// A waker of a mio selector.
    pub(super) fn from_mio(waker: mio::Waker) -> Self {
        Self {
            is_woken: Arc::default(),
            bell: Bell::Mio(Arc::new(waker)),
        }
    }

    /// Ends the present wait, or the next one where none is under way.
    pub fn wake(&self) {
        if self.is_woken.swap(true, Ordering::AcqRel) {
            return;
        }
        // Neither can fail: an eventfd refuses a write only at 2^64 - 2 unread wake-ups.
        let _ = match &self.bell {
            Bell::Eventfd(eventfd) => (&**eventfd).write_all(&1_u64.to_ne_bytes()),
            Bell::Mio(waker) => waker.wake(),
            Bell::None => Ok(()),
        };
    }

    /// Whether it was called since the last time this was asked. What was done before
    /// [`Waker::wake`] is visible after it.
    pub(super) fn take(&self) -> bool {
        self.is_woken.swap(false, Ordering::AcqRel)
    }
}
