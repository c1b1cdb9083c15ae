use std::collections::VecDeque;

use super::capabilities::{Capabilities, ServerKind};
use super::command::Command;
use super::packet::{Header, PAYLOAD_LEN_MAX, PacketHead, Scanner};
use super::reply::{EOF_LEN_MAX, StatusFlags, ok_status};
use crate::limits::COMMANDS_IN_FLIGHT_MAX;
use crate::wire::Reader;

/// Follows the commands of a session through the headers and first bytes of its packets.
///
/// Both directions are fed to it in the order in which they were relayed, from behind the OK of the
/// login on. Where it cannot tell what a packet is, it says [`Activity::Unknown`] from then on, and
/// never again that the session is idle. Contents (rows, files, long data) are counted through and
/// not looked at.
#[derive(Debug)]
pub struct CommandTracker {
    capabilities: Capabilities,
    kind: ServerKind,
    client: Scanner<1>,
    server: Scanner<SERVER_FIRST_LEN>,
    upload: Upload,
    /// What the server has not answered in full, oldest first; `stage` is that of the first.
    in_flight: VecDeque<InFlight>,
    stage: Stage,
    commands: u64,
    status: StatusFlags,
    in_doubt: bool,
    has_quit: bool,
    is_lost: bool,
}

/// What goes on in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activity {
    /// Nothing: every command was answered, and both directions stand between two packets.
    Idle,
    /// A command is on its way, or its answer.
    InFlight,
    /// The client has said that it leaves.
    Leaving,
    /// It cannot be told.
    Unknown,
}

/// A command that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandStart {
    /// Which one.
    pub command: Command,
    /// The header of its packet.
    pub header: Header,
}

impl CommandTracker {
    /// Follows a session that uses `capabilities` (those of the greeting and of the login) and
    /// whose login ended with `status`.
    pub fn new(capabilities: Capabilities, kind: ServerKind, status: StatusFlags) -> Self {
        Self {
            capabilities,
            kind,
            client: Scanner::default(),
            server: Scanner::default(),
            upload: Upload::Commands,
            in_flight: VecDeque::new(),
            stage: Stage::Reply,
            commands: 0,
            status,
            in_doubt: false,
            has_quit: false,
            is_lost: false,
        }
    }

    /// Reads bytes of the client up to and including the first byte of the next command, and tells
    /// of it. The rest of the command's packet is still to be fed. `None` where `input` is used up.
    pub fn next_command(&mut self, input: &mut &[u8]) -> Option<CommandStart> {
        loop {
            if self.is_lost {
                *input = &[];
                return None;
            }
            let head = self.client.next(input)?;
            if let Some(start) = self.client_packet(&head) {
                return Some(start);
            }
        }
    }

    /// Reads bytes of the client.
    pub fn client(&mut self, mut input: &[u8]) {
        while self.next_command(&mut input).is_some() {}
    }

    /// Reads bytes of the server.
    pub fn server(&mut self, mut input: &[u8]) {
        while !self.is_lost
            && let Some(head) = self.server.next(&mut input)
        {
            self.server_packet(&head);
        }
    }

    /// What goes on.
    pub fn activity(&self) -> Activity {
        if self.is_lost {
            return Activity::Unknown;
        }
        if self.has_quit {
            return Activity::Leaving;
        }
        let is_idle = self.in_flight.is_empty()
            && self.upload == Upload::Commands
            && self.client.is_between_packets()
            && self.server.is_between_packets();
        match is_idle {
            true => Activity::Idle,
            false => Activity::InFlight,
        }
    }

    /// The server's status as it last told it.
    pub fn status(&self) -> StatusFlags {
        self.status
    }

    /// True where the session can be ended without loss: it is idle and no transaction is open. A
    /// statement that failed may have left one open without saying so (in a procedure), so after it
    /// this is false until the server tells its status again.
    pub fn is_safe_to_close(&self) -> bool {
        self.activity() == Activity::Idle
            && !self.in_doubt
            && !self.status.contains(StatusFlags::IN_TRANS)
    }

