//! `Connection` against TLS ends that share no code with it, and the harness of the fuzz targets.

mod harness;
mod openssl;
mod process;
mod rustls;
mod sealer;
mod seeded;
mod support;
