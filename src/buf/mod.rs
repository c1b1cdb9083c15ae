//! Plain memory of connections: pools that lend buffers, and the queue of what is to be sent.

mod pool;
mod send_queue;

pub use pool::{Buf, BufPool, Pools};
pub use send_queue::SendQueue;
