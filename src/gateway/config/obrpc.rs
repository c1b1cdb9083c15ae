//! Keys that have a meaning with `protocol = "obrpc"` alone.

use std::net::IpAddr;

use super::build::choose;
use super::document::{Given, Place, Section};
use super::legs::{self, LegContext};
use super::plan::{
    ClientCert, ClientTls, ORIGINAL, Protocol, ServerAddress, ServerTls, VerifyMode,
};
use super::source::LegSource;
use crate::conn::{NegotiationClient, NegotiationOptions, NegotiationServer};
use crate::error::Result;
use crate::frame::obrpc::{Bypass, DEFAULT_GID, Method, Methods, ServerPolicy};

/// The keys of a leg. One that a side lacks is never set there.
#[derive(Debug, Default, Hash)]
pub(crate) struct RpcSource {
    /// Of the client's side: those that are accepted; of the server's: the one that is asked for.
    method: Vec<Given<String>>,
    require_binding: Option<Given<bool>>,
    compat_loopback: Option<Given<bool>>,
    net_keepalive: Option<Given<bool>>,
    direct_tls: Option<Given<bool>>,
    danger_bypass: Option<Given<String>>,
}

impl RpcSource {
    pub(super) fn read(section: &Section<'_>) -> Result<Self> {
        Ok(Self {
            method: section.one_or_more("method")?,
            require_binding: section.boolean("require_binding")?,
            compat_loopback: section.boolean("compat_loopback")?,
            net_keepalive: section.boolean("net_keepalive")?,
            direct_tls: section.boolean("direct_tls")?,
            danger_bypass: section.text("danger_bypass")?,
        })
    }

    /// The first key that was given, and where.
    fn first_given(&self) -> Option<(&'static str, &Place)> {
        let given = [
            ("method", self.method.first().map(|given| &given.place)),
            ("require_binding", place(&self.require_binding)),
            ("compat_loopback", place(&self.compat_loopback)),
            ("net_keepalive", place(&self.net_keepalive)),
            ("direct_tls", place(&self.direct_tls)),
            ("danger_bypass", place(&self.danger_bypass)),
        ];
        let mut given = given.into_iter();
        given.find_map(|(key, place)| place.map(|place| (key, place)))
    }
}

/// Refuses keys of this protocol on a route of another one.
pub(super) fn check_unused(protocol: Protocol, legs: [&LegSource; 2]) -> Result<()> {
    if protocol == Protocol::Obrpc {
        return Ok(());
    }
    match legs.into_iter().find_map(|leg| leg.rpc.first_given()) {
        Some((key, place)) => {
            let text = format!("{key} has no effect without protocol = \"obrpc\"");
            Err(place.error(text))
        }
        None => Ok(()),
    }
}

/// How clients are admitted.
pub(super) fn client(source: &LegSource, context: &mut LegContext<'_>) -> Result<ClientTls> {
    if let Some(tls) = &source.tls {
        let text = "tls has no effect in [route.client] with protocol = \"obrpc\", whose clients \
                    ask for a method: say method = [\"ssl_io\"]";
        return Err(tls.place.error(text));
    }
    if let Some(tickets) = &source.tickets {
        let text = "tickets has no effect with protocol = \"obrpc\", whose sessions are not \
                    resumed: OceanBase's ends cannot do that";
        return Err(tickets.place.error(text));
    }
    if let Some(network) = source.proxy_protocol_from.first() {
        return Err(network.place.error(no_proxy_header("proxy_protocol_from")));
    }
    let rpc = &source.rpc;
    let policy = ServerPolicy {
        methods: methods(&rpc.method)?,
        bypass: choose(
            "danger_bypass",
            rpc.danger_bypass.as_ref(),
            BYPASSES,
            Bypass::Nobody,
        )?,
        is_keepalive_admitted: rpc.net_keepalive.as_ref().is_none_or(|given| given.value),
        is_tls_admitted: is_set(&rpc.direct_tls),
    };
    let needs_tls = policy.is_tls_admitted
        || policy.methods.contains(Method::SslIo)
        || policy.methods.contains(Method::SslNoEncrypt);
    let (tls, client_cert) = if needs_tls {
        let Some(identity) = legs::identity(source, context.files)? else {
            let text = "[route.client] needs cert and key, or method = [\"none\"]";
            return Err(source.place.error(text));
        };
        let (tls, client_cert) = legs::server_options(source, identity, context)?;
        (Some(tls), client_cert)
    } else {
        source.reject_tls_keys("method = [\"none\"]")?;
        (None, ClientCert::None)
    };
    let server = NegotiationServer::new(policy, tls.as_ref(), options(source, context));
    Ok(ClientTls::Negotiated {
        server: server.map_err(|error| legs::options_error(source, &error))?,
        policy,
        identity: tls.map(|tls| tls.identity),
        client_cert,
        is_loopback_exempt: is_set(&rpc.compat_loopback),
    })
}

