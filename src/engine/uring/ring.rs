use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{CompletionQueue, EnterFlags, IoUring, SubmissionQueue, Submitter, cqueue, squeue};

/// The longest wait of one call, so that no timeout is too long for the kernel's clock.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The submission and completion queues of one io_uring.
///
/// What is asked for gathers in `queue`, which grows, and goes through the submission queue, which
/// does not, in one call, or in several where it is longer.
pub(super) struct Ring {
    // All three borrow from `owner` and are dropped before it. The submitter is kept, since only
    // the one that registered the ring's descriptor knows of it.
    submitter: ManuallyDrop<Submitter<'static>>,
    sq: ManuallyDrop<SubmissionQueue<'static>>,
    cq: ManuallyDrop<CompletionQueue<'static>>,
    owner: *mut IoUring,
    fd: RawFd,
    queue: Vec<squeue::Entry>,
    is_registered: bool,
    enters: u64,
}

impl Ring {
    /// Takes a ring that was set up by this thread.
    pub(super) fn new(ring: IoUring) -> Self {
        let fd = ring.as_raw_fd();
        let owner = Box::into_raw(Box::new(ring));
        // SAFETY: the box lives until `drop`, and nothing but the three parts uses it until then.
        let ring: &'static mut IoUring = unsafe { &mut *owner };
        let (mut submitter, sq, cq) = ring.split();
        let is_registered = submitter.register_ring_fd().is_ok();
        Self {
            submitter: ManuallyDrop::new(submitter),
            queue: Vec::with_capacity(sq.capacity()),
            sq: ManuallyDrop::new(sq),
            cq: ManuallyDrop::new(cq),
            owner,
            fd,
            is_registered,
            enters: 0,
        }
    }

    /// For registrations.
    pub(super) fn submitter(&self) -> &Submitter<'static> {
        &self.submitter
    }

    /// Whether completions, or work that leads to them, are there to be taken.
    pub(super) fn has_completions(&self) -> bool {
        let mut polled = libc::pollfd {
            fd: self.fd,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one pollfd, which lives as long as the call.
        unsafe { libc::poll(&raw mut polled, 1, 0) > 0 }
    }

    /// Whether operations wait to be submitted.
    pub(super) fn has_queued(&self) -> bool {
        !self.queue.is_empty() || !self.sq.is_empty()
    }

    /// Whether the kernel finds the ring without a look into the table of descriptors.
    pub(super) fn is_registered(&self) -> bool {
        self.is_registered
    }

    /// Calls of io_uring_enter so far.
    pub(super) fn enters(&self) -> u64 {
        self.enters
    }

    /// Installs a descriptor in the table of registered files.
    pub(super) fn install(&self, slot: u32, fd: RawFd) -> io::Result<()> {
        self.submitter.register_files_update(slot, &[fd]).map(drop)
    }

    /// Queues an operation for the next [`Ring::enter`].
    ///
    /// # Safety
    ///
    /// The memory that `entry` points to stays valid, and no one else writes to it, until its last
    /// completion.
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry) {
        self.queue.push(entry);
    }

    /// Submits all that is queued, and waits until at least `want` completions are there or
    /// `timeout` has passed (`None`: for ever).
    ///
    /// A signal, a full completion queue and a shortage of memory in the kernel end the call early
    /// without an error: the completions at hand are to be taken, and what was not submitted stays
    /// queued.
    pub(super) fn enter(&mut self, want: u32, timeout: Option<Duration>) -> io::Result<()> {
        let queued_all = self.fill()?;
        // Before the wait, or the kernel counts completions that were taken long ago as ready.
        self.cq.sync();
        let timespec = timeout.map(|timeout| Timespec::from(timeout.min(WAIT_MAX)));
        let args = match &timespec {
            Some(timespec) => SubmitArgs::new().timespec(timespec),
            None => SubmitArgs::new(),
        };
        // GETEVENTS even where nothing is waited for: deferred work runs in such calls only.
        let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        let want = if queued_all { want } else { 0 };
        let to_submit = self.sq.len() as u32;
        self.enters += 1;
        // SAFETY: `args` is what EXT_ARG says it is, and both it and its timespec outlive the call.
        let result = unsafe {
            self.submitter
                .enter(to_submit, want, flags.bits(), Some(&args))
        };
        self.sq.sync();
        self.cq.sync();
        ignore_interruption(result.map(drop))
    }

    /// The next completion, of those that were there when [`Ring::enter`] returned.
    pub(super) fn pop(&mut self) -> Option<cqueue::Entry> {
        self.cq.next()
    }

    /// Moves what is queued into the submission queue, and flushes that whenever it is full. False
    /// where the kernel would not take all of it now.
    fn fill(&mut self) -> io::Result<bool> {
        let mut done = 0;
        loop {
            let spare = self.sq.capacity() - self.sq.len();
            let batch = &self.queue[done..self.queue.len().min(done + spare)];
            // SAFETY: whoever called `push` promised that the memory stays valid.
            let pushed = unsafe { self.sq.push_multiple(batch) };
            debug_assert!(pushed.is_ok(), "no more than is spare");
            done += batch.len();
            self.sq.sync();
            if done == self.queue.len() || spare == 0 {
                break;
            }
            self.enters += 1;
            ignore_interruption(self.submitter.submit().map(drop))?;
            self.sq.sync();
        }
        self.queue.drain(..done);
        Ok(self.queue.is_empty())
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // Else this thread would keep the ring alive until it ends.
        if self.is_registered {
            let _ = self.submitter.unregister_ring_fd();
        }
        // SAFETY: dropped once, here, and not used again.
        unsafe { ManuallyDrop::drop(&mut self.sq) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.cq) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.submitter) };
        // SAFETY: made by `Box::into_raw` in `new`, and the parts that borrowed from it are gone.
        drop(unsafe { Box::from_raw(self.owner) });
    }
}

fn ignore_interruption(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)
            ) =>
        {
            Ok(())
        }
        result => result,
    }
}
