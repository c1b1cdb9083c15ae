//! Clients that claim to be a proxy of OceanBase, by the attributes of their connection.

use crate::frame::mysql::Attributes;
use crate::gateway::mysql::refusal::Refusal;

/// Claims of being a proxy are believed by OceanBase from anybody.
pub(super) fn check_attributes(attributes: Attributes<'_>) -> Result<(), Refusal> {
    let is_claim = |key: &[u8], value: &[u8]| {
        let names_proxy = key == b"__mysql_client_type" && value == b"__ob_proxy";
        names_proxy || PROXY_ATTRIBUTES.contains(&key)
    };
    match attributes.iter().find(|(key, value)| is_claim(key, value)) {
        Some((key, _)) => Err(Refusal::proxy_claim(key)),
        None => Ok(()),
    }
}

/// What OBProxy tells of the clients behind it.
const PROXY_ATTRIBUTES: [&[u8]; 6] = [
    b"__client_ip",
    b"__client_addr_port",
    b"__client_session_id",
    b"__proxy_connection_id",
    b"__proxy_scramble",
    b"__proxy_version",
];
