//! OB-RPC as C speaks it: how connections begin, packets, calls.

mod calls;
mod negotiation;
mod packets;

use std::ffi::c_uint;
use std::slice;

use super::*;
use crate::ffi::config::obrpc::*;
use crate::ffi::conn::obrpc::call::*;
use crate::ffi::conn::obrpc::packet::*;
use crate::ffi::conn::obrpc::sealwire_conn_obrpc_method;

const METHODS: [c_uint; 3] = [
    SEALWIRE_OBRPC_NONE,
    SEALWIRE_OBRPC_SSL_NO_ENCRYPT,
    SEALWIRE_OBRPC_SSL_IO,
];

const ALL: c_uint = SEALWIRE_OBRPC_NONE | SEALWIRE_OBRPC_SSL_NO_ENCRYPT | SEALWIRE_OBRPC_SSL_IO;

const PCODE: u32 = 0x106;

/// A keepalive of the older network library.
const KEEPALIVE: &[u8] = b"\x41\xdb\xdb\xce\0\0\0\x03\0\0\0\0\0\0\0\0abc";

fn client_builder(method: c_uint) -> Builder {
    let builder = Builder::usual_client();
    ok(sealwire_config_builder_set_obrpc_method(builder.0, method));
    builder
}

fn server_builder(methods: c_uint) -> Builder {
    let builder = Builder::usual_server();
    ok(sealwire_config_builder_set_obrpc_methods(
        builder.0, methods,
    ));
    builder
}

/// Two ends that have negotiated, in memory.
fn rpc_pair(method: c_uint) -> (Conn, Conn) {
    pair(
        &client_builder(method).build(),
        &server_builder(ALL).build(),
    )
}

/// A server that a client without TLS has begun to speak to, whose bytes are made by the test.
fn plain_server() -> Conn {
    Conn::server(&server_builder(SEALWIRE_OBRPC_NONE).build())
}

fn zeroed_packet() -> sealwire_obrpc_packet {
    // SAFETY: numbers and pointers, which may be zero.
    unsafe { std::mem::zeroed() }
}

fn zeroed_call() -> sealwire_obrpc_call {
    // SAFETY: numbers and pointers, which may be zero.
    unsafe { std::mem::zeroed() }
}

fn request(chid: u32, payload: &[u8]) -> sealwire_obrpc_packet {
    sealwire_obrpc_packet {
        chid,
        pcode: PCODE,
        flags: SEALWIRE_OBRPC_FLAG_NO_LOG_LEVEL,
        payload: payload.as_ptr(),
        payload_len: payload.len(),
        ..zeroed_packet()
    }
}

impl Conn {
    fn method(&self) -> c_uint {
        sealwire_conn_obrpc_method(self.0)
    }

    fn next_packet(&self) -> (sealwire_result, sealwire_obrpc_packet) {
        let mut packet = zeroed_packet();
        let result = sealwire_conn_next_obrpc_packet(self.0, &raw mut packet);
        (result, packet)
    }

    /// The packet that has arrived.
    fn packet(&self) -> sealwire_obrpc_packet {
        let (result, packet) = self.next_packet();
        assert_eq!(result, SEALWIRE_OK, "{}", self.error());
        packet
    }

    fn write_packet(&self, packet: &sealwire_obrpc_packet) -> sealwire_result {
        sealwire_conn_write_obrpc_packet(self.0, packet)
    }

    fn answer(
        &self,
        request: &sealwire_obrpc_packet,
        rcode: i32,
        result: &[u8],
    ) -> sealwire_result {
        let (result, len) = (result.as_ptr().cast(), result.len());
        sealwire_conn_answer_obrpc_packet(self.0, request, rcode, result, len)
    }

    fn call_with(&self, call: &sealwire_obrpc_call) -> (sealwire_result, u64) {
        let mut id = 0;
        let result = sealwire_conn_obrpc_call(self.0, call, &raw mut id);
        (result, id)
    }

    fn call(&self, args: &[u8], timeout_ms: u32) -> u64 {
        let (result, id) = self.call_with(&sealwire_obrpc_call {
            pcode: PCODE,
            timeout_ms,
            args: args.as_ptr().cast(),
            args_len: args.len(),
            ..zeroed_call()
        });
        assert_eq!(result, SEALWIRE_OK, "{}", self.error());
        id
    }

    /// The next answer, or why there is none.
    fn reply(&self) -> Result<Reply, sealwire_result> {
        let mut reply = std::mem::MaybeUninit::uninit();
        match sealwire_conn_obrpc_next_reply(self.0, reply.as_mut_ptr()) {
            // SAFETY: written, since there is one.
            SEALWIRE_OK => Ok(Reply::of(unsafe { reply.assume_init_ref() })),
            other => Err(other),
        }
    }
}

/// An answer, copied.
#[derive(Debug, PartialEq, Eq)]
struct Reply {
    id: u64,
    status: sealwire_result,
    rcode: i32,
    message: String,
    result: Vec<u8>,
    has_more: bool,
}

impl Reply {
    fn of(reply: &sealwire_obrpc_reply) -> Self {
        let message = lent(reply.message.cast(), reply.message_len);
        Self {
            id: reply.call_id,
            status: reply.status,
            rcode: reply.rcode,
            message: String::from_utf8(message).unwrap(),
            result: lent(reply.result, reply.result_len),
            has_more: reply.has_more,
        }
    }

    /// The only answer to a call.
    fn done(id: u64, result: &[u8]) -> Self {
        Self {
            id,
            status: SEALWIRE_OK,
            rcode: 0,
            message: String::new(),
            result: result.to_vec(),
            has_more: false,
        }
    }

    fn part(id: u64, result: &[u8]) -> Self {
        Self {
            has_more: true,
            ..Self::done(id, result)
        }
    }

    fn error(id: u64, rcode: i32) -> Self {
        Self {
            rcode,
            ..Self::done(id, b"")
        }
    }

    fn timed_out(id: u64) -> Self {
        Self {
            status: SEALWIRE_ERR_TIMEOUT,
            ..Self::done(id, b"")
        }
    }
}

/// What the library lends, copied.
fn lent(bytes: *const u8, len: usize) -> Vec<u8> {
    match len {
        0 => Vec::new(),
        // SAFETY: lent until the next call, and copied at once.
        _ => unsafe { slice::from_raw_parts(bytes, len) }.to_vec(),
    }
}

fn payload(packet: &sealwire_obrpc_packet) -> Vec<u8> {
    lent(packet.payload, packet.payload_len)
}