/// The address of a server, which is the client's own only between OceanBase's nodes.
pub(super) fn address(protocol: Protocol, given: &Given<String>) -> Result<ServerAddress> {
    if given.value != ORIGINAL {
        return ServerAddress::parse(&given.value).map_err(|reason| given.place.error(reason));
    }
    if protocol != Protocol::Obrpc {
        let text = "address = \"original\" is for protocol = \"obrpc\"";
        return Err(given.place.error(text));
    }
    Ok(ServerAddress::Original)
}

/// How the server is asked.
pub(super) fn server(
    source: &LegSource,
    address: &ServerAddress,
    context: &mut LegContext<'_>,
) -> Result<ServerTls> {
    if let Some(given) = &source.proxy_protocol {
        return Err(given.place.error(no_proxy_header("proxy_protocol")));
    }
    let method = match source.rpc.method.as_slice() {
        [] => Method::SslIo,
        [one] => choose("method", Some(one), METHODS, Method::SslIo)?,
        [_, second, ..] => {
            let text = "a server is asked for one method, and a second one is given";
            return Err(second.place.error(text));
        }
    };
    let (mode, tls) = if method == Method::None {
        if let Some(tls) = &source.tls {
            return Err(tls.place.error("tls has no effect with method = \"none\""));
        }
        source.reject_tls_keys("method = \"none\"")?;
        (VerifyMode::DangerNone, None)
    } else {
        let mode = legs::verify_mode(source)?;
        (mode, Some(legs::client_options(source, mode, context)?))
    };
    let name = match address {
        ServerAddress::Original if source.server_name.is_none() => None,
        _ => Some(legs::server_name(source, mode, address)?),
    };
    let some_name = name.clone().unwrap_or(IpAddr::from([127, 0, 0, 1]).into());
    let options = options(source, context);
    let client = NegotiationClient::new(method, DEFAULT_GID, tls.as_ref(), some_name, options);
    Ok(ServerTls::Negotiated {
        name,
        client: Box::new(client.map_err(|error| legs::options_error(source, &error))?),
        method,
        mode,
        identity: tls.and_then(|tls| tls.identity),
        is_loopback_exempt: is_set(&source.rpc.compat_loopback),
    })
}

fn options(source: &LegSource, context: &LegContext<'_>) -> NegotiationOptions {
    NegotiationOptions {
        timeout: context.handshake_timeout,
        requires_binding: is_set(&source.rpc.require_binding),
        // Every packet says how long it is and every call has its answer: an end that was forged
        // cuts nothing off that would not be missed.
        danger_end_without_close_notify: true,
    }
}

fn no_proxy_header(key: &str) -> String {
    format!(
        "{key} has no effect with protocol = \"obrpc\", whose ends tell by the first bytes what a \
         connection is, and know no PROXY header"
    )
}

fn methods(given: &[Given<String>]) -> Result<Methods> {
    if given.is_empty() {
        return Ok(Methods::SSL_IO);
    }
    let method = |one| choose("method", Some(one), METHODS, Method::SslIo);
    given.iter().map(method).collect()
}

fn is_set(given: &Option<Given<bool>>) -> bool {
    given.as_ref().is_some_and(|given| given.value)
}

fn place<T>(given: &Option<Given<T>>) -> Option<&Place> {
    given.as_ref().map(|given| &given.place)
}

const METHODS: &[(&str, Method)] = &[
    ("none", Method::None),
    ("ssl_no_encrypt", Method::SslNoEncrypt),
    ("ssl_io", Method::SslIo),
];

const BYPASSES: &[(&str, Bypass)] = &[
    ("nobody", Bypass::Nobody),
    ("table-api", Bypass::TableApi),
    ("everybody", Bypass::Everybody),
];
