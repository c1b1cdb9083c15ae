use std::mem;

use zeroize::Zeroizing;

use super::refusal::Refusal;
use crate::frame::mysql::auth::Plugin;
use crate::frame::mysql::{
    Attributes, Capabilities, ErrPacket, FirstClientPacket, FirstServerPacket, Greeting,
    HandshakeResponse, LoginReply, Packet, PacketAssembler, Sequence, ServerKind, SslRequest,
    Violation, write_packet,
};
use crate::gateway::session::Side;
use crate::limits::LOGIN_PACKET_LEN_MAX;

/// What a login has to keep to on both legs.
#[derive(Clone, Copy, Debug)]
pub(in crate::gateway) struct LoginPolicy {
    /// The client may begin TLS.
    pub(in crate::gateway) offers_tls: bool,
    /// It must.
    pub(in crate::gateway) requires_tls: bool,
    /// The client comes over a Unix socket, and holds that to be safe.
    pub(in crate::gateway) is_client_local: bool,
    /// TLS is begun with the server.
    pub(in crate::gateway) server_tls: bool,
    /// The server is reached over a Unix socket, and holds that to be safe.
    pub(in crate::gateway) is_server_local: bool,
}

/// A MySQL login that passes through: the packets of both legs, one by one, with CLIENT_SSL and the
/// sequence ids as each leg needs them.
///
/// It does no I/O: [`Login::feed`] takes bytes, [`Login::out`] has those that are to go out, which
/// they do before what a [`Step`] asks for is done.
pub(in crate::gateway) struct Login {
    policy: LoginPolicy,
    state: State,
    client: Leg,
    server: Leg,
    is_client_tls: bool,
    /// What both ends can, once the client has said it.
    capabilities: Capabilities,
    kind: ServerKind,
    plugin: Plugin,
    /// The server has asked for the password itself.
    is_password_due: bool,
}

struct Leg {
    packets: PacketAssembler,
    sequence: Sequence,
    out: Zeroizing<Vec<u8>>,
}

#[derive(Debug)]
enum State {
    /// The server speaks first.
    Greeting,
    /// The client asks for TLS, or logs in without.
    FirstPacket,
    ClientTls,
    /// The client logs in, in TLS.
    Login,
    /// With the login that waits for the server's TLS.
    ServerTls(Zeroizing<Vec<u8>>),
    /// The server judges, or asks for more.
    Replies,
    Over,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Step {
    /// Feed on.
    Go,
    /// Begin TLS on this leg; [`Login::secured`] tells that it is in use.
    StartTls(Side),
    /// The login has succeeded: bytes pass from here on.
    Relay,
    /// The server has refused, and the client has been told.
    End,
}

/// What comes of a packet.
pub(in crate::gateway) type Progress = Result<Step, Refusal>;

impl Login {
    pub(in crate::gateway) fn new(policy: LoginPolicy) -> Self {
        Self {
            policy,
            state: State::Greeting,
            client: Leg::new(),
            server: Leg::new(),
            is_client_tls: false,
            capabilities: Capabilities::default(),
            kind: ServerKind::MySql,
            plugin: Plugin::Native,
            is_password_due: false,
        }
    }

    /// Takes up to one packet from `side`, and says how many bytes that were. What follows may
    /// belong to TLS.
    pub(in crate::gateway) fn feed(&mut self, side: Side, bytes: &[u8]) -> (usize, Progress) {
        let mut rest = bytes;
        let step = self.next(side, &mut rest);
        (bytes.len() - rest.len(), step)
    }

    /// True where `side` may speak.
    pub(in crate::gateway) fn wants(&self, side: Side) -> bool {
        match self.state {
            State::Greeting => side == Side::Server,
            State::FirstPacket | State::Login => side == Side::Client,
            State::Replies => true,
            State::ClientTls | State::ServerTls(_) | State::Over => false,
        }
    }

    /// True where the client alone can take the login further.
    pub(in crate::gateway) fn awaits_client(&self) -> bool {
        matches!(
            self.state,
            State::FirstPacket | State::ClientTls | State::Login
        )
    }

    /// TLS is in use on the leg where it was to begin.
    pub(in crate::gateway) fn secured(&mut self, side: Side) {
        match (mem::replace(&mut self.state, State::Over), side) {
            (State::ClientTls, Side::Client) => {
                self.is_client_tls = true;
                self.state = State::Login;
            }
            (State::ServerTls(response), Side::Server) => self.send_login(&response),
            (other, _) => self.state = other,
        }
    }

    /// Bytes that are to go to `side`.
    pub(in crate::gateway) fn out(&mut self, side: Side) -> &mut Vec<u8> {
        &mut self.leg(side).out
    }

