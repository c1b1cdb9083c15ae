//! Certificates, keys and revocation lists as the `openssl` command makes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::SystemTime;

use sealwire::time::Now;
use sealwire::tls::{Crls, Identity, Pem, Roots};

/// A directory that `openssl` works in. Files are named after what they are of: `NAME.pem`,
/// `NAME-key.pem`.
pub(crate) struct Pki {
    directory: tempfile::TempDir,
}

/// Says why a test does nothing; a failure where nothing may be skipped.
pub(crate) fn skip(reason: &str) {
    println!("skipped: {reason}");
    assert!(
        std::env::var_os("REQUIRE_ALL").is_none_or(|value| value != "1"),
        "REQUIRE_ALL=1: {reason}"
    );
}

/// A directory to work in; `None`, with the reason printed, where there is no `openssl`.
pub(crate) fn pki() -> Option<Pki> {
    let is_there = Command::new("openssl").arg("version").output().is_ok();
    if !is_there {
        skip("the openssl command is not there");
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("ca.cnf"), CA_CNF).unwrap();
    fs::write(directory.path().join("index.txt"), "").unwrap();
    fs::write(directory.path().join("crlnumber"), "01\n").unwrap();
    Some(Pki { directory })
}

/// The time of the machine, since `openssl` dates what it makes by it, and `days` later.
pub(crate) fn in_days(days: i64) -> Now {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    Now {
        wall_s: now.as_secs().checked_add_signed(days * 86_400).unwrap(),
        ..Now::default()
    }
}

pub(crate) fn now() -> Now {
    in_days(0)
}

impl Pki {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Runs `openssl`, whose arguments are parted by blanks; `~` stands for a blank inside one.
    pub(crate) fn openssl(&self, arguments: &str) -> Output {
        let arguments: Vec<_> = arguments
            .split_whitespace()
            .map(|argument| argument.replace('~', " "))
            .collect();
        let output = Command::new("openssl")
            .args(&arguments)
            .current_dir(self.directory.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        output
    }

    pub(crate) fn key(&self, name: &str, algorithm: &str) {
        self.openssl(&format!(
            "genpkey -algorithm {algorithm} -out {name}-key.pem"
        ));
    }

    /// A self-signed authority, as `openssl req -x509` makes it.
    pub(crate) fn ca(&self, name: &str, subject: &str) {
        self.key(name, EC);
        self.openssl(&format!(
            "req -x509 -new -key {name}-key.pem -subj {subject} -days 3650 -out {name}.pem"
        ));
    }

    /// A certificate of `ca` with a new key and these extensions, parted by commas; none: X.509 v1.
    pub(crate) fn leaf(&self, name: &str, subject: &str, ca: &str, extensions: &str) {
        self.key(name, EC);
        self.sign(name, subject, ca, extensions);
    }

    /// The same for the key that is there.
    pub(crate) fn sign(&self, name: &str, subject: &str, ca: &str, extensions: &str) {
        self.openssl(&format!(
            "req -new -key {name}-key.pem -subj {subject} -out {name}.csr"
        ));
        let mut command = format!(
            "x509 -req -in {name}.csr -CA {ca}.pem -CAkey {ca}-key.pem -CAcreateserial -days 365 -out {name}.pem"
        );
        if !extensions.is_empty() {
            let text = extensions.replace(';', "\n");
            fs::write(self.path("extensions.cnf"), text).unwrap();
            command.push_str(" -extfile extensions.cnf");
        }
        self.openssl(&command);
    }

    pub(crate) fn text(&self, file: &str) -> Vec<u8> {
        fs::read(self.path(file)).unwrap()
    }

    pub(crate) fn write(&self, file: &str, parts: &[&str]) {
        let text: Vec<u8> = parts.iter().flat_map(|part| self.text(part)).collect();
        fs::write(self.path(file), text).unwrap();
    }

    pub(crate) fn roots(&self, name: &str) -> Arc<Roots> {
        let file = format!("{name}.pem");
        let text = self.text(&file);
        Roots::from_pem(&[Pem {
            name: &file,
            text: &text,
        }])
        .unwrap()
    }

    pub(crate) fn identity(&self, name: &str) -> Arc<Identity> {
        self.identity_of(&format!("{name}.pem"), &format!("{name}-key.pem"))
            .unwrap()
    }

    pub(crate) fn identity_of(
        &self,
        chain: &str,
        key: &str,
    ) -> sealwire::error::Result<Arc<Identity>> {
        let (chain_text, key_text) = (self.text(chain), self.text(key));
        Identity::from_pem(
            Pem {
                name: chain,
                text: &chain_text,
            },
            Pem {
                name: key,
                text: &key_text,
            },
        )
    }

    pub(crate) fn revoke(&self, name: &str, ca: &str) {
        self.openssl(&format!(
            "ca -config ca.cnf -cert {ca}.pem -keyfile {ca}-key.pem -revoke {name}.pem"
        ));
    }

    /// The revocation list of `ca`, due in a month.
    pub(crate) fn crl(&self, ca: &str) -> Arc<Crls> {
        self.openssl(&format!(
            "ca -config ca.cnf -cert {ca}.pem -keyfile {ca}-key.pem -gencrl -crldays 30 -out {ca}-crl.pem"
        ));
        let file = format!("{ca}-crl.pem");
        let text = self.text(&file);
        Crls::from_pem(&[Pem {
            name: &file,
            text: &text,
        }])
        .unwrap()
    }

    pub(crate) fn fingerprint(&self, name: &str) -> [u8; 32] {
        let output = self.openssl(&format!("x509 -in {name}.pem -noout -fingerprint -sha256"));
        let text = String::from_utf8(output.stdout).unwrap();
        let hex = text.trim().rsplit('=').next().unwrap();
        let bytes: Vec<_> = hex
            .split(':')
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect();
        bytes.try_into().unwrap()
    }
}

/// What a server's certificate should have.
pub(crate) const FOR_LOCALHOST: &str = "subjectAltName=DNS:localhost;basicConstraints=CA:FALSE";

/// What a client's certificate should have.
pub(crate) const FOR_CLIENT: &str = "basicConstraints=CA:FALSE;extendedKeyUsage=clientAuth";

pub(crate) const EC: &str = "EC -pkeyopt ec_paramgen_curve:P-256";

const CA_CNF: &str = "[ca]
default_ca = this
[this]
database = index.txt
crlnumber = crlnumber
default_md = sha256
crl_extensions = crl
[crl]
authorityKeyIdentifier = keyid:always
";
