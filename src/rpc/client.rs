use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::outbox::Outbox;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::obrpc::{
    Flags, Frame, FrameKind, Packet, PacketDecoder, Pcode, ResultCode, RpcHeader, Violation,
    read_response, write_packet,
};
use crate::limits;
use crate::time::{Monotonic, Now};
use crate::wire::Writer;

/// The client end of calls on one connection.
#[derive(Debug)]
pub struct Client {
    limits: ClientLimits,
    decoder: PacketDecoder,
    outbox: Outbox,
    /// Calls that wait for an answer, by channel.
    waiting: HashMap<u32, Waiting>,
    /// The channel of every call that is not over, and of every stream between two parts.
    calls: HashMap<CallId, Progress>,
    deadlines: BTreeSet<(Monotonic, CallId)>,
    /// The channel of the latest call.
    pub(super) chid: u32,
    next_id: u64,
    unmatched: u64,
}

/// Bounds of a client.
#[derive(Clone, Copy, Debug)]
pub struct ClientLimits {
    /// Calls that are not over.
    pub calls_max: usize,
    /// Bytes that wait to be taken by the connection, from which on no call is taken.
    pub outbox_len_high: usize,
    /// A packet, and its content once inflated, in bytes.
    pub packet_len_max: usize,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            calls_max: limits::RPC_CALLS_MAX,
            outbox_len_high: limits::SEND_QUEUE_LEN_HIGH,
            packet_len_max: limits::RPC_PACKET_LEN_MAX,
        }
    }
}

/// One call of a client. An id is never used for a second one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(u64);

impl CallId {
    /// The number of a call, for callers that can keep numbers only; never zero.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The call of that number, of whichever client.
    pub fn from_number(number: u64) -> Self {
        Self(number)
    }
}

/// What is called.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The header: what is called, for which tenant, with which priority. Its times are filled in.
    pub header: RpcHeader,
    /// How long the answer is waited for; each part of a stream anew.
    pub timeout: Duration,
}

/// An answer.
#[derive(Debug)]
pub struct Reply<'a> {
    /// The call that is answered.
    pub id: CallId,
    /// The header of the answer.
    pub header: RpcHeader,
    /// How it went.
    pub rcode: ResultCode,
    /// The result.
    pub result: Cow<'a, [u8]>,
    /// True where more parts follow, for which [`Client::next_part`] or [`Client::cancel`] is due.
    /// Otherwise the call is over.
    pub has_more: bool,
}

#[derive(Debug)]
struct Waiting {
    id: CallId,
    pcode: Pcode,
}

#[derive(Debug)]
struct Progress {
    call: Call,
    state: State,
    deadline: Monotonic,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// An answer is due on this channel.
    Asked(u32),
    /// A stream of this session waits for the application.
    Between(u64),
}

impl Client {
    /// A client on a connection that is in use.
    pub fn new(limits: ClientLimits) -> Self {
        Self {
            limits,
            decoder: PacketDecoder::new(limits.packet_len_max),
            outbox: Outbox::default(),
            waiting: HashMap::new(),
            calls: HashMap::new(),
            deadlines: BTreeSet::new(),
            chid: 0,
            next_id: 1,
            unmatched: 0,
        }
    }

