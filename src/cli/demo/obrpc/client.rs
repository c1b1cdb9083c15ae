use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use crate::buf::Pools;
use crate::cli::demo::wire::Wire;
use crate::cli::demo::{TIMEOUT, connect};
use crate::conn::{Connection, NegotiationClient};
use crate::engine::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::obrpc::{Pcode, ResultCode, RpcHeader};
use crate::rpc::{self, Call, CallId, ClientLimits};
use crate::stream::Stream;
use crate::tls::Facts;
use crate::wire::Writer;

/// Calls on a blocking connection.
pub(in super::super) struct Client {
    stream: Stream<Wire>,
    calls: rpc::Client,
    clock: Clock,
    /// Where is received.
    chunk: Vec<u8>,
}

/// An answer, or a part of a stream.
pub(super) struct Answer {
    pub(super) id: CallId,
    pub(super) rcode: ResultCode,
    pub(super) result: Vec<u8>,
    pub(super) has_more: bool,
}

impl Client {
    /// Connects. Without a `negotiation` the first bytes are those of the first call.
    pub(in super::super) fn connect(
        address: SocketAddr,
        negotiation: Option<&NegotiationClient>,
    ) -> Result<Self> {
        let (clock, mut pools) = (Clock::start(), Pools::new(4));
        let conn = match negotiation {
            Some(client) => Connection::negotiated_client(client, clock.now(), &mut pools),
            None => Connection::plain(),
        };
        let mut stream = Stream::new(conn, Wire::new(connect(address)?), clock, pools);
        stream.handshake()?;
        Ok(Self {
            stream,
            calls: rpc::Client::new(ClientLimits::default()),
            clock,
            chunk: vec![0; CHUNK_LEN],
        })
    }

    pub(super) fn facts(&self) -> Option<&Facts> {
        self.stream.connection().facts().map(AsRef::as_ref)
    }

    pub(super) fn wire(&mut self) -> &mut Wire {
        self.stream.socket_mut()
    }

    /// Queues a call. What is queued leaves when an answer is asked for.
    pub(super) fn queue(
        &mut self,
        pcode: Pcode,
        write: impl FnOnce(&mut Writer<'_>),
    ) -> Result<CallId> {
        let header = RpcHeader {
            pcode,
            ..RpcHeader::default()
        };
        let timeout = CALL_TIMEOUT;
        self.calls
            .call(self.clock.now(), &Call { header, timeout }, write)
    }

    /// Makes a call and waits for its answer.
    pub(super) fn call(
        &mut self,
        pcode: Pcode,
        write: impl FnOnce(&mut Writer<'_>),
    ) -> Result<Answer> {
        let id = self.queue(pcode, write)?;
        let answer = self.answer()?;
        match answer.id == id {
            true => Ok(answer),
            false => Err(Error::new(
                ErrorKind::Internal,
                "the answer to another call",
            )),
        }
    }

    /// Waits for the next part of a stream.
    pub(super) fn next_part(&mut self, id: CallId) -> Result<Answer> {
        self.calls.next_part(self.clock.now(), id)?;
        self.answer()
    }

    /// Sends what is queued and waits for the next answer.
    pub(super) fn answer(&mut self) -> Result<Answer> {
        let mut answer = None;
        self.answers(1, |got| answer = Some(got))?;
        answer.ok_or_else(|| Error::new(ErrorKind::Internal, "no answer"))
    }

    /// Sends what is queued and waits for `count` answers.
    pub(super) fn answers(&mut self, count: usize, mut take: impl FnMut(Answer)) -> Result<()> {
        self.stream.write_all(self.calls.transmit()).map_err(lost)?;
        self.calls.transmitted(usize::MAX);
        self.stream.flush().map_err(lost)?;
        let mut left = count;
        while left > 0 {
            let len = self.stream.read(&mut self.chunk).map_err(lost)?;
            if len == 0 {
                return Err(Error::new(ErrorKind::Truncated, "the server hung up"));
            }
            let (now, mut rest) = (self.clock.now(), &self.chunk[..len]);
            while let Some(reply) = self.calls.handle_recv(now, &mut rest)? {
                left = left.saturating_sub(1);
                take(Answer {
                    id: reply.id,
                    rcode: reply.rcode,
                    result: reply.result.into_owned(),
                    has_more: reply.has_more,
                });
            }
        }
        Ok(())
    }
}

fn lost(error: io::Error) -> Error {
    error
        .downcast::<Error>()
        .unwrap_or_else(|error| Error::io("talk to the server", &error))
}

/// The socket gives up first, and says so.
const CALL_TIMEOUT: Duration = TIMEOUT;

const CHUNK_LEN: usize = 64 * 1024;
