//! Encrypted transport for database connections.

#[forbid(unsafe_code)]
pub mod buf;
#[cfg(feature = "cli")]
pub mod cli;
#[forbid(unsafe_code)]
pub mod conn;
pub mod engine;
#[forbid(unsafe_code)]
pub mod error;
#[cfg(feature = "cli")]
mod gateway;
#[forbid(unsafe_code)]
pub mod limits;
pub mod stream;
#[forbid(unsafe_code)]
pub mod time;
#[forbid(unsafe_code)]
pub mod tls;
#[forbid(unsafe_code)]
pub mod wire;
