use std::fmt;

use crate::buf::Buf;

/// Received bytes in memory that a back end lends; they go back by
/// [`Backend::recycle`](super::backend::Backend::recycle).
pub struct Lease {
    buf: Buf,
}

impl Lease {
    /// Bytes in memory of their own.
    pub fn from_buf(buf: Buf) -> Self {
        Self { buf }
    }

    /// The received bytes.
    pub fn bytes(&self) -> &[u8] {
        self.buf.filled()
    }

    /// The received bytes, for records to be opened in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.buf.filled_mut()
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({} bytes)", self.bytes().len())
    }
}
