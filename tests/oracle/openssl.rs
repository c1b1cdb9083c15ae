//! Against OpenSSL: `s_server`, `s_client` and Python's `ssl`, over loopback, in both roles.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use sealwire::error::{CertificateFault, ErrorKind};
use sealwire::tls::{ClientAuth, ClientOptions, Version};

use crate::process::{Link, Process, has, skip};
use crate::support::{
    Certified, End, PKI, Setup, client_options, identity, pattern, roots, server_options,
};

/// The certificates as files; kept for as long as the tests run.
static FILES: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("ca.pem", &PKI.ca);
    let all = [
        ("Ecdsa", &PKI.server_ecdsa),
        ("Rsa", &PKI.server_rsa),
        ("client", &PKI.client),
        ("stranger", &PKI.stranger),
    ];
    for (name, Certified { chain, key }) in all {
        write(&format!("{name}.pem"), chain);
        write(&format!("{name}-key.pem"), key);
    }
    directory
});

/// OpenSSL's end and ours, after the handshake.
struct Session {
    openssl: Process,
    link: Link,
}

impl Setup {
    fn session(self, flags: &[&str]) -> Session {
        if self.we_are_client {
            let openssl = self.s_server(flags);
            let end = End::client_of(&self.our_client());
            let mut link = Link::connect(end, &openssl.stdout.line_after("ACCEPT "));
            link.establish().unwrap();
            Session { openssl, link }
        } else {
            let (openssl, mut link) = self.s_client(End::server_of(&self.our_server()), flags);
            link.establish().unwrap();
            Session { openssl, link }
        }
    }

    fn s_server(self, flags: &[&str]) -> Process {
        let kind = format!("{:?}", self.kind);
        let (cert, key) = (format!("{kind}.pem"), format!("{kind}-key.pem"));
        let mut command = Command::new("openssl");
        command.args(["s_server", "-accept", "127.0.0.1:0", "-cert", &cert]);
        command.args(["-key", &key, "-CAfile", "ca.pem"]);
        command.args(self.suite_flags()).args(flags);
        Process::start(&mut command, FILES.path())
    }

    fn s_client(self, end: End, flags: &[&str]) -> (Process, Link) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &address, "-servername", "localhost"]);
        command.args(["-verify_hostname", "localhost", "-verify_return_error"]);
        if !flags.contains(&"-CAfile") {
            command.args(["-CAfile", "ca.pem"]);
        }
        command.args(self.suite_flags()).args(flags);
        let openssl = Process::start(&mut command, FILES.path());
        (openssl, Link::accept(end, &listener))
    }

    fn suite_flags(self) -> [&'static str; 3] {
        match self.version {
            Version::Tls12 => ["-tls1_2", "-cipher", self.suite],
            Version::Tls13 => ["-tls1_3", "-ciphersuites", self.suite],
        }
    }
}

impl Session {
    /// One line each way.
    fn talk(&mut self, line: &str) {
        self.link.send(line.as_bytes());
        self.openssl.stdout.wait_for(line.as_bytes());
        self.openssl.say(format!("{line}\n").as_bytes());
        let received = self.link.receive(line.len() + 1).unwrap();
        assert_eq!(received, format!("{line}\n").into_bytes());
    }

    /// Has OpenSSL send a KeyUpdate, and takes it: what it is told next would be taken for a part
    /// of the command.
    fn update_keys(&mut self, command: &str) {
        self.openssl.say(command.as_bytes());
        self.link.step().unwrap();
        assert!(self.link.end.received.is_empty());
    }
}

/// Every setup, where there is an OpenSSL to talk to.
fn each(check: impl FnMut(Setup)) {
    if has("openssl", "version") {
        Setup::each(check);
    } else {
        skip("there is no openssl");
    }
}

/// One suite for each version, as above.
fn each_version(check: impl FnMut(Setup)) {
    if has("openssl", "version") {
        Setup::each_version(check);
    } else {
        skip("there is no openssl");
    }
}

#[test]
fn every_suite_talks_both_ways() {
    each(|setup| {
        let mut session = setup.session(&[]);
        session.talk("0 select 1");
        session.talk("1 select 2");
        let facts = session.link.end.conn.facts().unwrap();
        assert_eq!(facts.version, setup.version);
        // Q: s_client closes with close_notify, s_server by the end of its stream alone.
        session.openssl.say(b"Q\n");
        match session.link.until_closed() {
            Ok(()) => assert!(!setup.we_are_client),
            Err(error) => {
                assert!(setup.we_are_client);
                assert_eq!(error.kind(), ErrorKind::Truncated);
            }
        }
    });
}

