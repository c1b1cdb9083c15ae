use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::build::{choose, seconds};
use super::document::Given;
use super::files::Files;
use super::mysql;
use super::networks::Networks;
use super::plan::{
    ClientCert, ClientSide, ClientTls, Protocol, ServerAddress, ServerSide, ServerTls, VerifyMode,
};
use super::source::LegSource;
use super::{obrpc, proxy, require, secret, trust};
use crate::engine::backend::SocketOptions;
use crate::error::{Error, Result};
use crate::tls::{
    ClientAuth, ClientConfig, ClientOptions, Identity, RecordPath, ServerConfig, ServerName,
    ServerOptions, Tickets, Version,
};

/// What both legs of a route are built with.
pub(super) struct LegContext<'a> {
    /// The route's name.
    pub(super) route: &'a str,
    pub(super) files: &'a mut Files,
    pub(super) protocol: Protocol,
    pub(super) records: RecordPath,
    pub(super) handshake_timeout: Duration,
}

/// The table of docs/gateway.md, "Modes".
pub(super) fn check_combination(
    protocol: Protocol,
    client: &LegSource,
    server: &LegSource,
) -> Result<()> {
    if protocol == Protocol::Obrpc {
        return Ok(());
    }
    let client_mode = client_mode(client)?;
    let server_mode = server_mode(server)?;
    if client_mode == ClientMode::Preferred && protocol == Protocol::Tcp {
        let text =
            "is for protocol = \"mysql\": only there does the client say whether it begins TLS";
        return Err(mode_error(client, "preferred", text));
    }
    let preferred = ServerMode::Verify(VerifyMode::DangerPreferred);
    if server_mode == preferred && protocol == Protocol::Tcp {
        let text = "is for protocol = \"mysql\": only there does the server say whether it speaks \
                    TLS";
        return Err(mode_error(server, "danger-preferred", text));
    }
    if client_mode != ClientMode::Passthrough || server_mode == ServerMode::Off {
        return Ok(());
    }
    let place = server.tls.as_ref().map_or(&server.place, |tls| &tls.place);
    let word = server.tls.as_ref().map_or("verify-full", |tls| &tls.value);
    Err(place.error(format!(
        "tls = \"{word}\" in [route.server] cannot go with tls = \"passthrough\" in \
         [route.client]: the client's TLS ends at the server, and the gateway cannot verify what \
         it does not open; say tls = \"off\" in [route.server]"
    )))
}

pub(super) fn client(source: &LegSource, context: &mut LegContext<'_>) -> Result<ClientSide> {
    let tls = match (context.protocol, client_mode(source)?) {
        (Protocol::Obrpc, _) => obrpc::client(source, context)?,
        (_, ClientMode::Required) => client_terminated(source, true, context)?,
        (_, ClientMode::Preferred) => client_terminated(source, false, context)?,
        (_, ClientMode::Off) => {
            check_unused(source)?;
            ClientTls::Off
        }
        (_, ClientMode::Passthrough) => {
            check_unused(source)?;
            ClientTls::Passthrough
        }
    };
    let require = require::account_rules(&source.require, context.protocol, &tls)?;
    let mut conditions = trust::conditions(source);
    conditions.extend(require.iter().flat_map(|rules| rules.conditions()));
    Ok(ClientSide {
        tls,
        trusted_proxies: Networks::parse("trusted_proxies", &source.trusted_proxies)?,
        proxy_protocol_from: Networks::parse("proxy_protocol_from", &source.proxy_protocol_from)?,
        require,
        conditions,
        socket: socket_options(source),
    })
}

