//! What a MySQL server says of itself before it knows a password, and none is sent.

use super::link::Link;
use super::tls::{Examiner, Resumption};
use super::{Findings, Probe};
use crate::cli::packets::PacketStream;
use crate::engine::Address;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::mysql::auth::Plugin;
use crate::frame::mysql::{
    Capabilities, Command, ErrPacket, FirstServerPacket, Greeting, HandshakeResponse, LoginReply,
    ServerKind,
};
use crate::limits::LOGIN_PACKET_LEN_MAX;
use crate::wire::Writer;

/// What the greeting says.
pub(super) struct Server {
    pub(super) kind: ServerKind,
    pub(super) version: String,
    pub(super) capabilities: Capabilities,
    /// The plugin that it expects most accounts to use.
    pub(super) plugin: Option<String>,
    /// What became of `--user`.
    pub(super) account: Option<Account>,
}

/// What a server lets be known of an account.
pub(super) struct Account {
    pub(super) user: String,
    /// The plugin that the server asks its password with. It names one of accounts that do not
    /// exist, too.
    pub(super) plugin: Option<String>,
    pub(super) without_tls: Answer,
    /// Why that is so.
    pub(super) reason: String,
}

/// May it log in without TLS?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    No,
    Unknown,
}

/// How a login without a password ended.
struct Login {
    plugin: Option<String>,
    end: End,
}

enum End {
    LoggedIn,
    Refused { code: u16, text: String },
    HungUp,
}

/// Meets a server whose first packet has the payload `first`.
pub(super) fn examine(
    packets: PacketStream<Link>,
    first: &[u8],
    probe: &Probe,
    examiner: &Examiner,
    findings: &mut Findings,
) -> Result<()> {
    let greeting = greeting(first)?;
    let offers_tls = greeting.capabilities.contains(Capabilities::SSL);
    findings.mysql = Some(Server::of(&greeting));
    let is_unix = matches!(findings.address, Some(Address::Unix(_)));
    let user = probe.user.as_deref();

    let mut dialogue = Dialogue::new(packets, &greeting, user.unwrap_or(NOBODY));
    let secure = match offers_tls {
        true => {
            dialogue.start_tls(examiner)?;
            findings.tls = dialogue.packets.connection().facts().cloned();
            Some(dialogue.log_in()?)
        }
        false => None,
    };
    let plain = match (&secure, user) {
        (None, _) => Some(dialogue.log_in()?),
        (Some(_), Some(user)) => Some(log_in_plain(probe, user)?),
        (Some(_), None) => None,
    };
    if let (Some(user), Some(plain), Some(server)) = (user, plain, &mut findings.mysql) {
        server.account = Some(Account::of(user, secure, plain, is_unix));
    }
    if !offers_tls {
        let text = "the server offers no TLS in its greeting, or somebody on the way has taken it \
                    out; give the server a certificate (ssl_cert and ssl_key, at OceanBase \
                    ssl_client_authentication), or put a gateway before it";
        return Err(Error::new(ErrorKind::NotTls, text));
    }
    findings.resumption = Some(Resumption::of(resume(probe, examiner)));
    Ok(())
}

impl Server {
    fn of(greeting: &Greeting<'_>) -> Self {
        Self {
            kind: ServerKind::of(greeting),
            version: lossy(version_of(greeting)),
            capabilities: greeting.capabilities,
            plugin: greeting.plugin.map(lossy),
            account: None,
        }
    }
}

impl Account {
    /// What two logins without a password tell: one over TLS, where there is TLS, and one without.
    fn of(user: &str, secure: Option<Login>, plain: Login, is_unix: bool) -> Self {
        let has_tls = secure.is_some();
        let is_in_over_tls = secure
            .as_ref()
            .is_some_and(|login| matches!(login.end, End::LoggedIn));
        let (without_tls, reason) = match (&plain.end, is_in_over_tls) {
            (End::LoggedIn, _) => (Answer::Yes, "it has no password, and was let in".to_owned()),
            (End::Refused { code, text }, _) if *code == ER_SECURE_TRANSPORT_REQUIRED => (
                Answer::No,
                format!("the server lets nobody in without TLS: {text}"),
            ),
            (_, true) => (
                Answer::No,
                "it has no password, and is let in over TLS alone".to_owned(),
            ),
            _ if is_unix => (Answer::Yes, "a Unix socket counts as secure".to_owned()),
            _ if !has_tls => (
                Answer::Unknown,
                "the server offers no TLS: whoever it lets in comes without".to_owned(),
            ),
            (End::Refused { code, .. }, _) if *code == ER_ACCESS_DENIED => (
                Answer::Unknown,
                "the server tells only behind the password, and none was sent".to_owned(),
            ),
            (End::Refused { text, .. }, _) => (
                Answer::Unknown,
                format!("the server refuses it for another reason: {text}"),
            ),
            (End::HungUp, _) => (
                Answer::Unknown,
                "the server hangs up on its login without TLS".to_owned(),
            ),
        };
        let plugin = secure.and_then(|login| login.plugin);
        Self {
            user: user.to_owned(),
            plugin: plugin.or(plain.plugin),
            without_tls,
            reason,
        }
    }
}

/// A login under way. The first answer names a plugin that no account has, so that the server has
/// to name the account's.
struct Dialogue {
    packets: PacketStream<Link>,
    kind: ServerKind,
    login: Vec<u8>,
}

