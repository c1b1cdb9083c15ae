//! What the peers of a route are trusted by.

use std::sync::Arc;

use super::document::Given;
use super::files::{Files, SYSTEM};
use super::legs::mode_error;
use super::plan::{ClientCert, VerifyMode};
use super::source::LegSource;
use crate::error::Result;
use crate::tls::{ClientIdentity, Fingerprint, Roots, Verify, read_fingerprint};

/// How a server is judged, every key that has a say in it included.
pub(super) fn verify(source: &LegSource, mode: VerifyMode, files: &mut Files) -> Result<Verify> {
    let word = mode_word(mode);
    let what = format!("tls = \"{word}\"");
    if mode != VerifyMode::Full {
        source.reject_given(&["allow_cn_name"], &what)?;
    }
    if mode != VerifyMode::Fingerprint {
        source.reject_given(FINGERPRINT_KEYS, &what)?;
    }
    match mode {
        VerifyMode::Full => roots_of_server(source, word, files).map(Verify::Full),
        VerifyMode::Ca => roots_of_server(source, word, files).map(Verify::Ca),
        VerifyMode::Fingerprint => {
            source.reject_given(AUTHORITY_KEYS, &what)?;
            if !has_fingerprints(source) {
                let text = "needs fingerprints or fingerprints_file: what `openssl x509 -in \
                            server-cert.pem -noout -fingerprint -sha256` prints at the server";
                return Err(mode_error(source, word, text));
            }
            fingerprints(source, files).map(Verify::Fingerprint)
        }
        VerifyMode::DangerNone | VerifyMode::DangerPreferred => {
            source.reject_given(AUTHORITY_KEYS, &what)?;
            Ok(Verify::DangerNone)
        }
    }
}

/// The mode as it is written.
pub(super) fn mode_word(mode: VerifyMode) -> &'static str {
    match mode {
        VerifyMode::Full => "verify-full",
        VerifyMode::Ca => "verify-ca",
        VerifyMode::Fingerprint => "fingerprint",
        VerifyMode::DangerNone => "danger-none",
        VerifyMode::DangerPreferred => "danger-preferred",
    }
}

/// The authorities of clients, with what they revoked.
pub(super) fn roots_of_clients(
    ca: &Given<String>,
    source: &LegSource,
    files: &mut Files,
) -> Result<Arc<Roots>> {
    if ca.value == SYSTEM {
        let text = "ca = \"system\" would let in whoever has a certificate of a public authority; \
                    name the file of the authority that issues client certificates";
        return Err(ca.place.error(text));
    }
    with_crls(files.roots(ca)?, source, files)
}

/// The clients that may connect.
pub(super) fn allowed_clients(
    source: &LegSource,
    client_cert: ClientCert,
) -> Result<Vec<ClientIdentity>> {
    match client_cert {
        ClientCert::None => {
            source.reject_given(&["allowed_clients"], "client_cert = \"none\"")?;
        }
        ClientCert::Pinned => source.reject_given(&["allowed_clients"], "fingerprints")?,
        ClientCert::Optional | ClientCert::Required => {}
    }
    source.allowed_clients.iter().map(client_identity).collect()
}

/// True where certificates are named one by one.
pub(super) fn has_fingerprints(source: &LegSource) -> bool {
    !source.fingerprints.is_empty() || source.fingerprints_file.is_some()
}

/// Fingerprints as `openssl x509 -fingerprint` prints them, or without the colons.
pub(super) fn fingerprints(source: &LegSource, files: &mut Files) -> Result<Vec<Fingerprint>> {
    let mut written = source.fingerprints.clone();
    if let Some(file) = &source.fingerprints_file {
        written.append(&mut files.lines(file)?);
    }
    let read = |given: &Given<String>| {
        read_fingerprint(&given.value).ok_or_else(|| {
            let value = &given.value;
            given
                .place
                .error(format!("{value:?} is no fingerprint: {FINGERPRINT_FORM}"))
        })
    };
    written.iter().map(read).collect()
}

/// What is asked beyond the mode, in words.
pub(super) fn conditions(source: &LegSource) -> Vec<String> {
    let is_set = |given: &Option<Given<bool>>| given.as_ref().is_some_and(|given| given.value);
    let list = |given: &[Given<String>]| {
        let values: Vec<_> = given.iter().map(|given| given.value.as_str()).collect();
        values.join(", ")
    };
    let mut conditions = Vec::new();
    if !source.allowed_clients.is_empty() {
        let clients = list(&source.allowed_clients);
        conditions.push(format!("of those with a good certificate only {clients}"));
    }
    if is_set(&source.allow_cn_name) {
        conditions.push("the common name counts where there is no DNS name".into());
    }
    if !source.crl.is_empty() {
        let without_list = match is_set(&source.crl_required) {
            true => "refused",
            false => "not revoked",
        };
        let lists = list(&source.crl);
        conditions.push(format!(
            "revoked is what {lists} says; without a list a certificate is {without_list}"
        ));
    }
    if let Some(keys) = &source.tickets {
        let keys = &keys.value;
        conditions.push(format!("sessions are resumed wherever {keys} is the same"));
    }
    conditions
}

/// Revocation lists need an authority.
pub(super) fn check_unused_crl(source: &LegSource, what: &str) -> Result<()> {
    source.reject_given(&["crl", "crl_required"], what)
}

fn roots_of_server(source: &LegSource, word: &str, files: &mut Files) -> Result<Arc<Roots>> {
    let Some(ca) = &source.ca else {
        let text = "needs ca: the authorities that may issue the server's certificate, a file or \
                    \"system\"; say tls = \"off\" for a server without TLS";
        return Err(mode_error(source, word, text));
    };
    with_crls(files.roots(ca)?, source, files)
}

fn with_crls(roots: Arc<Roots>, source: &LegSource, files: &mut Files) -> Result<Arc<Roots>> {
    match (source.crl.as_slice(), &source.crl_required) {
        ([], None) => Ok(roots),
        ([], Some(required)) => Err(required
            .place
            .error("crl_required needs crl, the revocation lists")),
        ([first, more @ ..], required) => {
            let is_required = required.as_ref().is_some_and(|given| given.value);
            Ok(roots.with_crls(files.crls(first, more)?, is_required))
        }
    }
}

fn client_identity(given: &Given<String>) -> Result<ClientIdentity> {
    let value = &given.value;
    value.parse().map_err(|()| {
        given.place.error(format!(
            "{value:?} names no client: \"cn:NAME\", \"san:NAME\" or \"sha256:FINGERPRINT\", \
             {FINGERPRINT_FORM}"
        ))
    })
}

/// What judging by an authority is made of.
const AUTHORITY_KEYS: &[&str] = &["ca", "crl", "crl_required"];

const FINGERPRINT_KEYS: &[&str] = &["fingerprints", "fingerprints_file"];

const FINGERPRINT_FORM: &str =
    "32 bytes in hex, as `openssl x509 -in CERT -noout -fingerprint -sha256` prints them";
