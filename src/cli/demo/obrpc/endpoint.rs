use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::log::Log;
use super::{COUNT, ECHO, LOOK, Seen};
use crate::conn::{Connection, NegotiationServer};
use crate::engine::{ConnId, Engine, Event};
use crate::error::Result;
use crate::frame::obrpc::payload::FetchLogRequest;
use crate::frame::obrpc::{Pcode, ResultCode};
use crate::rpc::{Incoming, Part, Request, Server, ServerLimits};
use crate::time::Now;

/// Serves those who connect to `engine`, until `is_ending`.
pub(in super::super) fn serve(
    engine: &mut Engine,
    negotiation: &Arc<NegotiationServer>,
    is_ending: &AtomicBool,
) -> Result<()> {
    let log = Log::new();
    let (mut desks, mut events) = (HashMap::new(), Vec::new());
    while !is_ending.load(Ordering::Acquire) {
        engine.wait(None, &mut events)?;
        for event in events.drain(..) {
            match event {
                Event::Accepted { id, .. } => {
                    let conn = Connection::negotiated_server(negotiation, false, engine.now());
                    engine.start(id, conn, 0);
                }
                Event::Connected { id } => {
                    let seen = Seen::of(engine.facts(id).map(AsRef::as_ref));
                    desks.insert(id, Desk::new(&log, seen));
                }
                Event::Readable { id } | Event::Writable { id } => {
                    if let Some(desk) = desks.get_mut(&id) {
                        take(engine, id, desk);
                    }
                }
                Event::PeerClosed { id } => engine.close(id),
                Event::Closed { id, .. } => drop(desks.remove(&id)),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Serves what has arrived, so that answers to what came together leave together.
fn take(engine: &mut Engine, id: ConnId, desk: &mut Desk<'_>) {
    flush(engine, id, desk);
    let now = engine.now();
    while desk.calls.is_readable() {
        let mut bytes = engine.peek(id);
        if bytes.is_empty() {
            break;
        }
        let (len, fed) = (bytes.len(), desk.feed(now, &mut bytes));
        engine.consume(id, len);
        if fed.is_err() {
            flush(engine, id, desk);
            return engine.close(id);
        }
    }
    flush(engine, id, desk);
    engine.set_reading(id, desk.calls.is_readable());
}

fn flush(engine: &mut Engine, id: ConnId, desk: &mut Desk<'_>) {
    let taken = engine.write(id, desk.calls.transmit());
    desk.calls.transmitted(taken);
}

/// Where one client is served.
struct Desk<'a> {
    calls: Server,
    log: &'a Log,
    seen: Seen,
    /// What is left of each stream, by its session.
    streams: HashMap<u64, u8>,
}

impl<'a> Desk<'a> {
    fn new(log: &'a Log, seen: Seen) -> Self {
        Self {
            calls: Server::new(ServerLimits::default(), false),
            log,
            seen,
            streams: HashMap::new(),
        }
    }

    fn feed(&mut self, now: Now, input: &mut &[u8]) -> Result<()> {
        while let Some(incoming) = self.calls.handle_recv(now, input)? {
            match incoming {
                Incoming::Request { request, content } => {
                    let content = content.into_owned();
                    self.answer(now, request, &content)?;
                }
                Incoming::Next {
                    request,
                    session_id,
                } => {
                    let left = self.streams.remove(&session_id).unwrap_or_default();
                    self.count(now, request, left)?;
                }
                Incoming::Aborted { session_id } => drop(self.streams.remove(&session_id)),
                Incoming::Refused { .. } => {}
            }
        }
        Ok(())
    }

    fn answer(&mut self, now: Now, request: Request, content: &[u8]) -> Result<()> {
        let ok = ResultCode::new(ResultCode::OK);
        match request.header.pcode {
            ECHO => self.calls.respond(request, &ok, |w| w.bytes(content)),
            LOOK => self.calls.respond(request, &ok, |w| self.seen.write(w)),
            COUNT => self.count(now, request, PARTS),
            Pcode::LS_FETCH_LOG2 => match FetchLogRequest::read(content) {
                Ok(asked) => {
                    let found = self.log.fetch(&asked);
                    self.calls.respond(request, &ok, |w| found.write(w))
                }
                Err(violation) => {
                    let text = violation.to_string();
                    self.refuse(request, ResultCode::DESERIALIZE_ERROR, &text)
                }
            },
            Pcode::SET_CONFIG => {
                let text = "the demo's server has no parameters";
                self.refuse(request, ResultCode::NOT_SUPPORTED, text)
            }
            _ => {
                let text = "the demo's server does not know this call";
                self.refuse(request, ResultCode::UNKNOWN_PACKET, text)
            }
        }
    }

    /// Answers with the next part of a stream, of which `left` are left.
    fn count(&mut self, now: Now, request: Request, left: u8) -> Result<()> {
        let left = left.saturating_sub(1);
        let part = if left == 0 { Part::Last } else { Part::More };
        let session = self
            .calls
            .respond_part(now, request, part, |w| w.u8(left))?;
        if let Some(session_id) = session {
            self.streams.insert(session_id, left);
        }
        Ok(())
    }

    fn refuse(&mut self, request: Request, rcode: i32, text: &str) -> Result<()> {
        let rcode = ResultCode {
            message: text.into(),
            ..ResultCode::new(rcode)
        };
        self.calls.respond(request, &rcode, |_| {})
    }
}

/// Parts of a stream.
const PARTS: u8 = 5;
