use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::outbox::Outbox;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::obrpc::{
    Flags, Frame, FrameKind, Packet, PacketDecoder, Pcode, ResultCode, RpcHeader, Violation,
    refusal, write_packet,
};
use crate::limits;
use crate::time::{Monotonic, Now};
use crate::wire::Writer;

/// The server end of calls on one connection.
#[derive(Debug)]
pub struct Server {
    decoder: PacketDecoder,
    desk: Desk,
}

/// All of a server but what it receives with, so that a request may borrow from that.
#[derive(Debug)]
struct Desk {
    limits: ServerLimits,
    is_restricted: bool,
    outbox: Outbox,
    /// Requests that were given out and not answered.
    in_hand: usize,
    /// Streams that wait for their client, by session.
    streams: HashMap<u64, Stream>,
    deadlines: BTreeSet<(Monotonic, u64)>,
    next_session: u64,
}

/// Bounds of a server.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Requests that were given out and not answered, from which on nothing should be received.
    pub requests_max: usize,
    /// Bytes that wait to be taken by the connection, from which on nothing should be received.
    pub outbox_len_high: usize,
    /// A packet, and its content once inflated, in bytes.
    pub packet_len_max: usize,
    /// Streams that wait for their client.
    pub streams_max: usize,
    /// How long each of them waits.
    pub stream_idle: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            requests_max: limits::RPC_CALLS_MAX,
            outbox_len_high: limits::SEND_QUEUE_LEN_HIGH,
            packet_len_max: limits::RPC_PACKET_LEN_MAX,
            streams_max: limits::RPC_STREAMS_MAX,
            stream_idle: Duration::from_millis(limits::RPC_STREAM_IDLE_MS),
        }
    }
}

/// A request that is to be answered, once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a request that is never answered counts for ever"]
pub struct Request {
    /// Its header.
    pub header: RpcHeader,
    /// When its client gives it up.
    pub deadline: Monotonic,
    chid: u32,
}

/// A part of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// More follow.
    More,
    /// The last one.
    Last,
}

/// What a client wants.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// A call.
    Request {
        /// To be answered.
        request: Request,
        /// What the call is about.
        content: Cow<'a, [u8]>,
    },
    /// The next part of a stream.
    Next {
        /// To be answered with it.
        request: Request,
        /// The stream's session, in [`Request::header`] as well.
        session_id: u64,
    },
    /// The end of a stream, before its last part. The client has been answered.
    Aborted {
        /// The stream's session.
        session_id: u64,
    },
    /// Something that could not be served. The client has been answered.
    Refused {
        /// What was called.
        pcode: Pcode,
        /// The answer.
        rcode: i32,
        /// Why.
        reason: Error,
    },
}

#[derive(Debug)]
struct Stream {
    pcode: Pcode,
    deadline: Monotonic,
}

impl Server {
    /// A server on a connection that is in use. On one that `is_restricted` requests are refused
    /// that are not [`Pcode::is_bypass`].
    pub fn new(limits: ServerLimits, is_restricted: bool) -> Self {
        Self {
            decoder: PacketDecoder::new(limits.packet_len_max),
            desk: Desk {
                limits,
                is_restricted,
                outbox: Outbox::default(),
                in_hand: 0,
                streams: HashMap::new(),
                deadlines: BTreeSet::new(),
                next_session: 1,
            },
        }
    }

