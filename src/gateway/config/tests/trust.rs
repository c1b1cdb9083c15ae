use std::fs;

use super::*;

/// In the directory of [`certificates`], with a client side that is open.
fn to_server(keys: &str) -> String {
    two_sided("tls = \"off\"", keys)
}

/// In the directory of [`certificates`], with a server side that is open.
fn from_client(keys: &str) -> String {
    let own = "cert = \"server-cert.pem\"\nkey = \"server-key.pem\"\n";
    two_sided(&format!("{own}{keys}"), OFF)
}

#[track_caller]
pub(super) fn check_error(dir: &tempfile::TempDir, text: &str, expected: &str) {
    let error = load_in(dir, text).unwrap_err().to_string();
    let error = error.replace(&format!("{}/", dir.path().display()), "");
    assert!(error.contains(expected), "{error}");
}

#[test]
fn servers_are_trusted_by_what_their_mode_says_and_by_nothing_else() {
    let dir = certificates();
    let hex = ["AB"; 32].join(":");
    let pin = format!("fingerprints = [\"{hex}\"]");
    let pins = format!("# both\nsha256 Fingerprint={hex}\n\n{}\n", "cd".repeat(32));
    fs::write(dir.path().join("pins"), pins).unwrap();
    fs::write(dir.path().join("empty"), "# none yet\n").unwrap();
    let cases = [
        (
            format!("tls = \"fingerprint\"\n{pin}"),
            VerifyMode::Fingerprint,
        ),
        (
            "tls = \"fingerprint\"\nfingerprints_file = \"pins\"".into(),
            VerifyMode::Fingerprint,
        ),
        ("tls = \"danger-none\"".into(), VerifyMode::DangerNone),
        (
            "ca = \"ca.pem\"\nallow_cn_name = true".into(),
            VerifyMode::Full,
        ),
        (
            "tls = \"verify-ca\"\nca = \"ca.pem\"".into(),
            VerifyMode::Ca,
        ),
    ];
    for (keys, expected) in cases {
        let plan = load_in(&dir, &to_server(&keys)).unwrap();
        let ServerTls::Verify { mode, .. } = &plan.routes[0].server.tls else {
            panic!("{keys}");
        };
        assert_eq!(*mode, expected, "{keys}");
    }
    let wrong = [
        (
            "tls = \"fingerprint\"",
            "tls = \"fingerprint\" needs fingerprints",
        ),
        (
            "tls = \"fingerprint\"\nfingerprints = [\"AB:CD\"]",
            "\"AB:CD\" is no fingerprint: 32 bytes in hex",
        ),
        (
            "tls = \"fingerprint\"\nfingerprints_file = \"ca.pem\"",
            "\"-----BEGIN CERTIFICATE-----\" is no fingerprint",
        ),
        (
            "tls = \"fingerprint\"\nfingerprints_file = \"empty\"",
            "empty: holds no line",
        ),
        (
            "ca = \"ca.pem\"\nfingerprints_file = \"pins\"",
            "fingerprints_file has no effect with tls = \"verify-full\"",
        ),
        (
            "tls = \"danger-none\"\nca = \"ca.pem\"",
            "ca has no effect with tls = \"danger-none\"",
        ),
        (
            "tls = \"verify-ca\"\nca = \"ca.pem\"\nallow_cn_name = true",
            "allow_cn_name has no effect with tls = \"verify-ca\"",
        ),
        (
            "ca = \"ca.pem\"\ncrl_required = true",
            "crl_required needs crl",
        ),
        (
            "ca = \"ca.pem\"\ncrl = \"ca.pem\"",
            "ca.pem: holds no revocation list (-----BEGIN X509 CRL-----)",
        ),
        (
            "ca = \"ca.pem\"\ncrl = [\"ca.pem\", \"missing.pem\"]",
            "missing.pem: No such file",
        ),
    ];
    for (keys, expected) in wrong {
        check_error(&dir, &to_server(keys), expected);
    }
    let both = format!("ca = \"ca.pem\"\n{pin}");
    check_error(
        &dir,
        &to_server(&both),
        "fingerprints has no effect with tls = \"verify-full\"",
    );
}

#[test]
fn clients_are_trusted_by_an_authority_or_one_by_one() {
    let dir = certificates();
    let pin = format!("fingerprints = [\"{}\"]", "ab".repeat(32));
    let plan = load_in(&dir, &from_client(&pin)).unwrap();
    let ClientTls::Terminated { client_cert, .. } = &plan.routes[0].client.tls else {
        panic!("TLS is on");
    };
    assert_eq!(*client_cert, ClientCert::Pinned);
    let named = "ca = \"ca.pem\"\nallowed_clients = [\"cn:alice\", \"san:app.example\"]";
    load_in(&dir, &from_client(named)).unwrap();
    let wrong = [
        (
            "ca = \"system\"".to_owned(),
            "would let in whoever has a certificate",
        ),
        (
            format!("ca = \"ca.pem\"\n{pin}"),
            "ca has no effect with fingerprints",
        ),
        (
            format!("{pin}\nclient_cert = \"optional\""),
            "client_cert can only be \"required\" with fingerprints",
        ),
        (
            format!("{pin}\nallowed_clients = [\"cn:alice\"]"),
            "allowed_clients has no effect with fingerprints",
        ),
        (
            "allowed_clients = [\"cn:alice\"]".into(),
            "allowed_clients has no effect with client_cert = \"none\"",
        ),
        (
            "ca = \"ca.pem\"\nallowed_clients = [\"alice\"]".into(),
            "\"alice\" names no client: \"cn:NAME\"",
        ),
        (
            "crl = \"crl.pem\"".into(),
            "crl has no effect with client_cert = \"none\"",
        ),
    ];
    for (keys, expected) in wrong {
        check_error(&dir, &from_client(&keys), expected);
    }
}