#[test]
fn keys_are_replaced_by_either_side() {
    each_version(|setup| {
        if setup.version == Version::Tls12 {
            return;
        }
        let mut session = setup.session(&[]);
        session.talk("0 before");
        for round in 0..3 {
            // K asks for an update in return, k does not.
            for command in ["K\n", "k\n"] {
                session.update_keys(command);
                session.talk(&format!("{round}1 after theirs"));
            }
            session.link.end.refresh_keys().unwrap();
            session.talk(&format!("{round}2 after ours"));
            session.link.end.refresh_keys().unwrap();
            session.update_keys("K\n");
            session.talk(&format!("{round}3 after both"));
        }
    });
}

/// Each kind of record that OpenSSL can be told to send.
#[test]
fn a_mebibyte_passes_both_ways() {
    let data: Vec<u8> = pattern(1 << 20)
        .into_iter()
        .map(|byte| b'0' + byte % 10)
        .collect();
    let flags: [&[&str]; 4] = [
        &[],
        &["-max_send_frag", "512"],
        &["-split_send_frag", "1000", "-max_send_frag", "2000"],
        &["-record_padding", "1000"],
    ];
    for (index, flags) in flags.into_iter().enumerate() {
        each_version(|setup| {
            if index == 3 && setup.version == Version::Tls12 {
                return;
            }
            let Session {
                mut openssl,
                mut link,
            } = setup.session(flags);
            let spoken = data.clone();
            let speaker = std::thread::spawn(move || {
                openssl.say(&spoken);
                openssl
            });
            for chunk in data.chunks(50_000) {
                link.send(chunk);
            }
            assert!(
                link.receive(data.len()).unwrap() == data,
                "{setup:?} {flags:?}"
            );
            speaker.join().unwrap().stdout.wait_for(&data);
        });
    }
}

#[test]
fn sessions_are_resumed_with_tickets_and_without() {
    each_version(|setup| {
        if setup.we_are_client {
            for (count, is_resumed) in [("0", false), ("1", true), ("5", true)] {
                let mut flags = vec!["-num_tickets", count];
                if setup.version == Version::Tls12 {
                    flags = vec![];
                }
                let openssl = setup.s_server(&flags);
                let address = openssl.stdout.line_after("ACCEPT ");
                let config = setup.our_client();
                for round in 0..2 {
                    let mut link = Link::connect(End::client_of(&config), &address);
                    link.establish().unwrap();
                    let expected = round > 0 && (is_resumed || setup.version == Version::Tls12);
                    assert_eq!(
                        link.end.conn.facts().unwrap().resumed,
                        expected,
                        "{setup:?}"
                    );
                    link.send(b"0 hello");
                    link.end.close().unwrap();
                    // s_server answers close_notify with its own, behind its tickets.
                    link.until_closed().unwrap();
                }
            }
            return;
        }
        let config = setup.our_server();
        let session_file = FILES
            .path()
            .join(format!("{:?}-{:?}.pem", setup.records, setup.version));
        let session_file = session_file.to_str().unwrap();
        for (flag, is_resumed) in [("-sess_out", false), ("-sess_in", true)] {
            let end = End::server_of(&config);
            let (mut openssl, mut link) = setup.s_client(end, &[flag, session_file]);
            link.establish().unwrap();
            assert_eq!(
                link.end.conn.facts().unwrap().resumed,
                is_resumed,
                "{setup:?}"
            );
            link.send(b"0 hello");
            openssl.stdout.wait_for(b"0 hello");
            openssl.say(b"Q\n");
            link.until_closed().unwrap();
        }
    });
}

/// OpenSSL takes the no_renegotiation that it is answered with as the end.
#[test]
fn renegotiation_is_declined() {
    each_version(|setup| {
        if setup.version == Version::Tls13 {
            return;
        }
        let mut session = setup.session(&[]);
        session.talk("0 before");
        session.openssl.say(b"R\n");
        let error = session.link.until_closed().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TlsAlert(40), "{setup:?} {error}");
    });
}

