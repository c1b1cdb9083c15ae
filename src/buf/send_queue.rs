use std::collections::VecDeque;

use super::pool::{Buf, BufPool};

/// Sealed bytes in the order in which they must leave.
///
/// Invariant: `full` before `tail`; no buffer of `full` is empty; `queued` counts their filled
/// bytes. Records are only ever built in the spare memory of `tail`, so that none straddles two
/// buffers.
#[derive(Default)]
pub struct SendQueue {
    full: VecDeque<Buf>,
    tail: Option<Buf>,
    queued: usize,
}

impl SendQueue {
    /// Bytes that wait to be sent.
    pub fn len(&self) -> usize {
        self.queued
    }

    /// True where nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queued == 0
    }

    /// Spare memory of at least `len` bytes behind what is queued; [`SendQueue::commit`] then
    /// queues it.
    pub fn spare(&mut self, len: usize, pool: &mut BufPool) -> &mut [u8] {
        if self
            .tail
            .as_ref()
            .is_some_and(|tail| tail.spare_len() < len)
        {
            self.close_tail();
        }
        self.tail.get_or_insert_with(|| pool.take()).spare_mut()
    }

    /// The spare memory that the last call of [`SendQueue::spare`] gave out, without asking for
    /// more.
    pub fn spare_again(&mut self) -> &mut [u8] {
        self.tail.as_mut().map_or(&mut [], Buf::spare_mut)
    }

    /// The length of the spare memory at hand.
    pub fn spare_len(&self) -> usize {
        self.tail.as_ref().map_or(0, Buf::spare_len)
    }

    /// Queues the first `len` bytes of the spare memory.
    pub fn commit(&mut self, len: usize) {
        if let Some(tail) = &mut self.tail {
            let before = tail.len();
            tail.fill(len);
            self.queued += tail.len() - before;
        }
    }

    /// Queues a copy of `bytes`.
    pub fn append(&mut self, mut bytes: &[u8], pool: &mut BufPool) {
        while !bytes.is_empty() {
            let spare = self.spare(1, pool);
            let len = spare.len().min(bytes.len());
            spare[..len].copy_from_slice(&bytes[..len]);
            self.commit(len);
            bytes = &bytes[len..];
        }
    }

    /// The next buffer to send. It belongs to the caller until it is sent, then to the pool.
    pub fn pop(&mut self) -> Option<Buf> {
        let buf = match self.full.pop_front() {
            Some(buf) => buf,
            None => self.tail.take_if(|tail| !tail.is_empty())?,
        };
        self.queued -= buf.len();
        Some(buf)
    }

    /// Gives every buffer back, sent or not.
    pub fn clear(&mut self, pool: &mut BufPool) {
        for buf in self.full.drain(..).chain(self.tail.take()) {
            pool.give(buf);
        }
        self.queued = 0;
    }

    fn close_tail(&mut self) {
        if let Some(tail) = self.tail.take_if(|tail| !tail.is_empty()) {
            self.full.push_back(tail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_count_hold_across_buffers() {
        let mut pool = BufPool::new(8, 4);
        let mut queue = SendQueue::default();
        queue.append(b"0123456789abcdefXYZ", &mut pool);
        assert_eq!(queue.len(), 19);
        let mut sent = Vec::new();
        while let Some(buf) = queue.pop() {
            sent.extend_from_slice(buf.filled());
            pool.give(buf);
        }
        assert_eq!(sent, b"0123456789abcdefXYZ");
        assert!(queue.is_empty());
    }

    #[test]
    fn spare_memory_is_contiguous() {
        let mut pool = BufPool::new(8, 4);
        let mut queue = SendQueue::default();
        queue.append(b"12345", &mut pool);
        assert_eq!(queue.spare(4, &mut pool).len(), 8);
        assert_eq!(queue.len(), 5);
    }
}
