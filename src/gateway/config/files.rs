use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::mem;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::digest::RouteHasher;
use super::document::Given;
use crate::error::Result;
use crate::frame::mysql::auth::PublicKey;
use crate::tls::{Crls, Identity, Pem, Roots, TicketKeys};

/// The files of one configuration, each read once, so that two routes never see two states of
/// one file.
pub(crate) struct Files {
    base: PathBuf,
    /// The authorities of the operating system, once they were asked for.
    system: Option<Arc<Roots>>,
    read: HashMap<PathBuf, (Stamp, Zeroizing<Vec<u8>>)>,
    /// What was asked for since the last call of [`Files::take_hasher`].
    hasher: RouteHasher,
}

/// What tells one state of a file from another: a file that took its place has another number, one
/// that was written to was changed at another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    /// Seconds and nanoseconds.
    changed: (i64, i64),
}

impl Stamp {
    /// Of the file that is behind this path now, all links followed; `None` where there is none.
    pub(crate) fn look(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().as_ref().map(Self::of)
    }

    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Files {
    /// Relative paths are relative to `base`.
    pub(crate) fn new(base: PathBuf) -> Self {
        Self {
            base,
            system: None,
            read: HashMap::new(),
            hasher: RouteHasher::new(),
        }
    }

    pub(super) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.base.join(path)
    }

    pub(crate) fn identity(
        &mut self,
        cert: &Given<String>,
        key: &Given<String>,
        passphrase: Option<&[u8]>,
    ) -> Result<Arc<Identity>> {
        let cert_path = self.load(cert)?;
        let key_path = self.load(key)?;
        let cert_name = cert_path.display().to_string();
        let key_name = key_path.display().to_string();
        let chain = self.pem(&cert_path, &cert_name);
        let key_pem = self.pem(&key_path, &key_name);
        let identity = match passphrase {
            Some(passphrase) => Identity::from_encrypted_pem(chain, key_pem, passphrase),
            None => Identity::from_pem(chain, key_pem),
        };
        identity.map_err(|error| {
            let is_about_key = error.to_string().starts_with(&key_name);
            let place = if is_about_key {
                &key.place
            } else {
                &cert.place
            };
            place.error(error)
        })
    }

    pub(crate) fn roots(&mut self, ca: &Given<String>) -> Result<Arc<Roots>> {
        if ca.value == SYSTEM {
            return self.system_roots().map_err(|error| ca.place.error(error));
        }
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

    pub(super) fn crls(
        &mut self,
        first: &Given<String>,
        more: &[Given<String>],
    ) -> Result<Arc<Crls>> {
        let given = std::iter::once(first).chain(more);
        let paths: Vec<_> = given.map(|file| self.load(file)).collect::<Result<_>>()?;
        let names: Vec<_> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let files = paths.iter().zip(&names);
        let files: Vec<_> = files.map(|(path, name)| self.pem(path, name)).collect();
        Crls::from_pem(&files).map_err(|error| first.place.error(error))
    }

    pub(super) fn ticket_keys(&mut self, tickets: &Given<String>) -> Result<Arc<TicketKeys>> {
        let path = self.load(tickets)?;
        let name = path.display().to_string();
        TicketKeys::from_bytes(&name, self.bytes(&path)).map_err(|error| tickets.place.error(error))
    }

    /// The first line of a file: what is behind it an editor may have put there.
    pub(crate) fn passphrase(&mut self, file: &Given<String>) -> Result<Zeroizing<Vec<u8>>> {
        let path = self.load(file)?;
        let first = self.bytes(&path).split(|byte| *byte == b'\n').next();
        let first = first.unwrap_or_default();
        let line = first.strip_suffix(b"\r").unwrap_or(first);
        if line.is_empty() {
            let path = path.display();
            let text = format!("{path}: its first line is empty, and should be the passphrase");
            return Err(file.place.error(text));
        }
        Ok(Zeroizing::new(line.to_vec()))
    }

    /// The lines of a text file but for empty ones and those that begin with `#`.
    pub(super) fn lines(&mut self, file: &Given<String>) -> Result<Vec<Given<String>>> {
        let path = self.load(file)?;
        let text = String::from_utf8_lossy(self.bytes(&path));
        let lines: Vec<_> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| Given {
                value: line.to_owned(),
                place: file.place.clone(),
            })
            .collect();
        if lines.is_empty() {
            let path = path.display();
            return Err(file.place.error(format!("{path}: holds no line")));
        }
        Ok(lines)
    }

    /// The contents of all that was asked for since the last call.
    pub(super) fn take_hasher(&mut self) -> RouteHasher {
        mem::replace(&mut self.hasher, RouteHasher::new())
    }

    fn system_roots(&mut self) -> Result<Arc<Roots>> {
        let roots = match &self.system {
            Some(roots) => Arc::clone(roots),
            None => self.read_system_roots()?,
        };
        self.hasher.add(roots.digest());
        Ok(roots)
    }

    fn read_system_roots(&mut self) -> Result<Arc<Roots>> {
        let found = rustls_native_certs::load_native_certs();
        let certificates = found
            .certs
            .into_iter()
            .map(|certificate| certificate.to_vec());
        let roots = Roots::from_der("the system's authorities", certificates)?;
        self.system = Some(Arc::clone(&roots));
        Ok(roots)
    }

    fn load(&mut self, file: &Given<String>) -> Result<PathBuf> {
        let path = self.path(&file.value);
        if !self.read.contains_key(&path) {
            let read = read_with_stamp(&path)
                .map_err(|error| file.place.error(format!("{}: {error}", path.display())))?;
            self.read.insert(path.clone(), read);
        }
        if let Some((_, text)) = self.read.get(&path) {
            self.hasher.add(&text[..]);
        }
        Ok(path)
    }

    fn pem<'a>(&'a self, path: &Path, name: &'a str) -> Pem<'a> {
        Pem {
            name,
            text: self.bytes(path),
        }
    }

    fn bytes(&self, path: &Path) -> &[u8] {
        self.read.get(path).map_or(&[], |(_, text)| text.as_slice())
    }

    /// What was read, as it was then.
    pub(super) fn into_stamps(self) -> Vec<(PathBuf, Stamp)> {
        let read = self.read.into_iter();
        read.map(|(path, (stamp, _))| (path, stamp)).collect()
    }
}

/// The stamp is that of the very file that is read, whatever takes its place meanwhile.
fn read_with_stamp(path: &Path) -> io::Result<(Stamp, Zeroizing<Vec<u8>>)> {
    let file = File::open(path)?;
    let stamp = Stamp::of(&file.metadata()?);
    Ok((stamp, Zeroizing::new(read_bounded(file)?)))
}

/// A whole file of at most [`FILE_LEN_MAX`] bytes.
pub(super) fn read_bounded(file: File) -> io::Result<Vec<u8>> {
    // Reserved once: growing would leave copies of a private key behind in freed memory.
    let len = file.metadata()?.len().min(FILE_LEN_MAX);
    let mut text = Vec::with_capacity(usize::try_from(len).unwrap_or(0) + 1);
    file.take(FILE_LEN_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_LEN_MAX {
        let message = format!("larger than {FILE_LEN_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}

/// As `ca`: the authorities of the operating system. A file of this name is `./system`.
pub(crate) const SYSTEM: &str = "system";

/// Bytes of a configuration or PEM file: the largest bundles of authorities have a quarter of this,
/// and a device or pipe given by mistake ends here.
const FILE_LEN_MAX: u64 = 1 << 20;
