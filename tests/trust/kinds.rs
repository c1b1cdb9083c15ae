//! One row for each kind of certificate, each in both roles and both versions.

use sealwire::error::CertificateFault;
use sealwire::tls::{
    ClientAuth, ClientOptions, Fingerprint, Identity, Oneline, Pem, ServerOptions, Verify,
};

use crate::pair::{client, fault, with_every_version};
use crate::pki::{EC, FOR_LOCALHOST, Pki, now, pki};

/// A certificate `x.pem`, `x-key.pem` that `trust.pem` is to be trusted for.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) make: fn(&Pki),
    /// What `verify-full` for `localhost` says.
    full: Result<(), CertificateFault>,
    /// The same where the common name may count.
    full_by_cn: Result<(), CertificateFault>,
    /// What `verify-ca` says, and a server of this client.
    pub(crate) ca: Result<(), CertificateFault>,
}

const fn good(name: &'static str, make: fn(&Pki)) -> Kind {
    Kind {
        name,
        make,
        full: Ok(()),
        full_by_cn: Ok(()),
        ca: Ok(()),
    }
}

/// Its common name is `localhost`, and that is all it says of a host.
const fn nameless(name: &'static str, make: fn(&Pki)) -> Kind {
    Kind {
        full: Err(CertificateFault::Name),
        ..good(name, make)
    }
}

fn under_ca(pki: &Pki, algorithm: &str, extensions: &str) {
    pki.ca("trust", "/CN=Test~CA");
    pki.key("x", algorithm);
    pki.sign("x", "/C=CN/O=Test~Org/CN=localhost", "trust", extensions);
}

pub(crate) const KINDS: &[Kind] = &[
    good("ECDSA P-256", |pki| under_ca(pki, EC, FOR_LOCALHOST)),
    good("ECDSA P-384", |pki| {
        under_ca(pki, "EC -pkeyopt ec_paramgen_curve:P-384", FOR_LOCALHOST);
    }),
    good("ECDSA P-521", |pki| {
        under_ca(pki, "EC -pkeyopt ec_paramgen_curve:P-521", FOR_LOCALHOST);
    }),
    good("ECDSA in SEC1", |pki| {
        under_ca(pki, EC, FOR_LOCALHOST);
        pki.openssl("ec -in x-key.pem -out x-key.pem");
        assert!(
            pki.text("x-key.pem")
                .starts_with(b"-----BEGIN EC PRIVATE KEY")
        );
    }),
    good("RSA", |pki| under_ca(pki, "RSA", FOR_LOCALHOST)),
    good("RSA in PKCS#1", |pki| {
        under_ca(pki, "RSA", FOR_LOCALHOST);
        pki.openssl("rsa -traditional -in x-key.pem -out x-key.pem");
        assert!(
            pki.text("x-key.pem")
                .starts_with(b"-----BEGIN RSA PRIVATE KEY")
        );
    }),
    good("Ed25519", |pki| under_ca(pki, "ED25519", FOR_LOCALHOST)),
    good("a chain in the wrong order", |pki| {
        chain(pki);
        pki.write("x.pem", &["trust.pem", "middle.pem", "leaf.pem"]);
    }),
    good("a chain in order", |pki| {
        chain(pki);
        pki.write("x.pem", &["leaf.pem", "middle.pem"]);
    }),
    nameless("the manual recipe, X.509 v1", |pki| {
        under_ca(pki, "RSA", "")
    }),
    nameless("X.509 v1, ECDSA", |pki| under_ca(pki, EC, "")),
    nameless("X.509 v1 under an authority of v1", |pki| {
        pki.key("trust", EC);
        pki.openssl("req -new -key trust-key.pem -subj /CN=Test~CA -out trust.csr");
        pki.openssl("x509 -req -in trust.csr -signkey trust-key.pem -days 365 -out trust.pem");
        pki.leaf("x", "/CN=localhost", "trust", "");
    }),
    nameless("v3 without alternative names", |pki| {
        under_ca(pki, EC, "basicConstraints=CA:FALSE");
    }),
    Kind {
        full_by_cn: Err(CertificateFault::Name),
        ..nameless("as MySQL generates it", |pki| {
            pki.key("trust", "RSA");
            pki.openssl(
                "req -x509 -new -key trust-key.pem -days 3650 -out trust.pem -set_serial 1 \
                 -subj /CN=MySQL_Server_8.4.0_Auto_Generated_CA_Certificate",
            );
            pki.key("x", "RSA");
            let subject = "/CN=MySQL_Server_8.4.0_Auto_Generated_Server_Certificate";
            pki.sign("x", subject, "trust", "basicConstraints=critical,CA:FALSE");
            pki.openssl("rsa -traditional -in x-key.pem -out x-key.pem");
        })
    },
    nameless("self-signed CA:TRUE, trusted itself", |pki| {
        self_signed(pki, "");
    }),
    good("self-signed CA:TRUE with a name, trusted itself", |pki| {
        self_signed(pki, "-addext subjectAltName=DNS:localhost");
    }),
    Kind {
        full: Err(CertificateFault::Unusable),
        full_by_cn: Err(CertificateFault::Unusable),
        ca: Err(CertificateFault::Unusable),
        ..good("CA:TRUE under an authority", |pki| {
            let extensions = "subjectAltName=DNS:localhost;basicConstraints=CA:TRUE";
            under_ca(pki, EC, extensions);
        })
    },
];

fn chain(pki: &Pki) {
    pki.ca("trust", "/CN=Test~Root");
    pki.leaf(
        "middle",
        "/CN=Test~Middle",
        "trust",
        "basicConstraints=critical,CA:TRUE",
    );
    pki.leaf("leaf", "/CN=localhost", "middle", FOR_LOCALHOST);
    pki.write("x-key.pem", &["leaf-key.pem"]);
}

