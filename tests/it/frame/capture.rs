use sealwire::frame::mysql::{
    Capabilities, ErrPacket, FirstClientPacket, FirstServerPacket, Framing, Greeting,
    HandshakeResponse, LoginReply, PacketAssembler, ServerKind, StatusFlags, auth::Plugin,
};

/// A recorded session, read up to the end of its login.
pub(super) struct Capture {
    pub(super) name: &'static str,
    /// Payloads of the login, in their order.
    pub(super) login: Vec<(From, Vec<u8>)>,
    pub(super) kind: ServerKind,
    pub(super) capabilities: Capabilities,
    pub(super) framing: Framing,
    pub(super) status: StatusFlags,
    /// What follows, as it was read.
    pub(super) session: Vec<(From, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Client,
    Server,
}

impl Capture {
    pub(super) fn all() -> Vec<Self> {
        RECORDED
            .iter()
            .map(|&(name, text)| Self::read(name, text))
            .collect()
    }

    pub(super) fn named(name: &str) -> Self {
        let (name, text) = RECORDED
            .into_iter()
            .find(|(known, _)| *known == name)
            .expect("a recorded session");
        Self::read(name, text)
    }

    pub(super) fn greeting(&self) -> Greeting<'_> {
        match FirstServerPacket::parse(&self.login[0].1) {
            Ok(FirstServerPacket::Greeting(greeting)) => greeting,
            other => panic!("{}: {other:?}", self.name),
        }
    }

    pub(super) fn response(&self) -> HandshakeResponse<'_> {
        match FirstClientPacket::parse(&self.login[1].1) {
            Ok(FirstClientPacket::Login(response)) => response,
            other => panic!("{}: {other:?}", self.name),
        }
    }

    fn read(name: &'static str, text: &str) -> Self {
        let mut session: Vec<_> = text.lines().map(piece).collect();
        let mut this = Self {
            name,
            login: Vec::new(),
            kind: ServerKind::MySql,
            capabilities: Capabilities::default(),
            framing: Framing::Plain,
            status: StatusFlags::default(),
            session: Vec::new(),
        };
        while !this.has_logged_in() {
            let (from, bytes) = session.remove(0);
            let mut assembler = PacketAssembler::new(1 << 20);
            let mut input = &bytes[..];
            while !input.is_empty() && !this.has_logged_in() {
                let packet = assembler
                    .next(&mut input)
                    .ok()
                    .flatten()
                    .expect("a whole packet");
                assert_eq!(usize::from(packet.sequence), this.login.len());
                this.login.push((from, packet.payload.to_vec()));
            }
            assert!(input.is_empty(), "nothing behind the end of a login");
        }
        this.session = session;
        this
    }

    /// True where the last packet was the OK of the login; then all that it settled is known.
    fn has_logged_in(&mut self) -> bool {
        let Some((From::Server, last)) = self.login.last() else {
            return false;
        };
        if self.login.len() < 3 {
            return false;
        }
        let kind = ServerKind::of(&self.greeting());
        let capabilities = self.greeting().capabilities & self.response().capabilities;
        let plugin = self.response().plugin.map_or(Plugin::Native, Plugin::named);
        let ok = match LoginReply::parse(last, kind, plugin, capabilities) {
            Ok(LoginReply::Ok(ok)) => ok.status,
            Ok(LoginReply::Err(ErrPacket { .. })) | Err(_) => panic!("{}: {last:x?}", self.name),
            Ok(_) => return false,
        };
        self.framing = Framing::agreed(kind, capabilities, self.response().attributes);
        (self.kind, self.capabilities, self.status) = (kind, capabilities, ok);
        true
    }
}

fn piece(line: &str) -> (From, Vec<u8>) {
    let (from, hex) = line.split_once(' ').expect("a line of two words");
    let bytes = (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hexadecimal"))
        .collect();
    match from {
        "C" => (From::Client, bytes),
        "S" => (From::Server, bytes),
        _ => panic!("{line}"),
    }
}

macro_rules! recorded {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../../data/mysql/", $name, ".txt")))),+]
    };
}

const RECORDED: [(&str, &str); 13] = recorded![
    "mariadb-10.11-cli",
    "mariadb-10.11-cli-compressed",
    "mariadb-10.11-connector",
    "mariadb-10.11-tour",
    "mysql-9.7-cli-compressed",
    "mysql-9.7-cli-full-auth",
    "mysql-9.7-cli-sha256",
    "mysql-9.7-cli-zstd",
    "mysql-9.7-connector",
    "mysql-9.7-tour",
    "seekdb-1.3-cli",
    "seekdb-1.3-ob20",
    "seekdb-1.3-tour",
];