    /// Makes a call with the arguments that `write` writes. One that asks for no answer is over at
    /// once.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Limit`] where as many calls as are allowed are not over, where too many bytes
    /// wait to be taken by the connection, or where the arguments are longer than the wire allows.
    /// Nothing was sent then.
    pub fn call(
        &mut self,
        now: Now,
        call: &Call,
        write: impl FnOnce(&mut Writer<'_>),
    ) -> Result<CallId> {
        if !self.is_writable() {
            let text = format!(
                "{} calls are not over and {} bytes wait to be sent",
                self.calls.len(),
                self.outbox.len()
            );
            return Err(Error::new(ErrorKind::Limit, text));
        }
        let id = CallId(self.next_id);
        let chid = self.send(now, call, call.header, write)?;
        self.next_id += 1;
        if !call.header.flags.contains(Flags::UNNEED_RESPONSE) {
            self.expect(now, id, *call, chid);
        }
        Ok(id)
    }

    /// True where [`Client::call`] takes one more.
    pub fn is_writable(&self) -> bool {
        self.calls.len() < self.limits.calls_max && self.outbox.len() < self.limits.outbox_len_high
    }

    /// Asks for the next part of a stream.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misuse`] where the call is no stream that waits for that.
    pub fn next_part(&mut self, now: Now, id: CallId) -> Result<()> {
        let Some((call, session_id)) = self.between(id) else {
            return Err(Error::new(ErrorKind::Misuse, "no stream that has more"));
        };
        let header = continued(&call, session_id, Flags::STREAM);
        let chid = self.send(now, &call, header, |_| {})?;
        self.expect(now, id, call, chid);
        Ok(())
    }

    /// Gives a call up. Its answer, should it come, is dropped; the server of a stream that has
    /// more is told.
    pub fn cancel(&mut self, now: Now, id: CallId) {
        if let Some((call, session_id)) = self.between(id) {
            let header = continued(&call, session_id, Flags::STREAM | Flags::STREAM_LAST);
            // Without arguments nothing is too long.
            let _ = self.send(now, &call, header, |_| {});
        }
        self.forget(id);
    }

    /// Takes bytes from the front of `input` up to the next answer to a call that is not over.
    /// Other answers, as to a call that was given up, are dropped and counted. `None` where `input`
    /// is used up.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`] and [`ErrorKind::Limit`] where the stream cannot be read on; the
    /// connection is to be closed and [`Client::abandon`] called.
    pub fn handle_recv<'a, 'i: 'a>(
        &'a mut self,
        now: Now,
        input: &mut &'i [u8],
    ) -> Result<Option<Reply<'a>>> {
        let Self {
            limits,
            decoder,
            waiting,
            calls,
            deadlines,
            unmatched,
            ..
        } = self;
        // Decided before anything is borrowed for the reply.
        let Some((frame, id)) = next_matched(decoder, input, waiting, unmatched)? else {
            return Ok(None);
        };
        let packet = frame.packet()?;
        let content = packet.content(limits.packet_len_max)?;
        let (rcode, result) = read_result(content)?;
        let has_more = rcode.is_ok()
            && packet.header.flags.contains(Flags::STREAM)
            && !packet.header.flags.contains(Flags::STREAM_LAST);
        if let Some(progress) = calls.get_mut(&id) {
            deadlines.remove(&(progress.deadline, id));
            if has_more {
                progress.state = State::Between(packet.header.session_id);
                progress.deadline = now.monotonic.after(progress.call.timeout);
                deadlines.insert((progress.deadline, id));
            } else {
                calls.remove(&id);
            }
        }
        Ok(Some(Reply {
            id,
            header: packet.header,
            rcode,
            result,
            has_more,
        }))
    }

    /// The bytes that are to be written to the connection.
    pub fn transmit(&self) -> &[u8] {
        self.outbox.waiting()
    }

    /// Takes note that the connection took the first `len` of them.
    pub fn transmitted(&mut self, len: usize) {
        self.outbox.advance(len);
    }

    /// When [`Client::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The next call whose time has passed, to be asked for until there is none. It is over; its
    /// answer, should it come, is dropped.
    #[must_use]
    pub fn handle_timeout(&mut self, now: Now) -> Option<CallId> {
        let (at, id) = *self.deadlines.first()?;
        if at > now.monotonic {
            return None;
        }
        self.cancel(now, id);
        Some(id)
    }

    /// Takes note that the connection has ended. The calls that were not over are over, with an
    /// unknown result.
    pub fn abandon(&mut self) -> Vec<CallId> {
        let mut ids: Vec<_> = self.calls.keys().copied().collect();
        ids.sort_unstable();
        *self = Self {
            next_id: self.next_id,
            unmatched: self.unmatched,
            ..Self::new(self.limits)
        };
        ids
    }

    /// Calls that are not over.
    pub fn calls_len(&self) -> usize {
        self.calls.len()
    }

    /// Answers that no call waited for.
    pub fn unmatched(&self) -> u64 {
        self.unmatched
    }

    fn send(
        &mut self,
        now: Now,
        call: &Call,
        header: RpcHeader,
        write: impl FnOnce(&mut Writer<'_>),
    ) -> Result<u32> {
        let chid = self.free_chid();
        let header = RpcHeader {
            timeout_us: u64::try_from(call.timeout.as_micros()).unwrap_or(u64::MAX),
            timestamp_us: now.wall_s.saturating_mul(1_000_000),
            ..header
        };
        write_packet(self.outbox.tail(), chid, &header, write)?;
        self.chid = chid;
        Ok(chid)
    }

    /// The next channel on which nothing is waited for.
    fn free_chid(&self) -> u32 {
        let mut chid = self.chid.wrapping_add(1);
        while self.waiting.contains_key(&chid) {
            chid = chid.wrapping_add(1);
        }
        chid
    }

    fn expect(&mut self, now: Now, id: CallId, call: Call, chid: u32) {
        let pcode = call.header.pcode;
        let deadline = now.monotonic.after(call.timeout);
        self.waiting.insert(chid, Waiting { id, pcode });
        let progress = Progress {
            call,
            state: State::Asked(chid),
            deadline,
        };
        if let Some(before) = self.calls.insert(id, progress) {
            self.deadlines.remove(&(before.deadline, id));
        }
        self.deadlines.insert((deadline, id));
    }

    /// The call and the session of a stream that waits for the application.
    fn between(&self, id: CallId) -> Option<(Call, u64)> {
        let progress = self.calls.get(&id)?;
        match progress.state {
            State::Between(session_id) => Some((progress.call, session_id)),
            State::Asked(_) => None,
        }
    }

    fn forget(&mut self, id: CallId) {
        if let Some(progress) = self.calls.remove(&id) {
            self.deadlines.remove(&(progress.deadline, id));
            if let State::Asked(chid) = progress.state {
                self.waiting.remove(&chid);
            }
        }
    }
}