#[test]
fn ticket_keys_are_three_of_48_bytes() {
    let dir = certificates();
    let keys: Vec<u8> = (0..144).collect();
    fs::write(dir.path().join("tickets"), &keys).unwrap();
    load_in(&dir, &from_client("tickets = \"tickets\"")).unwrap();
    fs::write(dir.path().join("tickets"), &keys[1..]).unwrap();
    check_error(
        &dir,
        &from_client("tickets = \"tickets\""),
        "gateway.toml:8: tickets: holds 143 bytes and not three ticket keys of 48",
    );
}

#[test]
fn passphrases_come_from_a_file_or_a_program() {
    let dir = certificates();
    fs::write(dir.path().join("encrypted.pem"), ENCRYPTED_KEY).unwrap();
    fs::write(
        dir.path().join("encrypted-cert.pem"),
        ENCRYPTED_KEY_CERTIFICATE,
    )
    .unwrap();
    fs::write(dir.path().join("right"), "open sesame\r\nand a note\n").unwrap();
    fs::write(dir.path().join("wrong"), "open\n").unwrap();
    fs::write(dir.path().join("empty"), "\n").unwrap();
    let with = |keys: &str| {
        let own = "cert = \"encrypted-cert.pem\"\nkey = \"encrypted.pem\"\n";
        two_sided(&format!("{own}{keys}"), OFF)
    };
    for keys in [
        "key_passphrase_file = \"right\"",
        "key_passphrase_command = [\"echo\", \"open sesame\"]",
    ] {
        load_in(&dir, &with(keys)).unwrap();
    }
    let wrong = [
        (
            "",
            "encrypted.pem: the private key is encrypted and no passphrase was given",
        ),
        (
            "key_passphrase_file = \"wrong\"",
            "the passphrase does not decrypt the private key",
        ),
        (
            "key_passphrase_file = \"empty\"",
            "empty: its first line is empty",
        ),
        ("key_passphrase_file = \"none\"", "none: No such file"),
        (
            "key_passphrase_command = [\"false\"]",
            "gateway.toml:8: \"false\" failed: exit status: 1",
        ),
        (
            "key_passphrase_command = [\"true\"]",
            "\"true\" printed no passphrase",
        ),
        (
            "key_passphrase_command = [\"/nowhere\"]",
            "\"/nowhere\" cannot be run",
        ),
        (
            "key_passphrase_file = \"right\"\nkey_passphrase_command = [\"true\"]",
            "give key_passphrase_file or key_passphrase_command, not both",
        ),
    ];
    for (keys, expected) in wrong {
        check_error(&dir, &with(keys), expected);
    }
    let no_key = to_server("ca = \"ca.pem\"\nkey_passphrase_file = \"right\"");
    check_error(
        &dir,
        &no_key,
        "key_passphrase_file has no effect with no key",
    );
}

/// Encrypted with the passphrase of Ali Baba.
const ENCRYPTED_KEY: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgDFgwfK3SoAQICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEIlnv1ziVEBiEyQcg/o5tHgEgZBp
YN7y5fcjZHW3rEwDPkTMmMu0TFtn3AQ+xT+zD/zpWOt5Mc1MWpgQyy2UbDpcps1a
KexW6iJ7VJT/VTHoFA8OnU5yzF97N2orI9EFXexaKUQiiuNLUARS1E/11d1lisCE
jtIGQHl7lYXmSsKg8oZcDNyQ4OaV+bfLVwmnwOHGzmK7DTI9OtpbRPGgC6GDnjY=
-----END ENCRYPTED PRIVATE KEY-----
";

const ENCRYPTED_KEY_CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBfjCCASWgAwIBAgIUeF7LfSG+P/4gS0v5uvLdDA/kx1gwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJZW5jcnlwdGVkMCAXDTI2MTEyNDA4MDEzOFoYDzIxMjYxMDMx
MDgwMTM4WjAUMRIwEAYDVQQDDAllbmNyeXB0ZWQwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATH1ytSH8pgtdWkR6eQ7r3jgMQBI5JPpu6xHMAW12AerqdhaBfIMGuZ
8e3lxMfdwDoJs8W7zZ6byszZTyM80BN7o1MwUTAdBgNVHQ4EFgQURs/ShUkwBd+o
Nj5NcGMiOVvZtDcwHwYDVR0jBBgwFoAURs/ShUkwBd+oNj5NcGMiOVvZtDcwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNHADBEAiA5HWSB8MDi6EHJecDIBRuf
RaCKMueQzNkNSRslr6DTzAIgXznnJlMb+/FuY5tZkLoVU1KGoMuGqDq42RZYU461
Muc=
-----END CERTIFICATE-----
";
