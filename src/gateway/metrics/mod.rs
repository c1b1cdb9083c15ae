//! What the gateway shows of itself over HTTP: metrics for a scraper, a page for a person, and
//! whether it serves.
//!
//! One thread of its own answers. The paths of bytes only count; the one thing that workers are
//! asked for is which sessions they have, for the page, once per [`LOOK_INTERVAL`] at most.

mod exposition;
mod http;
mod page;
mod server;
mod status;
mod words;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, thread};

pub(super) use status::{Info, Reloads, Shown, Status, WorkerPort};

use super::config::MetricsSettings;
use crate::error::{Error, Result};
use http::{Code, Request, Response};
use page::Look;

/// Serves what `status` says, until the process ends. Where somebody else still has the address, as
/// a gateway that drains has, it is taken when it is free: sessions do not wait for metrics.
///
/// # Errors
///
/// An address that is not this machine's, a thread that cannot be started.
pub(super) fn start(settings: &MetricsSettings, status: Arc<Status>) -> Result<()> {
    let address = settings.address;
    let bound = match TcpListener::bind(address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            tracing::warn!(%address, reason = %error, "metrics wait for their address");
            None
        }
        bound => Some(bound.map_err(|e| Error::io(format_args!("metrics on {address}"), &e))?),
    };
    if let Some(listener) = &bound {
        announce(listener);
    }
    let mut answers = Answers {
        names: settings.names.clone(),
        status,
        look: None,
    };
    let serve = move || {
        let listener = bound.map_or_else(|| wait_for(address), Ok);
        let served =
            listener.and_then(|listener| server::serve(listener, |request| answers.to(request)));
        if let Err(error) = served {
            tracing::error!(%address, reason = %error, "metrics failed");
        }
    };
    let thread = thread::Builder::new().name("metrics".into()).spawn(serve);
    thread
        .map(drop)
        .map_err(|error| Error::io("start the metrics thread", &error))
}

/// Answers requests.
struct Answers {
    /// By which the gateway may be asked for, beside `localhost` and IP addresses.
    names: Vec<String>,
    status: Arc<Status>,
    /// The last one at the sessions of the workers, and when it was.
    look: Option<(Instant, Look)>,
}

impl Answers {
    fn to(&mut self, request: &Request) -> Response {
        if !http::is_known_host(&request.host, &self.names) {
            let text = "not a name of this gateway: ask for its address, or add the name to \
                        metrics_names\n";
            return Response::text(Code::Misdirected, text);
        }
        if !matches!(request.path.as_str(), "/" | "/metrics" | "/healthz") {
            return Response::text(
                Code::NotFound,
                "not found; there are /, /metrics, /healthz\n",
            );
        }
        if !request.is_read() {
            return Response::text(Code::MethodNotAllowed, "GET and HEAD only\n");
        }
        match request.path.as_str() {
            "/" => self.page(),
            "/metrics" => self.metrics(),
            _ => self.health(),
        }
    }

    /// Whether new connections are accepted: a load balancer is to send none where they are not.
    fn health(&self) -> Response {
        match self.status.shown().is_draining {
            false => Response::text(Code::Ok, "serving\n"),
            true => Response::text(Code::Unavailable, "draining\n"),
        }
    }

    fn metrics(&self) -> Response {
        let text = exposition::write(&self.status.info, &self.status.shown(), &self.status.busy());
        Response::new(Code::Ok, exposition::CONTENT_TYPE, text)
    }

    fn page(&mut self) -> Response {
        let now = Instant::now();
        let is_fresh = |(at, _): &(Instant, Look)| now.duration_since(*at) < LOOK_INTERVAL;
        if !self.look.as_ref().is_some_and(is_fresh) {
            let before = self.look.take();
            let before = before.map(|(at, look)| (now.duration_since(at), look));
            self.look = Some((now, Look::at(&self.status, before)));
        }
        let look = self.look.as_ref().map(|(_, look)| look);
        let html = look.map_or(String::new(), |look| page::write(&self.status, look));
        Response::page(page::style_hash(), html)
    }
}

fn wait_for(address: SocketAddr) -> io::Result<TcpListener> {
    loop {
        thread::sleep(BIND_INTERVAL);
        match TcpListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            bound => return bound.inspect(announce),
        }
    }
}

fn announce(listener: &TcpListener) {
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "metrics");
    }
}

/// Between two looks at the sessions of the workers, however often the page is asked for.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Between two attempts at an address that somebody else has.
const BIND_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
