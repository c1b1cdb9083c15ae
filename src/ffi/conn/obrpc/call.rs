//! Calls over OB-RPC: many at a time on one connection, each with its deadline.

use std::borrow::Cow;
use std::ffi::{c_char, c_void};
use std::ptr;
use std::time::Duration;

use super::super::link::now;
use super::super::{self as conn, Conn, sealwire_conn};
use super::{Next, Usage, check_len, next};
use crate::buf::Pools;
use crate::ffi::pointer::{self, Out};
use crate::ffi::result::sealwire_result::{self, *};
use crate::ffi::result::{Failure, Outcome};
use crate::frame::obrpc::{ANY_CLUSTER, Flags, PRIORITY, Pcode, RpcHeader, SYS_TENANT};
use crate::limits::{RPC_CALLS_MAX, RPC_TIMEOUT_MS};
use crate::rpc::{Call, CallId, Reply};

/// What is called. All but `pcode` may be 0, which is for the default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sealwire_obrpc_call {
    /// What is called.
    pub pcode: u32,
    /// How long the answer is waited for, each part of a stream anew, in milliseconds; 0 for
    /// 2,000. The server is told.
    pub timeout_ms: u32,
    /// The resource group.
    pub group_id: u32,
    /// SEALWIRE_OBRPC_FLAG_NO_RESPONSE, SEALWIRE_OBRPC_FLAG_BACKGROUND, or others of OceanBase, in
    /// addition to SEALWIRE_OBRPC_FLAG_NO_LOG_LEVEL.
    pub flags: u16,
    /// From 1 to 11; 0 for 5, which clients use.
    pub priority: u8,
    /// The tenant; 0 for 1, which is sys.
    pub tenant_id: u64,
    /// The tenant whose privileges count; 0 for `tenant_id`.
    pub priv_tenant_id: u64,
    /// The cluster that is meant; 0 for any.
    pub dst_cluster_id: i64,
    /// The trace id.
    pub trace_id: [u64; 4],
    /// The arguments, serialized; NULL is fine for none.
    pub args: *const c_void,
    /// Their length, in bytes.
    pub args_len: usize,
}

/// An answer, or its absence.
#[repr(C)]
pub struct sealwire_obrpc_reply {
    /// The call that is answered.
    pub call_id: u64,
    /// ::SEALWIRE_OK: the server answered. ::SEALWIRE_ERR_TIMEOUT: it did not before the call's
    /// deadline; the call is over, and whether it was carried out is unknown.
    pub status: sealwire_result,
    /// What the server answered: 0, or an error of OceanBase (sealwire_obrpc_rcode_name()).
    pub rcode: i32,
    /// The server's words for it, not ended by NUL; often none.
    pub message: *const c_char,
    /// Their length, in bytes.
    pub message_len: usize,
    /// The result, serialized; none behind an error.
    pub result: *const u8,
    /// Its length, in bytes.
    pub result_len: usize,
    /// True for a part of a stream that more follow: sealwire_conn_obrpc_next_part() or
    /// sealwire_conn_obrpc_cancel() is due. Otherwise the call is over.
    pub has_more: bool,
}

