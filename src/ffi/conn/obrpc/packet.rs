//! Packets of OB-RPC, one by one: what servers are made of.

use std::borrow::Cow;
use std::ffi::c_void;

use super::super::{call, sealwire_conn};
use super::{Next, Obrpc, check_len, next};
use crate::error::Error;
use crate::ffi::pointer::{self, Out};
use crate::ffi::result::sealwire_result::{self, *};
use crate::ffi::result::{Failure, Outcome};
use crate::frame::obrpc::{
    Flags, Packet, PacketDecoder, Pcode, ResultCode, RpcHeader, Violation, write_packet,
};
use crate::limits::RPC_PACKET_LEN_MAX;

/// A flag of sealwire_obrpc_packet: a response.
pub const SEALWIRE_OBRPC_FLAG_RESPONSE: u16 = 1 << 15;
/// A flag: a part of a stream.
pub const SEALWIRE_OBRPC_FLAG_STREAM: u16 = 1 << 14;
/// A flag: the last part of a stream; from a client: the stream is to end.
pub const SEALWIRE_OBRPC_FLAG_STREAM_LAST: u16 = 1 << 13;
/// A flag: the request is not answered.
pub const SEALWIRE_OBRPC_FLAG_NO_RESPONSE: u16 = 1 << 10;
/// A flag: the traffic is that of a background task.
pub const SEALWIRE_OBRPC_FLAG_BACKGROUND: u16 = 1 << 7;
/// Three flags: no log level is asked for, as every client has it.
pub const SEALWIRE_OBRPC_FLAG_NO_LOG_LEVEL: u16 = 7;

/// A request or a response of OB-RPC.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sealwire_obrpc_packet {
    /// The channel: a number that the client chooses and the server repeats in its answer.
    pub chid: u32,
    /// What is called; sealwire_obrpc_pcode_name() names some.
    pub pcode: u32,
    /// SEALWIRE_OBRPC_FLAG_*, with others of OceanBase as they are on the wire.
    pub flags: u16,
    /// From 0 to 11; clients use 5.
    pub priority: u8,
    /// The resource group.
    pub group_id: u32,
    /// How deep calls are nested.
    pub request_level: u32,
    /// The tenant; 1 is sys.
    pub tenant_id: u64,
    /// The tenant whose privileges count.
    pub priv_tenant_id: u64,
    /// The session, as of a stream.
    pub session_id: u64,
    /// The trace id. Older ends leave its last two words 0.
    pub trace_id: [u64; 4],
    /// How long the sender waits, in microseconds.
    pub timeout_us: u64,
    /// When it was sent, in microseconds since 1970.
    pub timestamp_us: u64,
    /// The sender's cluster; -1 for tools and clients.
    pub src_cluster_id: i64,
    /// The cluster that is meant; -1 for any.
    pub dst_cluster_id: i64,
    /// Hash of the cluster's name; 0 within one cluster.
    pub cluster_name_hash: u64,
    /// Version of the serialization.
    pub unis_version: u64,
    /// A logical clock of servers.
    pub seq_no: u64,
    /// The sender's data version; 0 from clients.
    pub data_version: u64,
    /// The payload, never compressed.
    pub payload: *const u8,
    /// Its length, in bytes.
    pub payload_len: usize,
}

