use std::collections::VecDeque;
use std::sync::Arc;

use super::talk::{Happening, Talk};
use crate::cli::login::{Account, Login, Step};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::mysql::{PacketAssembler, Scanner, Sequence, SslRequest, write_packet};
use crate::limits::LOGIN_PACKET_LEN_MAX;
use crate::time::{Monotonic, Now};

/// A statement as it is sent, again and again.
#[derive(Clone)]
pub(super) struct Statement(Arc<[u8]>);

/// A session that executes one statement, any number of times at once.
pub(super) struct Session<'a> {
    statement: Statement,
    /// Up to its end.
    login: Option<LoginTalk<'a>>,
    results: Scanner<ERR_HEAD_LEN>,
    place: Place,
    waiting: VecDeque<Monotonic>,
}

struct LoginTalk<'a> {
    login: Login<'a>,
    packets: PacketAssembler,
    sequence: Sequence,
}

/// Where in a result the server is.
#[derive(Clone, Copy)]
enum Place {
    /// Before its first packet.
    Start,
    Columns,
    Rows,
}

impl Statement {
    pub(super) fn new(text: &[u8]) -> Self {
        let mut packets = Vec::new();
        write_packet(&mut packets, &mut Sequence(0), |writer| {
            writer.u8(COM_QUERY);
            writer.bytes(text);
        });
        Self(packets.into())
    }
}

impl<'a> Session<'a> {
    pub(super) fn new(account: &'a Account, is_secure: bool, statement: &Statement) -> Self {
        Self {
            statement: statement.clone(),
            login: Some(LoginTalk {
                login: Login::new(account, is_secure),
                packets: PacketAssembler::new(LOGIN_PACKET_LEN_MAX),
                sequence: Sequence::default(),
            }),
            results: Scanner::default(),
            place: Place::Start,
            waiting: VecDeque::new(),
        }
    }

    /// Reads on in the results; the end of one, with the words of a refusal.
    fn result(&mut self, input: &mut &[u8]) -> Result<Option<Option<String>>> {
        while let Some(head) = self.results.next(input) {
            let is_eof = head.header.payload_len < EOF_LEN_LIMIT;
            match (self.place, head.first()) {
                (_, [0xff, rest @ ..]) => {
                    self.place = Place::Start;
                    return Ok(Some(Some(refusal(rest))));
                }
                (Place::Start, [0x00, ..]) => return Ok(Some(None)),
                (Place::Start, [0xfb, ..]) => {
                    let text = "the statement asks for a file of this machine";
                    return Err(Error::new(ErrorKind::Protocol, text));
                }
                (Place::Start, _) => self.place = Place::Columns,
                (Place::Columns, [0xfe, ..]) if is_eof => self.place = Place::Rows,
                (Place::Rows, [0xfe, ..]) if is_eof => {
                    self.place = Place::Start;
                    return Ok(Some(None));
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

impl LoginTalk<'_> {
    /// Takes the next packet, where it is whole.
    fn receive(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<Option<Happening>> {
        let Some(packet) = self.packets.next(input)? else {
            return Ok(None);
        };
        self.sequence.expect(packet.sequence)?;
        match self.login.take(packet.payload)? {
            Step::Wait => {}
            Step::Send(payload) => {
                write_packet(out, &mut self.sequence, |writer| writer.bytes(&payload));
            }
            Step::StartTls(payload) => {
                let request = SslRequest::before(&payload)?;
                write_packet(out, &mut self.sequence, |writer| writer.bytes(&request));
                let mut login = Vec::new();
                write_packet(&mut login, &mut self.sequence, |w| w.bytes(&payload));
                return Ok(Some(Happening::StartTls(login)));
            }
            Step::Done => return Ok(Some(Happening::Ready)),
        }
        Ok(None)
    }
}

impl Talk for Session<'_> {
    fn receive(
        &mut self,
        _: Now,
        input: &mut &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Happening>> {
        if let Some(login) = &mut self.login {
            let happening = login.receive(input, out)?;
            if matches!(happening, Some(Happening::Ready)) {
                self.login = None;
            }
            return Ok(happening);
        }
        let Some(refusal) = self.result(input)? else {
            return Ok(None);
        };
        let due = self.waiting.pop_front().ok_or_else(|| {
            Error::new(ErrorKind::Protocol, "the server answers what nobody asked")
        })?;
        Ok(Some(Happening::Answered(due, refusal)))
    }

    fn request(&mut self, _: Now, due: Monotonic, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(&self.statement.0);
        self.waiting.push_back(due);
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.login.is_none()
    }

    fn in_flight(&self) -> usize {
        self.waiting.len()
    }
}

/// Code and state of an ERR packet behind its mark. Its message may differ from one to the next.
fn refusal(rest: &[u8]) -> String {
    match rest {
        [low, high, b'#', state @ ..] => {
            let code = u16::from_le_bytes([*low, *high]);
            format!("ERROR {code} ({})", String::from_utf8_lossy(state))
        }
        [low, high, ..] => format!("ERROR {}", u16::from_le_bytes([*low, *high])),
        _ => "an ERR packet without a code".into(),
    }
}

const COM_QUERY: u8 = 3;

/// The mark, the code, and the state behind its own mark.
const ERR_HEAD_LEN: usize = 9;

/// A longer packet that begins like an EOF packet is a row.
const EOF_LEN_LIMIT: u32 = 9;

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn packets(payloads: &[&[u8]]) -> Vec<u8> {
        let (mut bytes, mut sequence) = (Vec::new(), Sequence(1));
        for payload in payloads {
            write_packet(&mut bytes, &mut sequence, |writer| writer.bytes(payload));
        }
        bytes
    }

    #[test]
    fn each_result_ends_where_it_ends() {
        let account = Account {
            user: "u".into(),
            password: Zeroizing::default(),
            server_public_key: None,
        };
        let mut session = Session::new(&account, false, &Statement::new(b"DO 1"));
        session.login = None;
        let (now, mut out) = (Now::default(), Vec::new());
        for due in 1..=4 {
            let due = Monotonic::from_ns(due);
            session.request(now, due, &mut out).unwrap();
        }
        let eof = &[0xfe, 0, 0, 2, 0][..];
        let long_row = &[0xfe, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0][..];
        let rows = packets(&[b"\x01", b"\x03def", eof, b"\x00", long_row, b"\x01a", eof]);
        let done = packets(&[b"\0\0\0\x02\0\0\0"]);
        let refused = packets(&[b"\xff\x28\x04#42000syntax"]);
        let killed = packets(&[b"\x01", b"\x03def", eof, b"\xff\x25\x05#70100killed"]);
        let stream = [rows, done, refused, killed].concat();
        let mut answers = Vec::new();
        for byte in stream {
            let mut input = &[byte][..];
            while let Some(Happening::Answered(due, refusal)) =
                session.receive(now, &mut input, &mut out).unwrap()
            {
                answers.push((due.as_ns(), refusal));
            }
        }
        let state = |text: &str| Some(text.to_owned());
        let expected = [
            (1, None),
            (2, None),
            (3, state("ERROR 1064 (42000)")),
            (4, state("ERROR 1317 (70100)")),
        ];
        assert_eq!(answers, expected);
    }
}
