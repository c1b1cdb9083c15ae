use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::client::{FAST_AUTH_DONE, FULL_AUTH};
use super::{Nonce, Plugin, PrivateKey, native, sha2};

/// What a server keeps of an account's password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    is_empty: bool,
    native: [u8; native::LEN],
    sha2: [u8; sha2::LEN],
}

impl Credentials {
    /// Of an account with this password; an empty one stands for none.
    pub fn of(password: &[u8]) -> Self {
        Self {
            is_empty: password.is_empty(),
            native: native::stored(password),
            sha2: sha2::stored(password),
        }
    }

    fn is_password(&self, password: &[u8]) -> bool {
        verify_slices_are_equal(&sha2::stored(password), &self.sha2).is_ok()
    }
}

/// A server's side of the authentication dialogue, for `mysql_native_password` and
/// `caching_sha2_password`.
#[derive(Debug)]
pub struct ServerAuth<'a> {
    plugin: Plugin,
    nonce: Nonce,
    is_secure: bool,
    is_cached: bool,
    key: &'a PrivateKey,
    stage: Stage,
}

/// What a server does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerStep {
    /// Sends OK.
    Accept,
    /// Sends this data for the plugin, and OK behind it.
    AcceptAfter(Vec<u8>),
    /// Sends this data for the plugin, and hands over the client's answer.
    Ask(Vec<u8>),
    /// Sends error 1045.
    Refuse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Proof,
    Password,
    EncryptedPassword,
}

impl<'a> ServerAuth<'a> {
    /// Judges answers to `nonce` by `plugin`. `is_secure` says that the transport cannot be read by
    /// others; `key` takes the password where it can. `is_cached` says that the account has logged
    /// in with its password before, so that a proof is enough.
    pub fn new(
        plugin: Plugin,
        nonce: Nonce,
        is_secure: bool,
        is_cached: bool,
        key: &'a PrivateKey,
    ) -> Self {
        Self {
            plugin,
            nonce,
            is_secure,
            is_cached,
            key,
            stage: Stage::Proof,
        }
    }

    /// Judges a client's answer. An account that does not exist has no credentials, and is refused
    /// at the end of the same dialogue.
    pub fn judge(&mut self, account: Option<&Credentials>, answer: &[u8]) -> ServerStep {
        if self.stage == Stage::Proof && matches!(answer, [] | [0]) {
            return verdict(account.is_some_and(|account| account.is_empty));
        }
        match (self.plugin, self.stage) {
            (Plugin::Native, Stage::Proof) => {
                let is_right = |account: &Credentials| {
                    !account.is_empty && native::verify(&account.native, &self.nonce, answer)
                };
                verdict(account.is_some_and(is_right))
            }
            (Plugin::CachingSha2, Stage::Proof) => {
                let is_right = |account: &Credentials| {
                    !account.is_empty && sha2::verify(&account.sha2, &self.nonce, answer)
                };
                if self.is_cached && account.is_some_and(is_right) {
                    return ServerStep::AcceptAfter(vec![FAST_AUTH_DONE]);
                }
                self.stage = Stage::Password;
                ServerStep::Ask(vec![FULL_AUTH])
            }
            (Plugin::CachingSha2, Stage::Password) if self.is_secure => {
                let password = answer.strip_suffix(&[0]);
                verdict(is_password(account, password))
            }
            (plugin @ Plugin::CachingSha2, Stage::Password) if plugin.is_key_request(answer) => {
                self.stage = Stage::EncryptedPassword;
                ServerStep::Ask(self.key.public_pem().as_bytes().to_vec())
            }
            (Plugin::CachingSha2, Stage::Password | Stage::EncryptedPassword) => {
                let password = self.key.decrypt_password(answer, &self.nonce);
                verdict(is_password(
                    account,
                    password.as_ref().map(|it| it.as_slice()),
                ))
            }
            _ => ServerStep::Refuse,
        }
    }
}

fn is_password(account: Option<&Credentials>, password: Option<&[u8]>) -> bool {
    match (account, password) {
        (Some(account), Some(password)) => !account.is_empty && account.is_password(password),
        _ => false,
    }
}

fn verdict(is_right: bool) -> ServerStep {
    match is_right {
        true => ServerStep::Accept,
        false => ServerStep::Refuse,
    }
}
