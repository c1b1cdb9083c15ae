//! Authentication plugins: what a client answers, and how a server judges it.

mod client;
pub mod native;
mod rsa;
mod server;
pub mod sha2;
#[cfg(test)]
mod tests;

pub use client::{ClientAuth, FULL_AUTH, KeySource};
pub use rsa::{PrivateKey, PublicKey};
pub use server::{Credentials, ServerAuth, ServerStep};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Algorithm, Context};
use zeroize::Zeroizing;

/// The nonce that a proof of a password covers.
pub type Nonce = [u8; NONCE_LEN];

/// An authentication plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Plugin {
    /// `mysql_native_password`: SHA-1.
    Native,
    /// `caching_sha2_password`: SHA-256, and the password itself where the server has not cached
    /// it.
    CachingSha2,
    /// `sha256_password`: the password itself.
    Sha256,
    /// `mysql_clear_password`: the password itself, in clear.
    Clear,
    /// `dialog`, of MariaDB's PAM plugin: whatever it asks for, in clear.
    Dialog,
    /// `client_ed25519` of MariaDB.
    Ed25519,
    /// `parsec` of MariaDB.
    Parsec,
    /// Any other.
    Other,
}

impl Plugin {
    /// The plugin of the name `name`.
    pub fn named(name: &[u8]) -> Self {
        KNOWN
            .iter()
            .find(|(known, _)| known.as_bytes() == name)
            .map_or(Self::Other, |&(_, plugin)| plugin)
    }

    /// Its name; `None` for [`Plugin::Other`].
    pub fn name(self) -> Option<&'static str> {
        KNOWN
            .iter()
            .find(|&&(_, plugin)| plugin == self)
            .map(|&(name, _)| name)
    }

    /// True for the two plugins that send the password itself over TLS and encrypted by RSA without
    /// it.
    pub fn is_sha2(self) -> bool {
        matches!(self, Self::CachingSha2 | Self::Sha256)
    }

    /// What a client sends to ask for the RSA key to which it encrypts the password; `None` where
    /// the plugin has no such request.
    pub fn key_request(self) -> Option<u8> {
        match self {
            Self::CachingSha2 => Some(2),
            Self::Sha256 => Some(1),
            _ => None,
        }
    }

    /// True where `answer` asks for that key.
    pub fn is_key_request(self, answer: &[u8]) -> bool {
        self.key_request()
            .is_some_and(|request| *answer == [request])
    }

    /// No password's answer, of the length that the plugin reads: a wrong one is a failed handshake
    /// to MariaDB.
    pub fn wrong_answer(self) -> &'static [u8] {
        match self {
            Self::Native => &[0; 20],
            Self::CachingSha2 => &[0; 32],
            Self::Ed25519 => &[0; 64],
            _ => &[],
        }
    }

    /// The answer that says that there is no password; `None` where the plugin has no such answer.
    pub fn empty_answer(self) -> Option<&'static [u8]> {
        match self {
            Self::Native => Some(&[]),
            Self::CachingSha2 | Self::Sha256 => Some(&[0]),
            _ => None,
        }
    }

    /// True where what a client answers may be a password in clear, whatever the transport. Of an
    /// unknown plugin nothing better can be said.
    pub fn is_clear(self) -> bool {
        matches!(self, Self::Clear | Self::Dialog | Self::Other)
    }
}

/// The two plugins that prove a password do it alike: H(password) XOR a mask, which is made of the
/// nonce and of what the server has stored, H(H(password)).
fn prove<const N: usize>(hash: &'static Algorithm, password: &[u8], mask: [u8; N]) -> [u8; N] {
    let hashed = Zeroizing::new(digest::<N>(hash, &[password]));
    xor(&hashed, &mask)
}

fn stored<const N: usize>(hash: &'static Algorithm, password: &[u8]) -> [u8; N] {
    let hashed = Zeroizing::new(digest::<N>(hash, &[password]));
    digest(hash, &[hashed.as_slice()])
}

fn verify<const N: usize>(
    hash: &'static Algorithm,
    stored: &[u8; N],
    mask: [u8; N],
    proof: &[u8],
) -> bool {
    let Ok(proof) = proof.try_into() else {
        return false;
    };
    let hashed = Zeroizing::new(xor(proof, &mask));
    let claimed = digest::<N>(hash, &[hashed.as_slice()]);
    verify_slices_are_equal(&claimed, stored).is_ok()
}

/// The digest of the parts, one behind the other.
fn digest<const N: usize>(hash: &'static Algorithm, parts: &[&[u8]]) -> [u8; N] {
    let mut context = Context::new(hash);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    out
}

fn xor<const N: usize>(a: &[u8; N], b: &[u8; N]) -> [u8; N] {
    let mut out = *a;
    for (to, from) in out.iter_mut().zip(b) {
        *to ^= from;
    }
    out
}

const NONCE_LEN: usize = super::handshake::NONCE_LEN;

const KNOWN: [(&str, Plugin); 7] = [
    ("mysql_native_password", Plugin::Native),
    ("caching_sha2_password", Plugin::CachingSha2),
    ("sha256_password", Plugin::Sha256),
    ("mysql_clear_password", Plugin::Clear),
    ("dialog", Plugin::Dialog),
    ("client_ed25519", Plugin::Ed25519),
    ("parsec", Plugin::Parsec),
];
