//! The negotiation in front of OB-RPC, as the first layer of a connection.

use std::sync::Arc;
use std::time::Duration;

use super::{Connection, Data, Held, Layer, Opened, failed_before};
use crate::buf::Pools;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::obrpc::{
    Beginning, ClientRequest, ClientVerdict, Message, Method, ServerPolicy, ServerVerdict, Then,
};
use crate::time::Now;
use crate::tls::{
    ApplicationProtocol, ClientConfig, ClientOptions, Roots, ServerConfig, ServerName,
    ServerOptions, Version,
};

/// What both ends of negotiated connections are told beside their TLS.
#[derive(Clone, Copy, Debug)]
pub struct NegotiationOptions {
    /// From the connection being made to the end of the negotiation and the handshake.
    pub timeout: Duration,
    /// The peer must name the method within the handshake too ([`Method::application_protocol`]),
    /// so that nobody on the path can have changed it. This library's ends always do; OceanBase's
    /// never do, and are refused then.
    pub requires_binding: bool,
    /// See [`Connection::danger_end_without_close_notify`]: OceanBase's ends never send one.
    pub danger_end_without_close_notify: bool,
}

/// What the server end of negotiated connections is made of, to be shared by them.
#[derive(Debug)]
pub struct NegotiationServer {
    policy: ServerPolicy,
    /// TLS for [`Method::SslIo`], and for those who begin with TLS.
    tls: Option<Arc<ServerConfig>>,
    /// TLS for [`Method::SslNoEncrypt`].
    handshake: Option<Arc<ServerConfig>>,
    options: NegotiationOptions,
}

/// What the client end of negotiated connections is made of.
#[derive(Clone, Debug)]
pub struct NegotiationClient {
    /// The server's thread that a connection is for.
    pub gid: u64,
    /// See [`ClientRequest::is_exempt`].
    pub is_exempt: bool,
    /// Who the server is to be known as.
    pub server_name: ServerName<'static>,
    method: Method,
    tls: Option<Arc<ClientConfig>>,
    options: NegotiationOptions,
}

impl NegotiationServer {
    /// A server that admits whom `policy` admits. From the one `tls`, which [`Method::None`] alone
    /// does without, each method gets what it needs: its name in the handshake, TLS 1.2 alone where
    /// TLS ends with the handshake, and no resumption, which OceanBase's ends cannot do.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] where a method needs TLS and there is none, or none that fits.
    pub fn new(
        policy: ServerPolicy,
        tls: Option<&ServerOptions>,
        options: NegotiationOptions,
    ) -> Result<Arc<Self>> {
        let config = |method| options.server_config(method, tls);
        let needs_tls = policy.is_tls_admitted || policy.methods.contains(Method::SslIo);
        let needs_handshake = policy.methods.contains(Method::SslNoEncrypt);
        Ok(Arc::new(Self {
            policy,
            tls: needs_tls.then(|| config(Method::SslIo)).transpose()?,
            handshake: needs_handshake
                .then(|| config(Method::SslNoEncrypt))
                .transpose()?,
            options,
        }))
    }

    /// The authorities that clients are judged by, where they are judged by any.
    pub fn roots(&self) -> Option<&Arc<Roots>> {
        self.tls.as_ref().or(self.handshake.as_ref())?.roots()
    }
}

impl NegotiationClient {
    /// A client that asks for `method`. `tls` is needed by every method but [`Method::None`], and
    /// fitted to it as in [`NegotiationServer::new`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn new(
        method: Method,
        gid: u64,
        tls: Option<&ClientOptions>,
        server_name: ServerName<'static>,
        options: NegotiationOptions,
    ) -> Result<Self> {
        let needs_tls = method != Method::None;
        Ok(Self {
            gid,
            is_exempt: false,
            server_name,
            method,
            tls: needs_tls
                .then(|| options.client_config(method, tls))
                .transpose()?,
            options,
        })
    }

    /// The authorities that the server is judged by, where it is judged by any.
    pub fn roots(&self) -> Option<&Arc<Roots>> {
        self.tls.as_ref()?.roots()
    }

    /// The same client, of a server that is to be known by another name.
    #[must_use]
    pub fn named(&self, server_name: ServerName<'static>) -> Self {
        Self {
            server_name,
            ..self.clone()
        }
    }

    /// What it asks for.
    pub fn method(&self) -> Method {
        self.method
    }

    fn request(&self) -> ClientRequest {
        ClientRequest {
            method: self.method,
            gid: self.gid,
            is_exempt: self.is_exempt,
        }
    }
}

