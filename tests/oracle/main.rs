//! `Connection` against TLS ends that share no code with it, and the harness of the fuzz targets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;
mod hazards;
mod openssl;
mod process;
mod rustls;
mod sealer;
mod seeded;
mod support;