#[test]
fn bad_certificates_are_told_each_way() {
    each_version(|setup| {
        let told = |link: &mut Link| {
            let error = link
                .establish()
                .and_then(|()| link.until_closed())
                .unwrap_err();
            error.kind()
        };
        if setup.we_are_client {
            let openssl = setup.s_server(&["-Verify", "1", "-verify_return_error"]);
            let address = openssl.stdout.line_after("ACCEPT ");
            let as_whom = |who: Option<&Certified>| {
                let options = ClientOptions {
                    identity: who.map(identity),
                    ..client_options(setup.records)
                };
                Link::connect(End::client(&options), &address)
            };
            let missing = match setup.version {
                Version::Tls12 => 40,
                Version::Tls13 => 116,
            };
            assert_eq!(told(&mut as_whom(None)), ErrorKind::TlsAlert(missing));
            let mut stranger = as_whom(Some(&PKI.stranger));
            assert_eq!(told(&mut stranger), ErrorKind::TlsAlert(48));
            let mut alice = as_whom(Some(&PKI.client));
            alice.establish().unwrap();
            alice.send(b"0 alice is let in");
            openssl.stdout.wait_for(b"0 alice is let in");

            let flags = ["-cert", "stranger.pem", "-key", "stranger-key.pem"];
            let openssl = setup.s_server(&flags);
            let address = openssl.stdout.line_after("ACCEPT ");
            let mut link = Link::connect(End::client_of(&setup.our_client()), &address);
            let fault = ErrorKind::Certificate(CertificateFault::UnknownIssuer);
            assert_eq!(told(&mut link), fault);
            openssl.stderr.wait_for(b"alert unknown ca");
            return;
        }
        let end = End::server_of(&setup.our_server());
        let (_openssl, mut link) = setup.s_client(end, &["-CAfile", "stranger.pem"]);
        assert_eq!(told(&mut link), ErrorKind::TlsAlert(48), "{setup:?}");

        let mut options = server_options(setup.records, setup.kind);
        options.client_auth = ClientAuth::Required(roots());
        let cases: [(&[&str], CertificateFault, &[u8]); 2] = [
            (&[], CertificateFault::Missing, b"alert"),
            (
                &["-cert", "stranger.pem", "-key", "stranger-key.pem"],
                CertificateFault::UnknownIssuer,
                b"alert unknown ca",
            ),
        ];
        for (flags, fault, words) in cases {
            let (openssl, mut link) = setup.s_client(End::server(&options), flags);
            assert_eq!(told(&mut link), ErrorKind::Certificate(fault), "{setup:?}");
            openssl.stderr.wait_for(words);
        }
    });
}

/// Python's end in `mode`, and ours connected to it.
fn python(setup: Setup, mode: &str, segment_len: usize, data_len: usize) -> (Process, Link) {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/peer.py");
    let (segment, data) = (segment_len.to_string(), data_len.to_string());
    let mut command = Command::new("python3");
    command.arg(script).args([mode, "--ca", "ca.pem"]);
    command.args(["--version", setup.version.number()]);
    command.args(["--segment", &segment, "--data", &data]);
    let (process, mut link) = if setup.we_are_client {
        command.args(["--cert", "Ecdsa.pem", "--key", "Ecdsa-key.pem"]);
        let process = Process::start(&mut command, FILES.path());
        let port = process.stdout.line_after("ready ");
        let socket = std::net::TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        let end = End::client_of(&setup.our_client());
        (process, Link::new(end, socket, segment_len))
    } else {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        command.args(["--connect", &port]);
        let process = Process::start(&mut command, FILES.path());
        let socket = listener.accept().unwrap().0;
        let end = End::server_of(&setup.our_server());
        (process, Link::new(end, socket, segment_len))
    };
    link.establish().unwrap();
    (process, link)
}

#[test]
fn either_side_closes_first_and_hears_the_other_out() {
    if !has("python3", "--version") {
        return skip("there is no python3");
    }
    for (segment_len, data_len) in [(1, 3_000), (65_536, 1 << 20)] {
        each_version(|setup| {
            let (_process, mut link) = python(setup, "echo", segment_len, 0);
            let data = pattern(data_len);
            for chunk in data.chunks(16_384) {
                link.send(chunk);
            }
            link.end.close().unwrap();
            link.until_closed().unwrap();
            assert!(link.end.received == data, "{setup:?}");

            let (process, mut link) = python(setup, "first", segment_len, data_len);
            link.until_closed().unwrap();
            let expected: Vec<u8> = (0..data_len).map(|i| (i % 251) as u8).collect();
            assert!(link.end.received == expected, "{setup:?}");
            for chunk in data.chunks(16_384) {
                link.send(chunk);
            }
            link.end.close().unwrap();
            link.flush().unwrap();
            assert_eq!(process.stdout.line_after("received "), sha256(&data));
        });
    }
}

fn sha256(data: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, data);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
