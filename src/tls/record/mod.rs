//! The record layer after the handshake: one trait, two implementations.
//!
//! `RustlsRecords` of the session leaves it to rustls; `InPlaceRecords` opens records where
//! they arrived and seals them where they are sent from. They are interchangeable, and tested
//! against each other.

mod alert;
mod header;
mod in_place;
mod keys;
mod post_handshake;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use alert::{Alert, error_of_alert};
pub(crate) use header::Header;
pub(crate) use in_place::{InPlaceRecords, KeySchedule};
pub(crate) use keys::{Protocol, TrafficKeys};

use std::ops::Range;

use crate::buf::{BufPool, SendQueue};
use crate::error::Result;
use crate::time::Now;

/// Opens and seals the records of an established connection.
///
/// Whatever a record calls for in answer (a KeyUpdate, a no_renegotiation) is owed until
/// [`Records::seal`], so that a peer that only asks and never reads makes nothing grow.
pub(crate) trait Records: Send {
    /// Opens one whole record, header included; `now` dates the tickets in it. An error is fatal;
    /// its alert has been queued behind what was sealed before.
    fn open(
        &mut self,
        now: Now,
        record: &mut [u8],
        out: &mut SendQueue,
        pool: &mut BufPool,
    ) -> Result<Opened>;

    /// The plaintext of [`Opened::Held`], until [`Records::let_go`] or the next [`Records::open`].
    fn held(&self) -> &[u8];

    /// Gives the memory of [`Records::held`] back.
    fn let_go(&mut self, pool: &mut BufPool);

    /// Queues plaintext: gathered into the open record, or sealed at once where it is long.
    fn write(&mut self, plain: &[u8], out: &mut SendQueue, pool: &mut BufPool) -> Result<()>;

    /// Seals the open record and what is owed: `out` is then complete.
    fn seal(&mut self, out: &mut SendQueue, pool: &mut BufPool) -> Result<()>;

    /// Bytes that were written and are not sealed yet.
    fn gathered(&self) -> usize;

    /// Queues close_notify behind everything that was written.
    fn close(&mut self, out: &mut SendQueue, pool: &mut BufPool) -> Result<()>;

    /// Replaces the sending key (TLS 1.3; nothing happens with TLS 1.2, which cannot).
    fn refresh(&mut self, out: &mut SendQueue, pool: &mut BufPool) -> Result<()>;
}

/// What a record held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// Nothing for the application.
    Nothing,
    /// Plaintext at this range of the record.
    InRecord(Range<usize>),
    /// Plaintext at [`Records::held`].
    Held,
    /// The peer's close_notify.
    Closed,
}
