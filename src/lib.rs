//! Encrypted transport for database connections.

pub mod buf;
#[cfg(feature = "cli")]
pub mod cli;
pub mod conn;
pub mod engine;
pub mod error;
pub mod frame;
#[cfg(feature = "cli")]
mod gateway;
pub mod limits;
pub mod stream;
pub mod time;
pub mod tls;
pub mod wire;
