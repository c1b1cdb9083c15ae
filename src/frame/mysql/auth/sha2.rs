//! The fast path of `caching_sha2_password`: SHA256(password) XOR SHA256(SHA256(SHA256(password)),
//! nonce).

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN};

use super::{Nonce, digest};

/// Length of a proof and of a stored hash, in bytes.
pub const LEN: usize = SHA256_OUTPUT_LEN;

/// What a client answers: proof that it knows the password.
pub fn prove(password: &[u8], nonce: &Nonce) -> [u8; LEN] {
    super::prove(&SHA256, password, mask(&stored(password), nonce))
}

/// What a server keeps of a password.
pub fn stored(password: &[u8]) -> [u8; LEN] {
    super::stored(&SHA256, password)
}

/// True where `proof` was made of the password that `stored` is of, and of `nonce`.
pub fn verify(stored: &[u8; LEN], nonce: &Nonce, proof: &[u8]) -> bool {
    super::verify(&SHA256, stored, mask(stored, nonce), proof)
}

fn mask(stored: &[u8; LEN], nonce: &Nonce) -> [u8; LEN] {
    digest(&SHA256, &[stored, nonce])
}
