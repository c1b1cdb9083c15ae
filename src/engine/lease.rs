use std::fmt;

use super::uring::RingBuf;
use crate::buf::Buf;

/// Received bytes in memory that a back end lends; they go back by
/// [`Backend::recycle`](super::backend::Backend::recycle).
pub struct Lease {
    memory: Memory,
}

/// Whose memory it is.
pub(super) enum Memory {
    /// Memory of its own.
    Heap(Buf),
    /// A provided buffer of an io_uring.
    Ring(RingBuf),
}

impl Lease {
    /// Bytes in memory of their own.
    pub fn from_buf(buf: Buf) -> Self {
        Self {
            memory: Memory::Heap(buf),
        }
    }

    /// Bytes in a provided buffer.
    pub(super) fn from_ring(buf: RingBuf) -> Self {
        Self {
            memory: Memory::Ring(buf),
        }
    }

    /// The memory, to be lent again.
    pub(super) fn into_memory(self) -> Memory {
        self.memory
    }

    /// The received bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.memory {
            Memory::Heap(buf) => buf.filled(),
            Memory::Ring(buf) => buf.bytes(),
        }
    }

    /// The received bytes, for records to be opened in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Heap(buf) => buf.filled_mut(),
            Memory::Ring(buf) => buf.bytes_mut(),
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({} bytes)", self.bytes().len())
    }
}
