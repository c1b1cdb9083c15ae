//! Who is believed: certificates as they are found in the field, made by `openssl` for each run.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod attacks;
mod kinds;
mod names;
mod openssl;
mod pair;
mod pki;
mod resumption;
