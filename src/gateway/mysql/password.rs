//! The password itself, where a plugin asks for it: in clear where others cannot read, else
//! encrypted by RSA.

use std::mem;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::refusal::Refusal;
use crate::frame::mysql::auth::{KeySource, Nonce, Plugin, PrivateKey, PublicKey};
use crate::frame::mysql::{LoginReply, Violation};
use crate::gateway::session::Side;
use crate::wire::Writer;

/// The RSA keys of a route, for passwords on legs without TLS.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct PasswordKeys {
    /// Of the server.
    pub(in crate::gateway) server: Arc<KeySource>,
    /// Of the gateway, where a client may need it.
    pub(in crate::gateway) own: Option<Arc<PrivateKey>>,
}

/// What a leg of a login runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Tls,
    /// A Unix socket.
    Local,
    Tcp,
}

impl Transport {
    pub(super) fn plain(is_local: bool) -> Self {
        match is_local {
            true => Self::Local,
            false => Self::Tcp,
        }
    }

    /// True where an end that speaks `plugin` sends or takes the password in clear: of the plugins
    /// that look, sha256_password counts TLS alone.
    pub(super) fn is_safe_for(self, plugin: Plugin) -> bool {
        match self {
            Self::Tls => true,
            Self::Local => plugin != Plugin::Sha256,
            Self::Tcp => false,
        }
    }
}

/// How the password of one login passes.
pub(super) struct PasswordPassage {
    keys: PasswordKeys,
    client: Transport,
    server: Transport,
    plugin: Plugin,
    nonce: Nonce,
    stage: Stage,
}

enum Stage {
    /// Whatever the client answers is not its password.
    Idle,
    /// It is.
    Due,
    /// The client has given its password, which waits for the server's key.
    AwaitsKey(Zeroizing<Vec<u8>>),
}

/// A payload on its way.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Onward {
    ToServer(Zeroizing<Vec<u8>>),
    /// The client is to answer.
    ToClient(Zeroizing<Vec<u8>>),
}

/// What becomes of the authentication response inside of a login.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum InLogin {
    Keep,
    Replace(Zeroizing<Vec<u8>>),
    /// This goes to the client first, and what its answer leads to replaces the response.
    Ask(Zeroizing<Vec<u8>>),
}

impl PasswordPassage {
    /// Neither leg has begun TLS.
    pub(super) fn new(keys: PasswordKeys, client: Transport, server: Transport) -> Self {
        Self {
            keys,
            client,
            server,
            plugin: Plugin::Native,
            nonce: Nonce::default(),
            stage: Stage::Idle,
        }
    }

    /// The server has greeted; its leg will be in TLS before it gets the login, or not.
    pub(super) fn greeted(&mut self, nonce: Nonce, is_server_tls: bool) {
        self.nonce = nonce;
        if is_server_tls {
            self.server = Transport::Tls;
        }
    }

    /// The client's leg is in TLS.
    pub(super) fn client_secured(&mut self) {
        self.client = Transport::Tls;
    }

    pub(super) fn plugin(&self) -> Plugin {
        self.plugin
    }

    /// The client answers by `plugin` from now on, with something unless `has_answer` is false.
    pub(super) fn switch(
        &mut self,
        plugin: Plugin,
        nonce: Option<Nonce>,
        has_answer: bool,
    ) -> Result<(), Refusal> {
        self.plugin = plugin;
        self.nonce = nonce.unwrap_or(self.nonce);
        self.stage = Stage::Idle;
        match plugin {
            _ if !has_answer => Ok(()),
            Plugin::Sha256 => self.demand(),
            plugin if plugin.is_clear() && !self.server.is_safe_for(plugin) => {
                Err(Refusal::clear_password())
            }
            _ => Ok(()),
        }
    }

    /// The client is to send the password itself.
    pub(super) fn demand(&mut self) -> Result<(), Refusal> {
        self.stage = Stage::Due;
        match self.safe_legs() {
            (true, false) => self.server_key().map(drop),
            (false, true) => self.own_key().map(drop),
            _ => Ok(()),
        }
    }

    /// The response that comes with the login.
    pub(super) fn take_login(&mut self, response: &[u8]) -> Result<InLogin, Refusal> {
        if !matches!(self.stage, Stage::Due) {
            return Ok(InLogin::Keep);
        }
        if self.safe_legs() == (true, false) && !is_empty(response) {
            // The encoding of a login may be too short for what RSA gives, so the server is asked
            // for its key first, even where that is known.
            self.stage = Stage::AwaitsKey(opened(response));
            return Ok(InLogin::Replace(self.key_request()));
        }
        Ok(match self.take_answer(response)? {
            Onward::ToServer(same) if *same == response => InLogin::Keep,
            Onward::ToServer(other) => InLogin::Replace(other),
            Onward::ToClient(question) => InLogin::Ask(question),
        })
    }

