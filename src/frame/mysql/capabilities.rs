use std::fmt;
use std::ops::{BitAnd, BitOr};

use super::handshake::Greeting;

/// What a server offers, or a client uses: MySQL's 32 flags, and MariaDB's extended ones above
/// them.
///
/// Bits without a name are kept. Bits 27 to 29 mean other things to OceanBase than to MySQL
/// ([`ServerKind`]): they are to be passed on untouched.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Capabilities(u64);

impl Capabilities {
    /// MySQL's own mark. MariaDB calls it CLIENT_MYSQL; its servers leave it out, and only then are
    /// there extended capabilities.
    pub const LONG_PASSWORD: Self = Self(1 << 0);
    /// Affected rows are those found, not those changed.
    pub const FOUND_ROWS: Self = Self(1 << 1);
    /// Longer flags of columns.
    pub const LONG_FLAG: Self = Self(1 << 2);
    /// A login names a database.
    pub const CONNECT_WITH_DB: Self = Self(1 << 3);
    /// No `database.table.column`.
    pub const NO_SCHEMA: Self = Self(1 << 4);
    /// zlib compression after login.
    pub const COMPRESS: Self = Self(1 << 5);
    /// Client is an ODBC driver.
    pub const ODBC: Self = Self(1 << 6);
    /// LOAD DATA LOCAL INFILE.
    pub const LOCAL_FILES: Self = Self(1 << 7);
    /// Spaces before `(`.
    pub const IGNORE_SPACE: Self = Self(1 << 8);
    /// The protocol of MySQL 4.1 and later, the only one that is spoken here.
    pub const PROTOCOL_41: Self = Self(1 << 9);
    /// The interactive idle timeout holds.
    pub const INTERACTIVE: Self = Self(1 << 10);
    /// TLS is offered (greeting) or asked for (first packet of a client).
    pub const SSL: Self = Self(1 << 11);
    /// Client-local.
    pub const IGNORE_SIGPIPE: Self = Self(1 << 12);
    /// Status flags tell of transactions.
    pub const TRANSACTIONS: Self = Self(1 << 13);
    /// Formerly the mark of 4.1.
    pub const RESERVED: Self = Self(1 << 14);
    /// Authentication data with a length of one byte.
    pub const SECURE_CONNECTION: Self = Self(1 << 15);
    /// Several statements in one query.
    pub const MULTI_STATEMENTS: Self = Self(1 << 16);
    /// Several results of one query.
    pub const MULTI_RESULTS: Self = Self(1 << 17);
    /// Several results of one prepared statement.
    pub const PS_MULTI_RESULTS: Self = Self(1 << 18);
    /// Authentication plugins are named.
    pub const PLUGIN_AUTH: Self = Self(1 << 19);
    /// A login carries connection attributes.
    pub const CONNECT_ATTRS: Self = Self(1 << 20);
    /// Authentication data with a length-encoded length.
    pub const PLUGIN_AUTH_LENENC_CLIENT_DATA: Self = Self(1 << 21);
    /// A login with an expired password ends in a sandbox.
    pub const CAN_HANDLE_EXPIRED_PASSWORDS: Self = Self(1 << 22);
    /// OK packets tell of changes of the session's state.
    pub const SESSION_TRACK: Self = Self(1 << 23);
    /// Results end with an OK packet, and no EOF packet follows their columns.
    pub const DEPRECATE_EOF: Self = Self(1 << 24);
    /// Results may come without their columns.
    pub const OPTIONAL_RESULTSET_METADATA: Self = Self(1 << 25);
    /// zstd compression after login.
    pub const ZSTD_COMPRESSION_ALGORITHM: Self = Self(1 << 26);
    /// MySQL: queries carry attributes. OceanBase: Oracle mode.
    pub const QUERY_ATTRIBUTES: Self = Self(1 << 27);
    /// MySQL: up to three factors. OceanBase: hidden row ids.
    pub const MULTI_FACTOR_AUTHENTICATION: Self = Self(1 << 28);
    /// MySQL: reserved. OceanBase: locators of large objects. MariaDB before 10.2: progress
    /// reports.
    pub const CAPABILITY_EXTENSION: Self = Self(1 << 29);
    /// Client-local.
    pub const SSL_VERIFY_SERVER_CERT: Self = Self(1 << 30);
    /// Client-local.
    pub const REMEMBER_OPTIONS: Self = Self(1 << 31);
    /// Progress reports, which look like error packets of code 0xFFFF.
    pub const MARIADB_PROGRESS: Self = Self(1 << 32);
    /// Withdrawn.
    pub const MARIADB_COM_MULTI: Self = Self(1 << 33);
    /// COM_STMT_BULK_EXECUTE.
    pub const MARIADB_STMT_BULK_OPERATIONS: Self = Self(1 << 34);
    /// Columns carry extended types.
    pub const MARIADB_EXTENDED_METADATA: Self = Self(1 << 35);
    /// Results of prepared statements may come without their columns.
    pub const MARIADB_CACHE_METADATA: Self = Self(1 << 36);
    /// A result for each unit of a bulk operation.
    pub const MARIADB_BULK_UNIT_RESULTS: Self = Self(1 << 37);