pub(super) fn server(
    source: &LegSource,
    client_tls: &ClientTls,
    context: &mut LegContext<'_>,
) -> Result<ServerSide> {
    let Some(given) = &source.address else {
        let example = "as in address = \"127.0.0.1:8080\"";
        return Err(source
            .place
            .error(format!("[route.server] needs address, {example}")));
    };
    let address = obrpc::address(context.protocol, given)?;
    let address = address.map_path(|path| context.files.path(path));
    let tls = match (context.protocol, server_mode(source)?) {
        (Protocol::Obrpc, _) => obrpc::server(source, &address, context)?,
        (_, ServerMode::Off) => {
            check_unused(source)?;
            ServerTls::Off
        }
        (_, ServerMode::Verify(mode)) => server_verify(source, mode, &address, context)?,
    };
    let public_key = mysql::public_key(source, &address, &tls, context.files)?;
    let socket = SocketOptions {
        // Whatever redirects clients here may redirect what is made for them here as well.
        is_recognized: address == ServerAddress::Original,
        ..socket_options(source)
    };
    Ok(ServerSide {
        address,
        tls,
        public_key: Arc::new(public_key),
        proxy_header: proxy::header(source, context.protocol, client_tls)?,
        conditions: trust::conditions(source),
        socket,
    })
}

fn client_terminated(
    source: &LegSource,
    is_required: bool,
    context: &mut LegContext<'_>,
) -> Result<ClientTls> {
    let Some(identity) = identity(source, context.files)? else {
        let word = if is_required { "required" } else { "preferred" };
        return Err(mode_error(source, word, "needs cert and key"));
    };
    let (options, client_cert) = server_options(source, identity, context)?;
    if !is_required && matches!(client_cert, ClientCert::Required | ClientCert::Pinned) {
        let text = "cannot go with client_cert = \"required\" or fingerprints: a client without \
                    TLS shows no certificate";
        return Err(mode_error(source, "preferred", text));
    }
    Ok(ClientTls::Terminated {
        is_required,
        config: ServerConfig::new(&options).map_err(|error| options_error(source, &error))?,
        identity: options.identity,
        client_cert,
    })
}

/// What every TLS server is made of that presents `identity`, and what it asks of clients.
pub(super) fn server_options(
    source: &LegSource,
    identity: Arc<Identity>,
    context: &mut LegContext<'_>,
) -> Result<(ServerOptions, ClientCert)> {
    let (client_cert, client_auth) = client_auth(source, context.protocol, context.files)?;
    let tickets = match &source.tickets {
        Some(file) => Some(Tickets::new(
            context.files.ticket_keys(file)?,
            context.route,
        )),
        None => None,
    };
    let options = ServerOptions {
        client_auth,
        min_version: min_version(source)?,
        suites: suites(source),
        records: context.records,
        handshake_timeout: context.handshake_timeout,
        allowed_clients: trust::allowed_clients(source, client_cert)?,
        tickets,
        ..ServerOptions::new(identity)
    };
    Ok((options, client_cert))
}

fn client_auth(
    source: &LegSource,
    protocol: Protocol,
    files: &mut Files,
) -> Result<(ClientCert, ClientAuth)> {
    if trust::has_fingerprints(source) {
        return pinned_clients(source, files);
    }
    // As MySQL's servers do, which leave it to the account whether one must be shown.
    let default = match (&source.ca, protocol) {
        (None, _) => ClientCert::None,
        (_, Protocol::Mysql) if source.allowed_clients.is_empty() => ClientCert::Optional,
        _ => ClientCert::Required,
    };
    let mode = choose(
        "client_cert",
        source.client_cert.as_ref(),
        CLIENT_CERTS,
        default,
    )?;
    let auth = match (mode, &source.ca) {
        (ClientCert::None, None) => {
            trust::check_unused_crl(source, "client_cert = \"none\"")?;
            ClientAuth::None
        }
        (ClientCert::None, Some(ca)) => {
            let text = "ca has no effect with client_cert = \"none\"";
            return Err(ca.place.error(text));
        }
        (_, Some(ca)) => {
            let roots = trust::roots_of_clients(ca, source, files)?;
            match mode {
                ClientCert::Optional => ClientAuth::Optional(roots),
                _ => ClientAuth::Required(roots),
            }
        }
        (_, None) => {
            let place = source
                .client_cert
                .as_ref()
                .map_or(&source.place, |c| &c.place);
            return Err(place.error(
                "client_cert needs ca: the authorities that may issue client certificates",
            ));
        }
    };
    Ok((mode, auth))
}

