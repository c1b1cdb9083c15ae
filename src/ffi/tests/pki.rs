//! Certificates to be judged.

use std::sync::LazyLock;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

/// A chain and its key, in PEM.
pub(super) type Pair = (String, String);

pub(super) struct Pki {
    pub(super) ca: String,
    pub(super) other_ca: String,
    /// Revokes `revoked`.
    pub(super) crl: String,
    pub(super) server: Pair,
    pub(super) server_sha256: [u8; 32],
    pub(super) expired: Pair,
    pub(super) not_yet: Pair,
    pub(super) revoked: Pair,
    pub(super) unnamed: Pair,
    pub(super) alice: Pair,
    pub(super) alice_sha256: [u8; 32],
    pub(super) bob: Pair,
}

pub(super) const CA_NAME: &str = "/C=CN/O=Test Org/CN=Test CA";
pub(super) const ALICE_NAME: &str = "/C=CN/O=Test Org/CN=alice";

/// 2020-01-01 and 4000-01-01, between which certificates are good.
pub(super) const NOT_BEFORE_S: u64 = 1_577_836_800;
pub(super) const NOT_AFTER_S: u64 = 64_060_588_800;

pub(super) static PKI: LazyLock<Pki> = LazyLock::new(|| {
    let (ca, issuer) = authority("Test CA");
    let (other_ca, _) = authority("Other CA");
    let leaf = |params: CertificateParams| {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate.der());
        let sha256: [u8; 32] = sha256.as_ref().try_into().unwrap();
        ((certificate.pem(), key.serialize_pem()), sha256)
    };
    let mut server = named("localhost", &["localhost"]);
    server
        .subject_alt_names
        .push(SanType::IpAddress([127, 0, 0, 1].into()));
    let mut expired = named("localhost", &["localhost"]);
    expired.not_after = date_time_ymd(2021, 1, 1);
    let mut not_yet = named("localhost", &["localhost"]);
    not_yet.not_before = date_time_ymd(3_999, 1, 1);
    let mut revoked = named("localhost", &["localhost"]);
    revoked.serial_number = Some(REVOKED.into());
    let (server, server_sha256) = leaf(server);
    let (alice, alice_sha256) = leaf(client("alice"));
    Pki {
        crl: crl(&issuer),
        ca,
        other_ca,
        server,
        server_sha256,
        expired: leaf(expired).0,
        not_yet: leaf(not_yet).0,
        revoked: leaf(revoked).0,
        unnamed: leaf(named("localhost", &[])).0,
        alice,
        alice_sha256,
        bob: leaf(client("bob")).0,
    }
});

/// 32 bytes as `openssl x509 -fingerprint` prints them.
pub(super) fn hex(bytes: &[u8]) -> String {
    let pairs: Vec<_> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}

fn named(common_name: &str, dns_names: &[&str]) -> CertificateParams {
    let names: Vec<_> = dns_names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in [
        (DnType::CountryName, "CN"),
        (DnType::OrganizationName, "Test Org"),
        (DnType::CommonName, common_name),
    ] {
        params.distinguished_name.push(kind, value);
    }
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(4_000, 1, 1);
    params
}

fn client(name: &str) -> CertificateParams {
    let mut params = named(name, &[]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let mut params = named(name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

fn crl(issuer: &Issuer<'_, KeyPair>) -> String {
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2020, 1, 1),
        next_update: date_time_ymd(4_000, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: REVOKED.into(),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(issuer).unwrap().pem().unwrap()
}

const REVOKED: u64 = 4_711;
