use std::io;
use std::mem;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

/// The group of the only ring.
pub(super) const GROUP: u16 = 0;

/// Alignment of the ring that the kernel demands, and of the buffers, in bytes.
const PAGE_LEN: usize = 4096;

/// Receive buffers of one io_uring: the kernel takes one when bytes arrive, its lease brings it
/// back.
///
/// Invariant: an id is in the ring or in exactly one [`RingBuf`], never in both.
pub(super) struct BufRing {
    memory: Rc<Mapping>,
    count: u16,
    buf_len: usize,
    /// Entries written since the start, modulo 2^16.
    tail: u16,
    /// The tail that the kernel was told.
    published: u16,
}

/// One buffer of the ring, filled by the kernel and lent out.
pub(in crate::engine) struct RingBuf {
    // Keeps the memory mapped for as long as the lease lives, even behind the end of its ring.
    memory: Rc<Mapping>,
    start: NonNull<u8>,
    len: usize,
    id: u16,
}

/// Zeroed, page-aligned memory of this process. The entries of the ring come first, then the
/// buffers.
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl BufRing {
    /// `count` buffers (a power of two) of `buf_len` bytes each.
    pub(super) fn new(count: u16, buf_len: usize) -> io::Result<Self> {
        let is_usable = count.is_power_of_two() && u32::try_from(buf_len).is_ok_and(|len| len > 0);
        if !is_usable {
            let text = format!(
                "{count} receive buffers of {buf_len} bytes: the number must be a power of two"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let len = Self::ring_len(count) + usize::from(count) * buf_len;
        let mut ring = Self {
            memory: Rc::new(Mapping::new(len)?),
            count,
            buf_len,
            tail: 0,
            published: 0,
        };
        (0..count).for_each(|id| ring.put(id));
        ring.publish();
        Ok(ring)
    }

    /// Where the entries are, for the kernel.
    pub(super) fn address(&self) -> u64 {
        self.memory.start.as_ptr() as u64
    }

    /// The number of buffers.
    pub(super) fn count(&self) -> u16 {
        self.count
    }

    /// The length of a buffer, in bytes.
    pub(super) fn buf_len(&self) -> usize {
        self.buf_len
    }

    /// The buffer `id`, which a completion said to hold `len` bytes. Called once per completion
    /// that names it, since only then it is the kernel's no more.
    pub(super) fn take(&self, id: u16, len: usize) -> RingBuf {
        assert!(
            id < self.count && len <= self.buf_len,
            "the kernel named no buffer of ours"
        );
        RingBuf {
            memory: Rc::clone(&self.memory),
            start: self.buf(id),
            len,
            id,
        }
    }

    /// Gives a buffer back. One of another ring is only let go.
    pub(super) fn recycle(&mut self, buf: &RingBuf) {
        if Rc::ptr_eq(&buf.memory, &self.memory) {
            self.put(buf.id);
        }
    }

    /// Whether buffers were given back of which the kernel does not know.
    pub(super) fn has_unpublished(&self) -> bool {
        self.published != self.tail
    }

    /// Tells the kernel of all buffers given back since the last time.
    pub(super) fn publish(&mut self) {
        if !self.has_unpublished() {
            return;
        }
        self.published = self.tail;
        let ring = self.memory.start.as_ptr().cast::<BufRingEntry>();
        // SAFETY: the mapping begins with `count` entries, of which there is at least one.
        let tail = unsafe { BufRingEntry::tail(ring) };
        // SAFETY: aligned memory of the mapping that both sides access atomically only.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // Release: the kernel must see the entries before the tail that counts them.
        tail.store(self.tail, Ordering::Release);
    }

    /// Keeps the memory mapped for ever.
    pub(super) fn leak(&self) {
        mem::forget(Rc::clone(&self.memory));
    }

    fn put(&mut self, id: u16) {
        let address = self.buf(id).as_ptr() as u64;
        let index = self.tail & (self.count - 1);
        let ring = self.memory.start.as_ptr().cast::<BufRingEntry>();
        // SAFETY: `index` is below the number of entries that the mapping begins with. The kernel
        // reads no entry at or behind the published tail, and the tail field within entry 0 is not
        // written here.
        let entry = unsafe { &mut *ring.wrapping_add(usize::from(index)) };
        entry.set_addr(address);
        entry.set_len(self.buf_len as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    fn buf(&self, id: u16) -> NonNull<u8> {
        let offset = Self::ring_len(self.count) + usize::from(id) * self.buf_len;
        // SAFETY: `id` is below `count`, so that the offset lies within the mapping.
        unsafe { self.memory.start.add(offset) }
    }

    /// The length of the entries, rounded up to whole pages.
    fn ring_len(count: u16) -> usize {
        (usize::from(count) * size_of::<BufRingEntry>()).next_multiple_of(PAGE_LEN)
    }
}

impl RingBuf {
    /// The received bytes.
    pub(in crate::engine) fn bytes(&self) -> &[u8] {
        // SAFETY: `len` bytes from `start` lie in the mapping that `memory` keeps, were zeroed when
        // mapped, and are this lease's alone until it is recycled.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The received bytes, to be changed in place.
    pub(in crate::engine) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; the borrow of the lease is exclusive.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Mapping {
    fn new(len: usize) -> io::Result<Self> {
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory in
        // use.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this object's own, and no lease or ring refers to it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
