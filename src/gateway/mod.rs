//! `sealwire gateway`: TLS in front of, or on the way to, servers and clients that cannot change.

pub(crate) mod config;
