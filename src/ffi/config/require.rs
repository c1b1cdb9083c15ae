//! What the connections of an account must be like: MySQL's `REQUIRE`.

use std::ffi::{c_char, c_int};

use super::builder::{End, one_of, sealwire_config_builder, set, unusable};
use crate::error::{Error, ErrorKind};
use crate::ffi::pointer;
use crate::ffi::result::Failure;
use crate::ffi::result::sealwire_result;
use crate::tls::policy::{Dialect, HostPattern, Login, Requirement, Rule, Rules, check};
use crate::tls::{ClientAuth, Facts, Oneline, ServerConfig};

/// MySQL's semantics.
pub const SEALWIRE_DIALECT_MYSQL: c_int = 0;
/// MariaDB's: REQUIRE CIPHER alone needs no client certificate.
pub const SEALWIRE_DIALECT_MARIADB: c_int = 1;
/// OceanBase's: logins name a tenant and a cluster.
pub const SEALWIRE_DIALECT_OCEANBASE: c_int = 2;

/// Names on one line as OpenSSL 3 writes them: `/` and `+` in values follow a backslash.
pub const SEALWIRE_ONELINE_OPENSSL3: c_int = 0;
/// Names on one line as OpenSSL 1 writes them: nothing is escaped, so two names may read the same.
pub const SEALWIRE_ONELINE_OPENSSL1: c_int = 1;

/// What the connections of an account must be like: MySQL's
/// `'user'@'host' REQUIRE SSL | X509 | CIPHER … AND ISSUER … AND SUBJECT …`. Everything that is
/// given must hold; nothing given is REQUIRE NONE.
///
/// Set it to zero but for `size`, then fill in: later versions of the library have more members.
/// The text is copied.
#[repr(C)]
pub struct sealwire_require {
    /// sizeof(sealwire_require).
    pub size: usize,
    /// The user; NULL or empty: every user.
    pub user: *const c_char,
    /// Where the client is, with MySQL's wildcards, a network, or an address; NULL: everywhere.
    pub host: *const c_char,
    /// OceanBase's tenant; NULL: every tenant.
    pub tenant: *const c_char,
    /// OceanBase's cluster; NULL: every cluster.
    pub cluster: *const c_char,
    /// Not 0: TLS, with or without a client certificate.
    pub ssl: c_int,
    /// Not 0: a client certificate that was verified.
    pub x509: c_int,
    /// The cipher suite by OpenSSL's name; NULL: any.
    pub cipher: *const c_char,
    /// The certificate's issuer on one line, as in "/C=CN/O=Test Org/CN=Test CA"; NULL: any.
    pub issuer: *const c_char,
    /// The certificate's subject on one line, as in "/C=CN/O=Test Org/CN=alice"; NULL: any.
    pub subject: *const c_char,
}

/// Adds what the connections of an account must be like, to be asked for by
/// sealwire_conn_check_require(). The most specific host comes first, then the user; one rule
/// applies to a login. For servers only.
///
/// ::SEALWIRE_ERR_ARGUMENT where `size` is not that of this version's or text is not UTF-8, and
/// ::SEALWIRE_ERR_CONFIG where the host is no pattern or another rule is about the same account.
/// What no connection could ever meet is ::SEALWIRE_ERR_CONFIG when the configuration is built.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_add_require(
    builder: *mut sealwire_config_builder,
    require: *const sealwire_require,
) -> sealwire_result {
    set(builder, |builder| {
        builder.expect(End::Server)?;
        let rule = rule_of(pointer::sized("require", require)?)?;
        let mut others = builder.require.rules.iter();
        if others.any(|other| other.is_same_account(&rule)) {
            return Err(unusable(format!(
                "{rule}: there is a rule for this account; one may ask for all at once"
            )));
        }
        builder.require.rules.push(rule);
        Ok(())
    })
}

/// Denies accounts that no rule names; by default they may log in as they come. For servers only.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_set_require_default_deny(
    builder: *mut sealwire_config_builder,
) -> sealwire_result {
    set(builder, |builder| {
        builder.expect(End::Server)?;
        builder.require.denies_by_default = true;
        Ok(())
    })
}

/// Says whose semantics rules have: SEALWIRE_DIALECT_MYSQL, _MARIADB or _OCEANBASE; by default
/// OceanBase's where a rule names a tenant or a cluster, and MySQL's otherwise. For servers only.
///
/// ::SEALWIRE_ERR_ARGUMENT where `dialect` is none of these.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_set_require_dialect(
    builder: *mut sealwire_config_builder,
    dialect: c_int,
) -> sealwire_result {
    set(builder, |builder| {
        builder.expect(End::Server)?;
        builder.require.dialect = Some(one_of("dialect", dialect, DIALECTS)?);
        Ok(())
    })
}

/// Says how the names in rules are written: SEALWIRE_ONELINE_OPENSSL3, the default, or
/// SEALWIRE_ONELINE_OPENSSL1. For servers only.
///
/// ::SEALWIRE_ERR_ARGUMENT where `oneline` is neither.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_set_require_oneline(
    builder: *mut sealwire_config_builder,
    oneline: c_int,
) -> sealwire_result {
    set(builder, |builder| {
        builder.expect(End::Server)?;
        builder.require.oneline = one_of("oneline", oneline, ONELINES)?;
        Ok(())
    })
}

/// What the builder was told of accounts.
#[derive(Default)]
pub(super) struct RequireOptions {
    rules: Vec<Rule>,
    denies_by_default: bool,
    dialect: Option<Dialect>,
    oneline: Oneline,
}

