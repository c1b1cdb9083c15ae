//! Handles: what C holds of this library, and the guard in front of each.

use std::cell::UnsafeCell;
use std::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ThreadId};

use super::pointer;
use super::result::sealwire_result::{self, *};
use super::result::{Failure, Outcome};
use crate::engine::Waker;
use crate::error::{Error, ErrorKind};

/// A type as C sees it, which has no contents, and what a pointer to it really points to.
pub(super) trait Opaque {
    type Inner;

    /// What the first parameter of its functions is called.
    const NAME: &'static str;
}

/// A handle that answers questions about the call that failed last.
pub(super) trait Fallible {
    fn keep(&mut self, error: Error);
}

/// What a handle points to.
///
/// One thread at a time is inside. A second one is turned away rather than let in, a child of fork
/// too, and after a panic everybody.
struct Guarded<T> {
    is_busy: AtomicBool,
    is_poisoned: AtomicBool,
    process: u64,
    /// The only thread that may use it, once there is one.
    thread: OnceLock<ThreadId>,
    /// What alone of an engine is for other threads.
    waker: Option<Waker>,
    inner: UnsafeCell<T>,
}

/// A handle for any thread, one at a time; or for any number of them, where it is only ever shared.
pub(super) fn make<C: Opaque>(inner: C::Inner) -> *mut C {
    own(inner, OnceLock::new(), None)
}

/// A handle for this thread alone.
pub(super) fn make_for_this_thread<C: Opaque>(inner: C::Inner) -> *mut C {
    own(inner, thread::current().id().into(), None)
}

/// The same, with something that other threads may use all the while.
pub(super) fn make_with_waker<C: Opaque>(inner: C::Inner, waker: Waker) -> *mut C {
    own(inner, thread::current().id().into(), Some(waker))
}

fn own<C: Opaque>(inner: C::Inner, thread: OnceLock<ThreadId>, waker: Option<Waker>) -> *mut C {
    let guarded = Guarded {
        is_busy: AtomicBool::new(false),
        is_poisoned: AtomicBool::new(false),
        process: process(),
        thread,
        waker,
        inner: UnsafeCell::new(inner),
    };
    Box::into_raw(Box::new(guarded)).cast()
}

/// Runs `call` inside of the handle, and keeps its failure there.
pub(super) fn call<C: Opaque>(
    handle: *const C,
    call: impl FnOnce(&mut C::Inner) -> Outcome,
) -> sealwire_result
where
    C::Inner: Fallible,
{
    let done = enter(handle, |inner| {
        call(inner).or_else(|failure| {
            inner.keep(failure.error);
            Ok(failure.code)
        })
    });
    done.unwrap_or_else(|failure| failure.code)
}

/// Answers a question about the handle; `otherwise` where it cannot be asked.
pub(super) fn ask<C: Opaque, R>(
    handle: *const C,
    otherwise: R,
    question: impl FnOnce(&mut C::Inner) -> R,
) -> R {
    enter(handle, |inner| Ok(question(inner))).unwrap_or(otherwise)
}

/// Copies text out of the handle by snprintf's rule; none where it cannot be asked.
pub(super) fn ask_text<C: Opaque>(
    handle: *const C,
    buf: *mut c_char,
    len: usize,
    question: impl FnOnce(&mut C::Inner) -> Option<String>,
) -> usize {
    let text = ask(handle, None, question).unwrap_or_default();
    pointer::copy_text(&text, buf, len)
}

/// Runs `call` inside of the handle.
pub(super) fn enter<C: Opaque, R>(
    handle: *const C,
    call: impl FnOnce(&mut C::Inner) -> Result<R, Failure>,
) -> Result<R, Failure> {
    let guarded = guarded_by(handle)?;
    if guarded.is_busy.swap(true, Ordering::Acquire) {
        let text = format!("{} is in use by another call", C::NAME);
        return Err(Failure::caller(SEALWIRE_ERR_THREAD, text));
    }
    // It may have been bound to a thread since the check.
    let done = match guarded.check_thread() {
        Ok(()) => {
            // SAFETY: `is_busy` was false, so nobody else has it.
            let inner = unsafe { &mut *guarded.inner.get() };
            catch_unwind(AssertUnwindSafe(|| call(inner)))
        }
        Err(failure) => Ok(Err(failure)),
    };
    guarded.is_busy.store(false, Ordering::Release);
    done.unwrap_or_else(|_| Err(guarded.poison()))
}

