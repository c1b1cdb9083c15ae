//! What a server is told by a PROXY header.

use super::build::choose;
use super::plan::{ClientCert, ClientTls, Protocol};
use super::source::LegSource;
use crate::error::Result;

/// What stands in front of a stream to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProxyHeader {
    /// It has the subject of the client's certificate.
    pub(crate) has_subject: bool,
}

/// Of the server's side.
pub(super) fn header(
    source: &LegSource,
    protocol: Protocol,
    client: &ClientTls,
) -> Result<Option<ProxyHeader>> {
    let given = source.proxy_protocol.as_ref();
    let is_sent = choose("proxy_protocol", given, VERSIONS, false)?;
    let subject = source.proxy_protocol_subject.as_ref();
    let Some(subject) = subject.filter(|given| given.value) else {
        return Ok(is_sent.then_some(ProxyHeader { has_subject: false }));
    };
    let why = match (is_sent, protocol, client) {
        (false, ..) => "without proxy_protocol = \"v2\"",
        (_, Protocol::Mysql, _) => {
            "with protocol = \"mysql\": the header goes out before clients begin TLS"
        }
        (_, Protocol::Tcp, ClientTls::Terminated { client_cert, .. })
            if *client_cert != ClientCert::None =>
        {
            return Ok(Some(ProxyHeader { has_subject: true }));
        }
        _ => "where clients show no certificate",
    };
    let text = format!("proxy_protocol_subject has no effect {why}");
    Err(subject.place.error(text))
}

const VERSIONS: &[(&str, bool)] = &[("off", false), ("v2", true)];
