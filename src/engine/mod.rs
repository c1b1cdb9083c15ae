//! The only room that does I/O: one engine per thread drives its connections.

mod address;
pub mod backend;
mod lease;
mod waker;

pub use address::{Address, PeerAddress};
pub use lease::Lease;
pub use waker::Waker;
