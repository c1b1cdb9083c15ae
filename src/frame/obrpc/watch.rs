use std::collections::HashSet;

use crate::limits;

use super::easy::EASY_PREAMBLE_LEN;
use super::first_bytes::FirstBytes;
use super::flags::Flags;
use super::net::{FrameKind, NET_HEADER_LEN, NetHeader};
use super::pcode::Pcode;
use super::violation::Violation;

/// Follows the calls of a connection that passes through: reads the headers of what both ends send
/// and counts through the rest, so that it is known when no call is under way.
///
/// It never changes or holds what passes. Where the stream is none of calls, or cannot be read, it
/// says [`CallActivity::Unknown`] from then on.
#[derive(Debug)]
pub struct CallWatch {
    client: HeadReader,
    server: HeadReader,
    /// Channels of calls that are not answered.
    open: HashSet<u32>,
    /// Streams whose next part nobody has asked for yet.
    streams: usize,
    is_readable: bool,
}

/// What goes on in a connection of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallActivity {
    /// No call is under way, and neither end is in the midst of a packet.
    Idle,
    /// A call is under way.
    InFlight,
    /// It cannot be told.
    Unknown,
}

/// The beginning of a request, as it passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallStart {
    /// The channel, which its answer repeats.
    pub chid: u32,
    /// What is called; `None` where the packet is too short to say.
    pub pcode: Option<Pcode>,
}

impl CallWatch {
    /// Follows a connection that begins with `first`.
    pub fn new(first: FirstBytes) -> Self {
        let preamble_len = match first {
            FirstBytes::EasyRpc(_) => EASY_PREAMBLE_LEN,
            _ => 0,
        };
        Self {
            client: HeadReader::behind(preamble_len),
            server: HeadReader::behind(0),
            open: HashSet::new(),
            streams: 0,
            is_readable: !matches!(
                first,
                FirstBytes::NetKeepalive | FirstBytes::Http2 | FirstBytes::Unknown
            ),
        }
    }

    /// Takes bytes that the client has sent, and tells `on_call` of every request that begins in
    /// them.
    pub fn client(&mut self, bytes: &[u8], mut on_call: impl FnMut(CallStart)) {
        let mut rest = bytes;
        while self.is_readable {
            match self.client.next(&mut rest) {
                Ok(Some(head)) => {
                    on_call(CallStart {
                        chid: head.chid,
                        pcode: head.pcode,
                    });
                    self.called(head);
                }
                Ok(None) => break,
                Err(_) => self.is_readable = false,
            }
        }
    }

    /// Takes bytes that the server has sent.
    pub fn server(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while self.is_readable {
            match self.server.next(&mut rest) {
                Ok(Some(head)) => self.answered(head),
                Ok(None) => break,
                Err(_) => self.is_readable = false,
            }
        }
    }

    /// What goes on.
    pub fn activity(&self) -> CallActivity {
        let is_between = self.client.is_between() && self.server.is_between();
        match (self.is_readable, self.open.len() + self.streams) {
            (false, _) => CallActivity::Unknown,
            (true, 0) if is_between => CallActivity::Idle,
            (true, _) => CallActivity::InFlight,
        }
    }

    fn called(&mut self, head: Head) {
        let flags = head.flags;
        if flags.contains(Flags::STREAM) {
            self.streams = self.streams.saturating_sub(1);
        }
        // Whoever gives a stream up waits for no answer.
        let is_abort = flags.contains(Flags::STREAM) && flags.contains(Flags::STREAM_LAST);
        if flags.contains(Flags::UNNEED_RESPONSE) || is_abort {
            return;
        }
        self.open.insert(head.chid);
        self.is_readable = self.open.len() <= limits::RPC_CALLS_FOLLOWED_MAX;
    }

    fn answered(&mut self, head: Head) {
        let flags = head.flags;
        let is_known = self.open.remove(&head.chid);
        if is_known && flags.contains(Flags::STREAM) && !flags.contains(Flags::STREAM_LAST) {
            self.streams += 1;
        }
    }
}

