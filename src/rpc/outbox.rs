/// Packets that wait to be taken by the connection, in order.
///
/// Invariant: `start <= bytes.len()`; what is in front of `start` has been taken.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    start: usize,
}

impl Outbox {
    /// Where a packet is appended.
    pub(super) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(super) fn waiting(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting().len()
    }

    /// Drops the first `len` bytes, and the memory where nothing is left: an idle end holds none.
    pub(super) fn advance(&mut self, len: usize) {
        self.start = self.bytes.len().min(self.start.saturating_add(len));
        if self.start == self.bytes.len() {
            *self = Self::default();
        }
    }
}
