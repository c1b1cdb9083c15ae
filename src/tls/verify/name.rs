use rustls::CertificateError;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;

use crate::tls::certificate::{AltName, Certificate};

/// True where an alternative name of the certificate is `wanted`. X.509 v1 has none.
pub(super) fn is_for(leaf: &CertificateDer<'_>, wanted: &ServerName<'_>) -> bool {
    ParsedCertificate::try_from(leaf)
        .is_ok_and(|certificate| verify_server_name(&certificate, wanted).is_ok())
}

/// True where the certificate has no DNS name among its alternative names and its common name is
/// `wanted`, as OpenSSL takes it. An IP address is never looked for there.
pub(super) fn common_name_is(certificate: &Certificate<'_>, wanted: &ServerName<'_>) -> bool {
    let ServerName::DnsName(wanted) = wanted else {
        return false;
    };
    let mut alt_names = certificate.alt_names().into_iter();
    if alt_names.any(|name| matches!(name, AltName::Dns(_))) {
        return false;
    }
    certificate
        .common_name()
        .is_some_and(|name| matches_host(&name, wanted.as_ref()))
}

pub(super) fn is_about_name(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    )
}

/// RFC 6125: without regard to case; `*` stands for the whole first label and for nothing else.
fn matches_host(pattern: &str, host: &str) -> bool {
    let host = host.trim_end_matches('.');
    if pattern.eq_ignore_ascii_case(host) {
        return true;
    }
    let Some(pattern_rest) = pattern.strip_prefix("*.") else {
        return false;
    };
    let Some((label, rest)) = host.split_once('.') else {
        return false;
    };
    !label.is_empty() && rest.contains('.') && pattern_rest.eq_ignore_ascii_case(rest)
}

#[cfg(test)]
mod tests {
    use super::matches_host;

    #[test]
    fn common_names_match_whole_hosts() {
        let good = [
            ("db1", "DB1"),
            ("db.example", "db.example."),
            ("*.a.example", "b.a.example"),
        ];
        for (pattern, host) in good {
            assert!(matches_host(pattern, host), "{pattern} {host}");
        }
        let bad = [
            ("db1", "db12"),
            ("db12", "db1"),
            ("db1 ", "db1"),
            ("*", "db1"),
            ("*.example", "db.example"),
            ("*.a.example", "c.b.a.example"),
            ("d*.a.example", "db.a.example"),
            ("*.a.example", ".a.example"),
        ];
        for (pattern, host) in bad {
            assert!(!matches_host(pattern, host), "{pattern} {host}");
        }
    }
}
