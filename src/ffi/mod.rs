//! The C ABI, one file per C type: `include/sealwire.h` is generated from here, in the order of the
//! modules below.
//!
//! Nothing here decides anything. A function looks at its pointers (`pointer`), enters the handle
//! (`handle`: threads, forks, panics), makes one call into the safe crate, and turns the outcome
//! into a `sealwire_result` (`result`).
//!
//! The module is private: the symbols are exported, and no Rust program can call them.

// The names are C's. Each function's contract for its pointers is the header's, said once at its top.
#![allow(
    non_camel_case_types,
    unreachable_pub,
    unsafe_code,
    clippy::not_unsafe_ptr_arg_deref
)]

mod handle;
mod pointer;

mod version;

mod result;

mod config;

mod conn;

mod engine;

#[cfg(test)]
mod tests;
