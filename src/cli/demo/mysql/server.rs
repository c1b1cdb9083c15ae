use std::cell::Cell;
use std::time::Instant;

use super::sql::{self, Answer, Context};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::mysql::auth::{Credentials, Nonce, Plugin, PrivateKey, ServerAuth, ServerStep};
use crate::frame::mysql::{
    AuthSwitch, Capabilities, ColumnDefinition, Command, EofPacket, ErrPacket, Greeting,
    HandshakeResponse, LoginReply, OkPacket, Packet, PacketAssembler, Sequence, StatusFlags,
    write_packet, write_text_row,
};
use crate::limits::LOGIN_PACKET_LEN_MAX;
use crate::wire::Writer;

/// The accounts of the server: one for each plugin, with the same password.
pub(in super::super) struct Accounts {
    key: PrivateKey,
    credentials: Credentials,
    /// caching_sha2_password: the account has logged in with its password.
    is_cached: Cell<bool>,
    since: Instant,
}

impl Accounts {
    pub(in super::super) fn new(password: &[u8]) -> Result<Self> {
        Ok(Self {
            key: PrivateKey::generate()?,
            credentials: Credentials::of(password),
            is_cached: Cell::new(false),
            since: Instant::now(),
        })
    }

    /// The key that takes the passwords of clients without TLS.
    pub(in super::super) fn public_pem(&self) -> &str {
        self.key.public_pem()
    }

    fn plugin(user: &str) -> Option<Plugin> {
        match user {
            SHA2_USER => Some(Plugin::CachingSha2),
            NATIVE_USER => Some(Plugin::Native),
            _ => None,
        }
    }
}

/// A client's session, without its socket: [`Session::feed`] takes bytes, `out` has those that are
/// to go out.
pub(in super::super) struct Session<'a> {
    pub(in super::super) out: Vec<u8>,
    accounts: &'a Accounts,
    packets: PacketAssembler,
    sequence: Sequence,
    state: State<'a>,
    thread_id: u32,
    nonce: Nonce,
    user: String,
    database: Option<String>,
}

enum State<'a> {
    Greeted,
    Login(ServerAuth<'a>),
    Ready,
    Over,
}

impl<'a> Session<'a> {
    /// Greets.
    pub(in super::super) fn new(accounts: &'a Accounts, thread_id: u32) -> Result<Self> {
        let mut nonce = [0; size_of::<Nonce>()];
        aws_lc_rs::rand::fill(&mut nonce)
            .map_err(|_| Error::new(ErrorKind::Internal, "no random bytes"))?;
        // Clients take it for text that a NUL ends.
        nonce.iter_mut().for_each(|byte| *byte = b'!' + *byte % 94);
        let mut session = Self {
            out: Vec::new(),
            accounts,
            packets: PacketAssembler::new(LOGIN_PACKET_LEN_MAX),
            sequence: Sequence::default(),
            state: State::Greeted,
            thread_id,
            nonce,
            user: String::new(),
            database: None,
        };
        let greeting = Greeting {
            version: sql::VERSION.as_bytes(),
            thread_id,
            nonce,
            capabilities: CAPABILITIES,
            collation: COLLATION_UTF8MB4,
            status: StatusFlags::AUTOCOMMIT,
            plugin: Plugin::CachingSha2.name().map(str::as_bytes),
        };
        write_packet(&mut session.out, &mut session.sequence, |writer| {
            greeting.write(writer);
        });
        Ok(session)
    }

    /// Takes all of `bytes`.
    ///
    /// # Errors
    ///
    /// Where they are not MySQL: the connection is of no use then.
    pub(in super::super) fn feed(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !self.is_over() {
            let Some(Packet { sequence, payload }) = self.packets.next(&mut bytes)? else {
                return Ok(());
            };
            let payload = payload.to_vec();
            if matches!(self.state, State::Ready) {
                self.sequence = Sequence(0);
            }
            self.sequence.expect(sequence)?;
            self.take(&payload)?;
        }
        Ok(())
    }

    /// True where the connection is to be closed behind `out`.
    pub(in super::super) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    fn take(&mut self, payload: &[u8]) -> Result<()> {
        match &mut self.state {
            State::Greeted => self.begin_login(payload)?,
            State::Login(auth) => {
                let step = auth.judge(Some(&self.accounts.credentials), payload);
                self.follow(step);
            }
            State::Ready => self.command(payload),
            State::Over => {}
        }
        Ok(())
    }

