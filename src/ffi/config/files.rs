//! Files that a builder is made of.

use std::ffi::c_char;
use std::fs;
use std::path::Path;

use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind};
use crate::ffi::pointer;
use crate::ffi::result::Failure;
use crate::tls::{Pem, Roots};

/// Text with the name under which errors speak of it. It may be a private key.
pub(super) struct File {
    name: String,
    text: Zeroizing<Vec<u8>>,
}

impl File {
    pub(super) fn of(name: &str, text: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            text: Zeroizing::new(text.to_vec()),
        }
    }

    pub(super) fn pem(&self) -> Pem<'_> {
        Pem {
            name: &self.name,
            text: &self.text,
        }
    }
}

/// Reads the file of a path.
pub(super) fn read(name: &str, path: *const c_char) -> Result<File, Failure> {
    let path = pointer::path(name, path)?;
    let text = fs::read(path).map_err(|error| unreadable(path, &error.to_string()))?;
    Ok(File {
        name: path.display().to_string(),
        text: Zeroizing::new(text),
    })
}

/// The operating system's authorities, but for those that cannot be used.
pub(super) fn read_system() -> Result<File, Failure> {
    let found = rustls_native_certs::load_native_certs().certs;
    let ders: Vec<_> = found.iter().map(|der| der.to_vec()).collect();
    Roots::from_der(SYSTEM, ders.iter().cloned())?;
    let armored = ders.iter().map(|der| armor(der));
    let is_usable = |text: &String| {
        let (name, text) = (SYSTEM, text.as_bytes());
        Roots::from_pem(&[Pem { name, text }]).is_ok()
    };
    let text: String = armored.filter(is_usable).collect();
    Ok(File::of(SYSTEM, text.as_bytes()))
}

fn armor(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

fn unreadable(path: &Path, reason: &str) -> Error {
    Error::new(ErrorKind::Config, format!("cannot be read: {reason}")).at(path.display())
}

/// What errors call the store.
const SYSTEM: &str = "the system's authorities";
