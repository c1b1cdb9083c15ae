//! Every kind of certificate against OpenSSL's own ends over loopback, each end showing one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use sealwire::buf::Pools;
use sealwire::conn::Connection;
use sealwire::engine::Clock;
use sealwire::stream::Stream;
use sealwire::tls::{
    ClientAuth, ClientConfig, ClientOptions, ServerConfig, ServerName, ServerOptions, Verify,
};

use crate::kinds::KINDS;
use crate::pki::{FOR_LOCALHOST, Pki, pki};

/// An `openssl` that ends when it is dropped.
struct Peer {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Peer {
    fn start(pki: &Pki, arguments: &str) -> Self {
        let mut child = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(pki.directory())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            stdin: child.stdin.take().unwrap(),
            stdout: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    /// The rest of the line that begins with `head`.
    fn line_after(&mut self, head: &str) -> String {
        for line in self.stdout.by_ref().lines() {
            if let Some(rest) = line.unwrap().strip_prefix(head) {
                return rest.trim().to_owned();
            }
        }
        panic!("openssl never said {head}");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stream(conn: Connection, socket: TcpStream, clock: Clock, pools: Pools) -> Stream<TcpStream> {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    Stream::new(conn, socket, clock, pools)
}

/// OpenSSL's servers speak TLS 1.2 with a key on P-521 to clients alone that exchange keys on it,
/// which rustls does not.
const NOT_SERVED: (&str, &str) = ("ECDSA P-521", "-tls1_2");

fn each_good_kind(but: Option<(&str, &str)>, check: impl Fn(&Pki, &str)) {
    for kind in KINDS.iter().filter(|kind| kind.ca.is_ok()) {
        let Some(pki) = pki() else { return };
        (kind.make)(&pki);
        for version in ["-tls1_2", "-tls1_3"] {
            println!("{}, {version}", kind.name);
            if but != Some((kind.name, version)) {
                check(&pki, version);
            }
        }
    }
}

#[test]
fn a_server_of_openssl_and_we_take_each_others_certificates() {
    each_good_kind(Some(NOT_SERVED), |pki, version| {
        let mut peer = Peer::start(
            pki,
            &format!(
                "s_server -accept 127.0.0.1:0 -cert leaf-first.pem -key x-key.pem -CAfile \
                 trust.pem -cert_chain x.pem -Verify 5 -verify_return_error -rev {version}"
            )
            .replace("leaf-first.pem", &leaf(pki)),
        );
        let address = peer.line_after("ACCEPT ");
        let options = ClientOptions {
            identity: Some(pki.identity("x")),
            ..ClientOptions::new(Verify::Ca(pki.roots("trust")))
        };
        let (config, clock) = (ClientConfig::new(&options).unwrap(), Clock::start());
        let (name, mut pools) = (ServerName::try_from("localhost").unwrap(), Pools::new(8));
        let conn = Connection::client(&config, &name, clock.now(), &mut pools).unwrap();
        let socket = TcpStream::connect(address).unwrap();
        let mut stream = stream(conn, socket, clock, pools);
        stream.write_all(b"abc\n").unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"cba\n");
    });
}

#[test]
fn a_client_of_openssl_and_we_take_each_others_certificates() {
    each_good_kind(None, |pki, version| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut peer = Peer::start(
            pki,
            &format!(
                "s_client -connect {address} -cert {} -key x-key.pem -cert_chain x.pem -CAfile \
                 trust.pem -verify_return_error -quiet {version}",
                leaf(pki)
            ),
        );
        peer.stdin.write_all(b"abc\n").unwrap();
        let options = ServerOptions {
            client_auth: ClientAuth::Required(pki.roots("trust")),
            ..ServerOptions::new(pki.identity("x"))
        };
        let (config, clock) = (ServerConfig::new(&options).unwrap(), Clock::start());
        let (socket, _) = listener.accept().unwrap();
        let conn = Connection::server(&config, clock.now());
        let mut stream = stream(conn, socket, clock, Pools::new(8));
        let mut said = [0; 4];
        stream.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"abc\n");
        stream.write_all(b"defg\n").unwrap();
        stream.flush().unwrap();
        let mut answer = String::new();
        peer.stdout.read_line(&mut answer).unwrap();
        assert_eq!(answer, "defg\n");
    });
}

/// What databases of old are left with: RSA key exchange, and CBC.
const OUTDATED: [&str; 3] = ["AES128-GCM-SHA256", "AES256-SHA", "ECDHE-RSA-AES128-SHA256"];

fn says_what_is_spoken_here(error: &std::io::Error) {
    let text = error.to_string();
    for part in ["ECDHE", "AES-GCM", "neither RSA key exchange nor CBC"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_server_of_openssl_that_knows_only_what_is_outdated() {
    for suite in OUTDATED {
        let Some(pki) = rsa() else { return };
        let mut peer = Peer::start(
            &pki,
            &format!(
                "s_server -accept 127.0.0.1:0 -cert x.pem -key x-key.pem -tls1_2 -cipher {suite}"
            ),
        );
        let address = peer.line_after("ACCEPT ");
        let options = ClientOptions::new(Verify::Full(pki.roots("trust")));
        let (config, clock) = (ClientConfig::new(&options).unwrap(), Clock::start());
        let (name, mut pools) = (ServerName::try_from("localhost").unwrap(), Pools::new(8));
        let conn = Connection::client(&config, &name, clock.now(), &mut pools).unwrap();
        let socket = TcpStream::connect(address).unwrap();
        let error = stream(conn, socket, clock, pools)
            .read(&mut [0])
            .unwrap_err();
        says_what_is_spoken_here(&error);
    }
}

#[test]
fn a_client_of_openssl_that_knows_only_what_is_outdated() {
    for suite in OUTDATED {
        let Some(pki) = rsa() else { return };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _peer = Peer::start(
            &pki,
            &format!("s_client -connect {address} -tls1_2 -cipher {suite}"),
        );
        let options = ServerOptions::new(pki.identity("x"));
        let (config, clock) = (ServerConfig::new(&options).unwrap(), Clock::start());
        let (socket, _) = listener.accept().unwrap();
        let conn = Connection::server(&config, clock.now());
        let error = stream(conn, socket, clock, Pools::new(8))
            .read(&mut [0])
            .unwrap_err();
        says_what_is_spoken_here(&error);
    }
}

/// A server with an RSA key, which is what the outdated suites need.
fn rsa() -> Option<Pki> {
    let pki = pki()?;
    pki.ca("trust", "/CN=Test~CA");
    pki.key("x", "RSA");
    pki.sign("x", "/CN=localhost", "trust", FOR_LOCALHOST);
    Some(pki)
}

/// The file that has the leaf in front, as OpenSSL wants it.
fn leaf(pki: &Pki) -> String {
    let is_chain = pki.path("leaf.pem").exists();
    String::from(if is_chain { "leaf.pem" } else { "x.pem" })
}

/// How long a peer may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);