/// What of a packet is needed to follow it.
#[derive(Clone, Copy)]
struct Head {
    chid: u32,
    pcode: Option<Pcode>,
    flags: Flags,
}

/// Reads the front of every packet of one direction.
#[derive(Debug)]
struct HeadReader {
    head: [u8; HEAD_LEN],
    head_len: usize,
    /// Bytes that pass unread.
    skip: usize,
}

impl HeadReader {
    fn behind(skip: usize) -> Self {
        Self {
            head: [0; HEAD_LEN],
            head_len: 0,
            skip,
        }
    }

    fn is_between(&self) -> bool {
        self.head_len == 0 && self.skip == 0
    }

    /// The next head, which `bytes` are used up to; `None` where they are used up without one.
    fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Head>, Violation> {
        loop {
            let (skipped, rest) = bytes.split_at(self.skip.min(bytes.len()));
            self.skip -= skipped.len();
            *bytes = rest;
            if rest.is_empty() || !self.fill(NET_HEADER_LEN, bytes) {
                return Ok(None);
            }
            let net = self.head.first_chunk().copied().unwrap_or_default();
            let net = NetHeader::decode(net, limits::RPC_PACKET_LEN_WIRE_MAX)?;
            let payload_len = net.payload_len as usize;
            let rpc_len = payload_len.min(HEAD_LEN - NET_HEADER_LEN);
            if !self.fill(NET_HEADER_LEN + rpc_len, bytes) {
                return Ok(None);
            }
            self.head_len = 0;
            self.skip = payload_len - rpc_len;
            if net.kind == FrameKind::Rpc {
                return Ok(Some(self.head(net.chid, rpc_len)));
            }
        }
    }

    fn head(&self, chid: u32, rpc_len: usize) -> Head {
        let [.., a, b, c, d, _, _, e, f] = self.head;
        let is_whole = rpc_len == HEAD_LEN - NET_HEADER_LEN;
        Head {
            chid,
            pcode: (rpc_len >= PCODE_LEN).then(|| Pcode(u32::from_be_bytes([a, b, c, d]))),
            flags: match is_whole {
                true => Flags(u16::from_be_bytes([e, f])),
                false => Flags::default(),
            },
        }
    }

    fn fill(&mut self, len: usize, bytes: &mut &[u8]) -> bool {
        let wanted = len.saturating_sub(self.head_len).min(bytes.len());
        let (piece, rest) = bytes.split_at(wanted);
        let free = self.head.iter_mut().skip(self.head_len);
        free.zip(piece).for_each(|(byte, new)| *byte = *new);
        self.head_len += wanted;
        *bytes = rest;
        self.head_len >= len
    }
}

const PCODE_LEN: usize = 4;