impl NegotiationOptions {
    fn server_config(
        &self,
        method: Method,
        tls: Option<&ServerOptions>,
    ) -> Result<Arc<ServerConfig>> {
        let tls = tls.ok_or_else(|| lacks_tls(method))?;
        let fitted = ServerOptions {
            max_version: newest_version(method, tls.min_version, tls.max_version)?,
            application_protocol: self.application_protocol(method),
            ..tls.clone()
        };
        Ok(ServerConfig::new(&fitted)?.without_resumption())
    }

    fn client_config(
        &self,
        method: Method,
        tls: Option<&ClientOptions>,
    ) -> Result<Arc<ClientConfig>> {
        let tls = tls.ok_or_else(|| lacks_tls(method))?;
        let fitted = ClientOptions {
            max_version: newest_version(method, tls.min_version, tls.max_version)?,
            application_protocol: self.application_protocol(method),
            ..tls.clone()
        };
        Ok(ClientConfig::new(&fitted)?.without_resumption())
    }

    fn application_protocol(&self, method: Method) -> Option<ApplicationProtocol> {
        let is_required = self.requires_binding;
        method
            .application_protocol()
            .map(|name| ApplicationProtocol { name, is_required })
    }
}

/// The newest version of TLS that may come behind the negotiation of `method`.
fn newest_version(method: Method, min: Version, max: Version) -> Result<Version> {
    match (method, min) {
        (Method::SslNoEncrypt, Version::Tls12) => Ok(Version::Tls12),
        (Method::SslNoEncrypt, Version::Tls13) => {
            let text = "method ssl_no_encrypt needs TLS 1.2, whose last message ends TLS, and the \
                        oldest version that may be spoken is 1.3";
            Err(Error::new(ErrorKind::Config, text))
        }
        _ => Ok(max),
    }
}

/// A negotiation under way.
pub(super) struct Negotiation {
    role: Role,
    /// What has arrived, and not a byte more than was needed to judge it.
    first: Vec<u8>,
}

enum Role {
    Client(NegotiationClient),
    Server {
        server: Arc<NegotiationServer>,
        is_exempt: bool,
    },
}

/// What a negotiation does next.
enum Step {
    NeedMore(usize),
    Begin {
        then: Then,
        /// Bytes of the negotiation that are used up.
        used: usize,
        answer: Option<Message>,
        beginning: Option<Beginning>,
    },
}

impl Connection {
    /// The client end of a connection to an OB-RPC port, which asks for its method first. With
    /// [`Method::None`], and as an exempt client, it is in use at once.
    pub fn negotiated_client(client: &NegotiationClient, now: Now, pools: &mut Pools) -> Self {
        let mut conn = Self::plain();
        let request = client.request();
        conn.out
            .append(&request.message().encode(), &mut pools.send);
        if let Ok(ClientVerdict::NeedMore(_)) = request.judge(&[]) {
            let timeout = client.options.timeout;
            conn.begin_negotiation(Role::Client(client.clone()), now, timeout);
        }
        conn
    }

    /// The server end of a connection to an OB-RPC port: its first bytes tell what it is to become.
    /// For `is_exempt` see [`ServerPolicy::judge`].
    pub fn negotiated_server(server: &Arc<NegotiationServer>, is_exempt: bool, now: Now) -> Self {
        let mut conn = Self::plain();
        let role = Role::Server {
            server: Arc::clone(server),
            is_exempt,
        };
        conn.begin_negotiation(role, now, server.options.timeout);
        conn
    }

    /// How the connection began, once that is known to the server end of a negotiated one.
    pub fn beginning(&self) -> Option<&Beginning> {
        self.beginning.as_deref()
    }

    fn begin_negotiation(&mut self, role: Role, now: Now, timeout: Duration) {
        let first = Vec::new();
        self.layer = Layer::Negotiating(Box::new(Negotiation { role, first }));
        self.deadline = Some(now.monotonic.after(timeout));
    }

    /// Takes as much of the input as the negotiation needs; the rest goes to what follows it.
    pub(super) fn negotiate(
        &mut self,
        now: Now,
        input: &mut [u8],
        pools: &mut Pools,
    ) -> Result<Opened> {
        let mut consumed = 0;
        let step = loop {
            let Layer::Negotiating(negotiation) = &mut self.layer else {
                return Err(failed_before());
            };
            let wanted = match negotiation.judge() {
                Ok(Step::NeedMore(len)) => len.saturating_sub(negotiation.first.len()),
                Ok(step) => break step,
                Err((error, answer)) => {
                    self.out.append(&answer, &mut pools.send);
                    return Err(error);
                }
            };
            let rest = input.get(consumed..).unwrap_or_default();
            if rest.is_empty() {
                let data = Data::None;
                return Ok(Opened { consumed, data });
            }
            let piece = &rest[..wanted.min(rest.len())];
            negotiation.first.extend_from_slice(piece);
            consumed += piece.len();
        };
        self.begin(step, now, pools)?;
        if self.held.is_some() {
            let data = Data::Held;
            return Ok(Opened { consumed, data });
        }
        let rest = input.get_mut(consumed..).unwrap_or_default();
        let mut opened = self.handle_recv(now, rest, pools)?;
        opened.consumed += consumed;
        if let Data::Input(range) = &mut opened.data {
            *range = range.start + consumed..range.end + consumed;
        }
        Ok(opened)
    }

