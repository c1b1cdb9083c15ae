//! Integration tests: one list of topics per room, run on every back end.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod backend;
mod engine;
mod frame;