/// Makes a call, and tells in `*call_id_out` by which number its answer is known: never 0, and
/// never used twice on a connection. Any number of calls may be under way, up to 4,096; answers
/// come in any order (sealwire_conn_obrpc_next_reply()). A call with
/// SEALWIRE_OBRPC_FLAG_NO_RESPONSE is over at once. The memory of the arguments is the caller's
/// again when this returns.
///
/// The call's deadline counts from here, negotiation and handshake included where they are still to
/// come. Over a descriptor it is sent as far as the socket takes it; the next call on the
/// connection, or sealwire_conn_flush(), goes on.
///
/// ::SEALWIRE_WANT_READ where nothing was taken, since too many calls wait for their answers;
/// ::SEALWIRE_WANT_WRITE where nothing was taken, since too many bytes wait to be sent;
/// ::SEALWIRE_ERR_ARGUMENT where `flags` has those of responses or streams;
/// ::SEALWIRE_ERR_FRAME_TOO_LARGE where the arguments are longer than the wire allows (2047 MiB),
/// and ::SEALWIRE_ERR_STATE where the connection is used for packets: nothing was taken, and the
/// connection goes on.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_obrpc_call(
    conn: *mut sealwire_conn,
    call: *const sealwire_obrpc_call,
    call_id_out: *mut u64,
) -> sealwire_result {
    conn::call(conn, |conn, pools| {
        let asked = pointer::shared("call", call)?;
        let out = Out::new("call_id_out", call_id_out)?;
        let args = pointer::bytes("call->args", asked.args, asked.args_len)?;
        check_len("call->args", args.len())?;
        let call = asked.call()?;
        conn.obrpc.client()?;
        conn.obrpc.send(&mut conn.link, pools)?;
        let client = conn.obrpc.client()?;
        if client.calls_len() >= RPC_CALLS_MAX {
            return Ok(SEALWIRE_WANT_READ);
        }
        if !client.is_writable() {
            return Ok(SEALWIRE_WANT_WRITE);
        }
        let id = client.call(now(), &call, |writer| writer.bytes(args))?;
        conn.send_calls(pools)?;
        out.set(id.number());
        Ok(SEALWIRE_OK)
    })
}

/// Gives the next answer in `*reply_out`, or the next call whose deadline has passed. What it
/// points to is borrowed until the next call that takes the connection non-const.
///
/// A blocking descriptor is waited for until the nearest deadline of a call, whatever its own
/// timeouts are, and not at all where no call is under way. Everywhere else
/// sealwire_conn_timeout_ms() tells how long to wait for the descriptor, or in
/// sealwire_engine_wait(), before this is to be called again. It is to be called until it returns
/// ::SEALWIRE_WANT_READ. Answers to calls that are over are dropped.
///
/// ::SEALWIRE_WANT_READ where nothing has arrived; ::SEALWIRE_EOF where the server ended the
/// connection cleanly, and ::SEALWIRE_ERR_FRAME where it sent something else than answers, or a
/// damaged one. Behind these and every other error no call is under way any more: whether those
/// that were have been carried out is unknown. ::SEALWIRE_ERR_STATE where the connection is used
/// for packets.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_obrpc_next_reply(
    conn: *mut sealwire_conn,
    reply_out: *mut sealwire_obrpc_reply,
) -> sealwire_result {
    conn::call(conn, |conn, pools| {
        let out = Out::new("reply_out", reply_out)?;
        let replied = conn.next_reply(pools);
        let replied = replied.inspect_err(|failure| conn.obrpc.keep_failure(failure));
        conn.mind_deadlines();
        match replied? {
            Replied::Reply(reply) => out.set(reply),
            Replied::Wait(condition) => return Ok(condition),
        }
        Ok(SEALWIRE_OK)
    })
}

/// Asks for the next part of a stream, whose latest one said that there is more. Its deadline
/// begins anew.
///
/// ::SEALWIRE_ERR_STATE where the call is no stream that waits for this.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_obrpc_next_part(
    conn: *mut sealwire_conn,
    call_id: u64,
) -> sealwire_result {
    conn::call(conn, |conn, pools| {
        let client = conn.obrpc.client()?;
        client.next_part(now(), CallId::from_number(call_id))?;
        conn.send_calls(pools)
    })
}

/// Gives a call up: its answer, should it come, is dropped, and the server of a stream that has
/// more is told. Of a call that is over already nothing happens.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_obrpc_cancel(
    conn: *mut sealwire_conn,
    call_id: u64,
) -> sealwire_result {
    conn::call(conn, |conn, pools| {
        let client = conn.obrpc.client()?;
        client.cancel(now(), CallId::from_number(call_id));
        conn.send_calls(pools)
    })
}

enum Replied {
    Reply(sealwire_obrpc_reply),
    Wait(sealwire_result),
}

impl Conn {
    /// Sends calls as far as that goes: what is left goes out with the next call.
    fn send_calls(&mut self, pools: &mut Pools) -> Outcome {
        self.mind_deadlines();
        self.obrpc.send(&mut self.link, pools)?;
        Ok(SEALWIRE_OK)
    }