    /// Gives up: from now on it says [`Activity::Unknown`].
    pub fn lose(&mut self) {
        self.is_lost = true;
        self.in_flight = VecDeque::new();
    }

    fn client_packet(&mut self, head: &PacketHead<1>) -> Option<CommandStart> {
        match self.upload {
            Upload::Commands => return self.command(head),
            Upload::File => {
                if head.header.payload_len == 0 {
                    self.upload = Upload::Commands;
                }
            }
            Upload::Answer => self.upload = Upload::Nothing,
            // Whether the server takes it for an answer or for a command depends on what it says
            // next.
            Upload::Nothing => self.lose(),
            Upload::Acknowledgements => {}
        }
        None
    }

    fn command(&mut self, head: &PacketHead<1>) -> Option<CommandStart> {
        let &[byte] = head.first() else {
            self.lose();
            return None;
        };
        let command = Command(byte);
        self.commands += 1;
        match Reply::to(command) {
            None => self.lose(),
            Some(Reply::None) => self.has_quit |= command == Command::QUIT,
            Some(_) if self.in_flight.len() == COMMANDS_IN_FLIGHT_MAX => self.lose(),
            Some(reply) => self.expect(reply),
        }
        Some(CommandStart {
            command,
            header: head.header,
        })
    }

    fn expect(&mut self, reply: Reply) {
        self.upload = match reply {
            Reply::Login => Upload::Nothing,
            Reply::Stream => Upload::Acknowledgements,
            _ => Upload::Commands,
        };
        self.in_flight.push_back(InFlight {
            reply,
            ordinal: self.commands,
        });
        if self.in_flight.len() == 1 {
            self.stage = reply.first_stage();
        }
    }

    fn server_packet(&mut self, head: &ServerHead) {
        let Some(&InFlight { reply, .. }) = self.in_flight.front() else {
            // A server that ends an idle session says why in an error packet that nobody asked for.
            if head.first().first() != Some(&0xff) {
                self.lose();
            }
            return;
        };
        if self.is_progress_report(head) {
            return;
        }
        if reply == Reply::Line {
            return self.finish();
        }
        if head.first().first() == Some(&0xff) {
            self.in_doubt |= matches!(reply, Reply::Results { .. });
            return self.finish();
        }
        let is_expected = match self.stage {
            Stage::Reply => self.first_of_reply(head, reply),
            Stage::Definitions { left, group } => self.definition(head, left, group),
            Stage::DefinitionsEnd(group) => self.end_of_definitions(head, reply, group),
            Stage::Rows => self.row(head, reply),
        };
        if is_expected.is_none() {
            self.lose();
        }
    }

    fn first_of_reply(&mut self, head: &ServerHead, reply: Reply) -> Option<()> {
        match reply {
            Reply::Login => self.login_reply(head),
            Reply::Stream => {
                if self.is_end(head) {
                    self.conclude(head, reply)?;
                }
                Some(())
            }
            Reply::Prepared => self.prepared(head),
            Reply::Results { .. } => match head.first() {
                [0x00, ..] => self.conclude(head, reply),
                [0xfb, ..] => self.file_request(),
                _ if self.is_end(head) => self.conclude(head, reply),
                _ => self.column_count(head),
            },
            Reply::Simple => match head.first() {
                [0x00 | 0xfe, ..] => self.conclude(head, reply),
                _ => None,
            },
            Reply::None | Reply::Line | Reply::Rows => None,
        }
    }

    /// The server asks for a file, which the client sends in packets up to an empty one. Had it
    /// sent anything behind its query already, the server would take that for the file.
    fn file_request(&mut self) -> Option<()> {
        let newest = self.in_flight.front()?.ordinal == self.commands;
        if !newest || self.upload != Upload::Commands {
            return None;
        }
        self.upload = Upload::File;
        Some(())
    }

