//! One certificate authority and one server for all tests.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use sealwire::buf::Pools;
use sealwire::conn::Connection;
use sealwire::time::Now;
use sealwire::tls::{
    ClientConfig, ClientOptions, Identity, Pem, RecordPath, Roots, ServerConfig, ServerName,
    ServerOptions, Verify,
};

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Plain,
    Tls,
}

impl Protocol {
    pub(super) fn client(self, now: Now, pools: &mut Pools) -> Connection {
        match self {
            Self::Plain => Connection::plain(),
            Self::Tls => {
                let name = ServerName::try_from("localhost").unwrap();
                Connection::client(&CONFIGS.client, &name, now, pools).unwrap()
            }
        }
    }

    pub(super) fn server(self, now: Now) -> Connection {
        match self {
            Self::Plain => Connection::plain(),
            Self::Tls => Connection::server(&CONFIGS.server, now),
        }
    }
}

pub(super) struct Configs {
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
}

pub(super) static CONFIGS: LazyLock<Configs> = LazyLock::new(|| Configs {
    client: ClientConfig::new(&client_options()).unwrap(),
    server: ServerConfig::new(&server_options()).unwrap(),
});

pub(super) fn client_options() -> ClientOptions {
    ClientOptions {
        records: RecordPath::InPlace,
        handshake_timeout: HANDSHAKE_TIMEOUT,
        ..ClientOptions::new(Verify::Full(Arc::clone(&PKI.roots)))
    }
}

pub(super) fn server_options() -> ServerOptions {
    ServerOptions {
        records: RecordPath::InPlace,
        handshake_timeout: HANDSHAKE_TIMEOUT,
        ..ServerOptions::new(Arc::clone(&PKI.identity))
    }
}

struct Pki {
    roots: Arc<Roots>,
    identity: Arc<Identity>,
}

static PKI: LazyLock<Pki> = LazyLock::new(|| {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = rcgen::Issuer::new(params, key);
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    let leaf = params.signed_by(&key, &issuer).unwrap().pem();
    Pki {
        roots: Roots::from_pem(&[pem(&ca)]).unwrap(),
        identity: Identity::from_pem(pem(&leaf), pem(&key.serialize_pem())).unwrap(),
    }
});

fn pem(text: &str) -> Pem<'_> {
    Pem {
        name: "test.pem",
        text: text.as_bytes(),
    }
}

pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