/// Runs `call` inside of a handle that is never entered, and so has room for any number of threads.
pub(super) fn share<C: Opaque, R>(
    handle: *const C,
    call: impl FnOnce(&C::Inner) -> Result<R, Failure>,
) -> Result<R, Failure>
where
    C::Inner: Sync,
{
    let guarded = guarded_by(handle)?;
    // SAFETY: nobody enters it, so nobody has it mutably.
    let inner = unsafe { &*guarded.inner.get() };
    catch_unwind(AssertUnwindSafe(|| call(inner))).unwrap_or_else(|_| Err(guarded.poison()))
}

/// Lets nobody but this thread use the handle from now on.
pub(super) fn bind_to_this_thread<C: Opaque>(handle: *const C) -> Result<(), Failure> {
    let guarded = guarded_by(handle)?;
    guarded.thread.get_or_init(|| thread::current().id());
    Ok(())
}

/// Wakes whoever waits inside of the handle: from any thread, and from a signal handler too, since
/// neither a lock nor memory is asked for.
pub(super) fn wake<C: Opaque>(handle: *const C) -> sealwire_result {
    if handle.is_null() {
        return SEALWIRE_ERR_NULL;
    }
    // SAFETY: not NULL; that it is a handle that was not freed is the caller's to keep.
    let guarded = unsafe { &*handle.cast::<Guarded<C::Inner>>() };
    if guarded.process != process() {
        return SEALWIRE_ERR_FORKED;
    }
    if let Some(waker) = &guarded.waker {
        waker.wake();
    }
    SEALWIRE_OK
}

/// Takes the handle back, unless it belongs to another thread or a call is inside of it: to end what
/// that is in the midst of would be worse than what this leaks. In a forked child the memory of the
/// handle is given back, and nothing else happens.
pub(super) fn free<C: Opaque>(handle: *mut C) {
    let handle = handle.cast::<Guarded<C::Inner>>();
    if handle.is_null() {
        return;
    }
    // SAFETY: not NULL; that it is a handle that was not freed is the caller's to keep.
    let guarded = unsafe { &*handle };
    let is_forked = guarded.process != process();
    let is_in_use = || guarded.is_foreign() || guarded.is_busy.swap(true, Ordering::Acquire);
    if !is_forked && is_in_use() {
        return;
    }
    // SAFETY: it came from `own`, and the caller gives it back once.
    let handle = unsafe { Box::from_raw(handle) };
    if is_forked {
        std::mem::forget(handle.inner);
        return;
    }
    // A destructor that panics has nobody left to tell.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(handle)));
}

fn guarded_by<'a, C: Opaque>(handle: *const C) -> Result<&'a Guarded<C::Inner>, Failure> {
    if handle.is_null() {
        return Err(Failure::null(C::NAME));
    }
    // SAFETY: not NULL; that it is a handle that was not freed is the caller's to keep.
    let guarded = unsafe { &*handle.cast::<Guarded<C::Inner>>() };
    guarded.check()?;
    Ok(guarded)
}

impl<T> Guarded<T> {
    fn check(&self) -> Result<(), Failure> {
        if self.process != process() {
            let text = "the handle belongs to the process that forked this one";
            return Err(Failure::caller(SEALWIRE_ERR_FORKED, text));
        }
        self.check_thread()?;
        match self.is_poisoned.load(Ordering::Relaxed) {
            true => Err(panicked()),
            false => Ok(()),
        }
    }

    fn check_thread(&self) -> Result<(), Failure> {
        if !self.is_foreign() {
            return Ok(());
        }
        let text = "the handle belongs to another thread";
        Err(Failure::caller(SEALWIRE_ERR_THREAD, text))
    }

    fn is_foreign(&self) -> bool {
        let thread = self.thread.get();
        thread.is_some_and(|thread| *thread != thread::current().id())
    }

    fn poison(&self) -> Failure {
        self.is_poisoned.store(true, Ordering::Relaxed);
        panicked()
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
            ErrorKind::Internal,
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
    let (protection, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    // SAFETY: asks for fresh memory only.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), page_len, protection, flags, -1, 0) };
    assert_ne!(page, libc::MAP_FAILED, "no page of memory is left");
    // SAFETY: the page was mapped above, with this length.
    let refused = unsafe { libc::madvise(page, page_len, libc::MADV_WIPEONFORK) };
    assert_eq!(refused, 0, "the kernel is older than 4.14");
    // SAFETY: mapped for ever, zeroed, aligned to a page, and touched through this reference alone.
    unsafe { &*page.cast::<AtomicU64>() }
}