    fn begin(&mut self, step: Step, now: Now, pools: &mut Pools) -> Result<()> {
        let Step::Begin {
            then,
            used,
            answer,
            beginning,
        } = step
        else {
            return Ok(());
        };
        let Layer::Negotiating(negotiation) = std::mem::replace(&mut self.layer, Layer::Plain)
        else {
            return Err(failed_before());
        };
        let Negotiation { role, first } = *negotiation;
        self.beginning = beginning.map(Box::new);
        if let Some(answer) = answer {
            self.out.append(&answer.encode(), &mut pools.send);
        }
        if let Some(unused) = first.get(used..).filter(|unused| !unused.is_empty()) {
            self.keep_partial(unused, pools);
        }
        match then {
            Then::Plain => {
                self.held = self
                    .partial
                    .as_ref()
                    .map(|unused| Held::InPartial(0..unused.len()));
                self.deadline = None;
                self.events.handshake_done = true;
                Ok(())
            }
            Then::Tls => role.start_tls(self, now, pools, Method::SslIo),
            Then::Handshake => {
                role.start_tls(self, now, pools, Method::SslNoEncrypt)?;
                self.danger_plain_after_handshake()
            }
        }
    }
}

impl Negotiation {
    /// Judges what has arrived. An error comes with what the peer is to be told.
    fn judge(&self) -> Result<Step, (Error, Vec<u8>)> {
        match &self.role {
            Role::Client(client) => match client.request().judge(&self.first) {
                Ok(ClientVerdict::NeedMore(len)) => Ok(Step::NeedMore(len)),
                Ok(ClientVerdict::Begin { then, used }) => Ok(Step::Begin {
                    then,
                    used,
                    answer: None,
                    beginning: None,
                }),
                Err(violation) => Err((violation.into(), Vec::new())),
            },
            Role::Server { server, is_exempt } => {
                match server.policy.judge(*is_exempt, &self.first) {
                    Ok(ServerVerdict::NeedMore(len)) => Ok(Step::NeedMore(len)),
                    Ok(ServerVerdict::Begin {
                        beginning,
                        used,
                        answer,
                    }) => Ok(Step::Begin {
                        then: beginning.then,
                        used,
                        answer,
                        beginning: Some(beginning),
                    }),
                    Err(refusal) => Err((refusal.reason.into(), refusal.answer)),
                }
            }
        }
    }

    /// What an end of the peer's stream means here.
    pub(super) fn eof_text(&self) -> &'static str {
        match (&self.role, self.first.is_empty()) {
            (Role::Client(_), true) => {
                "server closed the connection where it had to acknowledge the method: it does not \
                 offer it, or does not want this client"
            }
            (Role::Client(_), false) => "server closed the connection in mid-acknowledgement",
            (Role::Server { .. }, true) => "peer closed the connection before it sent anything",
            (Role::Server { .. }, false) => "peer closed the connection in mid-negotiation",
        }
    }

    /// What a deadline that passed means here.
    pub(super) fn timeout_text(&self) -> &'static str {
        match (&self.role, self.first.is_empty()) {
            (Role::Client(_), _) => {
                "server did not acknowledge the method that was asked for in time"
            }
            (Role::Server { .. }, true) => "peer sent nothing before the negotiation deadline",
            (Role::Server { .. }, false) => "peer sent half a negotiation and then nothing",
        }
    }
}

impl Role {
    fn start_tls(
        &self,
        conn: &mut Connection,
        now: Now,
        pools: &mut Pools,
        method: Method,
    ) -> Result<()> {
        match self {
            Self::Client(client) => {
                let config = client.tls.as_ref().ok_or_else(|| lacks_tls(method))?;
                conn.is_eof_an_end = client.options.danger_end_without_close_notify;
                conn.start_tls_client(config, &client.server_name, now, pools)
            }
            Self::Server { server, .. } => {
                let config = match method {
                    Method::SslNoEncrypt => &server.handshake,
                    Method::SslIo | Method::None => &server.tls,
                };
                let config = config.as_ref().ok_or_else(|| lacks_tls(method))?;
                conn.is_eof_an_end = server.options.danger_end_without_close_notify;
                conn.start_tls_server(config, now)
            }
        }
    }
}

fn lacks_tls(method: Method) -> Error {
    let text = format!("method {} needs TLS, and there is none", method.name());
    Error::new(ErrorKind::Config, text)
}
