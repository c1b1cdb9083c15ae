//! `sealwire gateway`: TLS in front of, or on the way to, servers and clients that cannot change.
//!
//! The supervisor (main thread) loads configurations and answers signals; workers, one engine each,
//! serve connections; a few threads resolve names; one writes the log; one answers for metrics.

pub(crate) mod config;
mod counters;
mod expiry;
mod follower;
pub(crate) mod log;
pub(crate) mod machine;
mod metrics;
mod mysql;
mod obrpc;
mod report;
mod resolver;
mod service;
mod session;
mod sessions;
mod supervisor;
mod watch;
mod worker;

pub(crate) use supervisor::run;
