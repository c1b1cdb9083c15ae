//! OB-RPC over a connection: its packets one by one, or calls.

pub(in crate::ffi) mod packet;

pub(in crate::ffi) mod call;

pub(in crate::ffi) mod name;

use std::ffi::c_uint;

use super::frames::Frames;
use super::link::Link;
use super::sealwire_conn;
use crate::buf::Pools;
use crate::error::{Error, ErrorKind};
use crate::ffi::config::obrpc;
use crate::ffi::handle::ask;
use crate::ffi::result::sealwire_result::{self, *};
use crate::ffi::result::{Failure, Outcome};
use crate::frame::obrpc::{FrameKind, NET_HEADER_LEN, NetHeader, RPC_HEADER_LEN};
use crate::limits::{RPC_PACKET_LEN_MAX, RPC_PACKET_LEN_WIRE_MAX};
use crate::rpc::{Client, ClientLimits};

/// How a connection of OB-RPC is protected: SEALWIRE_OBRPC_NONE, SEALWIRE_OBRPC_SSL_NO_ENCRYPT or
/// SEALWIRE_OBRPC_SSL_IO. 0 before the negotiation and the handshake behind it are complete, and
/// where the configuration is none of OB-RPC.
///
/// A server that admits more than one method asks this before it believes a request.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_obrpc_method(conn: *const sealwire_conn) -> c_uint {
    ask(conn, 0, |conn| {
        conn.link.obrpc_method().map_or(0, obrpc::number)
    })
}

/// What OB-RPC keeps of a connection.
#[derive(Default)]
pub(super) struct Obrpc {
    usage: Usage,
    /// The latest content that was inflated, lent to the caller.
    content: Vec<u8>,
    /// The words of the latest reply, lent to the caller.
    message: Vec<u8>,
}

/// Packets and calls do not mix: either one takes every packet that arrives.
#[derive(Default)]
enum Usage {
    #[default]
    None,
    Packets,
    Calls(Box<Client>),
    /// The stream cannot be read on.
    Failed(Error),
}

enum Next {
    /// A request or a response has been gathered.
    Packet,
    /// A keepalive of the older network library has passed.
    Keepalive,
    Wait(sealwire_result),
}

impl Obrpc {
    fn begin_packets(&mut self) -> Result<(), Failure> {
        match &self.usage {
            Usage::None => self.usage = Usage::Packets,
            Usage::Packets => {}
            Usage::Calls(_) => return Err(Failure::state("the connection is used for calls")),
            Usage::Failed(error) => return Err(error.clone().into()),
        }
        Ok(())
    }

    fn client(&mut self) -> Result<&mut Client, Failure> {
        if let Usage::None = self.usage {
            self.usage = Usage::Calls(Box::new(Client::new(ClientLimits::default())));
        }
        match &mut self.usage {
            Usage::Calls(client) => Ok(client),
            Usage::Failed(error) => Err(error.clone().into()),
            Usage::None | Usage::Packets => {
                Err(Failure::state("the connection is used for packets"))
            }
        }
    }

    /// Keeps an error that is not the caller's: nothing can be read behind it.
    fn keep_failure(&mut self, failure: &Failure) {
        if !failure.is_callers() {
            self.usage = Usage::Failed(failure.error.clone());
        }
    }

    /// Gives the connection what waits of calls.
    pub(super) fn send(&mut self, link: &mut Link, pools: &mut Pools) -> Outcome {
        let Usage::Calls(client) = &mut self.usage else {
            return Ok(SEALWIRE_OK);
        };
        while !client.transmit().is_empty() {
            let (result, written) = link.write(client.transmit(), pools)?;
            client.transmitted(written);
            if written == 0 {
                return Ok(result);
            }
        }
        Ok(SEALWIRE_OK)
    }

    /// Bytes of calls that the connection has not taken.
    pub(super) fn queued(&self) -> usize {
        match &self.usage {
            Usage::Calls(client) => client.transmit().len(),
            _ => 0,
        }
    }
}

/// Gathers the next packet, net header and all.
fn next(frames: &mut Frames, link: &mut Link, pools: &mut Pools) -> Result<Next, Failure> {
    let condition = frames.gather(NET_HEADER_LEN, link, pools)?;
    let header = frames.incoming().first_chunk();
    let Some(header) = header.filter(|_| condition == SEALWIRE_OK) else {
        return Ok(Next::Wait(condition));
    };
    let header = NetHeader::decode(*header, RPC_PACKET_LEN_MAX).map_err(Error::from)?;
    let len = NET_HEADER_LEN + header.payload_len as usize;
    match (frames.gather(len, link, pools)?, header.kind) {
        (SEALWIRE_OK, FrameKind::Rpc) => Ok(Next::Packet),
        (SEALWIRE_OK, FrameKind::EasyKeepalive) => {
            frames.lend();
            Ok(Next::Keepalive)
        }
        (condition, _) => Ok(Next::Wait(condition)),
    }
}

/// Refuses to write what no receiver takes.
fn check_len(name: &str, len: usize) -> Result<(), Failure> {
    if len <= PAYLOAD_LEN_MAX {
        return Ok(());
    }
    let text = format!("{name} has {len} bytes, {PAYLOAD_LEN_MAX} at most can be sent");
    Err(Error::new(ErrorKind::Limit, text).into())
}

/// The longest payload of a packet, in bytes: what the wire allows, without a header and the
/// result code in front of a result.
const PAYLOAD_LEN_MAX: usize = RPC_PACKET_LEN_WIRE_MAX - RPC_HEADER_LEN as usize - 64;