    fn column_count(&mut self, head: &ServerHead) -> Option<()> {
        let mut reader = Reader::new(head.first());
        let count = reader.lenenc().filter(|&count| count > 0)?;
        let may_be_left_out = Capabilities::OPTIONAL_RESULTSET_METADATA;
        let has_mark = self.uses(may_be_left_out)
            || self.kind == ServerKind::MariaDb && self.uses(Capabilities::MARIADB_CACHE_METADATA);
        let is_left_out = has_mark && reader.u8()? == 0;
        if !reader.is_empty() {
            return None;
        }
        match is_left_out {
            true => self.leave_definitions(Group::Result),
            false => self.enter_definitions(count, Group::Result),
        }
        Some(())
    }

    fn prepared(&mut self, head: &ServerHead) -> Option<()> {
        let mut reader = Reader::new(head.first());
        if reader.u8()? != 0x00 {
            return None;
        }
        reader.u32_le()?;
        let columns = reader.u16_le()?;
        let params = reader.u16_le()?;
        reader.take(3)?;
        let is_left_out =
            self.uses(Capabilities::OPTIONAL_RESULTSET_METADATA) && reader.u8() == Some(0);
        match is_left_out {
            true => self.finish(),
            false => self.enter_definitions(params.into(), Group::Parameters { columns }),
        }
        Some(())
    }

    /// Definitions of a statement come with an end only where there are any.
    fn enter_definitions(&mut self, left: u64, group: Group) {
        match left {
            0 => self.next_group(group),
            _ => self.stage = Stage::Definitions { left, group },
        }
    }

    fn definition(&mut self, head: &ServerHead, left: u64, group: Group) -> Option<()> {
        if self.is_end(head) {
            return None;
        }
        match left {
            0 | 1 => self.leave_definitions(group),
            _ => {
                self.stage = Stage::Definitions {
                    left: left - 1,
                    group,
                }
            }
        }
        Some(())
    }

    fn leave_definitions(&mut self, group: Group) {
        match self.uses(Capabilities::DEPRECATE_EOF) {
            true => self.next_group(group),
            false => self.stage = Stage::DefinitionsEnd(group),
        }
    }

    fn end_of_definitions(&mut self, head: &ServerHead, reply: Reply, group: Group) -> Option<()> {
        let status = self.end_status(head)?;
        let has_cursor = reply == (Reply::Results { by_cursor: true })
            && status.contains(StatusFlags::CURSOR_EXISTS);
        match has_cursor {
            true => self.conclude(head, reply)?,
            false => self.next_group(group),
        }
        Some(())
    }

    fn next_group(&mut self, group: Group) {
        match group {
            Group::Result => self.stage = Stage::Rows,
            Group::Parameters { columns } => {
                self.enter_definitions(columns.into(), Group::Columns);
            }
            Group::Columns => self.finish(),
        }
    }

    fn row(&mut self, head: &ServerHead, reply: Reply) -> Option<()> {
        match self.is_end(head) {
            true => self.conclude(head, reply),
            false => Some(()),
        }
    }

    /// One packet of the client answers each of the server, except the news that its proof was
    /// enough.
    fn login_reply(&mut self, head: &ServerHead) -> Option<()> {
        let is_escaping = self.kind == ServerKind::MariaDb;
        self.upload = match head.first() {
            [0x00, ..] => match ok_status(head.first()) {
                Some(status) => {
                    self.note(status);
                    self.finish();
                    Upload::Commands
                }
                None if is_escaping => Upload::Answer,
                None => return None,
            },
            [0x01, 0x03] => Upload::Nothing,
            [0x03] if is_escaping => Upload::Nothing,
            [0x01 | 0x02 | 0xfe, ..] => Upload::Answer,
            _ if is_escaping => Upload::Answer,
            _ => return None,
        };
        Some(())
    }

    /// The packet ends a result; the command ends with it unless more results follow.
    fn conclude(&mut self, head: &ServerHead, reply: Reply) -> Option<()> {
        let status = self.end_status(head)?;
        self.note(status);
        let has_more =
            matches!(reply, Reply::Results { .. }) && status.contains(StatusFlags::MORE_RESULTS);
        match has_more {
            true => self.stage = Stage::Reply,
            false => self.finish(),
        }
        Some(())
    }

    fn note(&mut self, status: StatusFlags) {
        self.status = status;
        self.in_doubt = false;
    }

