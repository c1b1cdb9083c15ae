mod abandon;
mod claims;
mod unseen;

use std::mem;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use self::claims::check_attributes;
use super::accounts::{Accounts, Claimant, NOBODY};
use super::follower::Follower;
use super::password::{InLogin, Onward, PasswordKeys, PasswordPassage, Transport};
use super::refusal::Refusal;
use crate::engine::PeerAddress;
use crate::error::{Error, ErrorKind};
use crate::frame::mysql::auth::{FULL_AUTH, Plugin};
use crate::frame::mysql::{
    Capabilities, ChangeUser, Command, ErrPacket, FirstClientPacket, FirstServerPacket, Framing,
    Greeting, HandshakeResponse, Header, LoginReply, Packet, PacketAssembler, Sequence, ServerKind,
    SslRequest, StatusFlags, Violation, write_packet,
};
use crate::gateway::config::AccountRules;
use crate::gateway::session::Side;
use crate::limits::LOGIN_PACKET_LEN_MAX;
use crate::tls::Facts;
use crate::wire::Writer;

/// What a login has to keep to on both legs.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct LoginPolicy {
    /// The client may begin TLS.
    pub(in crate::gateway) offers_tls: bool,
    /// It must.
    pub(in crate::gateway) requires_tls: bool,
    /// The client comes over a Unix socket, and holds that to be safe.
    pub(in crate::gateway) is_client_local: bool,
    /// The client may speak for others, as OBProxy does.
    pub(in crate::gateway) is_proxy_trusted: bool,
    /// Whether TLS is begun with the server.
    pub(in crate::gateway) server_tls: ServerUpgrade,
    /// The server is reached over a Unix socket, and holds that to be safe.
    pub(in crate::gateway) is_server_local: bool,
    /// Those that passwords are encrypted to on a leg without TLS.
    pub(in crate::gateway) keys: PasswordKeys,
    /// What accounts must be like, and the client that comes as one of them.
    pub(in crate::gateway) accounts: Option<(Arc<AccountRules>, PeerAddress)>,
}

/// Whether TLS is begun with the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum ServerUpgrade {
    Never,
    /// Where its greeting offers TLS, which whoever is on the way can take out.
    Offered,
    Always,
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
    is_server_tls: bool,
    /// What the server began with.
    opening: Vec<u8>,
    server_version: String,
    /// As whom the client logs in, cut at [`USER_LEN_MAX`].
    user: Box<[u8]>,
    /// What both ends can, once the client has said it.
    capabilities: Capabilities,
    kind: ServerKind,
    passage: PasswordPassage,
    accounts: Option<Accounts>,
    /// How packets travel behind the login.
    framing: Framing,
    /// What the server's verdict said of the session.
    status: StatusFlags,
    /// The server has spoken last, and expects an answer.
    is_server_waiting: bool,
    /// The server has judged, or is no server.
    is_server_done: bool,
    /// The client has left, or was refused.
    is_abandoned: bool,
    /// It is not the session's first: the client changes its user.
    is_another: bool,
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
    /// The client logs in as another user.
    ChangeUser,
    /// With the login that waits for the password in it.
    Password(Zeroizing<Vec<u8>>),
    /// With the login that waits for the server's TLS.
    ServerTls(Zeroizing<Vec<u8>>),
    /// The server judges, or has asked the client for more.
    Replies {
        is_clients_turn: bool,
    },
    Over,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Step {
    /// Feed on.
    Go,
    /// Begin TLS on this leg; [`Login::secured`] tells that it is in use.
    StartTls(Side),
    /// The login has succeeded: bytes pass from here on.
    Relay,
    /// The server has refused, and the client has been told.
    End,
    /// The same, but the server refuses the gateway itself: the error is for the log.
    Blocked(Error),
}

/// What comes of a packet.
pub(in crate::gateway) type Progress = Result<Step, Refusal>;

impl Login {
    pub(in crate::gateway) fn new(policy: LoginPolicy) -> Self {
        let passage = PasswordPassage::new(
            policy.keys.clone(),
            Transport::plain(policy.is_client_local),
            Transport::plain(policy.is_server_local),
        );
        let accounts = policy.accounts.clone();
        Self {
            policy,
            accounts: accounts.map(|(rules, peer)| Accounts::new(rules, peer)),
            state: State::Greeting,
            client: Leg::new(),
            server: Leg::new(),
            is_server_tls: false,
            opening: Vec::new(),
            server_version: String::new(),
            user: Box::default(),
            capabilities: Capabilities::default(),
            kind: ServerKind::MySql,
            passage,
            framing: Framing::Plain,
            status: StatusFlags::default(),
            is_server_waiting: false,
            is_server_done: false,
            is_abandoned: false,
            is_another: false,
        }
    }

