//! Calls over OB-RPC: many at a time on one connection, matched by their channel.
//!
//! ```text
//!             Client                                    Server
//!  call() ──► outbox ──► transmit() ─ ─ connection ─ ─► handle_recv() ──► Incoming::Request
//!  Reply  ◄── handle_recv() ◄ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ transmit() ◄── outbox ◄── respond()
//! ```
//!
//! Neither end moves bytes or reads a clock. Whoever does writes [`Client::transmit`] to its
//! connection, as much at a time as that takes, so that calls made together leave together; and
//! gives what it received to [`Client::handle_recv`]. Connections are made, and made again, by
//! whoever owns them: a connection that ended takes its calls with it ([`Client::abandon`]).

mod client;
mod outbox;
mod server;

pub use client::{Call, CallId, Client, ClientLimits, Reply};
pub use server::{Incoming, Part, Request, Server, ServerLimits};

#[cfg(test)]
mod tests;
