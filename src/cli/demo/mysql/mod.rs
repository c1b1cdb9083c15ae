//! MySQL as the demo speaks it: a server of a few statements, and a client.

mod client;
mod server;
mod sql;

pub(super) use client::{Account, Client};
pub(super) use server::{Accounts, NATIVE_USER, SHA2_USER, Session};
