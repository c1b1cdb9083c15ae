//! MySQL as the demo speaks it: a server of a few statements, and a client.

mod client;
mod endpoint;
mod leg;
mod server;
mod sql;

pub(super) use endpoint::serve;
pub(super) use leg::Leg;
pub(super) use server::{Accounts, NATIVE_USER, SHA2_USER};
