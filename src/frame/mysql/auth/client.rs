use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};

use super::rsa::closed;
use super::{Nonce, Plugin, PublicKey, native, sha2};

/// A client's side of the authentication dialogue: payloads of packets in, payloads out.
///
/// The password leaves only as a proof, over a secure transport, or encrypted to the key that
/// [`KeySource`] allows.
#[derive(Debug)]
pub struct ClientAuth {
    password: Secret,
    is_secure: bool,
    keys: KeySource,
    plugin: Plugin,
    nonce: Nonce,
}

/// Where the key comes from to which a password is encrypted on a transport that is not secure.
#[derive(Debug)]
pub enum KeySource {
    /// From nowhere: then the login fails.
    Refused,
    /// It is known.
    Known(PublicKey),
    /// From whoever answers: anyone on the path gets the password.
    DangerFetched,
}

impl ClientAuth {
    /// Answers for `password`. `is_secure` says that the transport cannot be read by others: TLS,
    /// or a unix socket. `plugin` and `nonce` are those of the greeting.
    ///
    /// A plugin that is not spoken here is replaced by [`Plugin::Native`], to which the server
    /// answers with a switch to the account's own.
    pub fn new(
        password: &[u8],
        is_secure: bool,
        keys: KeySource,
        plugin: Plugin,
        nonce: Nonce,
    ) -> Self {
        let plugin = match plugin {
            Plugin::CachingSha2 | Plugin::Sha256 => plugin,
            _ => Plugin::Native,
        };
        Self {
            password: Secret(Zeroizing::new(password.to_vec())),
            is_secure,
            keys,
            plugin,
            nonce,
        }
    }

    /// The plugin in use.
    pub fn plugin(&self) -> Plugin {
        self.plugin
    }

    /// The authentication response of the login, or the answer to a switch.
    ///
    /// # Errors
    ///
    /// Where the plugin asks for the password itself and it may not be sent.
    pub fn answer(&self) -> Result<Zeroizing<Vec<u8>>> {
        let password = &self.password.0;
        if password.is_empty() {
            let empty = self.plugin.empty_answer().unwrap_or_default();
            return Ok(Zeroizing::new(empty.to_vec()));
        }
        match self.plugin {
            Plugin::CachingSha2 => Ok(Zeroizing::new(sha2::prove(password, &self.nonce).to_vec())),
            Plugin::Sha256 => self.disclose(),
            _ => Ok(Zeroizing::new(
                native::prove(password, &self.nonce).to_vec(),
            )),
        }
    }

    /// The answer to a switch to `plugin`.
    ///
    /// # Errors
    ///
    /// Where the plugin is not spoken here, or as [`ClientAuth::answer`].
    pub fn switch(&mut self, plugin: &[u8], nonce: Option<Nonce>) -> Result<Zeroizing<Vec<u8>>> {
        let named = Plugin::named(plugin);
        self.nonce = match (named, nonce) {
            (Plugin::Native | Plugin::CachingSha2 | Plugin::Sha256, Some(nonce)) => nonce,
            _ => return Err(unknown_plugin(plugin)),
        };
        self.plugin = named;
        self.answer()
    }

    /// The answer to data of the plugin; `None` where the server has only told that it is content.
    ///
    /// # Errors
    ///
    /// Where the data makes no sense, or asks for the password and it may not be sent.
    pub fn more_data(&mut self, data: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>> {
        match (self.plugin, data) {
            (Plugin::CachingSha2, &[FAST_AUTH_DONE]) => Ok(None),
            (Plugin::CachingSha2, &[FULL_AUTH]) => self.disclose().map(Some),
            (Plugin::CachingSha2 | Plugin::Sha256, pem)
                if !self.is_secure && matches!(self.keys, KeySource::DangerFetched) =>
            {
                let key = PublicKey::from_pem(pem)?;
                let encrypted = key.encrypt_password(&self.password.0, &self.nonce)?;
                Ok(Some(Zeroizing::new(encrypted)))
            }
            _ => Err(Error::new(
                ErrorKind::Protocol,
                "the server sends authentication data that nobody asked for",
            )),
        }
    }

    fn disclose(&self) -> Result<Zeroizing<Vec<u8>>> {
        let password = &self.password.0;
        if self.is_secure {
            return Ok(closed(password));
        }
        match &self.keys {
            KeySource::Known(key) => key
                .encrypt_password(password, &self.nonce)
                .map(Zeroizing::new),
            KeySource::DangerFetched => Ok(Zeroizing::new(
                self.plugin.key_request().into_iter().collect(),
            )),
            KeySource::Refused => Err(Error::new(
                ErrorKind::Config,
                "the server asks for the password itself, and the connection is not encrypted: \
                 use TLS, or name the server's RSA public key",
            )),
        }
    }
}

/// What must not be printed.
struct Secret(Zeroizing<Vec<u8>>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

fn unknown_plugin(name: &[u8]) -> Error {
    Error::new(
        ErrorKind::Protocol,
        format!(
            "the account authenticates by {}, which is not supported here",
            name.escape_ascii()
        ),
    )
}

/// caching_sha2_password: the proof was enough.
pub(super) const FAST_AUTH_DONE: u8 = 3;

/// caching_sha2_password: the password itself is needed.
pub const FULL_AUTH: u8 = 4;
