use rustls::crypto::aws_lc_rs;
use rustls::sign::SigningKey;
use rustls::{CipherSuite, NamedGroup, SignatureScheme, SupportedCipherSuite};

use super::Version;
use crate::error::{Error, ErrorKind, Result};

/// A cipher suite with its IANA name and OpenSSL's; in TLS 1.3 they are the same.
struct Suite {
    iana: &'static str,
    openssl: &'static str,
    supported: &'static SupportedCipherSuite,
}

/// The IANA name of a suite.
pub(super) fn name(suite: CipherSuite) -> &'static str {
    SUITES
        .iter()
        .find(|entry| entry.supported.suite() == suite)
        .map_or("", |entry| entry.iana)
}

/// OpenSSL's name of a suite that has this IANA name.
pub(super) fn openssl_name(iana: &str) -> &'static str {
    let entry = SUITES.iter().find(|entry| entry.iana == iana);
    entry.map_or("", |entry| entry.openssl)
}

/// OpenSSL's names of those suites that a server with this key can come to.
pub(super) fn usable(
    suites: &[SupportedCipherSuite],
    min_version: Version,
    key: &dyn SigningKey,
) -> Vec<&'static str> {
    let is_usable = |suite: &&SupportedCipherSuite| match suite {
        SupportedCipherSuite::Tls13(_) => true,
        SupportedCipherSuite::Tls12(suite) => {
            min_version == Version::Tls12 && key.choose_scheme(suite.sign).is_some()
        }
    };
    let usable = suites.iter().filter(is_usable);
    usable
        .map(|suite| openssl_name(name(suite.suite())))
        .collect()
}

/// The IANA name of a key exchange group.
pub(super) fn group_name(group: NamedGroup) -> &'static str {
    group.as_str().unwrap_or("")
}

/// Every suite that is spoken: its IANA name and the version that it belongs to.
pub fn spoken_suites() -> impl Iterator<Item = (&'static str, Version)> {
    SUITES.iter().map(|entry| {
        let version = match entry.supported.tls13() {
            Some(_) => Version::Tls13,
            None => Version::Tls12,
        };
        (entry.iana, version)
    })
}

/// The IANA name of a signature scheme.
pub(super) fn scheme_name(scheme: SignatureScheme) -> &'static str {
    let entry = SCHEMES.iter().find(|(known, _)| *known == scheme);
    entry.map_or("", |(_, name)| name)
}

/// The suites of these names in their order; all suites where there are none. At least one of them
/// must be of a version that is spoken.
pub(super) fn select(names: &[String], min_version: Version) -> Result<Vec<SupportedCipherSuite>> {
    if names.is_empty() {
        return Ok(in_default_order());
    }
    let suites: Vec<_> = names.iter().map(|name| find(name)).collect::<Result<_>>()?;
    if min_version == Version::Tls13 && suites.iter().all(|suite| suite.tls13().is_none()) {
        return Err(Error::new(
            ErrorKind::Config,
            "none of the suites is a TLS 1.3 suite, and min_version is 1.3",
        ));
    }
    Ok(suites)
}

fn find(name: &str) -> Result<SupportedCipherSuite> {
    SUITES
        .iter()
        .find(|entry| {
            entry.iana.eq_ignore_ascii_case(name) || entry.openssl.eq_ignore_ascii_case(name)
        })
        .map(|entry| *entry.supported)
        .ok_or_else(|| {
            let known: Vec<_> = SUITES.iter().map(|entry| entry.openssl).collect();
            let known = known.join(", ");
            Error::new(
                ErrorKind::Config,
                format!("cipher suite `{name}` is unknown or not safe; the suites are {known}"),
            )
        })
}

/// AES-128-GCM first where the processor has AES instructions, ChaCha20-Poly1305 first where it has
/// none.
fn in_default_order() -> Vec<SupportedCipherSuite> {
    let chacha_first = !has_aes();
    let mut suites: Vec<_> = SUITES.iter().collect();
    suites.sort_by_key(|entry| {
        let is_chacha = entry.iana.contains("CHACHA20");
        (entry.supported.tls13().is_none(), is_chacha != chacha_first)
    });
    suites.into_iter().map(|entry| *entry.supported).collect()
}

/// Whether AES is fast here. The processor is asked once by the standard library.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// What all suites have in common, for peers that have none of them.
pub(super) const SPOKEN: &str =
    "ECDHE with AES-GCM or ChaCha20-Poly1305 alone, neither RSA key exchange nor CBC";

/// How many suites are spoken.
pub const SUITES_LEN: usize = 9;

