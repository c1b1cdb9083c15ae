//! Passwords over two legs of which each may be encrypted: what either end sees.

use std::sync::OnceLock;

use super::*;
use crate::frame::mysql::auth::{PrivateKey, PublicKey};

/// How a leg runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leg {
    Tcp,
    Unix,
    Tls,
}

/// One login of the account `u` with the password `secret`.
struct Case {
    client: Leg,
    server: Leg,
    keys: PasswordKeys,
    plugin: Plugin,
    /// The plugin comes by a switch with a nonce of its own, not in the login.
    is_switched: bool,
}

const PASSWORD: &[u8] = b"secret\0";
const SWITCHED_NONCE: [u8; 20] = *b"abcdefghij0123456789";

fn server_key() -> &'static PrivateKey {
    static KEY: OnceLock<PrivateKey> = OnceLock::new();
    KEY.get_or_init(|| PrivateKey::generate().unwrap())
}

fn own_key() -> Arc<PrivateKey> {
    static KEY: OnceLock<Arc<PrivateKey>> = OnceLock::new();
    let make = || Arc::new(PrivateKey::generate().unwrap());
    KEY.get_or_init(make).clone()
}

fn public(key: &PrivateKey) -> PublicKey {
    PublicKey::from_pem(key.public_pem().as_bytes()).unwrap()
}

fn keys(server: KeySource) -> PasswordKeys {
    PasswordKeys {
        server: Arc::new(server),
        own: Some(own_key()),
    }
}

fn known() -> PasswordKeys {
    keys(KeySource::Known(public(server_key())))
}

fn is_safe(leg: Leg, plugin: Plugin) -> bool {
    leg == Leg::Tls || leg == Leg::Unix && plugin == Plugin::CachingSha2
}

impl Case {
    /// caching_sha2_password from a client in TLS to a server without.
    fn to_plain_server(keys: PasswordKeys) -> Self {
        Self {
            client: Leg::Tls,
            server: Leg::Tcp,
            keys,
            plugin: Plugin::CachingSha2,
            is_switched: false,
        }
    }

    fn nonce(&self) -> [u8; 20] {
        match self.is_switched {
            true => SWITCHED_NONCE,
            false => greeting(false).nonce,
        }
    }

    /// What a client of this case answers with when the password is due: in clear, or a request for
    /// the key.
    fn first_answer(&self) -> Vec<u8> {
        match is_safe(self.client, self.plugin) {
            true => PASSWORD.to_vec(),
            false => vec![self.plugin.key_request().unwrap()],
        }
    }

    /// Runs it up to the password's arrival.
    fn run(&self) -> Result<(), Refusal> {
        let mut bench = self.greeted();
        let in_login = self.plugin == Plugin::Sha256 && !self.is_switched;
        let answer = match in_login {
            true => self.first_answer(),
            false => vec![7; 32],
        };
        let plugin = if self.is_switched {
            NATIVE
        } else {
            self.name()
        };
        let login = HandshakeResponse {
            auth_response: &answer,
            plugin: Some(plugin),
            ..response(NATIVE)
        };
        bench.client(|w| login.write(w))?;
        if in_login && !is_safe(self.client, self.plugin) && is_safe(self.server, self.plugin) {
            self.ask_gateway(&mut bench)?;
        }
        self.secure_server(&mut bench);
        let arrived = bench.at_server();
        let mut arrived = HandshakeResponse::parse(&arrived)
            .unwrap()
            .auth_response
            .to_vec();
        if !in_login {
            arrived = self.demand(&mut bench)?;
        }
        self.take(&mut bench, arrived)
    }

