use std::fmt;

use zeroize::Zeroizing;

use crate::error::Result;
use crate::wire::{Reader, Writer};

use super::capabilities::Capabilities;
use super::response::{Attributes, read_plugin, splice_user};
use super::violation::Violation;

/// A command, by the first byte of its packet. A byte without a name is a command as well, one that
/// is not known here.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Command(pub u8);

macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)+) => {
        impl Command {
            $($(#[$doc])* pub const $name: Self = Self($code);)+

            /// The name in capitals, as in `STMT_PREPARE`; `None` where the command is not known
            /// here.
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(stringify!($name)),)+
                    _ => None,
                }
            }
        }
    };
}

commands! {
    /// Ends the session, without an answer.
    QUIT = 0x01;
    /// Changes the database.
    INIT_DB = 0x02;
    /// SQL.
    QUERY = 0x03;
    /// Lists the columns of a table.
    FIELD_LIST = 0x04;
    /// Creates a database.
    CREATE_DB = 0x05;
    /// Drops a database.
    DROP_DB = 0x06;
    /// FLUSH of older days.
    REFRESH = 0x07;
    /// Shuts the server down.
    SHUTDOWN = 0x08;
    /// Asks for a line of text.
    STATISTICS = 0x09;
    /// SHOW PROCESSLIST of older days.
    PROCESS_INFO = 0x0a;
    /// Ends another session.
    PROCESS_KILL = 0x0c;
    /// Makes the server dump its state into its log.
    DEBUG = 0x0d;
    /// Asks for a sign of life.
    PING = 0x0e;
    /// Begins a new login in this session.
    CHANGE_USER = 0x11;
    /// Makes the server send its binary log.
    BINLOG_DUMP = 0x12;
    /// Introduces a replica.
    REGISTER_SLAVE = 0x15;
    /// Prepares a statement.
    STMT_PREPARE = 0x16;
    /// Runs a prepared statement.
    STMT_EXECUTE = 0x17;
    /// Sends a part of a parameter, without an answer.
    STMT_SEND_LONG_DATA = 0x18;
    /// Forgets a prepared statement, without an answer.
    STMT_CLOSE = 0x19;
    /// Drops the parameters and the cursor of a prepared statement.
    STMT_RESET = 0x1a;
    /// Allows or forbids several statements in one query.
    SET_OPTION = 0x1b;
    /// Fetches rows by a cursor.
    STMT_FETCH = 0x1c;
    /// BINLOG_DUMP by global transaction ids.
    BINLOG_DUMP_GTID = 0x1e;
    /// Makes the session as new, without a login.
    RESET_CONNECTION = 0x1f;
    /// MariaDB: runs a prepared statement for many sets of parameters.
    STMT_BULK_EXECUTE = 0xfa;
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `COM_QUERY`, or `command 0x2a`.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "COM_{name}"),
            None => write!(f, "command {:#04x}", self.0),
        }
    }
}

/// COM_CHANGE_USER: a new login inside of a session.
#[derive(Clone, PartialEq, Eq)]
pub struct ChangeUser<'a> {
    /// The account.
    pub user: &'a [u8],
    /// The answer to the nonce of the greeting, or of the last switch. It may be a password in
    /// clear.
    pub auth_response: &'a [u8],
    /// The database to use, empty for none.
    pub database: &'a [u8],
    /// The client's collation, where it tells.
    pub collation: Option<u16>,
    /// The plugin that made `auth_response`, where it tells.
    pub plugin: Option<&'a [u8]>,
    /// What the client tells about itself.
    pub attributes: Attributes<'a>,
}

impl<'a> ChangeUser<'a> {
    /// Reads the command's payload, its command byte included, by the capabilities of the session.
    ///
    /// # Errors
    ///
    /// Where it is another command or a field is not whole.
    pub fn parse(payload: &'a [u8], capabilities: Capabilities) -> Result<Self, Violation> {
        Self::read(&mut Reader::new(payload), capabilities).ok_or(MALFORMED)
    }

    /// The command's payload with another authentication response; every other byte stays.
    ///
    /// # Errors
    ///
    /// Where the payload is another command, or the response is longer than 255 bytes.
    pub fn with_auth_response(
        payload: &[u8],
        auth_response: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Violation> {
        splice(payload, auth_response).ok_or(MALFORMED)
    }

    /// The command's payload with another user; every other byte stays.
    ///
    /// # Errors
    ///
    /// Where the payload is another command.
    pub fn with_user(payload: &[u8], user: &[u8]) -> Result<Zeroizing<Vec<u8>>, Violation> {
        let mut reader = Reader::new(payload);
        match reader.u8().map(Command) {
            Some(Command::CHANGE_USER) => splice_user(payload, reader, user).ok_or(MALFORMED),
            _ => Err(MALFORMED),
        }
    }

    fn read(reader: &mut Reader<'a>, capabilities: Capabilities) -> Option<Self> {
        if Command(reader.u8()?) != Command::CHANGE_USER {
            return None;
        }
        let user = reader.nul_bytes()?;
        let auth_response = match capabilities.contains(Capabilities::SECURE_CONNECTION) {
            true => read_auth_response(reader)?,
            false => reader.nul_bytes()?,
        };
        let database = reader.nul_bytes()?;
        let collation = match reader.is_empty() {
            true => None,
            false => Some(reader.u16_le()?),
        };
        Some(Self {
            user,
            auth_response,
            database,
            collation,
            plugin: read_plugin(reader, capabilities)?,
            attributes: Attributes::read(reader, capabilities)?,
        })
    }
}

fn splice(payload: &[u8], auth_response: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut reader = Reader::new(payload);
    if Command(reader.u8()?) != Command::CHANGE_USER {
        return None;
    }
    reader.nul_bytes()?;
    let before = payload.get(..payload.len() - reader.len())?;
    read_auth_response(&mut reader)?;
    // Reserved once: growing would leave copies of a password behind in freed memory.
    let mut out = Zeroizing::new(Vec::with_capacity(payload.len() + auth_response.len()));
    let mut writer = Writer::new(&mut out);
    writer.bytes(before);
    writer.u8(u8::try_from(auth_response.len()).ok()?);
    writer.bytes(auth_response);
    writer.bytes(reader.rest());
    Some(out)
}

fn read_auth_response<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let len = reader.u8()?;
    reader.take(len.into())
}

/// Leaves the authentication response out, as it may be a password.
impl fmt::Debug for ChangeUser<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeUser")
            .field("user", &String::from_utf8_lossy(self.user))
            .field("database", &String::from_utf8_lossy(self.database))
            .finish_non_exhaustive()
    }
}

const MALFORMED: Violation = Violation::Malformed("a COM_CHANGE_USER");
