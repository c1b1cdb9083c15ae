//! The configuration: read from TOML or from flags, judged as a whole, never changed afterwards.

mod build;
mod digest;
mod document;
mod expiry;
mod files;
mod legs;
mod metrics;
mod mysql;
mod networks;
mod obrpc;
mod plan;
mod proxy;
mod require;
mod secret;
mod source;
mod trust;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

#[cfg(test)]
pub(crate) use digest::RouteDigest;
pub(crate) use document::{Given, Place};
pub(crate) use expiry::{Expiring, ExpiringKind};
pub(crate) use files::{Files, SYSTEM, Stamp};
#[cfg(test)]
pub(crate) use networks::Networks;
pub(crate) use plan::{
    ClientCert, ClientTls, HostPort, MetricsSettings, Plan, Protocol, Route, ServerAddress,
    ServerTls, VerifyMode,
};
#[cfg(test)]
pub(crate) use plan::{ClientSide, ServerSide};
#[cfg(test)]
pub(crate) use proxy::ProxyHeader;
pub(crate) use require::AccountRules;
pub(crate) use source::{GatewaySource, LegSource, RouteSource, Source};

use crate::error::{Error, ErrorKind, Result};

/// Reads the configuration file `path` and every file that it names.
///
/// Errors are [`ErrorKind::Config`] and say file, line and what to do.
pub(crate) fn load(path: &Path) -> Result<Arc<Plan>> {
    let wrong = |reason: String| {
        let path = path.display();
        Error::new(ErrorKind::Config, format!("{path}: {reason}"))
    };
    let text = File::open(path)
        .and_then(files::read_bounded)
        .map_err(|error| wrong(error.to_string()))?;
    let text = String::from_utf8(text).map_err(|_| wrong("not UTF-8 text".into()))?;
    let base = path.parent().unwrap_or(Path::new(""));
    build::build(Arc::new(Source::parse(path, &text)?), base)
}

/// The same configuration with the files that it names as they are now. Its own file is not read
/// again: half an edit of it must not go into service because a certificate was renewed.
pub(crate) fn reread(plan: &Plan) -> Result<Arc<Plan>> {
    build::build(Arc::clone(&plan.source), &plan.base)
}

/// Judges a configuration that did not come from a file; relative paths are relative to the working
/// directory.
pub(crate) fn assemble(source: Source) -> Result<Arc<Plan>> {
    build::build(Arc::new(source), Path::new(""))
}

#[cfg(test)]
mod tests;