    /// True once the client has been greeted.
    pub(in crate::gateway) fn is_greeted(&self) -> bool {
        !matches!(self.state, State::Greeting)
    }

    /// Ends the login with an error packet for the client.
    pub(in crate::gateway) fn refuse(&mut self, refusal: &Refusal) {
        let is_greeted = self.is_greeted();
        refusal.write(&mut self.client.out, self.client.sequence, is_greeted);
        self.state = State::Over;
    }

    /// Ends the login on the server's leg: where it waits for one, by the login of nobody.
    pub(in crate::gateway) fn abandon(&mut self) {
        if self.server.sequence == Sequence(1) {
            let nobody = HandshakeResponse {
                capabilities: Capabilities::PROTOCOL_41.with(Capabilities::SECURE_CONNECTION),
                collation: COLLATION_UTF8,
                user: b"sealwire: the client has left",
                auth_response: &[0; 20],
                ..HandshakeResponse::default()
            };
            let (out, sequence) = (&mut *self.server.out, &mut self.server.sequence);
            write_packet(out, sequence, |writer| nobody.write(writer));
        }
        self.state = State::Over;
    }

    fn next(&mut self, side: Side, rest: &mut &[u8]) -> Progress {
        let leg = self.leg(side);
        let packet = leg.packets.next(rest);
        let Some(Packet { sequence, payload }) =
            packet.map_err(|violation| Refusal::violation(side, violation))?
        else {
            return Ok(Step::Go);
        };
        let payload = Zeroizing::new(payload.to_vec());
        let order = leg.sequence.expect(sequence);
        order.map_err(|violation| Refusal::violation(side, violation))?;
        match side {
            Side::Client => self.take_client(payload),
            Side::Server => self
                .take_server(payload)
                .unwrap_or_else(|violation| Err(Refusal::violation(side, violation))),
        }
    }

    fn take_server(&mut self, mut payload: Zeroizing<Vec<u8>>) -> Result<Progress, Violation> {
        if self.is_greeted() {
            return self.reply(&payload);
        }
        let capabilities = match FirstServerPacket::parse(&payload)? {
            FirstServerPacket::Refused(ErrPacket { .. }) => {
                self.client.send(&payload);
                self.state = State::Over;
                return Ok(Ok(Step::End));
            }
            FirstServerPacket::Greeting(greeting) => {
                self.kind = ServerKind::of(&greeting);
                greeting.capabilities
            }
        };
        if self.policy.server_tls && !capabilities.contains(Capabilities::SSL) {
            return Ok(Err(Refusal::no_server_tls()));
        }
        self.capabilities = capabilities;
        let shown = with_ssl(capabilities, self.policy.offers_tls);
        Greeting::set_capabilities(&mut payload, shown)?;
        self.client.send(&payload);
        self.state = State::FirstPacket;
        Ok(Ok(Step::Go))
    }

    fn take_client(&mut self, payload: Zeroizing<Vec<u8>>) -> Progress {
        let broken = |violation| Refusal::violation(Side::Client, violation);
        match self.state {
            State::FirstPacket => match FirstClientPacket::parse(&payload) {
                Ok(FirstClientPacket::SslRequest(_)) if self.policy.offers_tls => {
                    self.state = State::ClientTls;
                    Ok(Step::StartTls(Side::Client))
                }
                Ok(FirstClientPacket::SslRequest(_)) => {
                    Err(broken(Violation::Malformed("a login: TLS is not offered")))
                }
                _ if self.policy.requires_tls => Err(Refusal::plain_client()),
                Ok(FirstClientPacket::Login(_)) => self.login(payload),
                Err(violation) => Err(broken(violation)),
            },
            State::Login => self.login(payload),
            _ => self.answer(&payload),
        }
    }

    fn login(&mut self, mut payload: Zeroizing<Vec<u8>>) -> Progress {
        let broken = |violation| Refusal::violation(Side::Client, violation);
        let response = HandshakeResponse::parse(&payload).map_err(broken)?;
        check_attributes(response.attributes)?;
        let plugin = match response.plugin {
            None | Some([]) => Plugin::Native,
            Some(name) => Plugin::named(name),
        };
        let has_answer = !response.auth_response.is_empty();
        let capabilities = with_ssl(response.capabilities, self.policy.server_tls);
        self.capabilities =
            Capabilities::from_bits(self.capabilities.bits() & response.capabilities.bits());
        self.use_plugin(plugin, has_answer)?;
        HandshakeResponse::set_capabilities(&mut payload, capabilities).map_err(broken)?;
        if !self.policy.server_tls {
            self.send_login(&payload);
            return Ok(Step::Go);
        }
        let request = SslRequest::before(&payload).map_err(broken)?;
        self.server.send(&request);
        self.state = State::ServerTls(payload);
        Ok(Step::StartTls(Side::Server))
    }

