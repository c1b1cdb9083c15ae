use std::sync::Arc;

use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::SigningKey;
use zeroize::Zeroize;

use super::identity::{Pem, config};
use crate::error::Result;

/// Reads a private key in PKCS#8, PKCS#1 or SEC1, or one in PKCS#8 that `passphrase` decrypts. No
/// copy of it is left in memory but the one that signs.
pub(super) fn signing_key(pem: Pem<'_>, passphrase: Option<&[u8]>) -> Result<Arc<dyn SigningKey>> {
    let text = String::from_utf8_lossy(pem.text);
    if text.contains(LEGACY_ENCRYPTION) {
        let name = pem.name;
        return Err(config(
            name,
            format!(
                "the private key is encrypted in OpenSSL's old form, with a hash that is broken; \
                 `openssl pkcs8 -topk8 -v2 aes-256-cbc -in {name} -out new.pem` brings it \
                 into PKCS#8"
            ),
        ));
    }
    if let Some(encrypted) = encrypted_section(&text) {
        return decrypted(pem.name, encrypted, passphrase);
    }
    let mut key = PrivateKeyDer::from_pem_slice(pem.text).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => config(
            pem.name,
            "holds no private key (-----BEGIN PRIVATE KEY-----)".into(),
        ),
        error => config(pem.name, format!("broken PEM: {error}")),
    })?;
    let signing_key = usable(pem.name, &key);
    key.zeroize();
    signing_key
}

fn decrypted(
    name: &str,
    encrypted: &str,
    passphrase: Option<&[u8]>,
) -> Result<Arc<dyn SigningKey>> {
    let Some(passphrase) = passphrase else {
        return Err(config(
            name,
            format!(
                "the private key is encrypted and no passphrase was given; give one \
                 (key_passphrase_file, key_passphrase_command), or `openssl pkey -in {name} -out \
                 plain.pem` decrypts it"
            ),
        ));
    };
    let broken = |error: &dyn std::fmt::Display| config(name, format!("broken PEM: {error}"));
    let (_, document) = SecretDocument::from_pem(encrypted).map_err(|error| broken(&error))?;
    let info = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
        .map_err(|error| broken(&error))?;
    let key = info.decrypt(passphrase).map_err(|_| {
        config(
            name,
            format!(
                "the passphrase does not decrypt the private key, or its cipher is not one of \
                 PBES2 with AES or 3DES; `openssl pkey -in {name} -noout` tells whether the \
                 passphrase is right"
            ),
        )
    })?;
    usable(name, &PrivatePkcs8KeyDer::from(key.as_bytes()).into())
}

fn usable(name: &str, key: &PrivateKeyDer<'_>) -> Result<Arc<dyn SigningKey>> {
    any_supported_type(key).map_err(|error| {
        config(
            name,
            format!(
                "the private key cannot be used ({error}); keys are RSA of 2048 to 8192 bits, \
                 ECDSA on P-256, P-384 or P-521, or Ed25519: `openssl genpkey -algorithm EC \
                 -pkeyopt ec_paramgen_curve:P-256 -out key.pem` makes one"
            ),
        )
    })
}

/// The PEM section of an encrypted key in PKCS#8, which pki-types passes over in silence.
fn encrypted_section(text: &str) -> Option<&str> {
    let start = text.find(ENCRYPTED_BEGIN)?;
    let section = text.get(start..)?;
    let len = section.find(ENCRYPTED_END)? + ENCRYPTED_END.len();
    section.get(..len)
}

const ENCRYPTED_BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const ENCRYPTED_END: &str = "-----END ENCRYPTED PRIVATE KEY-----";

/// A header inside the PEM section, which pki-types takes for broken base64.
const LEGACY_ENCRYPTION: &str = "Proc-Type: 4,ENCRYPTED";
