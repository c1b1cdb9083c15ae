//! The payload of a call, of the log reader's or of the admin tool's.

#![no_main]

#[path = "../../tests/fuzz/obrpc.rs"]
mod obrpc;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| obrpc::payload(bytes));
