//! How connections of OB-RPC begin: the negotiation, "ussl", in front of them.

use std::ffi::c_uint;
use std::sync::Arc;

use super::builder::{Builder, End, needs_name, sealwire_config_builder, set, unusable};
use super::{ClientEnd, ServerEnd, unnamed};
use crate::conn::{NegotiationClient, NegotiationOptions, NegotiationServer};
use crate::ffi::result::Failure;
use crate::ffi::result::sealwire_result;
use crate::frame::obrpc::{Bypass, DEFAULT_GID, Method, Methods, ServerPolicy};

/// OB-RPC in plaintext, and nobody is authenticated.
pub const SEALWIRE_OBRPC_NONE: c_uint = 1;
/// A TLS 1.2 handshake, which authenticates, and plaintext after it: whoever is on the path reads
/// and changes what passes.
pub const SEALWIRE_OBRPC_SSL_NO_ENCRYPT: c_uint = 2;
/// TLS from the negotiation to the end.
pub const SEALWIRE_OBRPC_SSL_IO: c_uint = 4;

/// Makes this the configuration of clients of OB-RPC ports, which ask for `method` first:
/// SEALWIRE_OBRPC_NONE, SEALWIRE_OBRPC_SSL_NO_ENCRYPT or SEALWIRE_OBRPC_SSL_IO. No other one is
/// accepted in its place. Whatever completes the handshake negotiates first, and the handshake's
/// deadline covers both. No session is resumed, and sealwire_conn_set_plaintext() is refused.
///
/// How servers are verified is set as for other clients; with SEALWIRE_OBRPC_NONE none is.
///
/// ::SEALWIRE_ERR_ARGUMENT where `method` is none of them; ::SEALWIRE_ERR_STATE at a server.
/// SEALWIRE_OBRPC_SSL_NO_ENCRYPT with TLS 1.3 as the oldest version is ::SEALWIRE_ERR_CONFIG when
/// the configuration is built.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_set_obrpc_method(
    builder: *mut sealwire_config_builder,
    method: c_uint,
) -> sealwire_result {
    set(builder, |builder| {
        builder.expect(End::Client)?;
        let known = METHODS.iter().find(|(number, _)| *number == method);
        let Some((_, method)) = known else {
            return Err(Failure::argument(format!("method cannot be {method}")));
        };
        builder.obrpc.method = Some(*method);
        Ok(())
    })
}

/// Makes this the configuration of servers of OB-RPC ports: what a client negotiates first decides
/// what its connection becomes, and `methods` are those that are admitted, with `|` between them.
/// With SEALWIRE_OBRPC_NONE among them whoever negotiates nothing is admitted in plaintext too; an
/// identity is needed unless it is the only one. sealwire_conn_obrpc_method() tells what became of
/// a connection. No session is resumed, and plaintext in front of TLS is refused.
///
/// Rules for accounts (sealwire_config_builder_add_require()) do not go with it: OB-RPC has no
/// logins.
///
/// ::SEALWIRE_ERR_ARGUMENT where `methods` has none of the methods, or others;
/// ::SEALWIRE_ERR_STATE at a client.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_set_obrpc_methods(
    builder: *mut sealwire_config_builder,
    methods: c_uint,
) -> sealwire_result {
    set(builder, |builder| {
        builder.expect(End::Server)?;
        let all = METHODS.iter().fold(0, |all, (number, _)| all | number);
        if methods == 0 || methods & !all != 0 {
            return Err(Failure::argument(format!("methods cannot be {methods}")));
        }
        let asked = METHODS.iter().filter(|(number, _)| methods & number != 0);
        builder.obrpc.methods = Some(asked.map(|(_, method)| *method).collect());
        Ok(())
    })
}

/// Sets which thread of the server the connections of a client are for: the group in the upper
/// half, the index in the lower. By default the first thread of OceanBase's default group.
///
/// ::SEALWIRE_ERR_STATE at a server.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_set_obrpc_gid(
    builder: *mut sealwire_config_builder,
    gid: u64,
) -> sealwire_result {
    set(builder, |builder| {
        builder.expect(End::Client)?;
        builder.obrpc.gid = Some(gid);
        Ok(())
    })
}