    fn begin_login(&mut self, payload: &[u8]) -> Result<()> {
        let response = HandshakeResponse::parse(payload)?;
        self.user = String::from_utf8_lossy(response.user).into_owned();
        let database = response.database.filter(|name| !name.is_empty());
        self.database = database.map(|name| String::from_utf8_lossy(name).into_owned());
        let Some(plugin) = Accounts::plugin(&self.user) else {
            self.refuse();
            return Ok(());
        };
        let is_cached = self.accounts.is_cached.get();
        let key = &self.accounts.key;
        let mut auth = ServerAuth::new(plugin, self.nonce, false, is_cached, key);
        if response.plugin.map(Plugin::named) == Some(plugin) {
            let step = auth.judge(Some(&self.accounts.credentials), response.auth_response);
            self.state = State::Login(auth);
            self.follow(step);
            return Ok(());
        }
        self.state = State::Login(auth);
        let nonce = [&self.nonce[..], &[0]].concat();
        let switch = AuthSwitch {
            plugin: plugin.name().unwrap_or_default().as_bytes(),
            data: &nonce,
        };
        self.send(|writer| switch.write(writer));
        Ok(())
    }

    fn follow(&mut self, step: ServerStep) {
        match step {
            ServerStep::Ask(data) => {
                self.send(|writer| LoginReply::write_more_data(writer, &data));
            }
            ServerStep::AcceptAfter(data) => {
                self.send(|writer| LoginReply::write_more_data(writer, &data));
                self.accept();
            }
            ServerStep::Accept => self.accept(),
            ServerStep::Refuse => self.refuse(),
        }
    }

    fn accept(&mut self) {
        if self.user == SHA2_USER {
            self.accounts.is_cached.set(true);
        }
        self.state = State::Ready;
        self.ok();
    }

    fn refuse(&mut self) {
        self.state = State::Over;
        let text = format!("Access denied for user '{}'@'localhost'", self.user);
        self.error(1045, *b"28000", &text);
    }

    fn command(&mut self, payload: &[u8]) {
        let Some((code, rest)) = payload.split_first() else {
            return self.error(1047, *b"08S01", "Unknown command");
        };
        match Command(*code) {
            Command::QUIT => self.state = State::Over,
            Command::PING | Command::RESET_CONNECTION => self.ok(),
            Command::INIT_DB => {
                self.database = Some(String::from_utf8_lossy(rest).into_owned());
                self.ok();
            }
            Command::STATISTICS => {
                let uptime_s = self.accounts.since.elapsed().as_secs();
                let line = format!("Uptime: {uptime_s}  Threads: 1");
                self.send(|writer| writer.bytes(line.as_bytes()));
            }
            Command::QUERY => self.query(&String::from_utf8_lossy(rest)),
            other => self.error(1047, *b"08S01", &format!("{other} is not answered here")),
        }
    }

    fn query(&mut self, statement: &str) {
        let context = Context {
            user: &self.user,
            database: self.database.as_deref(),
            thread_id: self.thread_id,
        };
        match sql::answer(statement, &context) {
            Answer::Ok => self.ok(),
            Answer::Error {
                code,
                sql_state,
                message,
            } => self.error(code, sql_state, &message),
            Answer::Rows { columns, rows } => self.result(&columns, &rows),
        }
    }

    fn result(&mut self, columns: &[String], rows: &[Vec<Option<String>>]) {
        self.send(|writer| writer.lenenc(columns.len() as u64));
        for name in columns {
            self.send(|writer| ColumnDefinition::text(name.as_bytes()).write(writer));
        }
        let eof = EofPacket {
            warnings: 0,
            status: StatusFlags::AUTOCOMMIT,
        };
        self.send(|writer| eof.write(writer));
        for row in rows {
            let values = row.iter().map(|value| value.as_deref().map(str::as_bytes));
            self.send(|writer| write_text_row(writer, values));
        }
        self.send(|writer| eof.write(writer));
    }

    fn ok(&mut self) {
        self.send(|writer| OK.write(writer));
    }

    fn error(&mut self, code: u16, sql_state: [u8; 5], message: &str) {
        let packet = ErrPacket {
            code,
            sql_state: Some(sql_state),
            message: message.as_bytes(),
        };
        self.send(|writer| packet.write(writer));
    }

    fn send(&mut self, write: impl FnOnce(&mut Writer<'_>)) {
        write_packet(&mut self.out, &mut self.sequence, write);
    }
}

/// The account whose plugin is caching_sha2_password.
pub(in super::super) const SHA2_USER: &str = "demo";

/// The account whose plugin is mysql_native_password.
pub(in super::super) const NATIVE_USER: &str = "demo_native";

const OK: OkPacket<'_> = OkPacket {
    affected_rows: 0,
    last_insert_id: 0,
    status: StatusFlags::AUTOCOMMIT,
    warnings: 0,
    info: b"",
    session_state: None,
};

/// Without DEPRECATE_EOF every result ends in the one way that all clients know.
const CAPABILITIES: Capabilities = Capabilities::PROTOCOL_41
    .with(Capabilities::LONG_PASSWORD)
    .with(Capabilities::CONNECT_WITH_DB)
    .with(Capabilities::TRANSACTIONS)
    .with(Capabilities::SECURE_CONNECTION)
    .with(Capabilities::PLUGIN_AUTH)
    .with(Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA)
    .with(Capabilities::CONNECT_ATTRS);

/// utf8mb4_general_ci.
const COLLATION_UTF8MB4: u8 = 45;