/// The net header, then the pcode, the header's length, the priority and the flags.
const HEAD_LEN: usize = NET_HEADER_LEN + 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::obrpc::{EasyChannel, EasyPreamble, RpcHeader, write_packet};

    const CALL: FirstBytes = FirstBytes::ObRpc {
        chid: 1,
        pcode: None,
    };

    fn request(chid: u32, pcode: Pcode, flags: Flags, payload_len: usize) -> Vec<u8> {
        let header = RpcHeader {
            pcode,
            flags,
            ..RpcHeader::default()
        };
        let mut out = Vec::new();
        write_packet(&mut out, chid, &header, |w| w.bytes(&vec![7; payload_len])).unwrap();
        out
    }

    fn response(chid: u32, flags: Flags) -> Vec<u8> {
        let header = RpcHeader {
            flags: flags | Flags::RESPONSE,
            ..RpcHeader::default()
        };
        let mut out = Vec::new();
        write_packet(&mut out, chid, &header, |w| w.bytes(b"result")).unwrap();
        out
    }

    fn none() -> Flags {
        Flags::default()
    }

    /// The states behind every single byte are those behind whole packets: none of them is idle in
    /// the midst of one.
    #[test]
    fn a_call_is_under_way_from_its_first_byte_to_the_last_one_of_its_answer() {
        let (call, answer) = (request(9, Pcode(0x106), none(), 300), response(9, none()));
        let mut watch = CallWatch::new(CALL);
        assert_eq!(watch.activity(), CallActivity::Idle);
        let mut starts = Vec::new();
        for byte in &call {
            watch.client(&[*byte], |start| starts.push(start));
            assert_eq!(watch.activity(), CallActivity::InFlight);
        }
        let pcode = Some(Pcode(0x106));
        assert_eq!(starts, [CallStart { chid: 9, pcode }]);
        for (at, byte) in answer.iter().enumerate() {
            assert_eq!(watch.activity(), CallActivity::InFlight, "{at}");
            watch.server(&[*byte]);
        }
        assert_eq!(watch.activity(), CallActivity::Idle);
    }

    #[test]
    fn calls_are_matched_by_channel_and_those_without_an_answer_are_over_at_once() {
        let mut watch = CallWatch::new(CALL);
        let calls = [
            request(1, Pcode(1), none(), 0),
            request(2, Pcode(2), Flags::UNNEED_RESPONSE, 5),
            request(3, Pcode(3), none(), 70_000),
        ];
        let mut chids = Vec::new();
        watch.client(&calls.concat(), |start| chids.push(start.chid));
        assert_eq!(chids, [1, 2, 3]);
        watch.server(&response(3, none()));
        watch.server(&response(77, none()));
        assert_eq!(watch.activity(), CallActivity::InFlight);
        watch.server(&response(1, none()));
        assert_eq!(watch.activity(), CallActivity::Idle);
    }

    #[test]
    fn a_stream_is_under_way_between_its_parts() {
        let last = Flags::STREAM | Flags::STREAM_LAST;
        for (end, is_abort) in [(none(), false), (last, true)] {
            let mut watch = CallWatch::new(CALL);
            watch.client(&request(1, Pcode(3), none(), 0), |_| {});
            watch.server(&response(1, Flags::STREAM));
            assert_eq!(watch.activity(), CallActivity::InFlight);
            watch.client(&request(2, Pcode(3), Flags::STREAM | end, 0), |_| {});
            if !is_abort {
                assert_eq!(watch.activity(), CallActivity::InFlight);
                watch.server(&response(2, last));
            }
            assert_eq!(watch.activity(), CallActivity::Idle);
        }
    }

    #[test]
    fn the_preamble_of_libeasy_and_its_keepalives_are_passed_over() {
        let channel = EasyChannel::Rpc;
        let mut stream = EasyPreamble { channel, thread: 1 }.encode();
        stream.extend([0x48, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0]);
        stream.extend(request(5, Pcode(1), none(), 3));
        for cut in 0..stream.len() {
            let mut watch = CallWatch::new(FirstBytes::EasyRpc(channel));
            let mut chids = Vec::new();
            for piece in [&stream[..cut], &stream[cut..]] {
                watch.client(piece, |start| chids.push(start.chid));
            }
            assert_eq!(chids, [5], "{cut}");
            watch.server(&response(5, none()));
            assert_eq!(watch.activity(), CallActivity::Idle, "{cut}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_unknown_for_good() {
        for first in [
            FirstBytes::NetKeepalive,
            FirstBytes::Http2,
            FirstBytes::Unknown,
        ] {
            assert_eq!(CallWatch::new(first).activity(), CallActivity::Unknown);
        }
        let mut watch = CallWatch::new(CALL);
        watch.client(b"GET / HTTP/1.1\r\n\r\n", |_| panic!("a request"));
        assert_eq!(watch.activity(), CallActivity::Unknown);
        watch.client(&request(1, Pcode(1), none(), 0), |_| panic!("a request"));
        assert_eq!(watch.activity(), CallActivity::Unknown);
    }

    #[test]
    fn a_client_that_waits_for_no_answer_does_not_make_it_grow() {
        let mut watch = CallWatch::new(CALL);
        for chid in 0..=limits::RPC_CALLS_FOLLOWED_MAX as u32 {
            watch.client(&request(chid, Pcode(1), none(), 0), |_| {});
        }
        assert_eq!(watch.activity(), CallActivity::Unknown);
        assert!(watch.open.len() <= limits::RPC_CALLS_FOLLOWED_MAX + 1);
    }
}
