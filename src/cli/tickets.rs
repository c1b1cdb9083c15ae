use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use clap::Args;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::tls::{TICKET_KEY_LEN, TicketKeys};

/// Make the keys of session tickets, or rotate those that are there by one
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Tickets {
    /// Where they are
    file: PathBuf,
}

impl Tickets {
    pub(super) fn run(&self) -> Result<()> {
        let failed = |error| Error::io(self.file.display(), &error);
        let (kept, verb) = match fs::read(&self.file) {
            Ok(keys) => (self.without_previous(Zeroizing::new(keys))?, "rotated"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (Zeroizing::new(Vec::new()), "made")
            }
            Err(error) => return Err(failed(error)),
        };
        let mut keys = Zeroizing::new([0; 3 * TICKET_KEY_LEN]);
        let (old, new) = keys.split_at_mut(kept.len());
        old.copy_from_slice(&kept);
        rand::fill(new)
            .map_err(|_| Error::new(ErrorKind::Internal, "no random bytes are to be had"))?;
        replace(&self.file, keys.as_slice()).map_err(failed)?;
        // The keys are there; a reader that has gone away changes nothing.
        let _ = writeln!(io::stdout(), "{verb} {}", self.file.display());
        Ok(())
    }

    /// What is kept of keys that are found good.
    fn without_previous(&self, keys: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>> {
        TicketKeys::from_bytes(&self.file.display().to_string(), &keys)?;
        let kept = keys.get(TICKET_KEY_LEN..).unwrap_or_default();
        Ok(Zeroizing::new(kept.to_vec()))
    }
}

/// Whoever reads the file meanwhile finds the old keys or the new ones, whole.
fn replace(path: &Path, keys: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    let written = file.write_all(keys).and_then(|()| file.sync_all());
    let replaced = written.and_then(|()| fs::rename(&beside, path));
    if replaced.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&beside);
    }
    replaced
}

const EXAMPLE: &str = "\
A new file gets three keys: previous, current, next. In one that is there the previous key goes, the
others move up, and a new one comes last: copy it to every gateway, then reload each.

Example:
  sealwire cert tickets tickets.keys";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_made_and_then_rotated_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tickets.keys");
        let command = Tickets { file: file.clone() };
        command.run().unwrap();
        let first = fs::read(&file).unwrap();
        assert_eq!(first.len(), 3 * TICKET_KEY_LEN);
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        command.run().unwrap();
        let second = fs::read(&file).unwrap();
        assert_eq!(second[..2 * TICKET_KEY_LEN], first[TICKET_KEY_LEN..]);
        assert!(TicketKeys::from_bytes("tickets.keys", &second).is_ok());
    }

    #[test]
    fn what_is_no_set_of_keys_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        fs::write(&file, "a certificate").unwrap();
        let error = Tickets { file: file.clone() }.run().unwrap_err();
        assert!(
            error.to_string().contains("ca.pem: holds 13 bytes"),
            "{error}"
        );
        assert_eq!(fs::read(&file).unwrap(), b"a certificate");
    }
}