    /// Takes bytes from the front of `input` up to the next thing a client wants. `None` where
    /// `input` is used up. It should not be asked while [`Server::is_readable`] is false.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`] and [`ErrorKind::Limit`] where the stream cannot be read on; the
    /// connection is to be closed.
    pub fn handle_recv<'a, 'i: 'a>(
        &'a mut self,
        now: Now,
        input: &mut &'i [u8],
    ) -> Result<Option<Incoming<'a>>> {
        loop {
            match self.decoder.peek(input)? {
                None => return Ok(None),
                Some(header) if header.kind == FrameKind::Rpc => break,
                Some(_) => self.decoder.next(input)?,
            };
        }
        match self.decoder.next(input)? {
            Some(frame) => self.desk.take(now, &frame).map(Some),
            None => Ok(None),
        }
    }

    /// True where more may be received: neither too many requests are in hand nor too many answers
    /// wait.
    pub fn is_readable(&self) -> bool {
        self.desk.in_hand < self.desk.limits.requests_max
            && self.desk.outbox.len() < self.desk.limits.outbox_len_high
    }

    /// Answers a request with a result code and, where that is zero, the result that `write`
    /// writes. One that wants no answer gets none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Limit`] where the result is longer than the wire allows; the client is told so.
    pub fn respond(
        &mut self,
        request: Request,
        rcode: &ResultCode,
        write: impl FnOnce(&mut Writer<'_>),
    ) -> Result<()> {
        self.desk
            .answer(&request, request.header.response(), rcode, write)
    }

    /// Answers a request with a part of a stream. The session under which its client asks for the
    /// next is new for the first part, and then the same. `None` where the stream is over, or where
    /// so many wait for their clients that this one must not: its client was told so.
    ///
    /// # Errors
    ///
    /// As [`Server::respond`].
    pub fn respond_part(
        &mut self,
        now: Now,
        request: Request,
        part: Part,
        write: impl FnOnce(&mut Writer<'_>),
    ) -> Result<Option<u64>> {
        if part == Part::More && self.desk.streams.len() >= self.desk.limits.streams_max {
            let rcode = ResultCode::new(ResultCode::NOT_SUPPORTED);
            self.respond(request, &rcode, |_| {})?;
            return Ok(None);
        }
        let session_id = self.desk.session_of(&request);
        let mut header = request.header.response();
        header.session_id = session_id;
        header.flags |= Flags::STREAM;
        if part == Part::Last {
            header.flags |= Flags::STREAM_LAST;
        }
        self.desk
            .answer(&request, header, &ResultCode::new(ResultCode::OK), write)?;
        if part == Part::Last {
            return Ok(None);
        }
        let deadline = now.monotonic.after(self.desk.limits.stream_idle);
        let pcode = request.header.pcode;
        self.desk
            .streams
            .insert(session_id, Stream { pcode, deadline });
        self.desk.deadlines.insert((deadline, session_id));
        Ok(Some(session_id))
    }

    /// The bytes that are to be written to the connection.
    pub fn transmit(&self) -> &[u8] {
        self.desk.outbox.waiting()
    }

    /// Takes note that the connection took the first `len` of them.
    pub fn transmitted(&mut self, len: usize) {
        self.desk.outbox.advance(len);
    }

    /// When [`Server::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        self.desk.deadlines.first().map(|(at, _)| *at)
    }

    /// The session of the next stream whose client has not asked on in time, to be asked for until
    /// there is none.
    #[must_use]
    pub fn handle_timeout(&mut self, now: Now) -> Option<u64> {
        let (at, session_id) = *self.desk.deadlines.first()?;
        if at > now.monotonic {
            return None;
        }
        self.desk.deadlines.pop_first();
        self.desk.streams.remove(&session_id);
        Some(session_id)
    }

    /// Requests that were given out and not answered.
    pub fn in_hand(&self) -> usize {
        self.desk.in_hand
    }
}

