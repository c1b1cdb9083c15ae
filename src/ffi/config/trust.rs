//! Whom a configuration believes.

use std::ffi::{c_char, c_int, c_void};
use std::sync::Arc;

use super::builder::{Builder, End, one_of, sealwire_config_builder, set, unusable};
use super::files::{File, read, read_system};
use crate::ffi::pointer;
use crate::ffi::result::Failure;
use crate::ffi::result::sealwire_result;
use crate::tls::{ClientAuth, ClientIdentity, Crls, Fingerprint, Roots, Verify, read_fingerprint};

/// Clients are not asked for a certificate.
pub const SEALWIRE_CLIENT_CERT_NONE: c_int = 0;
/// Clients are asked for a certificate and may do without; one that is shown must be good.
pub const SEALWIRE_CLIENT_CERT_OPTIONAL: c_int = 1;
/// Clients have to show a good certificate.
pub const SEALWIRE_CLIENT_CERT_REQUIRED: c_int = 2;

/// What the builder was told of trust.
#[derive(Default)]
pub(super) struct TrustOptions {
    roots: Vec<File>,
    crls: Vec<File>,
    crl_required: bool,
    pins: Vec<Fingerprint>,
    judging: Judging,
    pub(super) allow_cn_name: bool,
    client_cert: Option<ClientCert>,
    pub(super) allowed_clients: Vec<ClientIdentity>,
}

/// How a client judges servers.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Judging {
    #[default]
    Full,
    Ca,
    Fingerprint,
    DangerNone,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ClientCert {
    None,
    Optional,
    Required,
}

/// Adds trusted certificate authorities: one or more certificates as PEM. Each call adds to those
/// of the calls before.
///
/// ::SEALWIRE_ERR_CONFIG where there is none in it or one cannot be read.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_add_roots_pem(
    builder: *mut sealwire_config_builder,
    pem: *const u8,
    pem_len: usize,
) -> sealwire_result {
    set(builder, |builder| {
        let text = pointer::bytes("pem", pem.cast::<c_void>(), pem_len)?;
        builder.trust.add_roots(File::of("roots", text))
    })
}

/// The same from a file.
///
/// ::SEALWIRE_ERR_CONFIG where it cannot be read, there is none in it or one cannot be used.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_add_roots_file(
    builder: *mut sealwire_config_builder,
    path: *const c_char,
) -> sealwire_result {
    set(builder, |builder| {
        builder.trust.add_roots(read("path", path)?)
    })
}

/// Adds the certificate authorities of the operating system, wherever it keeps them; the
/// environment variables SSL_CERT_FILE and SSL_CERT_DIR say otherwise, as to OpenSSL. They are read
/// by this call. Those that cannot be used are passed over.
///
/// ::SEALWIRE_ERR_CONFIG where there is none.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_add_roots_system(
    builder: *mut sealwire_config_builder,
) -> sealwire_result {
    set(builder, |builder| builder.trust.add_roots(read_system()?))
}

/// Adds certificate revocation lists of the authorities: one or more as PEM. A certificate that is
/// on one is refused, and so is one that its authority's revoked.
///
/// ::SEALWIRE_ERR_CONFIG where there is none in it or one cannot be read.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_add_crls_pem(
    builder: *mut sealwire_config_builder,
    pem: *const u8,
    pem_len: usize,
) -> sealwire_result {
    set(builder, |builder| {
        let text = pointer::bytes("pem", pem.cast::<c_void>(), pem_len)?;
        builder.trust.add_crls(File::of("crls", text))
    })
}

/// The same from a file.
///
/// ::SEALWIRE_ERR_CONFIG where it cannot be read, there is none in it or one cannot be used.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_add_crls_file(
    builder: *mut sealwire_config_builder,
    path: *const c_char,
) -> sealwire_result {
    set(builder, |builder| {
        builder.trust.add_crls(read("path", path)?)
    })
}

/// Refuses certificates of which it is not known whether they were revoked: the list of their
/// issuer is missing or overdue. Without this call they are good, and an overdue list counts as it
/// stands.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_set_crls_required(
    builder: *mut sealwire_config_builder,
) -> sealwire_result {
    set(builder, |builder| {
        builder.trust.crl_required = true;
        Ok(())
    })
}