    /// Lets nobody wait beyond the nearest deadline of a call.
    fn mind_deadlines(&mut self) {
        let deadline = match &self.obrpc.usage {
            Usage::Calls(client) => client.poll_timeout(),
            _ => None,
        };
        self.link.set_wake(deadline);
    }

    fn next_reply(&mut self, pools: &mut Pools) -> Result<Replied, Failure> {
        loop {
            if let Some(id) = self.obrpc.client()?.handle_timeout(now()) {
                self.obrpc.send(&mut self.link, pools)?;
                return Ok(Replied::Reply(sealwire_obrpc_reply::timed_out(id)));
            }
            self.obrpc.send(&mut self.link, pools)?;
            let client = self.obrpc.client()?;
            let deadline = client.poll_timeout().unwrap_or(now().monotonic);
            let is_waiting = client.calls_len() > 0;
            self.link.set_wake(Some(deadline));
            match next(&mut self.frames, &mut self.link, pools)? {
                Next::Packet => {
                    if let Some(reply) = self.take_reply()? {
                        return Ok(Replied::Reply(reply));
                    }
                }
                // Whoever keeps sending them keeps nobody beyond a deadline.
                Next::Keepalive => {}
                Next::Wait(SEALWIRE_WANT_READ) if is_waiting && deadline <= now().monotonic => {}
                Next::Wait(condition) => {
                    if condition == SEALWIRE_EOF {
                        self.obrpc.client()?.abandon();
                    }
                    return Ok(Replied::Wait(condition));
                }
            }
        }
    }

    /// The answer in the packet that was gathered; nothing where no call waits for it.
    fn take_reply(&mut self) -> Result<Option<sealwire_obrpc_reply>, Failure> {
        let Usage::Calls(client) = &mut self.obrpc.usage else {
            return Ok(None);
        };
        let mut frame = self.frames.lend();
        let Some(reply) = client.handle_recv(now(), &mut frame)? else {
            return Ok(None);
        };
        let Reply {
            id,
            rcode,
            result,
            has_more,
            ..
        } = reply;
        let result = match result {
            Cow::Borrowed(result) => result,
            Cow::Owned(result) => {
                self.obrpc.content = result;
                &self.obrpc.content
            }
        };
        self.obrpc.message = rcode.message;
        Ok(Some(sealwire_obrpc_reply {
            call_id: id.number(),
            status: SEALWIRE_OK,
            rcode: rcode.rcode,
            message: self.obrpc.message.as_ptr().cast(),
            message_len: self.obrpc.message.len(),
            result: result.as_ptr(),
            result_len: result.len(),
            has_more,
        }))
    }
}

impl sealwire_obrpc_call {
    fn call(&self) -> Result<Call, Failure> {
        let reserved = Flags::RESPONSE | Flags::STREAM | Flags::STREAM_LAST;
        if self.flags & reserved.0 != 0 {
            let text = "call->flags has flags of responses or streams";
            return Err(Failure::argument(text));
        }
        let tenant_id = or_default(self.tenant_id, SYS_TENANT);
        Ok(Call {
            header: RpcHeader {
                pcode: Pcode(self.pcode),
                flags: Flags::NO_LOG_LEVEL | Flags(self.flags),
                priority: or_default(self.priority, PRIORITY),
                tenant_id,
                priv_tenant_id: or_default(self.priv_tenant_id, tenant_id),
                dst_cluster_id: or_default(self.dst_cluster_id, ANY_CLUSTER),
                group_id: self.group_id,
                trace_id: self.trace_id,
                ..RpcHeader::default()
            },
            timeout: Duration::from_millis(or_default(self.timeout_ms, RPC_TIMEOUT_MS).into()),
        })
    }
}

impl sealwire_obrpc_reply {
    fn timed_out(id: CallId) -> Self {
        Self {
            call_id: id.number(),
            status: SEALWIRE_ERR_TIMEOUT,
            rcode: 0,
            message: ptr::null(),
            message_len: 0,
            result: ptr::null(),
            result_len: 0,
            has_more: false,
        }
    }
}

fn or_default<T: Default + PartialEq>(value: T, default: T) -> T {
    match value == T::default() {
        true => default,
        false => value,
    }
}
