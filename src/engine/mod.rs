//! The only room that does I/O: one engine per thread drives its connections.

mod address;
pub mod backend;
pub mod choice;
mod clock;
mod cycle;
mod driver;
pub mod epoll;
mod events;
mod fifo;
mod inbox;
mod io;
mod lease;
mod listener;
mod options;
mod own;
mod relay;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod slot;
mod socket;
mod timer;
pub mod uring;
mod waker;

pub use address::{Address, PeerAddress};
pub use backend::{ListenOptions, SocketOptions};
pub use clock::Clock;
pub use driver::{Counters, Engine};
pub use events::{ConnId, Event, ListenerId, Stage};
pub use lease::Lease;
pub use options::{BackendChoice, EngineOptions};
pub use own::OwnConnections;
pub use relay::{RelayState, Relayed};
pub use waker::Waker;
