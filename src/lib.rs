//! Encrypted transport for database connections.

#[forbid(unsafe_code)]
pub mod buf;
#[forbid(unsafe_code)]
pub mod conn;
pub mod engine;
#[forbid(unsafe_code)]
pub mod error;
#[forbid(unsafe_code)]
pub mod limits;
#[forbid(unsafe_code)]
pub mod time;
#[forbid(unsafe_code)]
pub mod tls;
