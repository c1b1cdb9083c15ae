use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use super::certificate::Certificate;
use super::identity::{Pem, certificates, config};
use super::names::Portrait;
use super::revocation::Crls;
use super::validity::Validity;
use crate::error::Result;

/// Certificate authorities that are trusted, with what they revoked. A certificate that is one of
/// them is trusted itself.
#[derive(Clone, Debug)]
pub struct Roots {
    store: Arc<RootCertStore>,
    certificates: Arc<[CertificateDer<'static>]>,
    /// Of those that were read from files.
    validities: Arc<[Validity]>,
    names: String,
    crls: Option<Arc<Crls>>,
    crl_required: bool,
}

impl Roots {
    /// Reads certificate authorities from one or more files.
    pub fn from_pem(files: &[Pem<'_>]) -> Result<Arc<Self>> {
        let (mut store, mut all) = (RootCertStore::empty(), Vec::new());
        let mut validities = Vec::new();
        for file in files {
            for certificate in certificates(*file)? {
                store.add(certificate.clone()).map_err(|error| {
                    let subject = Portrait::of(&certificate).subject;
                    config(
                        file.name,
                        format!("the authority {subject} cannot be used: {error}"),
                    )
                })?;
                validities.push(Validity::of(&certificate, file.name));
                all.push(certificate);
            }
        }
        let names: Vec<_> = files.iter().map(|file| file.name).collect();
        Ok(Self::new(store, all, validities, names.join(", ")))
    }

    /// Takes certificate authorities in DER from a store that holds what it holds, the operating
    /// system's: those that cannot be used are passed over. None at all is an error, which speaks
    /// of the store as `name`.
    pub fn from_der(
        name: &str,
        certificates: impl IntoIterator<Item = Vec<u8>>,
    ) -> Result<Arc<Self>> {
        let mut store = RootCertStore::empty();
        let mut all = Vec::new();
        for certificate in certificates.into_iter().map(CertificateDer::from) {
            if store.add(certificate.clone()).is_ok() {
                all.push(certificate);
            }
        }
        if all.is_empty() {
            let text = "holds no certificate authority that can be used; `apt-get install \
            ca-certificates` brings the usual ones";
            return Err(config(name, text.into()));
        }
        Ok(Self::new(store, all, Vec::new(), name.to_owned()))
    }

    fn new(
        store: RootCertStore,
        all: Vec<CertificateDer<'static>>,
        validities: Vec<Validity>,
        names: String,
    ) -> Arc<Self> {
        Arc::new(Self {
            validities: validities.into(),
            store: Arc::new(store),
            certificates: all.into(),
            names,
            crls: None,
            crl_required: false,
        })
    }

    /// The same authorities, with what they revoked. `is_required`: a certificate is refused where
    /// the list of its issuer is missing or overdue; otherwise it is good then, and an overdue list
    /// counts as it stands.
    #[must_use]
    pub fn with_crls(&self, crls: Arc<Crls>, is_required: bool) -> Arc<Self> {
        Arc::new(Self {
            crls: Some(crls),
            crl_required: is_required,
            ..self.clone()
        })
    }

    /// The number of authorities.
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// True where no authority is trusted.
    pub fn is_empty(&self) -> bool {
        self.store.is_empty()
    }

    /// How long each of them is good. Those of the operating system are not among them.
    pub fn validities(&self) -> &[Validity] {
        &self.validities
    }

    pub(super) fn store(&self) -> &Arc<RootCertStore> {
        &self.store
    }

    /// The names of the files, for messages.
    pub(super) fn names(&self) -> &str {
        &self.names
    }

    /// What they have revoked, where that is known.
    pub fn crls(&self) -> Option<&Arc<Crls>> {
        self.crls.as_ref()
    }

    pub(super) fn crl_required(&self) -> bool {
        self.crl_required
    }

    /// True where the certificate itself is one of the authorities.
    pub(super) fn holds(&self, der: &[u8]) -> bool {
        self.certificates.iter().any(|known| known.as_ref() == der)
    }

    /// The authorities of this name, which a certificate calls its issuer.
    pub(super) fn named(&self, name_der: &[u8]) -> impl Iterator<Item = Certificate<'_>> {
        self.certificates
            .iter()
            .filter_map(|der| Certificate::from_der(der))
            .filter(move |known| known.subject_der() == name_der)
    }

    /// What tells this set of authorities from another, in whatever order it was read.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut ders: Vec<&[u8]> = self.certificates.iter().map(AsRef::as_ref).collect();
        ders.sort_unstable();
        let mut hash = digest::Context::new(&digest::SHA256);
        for der in ders {
            hash.update(&(der.len() as u64).to_be_bytes());
            hash.update(der);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(hash.finish().as_ref());
        digest
    }
}