/// Certificates that are named one by one need no authority, and are required.
fn pinned_clients(source: &LegSource, files: &mut Files) -> Result<(ClientCert, ClientAuth)> {
    if let Some(ca) = &source.ca {
        return Err(ca.place.error("ca has no effect with fingerprints"));
    }
    if let Some(mode) = source
        .client_cert
        .as_ref()
        .filter(|mode| mode.value != "required")
    {
        return Err(mode
            .place
            .error("client_cert can only be \"required\" with fingerprints"));
    }
    trust::check_unused_crl(source, "fingerprints")?;
    let pins = trust::fingerprints(source, files)?;
    Ok((ClientCert::Pinned, ClientAuth::Fingerprint(pins)))
}

fn server_verify(
    source: &LegSource,
    mode: VerifyMode,
    address: &ServerAddress,
    context: &mut LegContext<'_>,
) -> Result<ServerTls> {
    let options = client_options(source, mode, context)?;
    let config = ClientConfig::new(&options).map_err(|error| options_error(source, &error))?;
    Ok(ServerTls::Verify {
        config,
        name: server_name(source, mode, address)?,
        mode,
        identity: options.identity,
    })
}

/// What every TLS client is made of that judges its server by `mode`.
pub(super) fn client_options(
    source: &LegSource,
    mode: VerifyMode,
    context: &mut LegContext<'_>,
) -> Result<ClientOptions> {
    let verify = trust::verify(source, mode, context.files)?;
    let allow_cn_name = source.allow_cn_name.as_ref();
    Ok(ClientOptions {
        identity: identity(source, context.files)?,
        min_version: min_version(source)?,
        suites: suites(source),
        records: context.records,
        handshake_timeout: context.handshake_timeout,
        allow_cn_name: allow_cn_name.is_some_and(|given| given.value),
        ..ClientOptions::new(verify)
    })
}

/// Where the name decides nothing it is only asked for (SNI), and any will do for a socket that has
/// none.
pub(super) fn server_name(
    source: &LegSource,
    mode: VerifyMode,
    address: &ServerAddress,
) -> Result<ServerName<'static>> {
    if let Some(given) = &source.server_name {
        return parse_name(given);
    }
    let decides = matches!(mode, VerifyMode::Full | VerifyMode::Ca);
    address
        .server_name()
        .or_else(|| (!decides).then(|| IpAddr::from([127, 0, 0, 1]).into()))
        .ok_or_else(|| {
            let text = "needs server_name, since the path of a socket is none";
            mode_error(source, trust::mode_word(mode), text)
        })
}

fn parse_name(given: &Given<String>) -> Result<ServerName<'static>> {
    ServerName::try_from(given.value.clone()).map_err(|_| {
        let value = &given.value;
        given.place.error(format!(
            "server_name = {value:?} is neither a DNS name nor an IP address"
        ))
    })
}

pub(super) fn identity(source: &LegSource, files: &mut Files) -> Result<Option<Arc<Identity>>> {
    let passphrase = secret::key_passphrase(source, files)?;
    match (&source.cert, &source.key) {
        (Some(cert), Some(key)) => {
            let passphrase = passphrase.as_ref().map(|passphrase| passphrase.as_slice());
            files.identity(cert, key, passphrase).map(Some)
        }
        (Some(cert), None) => Err(cert.place.error("cert needs key, its private key")),
        (None, Some(key)) => Err(key.place.error("key needs cert, its certificate")),
        (None, None) => Ok(None),
    }
}

