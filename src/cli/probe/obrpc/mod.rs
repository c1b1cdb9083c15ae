//! What an OB-RPC port accepts: every way to begin is tried on a connection of its own, and all of
//! them at the same time, so that a port that says nothing costs one timeout.

mod port;
mod report;

use std::io::{Read, Write};
use std::panic;
use std::sync::Arc;
use std::thread;

pub(super) use self::port::Port;
use self::port::{Answer, Attempt, Way};
use super::link::Link;
use super::tls::{Examiner, believing};
use super::{Findings, Probe};
use crate::buf::Pools;
use crate::cli::packets::lost;
use crate::conn::{Connection, NegotiationClient, NegotiationOptions};
use crate::engine::{Address, Clock};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::obrpc::{
    DEFAULT_GID, EasyChannel, EasyPreamble, FirstBytes, Flags, KEEPALIVE_BYTE, KeepaliveAnswer,
    Method, Pcode, RpcHeader,
};
use crate::gateway::config::ServerAddress;
use crate::rpc::{Call, Client, ClientLimits};
use crate::stream::Stream;
use crate::tls::{ClientConfig, Witness};
use crate::wire::Reader;

/// Tries every way at the server that `link` is connected to.
pub(super) fn examine(link: Link, probe: &Probe, examiner: &Examiner, findings: &mut Findings) {
    let is_loopback = matches!(link.address(), Address::Ip(address)
        if address.is_ipv4() && address.ip().is_loopback());
    let server = &ServerAddress::Fixed(link.address().clone());
    let mut made = Some(link);
    let attempts = thread::scope(|scope| {
        let running: Vec<_> = Way::all(examiner.identity.is_some(), is_loopback)
            .into_iter()
            .map(|way| {
                let trial = Trial {
                    way,
                    probe,
                    examiner,
                };
                let link = made.take();
                scope.spawn(move || {
                    let connect = || Link::connect(server, probe.timeout());
                    trial.run(link.map_or_else(connect, Ok))
                })
            })
            .collect();
        let ended = running.into_iter().map(|trial| trial.join());
        ended
            .map(|attempt| attempt.unwrap_or_else(|payload| panic::resume_unwind(payload)))
            .collect()
    });
    let port = Port { attempts };
    if let Some(shown) = port.shown() {
        findings.tls.clone_from(&shown.tls);
        findings.seen = shown.seen.clone();
    }
    findings.obrpc = Some(port);
}

/// One way that is to be tried.
struct Trial<'a> {
    way: Way,
    probe: &'a Probe,
    examiner: &'a Examiner,
}

