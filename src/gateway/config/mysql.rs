//! Keys that have a meaning with `protocol = "mysql"` alone.

use super::document::Place;
use super::files::Files;
use super::plan::{ClientTls, Protocol, ServerAddress, ServerTls, VerifyMode};
use super::source::LegSource;
use crate::engine::Address;
use crate::error::{Error, Result};
use crate::frame::mysql::auth::KeySource;

/// Of the server: the key to which passwords are encrypted on a leg without TLS.
pub(super) fn public_key(
    source: &LegSource,
    address: &ServerAddress,
    tls: &ServerTls,
    files: &mut Files,
) -> Result<KeySource> {
    let fetch = source
        .danger_fetch_server_public_key
        .as_ref()
        .filter(|given| given.value);
    match (&source.server_public_key, fetch) {
        (None, None) => Ok(KeySource::Refused),
        (Some(key), None) => {
            check_effect(&key.place, "server_public_key", address, tls)?;
            files.public_key(key).map(KeySource::Known)
        }
        (None, Some(fetch)) => {
            check_effect(&fetch.place, FETCH, address, tls)?;
            Ok(KeySource::DangerFetched)
        }
        (Some(_), Some(fetch)) => Err(no_effect(&fetch.place, FETCH, "beside server_public_key")),
    }
}

/// Keys of this protocol that the route cannot use are errors: whoever wrote one believes in an
/// effect that is not there.
pub(super) fn check_unused(
    protocol: Protocol,
    client_tls: &ClientTls,
    client: &LegSource,
    server: &LegSource,
) -> Result<()> {
    let Some(why) = why_unused(protocol, client_tls) else {
        return Ok(());
    };
    let fetch = server.danger_fetch_server_public_key.as_ref();
    let given = [
        (
            "trusted_proxies",
            client.trusted_proxies.first().map(|g| &g.place),
        ),
        (
            "server_public_key",
            server.server_public_key.as_ref().map(|g| &g.place),
        ),
        (FETCH, fetch.map(|g| &g.place)),
    ];
    let found = given
        .into_iter()
        .find_map(|(key, place)| place.map(|place| (key, place)));
    match found {
        Some((key, place)) => Err(no_effect(place, key, why)),
        None => Ok(()),
    }
}

/// Why keys of this protocol can do nothing on the route, where that is so.
pub(super) fn why_unused(protocol: Protocol, client_tls: &ClientTls) -> Option<&'static str> {
    match (protocol, client_tls) {
        (Protocol::Tcp | Protocol::Obrpc, _) => Some("without protocol = \"mysql\""),
        (_, ClientTls::Passthrough) => {
            Some("with tls = \"passthrough\" in [route.client]: logins pass unread")
        }
        _ => None,
    }
}

fn check_effect(place: &Place, key: &str, address: &ServerAddress, tls: &ServerTls) -> Result<()> {
    let is_encrypted = matches!(
        tls,
        ServerTls::Verify { mode, .. } if *mode != VerifyMode::DangerPreferred
    );
    let is_local = matches!(address, ServerAddress::Fixed(Address::Unix(_)));
    match (is_encrypted, is_local) {
        (true, _) => Err(no_effect(
            place,
            key,
            "where passwords go to the server in TLS",
        )),
        (_, true) => Err(no_effect(
            place,
            key,
            "over a Unix socket, on which nobody listens in",
        )),
        _ => Ok(()),
    }
}

fn no_effect(place: &Place, key: &str, why: &str) -> Error {
    place.error(format!("{key} has no effect {why}"))
}

const FETCH: &str = "danger_fetch_server_public_key";