    /// Takes up to one packet from `side`, and says how many bytes that were. What follows may
    /// belong to TLS.
    pub(in crate::gateway) fn feed(&mut self, side: Side, bytes: &[u8]) -> (usize, Progress) {
        if !self.is_greeted() {
            let room = OPENING_LEN_MAX - self.opening.len();
            self.opening.extend(bytes.iter().take(room));
        }
        let mut rest = bytes;
        let step = self.next(side, &mut rest);
        (bytes.len() - rest.len(), step)
    }

    /// True where `side` may speak.
    pub(in crate::gateway) fn wants(&self, side: Side) -> bool {
        match self.state {
            State::Greeting => side == Side::Server,
            State::FirstPacket | State::Login | State::ChangeUser | State::Password(_) => {
                side == Side::Client
            }
            State::Replies { .. } => true,
            State::ClientTls | State::ServerTls(_) | State::Over => false,
        }
    }

    /// Who is to take the login further, and by what.
    pub(in crate::gateway) fn awaited(&self) -> (Side, &'static str) {
        match self.state {
            State::Greeting => (Side::Server, "the server's greeting"),
            State::FirstPacket => (Side::Client, "the client's login or request for TLS"),
            State::ClientTls => (Side::Client, "the client's TLS handshake"),
            State::Login => (Side::Client, "the client's login in TLS"),
            State::ChangeUser => (Side::Client, "the client's change of user"),
            State::Password(_) => (Side::Client, "the client's password"),
            State::ServerTls(_) => (Side::Server, "the server's TLS handshake"),
            State::Replies {
                is_clients_turn: true,
            } => (Side::Client, "the client's answer to the server"),
            State::Replies { .. } | State::Over => (Side::Server, "the server's verdict"),
        }
    }

    /// True while TLS is being begun on a leg.
    pub(in crate::gateway) fn is_in_handshake(&self) -> bool {
        matches!(self.state, State::ClientTls | State::ServerTls(_))
    }