/// Requires the peer to name the method within the handshake too (ALPN), so that nobody on the path
/// can have changed it: the negotiation itself is in plaintext. This library's ends always name it;
/// OceanBase's never do, and are refused then, by ::SEALWIRE_ERR_TLS_INCOMPATIBLE or an alert.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_obrpc_require_binding(
    builder: *mut sealwire_config_builder,
) -> sealwire_result {
    set(builder, |builder| {
        builder.obrpc.requires_binding = true;
        Ok(())
    })
}

/// Takes an end of the stream without close_notify for a clean one, where it is not within a
/// record: OceanBase's ends never send one. Whoever is on the path can then cut the stream behind
/// any record unnoticed; packets are still whole or not at all.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_danger_obrpc_end_without_close_notify(
    builder: *mut sealwire_config_builder,
) -> sealwire_result {
    set(builder, |builder| {
        builder.obrpc.danger_end_without_close_notify = true;
        Ok(())
    })
}

/// What the builder was told of OB-RPC.
#[derive(Default)]
pub(in crate::ffi) struct ObrpcOptions {
    /// What a client asks for.
    pub(super) method: Option<Method>,
    /// What a server admits.
    pub(super) methods: Option<Methods>,
    gid: Option<u64>,
    requires_binding: bool,
    danger_end_without_close_notify: bool,
}

impl ObrpcOptions {
    /// True where TLS is a part of what was asked for.
    fn needs_tls(&self) -> bool {
        let is_plain =
            self.method == Some(Method::None) || self.methods == Some(Method::None.into());
        !is_plain
    }

    /// Refuses options of a negotiation where there is none.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let has_options =
            self.gid.is_some() || self.requires_binding || self.danger_end_without_close_notify;
        if has_options && self.method.is_none() && self.methods.is_none() {
            return Err(unusable("options of OB-RPC are set, and no method is"));
        }
        Ok(())
    }
}

impl Builder {
    pub(super) fn build_obrpc_client(&self, method: Method) -> Result<(ClientEnd, bool), Failure> {
        let tls = self.obrpc.needs_tls().then(|| self.client_options());
        let tls = tls.transpose()?;
        let client = NegotiationClient::new(
            method,
            self.obrpc.gid.unwrap_or(DEFAULT_GID),
            tls.as_ref(),
            unnamed(),
            self.negotiation_options(),
        )?;
        let needs_name = tls.as_ref().is_some_and(needs_name);
        Ok((ClientEnd::Obrpc(Arc::new(client)), needs_name))
    }

    pub(super) fn build_obrpc_server(&self, methods: Methods) -> Result<ServerEnd, Failure> {
        if self.require.has_rules() {
            return Err(unusable("OB-RPC has no logins that rules could be for"));
        }
        let tls = self.obrpc.needs_tls().then(|| self.server_options());
        let policy = ServerPolicy {
            methods,
            bypass: Bypass::Nobody,
            is_keepalive_admitted: false,
            is_tls_admitted: false,
        };
        let options = self.negotiation_options();
        let server = NegotiationServer::new(policy, tls.transpose()?.as_ref(), options)?;
        Ok(ServerEnd::Obrpc(server))
    }

    fn negotiation_options(&self) -> NegotiationOptions {
        NegotiationOptions {
            timeout: self.handshake_timeout,
            requires_binding: self.obrpc.requires_binding,
            danger_end_without_close_notify: self.obrpc.danger_end_without_close_notify,
        }
    }
}

/// The number of a method.
pub(in crate::ffi) fn number(method: Method) -> c_uint {
    let named = METHODS.iter().find(|(_, named)| *named == method);
    named.map_or(0, |(number, _)| *number)
}

const METHODS: &[(c_uint, Method)] = &[
    (SEALWIRE_OBRPC_NONE, Method::None),
    (SEALWIRE_OBRPC_SSL_NO_ENCRYPT, Method::SslNoEncrypt),
    (SEALWIRE_OBRPC_SSL_IO, Method::SslIo),
];
