//! `mysql_native_password`: SHA1(password) XOR SHA1(nonce, SHA1(SHA1(password))).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA1_OUTPUT_LEN};

use super::{Nonce, digest};

/// Length of a proof and of a stored hash, in bytes.
pub const LEN: usize = SHA1_OUTPUT_LEN;

/// What a client answers: proof that it knows the password.
pub fn prove(password: &[u8], nonce: &Nonce) -> [u8; LEN] {
    super::prove(
        &SHA1_FOR_LEGACY_USE_ONLY,
        password,
        mask(&stored(password), nonce),
    )
}

/// What a server keeps of a password.
pub fn stored(password: &[u8]) -> [u8; LEN] {
    super::stored(&SHA1_FOR_LEGACY_USE_ONLY, password)
}

/// True where `proof` was made of the password that `stored` is of, and of `nonce`.
pub fn verify(stored: &[u8; LEN], nonce: &Nonce, proof: &[u8]) -> bool {
    super::verify(
        &SHA1_FOR_LEGACY_USE_ONLY,
        stored,
        mask(stored, nonce),
        proof,
    )
}

fn mask(stored: &[u8; LEN], nonce: &Nonce) -> [u8; LEN] {
    digest(&SHA1_FOR_LEGACY_USE_ONLY, &[nonce, stored])
}
