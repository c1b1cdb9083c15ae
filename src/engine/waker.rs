use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ends the wait of an engine from another thread.
#[derive(Clone, Debug)]
pub struct Waker {
    is_woken: Arc<AtomicBool>,
}

impl Waker {
    /// A waker that only sets `is_woken`, for a back end that waits for nothing else.
    pub fn from_flag(is_woken: Arc<AtomicBool>) -> Self {
        Self { is_woken }
    }

    /// Ends the present wait, or the next one where none is under way.
    pub fn wake(&self) {
        self.is_woken.store(true, Ordering::Release);
    }

    /// Whether it was called since the last time this was asked.
    pub(super) fn take(&self) -> bool {
        self.is_woken.swap(false, Ordering::AcqRel)
    }
}
