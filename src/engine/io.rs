use super::backend::Backend;
use super::fifo::Fifos;
use super::inbox::Chunk;
use super::own::OwnConnections;
use crate::buf::{BufPool, Pools};
use crate::time::Now;

/// What the connections of an engine share.
pub(super) struct Io {
    pub(super) backend: Box<dyn Backend>,
    /// The time of the present cycle.
    pub(super) now: Now,
    pub(super) pools: Pools,
    /// Memory for received bytes that outlive their cycle, in buffers as long as the back end's.
    pub(super) backlog: BufPool,
    /// The chunks of every inbox.
    pub(super) chunks: Fifos<Chunk>,
    pub(super) own: OwnConnections,
}