/// Gives the next packet in `*packet_out`, whole and with the checksum of its payload verified; a
/// payload that came compressed is inflated. The payload is borrowed until the next call that takes
/// the connection non-const. Keepalives within the stream are skipped.
///
/// A connection is used for packets, as by servers, or for calls (sealwire_conn_obrpc_call()), from
/// the first such use on.
///
/// ::SEALWIRE_WANT_READ where it has not arrived in whole; ::SEALWIRE_EOF where the stream ended
/// cleanly in front of it; ::SEALWIRE_ERR_TRUNCATED where it ended within; ::SEALWIRE_ERR_FRAME
/// where it is none, or damaged; ::SEALWIRE_ERR_FRAME_TOO_LARGE where its header promises more than
/// 64 MiB, as sent or as inflated; ::SEALWIRE_ERR_STATE where the connection is used for calls.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_next_obrpc_packet(
    conn: *mut sealwire_conn,
    packet_out: *mut sealwire_obrpc_packet,
) -> sealwire_result {
    call(conn, |conn, pools| {
        let out = Out::new("packet_out", packet_out)?;
        conn.obrpc.begin_packets()?;
        loop {
            match next(&mut conn.frames, &mut conn.link, pools)? {
                Next::Packet => break,
                Next::Keepalive => {}
                Next::Wait(condition) => return Ok(condition),
            }
        }
        let packet = conn.obrpc.open(conn.frames.incoming());
        // Not lent where it is damaged, so that it stays in front of everything behind it.
        out.set(packet.map_err(Error::from)?);
        conn.frames.lend();
        Ok(SEALWIRE_OK)
    })
}

/// Writes a packet: all of it is taken, or nothing. Its fields are written as they are; length and
/// checksum are computed. The memory is the caller's again when the call returns.
///
/// Over a descriptor it is sent as far as the socket takes it; sealwire_conn_flush() goes on.
///
/// ::SEALWIRE_WANT_WRITE or, in mid-handshake, ::SEALWIRE_WANT_READ where nothing was taken, since
/// an earlier packet is still waiting; ::SEALWIRE_ERR_FRAME_TOO_LARGE where the payload is longer
/// than the wire allows (2047 MiB), and ::SEALWIRE_ERR_STATE where the connection is used for
/// calls: nothing was taken, and the connection goes on.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_write_obrpc_packet(
    conn: *mut sealwire_conn,
    packet: *const sealwire_obrpc_packet,
) -> sealwire_result {
    call(conn, |conn, pools| {
        let packet = pointer::shared("packet", packet)?;
        let payload = packet.payload.cast::<c_void>();
        let payload = pointer::bytes("packet->payload", payload, packet.payload_len)?;
        check_len("packet->payload", payload.len())?;
        conn.obrpc.begin_packets()?;
        conn.frames.put(&mut conn.link, pools, |out| {
            // Only what is too long cannot be written, and it is not.
            let _ = write_packet(out, packet.chid, &packet.header(), |writer| {
                writer.bytes(payload);
            });
        })
    })
}

/// Answers a request: `rcode`, 0 or an error of OceanBase, and behind a 0 the `result_len` bytes of
/// the result, which are left out behind an error. A request that wants no answer gets none, and
/// ::SEALWIRE_OK. All of it is taken, or nothing; the memory is the caller's again when the call
/// returns. Of `request` the header counts alone: a copy of it may be kept and answered later, in
/// any order.
///
/// The answer repeats the flags SEALWIRE_OBRPC_FLAG_STREAM and SEALWIRE_OBRPC_FLAG_STREAM_LAST of
/// the request and its session. A server that streams sets them in its copy of the request: the
/// former and a session of its choice for a part that more follow, the latter beside it for the
/// last one. The client asks on with a request of the same session and the former flag; both flags
/// say that it wants no more, which is answered as it is.
///
/// Results as of sealwire_conn_write_obrpc_packet(); ::SEALWIRE_ERR_ARGUMENT where `request` is a
/// response.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_answer_obrpc_packet(
    conn: *mut sealwire_conn,
    request: *const sealwire_obrpc_packet,
    rcode: i32,
    result: *const c_void,
    result_len: usize,
) -> sealwire_result {
    call(conn, |conn, pools| -> Outcome {
        let request = pointer::shared("request", request)?;
        let result = pointer::bytes("result", result, result_len)?;
        check_len("result", result.len())?;
        let flags = Flags(request.flags);
        if flags.contains(Flags::RESPONSE) {
            return Err(Failure::argument("request is a response"));
        }
        conn.obrpc.begin_packets()?;
        if flags.contains(Flags::UNNEED_RESPONSE) {
            return Ok(SEALWIRE_OK);
        }
        let rcode = ResultCode::new(rcode);
        let mut header = request.header().response();
        if rcode.is_ok() {
            header.flags |= Flags(request.flags & (Flags::STREAM | Flags::STREAM_LAST).0);
        }
        conn.frames.put(&mut conn.link, pools, |out| {
            // Only what is too long cannot be written, and it is not.
            let _ = write_packet(out, request.chid, &header, |writer| {
                rcode.write(writer);
                if rcode.is_ok() {
                    writer.bytes(result);
                }
            });
        })
    })
}

