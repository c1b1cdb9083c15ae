use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::document::{Given, Place, nearest};
use super::files::Files;
use super::legs::{self, LegContext};
use super::metrics;
use super::mysql;
use super::obrpc;
use super::plan::{Plan, Protocol, ReloadDrain, Route, Settings, map_path};
use super::source::{GatewaySource, RouteSource, Source};
use crate::engine::{Address, BackendChoice};
use crate::error::Result;
use crate::limits::HANDSHAKE_TIMEOUT_MS;
use crate::tls::RecordPath;

pub(super) fn build(source: Arc<Source>, base: &Path) -> Result<Arc<Plan>> {
    let settings = settings(&source.gateway)?;
    if source.routes.is_empty() {
        return Err(source.place.error("no [[route]]: there is nothing to do"));
    }
    let mut files = Files::new(base.to_owned());
    let mut taken = Taken::default();
    let mut routes = Vec::with_capacity(source.routes.len());
    for route in &source.routes {
        routes.push(Arc::new(build_route(
            route, &settings, &mut files, &mut taken,
        )?));
    }
    Ok(Arc::new(Plan {
        settings,
        routes,
        files: files.into_stamps(),
        source,
        base: base.to_owned(),
    }))
}

/// Reads one of a few words; `choices` has the default first.
pub(super) fn choose<T: Copy>(
    key: &str,
    given: Option<&Given<String>>,
    choices: &[(&str, T)],
    default: T,
) -> Result<T> {
    let Some(given) = given else {
        return Ok(default);
    };
    let known = choices.iter().find(|(word, _)| *word == given.value);
    if let Some((_, value)) = known {
        return Ok(*value);
    }
    let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
    let hint = nearest(&given.value, &words)
        .map(|near| format!("; did you mean \"{near}\"?"))
        .unwrap_or_default();
    let words = words.join(", ");
    let value = &given.value;
    Err(given
        .place
        .error(format!("{key} = {value:?} is not one of {words}{hint}")))
}

/// Seconds, where zero means none.
pub(super) fn seconds(given: Option<&Given<u64>>, default_s: u64) -> Option<Duration> {
    match given.map_or(default_s, |given| given.value) {
        0 => None,
        value => Some(Duration::from_secs(value)),
    }
}

fn settings(source: &GatewaySource) -> Result<Settings> {
    Ok(Settings {
        workers: size(source.workers.as_ref()),
        backend: choose(
            "backend",
            source.backend.as_ref(),
            BACKENDS,
            BackendChoice::Auto,
        )?,
        records: choose(
            "records",
            source.records.as_ref(),
            RECORDS,
            RecordPath::default(),
        )?,
        connections_max: size(source.max_connections.as_ref()),
        half_open_max_per_address: (source.half_open_max_per_address.as_ref())
            .map_or(HALF_OPEN_MAX_PER_ADDRESS, |given| size(Some(given))),
        drain_timeout: seconds(source.drain_timeout_s.as_ref(), DRAIN_TIMEOUT_S),
        metrics: metrics::settings(source)?,
        reload_drain: (source.reload_drain_s.as_ref()).map(|given| ReloadDrain {
            timeout: seconds(Some(given), 0),
        }),
    })
}

fn build_route(
    source: &RouteSource,
    settings: &Settings,
    files: &mut Files,
    taken: &mut Taken,
) -> Result<Route> {
    let name = taken.name(source)?;
    let protocol = protocol(source)?;
    let listen = taken.listen(source, &name, files)?;
    let handshake_timeout = source
        .handshake_timeout_s
        .as_ref()
        .map_or(Duration::from_millis(HANDSHAKE_TIMEOUT_MS), |given| {
            Duration::from_secs(given.value)
        });
    let connect_timeout_ms = source.connect_timeout_ms.as_ref();
    let mut context = LegContext {
        route: &name,
        files,
        protocol,
        records: settings.records,
        handshake_timeout,
    };
    obrpc::check_unused(protocol, [&source.client, &source.server])?;
    legs::check_combination(protocol, &source.client, &source.server)?;
    let client = legs::client(&source.client, &mut context)?;
    let server = legs::server(&source.server, &client.tls, &mut context)?;
    mysql::check_unused(protocol, &client.tls, &source.client, &source.server)?;
    let mut hasher = files.take_hasher();
    hasher.add((source, settings.records));
    Ok(Route {
        name,
        digest: hasher.digest(),
        protocol,
        listen,
        connect_timeout: Duration::from_millis(
            connect_timeout_ms.map_or(CONNECT_TIMEOUT_MS, |given| given.value),
        ),
        handshake_timeout,
        idle_timeout: seconds(source.idle_timeout_s.as_ref(), IDLE_TIMEOUT_S),
        connections_max: size(source.max_connections.as_ref()),
        client,
        server,
    })
}

