//! A login to MySQL as its client, on whatever moves the packets.

use std::path::Path;
use std::{fs, io};

use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::frame::mysql::auth::{ClientAuth, KeySource, Plugin, PublicKey};
use crate::frame::mysql::{
    Capabilities, ErrPacket, FirstServerPacket, Greeting, HandshakeResponse, LoginReply, ServerKind,
};
use crate::limits::LOGIN_PACKET_LEN_MAX;
use crate::wire::Writer;

/// Who logs in.
#[derive(Clone)]
pub(super) struct Account {
    pub(super) user: String,
    pub(super) password: Zeroizing<Vec<u8>>,
    /// PEM: to which the password is encrypted on a way without TLS.
    pub(super) server_public_key: Option<Vec<u8>>,
}

/// What is to be done next.
pub(super) enum Step {
    /// The next packet is waited for.
    Wait,
    /// This payload is sent.
    Send(Vec<u8>),
    /// TLS is asked for in front of this payload, and begun; then it is sent.
    StartTls(Vec<u8>),
    /// The server has let the account in.
    Done,
}

/// One login, fed one packet at a time.
pub(super) struct Login<'a> {
    account: &'a Account,
    is_secure: bool,
    /// What the server calls itself; empty up to its greeting.
    pub(super) server_version: String,
    dialogue: Option<(ServerKind, ClientAuth)>,
}

impl<'a> Login<'a> {
    /// A login that begins TLS before it says anything where it `is_secure`.
    pub(super) fn new(account: &'a Account, is_secure: bool) -> Self {
        Self {
            account,
            is_secure,
            server_version: String::new(),
            dialogue: None,
        }
    }

    /// Takes the payload of the server's next packet.
    pub(super) fn take(&mut self, payload: &[u8]) -> Result<Step> {
        let Some((kind, auth)) = &mut self.dialogue else {
            return self.begin(payload);
        };
        let reply = LoginReply::parse(payload, *kind, auth.plugin(), CAPABILITIES)?;
        let answer = match reply {
            LoginReply::Ok(_) => return Ok(Step::Done),
            LoginReply::Err(error) => {
                let what = format!("the login of {:?}", self.account.user);
                return Err(refused(what, &error));
            }
            LoginReply::AuthSwitch(switch) => Some(auth.switch(switch.plugin, switch.nonce())?),
            LoginReply::MoreData(data) => auth.more_data(data)?,
            LoginReply::NextFactor(_) | LoginReply::OldPasswordSwitch => {
                let text = "the server asks for more than a password";
                return Err(Error::new(ErrorKind::Protocol, text));
            }
        };
        Ok(answer.map_or(Step::Wait, |answer| Step::Send(answer.to_vec())))
    }

    fn begin(&mut self, payload: &[u8]) -> Result<Step> {
        let greeting = match FirstServerPacket::parse(payload)? {
            FirstServerPacket::Greeting(greeting) => greeting,
            FirstServerPacket::Refused(error) => return Err(refused("the connection", &error)),
        };
        self.server_version = String::from_utf8_lossy(greeting.version).into_owned();
        let keys = match &self.account.server_public_key {
            Some(pem) => KeySource::Known(PublicKey::from_pem(pem)?),
            None => KeySource::Refused,
        };
        let plugin = greeting.plugin.map_or(Plugin::Native, Plugin::named);
        let password = &self.account.password;
        let auth = ClientAuth::new(password, self.is_secure, keys, plugin, greeting.nonce);
        let answer = auth.answer()?;
        let response = HandshakeResponse {
            capabilities: CAPABILITIES,
            packet_len_max: LOGIN_PACKET_LEN_MAX as u32,
            collation: COLLATION_UTF8MB4,
            user: self.account.user.as_bytes(),
            auth_response: &answer,
            plugin: auth.plugin().name().map(str::as_bytes),
            ..HandshakeResponse::default()
        };
        let mut login = Vec::new();
        response.write(&mut Writer::new(&mut login));
        self.dialogue = Some((ServerKind::of(&greeting), auth));
        match self.is_secure {
            true => start_tls(&greeting, login),
            false => Ok(Step::Send(login)),
        }
    }
}

fn start_tls(greeting: &Greeting<'_>, mut login: Vec<u8>) -> Result<Step> {
    if !greeting.capabilities.contains(Capabilities::SSL) {
        let text = "the greeting offers no TLS: the server has none, or somebody on the way took \
                    it out";
        return Err(Error::new(ErrorKind::NotTls, text));
    }
    HandshakeResponse::set_capabilities(&mut login, CAPABILITIES.with(Capabilities::SSL))?;
    Ok(Step::StartTls(login))
}

/// The password of a flag, or the first line of a file.
pub(super) fn password(text: Option<&str>, file: Option<&Path>) -> Result<Zeroizing<Vec<u8>>> {
    let Some(file) = file else {
        return Ok(Zeroizing::new(text.unwrap_or_default().into()));
    };
    let failed = |error: io::Error| Error::io(file.display(), &error);
    let text = Zeroizing::new(fs::read(file).map_err(failed)?);
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(Zeroizing::new(line.to_vec()))
}

/// What an ERR packet says.
pub(super) fn refused(what: impl std::fmt::Display, error: &ErrPacket<'_>) -> Error {
    let code = error.code;
    let state = error.sql_state.unwrap_or(*b"HY000");
    let (state, message) = (printable(&state), printable(error.message));
    let text = format!("the server refuses {what}: ERROR {code} ({state}): {message}");
    Error::new(ErrorKind::Protocol, text)
}

/// What a server says goes to a terminal.
fn printable(text: &[u8]) -> String {
    let blank = |c: char| if c.is_control() { ' ' } else { c };
    String::from_utf8_lossy(text).chars().map(blank).collect()
}

/// EOF packets are not deprecated here, so that every result ends in the same way.
const CAPABILITIES: Capabilities = Capabilities::PROTOCOL_41
    .with(Capabilities::LONG_PASSWORD)
    .with(Capabilities::TRANSACTIONS)
    .with(Capabilities::SECURE_CONNECTION)
    .with(Capabilities::PLUGIN_AUTH);

/// utf8mb4_general_ci.
const COLLATION_UTF8MB4: u8 = 45;
