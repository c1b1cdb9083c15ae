//! `[[route.client.require]]`: what the connections of an account must be like.

use std::sync::Arc;

use super::build::choose;
use super::document::{Given, Place, Section, nearest};
use super::mysql;
use super::plan::{ClientCert, ClientTls, Protocol};
use crate::error::Result;
use crate::tls::Oneline;
use crate::tls::policy::{Dialect, HostPattern, Requirement, Rule, Rules};

/// The rules of a route on the accounts of its server.
#[derive(Debug)]
pub(crate) struct AccountRules {
    /// In the order in which they are looked through.
    pub(crate) rules: Rules,
    /// Whose semantics hold; `None`: those of the server that greets.
    pub(crate) dialect: Option<Dialect>,
}

/// What `[route.client]` says of accounts.
#[derive(Debug, Default, Hash)]
pub(crate) struct RequireSource {
    rules: Vec<RuleSource>,
    default: Option<Given<String>>,
    dialect: Option<Given<String>>,
    oneline: Option<Given<String>>,
}

/// One `[[route.client.require]]`.
#[derive(Debug, Hash)]
struct RuleSource {
    place: Place,
    user: Option<Given<String>>,
    host: Option<Given<String>>,
    tenant: Option<Given<String>>,
    cluster: Option<Given<String>>,
    ssl: Option<Given<bool>>,
    x509: Option<Given<bool>>,
    cipher: Option<Given<String>>,
    issuer: Option<Given<String>>,
    subject: Option<Given<String>>,
}

impl AccountRules {
    /// One sentence for each rule and one for accounts without, for a report.
    pub(super) fn conditions(&self) -> Vec<String> {
        let whose = match self.dialect {
            None => "as the server does that greets",
            Some(Dialect::MySql) => "as MySQL does",
            Some(Dialect::MariaDb) => "as MariaDB does",
            Some(Dialect::OceanBase) => "as OceanBase does",
        };
        let others = match self.rules.allows_by_default() {
            true => "allowed as they come",
            false => "denied",
        };
        let rules = self.rules.iter().map(|rule| format!("account {rule}"));
        let others = format!("accounts that no rule names are {others}; rules are judged {whose}");
        rules.chain([others]).collect()
    }
}

impl RequireSource {
    pub(super) fn read(section: &Section<'_>) -> Result<Self> {
        let rules = section.tables("require", "[[route.client.require]]", RULE_KEYS)?;
        Ok(Self {
            rules: rules.iter().map(RuleSource::read).collect::<Result<_>>()?,
            default: section.text("require_default")?,
            dialect: section.text("require_dialect")?,
            oneline: section.text("require_oneline")?,
        })
    }

    /// The first key that was given, of those that need rules last.
    fn first_given(&self) -> Option<(&'static str, &Place)> {
        let rule = self.rules.first().map(|rule| ("require", &rule.place));
        rule.or_else(|| self.first_setting())
    }

    fn first_setting(&self) -> Option<(&'static str, &Place)> {
        let settings = [
            ("require_default", &self.default),
            ("require_dialect", &self.dialect),
            ("require_oneline", &self.oneline),
        ];
        settings
            .into_iter()
            .find_map(|(key, given)| Some((key, &given.as_ref()?.place)))
    }
}

impl RuleSource {
    fn read(section: &Section<'_>) -> Result<Self> {
        Ok(Self {
            place: section.place.clone(),
            user: section.text("user")?,
            host: section.text("host")?,
            tenant: section.text("tenant")?,
            cluster: section.text("cluster")?,
            ssl: section.boolean("ssl")?,
            x509: section.boolean("x509")?,
            cipher: section.text("cipher")?,
            issuer: section.text("issuer")?,
            subject: section.text("subject")?,
        })
    }

    fn rule(&self) -> Result<Rule> {
        let text = |given: &Option<Given<String>>| given.as_ref().map(|it| it.value.clone());
        let flag = |given: &Option<Given<bool>>| given.as_ref().is_some_and(|it| it.value);
        Ok(Rule {
            user: text(&self.user),
            host: self.host()?,
            tenant: text(&self.tenant),
            cluster: text(&self.cluster),
            requirement: Requirement {
                ssl: flag(&self.ssl),
                x509: flag(&self.x509),
                cipher: text(&self.cipher),
                issuer: text(&self.issuer),
                subject: text(&self.subject),
            },
        })
    }

    fn host(&self) -> Result<HostPattern> {
        match &self.host {
            None => Ok(HostPattern::any()),
            Some(host) if host.value.is_empty() => {
                Err(host.place.error("host is empty; \"%\" is any host"))
            }
            Some(host) => (host.value.parse()).map_err(|reason| host.place.error(reason)),
        }
    }

    /// Refuses what no login of this dialect is.
    fn check_account(&self, dialect: Option<Dialect>) -> Result<()> {
        let scope = self.tenant.as_ref().map(|it| ("tenant", it));
        let scope = scope.or(self.cluster.as_ref().map(|it| ("cluster", it)));
        if let (Some((key, given)), Some(Dialect::MySql | Dialect::MariaDb)) = (scope, dialect) {
            let text = format!("{key} has no effect unless require_dialect is \"oceanbase\"");
            return Err(given.place.error(text));
        }
        let Some(user) = &self.user else {
            return Ok(());
        };
        if dialect == Some(Dialect::OceanBase) && user.value.contains(['@', '#']) {
            let text = "user cannot have `@` or `#` in OceanBase; tenant and cluster are keys of \
                        their own";
            return Err(user.place.error(text));
        }
        let len_max = dialect.map_or(usize::MAX, Dialect::user_len_max);
        if user.value.chars().count() > len_max {
            let text = format!("user is longer than the {len_max} characters that a server reads");
            return Err(user.place.error(text));
        }
        Ok(())
    }