    fn finish(&mut self) {
        if let Some(InFlight { reply, .. }) = self.in_flight.pop_front()
            && matches!(reply, Reply::Login | Reply::Stream)
        {
            self.upload = Upload::Commands;
        }
        if let Some(next) = self.in_flight.front() {
            self.stage = next.reply.first_stage();
        }
    }

    /// True for the packet that ends columns or rows. A row that begins like one is longer: its
    /// first value has at least 16 MiB.
    fn is_end(&self, head: &ServerHead) -> bool {
        let len = head.header.payload_len as usize;
        let len_max = match self.uses(Capabilities::DEPRECATE_EOF) {
            true => PAYLOAD_LEN_MAX,
            false => EOF_LEN_MAX,
        };
        head.first().first() == Some(&0xfe) && len < len_max
    }

    fn end_status(&self, head: &ServerHead) -> Option<StatusFlags> {
        match head.first() {
            &[0xfe, _, _, low, high] => {
                Some(StatusFlags::from_bits(u16::from_le_bytes([low, high])))
            }
            first => ok_status(first),
        }
    }

    /// MariaDB reports progress in packets that look like errors.
    fn is_progress_report(&self, head: &ServerHead) -> bool {
        let may_report = self.kind == ServerKind::MariaDb
            && (self.uses(Capabilities::MARIADB_PROGRESS)
                || self.uses(Capabilities::CAPABILITY_EXTENSION));
        may_report && head.first().starts_with(&[0xff, 0xff, 0xff])
    }

    fn uses(&self, flag: Capabilities) -> bool {
        self.capabilities.contains(flag)
    }
}

type ServerHead = PacketHead<SERVER_FIRST_LEN>;

/// What the client's next packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upload {
    Commands,
    /// Parts of a file, up to an empty packet.
    File,
    /// An answer to the authentication plugin.
    Answer,
    /// Nothing may come before the server has spoken.
    Nothing,
    /// A replica's.
    Acknowledgements,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    reply: Reply,
    /// The how manyeth command of the session it is.
    ordinal: u64,
}

/// How a command is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    /// Not at all.
    None,
    /// By OK, EOF or an error.
    Simple,
    /// By one packet of text, or an error.
    Line,
    /// By OK, or by results of columns and rows; with `by_cursor` the rows may have to be fetched.
    Results { by_cursor: bool },
    /// By rows alone.
    Rows,
    /// By a statement's id and definitions.
    Prepared,
    /// By packets without end.
    Stream,
    /// By a login's dialogue.
    Login,
}

impl Reply {
    /// `None` where the command is not known.
    fn to(command: Command) -> Option<Self> {
        Some(match command {
            Command::QUIT | Command::STMT_SEND_LONG_DATA | Command::STMT_CLOSE => Self::None,
            Command::QUERY | Command::PROCESS_INFO => Self::Results { by_cursor: false },
            Command::STMT_EXECUTE | Command::STMT_BULK_EXECUTE => Self::Results { by_cursor: true },
            Command::FIELD_LIST | Command::STMT_FETCH => Self::Rows,
            Command::STMT_PREPARE => Self::Prepared,
            Command::STATISTICS => Self::Line,
            Command::BINLOG_DUMP | Command::BINLOG_DUMP_GTID => Self::Stream,
            Command::CHANGE_USER => Self::Login,
            known => {
                known.name()?;
                Self::Simple
            }
        })
    }

    fn first_stage(self) -> Stage {
        match self {
            Self::Rows => Stage::Rows,
            _ => Stage::Reply,
        }
    }
}

/// How far the answer to the oldest command in flight has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Reply,
    Definitions { left: u64, group: Group },
    DefinitionsEnd(Group),
    Rows,
}

/// What is being defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    /// The columns of a result, before its rows.
    Result,
    /// The parameters of a statement, before its columns.
    Parameters { columns: u16 },
    /// The columns of a statement.
    Columns,
}

/// How much of a server's packet has to be seen, in bytes: an OK packet up to and including its
/// status (mark, two numbers of at most nine bytes, two bytes).
const SERVER_FIRST_LEN: usize = 21;