fn self_signed(pki: &Pki, more: &str) {
    pki.key("x", EC);
    pki.openssl(&format!(
        "req -x509 -new -key x-key.pem -subj /CN=localhost -days 365 -out x.pem {more}"
    ));
    pki.write("trust.pem", &["x.pem"]);
}

/// Of the certificate that the key belongs to, wherever it stands in the file.
fn leaf_fingerprint(pki: &Pki) -> Fingerprint {
    let name = if pki.path("leaf.pem").exists() {
        "leaf"
    } else {
        "x"
    };
    pki.fingerprint(name)
}

#[test]
fn every_kind_serves_as_it_should() {
    for kind in KINDS {
        let Some(pki) = pki() else { return };
        (kind.make)(&pki);
        let (roots, server) = (pki.roots("trust"), ServerOptions::new(pki.identity("x")));
        let by_cn = ClientOptions {
            allow_cn_name: true,
            ..client(Verify::Full(roots.clone()))
        };
        let pinned = Verify::Fingerprint(vec![[0; 32], leaf_fingerprint(&pki)]);
        let modes = [
            (
                "verify-full",
                client(Verify::Full(roots.clone())),
                kind.full,
            ),
            ("allow_cn_name", by_cn, kind.full_by_cn),
            ("verify-ca", client(Verify::Ca(roots)), kind.ca),
            ("fingerprint", client(pinned), Ok(())),
            ("danger-none", client(Verify::DangerNone), Ok(())),
        ];
        for (mode, options, expected) in modes {
            with_every_version(&options, &server, "localhost", now(), |version, outcome| {
                let row = format!("{}, {mode}, {version:?}", kind.name);
                assert_eq!(fault(&outcome.client), expected.err(), "{row}: {outcome:?}");
                assert_eq!(
                    outcome.client.is_ok(),
                    expected.is_ok(),
                    "{row}: {outcome:?}"
                );
                assert_eq!(
                    outcome.server.is_ok(),
                    expected.is_ok(),
                    "{row}: {outcome:?}"
                );
            });
        }
    }
}

#[test]
fn every_kind_presents_itself_as_it_should() {
    for kind in KINDS {
        let Some(pki) = pki() else { return };
        (kind.make)(&pki);
        let client = ClientOptions {
            identity: Some(pki.identity("x")),
            ..client(Verify::DangerNone)
        };
        let server = |client_auth| ServerOptions {
            client_auth,
            ..ServerOptions::new(pki.identity("x"))
        };
        let roots = pki.roots("trust");
        let modes = [
            (ClientAuth::Required(roots.clone()), kind.ca),
            (ClientAuth::Optional(roots), kind.ca),
        ];
        for (auth, expected) in modes {
            let server = server(auth);
            with_every_version(&client, &server, "localhost", now(), |version, outcome| {
                let row = format!("{}, {version:?}", kind.name);
                assert_eq!(fault(&outcome.server), expected.err(), "{row}: {outcome:?}");
                let Ok(facts) = outcome.server else { return };
                let subject = facts.peer().unwrap().subject(Oneline::OpenSsl3).unwrap();
                assert!(subject.contains("/CN="), "{row}: {subject}");
            });
        }
    }
}

#[test]
fn an_encrypted_key_opens_with_its_passphrase_alone() {
    let Some(pki) = pki() else { return };
    under_ca(&pki, EC, FOR_LOCALHOST);
    let ciphers = [
        "-v2 aes-256-cbc",
        "-v2 aes-128-cbc -v2prf hmacWithSHA1",
        "-v2 des3",
        "-scrypt",
    ];
    for cipher in ciphers {
        pki.openssl(&format!(
            "pkcs8 -topk8 {cipher} -in x-key.pem -passout pass:right -out encrypted.pem"
        ));
        let (chain, key) = (pki.text("x.pem"), pki.text("encrypted.pem"));
        let chain = Pem {
            name: "x.pem",
            text: &chain,
        };
        let key = Pem {
            name: "encrypted.pem",
            text: &key,
        };
        Identity::from_encrypted_pem(chain, key, b"right").unwrap();
        let error = Identity::from_encrypted_pem(chain, key, b"wrong").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("the passphrase does not decrypt"),
            "{error}"
        );
        let error = Identity::from_pem(chain, key).unwrap_err();
        assert!(
            error.to_string().contains("no passphrase was given"),
            "{error}"
        );
    }
}

#[test]
fn a_key_that_cannot_be_used_says_what_can() {
    let Some(pki) = pki() else { return };
    under_ca(&pki, "RSA", FOR_LOCALHOST);
    pki.openssl("rsa -traditional -aes128 -in x-key.pem -passout pass:right -out old.pem");
    let error = pki.identity_of("x.pem", "old.pem").unwrap_err().to_string();
    assert!(
        error.contains("`openssl pkcs8 -topk8 -v2 aes-256-cbc -in old.pem"),
        "{error}"
    );
    pki.openssl("genrsa -out short.pem 1024");
    let error = pki
        .identity_of("x.pem", "short.pem")
        .unwrap_err()
        .to_string();
    assert!(error.contains("RSA of 2048 to 8192 bits"), "{error}");
    let error = pki.identity_of("x.pem", "x.pem").unwrap_err().to_string();
    assert!(error.contains("x.pem: holds no private key"), "{error}");
    let error = pki
        .identity_of("x-key.pem", "x-key.pem")
        .unwrap_err()
        .to_string();
    assert!(error.contains("x-key.pem: holds no certificate"), "{error}");
}