    fn send_login(&mut self, response: &[u8]) {
        self.server.send(response);
        self.state = State::Replies;
    }

    fn reply(&mut self, payload: &[u8]) -> Result<Progress, Violation> {
        let reply = LoginReply::parse(payload, self.kind, self.plugin, self.capabilities)?;
        let (state, step) = match reply {
            LoginReply::Ok(_) => (State::Over, Step::Relay),
            LoginReply::Err(_) => (State::Over, Step::End),
            LoginReply::AuthSwitch(switch) | LoginReply::NextFactor(switch) => {
                if let Err(refusal) = self.use_plugin(Plugin::named(switch.plugin), true) {
                    return Ok(Err(refusal));
                }
                (State::Replies, Step::Go)
            }
            LoginReply::MoreData([FULL_AUTHENTICATION]) if self.plugin == Plugin::CachingSha2 => {
                if self.is_client_safe() != self.is_server_safe() {
                    return Ok(Err(Refusal::clear_password()));
                }
                self.is_password_due = true;
                (State::Replies, Step::Go)
            }
            LoginReply::OldPasswordSwitch | LoginReply::MoreData(_) => (State::Replies, Step::Go),
        };
        self.client.send(payload);
        self.state = state;
        Ok(Ok(step))
    }

    fn answer(&mut self, payload: &[u8]) -> Progress {
        let is_password = self.is_password_due || self.plugin == Plugin::Sha256;
        if is_password && !self.is_server_safe() && !is_sealed(payload) {
            return Err(Refusal::clear_password());
        }
        self.server.send(payload);
        Ok(Step::Go)
    }

    /// Judges a plugin by whether its answer, where there is one, may pass both legs.
    fn use_plugin(&mut self, plugin: Plugin, has_answer: bool) -> Result<(), Refusal> {
        self.plugin = plugin;
        self.is_password_due = false;
        let is_mixed = self.is_client_safe() != self.is_server_safe();
        let passes = match plugin {
            Plugin::Sha256 => !is_mixed,
            plugin => !plugin.is_clear() || self.is_server_safe(),
        };
        match passes || !has_answer {
            true => Ok(()),
            false => Err(Refusal::clear_password()),
        }
    }

    fn is_client_safe(&self) -> bool {
        self.is_client_tls || self.policy.is_client_local
    }

    fn is_server_safe(&self) -> bool {
        self.policy.server_tls || self.policy.is_server_local
    }

    fn leg(&mut self, side: Side) -> &mut Leg {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }
}

impl Leg {
    fn new() -> Self {
        Self {
            packets: PacketAssembler::new(LOGIN_PACKET_LEN_MAX),
            sequence: Sequence::default(),
            out: Zeroizing::default(),
        }
    }

    fn send(&mut self, payload: &[u8]) {
        write_packet(&mut self.out, &mut self.sequence, |writer| {
            writer.bytes(payload)
        });
    }
}

/// Claims of being a proxy are believed by OceanBase from anybody.
fn check_attributes(attributes: Attributes<'_>) -> Result<(), Refusal> {
    let is_claim = |key: &[u8], value: &[u8]| {
        let names_proxy = key == b"__mysql_client_type" && value == b"__ob_proxy";
        names_proxy || PROXY_ATTRIBUTES.contains(&key)
    };
    match attributes.iter().find(|(key, value)| is_claim(key, value)) {
        Some((key, _)) => Err(Refusal::proxy_claim(key)),
        None => Ok(()),
    }
}

fn with_ssl(capabilities: Capabilities, on: bool) -> Capabilities {
    match on {
        true => capabilities.with(Capabilities::SSL),
        false => capabilities.without(Capabilities::SSL),
    }
}

/// True for a request for the server's key, for no password at all, and for what an RSA key of at
/// least 2048 bits, the shortest that servers make, has encrypted.
fn is_sealed(answer: &[u8]) -> bool {
    matches!(answer, [] | [0..=2]) || answer.len() >= 256
}

/// caching_sha2_password: the server has not cached the password, and asks for it.
const FULL_AUTHENTICATION: u8 = 4;

/// utf8_general_ci, which every server has.
const COLLATION_UTF8: u8 = 33;

/// What OBProxy tells of the clients behind it.
const PROXY_ATTRIBUTES: [&[u8]; 6] = [
    b"__client_ip",
    b"__client_addr_port",
    b"__client_session_id",
    b"__proxy_connection_id",
    b"__proxy_scramble",
    b"__proxy_version",
];

#[cfg(test)]
mod tests;