    /// Refuses what no connection of a client can meet.
    fn check_met(
        &self,
        requirement: &Requirement,
        dialect: Option<Dialect>,
        tls: &ClientTls,
    ) -> Result<()> {
        let never = |text: String| Err(self.place.error(format!("never met: {text}")));
        let ClientTls::Terminated {
            config,
            client_cert,
            ..
        } = tls
        else {
            return match requirement.is_none() {
                true => Ok(()),
                false => never(format!(
                    "{requirement}, and tls = \"off\" in [route.client]"
                )),
            };
        };
        // Where the server is still to say what it is, it may be the one that asks for least.
        let dialect = dialect.unwrap_or(Dialect::MariaDb);
        if requirement.needs_certificate(dialect) && *client_cert == ClientCert::None {
            return never(format!(
                "{requirement} needs a client certificate, and none is asked for: give ca, the \
                 authorities that may issue them"
            ));
        }
        self.check_suite(config.openssl_suites())?;
        [("issuer", &self.issuer), ("subject", &self.subject)]
            .into_iter()
            .try_for_each(|(key, given)| check_name(key, given.as_ref()))
    }

    fn check_suite(&self, suites: &[&str]) -> Result<()> {
        let Some(cipher) = &self.cipher else {
            return Ok(());
        };
        if suites.contains(&cipher.value.as_str()) {
            return Ok(());
        }
        let hint = match nearest(&cipher.value.to_uppercase(), suites) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("these are: {}", suites.join(", ")),
        };
        Err(cipher.place.error(format!(
            "never met: cipher = {:?} is no suite that this route and its key can come to; {hint}",
            cipher.value
        )))
    }
}

/// The rules that are written, where there are any and the route can judge logins by them.
pub(super) fn account_rules(
    source: &RequireSource,
    protocol: Protocol,
    tls: &ClientTls,
) -> Result<Option<Arc<AccountRules>>> {
    if let (Some((key, place)), Some(why)) =
        (source.first_given(), mysql::why_unused(protocol, tls))
    {
        return Err(place.error(format!("{key} has no effect {why}")));
    }
    if source.rules.is_empty() {
        return match source.first_setting() {
            None => Ok(None),
            Some((key, place)) => Err(place.error(format!(
                "{key} has no effect without [[route.client.require]]"
            ))),
        };
    }
    let dialect = dialect(source)?;
    let mut rules: Vec<Rule> = Vec::with_capacity(source.rules.len());
    for written in &source.rules {
        let rule = written.rule()?;
        written.check_account(dialect)?;
        written.check_met(&rule.requirement, dialect, tls)?;
        if let Some(first) = rules.iter().position(|other| other.is_same_account(&rule)) {
            let first = source.rules.get(first).map(|it| it.place.within());
            return Err(written.place.error(format!(
                "the same account as {}; one rule may ask for all at once",
                first.unwrap_or_default()
            )));
        }
        rules.push(rule);
    }
    let allows = choose("require_default", source.default.as_ref(), DEFAULTS, true)?;
    let oneline = source.oneline.as_ref();
    let oneline = choose("require_oneline", oneline, ONELINES, Oneline::OpenSsl3)?;
    Ok(Some(Arc::new(AccountRules {
        rules: Rules::new(rules, allows, oneline),
        dialect,
    })))
}

/// Tenants and clusters are OceanBase's alone. A greeting that does not say so, as that of a proxy
/// may, must not turn rules that name them into rules that nobody falls under.
fn dialect(source: &RequireSource) -> Result<Option<Dialect>> {
    let given = choose("require_dialect", source.dialect.as_ref(), DIALECTS, None)?;
    let mut rules = source.rules.iter();
    let names_tenant = rules.any(|rule| rule.tenant.is_some() || rule.cluster.is_some());
    Ok(given.or(names_tenant.then_some(Dialect::OceanBase)))
}

/// OpenSSL's form on one line, which every name that is compared has.
fn check_name(key: &str, given: Option<&Given<String>>) -> Result<()> {
    match given {
        Some(given) if !given.value.starts_with('/') => Err(given.place.error(format!(
            "never met: {key} = {:?} is not as `openssl x509 -in CERT -noout -{key} -nameopt \
             compat` prints it, as in \"/C=CN/O=Test Org/CN=alice\"",
            given.value
        ))),
        _ => Ok(()),
    }
}

const RULE_KEYS: &[&str] = &[
    "user", "host", "tenant", "cluster", "ssl", "x509", "cipher", "issuer", "subject",
];

const DEFAULTS: &[(&str, bool)] = &[("allow", true), ("deny", false)];

const DIALECTS: &[(&str, Option<Dialect>)] = &[
    ("auto", None),
    ("mysql", Some(Dialect::MySql)),
    ("mariadb", Some(Dialect::MariaDb)),
    ("oceanbase", Some(Dialect::OceanBase)),
];

const ONELINES: &[(&str, Oneline)] = &[
    ("openssl3", Oneline::OpenSsl3),
    ("openssl1", Oneline::OpenSsl1),
];
