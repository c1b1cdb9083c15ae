//! Handles: what C holds of this library, and the guard in front of each.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::OnceLock;
use std::thread::{self, ThreadId};

use super::result::sealwire_result::{self, *};
use super::result::{Failure, Outcome};
use crate::error::Error;

/// What a C type points to.
///
/// One thread at a time is inside. A second one is turned away rather than let in, a child of fork
/// too, and after a panic everybody.
pub(super) struct Handle<T> {
    is_busy: AtomicBool,
    is_poisoned: AtomicBool,
    process: u64,
    /// The only thread that may use it, where there is one.
    thread: Option<ThreadId>,
    inner: UnsafeCell<T>,
}

/// What a handle keeps for the questions that follow a failed call.
pub(super) trait Fallible {
    fn keep(&mut self, failure: &Failure);
}

impl<T> Handle<T> {
    /// A handle for any thread, one at a time.
    pub(super) fn new(inner: T) -> *mut Self {
        Self::owned(inner, None)
    }

    /// A handle for this thread alone.
    pub(super) fn of_this_thread(inner: T) -> *mut Self {
        Self::owned(inner, Some(thread::current().id()))
    }

    fn owned(inner: T, thread: Option<ThreadId>) -> *mut Self {
        Box::into_raw(Box::new(Self {
            is_busy: AtomicBool::new(false),
            is_poisoned: AtomicBool::new(false),
            process: process(),
            thread,
            inner: UnsafeCell::new(inner),
        }))
    }

    /// Runs `call` inside of the handle.
    pub(super) fn enter<R>(
        handle: *const Self,
        name: &str,
        call: impl FnOnce(&mut T) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        if handle.is_null() {
            return Err(Failure::null(name));
        }
        // SAFETY: not NULL; that it is a handle that was not freed is the caller's to keep.
        let handle = unsafe { &*handle };
        handle.check()?;
        if handle.is_busy.swap(true, Ordering::Acquire) {
            let text = format!("{name} is in use by another thread, or by the call that called back");
            return Err(Failure::caller(SEALWIRE_ERR_THREAD, text));
        }
        let done = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: `is_busy` was false, so nobody else has it.
            call(unsafe { &mut *handle.inner.get() })
        }));
        handle.is_busy.store(false, Ordering::Release);
        done.unwrap_or_else(|_| {
            handle.is_poisoned.store(true, Ordering::Relaxed);
            Err(panicked())
        })
    }

    fn check(&self) -> Result<(), Failure> {
        if self.process != process() {
            let text = "the handle belongs to the process that forked this one";
            return Err(Failure::caller(SEALWIRE_ERR_FORKED, text));
        }
        if self.thread.is_some_and(|thread| thread != thread::current().id()) {
            let text = "the handle belongs to another thread";
            return Err(Failure::caller(SEALWIRE_ERR_THREAD, text));
        }
        match self.is_poisoned.load(Ordering::Relaxed) {
            true => Err(panicked()),
            false => Ok(()),
        }
    }

    /// Takes the handle back. In a forked child the memory is given back and nothing else happens.
    pub(super) fn free(handle: *mut Self) {
        if handle.is_null() {
            return;
        }
        // SAFETY: it came from `owned`, and the caller gives it back once.
        let handle = unsafe { Box::from_raw(handle) };
        if handle.process != process() {
            std::mem::forget(handle.inner);
            return;
        }
        // A destructor that panics has nobody left to tell.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(handle)));
    }
}

impl<T: Fallible> Handle<T> {
    /// [`Handle::enter`], with the failure kept in the handle.
    pub(super) fn call(handle: *const Self, name: &str, call: impl FnOnce(&mut T) -> Outcome) -> sealwire_result {
        let done = Self::enter(handle, name, |inner| {
            call(inner).or_else(|failure| {
                inner.keep(&failure);
                Ok(failure.code)
            })
        });
        done.unwrap_or_else(|failure| failure.code)
    }
}

/// Runs a call that has no handle yet.
pub(super) fn guarded(call: impl FnOnce() -> Outcome) -> sealwire_result {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(result)) => result,
        Ok(Err(failure)) => failure.code,
        Err(_) => SEALWIRE_ERR_PANIC,
    }
}

fn panicked() -> Failure {
    Failure {
        code: SEALWIRE_ERR_PANIC,
        error: Error::new(
            crate::error::ErrorKind::Internal,
            "a defect of the library was caught in an earlier call; free the handle",
        ),
    }
}

/// A number that differs between a process and its children by fork.
///
/// It lies in a page that the kernel wipes in a child (MADV_WIPEONFORK), which a process id read
/// once cannot tell and one read each time would cost a system call for.
fn process() -> u64 {
    static PAGE: OnceLock<&'static AtomicU64> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let page = PAGE.get_or_init(wiped_on_fork);
    match page.load(Ordering::Relaxed) {
        0 => {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let raced = page.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed);
            raced.err().unwrap_or(number)
        }
        number => number,
    }
}

fn wiped_on_fork() -> &'static AtomicU64 {
    // SAFETY: asks for fresh memory only.
    let page_len = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4_096);
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: asks for fresh memory only.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), page_len, protection, flags, -1, 0) };
    assert_ne!(page, libc::MAP_FAILED, "no page of memory is left");
    // SAFETY: the page was mapped above, with this length.
    let refused = unsafe { libc::madvise(page, page_len, libc::MADV_WIPEONFORK) };
    assert_eq!(refused, 0, "the kernel is older than 4.14");
    // SAFETY: mapped for ever, zeroed, aligned to a page, and touched through this reference alone.
    unsafe { &*page.cast::<AtomicU64>() }
}
