//! Certificates in words: who a certificate is for, who issued it, until when.

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate, X509Name, X509Version};
use x509_parser::time::ASN1Time;

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
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
            return Self {
                subject: "unreadable certificate".into(),
                ..Self::default()
            };
        };
        Self {
            subject: name_text(certificate.subject()),
            issuer: name_text(certificate.issuer()),
            names: alternative_names(&certificate),
            not_after_s: u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0),
            is_v1: certificate.version() == X509Version::V1,
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

fn name_text(name: &X509Name<'_>) -> String {
    let text = name.to_string();
    if text.is_empty() {
        "no name".into()
    } else {
        text
    }
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    extension
        .value
        .general_names
        .iter()
        .filter_map(alternative_name)
        .collect()
}

fn alternative_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes)
                .ok()
                .map(|ip| core::net::Ipv4Addr::from(ip).to_string()),
            16 => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|ip| core::net::Ipv6Addr::from(ip).to_string()),
            _ => None,
        },
        _ => None,
    }
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
