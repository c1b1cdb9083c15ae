//! What every oracle needs: certificates, configurations, and one end with everything that came out
//! of it.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use sealwire::buf::Pools;
use sealwire::conn::{ConnEvent, Connection, Data};
use sealwire::error::Result;
use sealwire::time::{Monotonic, Now};
use sealwire::tls::{
    ClientAuth, ClientConfig, ClientOptions, Identity, Pem, RecordPath, Roots, ServerConfig,
    ServerName, ServerOptions, Verify, Version,
};

pub(crate) const PATHS: [RecordPath; 2] = [RecordPath::Rustls, RecordPath::InPlace];

/// Every suite with the version and the kind of certificate it goes with.
pub(crate) const SUITES: [(&str, Version, Kind); 12] = [
    ("TLS_AES_128_GCM_SHA256", Version::Tls13, Kind::Ecdsa),
    ("TLS_AES_256_GCM_SHA384", Version::Tls13, Kind::Ecdsa),
    ("TLS_CHACHA20_POLY1305_SHA256", Version::Tls13, Kind::Ecdsa),
    ("TLS_AES_128_GCM_SHA256", Version::Tls13, Kind::Rsa),
    ("TLS_AES_256_GCM_SHA384", Version::Tls13, Kind::Rsa),
    ("TLS_CHACHA20_POLY1305_SHA256", Version::Tls13, Kind::Rsa),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", Version::Tls12, Kind::Ecdsa),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", Version::Tls12, Kind::Ecdsa),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", Version::Tls12, Kind::Ecdsa),
    ("ECDHE-RSA-AES128-GCM-SHA256", Version::Tls12, Kind::Rsa),
    ("ECDHE-RSA-AES256-GCM-SHA384", Version::Tls12, Kind::Rsa),
    ("ECDHE-RSA-CHACHA20-POLY1305", Version::Tls12, Kind::Rsa),
];

/// 2026-06-01.
pub(crate) const NOW: Now = Now {
    monotonic: Monotonic::from_ns(0),
    wall_s: 1_780_272_000,
};

/// The kind of a key and its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ecdsa,
    Rsa,
}

/// A chain and its key in PEM.
pub(crate) struct Certified {
    pub(crate) chain: String,
    pub(crate) key: String,
}

pub(crate) struct Pki {
    pub(crate) ca: String,
    pub(crate) server_ecdsa: Certified,
    pub(crate) server_rsa: Certified,
    pub(crate) client: Certified,
    /// A client that nobody here has issued.
    pub(crate) stranger: Certified,
}

impl Pki {
    pub(crate) fn server(&self, kind: Kind) -> &Certified {
        match kind {
            Kind::Ecdsa => &self.server_ecdsa,
            Kind::Rsa => &self.server_rsa,
        }
    }
}

pub(crate) static PKI: LazyLock<Pki> = LazyLock::new(|| {
    let mut params = params("Oracle CA");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().expect("a key");
    let ca = params.self_signed(&key).expect("a certificate").pem();
    let issuer = rcgen::Issuer::new(params, key);
    let leaf = |name: &str, key: rcgen::KeyPair| Certified {
        chain: self::params(name)
            .signed_by(&key, &issuer)
            .expect("a certificate")
            .pem(),
        key: key.serialize_pem(),
    };
    let ecdsa = || rcgen::KeyPair::generate().expect("a key");
    let rsa = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("a key");
    let own_key = ecdsa();
    Pki {
        ca,
        server_ecdsa: leaf("localhost", ecdsa()),
        server_rsa: leaf("localhost", rsa),
        client: leaf("alice", ecdsa()),
        stranger: Certified {
            chain: self::params("mallory")
                .self_signed(&own_key)
                .expect("a certificate")
                .pem(),
            key: own_key.serialize_pem(),
        },
    }
});

/// Valid for as long as any clock of a peer may say.
fn params(name: &str) -> rcgen::CertificateParams {
    let mut params = rcgen::CertificateParams::new(vec![name.into()]).expect("a name");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2099, 1, 1);
    params
}

pub(crate) fn roots() -> Arc<Roots> {
    Roots::from_pem(&[pem(&PKI.ca)]).expect("roots")
}

pub(crate) fn identity(certified: &Certified) -> Arc<Identity> {
    Identity::from_pem(pem(&certified.chain), pem(&certified.key)).expect("an identity")
}

fn pem(text: &str) -> Pem<'_> {
    Pem {
        name: "test.pem",
        text: text.as_bytes(),
    }
}

pub(crate) fn server_options(records: RecordPath, kind: Kind) -> ServerOptions {
    ServerOptions {
        identity: identity(PKI.server(kind)),
        client_auth: ClientAuth::None,
        min_version: Version::Tls12,
        suites: Vec::new(),
        records,
        handshake_timeout: Duration::from_secs(10),
    }
}

