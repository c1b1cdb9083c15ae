use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::document::Given;
use crate::error::Result;
use crate::frame::mysql::auth::PublicKey;
use crate::tls::{Identity, Pem, Roots};

/// The PEM files of one configuration, each read once, so that two routes never see two states of
/// one file.
pub(super) struct Files {
    base: PathBuf,
    texts: HashMap<PathBuf, Zeroizing<Vec<u8>>>,
}

impl Files {
    /// Relative paths are relative to `base`.
    pub(super) fn new(base: PathBuf) -> Self {
        Self {
            base,
            texts: HashMap::new(),
        }
    }

    pub(super) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.base.join(path)
    }

    pub(super) fn identity(
        &mut self,
        cert: &Given<String>,
        key: &Given<String>,
    ) -> Result<Arc<Identity>> {
        let cert_path = self.load(cert)?;
        let key_path = self.load(key)?;
        let cert_name = cert_path.display().to_string();
        let key_name = key_path.display().to_string();
        let chain = self.pem(&cert_path, &cert_name);
        Identity::from_pem(chain, self.pem(&key_path, &key_name)).map_err(|error| {
            let is_about_key = error.to_string().starts_with(&key_name);
            let place = if is_about_key {
                &key.place
            } else {
                &cert.place
            };
            place.error(error)
        })
    }

    pub(super) fn roots(&mut self, ca: &Given<String>) -> Result<Arc<Roots>> {
        let path = self.load(ca)?;
        Roots::from_pem(&[self.pem(&path, &path.display().to_string())])
            .map_err(|error| ca.place.error(error))
    }

    /// An RSA key to which passwords are encrypted.
    pub(super) fn public_key(&mut self, file: &Given<String>) -> Result<PublicKey> {
        let path = self.load(file)?;
        let name = path.display().to_string();
        PublicKey::from_pem(self.pem(&path, &name).text)
            .map_err(|error| file.place.error(error.at(name)))
    }

    fn load(&mut self, file: &Given<String>) -> Result<PathBuf> {
        let path = self.path(&file.value);
        if !self.texts.contains_key(&path) {
            let text = read_bounded(&path)
                .map_err(|error| file.place.error(format!("{}: {error}", path.display())))?;
            self.texts.insert(path.clone(), Zeroizing::new(text));
        }
        Ok(path)
    }

    fn pem<'a>(&'a self, path: &Path, name: &'a str) -> Pem<'a> {
        Pem {
            name,
            text: self.texts.get(path).map_or(&[], |text| text.as_slice()),
        }
    }
}

/// A whole file of at most [`FILE_LEN_MAX`] bytes.
pub(super) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    // Reserved once: growing would leave copies of a private key behind in freed memory.
    let file = File::open(path)?;
    let len = file.metadata()?.len().min(FILE_LEN_MAX);
    let mut text = Vec::with_capacity(usize::try_from(len).unwrap_or(0) + 1);
    file.take(FILE_LEN_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_LEN_MAX {
        let message = format!("larger than {FILE_LEN_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}

/// Bytes of a configuration or PEM file: the largest bundles of authorities have a quarter of this,
/// and a device or pipe given by mistake ends here.
const FILE_LEN_MAX: u64 = 1 << 20;
