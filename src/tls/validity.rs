use super::certificate::Certificate;
use super::names::name_text;

/// How long a certificate or a revocation list is good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validity {
    /// The subject of a certificate, the issuer of a list.
    pub name: String,
    /// The file that it was read from.
    pub file: String,
    /// In seconds since 1970-01-01 UTC.
    pub from_s: u64,
    /// The last second, likewise.
    pub until_s: u64,
}

impl Validity {
    /// Of a certificate; the default where it cannot be read.
    pub(super) fn of(der: &[u8], file: &str) -> Self {
        let Some(certificate) = Certificate::from_der(der) else {
            return Self::default();
        };
        Self {
            name: name_text(certificate.x509().subject()),
            file: file.to_owned(),
            from_s: certificate.not_before_s(),
            until_s: certificate.not_after_s(),
        }
    }
}
