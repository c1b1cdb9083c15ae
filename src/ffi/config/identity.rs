//! Who an end is, towards its peers.

use std::ffi::{c_char, c_void};

use super::builder::{sealwire_config_builder, set};
use super::files::{File, read};
use crate::ffi::pointer;
use crate::ffi::result::sealwire_result;
use crate::tls::Identity;

/// Sets who this end is: its certificate chain, leaf first, and its private key, both as PEM. Keys
/// may be PKCS#8, PKCS#1 or SEC1. The memory is not kept; the key is erased with the configuration.
///
/// ::SEALWIRE_ERR_CONFIG where one cannot be read or they do not belong together.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_set_identity_pem(
    builder: *mut sealwire_config_builder,
    chain: *const u8,
    chain_len: usize,
    key: *const u8,
    key_len: usize,
) -> sealwire_result {
    set(builder, |builder| {
        let chain = pointer::bytes("chain", chain.cast::<c_void>(), chain_len)?;
        let key = pointer::bytes("key", key.cast::<c_void>(), key_len)?;
        let (chain, key) = (File::of("chain", chain), File::of("key", key));
        builder.identity = Some(Identity::from_pem(chain.pem(), key.pem())?);
        Ok(())
    })
}

/// The same with a private key that is encrypted: PKCS#8 with PBES2. The passphrase is not kept.
///
/// ::SEALWIRE_ERR_CONFIG where it is the wrong one, too.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_set_identity_encrypted_pem(
    builder: *mut sealwire_config_builder,
    chain: *const u8,
    chain_len: usize,
    key: *const u8,
    key_len: usize,
    passphrase: *const u8,
    passphrase_len: usize,
) -> sealwire_result {
    set(builder, |builder| {
        let chain = pointer::bytes("chain", chain.cast::<c_void>(), chain_len)?;
        let key = pointer::bytes("key", key.cast::<c_void>(), key_len)?;
        let passphrase = passphrase.cast::<c_void>();
        let passphrase = pointer::bytes("passphrase", passphrase, passphrase_len)?;
        let (chain, key) = (File::of("chain", chain), File::of("key", key));
        let identity = Identity::from_encrypted_pem(chain.pem(), key.pem(), passphrase)?;
        builder.identity = Some(identity);
        Ok(())
    })
}

/// Sets who this end is from files: its certificate chain and its private key as PEM. They may be
/// the same file.
///
/// ::SEALWIRE_ERR_CONFIG where one cannot be read or they do not belong together.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_set_identity_files(
    builder: *mut sealwire_config_builder,
    chain_path: *const c_char,
    key_path: *const c_char,
) -> sealwire_result {
    set(builder, |builder| {
        let (chain, key) = (read("chain_path", chain_path)?, read("key_path", key_path)?);
        builder.identity = Some(Identity::from_pem(chain.pem(), key.pem())?);
        Ok(())
    })
}

/// The same with a private key that is encrypted: PKCS#8 with PBES2. The passphrase is not kept.
///
/// ::SEALWIRE_ERR_CONFIG where it is the wrong one, too.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_set_identity_encrypted_files(
    builder: *mut sealwire_config_builder,
    chain_path: *const c_char,
    key_path: *const c_char,
    passphrase: *const u8,
    passphrase_len: usize,
) -> sealwire_result {
    set(builder, |builder| {
        let (chain, key) = (read("chain_path", chain_path)?, read("key_path", key_path)?);
        let passphrase = passphrase.cast::<c_void>();
        let passphrase = pointer::bytes("passphrase", passphrase, passphrase_len)?;
        let identity = Identity::from_encrypted_pem(chain.pem(), key.pem(), passphrase)?;
        builder.identity = Some(identity);
        Ok(())
    })
}
