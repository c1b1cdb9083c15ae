//! The fast path of `caching_sha2_password`: SHA256(password) XOR SHA256(SHA256(SHA256(password)), nonce).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN};
use zeroize::Zeroizing;

use super::{Nonce, digest, xor};

/// Length of a proof and of a stored hash, in bytes.
pub const LEN: usize = SHA256_OUTPUT_LEN;

/// What a client answers: proof that it knows the password.
pub fn prove(password: &[u8], nonce: &Nonce) -> [u8; LEN] {
    let hash = Zeroizing::new(digest::<LEN>(&SHA256, &[password]));
    xor(*hash, &mask(&stored(password), nonce))
}

/// What a server keeps of a password.
pub fn stored(password: &[u8]) -> [u8; LEN] {
    let hash = Zeroizing::new(digest::<LEN>(&SHA256, &[password]));
    digest(&SHA256, &[hash.as_slice()])
}

/// True where `proof` was made of the password that `stored` is of, and of `nonce`.
pub fn verify(stored: &[u8; LEN], nonce: &Nonce, proof: &[u8]) -> bool {
    let Ok(proof) = proof.try_into() else {
        return false;
    };
    let hash = Zeroizing::new(xor(mask(stored, nonce), proof));
    let claimed = digest::<LEN>(&SHA256, &[hash.as_slice()]);
    verify_slices_are_equal(&claimed, stored).is_ok()
}

fn mask(stored: &[u8; LEN], nonce: &Nonce) -> [u8; LEN] {
    digest(&SHA256, &[stored, nonce])
}