impl Dialogue {
    fn new(packets: PacketStream<Link>, greeting: &Greeting<'_>, user: &str) -> Self {
        let response = HandshakeResponse {
            capabilities: CAPABILITIES,
            packet_len_max: LOGIN_PACKET_LEN_MAX as u32,
            collation: COLLATION_UTF8,
            user: user.as_bytes(),
            plugin: Some(PLUGIN_OF_NOBODY),
            ..HandshakeResponse::default()
        };
        let mut login = Vec::new();
        response.write(&mut Writer::new(&mut login));
        Self {
            packets,
            kind: ServerKind::of(greeting),
            login,
        }
    }

    fn start_tls(&mut self, examiner: &Examiner) -> Result<()> {
        let capabilities = CAPABILITIES.with(Capabilities::SSL);
        HandshakeResponse::set_capabilities(&mut self.login, capabilities)?;
        self.packets
            .start_tls(&self.login, &examiner.config, &examiner.name)
    }

    /// Goes through with the login up to the server's verdict: what drops before that counts as a
    /// failed handshake, and after some of them MySQL and MariaDB let nobody in from this address.
    fn log_in(&mut self) -> Result<Login> {
        let mut plugin = None;
        match self.settle(&mut plugin) {
            Ok(end) => Ok(Login { plugin, end }),
            Err(error) if error.kind() == ErrorKind::Truncated => Ok(Login {
                plugin,
                end: End::HungUp,
            }),
            Err(error) => Err(error),
        }
    }

    fn settle(&mut self, plugin: &mut Option<String>) -> Result<End> {
        self.packets.send(|writer| writer.bytes(&self.login))?;
        let mut spoken = Plugin::Other;
        loop {
            let payload = self.packets.receive()?;
            let answer = match LoginReply::parse(&payload, self.kind, spoken, CAPABILITIES)? {
                LoginReply::Ok(_) => {
                    self.packets
                        .send_command(|writer| writer.u8(Command::QUIT.0))?;
                    return Ok(End::LoggedIn);
                }
                LoginReply::Err(error) => {
                    let (code, text) = (error.code, words(&error));
                    return Ok(End::Refused { code, text });
                }
                LoginReply::AuthSwitch(switch) => {
                    spoken = Plugin::named(switch.plugin);
                    plugin.get_or_insert_with(|| lossy(switch.plugin));
                    without_password(spoken)
                }
                LoginReply::NextFactor(switch) => without_password(Plugin::named(switch.plugin)),
                LoginReply::OldPasswordSwitch | LoginReply::MoreData(_) => &[],
            };
            self.packets.send(|writer| writer.bytes(answer))?;
        }
    }
}

fn log_in_plain(probe: &Probe, user: &str) -> Result<Login> {
    let (packets, first) = greeted(probe)?;
    Dialogue::new(packets, &greeting(&first)?, user).log_in()
}

fn resume(probe: &Probe, examiner: &Examiner) -> Result<bool> {
    let (packets, first) = greeted(probe)?;
    let mut dialogue = Dialogue::new(packets, &greeting(&first)?, NOBODY);
    dialogue.start_tls(examiner)?;
    let is_resumed = dialogue
        .packets
        .connection()
        .facts()
        .is_some_and(|facts| facts.resumed);
    dialogue.log_in()?;
    Ok(is_resumed)
}

/// A further connection to a server of which it is known that it greets.
fn greeted(probe: &Probe) -> Result<(PacketStream<Link>, Vec<u8>)> {
    let link = Link::connect(&probe.server, probe.timeout())?;
    let mut packets = PacketStream::new(link.into_stream());
    let first = packets.receive()?;
    Ok((packets, first))
}

fn greeting(first: &[u8]) -> Result<Greeting<'_>> {
    match FirstServerPacket::parse(first)? {
        FirstServerPacket::Greeting(greeting) => Ok(greeting),
        FirstServerPacket::Refused(error) => {
            let text = format!("the server refuses the connection: {}", words(&error));
            Err(Error::new(ErrorKind::Protocol, text))
        }
    }
}

/// Says that there is no password, or answers wrongly where the plugin has no such answer.
fn without_password(plugin: Plugin) -> &'static [u8] {
    plugin
        .empty_answer()
        .unwrap_or_else(|| plugin.wrong_answer())
}

/// What MariaDB puts before its version is for replicas of old.
fn version_of<'a>(greeting: &Greeting<'a>) -> &'a [u8] {
    let version = greeting.version;
    version.strip_prefix(b"5.5.5-").unwrap_or(version)
}

/// As command line clients print it.
fn words(error: &ErrPacket<'_>) -> String {
    let state = error.sql_state.map(|state| format!(" ({})", lossy(&state)));
    let state = state.unwrap_or_default();
    format!("ERROR {}{state}: {}", error.code, lossy(error.message))
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// Where no account is asked after; it says in the server's log what came by.
const NOBODY: &str = "sealwire probe";

/// A plugin that no server has.
const PLUGIN_OF_NOBODY: &[u8] = b"sealwire_probe";

const CAPABILITIES: Capabilities = Capabilities::PROTOCOL_41
    .with(Capabilities::LONG_PASSWORD)
    .with(Capabilities::TRANSACTIONS)
    .with(Capabilities::SECURE_CONNECTION)
    .with(Capabilities::PLUGIN_AUTH);

/// utf8_general_ci, which every server has.
const COLLATION_UTF8: u8 = 33;

/// What every server answers to a wrong password, and to a right one where REQUIRE is not met.
const ER_ACCESS_DENIED: u16 = 1_045;

/// What MySQL answers where require_secure_transport is set.
const ER_SECURE_TRANSPORT_REQUIRED: u16 = 3_159;