/// The header that asks a stream on, or ends it.
fn continued(call: &Call, session_id: u64, flags: Flags) -> RpcHeader {
    RpcHeader {
        session_id,
        flags: call.header.flags | flags,
        ..call.header
    }
}

/// The next answer that a call waits for, which it then no longer does.
fn next_matched<'a, 'i: 'a>(
    decoder: &'a mut PacketDecoder,
    input: &mut &'i [u8],
    waiting: &mut HashMap<u32, Waiting>,
    unmatched: &mut u64,
) -> Result<Option<(Frame<'a>, CallId)>, Violation> {
    let expected = loop {
        let Some(header) = decoder.peek(input)? else {
            return Ok(None);
        };
        if header.kind == FrameKind::Rpc {
            match waiting.remove(&header.chid) {
                Some(expected) => break expected,
                None => *unmatched += 1,
            }
        }
        decoder.next(input)?;
    };
    let Some(frame) = decoder.next(input)? else {
        return Ok(None);
    };
    check(&frame.packet()?, expected.pcode)?;
    Ok(Some((frame, expected.id)))
}

/// An answer has its request's code, or that of an error.
fn check(packet: &Packet<'_>, pcode: Pcode) -> Result<(), Violation> {
    let got = packet.header.pcode;
    if packet.is_response() && (got == pcode || got == Pcode::ERROR_PACKET) {
        return Ok(());
    }
    Err(Violation::Malformed("the answer to what was called"))
}

fn read_result(content: Cow<'_, [u8]>) -> Result<(ResultCode, Cow<'_, [u8]>), Violation> {
    match content {
        Cow::Borrowed(bytes) => {
            let (rcode, result) = read_response(bytes)?;
            Ok((rcode, Cow::Borrowed(result)))
        }
        Cow::Owned(mut bytes) => {
            let (rcode, result) = read_response(&bytes)?;
            let rcode_len = bytes.len() - result.len();
            bytes.drain(..rcode_len);
            Ok((rcode, Cow::Owned(bytes)))
        }
    }
}
