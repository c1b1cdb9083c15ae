//! Who may log in with what kind of TLS: MySQL's `REQUIRE`, per account.
//!
//! Nothing here does I/O. [`check`] is given what the handshake agreed on, the login and the rules,
//! and answers.

mod host;
mod login;
mod rules;

use std::fmt;

pub use host::HostPattern;
pub use login::{Login, LoginFault, unquoted};
pub use rules::{Rule, Rules};

use super::{Certificate, Facts, Oneline};

/// Whose semantics hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// MySQL.
    MySql,
    /// MariaDB: `REQUIRE CIPHER` alone needs no client certificate.
    MariaDb,
    /// OceanBase: logins name a tenant and a cluster, and refusals have another SQLSTATE.
    OceanBase,
}

/// What an account's connections must be like: `REQUIRE` with its options, all of which must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirement {
    /// `REQUIRE SSL`: TLS, with or without a client certificate.
    pub ssl: bool,
    /// `REQUIRE X509`: a client certificate that was verified.
    pub x509: bool,
    /// `REQUIRE CIPHER`: the suite by OpenSSL's name, compared byte by byte.
    pub cipher: Option<String>,
    /// `REQUIRE ISSUER`: the certificate's issuer on one line, compared byte by byte.
    pub issuer: Option<String>,
    /// `REQUIRE SUBJECT`: the certificate's subject on one line, compared byte by byte.
    pub subject: Option<String>,
}

/// The answer of [`check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// The login may go on to the server.
    Allowed,
    /// It may not. The peer is told what it would be told for a wrong password.
    Refused {
        /// Why.
        refusal: Refusal,
        /// The rule that is not met; `None` where none names the account.
        rule: Option<&'a Rule>,
    },
}

/// Why a login was refused: for the log, never for the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// No rule names the account, and such accounts are denied.
    NoRule,
    /// TLS is required, and there is none.
    NoTls,
    /// A client certificate is required, and there is none.
    NoCertificate,
    /// The cipher suite is another one.
    Cipher {
        /// By OpenSSL's name.
        required: String,
        /// By OpenSSL's name.
        found: String,
    },
    /// The certificate's issuer is another one.
    Issuer {
        /// On one line.
        required: String,
        /// On one line; `None` where it cannot be read.
        found: Option<String>,
    },
    /// The certificate's subject is another one.
    Subject {
        /// On one line.
        required: String,
        /// On one line; `None` where it cannot be read.
        found: Option<String>,
    },
}

/// Judges a login. `facts` is `None` where the client speaks no TLS.
///
/// A login may be understood in more than one way ([`Login`]): every rule that may apply must hold.
pub fn check<'a>(
    facts: Option<&Facts>,
    login: &Login,
    dialect: Dialect,
    rules: &'a Rules,
) -> Verdict<'a> {
    let applicable = rules.applicable(login);
    if !applicable.is_certain && !rules.allows_by_default() {
        return Verdict::Refused {
            refusal: Refusal::NoRule,
            rule: None,
        };
    }
    let unmet = applicable.rules.into_iter().find_map(|rule| {
        let requirement = &rule.requirement;
        let refusal = requirement.unmet(facts, dialect, rules.oneline())?;
        Some((refusal, rule))
    });
    unmet.map_or(Verdict::Allowed, |(refusal, rule)| Verdict::Refused {
        refusal,
        rule: Some(rule),
    })
}

impl Verdict<'_> {
    /// Why the login may not go on, in words for the log; `None` where it may.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Allowed => None,
            Self::Refused { refusal, rule } => Some(match rule {
                Some(rule) => format!("{refusal}, and the rule is {rule}"),
                None => refusal.to_string(),
            }),
        }
    }
}

