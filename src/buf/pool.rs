use std::fmt;

use crate::limits;

/// Owned memory with a filled middle.
///
/// Invariant: `start <= end <= mem.len()`; `mem[start..end]` is filled, `mem[end..]` is spare.
pub struct Buf {
    mem: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buf {
    /// `len` bytes of spare memory.
    pub fn new(len: usize) -> Self {
        Self {
            mem: vec![0; len].into_boxed_slice(),
            start: 0,
            end: 0,
        }
    }

    /// The filled bytes.
    pub fn filled(&self) -> &[u8] {
        &self.mem[self.start..self.end]
    }

    /// The filled bytes, to be changed in place.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.mem[self.start..self.end]
    }

    /// The number of filled bytes.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// True where nothing is filled.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The spare memory behind the filled bytes.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        &mut self.mem[self.end..]
    }

    /// The length of the spare memory.
    pub fn spare_len(&self) -> usize {
        self.mem.len() - self.end
    }

    /// Counts the first `len` spare bytes as filled; more than there are counts all.
    pub fn fill(&mut self, len: usize) {
        self.end = self.mem.len().min(self.end.saturating_add(len));
    }

    /// Drops the first `len` filled bytes; more than there are drops all.
    pub fn advance(&mut self, len: usize) {
        self.start = self.end.min(self.start.saturating_add(len));
    }

    /// Copies as much of `bytes` as fits behind the filled bytes, and says how much that was.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let spare = self.spare_mut();
        let len = spare.len().min(bytes.len());
        spare[..len].copy_from_slice(&bytes[..len]);
        self.end += len;
        len
    }

    /// Makes all of it spare.
    pub fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }
}

impl fmt::Debug for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buf({} of {} bytes)", self.len(), self.mem.len())
    }
}

/// A stack of equal buffers: the one given back last, warm in the cache, is lent first.
pub struct BufPool {
    free: Vec<Buf>,
    buf_len: usize,
    free_max: usize,
}

impl BufPool {
    /// A pool that lends buffers of `buf_len` bytes and keeps at most `free_max` unused ones.
    pub fn new(buf_len: usize, free_max: usize) -> Self {
        Self {
            free: Vec::with_capacity(free_max),
            buf_len,
            free_max,
        }
    }

    /// An empty buffer.
    pub fn take(&mut self) -> Buf {
        self.free.pop().unwrap_or_else(|| Buf::new(self.buf_len))
    }

    /// Takes a buffer back; it is freed where enough are kept.
    pub fn give(&mut self, mut buf: Buf) {
        if self.free.len() == self.free_max || buf.mem.len() != self.buf_len {
            return;
        }
        buf.clear();
        self.free.push(buf);
    }

    /// The number of unused buffers kept.
    pub fn free_len(&self) -> usize {
        self.free.len()
    }
}

/// The pools that connections of one thread share.
pub struct Pools {
    /// Buffers of [`limits::SEND_BUF_LEN`]: sealed records on their way out.
    pub send: BufPool,
    /// Buffers of [`limits::PARTIAL_BUF_LEN`]: records that have arrived in part.
    pub partial: BufPool,
}

impl Pools {
    /// Pools that keep at most `free_max` unused buffers each.
    pub fn new(free_max: usize) -> Self {
        Self {
            send: BufPool::new(limits::SEND_BUF_LEN, free_max),
            partial: BufPool::new(limits::PARTIAL_BUF_LEN, free_max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_fills_advances_and_clears() {
        let mut buf = Buf::new(4);
        assert_eq!(buf.append(b"abcdef"), 4);
        buf.advance(1);
        assert_eq!(buf.filled(), b"bcd");
        assert_eq!(buf.spare_len(), 0);
        buf.advance(usize::MAX);
        buf.fill(usize::MAX);
        assert!(buf.is_empty());
        buf.clear();
        assert_eq!(buf.spare_len(), 4);
    }

    #[test]
    fn a_pool_keeps_no_more_than_its_bound() {
        let mut pool = BufPool::new(8, 1);
        let (first, second) = (pool.take(), pool.take());
        pool.give(first);
        pool.give(second);
        assert_eq!(pool.free_len(), 1);
    }
}
