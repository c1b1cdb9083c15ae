//! Files that a builder is made of.

use std::ffi::c_char;
use std::fs;
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind};
use crate::ffi::pointer;
use crate::ffi::result::Failure;
use crate::tls::Pem;

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

fn unreadable(path: &Path, reason: &str) -> Error {
    Error::new(ErrorKind::Config, format!("cannot be read: {reason}")).at(path.display())
}
