//! Two ends in memory.

use std::sync::Arc;

use sealwire::buf::Pools;
use sealwire::conn::Connection;
use sealwire::error::{CertificateFault, Error, ErrorKind, Result};
use sealwire::time::Now;
use sealwire::tls::{
    ClientConfig, ClientOptions, Facts, RecordPath, ServerConfig, ServerName, ServerOptions,
    Verify, Version, Witness,
};

/// What became of a handshake at either end.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) client: Result<Facts>,
    pub(crate) server: Result<Facts>,
}

struct End {
    conn: Connection,
    pools: Pools,
    error: Option<Error>,
}

/// Handshakes at `now` between a client that wants `name` and a server.
pub(crate) fn handshake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    name: &str,
    now: Now,
) -> Outcome {
    let mut pools = Pools::new(8);
    let conn = Connection::client(client, &server_name(name), now, &mut pools).unwrap();
    let mut client = End::new(conn, pools);
    let mut server = End::new(Connection::server(server, now), Pools::new(8));
    // Tickets follow the handshake; both ends are done with them when neither has anything to say.
    let mut to_server = client.output();
    loop {
        let to_client = server.feed(&to_server, now);
        to_server = client.feed(&to_client, now);
        if to_client.is_empty() && to_server.is_empty() {
            break;
        }
    }
    Outcome {
        client: client.result(now),
        server: server.result(now),
    }
}

/// The same with what is most in use: versions differ, and so does who moves the records.
pub(crate) fn with_every_version(
    client: &ClientOptions,
    server: &ServerOptions,
    name: &str,
    now: Now,
    check: impl Fn(Version, Outcome),
) {
    for (version, records) in [
        (Version::Tls12, RecordPath::Rustls),
        (Version::Tls13, RecordPath::InPlace),
    ] {
        let mut client = client.clone();
        (client.suites, client.records) = (suites_of(version), records);
        let config = ClientConfig::new(&client).unwrap();
        let server = ServerConfig::new(server).unwrap();
        let outcome = handshake(&config, &server, name, now);
        if outcome.client.is_ok() || fault(&outcome.client).is_some() {
            let chain = chain_shown(&client, &server, name, now);
            let judged = ClientConfig::new(&client)
                .unwrap()
                .judge(&chain, &server_name(name), now);
            assert_eq!(judged.err().as_ref(), outcome.client.as_ref().err());
        }
        check(version, outcome);
    }
}

/// What a client sees that believes everybody, as `sealwire probe` does.
fn chain_shown(
    client: &ClientOptions,
    server: &Arc<ServerConfig>,
    name: &str,
    now: Now,
) -> Vec<Vec<u8>> {
    let witness = Arc::new(Witness::default());
    let client = ClientOptions {
        verify: Verify::DangerNone,
        witness: Some(Arc::clone(&witness)),
        ..client.clone()
    };
    handshake(&ClientConfig::new(&client).unwrap(), server, name, now);
    let seen = witness.seen();
    assert!(
        !seen.signature.is_empty(),
        "the server signed the handshake"
    );
    seen.chain
}

fn server_name(name: &str) -> ServerName<'static> {
    ServerName::try_from(name.to_owned()).unwrap()
}

fn suites_of(version: Version) -> Vec<String> {
    let names: &[&str] = match version {
        Version::Tls12 => &[
            "ECDHE-RSA-AES128-GCM-SHA256",
            "ECDHE-ECDSA-AES128-GCM-SHA256",
        ],
        Version::Tls13 => &["TLS_AES_128_GCM_SHA256"],
    };
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A client without a certificate.
pub(crate) fn client(verify: Verify) -> ClientOptions {
    ClientOptions::new(verify)
}

/// Why a certificate was refused.
pub(crate) fn fault(result: &Result<Facts>) -> Option<CertificateFault> {
    match result.as_ref().err()?.kind() {
        ErrorKind::Certificate(fault) => Some(fault),
        _ => None,
    }
}

impl End {
    fn new(conn: Connection, pools: Pools) -> Self {
        Self {
            conn,
            pools,
            error: None,
        }
    }

    /// Takes `input`, and gives what this end has to say to it.
    fn feed(&mut self, input: &[u8], now: Now) -> Vec<u8> {
        let mut input = input.to_vec();
        let mut at = 0;
        while at < input.len() && self.error.is_none() {
            match self
                .conn
                .handle_recv(now, &mut input[at..], &mut self.pools)
            {
                Ok(opened) => at += opened.consumed,
                Err(error) => self.error = Some(error),
            }
        }
        self.output()
    }

    fn output(&mut self) -> Vec<u8> {
        let mut output = Vec::new();
        while let Ok(Some(buf)) = self.conn.poll_transmit(&mut self.pools) {
            output.extend_from_slice(buf.filled());
            self.pools.send.give(buf);
        }
        output
    }

    /// Whatever the peer has not said by now it never will.
    fn result(mut self, now: Now) -> Result<Facts> {
        if self.error.is_none() && self.conn.is_handshaking() {
            self.error = self.conn.handle_eof(now).err();
        }
        let facts = self.conn.facts().map(|facts| Facts::clone(facts));
        self.conn.release(&mut self.pools);
        match self.error {
            Some(error) => Err(error),
            None => Ok(facts.expect("a handshake that ended")),
        }
    }
}
