use std::sync::Arc;

use rustls::CertificateError;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::certificate::Certificate;
use super::identity::{Pem, config};
use super::validity::Validity;
use super::verify::verify_signed;
use crate::error::Result;

/// Certificate revocation lists.
#[derive(Debug)]
pub struct Crls {
    lists: Vec<CertificateRevocationListDer<'static>>,
    names: String,
    next_update_s: Option<u64>,
    /// Of those that say when they are due.
    validities: Vec<Validity>,
}

impl Crls {
    /// Reads the lists of one or more files.
    pub fn from_pem(files: &[Pem<'_>]) -> Result<Arc<Self>> {
        let (mut lists, mut validities) = (Vec::new(), Vec::new());
        for file in files {
            for der in read(*file)? {
                let validity =
                    check(&der, file.name).map_err(|reason| config(file.name, reason))?;
                validities.extend(validity);
                lists.push(der);
            }
        }
        let names: Vec<_> = files.iter().map(|file| file.name).collect();
        Ok(Arc::new(Self {
            lists,
            names: names.join(", "),
            next_update_s: validities.iter().map(|list| list.until_s).min(),
            validities,
        }))
    }

    /// When the first of them is due to be replaced, in seconds since 1970-01-01 UTC.
    pub fn next_update_s(&self) -> Option<u64> {
        self.next_update_s
    }

    /// From when to when each of them is good, where it says so.
    pub fn validities(&self) -> &[Validity] {
        &self.validities
    }

    pub(super) fn lists(&self) -> &[CertificateRevocationListDer<'static>] {
        &self.lists
    }

    /// The names of the files, for messages.
    pub(super) fn names(&self) -> &str {
        &self.names
    }

    /// Judges a certificate of the authority that has the key `issuer_key_der`. `is_required`: a
    /// list of that authority must be there and not be overdue.
    ///
    /// webpki does this for every certificate that it can read; what it cannot read comes here.
    pub(super) fn judge(
        &self,
        certificate: &Certificate<'_>,
        issuer_key_der: &[u8],
        now_s: u64,
        is_required: bool,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), CertificateError> {
        let mut is_known = false;
        for der in &self.lists {
            let (_, list) = CertificateRevocationList::from_der(der)
                .map_err(|_| CertificateError::BadEncoding)?;
            if list.issuer().as_raw() != certificate.issuer_der()
                || verify_signed(der, issuer_key_der, algorithms).is_err()
            {
                continue;
            }
            let serial = certificate.x509().raw_serial();
            let mut revoked = list.iter_revoked_certificates();
            if revoked.any(|entry| entry.raw_serial() == serial) {
                return Err(CertificateError::Revoked);
            }
            is_known |= due_s(&list).is_none_or(|due_s| due_s >= now_s);
        }
        if is_required && !is_known {
            return Err(CertificateError::UnknownRevocationStatus);
        }
        Ok(())
    }
}

fn read(file: Pem<'_>) -> Result<Vec<CertificateRevocationListDer<'static>>> {
    let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(file.text)
        .collect::<Result<_, _>>()
        .map_err(|error| config(file.name, format!("broken PEM: {error}")))?;
    if lists.is_empty() {
        let text = "holds no revocation list (-----BEGIN X509 CRL-----); `openssl crl -inform \
        DER` turns one in DER into PEM";
        return Err(config(file.name, text.into()));
    }
    Ok(lists)
}

/// Until when the list is good, where it says so.
fn check(der: &[u8], file: &str) -> Result<Option<Validity>, String> {
    let (_, list) = CertificateRevocationList::from_der(der)
        .map_err(|error| format!("the revocation list cannot be read: {error}"))?;
    if list.version().is_none() {
        return Err(format!(
            "the revocation list of {} is of version 1, which has no number; make it with \
             `crlnumber` and `crl_extensions` in the configuration of `openssl ca -gencrl`",
            list.issuer()
        ));
    }
    Ok(due_s(&list).map(|until_s| Validity {
        name: list.issuer().to_string(),
        file: file.to_owned(),
        from_s: u64::try_from(list.last_update().timestamp()).unwrap_or(0),
        until_s,
    }))
}

fn due_s(list: &CertificateRevocationList<'_>) -> Option<u64> {
    let due = list.next_update()?;
    u64::try_from(due.timestamp()).ok()
}