impl Desk {
    fn take<'a>(&mut self, now: Now, frame: &Frame<'a>) -> Result<Incoming<'a>> {
        let chid = frame.header.chid;
        let packet = match frame.packet() {
            Ok(packet) => packet,
            Err(violation) => {
                let unreadable = Request {
                    header: RpcHeader {
                        pcode: Pcode::ERROR_PACKET,
                        ..RpcHeader::default()
                    },
                    deadline: now.monotonic,
                    chid,
                };
                let rcode = ResultCode::RPC_PACKET_INVALID;
                return Ok(self.refuse(&unreadable, rcode, violation.into()));
            }
        };
        if packet.is_response() {
            return Err(Violation::Malformed("a request").into());
        }
        let wait = Duration::from_micros(packet.header.timeout_us);
        let request = Request {
            header: packet.header,
            deadline: now.monotonic.after(wait),
            chid,
        };
        let content = match self.admit(&packet) {
            Ok(content) => content,
            Err((rcode, reason)) => return Ok(self.refuse(&request, rcode, reason)),
        };
        if packet.header.flags.contains(Flags::STREAM) {
            return Ok(self.go_on(request));
        }
        self.in_hand += usize::from(!packet.is_one_way());
        Ok(Incoming::Request { request, content })
    }

    /// The content of a request that may be served, or the code it is refused by.
    fn admit<'a>(&self, packet: &Packet<'a>) -> Result<Cow<'a, [u8]>, (i32, Error)> {
        let pcode = packet.header.pcode;
        if self.is_restricted && !pcode.is_bypass() {
            let text = format!("{pcode} on a connection without authentication");
            let reason = Error::new(ErrorKind::NotTls, text);
            return Err((ResultCode::UNKNOWN_CONNECTION, reason));
        }
        packet
            .content(self.limits.packet_len_max)
            .map_err(|violation| {
                let rcode = match violation {
                    Violation::Checksum { .. } => ResultCode::PACKET_CHECKSUM_ERROR,
                    Violation::TooLong { .. } => ResultCode::RPC_PACKET_TOO_LONG,
                    _ => ResultCode::DESERIALIZE_ERROR,
                };
                (rcode, violation.into())
            })
    }

    /// A request that goes on with a stream, or ends it.
    fn go_on(&mut self, request: Request) -> Incoming<'static> {
        let header = request.header;
        let session_id = header.session_id;
        let stream = self.streams.get(&session_id);
        let Some(stream) = stream.filter(|stream| stream.pcode == header.pcode) else {
            let text = format!("{} of the unknown stream {session_id}", header.pcode);
            let reason = Error::new(ErrorKind::Protocol, text);
            return self.refuse(&request, ResultCode::RPC_PACKET_INVALID, reason);
        };
        self.deadlines.remove(&(stream.deadline, session_id));
        self.streams.remove(&session_id);
        if header.flags.contains(Flags::STREAM_LAST) {
            let done = refusal(request.chid, header.pcode, ResultCode::OK);
            self.outbox.tail().extend(done);
            return Incoming::Aborted { session_id };
        }
        self.in_hand += 1;
        Incoming::Next {
            request,
            session_id,
        }
    }

    fn session_of(&mut self, request: &Request) -> u64 {
        if request.header.flags.contains(Flags::STREAM) {
            return request.header.session_id;
        }
        let session_id = self.next_session;
        self.next_session += 1;
        session_id
    }

    fn refuse(&mut self, request: &Request, rcode: i32, reason: Error) -> Incoming<'static> {
        let pcode = request.header.pcode;
        if !request.header.flags.contains(Flags::UNNEED_RESPONSE) {
            let answer = refusal(request.chid, pcode, rcode);
            self.outbox.tail().extend(answer);
        }
        Incoming::Refused {
            pcode,
            rcode,
            reason,
        }
    }

    fn answer(
        &mut self,
        request: &Request,
        header: RpcHeader,
        rcode: &ResultCode,
        write: impl FnOnce(&mut Writer<'_>),
    ) -> Result<()> {
        if request.header.flags.contains(Flags::UNNEED_RESPONSE) {
            return Ok(());
        }
        self.in_hand = self.in_hand.saturating_sub(1);
        let result = write_packet(self.outbox.tail(), request.chid, &header, |writer| {
            rcode.write(writer);
            if rcode.is_ok() {
                write(writer);
            }
        });
        if let Err(violation) = result {
            let too_long = ResultCode::RPC_PACKET_TOO_LONG;
            let answer = refusal(request.chid, request.header.pcode, too_long);
            self.outbox.tail().extend(answer);
            return Err(violation.into());
        }
        Ok(())
    }
}