/// Keys that do nothing are errors: whoever wrote one believes in an effect that is not there.
fn check_unused(source: &LegSource) -> Result<()> {
    let tls = source.tls.as_ref().map_or("off", |tls| &tls.value);
    source.reject_tls_keys(&format!("tls = \"{tls}\""))
}

fn client_mode(source: &LegSource) -> Result<ClientMode> {
    choose(
        "tls",
        source.tls.as_ref(),
        CLIENT_MODES,
        ClientMode::Required,
    )
}

fn server_mode(source: &LegSource) -> Result<ServerMode> {
    choose(
        "tls",
        source.tls.as_ref(),
        SERVER_MODES,
        ServerMode::Verify(VerifyMode::Full),
    )
}

/// How the certificate of a server that speaks TLS is judged.
pub(super) fn verify_mode(source: &LegSource) -> Result<VerifyMode> {
    match server_mode(source)? {
        ServerMode::Verify(mode) if mode != VerifyMode::DangerPreferred => Ok(mode),
        ServerMode::Verify(_) => Err(mode_error(
            source,
            "danger-preferred",
            "is for protocol = \"mysql\": only there does the server say whether it speaks TLS",
        )),
        ServerMode::Off => Err(mode_error(
            source,
            "off",
            "cannot go with this method: say method = \"none\" for a server without TLS",
        )),
    }
}

fn min_version(source: &LegSource) -> Result<Version> {
    choose(
        "min_version",
        source.min_version.as_ref(),
        VERSIONS,
        Version::Tls12,
    )
}

fn suites(source: &LegSource) -> Vec<String> {
    source
        .suites
        .iter()
        .map(|given| given.value.clone())
        .collect()
}

fn socket_options(source: &LegSource) -> SocketOptions {
    SocketOptions {
        keepalive: seconds(source.keepalive_s.as_ref(), KEEPALIVE_S),
        user_timeout: seconds(source.user_timeout_s.as_ref(), 0),
        congestion: None,
        is_recognized: false,
    }
}

pub(super) fn mode_error(source: &LegSource, word: &str, text: &str) -> Error {
    let place = source.tls.as_ref().map_or(&source.place, |tls| &tls.place);
    place.error(format!("tls = \"{word}\" {text}"))
}

/// What is left to be wrong once identity and roots are read: the suites.
pub(super) fn options_error(source: &LegSource, error: &Error) -> Error {
    let suite = source.suites.first();
    suite
        .map_or(&source.place, |suite| &suite.place)
        .error(error)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ClientMode {
    Off,
    Preferred,
    Required,
    Passthrough,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ServerMode {
    Off,
    Verify(VerifyMode),
}

const CLIENT_MODES: &[(&str, ClientMode)] = &[
    ("off", ClientMode::Off),
    ("preferred", ClientMode::Preferred),
    ("required", ClientMode::Required),
    ("passthrough", ClientMode::Passthrough),
];

const SERVER_MODES: &[(&str, ServerMode)] = &[
    ("off", ServerMode::Off),
    (
        "danger-preferred",
        ServerMode::Verify(VerifyMode::DangerPreferred),
    ),
    ("verify-ca", ServerMode::Verify(VerifyMode::Ca)),
    ("verify-full", ServerMode::Verify(VerifyMode::Full)),
    ("fingerprint", ServerMode::Verify(VerifyMode::Fingerprint)),
    ("danger-none", ServerMode::Verify(VerifyMode::DangerNone)),
];

const CLIENT_CERTS: &[(&str, ClientCert)] = &[
    ("none", ClientCert::None),
    ("optional", ClientCert::Optional),
    ("required", ClientCert::Required),
];

const VERSIONS: &[(&str, Version)] = &[("1.2", Version::Tls12), ("1.3", Version::Tls13)];

/// A peer that vanished without a word is found dead within a few of these.
const KEEPALIVE_S: u64 = 60;