impl Requirement {
    /// True where a connection without TLS will do.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The first test that fails, in the order of the dialect.
    fn unmet(&self, facts: Option<&Facts>, dialect: Dialect, oneline: Oneline) -> Option<Refusal> {
        if self.is_none() {
            return None;
        }
        let Some(facts) = facts else {
            return Some(Refusal::NoTls);
        };
        let peer = facts.peer();
        let lacks_certificate = || {
            (self.needs_certificate(dialect) && peer.is_none()).then_some(Refusal::NoCertificate)
        };
        let wrong_cipher = || self.wrong_cipher(facts);
        let first = match dialect {
            Dialect::MySql | Dialect::MariaDb => wrong_cipher().or_else(lacks_certificate),
            Dialect::OceanBase => lacks_certificate().or_else(wrong_cipher),
        };
        first.or_else(|| self.wrong_name(peer.as_ref()?, oneline))
    }

    /// True where a connection without a client certificate cannot meet it.
    pub fn needs_certificate(&self, dialect: Dialect) -> bool {
        let needs_name = self.issuer.is_some() || self.subject.is_some();
        let needs_for_cipher = self.cipher.is_some() && dialect != Dialect::MariaDb;
        self.x509 || needs_name || needs_for_cipher
    }

    fn wrong_cipher(&self, facts: &Facts) -> Option<Refusal> {
        let required = self.cipher.as_ref()?;
        let found = facts.openssl_suite();
        (required != found).then(|| Refusal::Cipher {
            required: required.clone(),
            found: found.to_owned(),
        })
    }

    fn wrong_name(&self, peer: &Certificate<'_>, oneline: Oneline) -> Option<Refusal> {
        if let Some(required) = &self.issuer {
            let (required, found) = (required.clone(), peer.issuer(oneline));
            if found.as_ref() != Some(&required) {
                return Some(Refusal::Issuer { required, found });
            }
        }
        let (required, found) = (self.subject.clone()?, peer.subject(oneline));
        (found.as_ref() != Some(&required)).then_some(Refusal::Subject { required, found })
    }
}

impl fmt::Display for Requirement {
    /// As SQL has it: `REQUIRE ISSUER '…' AND SUBJECT '…'`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given = |key: &str, value: &Option<String>| {
            let value = value.as_ref()?;
            Some(format!("{key} '{value}'"))
        };
        let specified: Vec<_> = [
            given("CIPHER", &self.cipher),
            given("ISSUER", &self.issuer),
            given("SUBJECT", &self.subject),
        ]
        .into_iter()
        .flatten()
        .collect();
        match self {
            _ if !specified.is_empty() => write!(f, "REQUIRE {}", specified.join(" AND ")),
            Self { x509: true, .. } => f.write_str("REQUIRE X509"),
            Self { ssl: true, .. } => f.write_str("REQUIRE SSL"),
            _ => f.write_str("REQUIRE NONE"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let other = |f: &mut fmt::Formatter<'_>, what: &str, found: &Option<String>| match found {
            Some(found) => write!(f, "the certificate's {what} is {found}"),
            None => write!(f, "the certificate's {what} cannot be read"),
        };
        match self {
            Self::NoRule => f.write_str("no rule names the account, and such accounts are denied"),
            Self::NoTls => f.write_str("the client speaks no TLS"),
            Self::NoCertificate => f.write_str("the client has shown no certificate"),
            Self::Cipher { found, .. } => write!(f, "the cipher suite is {found}"),
            Self::Issuer { found, .. } => other(f, "issuer", found),
            Self::Subject { found, .. } => other(f, "subject", found),
        }
    }
}

impl Dialect {
    /// The error number of a refused login.
    pub fn refusal_code(self) -> u16 {
        ER_ACCESS_DENIED_ERROR
    }

    /// Characters of a user name that the server reads. Longer ones it cuts off, so that they could
    /// become the name of another account.
    pub fn user_len_max(self) -> usize {
        match self {
            Self::MySql => 32,
            Self::MariaDb => 128,
            // User, tenant, cluster with the separators between them and the cluster's number.
            Self::OceanBase => 320,
        }
    }

    /// The SQLSTATE of a refused login.
    pub fn refusal_sqlstate(self) -> &'static str {
        match self {
            Self::MySql | Self::MariaDb => "28000",
            Self::OceanBase => "42000",
        }
    }
}

/// MySQL's number for it, which the others have too.
const ER_ACCESS_DENIED_ERROR: u16 = 1045;

#[cfg(test)]
mod tests;