    /// The flags with just these bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// All bits, named or not.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The 32 bits that every server and client knows.
    pub const fn low(self) -> u32 {
        self.0 as u32
    }

    /// MariaDB's 32 extended bits.
    pub const fn extended(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Joins the two halves. The extended one counts only where bit 0 is clear, MariaDB's mark for
    /// their being there.
    pub(super) const fn join(low: u32, extended: u32) -> Self {
        let low = low as u64;
        match low & Self::LONG_PASSWORD.0 {
            0 => Self(low | (extended as u64) << 32),
            _ => Self(low),
        }
    }

    /// True where every bit of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These and those of `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These without those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Capabilities {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.with(other)
    }
}

impl BitAnd for Capabilities {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// The names of the set bits, joined by `|`; what has no name is one hexadecimal number behind
/// them.
impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut unnamed = self.0;
        let mut separator = "";
        for (bit, name) in NAMES.iter().enumerate() {
            if self.0 & (1 << bit) == 0 {
                continue;
            }
            write!(f, "{separator}{name}")?;
            unnamed &= !(1 << bit);
            separator = "|";
        }
        match unnamed {
            0 => Ok(()),
            _ => write!(f, "{separator}{unnamed:#x}"),
        }
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Capabilities({self})")
    }
}

/// Whose dialect a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServerKind {
    /// MySQL, or what passes for it.
    MySql,
    /// MariaDB.
    MariaDb,
    /// OceanBase, seekdb or OBProxy.
    OceanBase,
}

impl ServerKind {
    /// Tells the servers apart by version, flags and plugin of their greeting, together.
    ///
    /// OceanBase poses as MySQL 5.7.25 (5.6.25 in older releases), names mysql_native_password
    /// only, and tracks session state, or has bits 28 and 29, without length-encoded authentication
    /// data: no MySQL that has one of the former lacks the latter.
    pub fn of(greeting: &Greeting<'_>) -> Self {
        let version = greeting.version;
        let flags = greeting.capabilities;
        if !flags.contains(Capabilities::LONG_PASSWORD) || contains(version, b"mariadb") {
            return Self::MariaDb;
        }
        if contains(version, b"oceanbase") {
            return Self::OceanBase;
        }
        let poses = version.starts_with(b"5.7.25") || version.starts_with(b"5.6.25");
        let later_flags = flags.contains(Capabilities::SESSION_TRACK)
            || flags.contains(OCEANBASE_ROWID_AND_LOB_LOCATOR);
        let lacks_lenenc = !flags.contains(Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA);
        let is_native = greeting.plugin == Some(b"mysql_native_password".as_slice());
        match poses && later_flags && lacks_lenenc && is_native {
            true => Self::OceanBase,
            false => Self::MySql,
        }
    }
}

/// True where `needle`, in lower case, occurs in `text` in any case.
fn contains(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len())
        .any(|window| window.eq_ignore_ascii_case(needle))
}

