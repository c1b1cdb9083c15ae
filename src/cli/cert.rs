use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};

use super::tickets::Tickets;
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::machine::wall_s;

/// Certificates for development, and keys of session tickets
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Example:\n  sealwire cert init certs\n  sealwire cert tickets tickets.keys"
)]
pub(super) enum Cert {
    Init(Init),
    Tickets(Tickets),
}

/// Make a development authority with a server and a client certificate
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Init {
    /// Where to write them; made where it is missing
    dir: PathBuf,
    /// A further DNS name or IP address of the server
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

impl Cert {
    pub(super) fn run(self) -> Result<()> {
        match self {
            Self::Init(init) => init.run(),
            Self::Tickets(tickets) => tickets.run(),
        }
    }
}

impl Init {
    /// Without further names, replacing nothing.
    #[cfg(test)]
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            names: Vec::new(),
            force: false,
        }
    }

    pub(super) fn run(&self) -> Result<()> {
        let failed = |error| Error::io(self.dir.display(), &error);
        self.check_names()?;
        fs::create_dir_all(&self.dir).map_err(failed)?;
        self.check_absent()?;
        write_all(&self.dir, &self.names, self.force)?;
        let dir = self.dir.display();
        let mut out = io::stdout().lock();
        // The files are there; a reader that has gone away changes nothing.
        let _ = writeln!(out, "wrote {} to {dir}", FILES.join(", "));
        Ok(())
    }

    fn check_names(&self) -> Result<()> {
        for name in &self.names {
            if crate::tls::ServerName::try_from(name.as_str()).is_err() {
                let text = format!("--name: {name:?} is neither a DNS name nor an IP address");
                return Err(Error::new(ErrorKind::Config, text));
            }
        }
        Ok(())
    }

    fn check_absent(&self) -> Result<()> {
        if self.force {
            return Ok(());
        }
        for name in FILES {
            let path = self.dir.join(name);
            if path.symlink_metadata().is_ok() {
                let path = path.display();
                let text = format!("{path} is there already; --force replaces it");
                return Err(Error::new(ErrorKind::Config, text));
            }
        }
        Ok(())
    }
}

/// Makes all of [`FILES`] in a directory that is there; the server's certificate is for `names`
/// too.
pub(super) fn write_all(dir: &Path, names: &[String], replace: bool) -> Result<()> {
    let files = generate(names, wall_s())
        .map_err(|error| Error::new(ErrorKind::Internal, format!("make certificates: {error}")))?;
    for (name, text) in FILES.iter().zip(files) {
        let path = dir.join(name);
        write_file(&path, &text, mode(name), replace)
            .map_err(|error| Error::io(path.display(), &error))?;
    }
    Ok(())
}

/// The texts of [`FILES`], in their order.
fn generate(names: &[String], now_s: u64) -> std::result::Result<[String; 6], rcgen::Error> {
    let ca_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let ca_key_text = ca_key.serialize_pem();
    let ca = CertifiedIssuer::self_signed(ca_params(now_s)?, ca_key)?;

    let mut server_names: Vec<String> = LOCAL_NAMES.map(str::to_owned).into();
    server_names.extend(
        names
            .iter()
            .filter(|n| !LOCAL_NAMES.contains(&n.as_str()))
            .cloned(),
    );
    let server_cn = names.first().map_or("localhost", String::as_str);
    let server = leaf_params(
        server_cn,
        server_names,
        ExtendedKeyUsagePurpose::ServerAuth,
        now_s,
    )?;
    let server_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let server = server.signed_by(&server_key, &ca)?;

    let client_use = ExtendedKeyUsagePurpose::ClientAuth;
    let client = leaf_params("Sealwire development client", Vec::new(), client_use, now_s)?;
    let client_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let client = client.signed_by(&client_key, &ca)?;

    Ok([
        ca.pem(),
        ca_key_text,
        server.pem(),
        server_key.serialize_pem(),
        client.pem(),
        client_key.serialize_pem(),
    ])
}

