//! Integration tests: one list of topics per room, run on every back end.

mod backend;
mod frame;