const OCEANBASE_ROWID_AND_LOB_LOCATOR: Capabilities =
    Capabilities::MULTI_FACTOR_AUTHENTICATION.with(Capabilities::CAPABILITY_EXTENSION);

const NAMES: [&str; 38] = [
    "LONG_PASSWORD",
    "FOUND_ROWS",
    "LONG_FLAG",
    "CONNECT_WITH_DB",
    "NO_SCHEMA",
    "COMPRESS",
    "ODBC",
    "LOCAL_FILES",
    "IGNORE_SPACE",
    "PROTOCOL_41",
    "INTERACTIVE",
    "SSL",
    "IGNORE_SIGPIPE",
    "TRANSACTIONS",
    "RESERVED",
    "SECURE_CONNECTION",
    "MULTI_STATEMENTS",
    "MULTI_RESULTS",
    "PS_MULTI_RESULTS",
    "PLUGIN_AUTH",
    "CONNECT_ATTRS",
    "PLUGIN_AUTH_LENENC_CLIENT_DATA",
    "CAN_HANDLE_EXPIRED_PASSWORDS",
    "SESSION_TRACK",
    "DEPRECATE_EOF",
    "OPTIONAL_RESULTSET_METADATA",
    "ZSTD_COMPRESSION_ALGORITHM",
    "QUERY_ATTRIBUTES",
    "MULTI_FACTOR_AUTHENTICATION",
    "CAPABILITY_EXTENSION",
    "SSL_VERIFY_SERVER_CERT",
    "REMEMBER_OPTIONS",
    "MARIADB_PROGRESS",
    "MARIADB_COM_MULTI",
    "MARIADB_STMT_BULK_OPERATIONS",
    "MARIADB_EXTENDED_METADATA",
    "MARIADB_CACHE_METADATA",
    "MARIADB_BULK_UNIT_RESULTS",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting(version: &'static str, flags: u64) -> Greeting<'static> {
        Greeting {
            version: version.as_bytes(),
            capabilities: Capabilities::from_bits(flags),
            plugin: Some(b"mysql_native_password"),
            ..Greeting::default()
        }
    }

    #[test]
    fn servers_are_told_apart() {
        for (version, flags, kind) in [
            (
                "5.5.5-10.11.19-MariaDB",
                0x1d_81bf_f7fe,
                ServerKind::MariaDb,
            ),
            ("11.4.2-MariaDB-log", 0x81bf_f7fe, ServerKind::MariaDb),
            ("8.0.36", 0xdfff_ffff, ServerKind::MySql),
            ("9.7.0", 0xdfff_ffff, ServerKind::MySql),
            ("5.7.25", 0xc1ff_ffff, ServerKind::MySql),
            ("5.6.25", 0x807f_ffff, ServerKind::MySql),
            ("5.7.25", 0x309c_ffdf, ServerKind::OceanBase),
            ("5.7.25", 0x309c_f7df, ServerKind::OceanBase),
            ("5.7.25", 0x009f_ffff, ServerKind::OceanBase),
            ("8.0.0-OceanBase-v4.4", 0x309c_ffdf, ServerKind::OceanBase),
        ] {
            assert_eq!(
                ServerKind::of(&greeting(version, flags)),
                kind,
                "{version} {flags:#x}"
            );
        }
    }

    #[test]
    fn names_and_unknown_bits_are_printed() {
        let flags =
            Capabilities::SSL | Capabilities::MARIADB_PROGRESS | Capabilities::from_bits(1 << 50);
        assert_eq!(flags.to_string(), "SSL|MARIADB_PROGRESS|0x4000000000000");
        assert_eq!(
            Capabilities::MARIADB_BULK_UNIT_RESULTS.to_string(),
            "MARIADB_BULK_UNIT_RESULTS"
        );
    }

    #[test]
    fn the_extended_half_counts_without_mysqls_mark_only() {
        assert_eq!(Capabilities::join(0x800, 0x1d).bits(), 0x1d_0000_0800);
        assert_eq!(Capabilities::join(0x801, 0x1d).bits(), 0x801);
    }
}
