use crate::error::Result;

use super::capabilities::{Capabilities, ServerKind};
use super::compress::Inflater;
use super::ob20::Ob20Reader;
use super::packet::Partial;
use super::reply::StatusFlags;
use super::response::Attributes;
use super::tracker::{Activity, CommandStart, CommandTracker};
use super::violation::Violation;

/// Follows a session whatever its framing: takes the framing off and feeds what it carries to a
/// [`CommandTracker`].
///
/// It reads, and never changes or holds, what is relayed. A framing that is broken, or cannot be
/// read, makes it say [`Activity::Unknown`].
#[derive(Debug)]
pub struct SessionWatch {
    tracker: CommandTracker,
    client: Unframer,
    server: Unframer,
    /// The client's first bytes, until they show the framing.
    undecided: Option<Partial<UNDECIDED_LEN>>,
}

/// How packets travel behind a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// As they are.
    Plain,
    /// In MySQL's compressed frames of zlib streams.
    Zlib,
    /// In OceanBase's protocol 2.0, or as they are: the client's first command shows it.
    Ob20OrPlain,
    /// In a way that cannot be read here: zstd, or one that the two ends agree on by means of their
    /// own.
    Unreadable,
}

impl Framing {
    /// The framing of a session that uses `capabilities` (those of the greeting and of the login).
    ///
    /// To drivers of OceanBase that ask for it by a connection attribute, its servers speak
    /// protocol 2.0, or compressed frames for their checksum; whether they do is not told in
    /// capabilities.
    pub fn agreed(
        kind: ServerKind,
        capabilities: Capabilities,
        attributes: Attributes<'_>,
    ) -> Self {
        if kind == ServerKind::OceanBase
            && let Some(asked) = oceanbase_flags(attributes)
        {
            let is_open = asked & (OB_CAP_CHECKSUM | OB_CAP_PROTOCOL_V2_COMPRESS) != 0
                || capabilities.contains(Capabilities::COMPRESS);
            return match is_open {
                true => Self::Unreadable,
                false if asked & OB_CAP_PROTOCOL_V2 != 0 => Self::Ob20OrPlain,
                false => Self::Plain,
            };
        }
        if capabilities.contains(Capabilities::COMPRESS) {
            return Self::Zlib;
        }
        match capabilities.contains(Capabilities::ZSTD_COMPRESSION_ALGORITHM) {
            true => Self::Unreadable,
            false => Self::Plain,
        }
    }
}

impl SessionWatch {
    /// Follows a session from behind the OK of its login on; see [`CommandTracker::new`].
    pub fn new(
        kind: ServerKind,
        capabilities: Capabilities,
        framing: Framing,
        status: StatusFlags,
    ) -> Self {
        let mut tracker = CommandTracker::new(capabilities, kind, status);
        if framing == Framing::Unreadable {
            tracker.lose();
        }
        let unframer = || match framing {
            Framing::Zlib => Unframer::Zlib(Inflater::default()),
            _ => Unframer::Plain,
        };
        Self {
            tracker,
            client: unframer(),
            server: unframer(),
            undecided: (framing == Framing::Ob20OrPlain).then(Partial::default),
        }
    }

    /// Reads bytes of the client, before they are relayed, and tells of every command that begins
    /// in them.
    ///
    /// With the command comes what is at hand behind its first byte, out of its framing: the rest
    /// of its packet, or a part of it, and packets behind it. Where the framing is
    /// [`Framing::Plain`] these are the last bytes of `input`, so that the lengths of both tell
    /// where the command begins.
    pub fn client(&mut self, input: &[u8], mut on_command: impl FnMut(CommandStart, &[u8])) {
        if let Some(mut first) = self.undecided {
            let held = first;
            if !first.fill(UNDECIDED_LEN, &mut { input }) {
                self.undecided = Some(first);
                return;
            }
            self.undecided = None;
            // The last of these bytes is a command, or the zero that begins the length of an
            // uncompressed frame's content; command zero, COM_SLEEP, is never sent.
            if let [.., 0] = first.bytes() {
                self.client = Unframer::Ob20(Ob20Reader::default());
                self.server = Unframer::Ob20(Ob20Reader::default());
            }
            self.read_client(held.bytes(), &mut on_command);
        }
        self.read_client(input, &mut on_command);
    }