    /// An answer of the client.
    pub(super) fn take_answer(&mut self, answer: &[u8]) -> Result<Onward, Refusal> {
        let as_it_is = || Ok(Onward::ToServer(Zeroizing::new(answer.to_vec())));
        match self.stage {
            Stage::Idle => return as_it_is(),
            Stage::Due => {}
            Stage::AwaitsKey(_) => {
                let violation = Violation::Malformed("patience: the server's key is awaited");
                return Err(Refusal::violation(Side::Client, violation));
            }
        }
        match self.safe_legs() {
            _ if is_empty(answer) => as_it_is(),
            (true, true) => as_it_is(),
            (false, false) if self.is_sealed(answer) => as_it_is(),
            (false, false) => Err(Refusal::clear_password()),
            (true, false) => self.encrypt(opened(answer)),
            (false, true) => self.decrypt(answer),
        }
    }

    /// Data of the server for the plugin; `None` where that is for the client.
    pub(super) fn take_more_data(&mut self, data: &[u8]) -> Result<Option<Onward>, Refusal> {
        let password = match mem::replace(&mut self.stage, Stage::Idle) {
            Stage::AwaitsKey(password) => password,
            other => {
                self.stage = other;
                return Ok(None);
            }
        };
        let encrypted = match &*self.keys.server {
            KeySource::Known(key) => self.encrypt_to(key, &password)?,
            _ => {
                let key = PublicKey::from_pem(data)
                    .map_err(|error| Refusal::lost(error.at("the server's key for passwords")))?;
                self.encrypt_to(&key, &password)?
            }
        };
        Ok(Some(Onward::ToServer(encrypted)))
    }

    fn encrypt(&mut self, password: Zeroizing<Vec<u8>>) -> Result<Onward, Refusal> {
        self.stage = Stage::Idle;
        if let Some(key) = self.server_key()? {
            return self.encrypt_to(key, &password).map(Onward::ToServer);
        }
        self.stage = Stage::AwaitsKey(password);
        Ok(Onward::ToServer(self.key_request()))
    }

    fn encrypt_to(&self, key: &PublicKey, password: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        key.encrypt_password(password, &self.nonce)
            .map(Zeroizing::new)
            .map_err(Refusal::unusable_password)
    }

    fn decrypt(&mut self, answer: &[u8]) -> Result<Onward, Refusal> {
        let key = self.own_key()?;
        if self.plugin.is_key_request(answer) {
            let mut question = Zeroizing::new(Vec::new());
            let pem = key.public_pem().as_bytes();
            LoginReply::write_more_data(&mut Writer::new(&mut question), pem);
            return Ok(Onward::ToClient(question));
        }
        let password = key.decrypt_password(answer, &self.nonce);
        let mut password = password.ok_or_else(Refusal::foreign_key)?;
        self.stage = Stage::Idle;
        password.push(0);
        Ok(Onward::ToServer(password))
    }

    /// The key that the server's leg needs; `None` where the server is asked for it. Over a Unix
    /// socket nobody else answers.
    fn server_key(&self) -> Result<Option<&PublicKey>, Refusal> {
        match &*self.keys.server {
            KeySource::Known(key) => Ok(Some(key)),
            KeySource::DangerFetched => Ok(None),
            KeySource::Refused if self.server == Transport::Local => Ok(None),
            KeySource::Refused => Err(Refusal::no_server_key()),
        }
    }

    fn own_key(&self) -> Result<&PrivateKey, Refusal> {
        self.keys.own.as_deref().ok_or_else(Refusal::clear_password)
    }

    fn key_request(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.plugin.key_request().into_iter().collect())
    }

    /// True for a request for the server's key, and for what an RSA key of at least 2048 bits, the
    /// shortest that servers make, has encrypted.
    fn is_sealed(&self, answer: &[u8]) -> bool {
        self.plugin.is_key_request(answer) || answer.len() >= RSA_LEN_MIN
    }

    fn safe_legs(&self) -> (bool, bool) {
        let is_safe = |leg: Transport| leg.is_safe_for(self.plugin);
        (is_safe(self.client), is_safe(self.server))
    }
}

/// No password at all, which every plugin lets an account have.
fn is_empty(answer: &[u8]) -> bool {
    matches!(answer, [] | [0])
}

/// The password without the NUL behind it.
fn opened(answer: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(answer.strip_suffix(&[0]).unwrap_or(answer).to_vec())
}

const RSA_LEN_MIN: usize = 256;
