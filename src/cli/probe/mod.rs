//! `sealwire probe`: what a client would see of a server, and whether it should believe it.

mod link;
mod mysql;
mod obrpc;
mod report;
mod tls;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;

use self::link::Link;
use self::report::Report;
use self::tls::{Examiner, Resumption, Verdict};
use super::packets::PacketStream;
use super::trust::TrustFlags;
use crate::engine::Address;
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::config::ServerAddress;
use crate::stream::Stream;
use crate::tls::{Facts, Seen};

/// Show what a server's TLS is like, and whether it would be believed
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Probe {
    /// host:port or unix:/path
    #[arg(value_name = "HOST:PORT", value_parser = ServerAddress::parse)]
    server: ServerAddress,
    /// It is MySQL, MariaDB or OceanBase, whose TLS begins in the midst of a login
    #[arg(long, conflicts_with = "tls")]
    mysql: bool,
    /// It is a port of OB-RPC: try all that it may accept
    #[arg(long, conflicts_with_all = ["mysql", "tls", "user"])]
    obrpc: bool,
    /// It begins with TLS [default: it is MySQL if it greets within a second]
    #[arg(long)]
    tls: bool,
    #[command(flatten)]
    trust: TrustFlags,
    /// Ask after this MySQL account: two logins without a password
    #[arg(long, value_name = "NAME", conflicts_with = "tls")]
    user: Option<String>,
    /// Time for each connection
    #[arg(long, value_name = "SECONDS", default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// What was found out, up to where it went wrong.
#[derive(Default)]
struct Findings {
    /// As connected.
    address: Option<Address>,
    mysql: Option<mysql::Server>,
    obrpc: Option<obrpc::Port>,
    tls: Option<Arc<Facts>>,
    seen: Seen,
    resumption: Option<Resumption>,
    verdict: Option<Verdict>,
    failure: Option<Error>,
}

/// How a server turned out to begin.
enum Beginning {
    /// With TLS.
    Tls(Stream<Link>),
    /// With a greeting, whose payload this is.
    Mysql(PacketStream<Link>, Vec<u8>),
}

impl Probe {
    pub(super) fn run(&self) -> Result<()> {
        let examiner = Examiner::new(self)?;
        let mut findings = Findings::default();
        findings.failure = self.examine(&examiner, &mut findings).err();
        if !findings.seen.chain.is_empty() {
            findings.verdict = Some(examiner.judge(&findings.seen.chain)?);
        }
        let report = Report::new(self, &examiner, findings);
        let text = match self.json {
            true => report.json(),
            false => report.text(),
        };
        io::stdout()
            .lock()
            .write_all(text.as_bytes())
            .map_err(|error| Error::io("write the result", &error))?;
        report.verdict()
    }

    fn examine(&self, examiner: &Examiner, findings: &mut Findings) -> Result<()> {
        let link = Link::connect(&self.server, self.timeout())?;
        findings.address = Some(link.address().clone());
        if self.obrpc {
            obrpc::examine(link, self, examiner, findings);
            return Ok(());
        }
        let examined = match self.begin(link)? {
            Beginning::Tls(stream) => tls::examine(stream, self, examiner, findings),
            Beginning::Mysql(packets, first) => {
                mysql::examine(packets, &first, self, examiner, findings)
            }
        };
        findings.seen = examiner.witness.seen();
        examined
    }

    /// MySQL's servers speak first and those of TLS never do, so a server is waited for that has
    /// not been said to be one or the other.
    fn begin(&self, mut link: Link) -> Result<Beginning> {
        if self.tls {
            return Ok(Beginning::Tls(link.into_stream()));
        }
        let deadline = link.deadline();
        if !self.is_mysql() {
            link.set_deadline(deadline.min(Instant::now() + GREETING_WAIT));
        }
        let mut packets = PacketStream::new(link.into_stream());
        match packets.receive() {
            Ok(first) => {
                packets.stream().socket_mut().set_deadline(deadline);
                Ok(Beginning::Mysql(packets, first))
            }
            Err(error) if error.kind() == ErrorKind::Timeout && packets.is_empty() => {
                if self.is_mysql() {
                    let text = "the server sends no greeting, as MySQL's would: is it one? --tls \
                                is for servers that begin with TLS";
                    return Err(Error::new(ErrorKind::Timeout, text));
                }
                packets.stream().socket_mut().set_deadline(deadline);
                Ok(Beginning::Tls(packets.into_stream()))
            }
            Err(error) if matches!(error.kind(), ErrorKind::Limit | ErrorKind::Protocol) => {
                let text = "the server speaks first, and not as MySQL's would: it is neither \
                            MySQL nor TLS";
                Err(Error::new(ErrorKind::Protocol, text))
            }
            Err(error) => Err(error),
        }
    }

    /// Accounts are MySQL's.
    fn is_mysql(&self) -> bool {
        self.mysql || self.user.is_some()
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

/// How long a greeting is waited for where the server may be one that waits itself. A server that
/// looks up the client's name first may take longer, and has to be called MySQL.
const GREETING_WAIT: Duration = Duration::from_secs(1);

const EXAMPLE: &str = "\
Nothing secret is sent. Exit code 0: all is well, and tls = \"verify-full\" would believe the
server; 1: it would not, or the server cannot be talked to, or a port of OB-RPC takes others than
clients with a certificate over TLS; 2: wrong usage.

Examples:
  sealwire probe db.example:3306 --ca ca.pem --user app
  sealwire probe 10.0.0.7:6380 --server-name cache.example --json
  sealwire probe --obrpc 10.0.0.7:2882 --ca ca.pem --cert client-cert.pem --key client-key.pem";
