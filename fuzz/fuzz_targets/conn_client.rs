//! A client that is sent anything.

#![no_main]
#![allow(dead_code, reason = "each target runs one part of the harness")]

#[path = "../../tests/oracle/harness.rs"]
mod harness;
#[path = "../../tests/oracle/sealer.rs"]
mod sealer;
#[path = "../../tests/oracle/support.rs"]
mod support;

libfuzzer_sys::fuzz_target!(|script: &[u8]| harness::conn_client(script));