impl Trial<'_> {
    fn run(&self, link: Result<Link>) -> Attempt {
        let witness = Arc::new(Witness::default());
        let (outcome, tls, received_len) =
            match link.and_then(|link| self.begin(link, Arc::clone(&witness))) {
                Ok(mut stream) => {
                    let outcome = self.converse(&mut stream);
                    let tls = stream.connection().facts().cloned();
                    (outcome, tls, stream.socket_mut().received_len())
                }
                Err(error) => (Err(error), None, 0),
            };
        Attempt {
            way: self.way,
            outcome,
            tls,
            seen: witness.seen(),
            received_len,
        }
    }

    fn begin(&self, link: Link, witness: Arc<Witness>) -> Result<Stream<Link>> {
        let identity = self.examiner.identity.clone();
        let identity = identity.filter(|_| self.way.shows_certificate());
        let tls = believing(identity, witness, self.probe.timeout());
        let (clock, mut pools) = (Clock::start(), Pools::new(4));
        let method = match self.way {
            Way::Negotiated { method, .. } => method,
            Way::Local => Method::SslIo,
            Way::DirectTls { .. } => {
                let (config, name) = (ClientConfig::new(&tls)?, &self.examiner.name);
                let conn = Connection::client(&config, name, clock.now(), &mut pools)?;
                return Ok(Stream::new(conn, link, clock, pools));
            }
            Way::Plain | Way::Libeasy | Way::TableApi | Way::NetKeepalive => {
                return Ok(link.into_stream());
            }
        };
        let options = NegotiationOptions {
            timeout: self.probe.timeout(),
            requires_binding: false,
            danger_end_without_close_notify: true,
        };
        let name = self.examiner.name.clone();
        let mut client = NegotiationClient::new(method, DEFAULT_GID, Some(&tls), name, options)?;
        client.is_exempt = self.way == Way::Local;
        let conn = Connection::negotiated_client(&client, clock.now(), &mut pools);
        Ok(Stream::new(conn, link, clock, pools))
    }

    fn converse(&self, stream: &mut Stream<Link>) -> Result<Answer> {
        stream.handshake()?;
        if self.way == Way::Libeasy {
            stream
                .write_all(&preamble(EasyChannel::Rpc))
                .map_err(lost)?;
        }
        let answer = match self.way {
            Way::NetKeepalive => keep_alive(stream)?,
            Way::TableApi => self.call(stream, TABLE_API_OF_NOBODY)?,
            _ => self.call(stream, PCODE_OF_NOBODY)?,
        };
        // Whatever becomes of the end, there was an answer.
        let _ = stream.close();
        Ok(answer)
    }

    /// Makes a call that no server knows. In TLS 1.3 a server's answer is the first sign that it
    /// did not mind the client's certificate.
    fn call(&self, stream: &mut Stream<Link>, pcode: Pcode) -> Result<Answer> {
        let clock = Clock::start();
        let call = Call {
            header: RpcHeader {
                pcode,
                flags: Flags::NO_LOG_LEVEL,
                ..RpcHeader::default()
            },
            timeout: self.probe.timeout(),
        };
        let mut client = Client::new(ClientLimits {
            packet_len_max: ANSWER_LEN_MAX,
            ..ClientLimits::default()
        });
        client.call(clock.now(), &call, |_| {})?;
        // What a server said before it hung up counts, not that this end noticed it in writing.
        let _ = stream.write_all(client.transmit());
        let _ = stream.flush();
        let mut received = [0; 4_096];
        loop {
            let len = stream.read(&mut received).map_err(lost)?;
            if len == 0 {
                return Err(hung_up());
            }
            let mut input = &received[..len];
            if self.way == Way::Local && FirstBytes::classify(input) == FirstBytes::Ussl {
                return Ok(Answer::Acknowledged);
            }
            if let Some(reply) = client.handle_recv(clock.now(), &mut input)? {
                return Ok(Answer::Called(reply.rcode));
            }
        }
    }
}

/// Asks whether the server lives, as nodes do of each other.
fn keep_alive(stream: &mut Stream<Link>) -> Result<Answer> {
    let mut question = preamble(EasyChannel::NetKeepalive);
    question.push(KEEPALIVE_BYTE);
    stream.write_all(&question).map_err(lost)?;
    stream.flush().map_err(lost)?;
    let (mut received, mut chunk) = (Vec::new(), [0; 4_096]);
    loop {
        let len = stream.read(&mut chunk).map_err(lost)?;
        if len == 0 {
            return Err(hung_up());
        }
        received.extend_from_slice(&chunk[..len]);
        if KeepaliveAnswer::decode(&mut Reader::new(&received))?.is_some() {
            return Ok(Answer::Alive);
        }
    }
}

fn preamble(channel: EasyChannel) -> Vec<u8> {
    EasyPreamble { channel, thread: 0 }.encode()
}

fn hung_up() -> Error {
    let text = "server closed the connection in place of an answer";
    Error::new(ErrorKind::Truncated, text)
}

/// A call that no server has, so that nothing happens and every server that takes it says so.
const PCODE_OF_NOBODY: Pcode = Pcode(0xfffe);

/// A code that OceanBase keeps free among those of the table API, which its servers take from
/// clients without authentication.
const TABLE_API_OF_NOBODY: Pcode = Pcode(0x1110);

/// An answer, in bytes: it is an error code with some text.
const ANSWER_LEN_MAX: usize = 64 * 1024;
