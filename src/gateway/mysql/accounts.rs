//! Whether an account may log in over the connection that its client has, and in which words it may
//! not.
//!
//! A login that is denied goes on with [`NOBODY`] in its account's place: the server asks the
//! client whatever it asks of those whom it does not know, and refuses in the end. So the refusal
//! comes when that of a wrong password would, and the account is never logged in.

use std::sync::Arc;

use super::refusal::Refusal;
use crate::engine::PeerAddress;
use crate::error::{Error, ErrorKind};
use crate::frame::mysql::{Attributes, ChangeUser, ErrPacket, ServerKind};
use crate::gateway::config::AccountRules;
use crate::tls::Facts;
use crate::tls::policy::{Dialect, Login, check, unquoted};
use crate::wire::Writer;

/// The rules of a route, and the client that is judged by them.
pub(super) struct Accounts {
    rules: Arc<AccountRules>,
    host: String,
    dialect: Dialect,
    facts: Option<Arc<Facts>>,
    /// Of the last login that told one.
    collation: u16,
    claim: Claim,
}

/// Who a client says it is.
pub(super) struct Claimant<'a> {
    pub(super) user: &'a [u8],
    /// `None`: the one of the login before.
    pub(super) collation: Option<u16>,
    /// What a proxy tells of its client; none of a client that may not speak for others.
    pub(super) attributes: Attributes<'a>,
}

/// The login that was judged last.
#[derive(Default)]
struct Claim {
    user: String,
    host: String,
    has_password: bool,
    denied: Option<Error>,
}

impl<'a> Claimant<'a> {
    pub(super) fn of(command: &ChangeUser<'a>) -> Self {
        Self {
            user: command.user,
            collation: command.collation,
            attributes: command.attributes,
        }
    }
}

impl Accounts {
    pub(super) fn new(rules: Arc<AccountRules>, peer: PeerAddress) -> Self {
        let host = match peer {
            PeerAddress::Ip(address) => address.ip().to_canonical().to_string(),
            PeerAddress::Unix => "localhost".into(),
        };
        Self {
            dialect: rules.dialect.unwrap_or(Dialect::MySql),
            rules,
            host,
            facts: None,
            collation: 0,
            claim: Claim::default(),
        }
    }

    /// The server has said what it is.
    pub(super) fn greeted(&mut self, kind: ServerKind) {
        self.dialect = self.rules.dialect.unwrap_or(match kind {
            ServerKind::MySql => Dialect::MySql,
            ServerKind::MariaDb => Dialect::MariaDb,
            ServerKind::OceanBase => Dialect::OceanBase,
        });
    }

    /// The client's leg is in TLS.
    pub(super) fn secured(&mut self, facts: Option<Arc<Facts>>) {
        self.facts = facts;
    }

    /// Judges a login, and remembers it until the next; true where it is denied.
    pub(super) fn is_denied(&mut self, claimant: &Claimant<'_>, answer: &[u8]) -> bool {
        let denied = self.judge(claimant).err();
        self.collation = claimant.collation.unwrap_or(self.collation);
        let user = String::from_utf8_lossy(claimant.user);
        self.claim = Claim {
            user: self.as_told(&user),
            host: self.host_of(claimant),
            has_password: false,
            denied,
        };
        self.answered(answer);
        self.claim.denied.is_some()
    }

    /// The reason to deny a login.
    pub(super) fn judge(&self, claimant: &Claimant<'_>) -> Result<(), Error> {
        let host = self.host_of(claimant);
        let denied = |why: String| {
            let user = String::from_utf8_lossy(claimant.user);
            let text = format!("account '{user}' from {host} denied: {why}");
            Error::new(ErrorKind::AccountDenied, text)
        };
        let collation = claimant.collation.unwrap_or(self.collation);
        let login = Login::parse(claimant.user, collation, &host, self.dialect)
            .map_err(|fault| denied(fault.to_string()))?;
        let facts = self.facts.as_deref();
        match check(facts, &login, self.dialect, &self.rules.rules).reason() {
            None => Ok(()),
            Some(reason) => Err(denied(reason)),
        }
    }

    /// The client has answered the server.
    pub(super) fn answered(&mut self, answer: &[u8]) {
        self.claim.has_password |= !matches!(answer, [] | [0]);
    }

    /// The refusal of the login that is under way, where it was denied; given once.
    pub(super) fn denial(&mut self) -> Option<Refusal> {
        let error = self.claim.denied.take()?;
        Some(Refusal::denied(self.dialect, self.denial_message(), error))
    }
    /// A server's own word that access is denied, in the words of a denial here, which it could
    /// otherwise be told from by the host.
    pub(super) fn retold(&self, error: &ErrPacket<'_>) -> Option<Vec<u8>> {
        if error.code != self.dialect.refusal_code() {
            return None;
        }
        let mut payload = Vec::new();
        let message = self.denial_message();
        let packet = ErrPacket {
            code: error.code,
            sql_state: self.dialect.refusal_sqlstate().as_bytes().try_into().ok(),
            message: message.as_bytes(),
        };
        packet.write(&mut Writer::new(&mut payload));
        Some(payload)
    }

    /// What the dialect's server says of a wrong password, with the client where the gateway sees
    /// it. OceanBase hides where that is.
    fn denial_message(&self) -> String {
        let Claim { user, host, .. } = &self.claim;
        let host = match self.dialect {
            Dialect::OceanBase => "xxx.xxx.xxx.xxx",
            Dialect::MySql | Dialect::MariaDb => host,
        };
        let using = match self.claim.has_password {
            true => "YES",
            false => "NO",
        };
        format!("Access denied for user '{user}'@'{host}' (using password: {using})")
    }

    /// The server matches accounts by the address that OBProxy announces, and so do the rules.
    fn host_of(&self, claimant: &Claimant<'_>) -> String {
        let announced = claimant.attributes.find(b"__client_ip");
        match announced.map(std::str::from_utf8) {
            Some(Ok(host)) => host.to_owned(),
            _ => self.host.clone(),
        }
    }

    /// The user name as the server has it in its refusals.
    fn as_told(&self, user: &str) -> String {
        let account = match (self.dialect, user.split_once('@')) {
            (Dialect::OceanBase, Some((account, _))) => account,
            _ => user,
        };
        let len_max = self.dialect.user_len_max();
        unquoted(account).chars().take(len_max).collect()
    }
}

/// Who logs in in the place of an account that is denied. No account has this name.
pub(super) const NOBODY: &[u8] = b"sealwire: account refused";
