//! Packets over a connection: gathered whole on their way in, taken whole on their way out.

use super::link::Link;
use crate::buf::Pools;
use crate::error::{Error, ErrorKind};
use crate::ffi::result::sealwire_result::{self, *};
use crate::ffi::result::{Failure, Outcome};

/// The packet that is being gathered, and what is left of those that are being sent.
#[derive(Default)]
pub(super) struct Frames {
    incoming: Vec<u8>,
    /// The packet has been lent to the caller, and makes room for the next one.
    is_lent: bool,
    outgoing: Vec<u8>,
    /// The bytes at the front of `outgoing` that the connection has taken.
    taken: usize,
}

impl Frames {
    /// Reads until the first `len` bytes of the packet are there; no byte behind them is touched,
    /// since TLS may begin there.
    pub(super) fn gather(
        &mut self,
        len: usize,
        link: &mut Link,
        pools: &mut Pools,
    ) -> Result<sealwire_result, Failure> {
        if std::mem::take(&mut self.is_lent) {
            self.incoming.clear();
        }
        while self.incoming.len() < len {
            let done = self.incoming.len();
            // Grown as bytes come, so that a length that is a lie costs nothing.
            self.incoming.resize(len.min(done + GROWTH_LEN_MAX), 0);
            let read = link.read(&mut self.incoming[done..], pools);
            let read_len = read.as_ref().map_or(0, |(_, read)| *read);
            self.incoming.truncate(done + read_len);
            match read? {
                (SEALWIRE_OK, _) => {}
                (SEALWIRE_EOF, _) if done > 0 => {
                    let text = "the peer ended the connection in the midst of a packet";
                    return Err(Error::new(ErrorKind::Truncated, text).into());
                }
                (condition, _) => return Ok(condition),
            }
        }
        Ok(SEALWIRE_OK)
    }

    pub(super) fn incoming(&self) -> &[u8] {
        &self.incoming
    }

    /// Gives the gathered packet out; the next one is gathered afresh.
    pub(super) fn lend(&mut self) -> &[u8] {
        self.is_lent = true;
        &self.incoming
    }

    /// Takes the packets that `write` writes, all or none: none where some are left from before.
    pub(super) fn put(
        &mut self,
        link: &mut Link,
        pools: &mut Pools,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Outcome {
        let ready = self.send(link, pools)?;
        if ready != SEALWIRE_OK {
            return Ok(ready);
        }
        write(&mut self.outgoing);
        self.send(link, pools)?;
        Ok(SEALWIRE_OK)
    }

    /// Gives the connection what is left of the packets.
    pub(super) fn send(&mut self, link: &mut Link, pools: &mut Pools) -> Outcome {
        while self.taken < self.outgoing.len() {
            let (result, written) = link.write(&self.outgoing[self.taken..], pools)?;
            self.taken += written;
            if written == 0 {
                return Ok(result);
            }
        }
        self.outgoing.clear();
        self.taken = 0;
        Ok(SEALWIRE_OK)
    }

    /// Bytes of packets that the connection has not taken.
    pub(super) fn queued(&self) -> usize {
        self.outgoing.len() - self.taken
    }
}

/// Memory for a packet grows by as much at a time, in bytes.
const GROWTH_LEN_MAX: usize = 256 * 1024;
