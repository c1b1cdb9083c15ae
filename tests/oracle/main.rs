//! `Connection` against TLS ends that share no code with it, and the harness of the fuzz targets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cross;
mod harness;
mod hazards;
mod obrpc;
mod openssl;
mod process;
mod rustls;
mod sealer;
mod seeded;
mod support;
