use std::cmp::Ordering;
use std::fmt;

use super::host::{HostPattern, sort_value};
use super::login::{Login, Name, Reading};
use super::{Oneline, Requirement};

/// What one account must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The user; `None` or empty: every user.
    pub user: Option<String>,
    /// Where the client is.
    pub host: HostPattern,
    /// OceanBase's tenant; `None`: every tenant.
    pub tenant: Option<String>,
    /// OceanBase's cluster; `None`: every cluster.
    pub cluster: Option<String>,
    /// What its connections must be like.
    pub requirement: Requirement,
}

/// The rules of a route, in MySQL's order: the most specific host first, then the most specific
/// user; then tenant and cluster, and among equals the order in which they were given.
#[derive(Clone, Debug)]
pub struct Rules {
    sorted: Vec<Rule>,
    allows_by_default: bool,
    oneline: Oneline,
}

/// Every rule that may apply to a login.
pub(super) struct Applicable<'a> {
    pub(super) rules: Vec<&'a Rule>,
    /// True where a rule applies for certain, under one reading at least.
    pub(super) is_certain: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    No,
    /// Under a spelling, or a tenant, that only the server knows.
    Maybe,
    Yes,
}

impl Rules {
    /// Sorts the rules. `allows_by_default`: an account that no rule names may log in as it likes.
    pub fn new(mut rules: Vec<Rule>, allows_by_default: bool, oneline: Oneline) -> Self {
        rules.sort_by(Rule::by_specificity);
        Self {
            sorted: rules,
            allows_by_default,
            oneline,
        }
    }

    /// True where there is nothing to check.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty() && self.allows_by_default
    }

    /// The rules in the order in which they are looked through.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.sorted.iter()
    }

    /// True where an account that no rule names may log in as it likes.
    pub fn allows_by_default(&self) -> bool {
        self.allows_by_default
    }

    pub(super) fn oneline(&self) -> Oneline {
        self.oneline
    }

    pub(super) fn applicable(&self, login: &Login) -> Applicable<'_> {
        let mut applicable = Applicable {
            rules: Vec::new(),
            is_certain: false,
        };
        for reading in &login.readings {
            self.collect(reading, &login.host, &mut applicable);
        }
        applicable
    }

    /// Goes on behind a rule that only may apply, since the next one may as well.
    fn collect<'a>(&'a self, reading: &Reading, host: &str, applicable: &mut Applicable<'a>) {
        for rule in self.sorted.iter().filter(|rule| rule.host.matches(host)) {
            match rule.matches(reading) {
                Match::No => {}
                Match::Maybe => applicable.rules.push(rule),
                Match::Yes => {
                    applicable.rules.push(rule);
                    applicable.is_certain = true;
                    return;
                }
            }
        }
    }
}

/// As SQL has it: `'alice'@'10.%' REQUIRE X509`, with tenant and cluster as in a login.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.as_deref().unwrap_or_default();
        write!(f, "'{user}'@'{}'", self.host)?;
        if let Some(tenant) = &self.tenant {
            write!(f, " of tenant {tenant}")?;
        }
        if let Some(cluster) = &self.cluster {
            write!(f, " of cluster {cluster}")?;
        }
        write!(f, " {}", self.requirement)
    }
}

impl Rule {
    /// True where both are about the same account, as written.
    pub fn is_same_account(&self, other: &Self) -> bool {
        let account = |rule: &'_ Self| {
            let user = rule.user.clone().unwrap_or_default();
            (
                user,
                rule.host.clone(),
                rule.tenant.clone(),
                rule.cluster.clone(),
            )
        };
        account(self) == account(other)
    }

    fn by_specificity(&self, other: &Self) -> Ordering {
        let user = |rule: &Self| sort_value(rule.user.as_deref().unwrap_or_default());
        self.host
            .by_specificity(&other.host)
            .then_with(|| user(other).cmp(&user(self)))
            .then_with(|| other.tenant.is_some().cmp(&self.tenant.is_some()))
            .then_with(|| other.cluster.is_some().cmp(&self.cluster.is_some()))
    }

    /// How sure it is that this rule is meant, its host aside.
    fn matches(&self, reading: &Reading) -> Match {
        let user = self.user.as_deref().filter(|user| !user.is_empty());
        matches(user, Some(&reading.user))
            .min(matches(self.tenant.as_deref(), reading.tenant.as_ref()))
            .min(matches(self.cluster.as_deref(), reading.cluster.as_ref()))
    }
}

fn matches(wanted: Option<&str>, found: Option<&Name>) -> Match {
    let (Some(wanted), Some(found)) = (wanted, found) else {
        return match wanted {
            None => Match::Yes,
            Some(_) => Match::Maybe,
        };
    };
    if wanted == found.text {
        return Match::Yes;
    }
    if found.is_loose && folded(wanted) == folded(&found.text) {
        return Match::Maybe;
    }
    Match::No
}

/// Oracle tenants fold unquoted user names to one case, and the case of tenants does not count.
fn folded(name: &str) -> String {
    let inner = name
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or(name).to_lowercase()
}