pub(crate) fn client_options(records: RecordPath) -> ClientOptions {
    ClientOptions {
        verify: Verify::Full(roots()),
        identity: None,
        min_version: Version::Tls12,
        suites: Vec::new(),
        records,
        handshake_timeout: Duration::from_secs(10),
    }
}

/// Which end is ours, how it moves records, and what both ends agree on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) we_are_client: bool,
    pub(crate) records: RecordPath,
    pub(crate) suite: &'static str,
    pub(crate) version: Version,
    pub(crate) kind: Kind,
}

impl Setup {
    pub(crate) fn each(mut check: impl FnMut(Self)) {
        for (suite, version, kind) in SUITES {
            for records in PATHS {
                for we_are_client in [true, false] {
                    check(Self {
                        we_are_client,
                        records,
                        suite,
                        version,
                        kind,
                    });
                }
            }
        }
    }

    /// One suite for each version.
    pub(crate) fn each_version(mut check: impl FnMut(Self)) {
        Self::each(|setup| {
            let is_aes_128 = setup.suite.contains("AES128") || setup.suite.contains("AES_128");
            if is_aes_128 && setup.kind == Kind::Ecdsa {
                check(setup);
            }
        });
    }

    pub(crate) fn our_client(self) -> Arc<ClientConfig> {
        let mut options = client_options(self.records);
        options.suites = vec![self.suite.into()];
        ClientConfig::new(&options).expect("a configuration")
    }

    pub(crate) fn our_server(self) -> Arc<ServerConfig> {
        let mut options = server_options(self.records, self.kind);
        options.suites = vec![self.suite.into()];
        ServerConfig::new(&options).expect("a configuration")
    }
}

/// One end with everything that came out of it.
pub(crate) struct End {
    pub(crate) conn: Connection,
    pub(crate) pools: Pools,
    pub(crate) received: Vec<u8>,
    pub(crate) events: Vec<ConnEvent>,
}

impl End {
    pub(crate) fn client(options: &ClientOptions) -> Self {
        Self::client_of(&ClientConfig::new(options).expect("a configuration"))
    }

    pub(crate) fn client_of(config: &Arc<ClientConfig>) -> Self {
        let mut pools = Pools::new(8);
        let name = ServerName::try_from("localhost").expect("a name");
        let conn = Connection::client(config, &name, NOW, &mut pools).expect("a client");
        Self::new(conn, pools)
    }

    pub(crate) fn server(options: &ServerOptions) -> Self {
        Self::server_of(&ServerConfig::new(options).expect("a configuration"))
    }

    pub(crate) fn server_of(config: &Arc<ServerConfig>) -> Self {
        Self::new(Connection::server(config, NOW), Pools::new(8))
    }

    pub(crate) fn new(conn: Connection, pools: Pools) -> Self {
        Self {
            conn,
            pools,
            received: Vec::new(),
            events: Vec::new(),
        }
    }

    pub(crate) fn take_output(&mut self) -> Result<Vec<u8>> {
        let mut output = Vec::new();
        while let Some(buf) = self.conn.poll_transmit(&mut self.pools)? {
            output.extend_from_slice(buf.filled());
            self.pools.send.give(buf);
        }
        Ok(output)
    }

    /// Feeds one segment. Every call opens one chunk or takes everything, so the number of calls is
    /// bounded.
    pub(crate) fn feed(&mut self, segment: &[u8]) -> Result<()> {
        let mut segment = segment.to_vec();
        let mut at = 0;
        for _ in 0..=segment.len() + 1 {
            let rest = &mut segment[at..];
            let opened = self.conn.handle_recv(NOW, rest, &mut self.pools)?;
            match &opened.data {
                Data::Input(range) => self.received.extend_from_slice(&rest[range.clone()]),
                Data::Held => self.received.extend_from_slice(self.conn.held()),
                Data::None => assert_eq!(opened.consumed, rest.len()),
            }
            at += opened.consumed;
            while let Some(event) = self.conn.poll_event() {
                self.events.push(event);
            }
            if opened.data == Data::None {
                return Ok(());
            }
        }
        panic!("a segment of {} bytes is never done with", segment.len());
    }

    /// Writes all of it; the queue must have room.
    pub(crate) fn write(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let taken = self.conn.write(data, &mut self.pools).expect("a write");
            assert!(taken > 0, "the queue is full");
            data = &data[taken..];
        }
    }

    pub(crate) fn close(&mut self) -> Result<()> {
        self.conn.close(&mut self.pools)
    }

    pub(crate) fn refresh_keys(&mut self) -> Result<()> {
        self.conn.refresh_keys(&mut self.pools)
    }
}

/// Bytes that show where something was lost or swapped.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}