/// What the accounts of a server must come with.
pub(in crate::ffi) struct Accounts {
    rules: Rules,
    dialect: Dialect,
}

/// Who logs in.
pub(in crate::ffi) struct Claim<'a> {
    pub(in crate::ffi) user: &'a str,
    /// An address as text, or `localhost` for a Unix socket.
    pub(in crate::ffi) host: &'a str,
    pub(in crate::ffi) tenant: Option<&'a str>,
    pub(in crate::ffi) cluster: Option<&'a str>,
}

impl Accounts {
    /// Judges a login. `facts` is `None` where the client speaks no TLS.
    pub(in crate::ffi) fn check(
        &self,
        facts: Option<&Facts>,
        claim: &Claim<'_>,
    ) -> Result<(), Failure> {
        let Claim { user, host, .. } = *claim;
        let login = match (claim.tenant, claim.cluster) {
            // Whatever is left out of a login of OceanBase's may be in its user.
            (None, None) => Login::parse(user.as_bytes(), UTF8MB4, host, self.dialect),
            (tenant, cluster) => Login::of_account(user, tenant, cluster, host, self.dialect),
        };
        let reason = match login {
            Ok(login) => check(facts, &login, self.dialect, &self.rules).reason(),
            Err(fault) => Some(fault.to_string()),
        };
        match reason {
            None => Ok(()),
            Some(reason) => {
                let text = format!("account '{user}' from {host} denied: {reason}");
                Err(Error::new(ErrorKind::AccountDenied, text).into())
            }
        }
    }
}

impl RequireOptions {
    pub(super) fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// The rules, where each can be met on this server.
    pub(super) fn accounts(
        &self,
        config: &ServerConfig,
        client_auth: &ClientAuth,
    ) -> Result<Accounts, Failure> {
        let is_scoped = |rule: &Rule| rule.tenant.is_some() || rule.cluster.is_some();
        let scoped = self.rules.iter().find(|rule| is_scoped(rule));
        let dialect = match (self.dialect, scoped) {
            (Some(Dialect::MySql | Dialect::MariaDb), Some(rule)) => {
                return Err(unusable(format!(
                    "{rule}: tenants and clusters are OceanBase's, and the dialect is another"
                )));
            }
            (Some(dialect), _) => dialect,
            (None, Some(_)) => Dialect::OceanBase,
            (None, None) => Dialect::MySql,
        };
        let asks = !matches!(client_auth, ClientAuth::None);
        for rule in &self.rules {
            if let Some(reason) = never_met(&rule.requirement, dialect, asks, config) {
                return Err(unusable(format!("{rule} is never met: {reason}")));
            }
        }
        Ok(Accounts {
            rules: Rules::new(self.rules.clone(), !self.denies_by_default, self.oneline),
            dialect,
        })
    }
}

/// Why no connection of a client can be so.
fn never_met(
    requirement: &Requirement,
    dialect: Dialect,
    asks: bool,
    config: &ServerConfig,
) -> Option<String> {
    if requirement.needs_certificate(dialect) && !asks {
        return Some("it needs a client certificate, and none is asked for".into());
    }
    let is_unknown = |suite: &&String| !config.openssl_suites().contains(&suite.as_str());
    if let Some(suite) = requirement.cipher.as_ref().filter(is_unknown) {
        let known = config.openssl_suites().join(", ");
        return Some(format!(
            "{suite} is no suite that this server and its key can come to; these are {known}"
        ));
    }
    let mut names = [&requirement.issuer, &requirement.subject]
        .into_iter()
        .flatten();
    let name = names.find(|name| !name.starts_with('/'))?;
    Some(format!(
        "{name:?} is not as `openssl x509 -noout -subject -issuer -nameopt compat` prints names"
    ))
}

fn rule_of(require: &sealwire_require) -> Result<Rule, Failure> {
    let text = |name, pointer| -> Result<Option<String>, Failure> {
        Ok(pointer::optional_text(name, pointer)?.map(str::to_owned))
    };
    let host = match pointer::optional_text("host", require.host)? {
        None => HostPattern::any(),
        Some("") => return Err(unusable("host is empty; \"%\" is any host")),
        Some(host) => host
            .parse()
            .map_err(|reason| unusable(format!("host: {reason}")))?,
    };
    Ok(Rule {
        user: text("user", require.user)?,
        host,
        tenant: text("tenant", require.tenant)?,
        cluster: text("cluster", require.cluster)?,
        requirement: Requirement {
            ssl: require.ssl != 0,
            x509: require.x509 != 0,
            cipher: text("cipher", require.cipher)?,
            issuer: text("issuer", require.issuer)?,
            subject: text("subject", require.subject)?,
        },
    })
}

const DIALECTS: &[(c_int, Dialect)] = &[
    (SEALWIRE_DIALECT_MYSQL, Dialect::MySql),
    (SEALWIRE_DIALECT_MARIADB, Dialect::MariaDb),
    (SEALWIRE_DIALECT_OCEANBASE, Dialect::OceanBase),
];

const ONELINES: &[(c_int, Oneline)] = &[
    (SEALWIRE_ONELINE_OPENSSL3, Oneline::OpenSsl3),
    (SEALWIRE_ONELINE_OPENSSL1, Oneline::OpenSsl1),
];

/// utf8mb4_general_ci: text of C is UTF-8 here.
const UTF8MB4: u16 = 45;