const SUITES: [Suite; SUITES_LEN] = [
    Suite {
        iana: "TLS_AES_128_GCM_SHA256",
        openssl: "TLS_AES_128_GCM_SHA256",
        supported: &aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
    },
    Suite {
        iana: "TLS_AES_256_GCM_SHA384",
        openssl: "TLS_AES_256_GCM_SHA384",
        supported: &aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
    },
    Suite {
        iana: "TLS_CHACHA20_POLY1305_SHA256",
        openssl: "TLS_CHACHA20_POLY1305_SHA256",
        supported: &aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    },
    Suite {
        iana: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        openssl: "ECDHE-ECDSA-AES128-GCM-SHA256",
        supported: &aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    },
    Suite {
        iana: "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        openssl: "ECDHE-ECDSA-AES256-GCM-SHA384",
        supported: &aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    },
    Suite {
        iana: "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        openssl: "ECDHE-ECDSA-CHACHA20-POLY1305",
        supported: &aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    },
    Suite {
        iana: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        openssl: "ECDHE-RSA-AES128-GCM-SHA256",
        supported: &aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    },
    Suite {
        iana: "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        openssl: "ECDHE-RSA-AES256-GCM-SHA384",
        supported: &aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    },
    Suite {
        iana: "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        openssl: "ECDHE-RSA-CHACHA20-POLY1305",
        supported: &aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    },
];

const SCHEMES: [(SignatureScheme, &str); 13] = [
    (SignatureScheme::RSA_PKCS1_SHA256, "rsa_pkcs1_sha256"),
    (SignatureScheme::RSA_PKCS1_SHA384, "rsa_pkcs1_sha384"),
    (SignatureScheme::RSA_PKCS1_SHA512, "rsa_pkcs1_sha512"),
    (SignatureScheme::RSA_PSS_SHA256, "rsa_pss_rsae_sha256"),
    (SignatureScheme::RSA_PSS_SHA384, "rsa_pss_rsae_sha384"),
    (SignatureScheme::RSA_PSS_SHA512, "rsa_pss_rsae_sha512"),
    (
        SignatureScheme::ECDSA_NISTP256_SHA256,
        "ecdsa_secp256r1_sha256",
    ),
    (
        SignatureScheme::ECDSA_NISTP384_SHA384,
        "ecdsa_secp384r1_sha384",
    ),
    (
        SignatureScheme::ECDSA_NISTP521_SHA512,
        "ecdsa_secp521r1_sha512",
    ),
    (SignatureScheme::ED25519, "ed25519"),
    (SignatureScheme::ML_DSA_44, "mldsa44"),
    (SignatureScheme::ML_DSA_65, "mldsa65"),
    (SignatureScheme::ML_DSA_87, "mldsa87"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_found_by_either_name() {
        let names = [
            "ECDHE-RSA-AES128-GCM-SHA256",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        ];
        for name in names {
            let suites = select(&[name.into()], Version::Tls12).unwrap();
            assert_eq!(super::name(suites[0].suite()), names[1]);
        }
    }

    #[test]
    fn unsafe_suites_are_refused_with_the_ones_there_are() {
        let error = select(&["AES128-SHA".into()], Version::Tls12).unwrap_err();
        assert!(
            error.to_string().contains("TLS_AES_128_GCM_SHA256"),
            "{error}"
        );
    }

    #[test]
    fn suites_of_another_version_alone_are_refused() {
        let names = ["ECDHE-RSA-AES128-GCM-SHA256".into()];
        assert!(select(&names, Version::Tls13).is_err());
    }

    #[test]
    fn every_scheme_that_is_offered_has_a_name() {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        for scheme in algorithms.supported_schemes() {
            assert_ne!(scheme_name(scheme), "", "{scheme:?}");
        }
    }

    #[test]
    fn a_key_has_suites_of_its_kind_and_the_version_those_of_its_own() {
        let sign = aws_lc_rs::default_provider().key_provider;
        let key = rcgen::KeyPair::generate().unwrap();
        let der = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let elliptic = sign.load_private_key(der).unwrap();
        let usable = |version| usable(&in_default_order(), version, &*elliptic);
        let tls12 = usable(Version::Tls12);
        assert_eq!(tls12.len(), 6);
        assert!(tls12.contains(&"ECDHE-ECDSA-AES256-GCM-SHA384"));
        assert!(!tls12.contains(&"ECDHE-RSA-AES256-GCM-SHA384"));
        let tls13 = usable(Version::Tls13);
        assert!(tls13.iter().all(|name| name.starts_with("TLS_")));
        assert_eq!(tls13.len(), 3);
    }

    #[test]
    fn a_fast_suite_comes_first_and_tls13_before_tls12() {
        let suites = in_default_order();
        assert_eq!(suites.len(), 9);
        let expected = if has_aes() {
            "TLS_AES_128_GCM_SHA256"
        } else {
            "TLS_CHACHA20_POLY1305_SHA256"
        };
        assert_eq!(name(suites[0].suite()), expected);
        assert!(suites[..3].iter().all(|suite| suite.tls13().is_some()));
    }
}