    /// Reads bytes of the server.
    pub fn server(&mut self, mut input: &[u8]) {
        loop {
            match self.server.next(&mut input) {
                Ok(Some(piece)) => self.tracker.server(piece),
                Ok(None) => return,
                Err(_) => return self.tracker.lose(),
            }
        }
    }

    /// What goes on.
    pub fn activity(&self) -> Activity {
        let activity = self.tracker.activity();
        match self.is_between_frames() || activity != Activity::Idle {
            true => activity,
            false => Activity::InFlight,
        }
    }

    /// True where the session can be ended without loss; see [`CommandTracker::is_safe_to_close`].
    pub fn is_safe_to_close(&self) -> bool {
        self.is_between_frames() && self.tracker.is_safe_to_close()
    }

    /// The server's status as it last told it.
    pub fn status(&self) -> StatusFlags {
        self.tracker.status()
    }

    fn read_client(&mut self, mut input: &[u8], on_command: &mut impl FnMut(CommandStart, &[u8])) {
        loop {
            match self.client.next(&mut input) {
                Ok(Some(mut piece)) => {
                    while let Some(start) = self.tracker.next_command(&mut piece) {
                        on_command(start, piece);
                    }
                }
                Ok(None) => return,
                Err(_) => return self.tracker.lose(),
            }
        }
    }

    fn is_between_frames(&self) -> bool {
        let is_undecided = self
            .undecided
            .is_some_and(|first| !first.bytes().is_empty());
        !is_undecided && self.client.is_between_frames() && self.server.is_between_frames()
    }
}

/// The framing of one direction.
#[derive(Debug)]
enum Unframer {
    Plain,
    Zlib(Inflater),
    Ob20(Ob20Reader),
}

impl Unframer {
    fn next<'b, 'a: 'b>(&'b mut self, input: &mut &'a [u8]) -> Result<Option<&'b [u8]>, Violation> {
        match self {
            Self::Plain => {
                let all = std::mem::take(input);
                Ok((!all.is_empty()).then_some(all))
            }
            Self::Zlib(inflater) => inflater.next(input),
            Self::Ob20(reader) => reader.next(input),
        }
    }

    fn is_between_frames(&self) -> bool {
        match self {
            Self::Plain => true,
            Self::Zlib(inflater) => inflater.is_between_frames(),
            Self::Ob20(reader) => reader.is_between_frames(),
        }
    }
}

/// What a driver of OceanBase asks for, `None` where it is no such driver.
fn oceanbase_flags(attributes: Attributes<'_>) -> Option<u64> {
    let kind = attributes.find(b"__mysql_client_type")?;
    let flags = attributes.find(b"__proxy_capability_flag").unwrap_or(b"0");
    if !OCEANBASE_CLIENTS.contains(&kind) {
        return None;
    }
    // What is no number may be one to the server: then everything is open.
    let number = std::str::from_utf8(flags)
        .ok()
        .and_then(|text| text.parse().ok());
    Some(number.unwrap_or(u64::MAX))
}

const OCEANBASE_CLIENTS: [&[u8]; 4] = [
    b"__ob_proxy",
    b"__ob_java_client",
    b"__ob_libobclient",
    b"__ob_jdbc_client",
];

const OB_CAP_CHECKSUM: u64 = 1 << 3;
const OB_CAP_PROTOCOL_V2: u64 = 1 << 8;
const OB_CAP_PROTOCOL_V2_COMPRESS: u64 = 1 << 22;

/// How many bytes of a client's first command show its framing.
const UNDECIDED_LEN: usize = 5;
