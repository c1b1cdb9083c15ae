//! The beginning of a stream, where a PROXY header is due.

#![no_main]

#[path = "../../tests/fuzz/proxy.rs"]
mod proxy;

libfuzzer_sys::fuzz_target!(|stream: &[u8]| proxy::header(stream));
