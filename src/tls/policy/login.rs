use std::fmt;

use super::Dialect;

/// A login as a server may understand it.
///
/// MySQL and MariaDB understand a user name in one way. OceanBase's has a tenant and a cluster in
/// it, and its proxy knows spellings that its server does not: `user@tenant#cluster:id`,
/// `cluster:tenant:user:id`, and the latter with `-` or `.` in place of `:`. Which of the two
/// answers behind the gateway is unknown, so that each reading is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Where the client is: an address as text, or `localhost` for a Unix socket.
    pub(super) host: String,
    pub(super) readings: Vec<Reading>,
}

/// One way to understand a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) user: Name,
    /// `None` where it is left out, and the server or its proxy fills in one of its own.
    pub(super) tenant: Option<Name>,
    /// The same.
    pub(super) cluster: Option<Name>,
}

/// A name as written, and whether another spelling may mean the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) text: String,
    /// Upper and lower case, and quotes, may not count.
    pub(super) is_loose: bool,
}

/// Why a login cannot be judged, and is refused for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoginFault {
    /// The user name is not ASCII, and the charset that was announced for it is not UTF-8, or it is
    /// broken.
    Charset,
    /// The user name is longer than the server reads, which cuts it off.
    Length,
    /// The user name can be read in more ways than are known here.
    Ambiguous,
}

impl Login {
    /// Reads the user name of a login. `charset` is the collation that the client announced for it,
    /// and `host` is where the client is: an address as text, or `localhost` for a Unix socket.
    pub fn parse(
        user: &[u8],
        charset: u16,
        host: &str,
        dialect: Dialect,
    ) -> Result<Self, LoginFault> {
        let user = safe_text(user, charset)?;
        if user.chars().count() > dialect.user_len_max() {
            return Err(LoginFault::Length);
        }
        let readings = match dialect {
            Dialect::MySql | Dialect::MariaDb => vec![Reading::plain(unquoted(user), false)],
            Dialect::OceanBase => oceanbase_readings(user)?,
        };
        Ok(Self {
            host: host.to_owned(),
            readings,
        })
    }

    /// An account by its parts, for a server that has read the login itself. A tenant or a cluster
    /// that is not known may be any.
    pub fn of_account(
        user: &str,
        tenant: Option<&str>,
        cluster: Option<&str>,
        host: &str,
        dialect: Dialect,
    ) -> Result<Self, LoginFault> {
        if user.chars().count() > dialect.user_len_max() {
            return Err(LoginFault::Length);
        }
        let is_loose = dialect == Dialect::OceanBase;
        let reading = Reading {
            tenant: tenant.map(|name| Name::new(name, is_loose)),
            cluster: cluster.map(|name| Name::new(name, is_loose)),
            ..Reading::plain(unquoted(user), is_loose)
        };
        Ok(Self {
            host: host.to_owned(),
            readings: vec![reading],
        })
    }
}

impl fmt::Display for LoginFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Charset => "the user name is neither ASCII nor UTF-8 in a charset that says so",
            Self::Length => "the user name is longer than a server reads",
            Self::Ambiguous => "the user name has more than one `@` or `#`, or `#` before `@`",
        })
    }
}

impl std::error::Error for LoginFault {}

impl Reading {
    fn plain(user: &str, is_loose: bool) -> Self {
        Self {
            user: Name::new(user, is_loose),
            tenant: None,
            cluster: None,
        }
    }

    fn oceanbase(user: &str, tenant: &str, cluster: &str) -> Self {
        let given = |text: &str| (!text.is_empty()).then(|| Name::new(text, true));
        Self {
            user: Name::new(unquoted(user), true),
            tenant: given(tenant),
            cluster: given(cluster),
        }
    }
}

impl Name {
    fn new(text: &str, is_loose: bool) -> Self {
        Self {
            text: text.to_owned(),
            is_loose,
        }
    }
}

/// `user@tenant#cluster:id` with its parts after the user left out or not; without `@` and `#`, and
/// with two separators of one kind, `cluster:tenant:user:id` as well.
fn oceanbase_readings(user: &str) -> Result<Vec<Reading>, LoginFault> {
    if user.contains(['@', '#']) {
        return Ok(vec![formal_reading(user)?]);
    }
    let plain = Reading::oceanbase(user, "", "");
    let informal = SEPARATORS.iter().filter_map(|separator| {
        let mut parts = user.splitn(3, *separator);
        let (cluster, tenant, rest) = (parts.next()?, parts.next()?, parts.next()?);
        let user = rest.split([*separator, CLUSTER_ID]).next()?;
        Some(Reading::oceanbase(user, tenant, cluster))
    });
    Ok(std::iter::once(plain).chain(informal).collect())
}

fn formal_reading(text: &str) -> Result<Reading, LoginFault> {
    let (account, cluster) = text.split_once('#').unwrap_or((text, ""));
    let (user, tenant) = account.split_once('@').unwrap_or((account, ""));
    if cluster.contains(['@', '#']) || tenant.contains('@') {
        return Err(LoginFault::Ambiguous);
    }
    let cluster = cluster.split(CLUSTER_ID).next().unwrap_or_default();
    Ok(Reading::oceanbase(user, tenant, cluster))
}

/// A user name without the one pair of quotes that all three servers take off.
pub fn unquoted(user: &str) -> &str {
    let inner = user
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''));
    inner.unwrap_or(user)
}

/// The user name, where no conversion between charsets can make another one of it. Client charsets
/// agree on ASCII: MySQL allows none that do not.
fn safe_text(user: &[u8], charset: u16) -> Result<&str, LoginFault> {
    let text = std::str::from_utf8(user).map_err(|_| LoginFault::Charset)?;
    if text.contains('\0') || !(text.is_ascii() || is_utf8(charset)) {
        return Err(LoginFault::Charset);
    }
    Ok(text)
}

/// The collations of utf8mb3 and utf8mb4 that connectors announce, MariaDB's UCA 14.0.0 among them
/// (`SHOW COLLATION`).
fn is_utf8(collation: u16) -> bool {
    matches!(
        collation,
        33 | 45 | 46 | 76 | 83 | 192..=215 | 223..=247 | 255..=323 | 2048..=2559
    )
}

/// What OBProxy is set to by default (`username_separator`), in its order.
const SEPARATORS: [char; 3] = [':', '-', '.'];

/// Stands before the number of a cluster.
const CLUSTER_ID: char = ':';