const _: () = assert!(
    SEALWIRE_OBRPC_FLAG_RESPONSE == Flags::RESPONSE.0
        && SEALWIRE_OBRPC_FLAG_STREAM == Flags::STREAM.0
        && SEALWIRE_OBRPC_FLAG_STREAM_LAST == Flags::STREAM_LAST.0
        && SEALWIRE_OBRPC_FLAG_NO_RESPONSE == Flags::UNNEED_RESPONSE.0
        && SEALWIRE_OBRPC_FLAG_BACKGROUND == Flags::BACKGROUND_FLOW.0
        && SEALWIRE_OBRPC_FLAG_NO_LOG_LEVEL == Flags::NO_LOG_LEVEL.0
);

impl Obrpc {
    /// The packet in a frame, its payload in memory that lives until the next one.
    fn open(&mut self, frame: &[u8]) -> Result<sealwire_obrpc_packet, Violation> {
        let mut decoder = PacketDecoder::default();
        let frame = decoder.next(&mut &*frame)?;
        let packet = frame.ok_or(Violation::Malformed("a packet"))?.packet()?;
        let payload = match packet.content(RPC_PACKET_LEN_MAX)? {
            Cow::Borrowed(payload) => payload,
            Cow::Owned(payload) => {
                self.content = payload;
                &self.content
            }
        };
        Ok(sealwire_obrpc_packet::new(&packet, payload))
    }
}

impl sealwire_obrpc_packet {
    fn new(packet: &Packet<'_>, payload: &[u8]) -> Self {
        let header = &packet.header;
        Self {
            chid: packet.chid,
            pcode: header.pcode.0,
            flags: header.flags.0,
            priority: header.priority,
            group_id: header.group_id,
            request_level: header.request_level,
            tenant_id: header.tenant_id,
            priv_tenant_id: header.priv_tenant_id,
            session_id: header.session_id,
            trace_id: header.trace_id,
            timeout_us: header.timeout_us,
            timestamp_us: header.timestamp_us,
            src_cluster_id: header.src_cluster_id,
            dst_cluster_id: header.dst_cluster_id,
            cluster_name_hash: header.cluster_name_hash,
            unis_version: header.unis_version,
            seq_no: header.seq_no,
            data_version: header.data_version,
            payload: payload.as_ptr(),
            payload_len: payload.len(),
        }
    }

    fn header(&self) -> RpcHeader {
        RpcHeader {
            pcode: Pcode(self.pcode),
            flags: Flags(self.flags),
            priority: self.priority,
            group_id: self.group_id,
            request_level: self.request_level,
            tenant_id: self.tenant_id,
            priv_tenant_id: self.priv_tenant_id,
            session_id: self.session_id,
            trace_id: self.trace_id,
            timeout_us: self.timeout_us,
            timestamp_us: self.timestamp_us,
            src_cluster_id: self.src_cluster_id,
            dst_cluster_id: self.dst_cluster_id,
            cluster_name_hash: self.cluster_name_hash,
            unis_version: self.unis_version,
            seq_no: self.seq_no,
            data_version: self.data_version,
            ..RpcHeader::default()
        }
    }
}