    fn name(&self) -> &'static [u8] {
        self.plugin.name().unwrap().as_bytes()
    }

    fn greeted(&self) -> Bench {
        let mut bench = Bench::greeted(LoginPolicy {
            offers_tls: self.client == Leg::Tls,
            is_client_local: self.client == Leg::Unix,
            is_server_local: self.server == Leg::Unix,
            server_tls: upgrade(self.server == Leg::Tls),
            keys: self.keys.clone(),
            ..LoginPolicy::plain()
        });
        if self.client == Leg::Tls {
            bench.ssl_request();
        }
        bench
    }

    /// Up to the server's demand for the password, which has come to the client.
    fn asked(&self) -> Bench {
        let mut bench = self.greeted();
        bench.client(|w| response(SHA2).write(w)).unwrap();
        bench.at_server();
        bench.server(|w| w.bytes(&[1, FULL_AUTH])).unwrap();
        bench.at_client();
        bench
    }

    fn secure_server(&self, bench: &mut Bench) {
        if self.server == Leg::Tls {
            bench.at_server();
            bench.login.secured(Side::Server, None);
        }
    }

    /// The server asks for the password; gives what arrives there.
    fn demand(&self, bench: &mut Bench) -> Result<Vec<u8>, Refusal> {
        if self.is_switched {
            let switch = [&[0xfe], self.name(), &[0], &SWITCHED_NONCE, &[0]].concat();
            bench.server(|w| w.bytes(&switch))?;
            assert_eq!(bench.at_client(), switch);
        }
        if self.plugin == Plugin::CachingSha2 {
            if self.is_switched {
                bench.client(|w| w.bytes(&[7; 32]))?;
                assert_eq!(bench.at_server(), [7; 32]);
            }
            bench.server(|w| w.bytes(&[1, FULL_AUTH]))?;
            assert_eq!(bench.at_client(), [1, FULL_AUTH]);
        }
        let answer = self.first_answer();
        bench.client(|w| w.bytes(&answer))?;
        if !is_safe(self.client, self.plugin) && is_safe(self.server, self.plugin) {
            self.ask_gateway(bench)?;
        }
        Ok(bench.at_server())
    }

    /// The client has asked for a key, and is given the gateway's.
    fn ask_gateway(&self, bench: &mut Bench) -> Result<(), Refusal> {
        assert!(bench.login.out(Side::Server).is_empty());
        let pem = bench.at_client();
        assert_eq!(pem, [&[1], own_key().public_pem().as_bytes()].concat());
        let sealed = public(&own_key())
            .encrypt_password(b"secret", &self.nonce())
            .unwrap();
        bench.client(|w| w.bytes(&sealed)).map(drop)
    }

    /// The server judges what has arrived as MySQL does.
    fn take(&self, bench: &mut Bench, mut arrived: Vec<u8>) -> Result<(), Refusal> {
        if is_safe(self.server, self.plugin) {
            assert_eq!(arrived, PASSWORD);
        } else {
            if arrived == [self.plugin.key_request().unwrap()] {
                let pem = [&[1], server_key().public_pem().as_bytes()].concat();
                bench.server(|w| w.bytes(&pem))?;
                if !is_safe(self.client, self.plugin) {
                    assert_eq!(bench.at_client(), pem);
                    let sealed = public(server_key()).encrypt_password(b"secret", &self.nonce());
                    let sealed = sealed.unwrap();
                    bench.client(|w| w.bytes(&sealed))?;
                }
                arrived = bench.at_server();
            }
            let password = server_key().decrypt_password(&arrived, &self.nonce());
            assert_eq!(password.unwrap().as_slice(), b"secret");
        }
        let ok = OkPacket::default();
        assert_eq!(bench.server(|w| ok.write(w)), Ok(Step::Relay));
        assert_eq!(bench.at_client()[0], 0);
        Ok(())
    }
}

