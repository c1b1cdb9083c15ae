use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey, PublicEncryptingKey,
};
use data_encoding::BASE64;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};

/// The RSA key to which a password is encrypted where there is no TLS.
pub struct PublicKey {
    key: OaepPublicEncryptingKey,
}

impl PublicKey {
    /// The key of a PEM file `BEGIN PUBLIC KEY`, or of a server's packet of just that content.
    ///
    /// # Errors
    ///
    /// Where it is no such key.
    pub fn from_pem(pem: &[u8]) -> Result<Self> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|error| {
            Error::new(
                ErrorKind::Config,
                format!("no PEM of a public key: {error}"),
            )
        })?;
        PublicEncryptingKey::from_der(&der)
            .ok()
            .and_then(|key| OaepPublicEncryptingKey::new(key).ok())
            .map(|key| Self { key })
            .ok_or_else(|| Error::new(ErrorKind::Config, "not an RSA key of 2048 bits or more"))
    }

    /// The password as the server's plugin expects it: closed by a NUL, masked by the nonce,
    /// encrypted by RSA-OAEP with SHA-1. The result is as long as the key.
    ///
    /// # Errors
    ///
    /// Where the password is longer than the key can encrypt.
    pub fn encrypt_password(&self, password: &[u8], nonce: &[u8]) -> Result<Vec<u8>> {
        let masked = mask(&closed(password), nonce);
        let mut out = vec![0; self.key.ciphertext_size()];
        let len = self
            .key
            .encrypt(&OAEP_SHA1_MGF1SHA1, &masked, &mut out, None)
            .map_err(|_| {
                Error::new(
                    ErrorKind::Limit,
                    "the password is longer than the RSA key encrypts",
                )
            })?
            .len();
        out.truncate(len);
        Ok(out)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} bits)", self.key.key_size_bits())
    }
}

/// The key pair of an end that takes passwords without TLS.
pub struct PrivateKey {
    key: OaepPrivateDecryptingKey,
    public_pem: String,
}

impl PrivateKey {
    /// A new key of 2048 bits. It takes a good part of a second.
    ///
    /// # Errors
    ///
    /// Where the machine has no randomness to give.
    pub fn generate() -> Result<Self> {
        let defect = |_| Error::new(ErrorKind::Internal, "cannot make an RSA key");
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).map_err(defect)?;
        let public = key.public_key().as_der().map_err(defect)?;
        let public_pem = pem_of(public.as_ref());
        Ok(Self {
            key: OaepPrivateDecryptingKey::new(key).map_err(defect)?,
            public_pem,
        })
    }

    /// The public half in PEM, as the plugins send it.
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// The password that [`PublicKey::encrypt_password`] encrypted; `None` where it was encrypted
    /// to another key, for another nonce, or not by it.
    pub fn decrypt_password(&self, encrypted: &[u8], nonce: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut out = Zeroizing::new(vec![0; self.key.min_output_size()]);
        let masked = self
            .key
            .decrypt(&OAEP_SHA1_MGF1SHA1, encrypted, &mut out, None)
            .ok()?;
        let mut password = mask(masked, nonce);
        (password.pop()? == 0).then_some(password)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({} bits)", self.key.key_size_bits())
    }
}

/// The password and the NUL that every plugin wants behind it.
pub(super) fn closed(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(password.len() + 1));
    out.extend_from_slice(password);
    out.push(0);
    out
}

fn mask(bytes: &[u8], nonce: &[u8]) -> Zeroizing<Vec<u8>> {
    let masked = bytes.iter().zip(nonce.iter().cycle());
    // Collecting would go through the iterator's guess of the length and might move the bytes.
    let mut out = Zeroizing::new(Vec::with_capacity(bytes.len()));
    out.extend(masked.map(|(byte, nonce)| byte ^ nonce));
    out
}

fn pem_of(der: &[u8]) -> String {
    let base64 = BASE64.encode(der);
    let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
    for (at, letter) in base64.chars().enumerate() {
        if at > 0 && at % PEM_LINE_LEN == 0 {
            pem.push('\n');
        }
        pem.push(letter);
    }
    pem.push_str("\n-----END PUBLIC KEY-----\n");
    pem
}

const PEM_LINE_LEN: usize = 64;
