//! What is seen of a server's TLS, and how it is judged.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::link::Link;
use super::{Findings, Probe};
use crate::engine::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::stream::Stream;
use crate::tls::{
    Certificate, ClientConfig, ClientOptions, Fingerprint, Identity, Roots, ServerName, Verify,
    Witness,
};

/// What a server is met with, and what it is judged by.
pub(super) struct Examiner {
    /// Believes everybody; nothing secret is ever sent.
    pub(super) config: Arc<ClientConfig>,
    pub(super) witness: Arc<Witness>,
    pub(super) name: ServerName<'static>,
    /// `--cert` and `--key`.
    pub(super) identity: Option<Arc<Identity>>,
    /// `--ca`, for the report.
    pub(super) ca: String,
    roots: Arc<Roots>,
}

/// How a chain is judged in each of the modes of `[route.server]`.
pub(super) struct Verdict {
    /// `tls = "verify-full"`.
    pub(super) full: Result<()>,
    /// The same with `allow_cn_name = true`.
    pub(super) allow_cn_name: Result<()>,
    /// `tls = "verify-ca"`.
    pub(super) ca: Result<()>,
    /// What `tls = "fingerprint"` takes.
    pub(super) fingerprint: Option<Fingerprint>,
}

/// Whether a second session went on from the first.
pub(super) enum Resumption {
    Yes,
    No,
    /// What the server answers to the attempt.
    Fails(Error),
}

impl Examiner {
    /// Reads the files that the flags name.
    pub(super) fn new(probe: &Probe) -> Result<Self> {
        let trust = &probe.trust;
        let (roots, identity) = (trust.roots()?, trust.identity()?);
        let witness = Arc::new(Witness::default());
        let options = believing(identity.clone(), Arc::clone(&witness), probe.timeout());
        let config = ClientConfig::new(&options)?;
        Ok(Self {
            config,
            witness,
            name: trust.server_name(&probe.server)?,
            identity,
            ca: trust.ca().to_owned(),
            roots,
        })
    }

    /// Judges the chain that was seen, as a connection would that sends something secret.
    pub(super) fn judge(&self, chain: &[Vec<u8>]) -> Result<Verdict> {
        let now = Clock::start().now();
        let judged = |verify, allow_cn_name| -> Result<Result<()>> {
            let options = ClientOptions {
                allow_cn_name,
                ..ClientOptions::new(verify)
            };
            let config = ClientConfig::new(&options)?;
            Ok(config.judge(chain, &self.name, now))
        };
        let roots = || Arc::clone(&self.roots);
        let leaf = chain.first().and_then(|der| Certificate::from_der(der));
        Ok(Verdict {
            full: judged(Verify::Full(roots()), false)?,
            allow_cn_name: judged(Verify::Full(roots()), true)?,
            ca: judged(Verify::Ca(roots()), false)?,
            fingerprint: leaf.map(|leaf| leaf.fingerprint()),
        })
    }
}

/// Believes everybody, so that everything is seen.
pub(super) fn believing(
    identity: Option<Arc<Identity>>,
    witness: Arc<Witness>,
    handshake_timeout: Duration,
) -> ClientOptions {
    ClientOptions {
        identity,
        witness: Some(witness),
        handshake_timeout,
        ..ClientOptions::new(Verify::DangerNone)
    }
}

/// Meets a server that begins with TLS.
pub(super) fn examine(
    mut stream: Stream<Link>,
    probe: &Probe,
    examiner: &Examiner,
    findings: &mut Findings,
) -> Result<()> {
    let began = Instant::now();
    stream.start_tls_client(&examiner.config, &examiner.name)?;
    stream.handshake()?;
    findings.tls = stream.connection().facts().cloned();
    end(&mut stream, began.elapsed())?;
    findings.resumption = Some(resume(probe, examiner));
    Ok(())
}

fn resume(probe: &Probe, examiner: &Examiner) -> Resumption {
    let attempt = || {
        let began = Instant::now();
        let mut stream = Link::connect(&probe.server, probe.timeout())?.into_stream();
        stream.start_tls_client(&examiner.config, &examiner.name)?;
        stream.handshake()?;
        end(&mut stream, began.elapsed())?;
        Ok(stream
            .connection()
            .facts()
            .is_some_and(|facts| facts.resumed))
    };
    Resumption::of(attempt())
}

impl Resumption {
    pub(super) fn of(is_resumed: Result<bool>) -> Self {
        match is_resumed {
            Ok(true) => Self::Yes,
            Ok(false) => Self::No,
            Err(error) => Self::Fails(error),
        }
    }
}

/// Ends this side and reads what comes up to the server's end: session tickets, or the alert by
/// which TLS 1.3 refuses a client's certificate when the client believes all to be well. A server
/// that says nothing has no objection.
fn end(stream: &mut Stream<Link>, handshake: Duration) -> Result<()> {
    stream.close()?;
    let wait = (4 * handshake).max(OBJECTION_WAIT_MIN);
    let deadline = stream.socket_mut().deadline().min(Instant::now() + wait);
    stream.socket_mut().set_deadline(deadline);
    let mut ignored = [0; 4_096];
    for _ in 0..READS_MAX {
        match stream.read(&mut ignored) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => return objection(error),
        }
    }
    Ok(())
}

/// What is left of an error once everything is over.
fn objection(error: io::Error) -> Result<()> {
    match error.downcast::<Error>() {
        Ok(error) if matches!(error.kind(), ErrorKind::TlsAlert(_)) => Err(error),
        _ => Ok(()),
    }
}

/// How long a server is waited for to object to a client's certificate, on the fastest of ways.
const OBJECTION_WAIT_MIN: Duration = Duration::from_millis(250);

/// Reads behind the handshake, of a server that goes on talking.
const READS_MAX: usize = 64;
