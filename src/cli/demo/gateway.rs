use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::{env, fs};

use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};

/// `sealwire gateway` as a process of its own, as it is run in earnest.
pub(super) struct GatewayProcess {
    child: Child,
    plain: SocketAddr,
    tls: SocketAddr,
    sidecar: SocketAddr,
    backend: String,
    fallback: Option<String>,
    aes: String,
}

impl GatewayProcess {
    /// Starts a gateway before `mysql` and `obrpc` with the certificates in `dir`, and waits until
    /// it listens. Where there is a `public_key` (PEM), passwords are encrypted to it.
    pub(super) fn start(
        dir: &Path,
        mysql: &str,
        public_key: Option<&[u8]>,
        obrpc: SocketAddr,
    ) -> Result<Self> {
        let config = dir.join("demo.toml");
        let text = configuration(mysql, public_key.is_some(), obrpc);
        write(&config, text.as_bytes())?;
        if let Some(pem) = public_key {
            write(&dir.join(PUBLIC_KEY), pem)?;
        }
        let program = env::current_exe().map_err(|error| Error::io("find this program", &error))?;
        let mut child = Command::new(program)
            .args(["gateway", "--log", "json", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Error::io("start the gateway", &error))?;
        let Some(stderr) = child.stderr.take() else {
            return Err(Error::new(ErrorKind::Internal, "the gateway has no stderr"));
        };
        let mut lines = BufReader::new(stderr).lines();
        let ready = Ready::read(&mut lines);
        // The pipe must be emptied for as long as the gateway writes to it.
        thread::spawn(move || lines.map_while(Result::ok).for_each(|line| pass_on(&line)));
        match ready {
            Ok(ready) => Ok(Self {
                child,
                plain: ready.plain,
                tls: ready.tls,
                sidecar: ready.sidecar,
                backend: ready.backend,
                fallback: ready.fallback,
                aes: ready.aes,
            }),
            Err(error) => {
                end(&mut child);
                Err(error)
            }
        }
    }

    pub(super) fn plain(&self) -> SocketAddr {
        self.plain
    }

    pub(super) fn tls(&self) -> SocketAddr {
        self.tls
    }

    /// Where applications are taken in the clear, and go on to the OB-RPC server by SSL_IO.
    pub(super) fn sidecar(&self) -> SocketAddr {
        self.sidecar
    }

    pub(super) fn backend(&self) -> &str {
        &self.backend
    }

    /// Why it is not io_uring, where it is not.
    pub(super) fn fallback(&self) -> Option<&str> {
        self.fallback.as_deref()
    }

    pub(super) fn aes(&self) -> &str {
        &self.aes
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// What the gateway said of itself up to its line `ready`.
struct Ready {
    plain: SocketAddr,
    tls: SocketAddr,
    sidecar: SocketAddr,
    backend: String,
    fallback: Option<String>,
    aes: String,
}

impl Ready {
    fn read(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> Result<Self> {
        let (mut plain, mut tls, mut sidecar, mut fallback) = (None, None, None, None);
        let mut said = Vec::new();
        for line in lines {
            let line = line.map_err(|error| Error::io("read the gateway's log", &error))?;
            let Ok(entry) = serde_json::from_str::<Value>(&line) else {
                said.push(line);
                continue;
            };
            let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            let address = || text("address").parse().ok();
            match (text("message").as_str(), text("route").as_str()) {
                ("listening", "plain") => plain = address(),
                ("listening", "tls") => tls = address(),
                ("listening", "sidecar") => sidecar = address(),
                ("ready", _) => {
                    let (Some(plain), Some(tls), Some(sidecar)) = (plain, tls, sidecar) else {
                        break;
                    };
                    let (backend, aes) = (text("backend"), text("aes"));
                    return Ok(Self {
                        plain,
                        tls,
                        sidecar,
                        backend,
                        fallback,
                        aes,
                    });
                }
                _ if text("level") == "WARN" => fallback = Some(text("reason")),
                _ => {}
            }
        }
        let said = said.join("; ");
        Err(Error::new(
            ErrorKind::Internal,
            format!("the gateway did not start: {said}"),
        ))
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself; there is nobody else to tell.
    let _ = child.kill();
    let _ = child.wait();
}

fn write(path: &Path, text: &[u8]) -> Result<()> {
    fs::write(path, text).map_err(|error| Error::io(path.display(), &error))
}

/// The reason of a failure is in the gateway's log, and whoever runs the demo sees no other.
fn pass_on(line: &str) {
    let Ok(entry) = serde_json::from_str::<Value>(line) else {
        return;
    };
    let text = |name: &str| entry[name].as_str().unwrap_or_default();
    if text("level") == "WARN" {
        eprintln!("gateway: {}: {}", text("message"), text("reason"));
    }
}

/// A loopback address for each, as one may be listened on once, whatever the port. The certificate
/// is for the first.
fn configuration(mysql: &str, has_public_key: bool, obrpc: SocketAddr) -> String {
    let key = match has_public_key {
        true => format!("server_public_key = {PUBLIC_KEY:?}"),
        false => String::new(),
    };
    format!(
        r#"[gateway]
workers = 1

[[route]]
name = "tls"
protocol = "mysql"
listen = ["127.0.0.1:0"]

[route.client]
tls = "required"
cert = "server-cert.pem"
key = "server-key.pem"
min_version = "1.3"

[route.server]
address = {mysql:?}
tls = "off"
{key}

[[route]]
name = "plain"
protocol = "mysql"
listen = ["127.0.0.2:0"]
client = {{ tls = "off" }}
server = {{ address = {mysql:?}, tls = "off" }}

[[route]]
name = "sidecar"
protocol = "obrpc"
listen = ["127.0.0.3:0"]
client = {{ method = "none" }}

[route.server]
address = "{obrpc}"
method = "ssl_io"
require_binding = true
min_version = "1.3"
ca = "ca.pem"
"#
    )
}

const PUBLIC_KEY: &str = "server-public-key.pem";