fn protocol(source: &RouteSource) -> Result<Protocol> {
    let Some(protocol) = &source.protocol else {
        return Err(source
            .place
            .error("[[route]] needs protocol, as in protocol = \"tcp\""));
    };
    match protocol.value.as_str() {
        "tcp" => Ok(Protocol::Tcp),
        "mysql" => Ok(Protocol::Mysql),
        "obrpc" => Ok(Protocol::Obrpc),
        other => Err(protocol.place.error(format!(
            "protocol = {other:?} is not one of tcp, mysql, obrpc"
        ))),
    }
}

/// What earlier routes have taken, with the places where they did.
#[derive(Default)]
struct Taken {
    names: HashMap<Arc<str>, Place>,
    addresses: HashMap<Address, (Arc<str>, Place)>,
}

impl Taken {
    fn name(&mut self, source: &RouteSource) -> Result<Arc<str>> {
        let Some(given) = source.name.as_ref().filter(|name| !name.value.is_empty()) else {
            return Err(source.place.error("[[route]] needs a name"));
        };
        let name: Arc<str> = given.value.as_str().into();
        if let Some(first) = self.names.insert(name.clone(), given.place.clone()) {
            let first = first.within();
            return Err(given
                .place
                .error(format!("a route named {name:?} is already at {first}")));
        }
        Ok(name)
    }

    fn listen(
        &mut self,
        source: &RouteSource,
        name: &Arc<str>,
        files: &Files,
    ) -> Result<Vec<Address>> {
        if source.listen.is_empty() {
            let example = "as in listen = [\"127.0.0.1:8443\"]";
            return Err(source
                .place
                .error(format!("[[route]] needs listen, {example}")));
        }
        let mut addresses = Vec::with_capacity(source.listen.len());
        for given in &source.listen {
            let address: Address = given
                .value
                .parse()
                .map_err(|reason: String| given.place.error(reason))?;
            let address = map_path(address, |path| files.path(path));
            let owner = (name.clone(), given.place.clone());
            if let Some((owner, first)) = self.addresses.insert(address.clone(), owner) {
                let first = first.within();
                return Err(given.place.error(format!(
                    "{address} is already listened on by route {owner:?} ({first})"
                )));
            }
            addresses.push(address);
        }
        Ok(addresses)
    }
}

fn size(given: Option<&Given<u64>>) -> usize {
    given.map_or(0, |given| {
        usize::try_from(given.value).unwrap_or(usize::MAX)
    })
}

const BACKENDS: &[(&str, BackendChoice)] = &[
    ("auto", BackendChoice::Auto),
    ("uring", BackendChoice::Uring),
    ("epoll", BackendChoice::Epoll),
];

const RECORDS: &[(&str, RecordPath)] = &[
    ("rustls", RecordPath::Rustls),
    ("in-place", RecordPath::InPlace),
];

/// Long enough for a lost SYN to be sent again twice.
const CONNECT_TIMEOUT_MS: u64 = 5_000;

/// Far more than a pool that starts has under way at once, and a tenth of the connections that a
/// gateway with the usual limit of descriptors has: no address alone keeps the others out.
const HALF_OPEN_MAX_PER_ADDRESS: usize = 1_000;

/// MySQL's own wait_timeout: a pool that the server keeps is kept here too.
const IDLE_TIMEOUT_S: u64 = 28_800;

/// Well below the 90 s after which systemd kills.
const DRAIN_TIMEOUT_S: u64 = 30;
