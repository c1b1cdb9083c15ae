//! Certificates in words: who a certificate is for, who issued it, until when.

mod oneline;

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::X509Name;
use x509_parser::time::ASN1Time;

pub use oneline::Oneline;
pub(super) use oneline::{attributes, oneline, short_name};

use super::certificate::{AltName, Certificate};

/// What messages say of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Portrait {
    /// The subject, as in `CN=db1, O=Example`.
    pub(super) subject: String,
    pub(super) issuer: String,
    /// DNS names and IP addresses of the subject alternative name extension.
    pub(super) names: Vec<String>,
    /// The last second at which it is valid, since 1970-01-01 UTC.
    pub(super) not_after_s: u64,
    pub(super) is_v1: bool,
}

impl Portrait {
    /// What can be read of a certificate; nothing where it is no X.509 at all.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Self {
        let Some(certificate) = Certificate::from_der(certificate) else {
            return Self {
                subject: "unreadable certificate".into(),
                ..Self::default()
            };
        };
        Self {
            subject: name_text(certificate.x509().subject()),
            issuer: name_text(certificate.x509().issuer()),
            names: hosts(&certificate),
            not_after_s: certificate.not_after_s(),
            is_v1: certificate.is_v1(),
        }
    }

    /// True where the certificate names itself as its issuer.
    pub(super) fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }
}

/// A day, as in `2026-01-02`.
pub(super) fn day(unix_s: u64) -> String {
    i64::try_from(unix_s)
        .ok()
        .and_then(|unix_s| ASN1Time::from_timestamp(unix_s).ok())
        .map_or_else(
            || format!("second {unix_s}"),
            |time| time.to_datetime().date().to_string(),
        )
}

pub(super) fn name_text(name: &X509Name<'_>) -> String {
    let text = name.to_string();
    if text.is_empty() {
        "no name".into()
    } else {
        text
    }
}

fn hosts(certificate: &Certificate<'_>) -> Vec<String> {
    let names = certificate.alt_names();
    let hosts = names
        .iter()
        .filter(|name| matches!(name, AltName::Dns(_) | AltName::Ip(_)));
    hosts.map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portrait_has_names_issuer_and_end() {
        let mut params =
            rcgen::CertificateParams::new(vec!["db1".into(), "127.0.0.1".into()]).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "db1");
        params.not_after = rcgen::date_time_ymd(2030, 1, 2);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let portrait = Portrait::of(certificate.der());
        assert_eq!(portrait.subject, "CN=db1");
        assert_eq!(portrait.names, ["db1", "127.0.0.1"]);
        assert_eq!(day(portrait.not_after_s), "2030-01-02");
        assert!(portrait.is_self_issued());
        assert!(!portrait.is_v1);
    }

    #[test]
    fn rubbish_has_a_portrait_too() {
        let rubbish = CertificateDer::from(vec![1, 2, 3]);
        assert_eq!(Portrait::of(&rubbish).subject, "unreadable certificate");
    }
}