#[test]
fn the_password_arrives_as_its_end_takes_it_whichever_legs_are_encrypted() {
    for client in [Leg::Tcp, Leg::Unix, Leg::Tls] {
        for server in [Leg::Tcp, Leg::Unix, Leg::Tls] {
            for plugin in [Plugin::CachingSha2, Plugin::Sha256] {
                for is_switched in [false, true] {
                    for keys in [known(), keys(KeySource::DangerFetched)] {
                        let case = Case {
                            client,
                            server,
                            keys,
                            plugin,
                            is_switched,
                        };
                        assert_eq!(case.run(), Ok(()), "{client:?} {server:?} {plugin:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn without_a_key_nothing_goes_out_and_both_ways_to_one_are_named() {
    for plugin in [Plugin::CachingSha2, Plugin::Sha256] {
        for is_switched in [false, true] {
            let case = Case {
                client: Leg::Tls,
                server: Leg::Tcp,
                keys: keys(KeySource::Refused),
                plugin,
                is_switched,
            };
            let refusal = case.run().unwrap_err();
            let mut bench = case.greeted();
            bench.login.refuse(&refusal);
            let packet = bench.at_client();
            let packet = ErrPacket::parse(&packet).unwrap();
            assert_eq!((packet.code, packet.sql_state), (3159, Some(*b"HY000")));
            let message = String::from_utf8_lossy(packet.message);
            assert!(message.contains("server_public_key"), "{message}");
            assert!(
                message.contains("danger_fetch_server_public_key"),
                "{message}"
            );
        }
    }
}

#[test]
fn over_a_unix_socket_the_server_is_asked_for_its_key() {
    let case = Case {
        client: Leg::Tls,
        server: Leg::Unix,
        keys: keys(KeySource::Refused),
        plugin: Plugin::Sha256,
        is_switched: false,
    };
    assert_eq!(case.run(), Ok(()));
}

/// A login whose password is due from a client without TLS, at a server with it.
fn due_in_clear(plugin: Plugin) -> Bench {
    let case = Case {
        client: Leg::Tcp,
        server: Leg::Tls,
        keys: known(),
        plugin,
        is_switched: true,
    };
    let mut bench = case.greeted();
    bench.client(|w| response(NATIVE).write(w)).unwrap();
    case.secure_server(&mut bench);
    bench.at_server();
    let switch = [&[0xfe], case.name(), &[0], &SWITCHED_NONCE, &[0]].concat();
    bench.server(|w| w.bytes(&switch)).unwrap();
    if plugin == Plugin::CachingSha2 {
        bench.at_client();
        bench.client(|w| w.bytes(&[7; 32])).unwrap();
        bench.at_server();
        bench.server(|w| w.bytes(&[1, FULL_AUTH])).unwrap();
    }
    bench.at_client();
    bench
}

#[test]
fn a_client_with_another_key_than_the_gateways_is_told_so() {
    for plugin in [Plugin::CachingSha2, Plugin::Sha256] {
        let sealed = public(server_key())
            .encrypt_password(b"secret", &SWITCHED_NONCE)
            .unwrap();
        for answer in [sealed, b"secret\0".to_vec()] {
            let mut bench = due_in_clear(plugin);
            let refusal = bench.client(|w| w.bytes(&answer)).unwrap_err();
            assert!(bench.login.out(Side::Server).is_empty());
            let text = refusal.error.to_string();
            assert!(
                text.contains("not encrypted to the gateway's key"),
                "{text}"
            );
        }
    }
}

#[test]
fn an_account_without_a_password_needs_no_key() {
    for plugin in [Plugin::CachingSha2, Plugin::Sha256] {
        for answer in [&b""[..], &[0]] {
            let mut bench = due_in_clear(plugin);
            assert_eq!(bench.client(|w| w.bytes(answer)), Ok(Step::Go));
            assert_eq!(bench.at_server(), answer);
        }
    }
    let mut bench = Bench::greeted(LoginPolicy {
        offers_tls: true,
        ..LoginPolicy::plain()
    });
    bench.ssl_request();
    let login = HandshakeResponse {
        auth_response: &[],
        ..response(b"sha256_password")
    };
    assert_eq!(bench.client(|w| login.write(w)), Ok(Step::Go));
}

#[test]
fn a_password_that_is_longer_than_the_key_is_refused() {
    let case = Case::to_plain_server(known());
    let mut bench = case.asked();
    let refusal = bench.client(|w| w.bytes(&[b'x'; 215])).unwrap_err();
    assert_eq!(refusal.error.kind(), ErrorKind::Limit);
    assert!(bench.login.out(Side::Server).is_empty());
}

#[test]
fn while_the_servers_key_is_awaited_the_client_has_nothing_to_say() {
    let case = Case::to_plain_server(keys(KeySource::DangerFetched));
    let mut bench = case.asked();
    bench.client(|w| w.bytes(PASSWORD)).unwrap();
    assert_eq!(bench.at_server(), [2]);
    let refusal = bench.client(|w| w.bytes(PASSWORD)).unwrap_err();
    assert_eq!(refusal.side, Side::Client);
    let mut bench = case.asked();
    bench.client(|w| w.bytes(PASSWORD)).unwrap();
    bench.at_server();
    let refusal = bench.server(|w| w.bytes(b"\x01no key")).unwrap_err();
    assert_eq!(refusal.side, Side::Server);
    assert!(bench.login.out(Side::Server).is_empty());
}
