//! What a relayed record costs in calls into the kernel, counted by the gateway's own engine.
//!
//! `cargo bench --bench relay` starts `sealwire gateway` with one worker between TLS clients and a
//! plain echo server, drives it in a closed loop with 256-byte messages, and prints the counters
//! that the gateway logs when it ends. Both ends run in this process.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use sealwire::conn::Connection;
use sealwire::engine::{Address, Engine, EngineOptions, Event, ListenOptions, SocketOptions};
use sealwire::tls::{ClientConfig, ClientOptions, Pem, Roots, ServerName, Verify, Version};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const MESSAGE_LEN: usize = 256;
const CONNECTIONS: [usize; 4] = [1, 16, 64, 512];
const SECONDS: u64 = 3;

fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let made = Command::new(SEALWIRE)
        .args(["cert", "init"])
        .arg(dir.path())
        .output()?;
    assert!(made.status.success(), "cert init: {made:?}");
    let echo = Echo::start()?;
    println!(
        "TLS clients -> gateway (1 worker) -> plain echo server, {MESSAGE_LEN} bytes, {SECONDS} s"
    );
    println!(
        "{:<8} {:>11} {:>9} {:>9} {:>13} {:>17} {:>15}",
        "backend",
        "connections",
        "records",
        "enters",
        "enters/record",
        "other calls/record",
        "records/cycle"
    );
    for backend in ["uring", "epoll"] {
        for connections in CONNECTIONS {
            println!(
                "{}",
                measure(dir.path(), backend, connections, echo.address)?
            );
        }
    }
    Ok(())
}

const SEALWIRE: &str = env!("CARGO_BIN_EXE_sealwire");

fn measure(dir: &Path, backend: &str, connections: usize, upstream: SocketAddr) -> Result<String> {
    let mut gateway = Gateway::start(dir, backend, upstream)?;
    drive(dir, gateway.address, connections)?;
    let totals = gateway.end()?;
    let count = |name: &str| totals[name].as_f64().unwrap_or(f64::NAN);
    let (records, enters) = (count("relayed_records"), count("enters"));
    Ok(format!(
        "{backend:<8} {connections:>11} {records:>9} {enters:>9} {:>13.3} {:>18.3} {:>15.2}",
        enters / records,
        count("syscalls") / records,
        records / count("cycles"),
    ))
}

/// A closed loop on every connection at once, on one engine.
fn drive(dir: &Path, gateway: SocketAddr, connections: usize) -> Result<()> {
    let ca = std::fs::read(dir.join("ca.pem"))?;
    let config = ClientConfig::new(&ClientOptions {
        min_version: Version::Tls13,
        handshake_timeout: Duration::from_secs(60),
        ..ClientOptions::new(Verify::Full(Roots::from_pem(&[Pem {
            name: "ca.pem",
            text: &ca,
        }])?))
    })?;
    let name = ServerName::try_from("localhost")?;
    let (mut engine, mut events) = (Engine::new(&EngineOptions::default())?, Vec::new());
    let (options, timeout) = (SocketOptions::default(), Duration::from_secs(60));
    for _ in 0..connections {
        let now = engine.now();
        let conn = Connection::client(&config, &name, now, engine.pools())?;
        engine.connect(&Address::Ip(gateway), conn, &options, timeout, 0)?;
    }
    let message = [b'q'; MESSAGE_LEN];
    let end = engine.now().monotonic.after(Duration::from_secs(SECONDS));
    while engine.now().monotonic < end {
        engine.wait(Some(Duration::from_millis(100)), &mut events)?;
        for event in events.drain(..) {
            match event {
                Event::Connected { id } => {
                    engine.write(id, &message);
                }
                Event::Readable { id } => {
                    while !engine.peek(id).is_empty() {
                        let len = engine.peek(id).len();
                        engine.consume(id, len);
                        let received = engine.user_data(id) + len as u64;
                        let is_whole = received == MESSAGE_LEN as u64;
                        engine.set_user_data(id, if is_whole { 0 } else { received });
                        if is_whole {
                            engine.write(id, &message);
                        }
                    }
                }
                Event::Closed { error, .. } => return Err(format!("closed: {error:?}").into()),
                _ => {}
            }
        }
    }
    Ok(())
}

struct Gateway {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStderr>>,
    address: SocketAddr,
}

impl Gateway {
    fn start(dir: &Path, backend: &str, upstream: SocketAddr) -> Result<Self> {
        let config = dir.join("relay.toml");
        std::fs::write(
            &config,
            format!(
                "[gateway]\nworkers = 1\nbackend = \"{backend}\"\n\
                 [[route]]\nname = \"relay\"\nprotocol = \"tcp\"\nlisten = [\"127.0.0.1:0\"]\n\
                 server = {{ address = \"{upstream}\", tls = \"off\" }}\n\
                 [route.client]\ntls = \"required\"\n\
                 cert = \"server-cert.pem\"\nkey = \"server-key.pem\"\n"
            ),
        )?;
        let mut child = Command::new(SEALWIRE)
            .args(["gateway", "--log", "json", "--config"])
            .arg(&config)
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().ok_or("no stderr")?;
        let mut lines = BufReader::new(stderr).lines();
        let listening = find(&mut lines, "listening")?;
        let address = listening["address"].as_str().ok_or("no address")?.parse()?;
        find(&mut lines, "ready")?;
        Ok(Self {
            child,
            lines,
            address,
        })
    }

    fn end(&mut self) -> Result<serde_json::Value> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        let totals = find(&mut self.lines, "engine totals")?;
        self.child.wait()?;
        Ok(totals)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It has ended already, unless something failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn find(
    lines: &mut std::io::Lines<BufReader<std::process::ChildStderr>>,
    message: &str,
) -> Result<serde_json::Value> {
    for line in lines {
        let entry: serde_json::Value = serde_json::from_str(&line?)?;
        if entry["message"] == message {
            return Ok(entry);
        }
    }
    Err(format!("the gateway ended before it logged `{message}`").into())
}

/// A plain echo server on an engine of its own.
struct Echo {
    address: SocketAddr,
    is_ending: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Echo {
    fn start() -> Result<Self> {
        let (tell, told) = mpsc::channel();
        let is_ending = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_ending);
        let thread = thread::spawn(move || {
            let mut engine = Engine::new(&EngineOptions::default()).expect("engine");
            let options = ListenOptions {
                backlog: 1024,
                reuse_port: false,
                is_redirected: false,
                socket: SocketOptions::default(),
            };
            let anywhere = Address::Ip(SocketAddr::from(([127, 0, 0, 1], 0)));
            let listener = engine.listen(&anywhere, &options).expect("listen");
            tell.send(engine.local_address(listener).expect("address"))
                .expect("told");
            while !ends.load(Ordering::Acquire) {
                echo(&mut engine);
            }
        });
        let Address::Ip(address) = told.recv()? else {
            return Err("no IP address".into());
        };
        Ok(Self {
            address,
            is_ending,
            thread: Some(thread),
        })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the echo server ends");
        }
    }
}

fn echo(engine: &mut Engine) {
    let mut events = Vec::new();
    engine
        .wait(Some(Duration::from_millis(100)), &mut events)
        .expect("wait");
    for event in events {
        match event {
            Event::Accepted { id, .. } => engine.start(id, Connection::plain(), 0),
            Event::Readable { id } => {
                // A message always fits; only a connection that has just ended takes none.
                let chunk = engine.peek(id).to_vec();
                engine.write(id, &chunk);
                engine.consume(id, chunk.len());
            }
            Event::PeerClosed { id } => engine.close(id),
            _ => {}
        }
    }
}