/// Believes a server with any certificate of the trusted authorities that is in date; its name is
/// not looked at. Give the servers an authority of their own: a client's certificate will do, too.
/// For clients only.
///
/// ::SEALWIRE_ERR_STATE where it was told to judge in another way.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_set_verify_ca(
    builder: *mut sealwire_config_builder,
) -> sealwire_result {
    set(builder, |builder| builder.judge(Judging::Ca))
}

/// Lets the common name of a server's certificate count where it has no DNS name, it is the only
/// one, and it equals the name. Otherwise such a certificate is refused. For clients that verify in
/// full.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_allow_cn_name(
    builder: *mut sealwire_config_builder,
) -> sealwire_result {
    set(builder, |builder| {
        builder.expect(End::Client)?;
        builder.trust.allow_cn_name = true;
        Ok(())
    })
}

/// Believes a server with this certificate, or with one of several where it is called several
/// times. Nothing else about it counts, dates and authorities included. For clients only.
///
/// `sha256` is the SHA-256 of the certificate in 64 hexadecimal digits, with colons or without, as
/// `openssl x509 -noout -fingerprint -sha256` prints it. ::SEALWIRE_ERR_ARGUMENT where it is not;
/// ::SEALWIRE_ERR_STATE where servers are to be judged in another way.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_add_server_fingerprint(
    builder: *mut sealwire_config_builder,
    sha256: *const c_char,
) -> sealwire_result {
    set(builder, |builder| {
        let pin = read_pin(sha256)?;
        builder.judge(Judging::Fingerprint)?;
        builder.trust.pins.push(pin);
        Ok(())
    })
}

/// Accepts any server certificate: whoever answers is believed to be the server, and anybody on the
/// path can read and change everything. For clients only.
///
/// ::SEALWIRE_ERR_STATE where it was told to judge in another way.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_danger_accept_any_certificate(
    builder: *mut sealwire_config_builder,
) -> sealwire_result {
    set(builder, |builder| builder.judge(Judging::DangerNone))
}

/// Says whether clients have to show a certificate: SEALWIRE_CLIENT_CERT_NONE, _OPTIONAL or
/// _REQUIRED; by default _OPTIONAL where authorities were added, _NONE otherwise. For servers only.
///
/// ::SEALWIRE_ERR_ARGUMENT where `client_cert` is none of these.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_set_client_cert(
    builder: *mut sealwire_config_builder,
    client_cert: c_int,
) -> sealwire_result {
    set(builder, |builder| {
        builder.expect(End::Server)?;
        let client_cert = one_of("client_cert", client_cert, CLIENT_CERTS)?;
        builder.trust.client_cert = Some(client_cert);
        Ok(())
    })
}

/// Lets in clients with this certificate alone, or with one of several where it is called several
/// times. Nothing else about it counts, dates and authorities included. For servers only.
///
/// `sha256` is as for sealwire_config_builder_add_server_fingerprint().
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_add_client_fingerprint(
    builder: *mut sealwire_config_builder,
    sha256: *const c_char,
) -> sealwire_result {
    set(builder, |builder| {
        builder.expect(End::Server)?;
        builder.trust.pins.push(read_pin(sha256)?);
        Ok(())
    })
}

/// Of the clients with a good certificate, lets in this one, or one of several where it is called
/// several times. `client` is "cn:NAME" for the only common name of the subject, "san:NAME" for an
/// alternative name as written, or "sha256:FINGERPRINT"; names are compared whole. For servers
/// only.
///
/// ::SEALWIRE_ERR_ARGUMENT where it is none of these.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_add_allowed_client(
    builder: *mut sealwire_config_builder,
    client: *const c_char,
) -> sealwire_result {
    set(builder, |builder| {
        builder.expect(End::Server)?;
        let client = pointer::text("client", client)?;
        let client = client.parse().map_err(|()| {
            Failure::argument(format!(
                "{client:?} names no client: \"cn:NAME\", \"san:NAME\" or \"sha256:FINGERPRINT\""
            ))
        })?;
        builder.trust.allowed_clients.push(client);
        Ok(())
    })
}

impl Builder {
    fn judge(&mut self, judging: Judging) -> Result<(), Failure> {
        self.expect(End::Client)?;
        let current = self.trust.judging;
        if current != Judging::Full && current != judging {
            return Err(Failure::state("servers are to be judged in another way"));
        }
        self.trust.judging = judging;
        Ok(())
    }
}