    /// TLS is in use on the leg where it was to begin; its handshake agreed on `facts`.
    pub(in crate::gateway) fn secured(&mut self, side: Side, facts: Option<Arc<Facts>>) {
        match (mem::replace(&mut self.state, State::Over), side) {
            (State::ClientTls, Side::Client) => {
                self.passage.client_secured();
                if let Some(accounts) = &mut self.accounts {
                    accounts.secured(facts);
                }
                self.state = State::Login;
            }
            (State::ServerTls(login), Side::Server) => self.send_to_server(&login),
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

    /// What the server says it is, once it has greeted.
    pub(in crate::gateway) fn server_version(&self) -> &str {
        &self.server_version
    }

    /// As whom the client logs in, as it wrote it; empty before it has.
    pub(in crate::gateway) fn user(&self) -> &[u8] {
        &self.user
    }

    /// What the server is by its greeting, once it has greeted.
    pub(in crate::gateway) fn server_kind(&self) -> ServerKind {
        self.kind
    }

    /// Ends the login with an error packet for the client.
    pub(in crate::gateway) fn refuse(&mut self, refusal: &Refusal) {
        let is_greeted = self.is_greeted();
        refusal.write(&mut self.client.out, self.client.sequence, is_greeted);
    }

    /// Why the login is denied, where a rule on its account is not met; told once.
    pub(in crate::gateway) fn denial(&mut self) -> Option<Refusal> {
        self.accounts.as_mut()?.denial()
    }

    /// Follows the session that a login which has succeeded begins.
    /// The memory of its packets, which may be passwords, is given up.
    pub(in crate::gateway) fn follow(mut self) -> Follower {
        (self.client, self.server) = (Leg::new(), Leg::new());
        let (kind, capabilities) = (self.kind, self.capabilities);
        Follower::new(kind, capabilities, self.framing, self.status, self)
    }

    /// The login in mid-session, as another user, of a client that is logged in.
    pub(super) fn again(mut self) -> Self {
        self.state = State::ChangeUser;
        self.is_another = true;
        self
    }

    /// True for the session's first login.
    pub(in crate::gateway) fn is_first(&self) -> bool {
        !self.is_another
    }

    /// True where the accounts of a session's logins are judged.
    pub(super) fn judges_accounts(&self) -> bool {
        self.accounts.is_some()
    }

    fn next(&mut self, side: Side, rest: &mut &[u8]) -> Progress {
        match self.packet(side, rest) {
            Ok(None) => Ok(Step::Go),
            Ok(Some(payload)) => match side {
                Side::Client => self.take_client(payload),
                Side::Server => {
                    self.is_server_waiting = *payload != FAST_AUTH_DONE;
                    self.take_server(payload)
                        .unwrap_or_else(|violation| Err(self.broken(side, violation)))
                }
            },
            Err(violation) => Err(self.broken(side, violation)),
        }
    }

    fn packet(
        &mut self,
        side: Side,
        rest: &mut &[u8],
    ) -> Result<Option<Zeroizing<Vec<u8>>>, Violation> {
        let leg = self.leg(side);
        let Some(Packet { sequence, payload }) = leg.packets.next(rest)? else {
            return Ok(None);
        };
        let payload = Zeroizing::new(payload.to_vec());
        leg.sequence.expect(sequence)?;
        Ok(Some(payload))
    }

    /// Of a server that may be none, how it began is told.
    fn broken(&mut self, side: Side, violation: Violation) -> Refusal {
        self.is_server_done |= side == Side::Server;
        if self.is_greeted() {
            return Refusal::violation(side, violation);
        }
        let opening = HEXLOWER.encode(&self.opening);
        let text = format!("the server's greeting: {violation}; it began with {opening}");
        Refusal::lost(Error::new(ErrorKind::Protocol, text))
    }

    fn take_server(&mut self, mut payload: Zeroizing<Vec<u8>>) -> Result<Progress, Violation> {
        if self.is_abandoned {
            return self.take_server_alone(&payload).map(Ok);
        }
        if self.is_greeted() {
            return self.reply(&payload);
        }
        let (capabilities, nonce) = match FirstServerPacket::parse(&payload)? {
            FirstServerPacket::Refused(error) => {
                let step = blocked(&error).map_or(Step::End, Step::Blocked);
                return Ok(Ok(self.end(&payload, step)));
            }
            FirstServerPacket::Greeting(greeting) => {
                self.kind = ServerKind::of(&greeting);
                self.server_version = greeting.version.escape_ascii().to_string();
                (greeting.capabilities, greeting.nonce)
            }
        };
        self.is_server_tls = self.policy.server_tls != ServerUpgrade::Never
            && capabilities.contains(Capabilities::SSL);
        self.passage.greeted(nonce, self.is_server_tls);
        self.capabilities = capabilities;
        let mut shown = with_ssl(capabilities, self.policy.offers_tls);
        if let Some(accounts) = &mut self.accounts {
            accounts.greeted(self.kind);
            // A change of user could not be seen in it.
            shown = shown.without(Capabilities::ZSTD_COMPRESSION_ALGORITHM);
        }
        Greeting::set_capabilities(&mut payload, shown)?;
        self.client.send(&payload);
        self.state = State::FirstPacket;
        Ok(Ok(Step::Go))
    }

    fn take_client(&mut self, payload: Zeroizing<Vec<u8>>) -> Progress {
        let broken = |violation| Refusal::violation(Side::Client, violation);
        match mem::replace(&mut self.state, State::Over) {
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
            State::ChangeUser => self.change_user(payload),
            State::Password(login) => self.answer_before_login(login, &payload),
            _ => self.answer(&payload),
        }
    }

    fn login(&mut self, payload: Zeroizing<Vec<u8>>) -> Progress {
        if self.policy.server_tls == ServerUpgrade::Always && !self.is_server_tls {
            return Err(Refusal::no_server_tls());
        }
        let broken = |violation| Refusal::violation(Side::Client, violation);
        let response = HandshakeResponse::parse(&payload).map_err(broken)?;
        if !self.policy.is_proxy_trusted {
            check_attributes(response.attributes)?;
        }
        self.capabilities =
            Capabilities::from_bits(self.capabilities.bits() & response.capabilities.bits());
        self.user = user_of(response.user);
        self.framing = Framing::agreed(self.kind, self.capabilities, response.attributes);
        if self.accounts.is_some() && self.framing == Framing::Unreadable {
            return Err(Refusal::hidden_framing());
        }
        let claimant = Claimant {
            user: response.user,
            collation: Some(response.collation.into()),
            attributes: response.attributes,
        };
        let is_denied = is_denied(&mut self.accounts, &claimant, response.auth_response);
        let (plugin, response) = (plugin_of(response.plugin), secret(response.auth_response));
        let payload = match is_denied {
            true => HandshakeResponse::with_user(&payload, NOBODY).map_err(broken)?,
            false => payload,
        };
        self.enter(payload, plugin, &response)
    }

    fn change_user(&mut self, payload: Zeroizing<Vec<u8>>) -> Progress {
        let broken = |violation| Refusal::violation(Side::Client, violation);
        let command = ChangeUser::parse(&payload, self.capabilities).map_err(broken)?;
        if !self.policy.is_proxy_trusted {
            check_attributes(command.attributes)?;
        }
        self.user = user_of(command.user);
        let claimant = Claimant::of(&command);
        let is_denied = is_denied(&mut self.accounts, &claimant, command.auth_response);
        let (plugin, response) = (plugin_of(command.plugin), secret(command.auth_response));
        let payload = match is_denied {
            true => ChangeUser::with_user(&payload, NOBODY).map_err(broken)?,
            false => payload,
        };
        self.enter(payload, plugin, &response)
    }

    /// Has the client's answer in `payload` pass as the plugin and the two legs have it.
    fn enter(&mut self, payload: Zeroizing<Vec<u8>>, plugin: Plugin, response: &[u8]) -> Progress {
        self.passage.switch(plugin, None, !response.is_empty())?;
        match self.passage.take_login(response)? {
            InLogin::Keep => self.pass_login(payload),
            InLogin::Replace(response) => self.pass_login_with(&payload, &response),
            InLogin::Ask(question) => {
                self.client.send(&question);
                self.state = State::Password(payload);
                Ok(Step::Go)
            }
        }
    }

    fn answer_before_login(&mut self, login: Zeroizing<Vec<u8>>, answer: &[u8]) -> Progress {
        if let Some(accounts) = &mut self.accounts {
            accounts.answered(answer);
        }
        match self.passage.take_answer(answer)? {
            Onward::ToServer(response) => self.pass_login_with(&login, &response),
            Onward::ToClient(question) => {
                self.client.send(&question);
                self.state = State::Password(login);
                Ok(Step::Go)
            }
        }
    }

    fn pass_login_with(&mut self, login: &[u8], auth_response: &[u8]) -> Progress {
        let login = match self.is_another {
            true => ChangeUser::with_auth_response(login, auth_response),
            false => HandshakeResponse::with_auth_response(login, auth_response),
        };
        self.pass_login(login.map_err(|violation| Refusal::violation(Side::Client, violation))?)
    }

    fn pass_login(&mut self, mut login: Zeroizing<Vec<u8>>) -> Progress {
        if self.is_another {
            self.send_to_server(&login);
            return Ok(Step::Go);
        }
        let broken = |violation| Refusal::violation(Side::Client, violation);
        let capabilities = HandshakeResponse::parse(&login)
            .map_err(broken)?
            .capabilities;
        let capabilities = with_ssl(capabilities, self.is_server_tls);
        HandshakeResponse::set_capabilities(&mut login, capabilities).map_err(broken)?;
        if !self.is_server_tls {
            self.send_to_server(&login);
            return Ok(Step::Go);
        }
        let request = SslRequest::before(&login).map_err(broken)?;
        self.server.send(&request);
        self.is_server_waiting = false;
        self.state = State::ServerTls(login);
        Ok(Step::StartTls(Side::Server))
    }

    fn reply(&mut self, payload: &[u8]) -> Result<Progress, Violation> {
        let plugin = self.passage.plugin();
        let reply = LoginReply::parse(payload, self.kind, plugin, self.capabilities)?;
        let is_ok = matches!(reply, LoginReply::Ok(_));
        if (is_ok || matches!(reply, LoginReply::Err(_)))
            && let Some(refusal) = self.denial()
        {
            self.dismiss_nobody(is_ok);
            return Ok(Err(refusal));
        }
        let passes = match reply {
            LoginReply::Ok(ok) => {
                self.status = ok.status;
                return Ok(Ok(self.end(payload, Step::Relay)));
            }
            LoginReply::Err(error) => {
                // Whether a session lives on as it was is up to the server.
                let step = match self.is_another {
                    true => Step::Relay,
                    false => Step::End,
                };
                let retold = self.accounts.as_ref().and_then(|it| it.retold(&error));
                return Ok(Ok(self.end(retold.as_deref().unwrap_or(payload), step)));
            }
            LoginReply::AuthSwitch(switch) | LoginReply::NextFactor(switch) => {
                let plugin = Plugin::named(switch.plugin);
                let switched = self.passage.switch(plugin, switch.nonce(), true);
                switched.map(|()| None)
            }
            LoginReply::MoreData([FULL_AUTH]) if plugin == Plugin::CachingSha2 => {
                self.passage.demand().map(|()| None)
            }
            LoginReply::MoreData(data) => self.passage.take_more_data(data),
            LoginReply::OldPasswordSwitch => Ok(None),
        };
        Ok(passes.map(|onward| {
            match onward {
                Some(onward) => self.send(&onward),
                None => self.send_to_client(payload),
            }
            Step::Go
        }))
    }

    /// The server has judged a login whose account was denied. Where it has let nobody in, it is
    /// told that nobody leaves.
    fn dismiss_nobody(&mut self, is_in: bool) {
        self.is_server_done = true;
        if is_in {
            self.server.sequence = Sequence::default();
            self.server.send(&[Command::QUIT.0]);
        }
    }

    fn answer(&mut self, payload: &[u8]) -> Progress {
        if let Some(accounts) = &mut self.accounts {
            accounts.answered(payload);
        }
        let onward = self.passage.take_answer(payload)?;
        self.send(&onward);
        Ok(Step::Go)
    }

    fn end(&mut self, payload: &[u8], step: Step) -> Step {
        self.client.send(payload);
        self.is_server_done = true;
        self.state = State::Over;
        step
    }

    fn send(&mut self, onward: &Onward) {
        match onward {
            Onward::ToServer(payload) => self.send_to_server(payload),
            Onward::ToClient(payload) => self.send_to_client(payload),
        }
    }

    fn send_to_server(&mut self, payload: &[u8]) {
        self.server.send(payload);
        self.is_server_waiting = false;
        self.state = State::Replies {
            is_clients_turn: false,
        };
    }

    fn send_to_client(&mut self, payload: &[u8]) {
        self.client.send(payload);
        self.state = State::Replies {
            is_clients_turn: payload != FAST_AUTH_DONE,
        };
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

fn plugin_of(name: Option<&[u8]>) -> Plugin {
    match name {
        None | Some([]) => Plugin::Native,
        Some(name) => Plugin::named(name),
    }
}

fn user_of(name: &[u8]) -> Box<[u8]> {
    name[..name.len().min(USER_LEN_MAX)].into()
}

fn secret(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(bytes.to_vec())
}

fn with_ssl(capabilities: Capabilities, on: bool) -> Capabilities {
    match on {
        true => capabilities.with(Capabilities::SSL),
        false => capabilities.without(Capabilities::SSL),
    }
}

/// The error of a server that greets nobody from here any more, with what can be done about it.
fn blocked(packet: &ErrPacket<'_>) -> Option<Error> {
    (packet.code == ER_HOST_IS_BLOCKED).then(|| {
        let message = String::from_utf8_lossy(packet.message);
        let text = format!(
            "the server has blocked the gateway's address (error {ER_HOST_IS_BLOCKED}: {message}); \
             run `mariadb-admin flush-hosts`, or FLUSH HOSTS, or TRUNCATE TABLE \
             performance_schema.host_cache"
        );
        Error::new(ErrorKind::Limit, text)
    })
}

/// Judges a login where there are rules; true where it is denied.
fn is_denied(accounts: &mut Option<Accounts>, claimant: &Claimant<'_>, answer: &[u8]) -> bool {
    let accounts = accounts.as_mut();
    accounts.is_some_and(|accounts| accounts.is_denied(claimant, answer))
}

/// Too many handshakes in a row have failed (max_connect_errors).
const ER_HOST_IS_BLOCKED: u16 = 1129;

/// Data for the plugin, and caching_sha2_password's word that the proof was enough.
const FAST_AUTH_DONE: &[u8] = &[1, 3];

/// Bytes of a user that are kept for the status page: OceanBase's longest, `user@tenant#cluster`
/// with 64, 64 and 128 of them.
const USER_LEN_MAX: usize = 258;

/// Bytes of what is no greeting that the log shows.
const OPENING_LEN_MAX: usize = 16;

#[cfg(test)]
mod tests;