fn ca_params(now_s: u64) -> std::result::Result<CertificateParams, rcgen::Error> {
    let mut params = params("Sealwire development CA", Vec::new(), now_s, CA_DAYS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn leaf_params(
    cn: &str,
    names: Vec<String>,
    purpose: ExtendedKeyUsagePurpose,
    now_s: u64,
) -> std::result::Result<CertificateParams, rcgen::Error> {
    let mut params = params(cn, names, now_s, LEAF_DAYS)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn params(
    cn: &str,
    names: Vec<String>,
    now_s: u64,
    days: u64,
) -> std::result::Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, cn);
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(now_s.saturating_sub(CLOCK_SKEW_S));
    params.not_after = epoch + Duration::from_secs(now_s + days * 86_400);
    Ok(params)
}

fn write_file(path: &Path, text: &str, mode: u32, replace: bool) -> io::Result<()> {
    if replace {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())
}

fn mode(name: &str) -> u32 {
    if name.ends_with("-key.pem") {
        0o600
    } else {
        0o644
    }
}

const FILES: [&str; 6] = [
    "ca.pem",
    "ca-key.pem",
    "server-cert.pem",
    "server-key.pem",
    "client-cert.pem",
    "client-key.pem",
];

const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

const CA_DAYS: u64 = 3_650;

/// What clients of today accept at most from a server.
const LEAF_DAYS: u64 = 397;

/// Other machines' clocks may be behind ours.
const CLOCK_SKEW_S: u64 = 3_600;

const EXAMPLE: &str = "\
Writes ca.pem, ca-key.pem, server-cert.pem, server-key.pem, client-cert.pem and client-key.pem:
ECDSA P-256, keys in PKCS#8 that only their owner may read. The server's certificate is for
localhost, 127.0.0.1, ::1 and each --name.

Example:
  sealwire cert init certs --name db.example --name 10.0.0.7";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use x509_parser::prelude::{GeneralName, parse_x509_pem};

    use super::*;
    use crate::tls::{Identity, Pem, Roots};

    fn read(dir: &Path, name: &str) -> Vec<u8> {
        fs::read(dir.join(name)).unwrap()
    }

    fn assert_identity(dir: &Path, who: &str) {
        let (cert, key) = (format!("{who}-cert.pem"), format!("{who}-key.pem"));
        let (chain, key_text) = (read(dir, &cert), read(dir, &key));
        let chain = Pem {
            name: &cert,
            text: &chain,
        };
        let key = Pem {
            name: &key,
            text: &key_text,
        };
        Identity::from_pem(chain, key).unwrap();
    }

    #[test]
    fn what_it_writes_can_be_used_and_keys_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("new/certs");
        Init::new(dir.clone()).run().unwrap();
        assert_identity(&dir, "server");
        assert_identity(&dir, "client");
        let ca = read(&dir, "ca.pem");
        let ca = Pem {
            name: "ca.pem",
            text: &ca,
        };
        Roots::from_pem(&[ca]).unwrap();
        for name in FILES {
            let mode = fs::metadata(dir.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077 == 0, name.ends_with("-key.pem"), "{name}");
        }
        let key = String::from_utf8(read(&dir, "server-key.pem")).unwrap();
        assert!(key.starts_with("-----BEGIN PRIVATE KEY-----"));
    }

    #[test]
    fn certificates_say_what_they_are_for() {
        let names = ["db.example", "10.0.0.7", "::1"].map(str::to_owned);
        let [_, _, server, _, client, _] = generate(&names, 1_800_000_000).unwrap();
        let pem = parse_x509_pem(server.as_bytes()).unwrap().1;
        let server = pem.parse_x509().unwrap();
        let names = server.subject_alternative_name().unwrap().unwrap();
        let local6 = std::net::Ipv6Addr::LOCALHOST.octets();
        assert_eq!(
            names.value.general_names,
            [
                GeneralName::DNSName("localhost"),
                GeneralName::IPAddress(&[127, 0, 0, 1]),
                GeneralName::IPAddress(&local6),
                GeneralName::DNSName("db.example"),
                GeneralName::IPAddress(&[10, 0, 0, 7]),
            ]
        );
        assert_eq!(server.subject().to_string(), "CN=db.example");
        let uses = server.extended_key_usage().unwrap().unwrap().value;
        assert!(uses.server_auth && !uses.client_auth);
        let expiry_s = server.validity().not_after.timestamp();
        assert_eq!(expiry_s, 1_800_000_000 + 397 * 86_400);
        let pem = parse_x509_pem(client.as_bytes()).unwrap().1;
        let client = pem.parse_x509().unwrap();
        let uses = client.extended_key_usage().unwrap().unwrap().value;
        assert!(uses.client_auth && !uses.server_auth);
    }

    #[test]
    fn files_are_replaced_by_force_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client-key.pem");
        fs::write(&path, "precious").unwrap();
        let mut init = Init::new(dir.path().to_owned());
        let error = init.run().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let path_text = path.display();
        assert_eq!(
            error.to_string(),
            format!("{path_text} is there already; --force replaces it")
        );
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        assert!(!dir.path().join("ca.pem").exists());
        init.force = true;
        init.run().unwrap();
        assert_identity(dir.path(), "client");
    }

    #[test]
    fn names_that_are_none_are_refused() {
        let mut init = Init::new("unused".into());
        init.names = vec!["no name".into()];
        let error = init.run().unwrap_err();
        assert_eq!(
            error.to_string(),
            "--name: \"no name\" is neither a DNS name nor an IP address"
        );
    }
}