impl TrustOptions {
    fn add_roots(&mut self, file: File) -> Result<(), Failure> {
        Roots::from_pem(&[file.pem()])?;
        self.roots.push(file);
        Ok(())
    }

    fn add_crls(&mut self, file: File) -> Result<(), Failure> {
        Crls::from_pem(&[file.pem()])?;
        self.crls.push(file);
        Ok(())
    }

    /// How servers are judged.
    pub(super) fn verify(&self) -> Result<Verify, Failure> {
        if self.allow_cn_name && self.judging != Judging::Full {
            return Err(unusable("the common name counts only in full verification"));
        }
        match self.judging {
            Judging::Full => self.roots("server").map(Verify::Full),
            Judging::Ca => self.roots("server").map(Verify::Ca),
            Judging::Fingerprint => {
                self.reject_authorities("with fingerprints")?;
                Ok(Verify::Fingerprint(self.pins.clone()))
            }
            Judging::DangerNone => {
                self.reject_authorities("where any certificate is accepted")?;
                Ok(Verify::DangerNone)
            }
        }
    }

    /// How clients are judged.
    pub(super) fn client_auth(&self) -> Result<ClientAuth, Failure> {
        if !self.pins.is_empty() {
            return self.pinned_clients();
        }
        let default = match self.roots.is_empty() {
            true => ClientCert::None,
            false => ClientCert::Optional,
        };
        match self.client_cert.unwrap_or(default) {
            ClientCert::None => {
                self.reject_authorities("where clients are not asked for a certificate")?;
                self.reject_allowed("where clients are not asked for a certificate")?;
                Ok(ClientAuth::None)
            }
            ClientCert::Optional => self.roots("client").map(ClientAuth::Optional),
            ClientCert::Required => self.roots("client").map(ClientAuth::Required),
        }
    }

    fn pinned_clients(&self) -> Result<ClientAuth, Failure> {
        self.reject_authorities("with fingerprints")?;
        self.reject_allowed("with fingerprints")?;
        match self.client_cert {
            None | Some(ClientCert::Required) => Ok(ClientAuth::Fingerprint(self.pins.clone())),
            Some(_) => Err(unusable(
                "a client certificate can only be required with fingerprints",
            )),
        }
    }

    fn roots(&self, whose: &str) -> Result<Arc<Roots>, Failure> {
        if self.roots.is_empty() {
            return Err(unusable(format!(
                "no certificate authority was added to judge the {whose} by"
            )));
        }
        let roots = Roots::from_pem(&self.roots.iter().map(File::pem).collect::<Vec<_>>())?;
        match (self.crls.is_empty(), self.crl_required) {
            (true, false) => Ok(roots),
            (true, true) => Err(unusable(
                "revocation lists are required, and none was added",
            )),
            (false, is_required) => {
                let crls = Crls::from_pem(&self.crls.iter().map(File::pem).collect::<Vec<_>>())?;
                Ok(roots.with_crls(crls, is_required))
            }
        }
    }

    /// An option that does nothing misleads whoever reads the program.
    fn reject_authorities(&self, why: &str) -> Result<(), Failure> {
        let what = match (self.roots.as_slice(), self.crls.as_slice()) {
            ([_, ..], _) => "certificate authorities",
            (_, [_, ..]) => "revocation lists",
            _ if self.crl_required => "required revocation lists",
            _ => return Ok(()),
        };
        Err(unusable(format!("{what} have no effect {why}")))
    }

    fn reject_allowed(&self, why: &str) -> Result<(), Failure> {
        match self.allowed_clients.is_empty() {
            true => Ok(()),
            false => Err(unusable(format!("allowed clients have no effect {why}"))),
        }
    }
}

fn read_pin(sha256: *const c_char) -> Result<Fingerprint, Failure> {
    let text = pointer::text("sha256", sha256)?;
    read_fingerprint(text).ok_or_else(|| {
        Failure::argument(format!(
            "{text:?} is no fingerprint: 32 bytes in hex, as `openssl x509 -noout -fingerprint \
             -sha256` prints them"
        ))
    })
}

const CLIENT_CERTS: &[(c_int, ClientCert)] = &[
    (SEALWIRE_CLIENT_CERT_NONE, ClientCert::None),
    (SEALWIRE_CLIENT_CERT_OPTIONAL, ClientCert::Optional),
    (SEALWIRE_CLIENT_CERT_REQUIRED, ClientCert::Required),
];
