//! Ten thousand clients of one OB-RPC port at once, of which most never finish what they began.
//!
//! The clients have a process of their own, since one may have 20,000 descriptors only: it is this
//! program once more. Nobody waits for a clock: each side tells the other how far it has come, and
//! the deadline of those that never finish passes when the test says so.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod clients;
mod clock;
mod memory;
mod server;

use std::env;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sealwire::engine::BackendChoice;
use sealwire::engine::backend::{Backend, BackendOptions};
use sealwire::engine::epoll::EpollBackend;
use sealwire::engine::uring::UringBackend;

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing.
    Silent,
    /// It sends its negotiation and the first half of a ClientHello, a few bytes at a time.
    Slow,
    /// It sends half its negotiation.
    Halfway,
    /// It makes a call.
    Honest,
}

impl Kind {
    fn of(index: usize) -> Self {
        [
            Self::Silent,
            Self::Slow,
            Self::Honest,
            Self::Halfway,
            Self::Silent,
        ][index % 5]
    }
}

const CLIENTS: usize = 10_000;

/// Clients of each kind but the silent ones.
const EACH: usize = CLIENTS / 5;

/// Beside its clients a process has a few descriptors.
const DESCRIPTORS: u64 = CLIENTS as u64 + 500;

/// One crowd at a time: both count the memory of this process.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn every_honest_client_among_ten_thousand_is_served_on_uring() {
    crowd(BackendChoice::Uring, |options| {
        UringBackend::new(options).map(|backend| Box::new(backend) as _)
    });
}

#[test]
fn every_honest_client_among_ten_thousand_is_served_on_epoll() {
    crowd(BackendChoice::Epoll, |options| {
        EpollBackend::new(options).map(|backend| Box::new(backend) as _)
    });
}

fn crowd(
    choice: BackendChoice,
    open: fn(&BackendOptions) -> sealwire::error::Result<Box<dyn Backend>>,
) {
    raise_descriptor_limit();
    if let Ok(address) = env::var(ADDRESS) {
        return clients::run(choice, &address, &env::var(AUTHORITY).unwrap());
    }
    let turn = TURN.lock();
    match open(&server::BACKEND) {
        Ok(backend) => server::run(backend),
        Err(reason) => skip(&reason.to_string()),
    }
    drop(turn);
}

fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    let is_enough = limit.maximum.is_none_or(|maximum| maximum >= DESCRIPTORS);
    assert!(is_enough, "{DESCRIPTORS} descriptors are needed");
}

/// Says why a test does nothing; a failure where nothing may be skipped.
fn skip(reason: &str) {
    assert!(env::var_os("REQUIRE_ALL").is_none(), "{reason}");
    eprintln!("skipped: {reason}");
}

/// The process of the clients, which speaks line by line.
struct Clients {
    process: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Clients {
    /// Runs the test of this thread's name once more, as the clients of `address`.
    fn start(address: &str, authority: &str) -> Self {
        let test = std::thread::current().name().unwrap().to_owned();
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", &test, "--nocapture", "--test-threads=1"])
            .env(ADDRESS, address)
            .env(AUTHORITY, authority)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            stdin: process.stdin.take(),
            stdout: BufReader::new(process.stdout.take().unwrap()).lines(),
            process,
        }
    }

    fn say(&mut self, word: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{word}").unwrap();
    }

    /// Ends the process, and gives what it had to say in the end.
    fn end(mut self) -> String {
        self.stdin = None;
        let said = self.stdout.by_ref().map(Result::unwrap);
        let told = said.filter_map(|line| line.strip_prefix(TOLD).map(str::to_owned));
        let told: Vec<_> = told.collect();
        assert!(self.process.wait().unwrap().success());
        told.concat()
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The environment of the process of the clients: whom to connect to, and whom to trust.
const ADDRESS: &str = "SEALWIRE_CROWD_ADDRESS";
const AUTHORITY: &str = "SEALWIRE_CROWD_AUTHORITY";

/// What a line of that process begins with that is not libtest's.
const TOLD: &str = "told: ";
