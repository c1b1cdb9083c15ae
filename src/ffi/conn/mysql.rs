//! MySQL's packets, and the upgrade to TLS in front of its login.

use std::ffi::{c_char, c_void};

use super::frames::Frames;
use super::link::Link;
use super::{Conn, call, sealwire_conn};
use crate::buf::Pools;
use crate::error::{Error, ErrorKind};
use crate::ffi::handle::guarded;
use crate::ffi::pointer::{self, Out};
use crate::ffi::result::sealwire_result::{self, *};
use crate::ffi::result::{Failure, Outcome};
use crate::frame::mysql::auth::{ClientAuth, KeySource, Nonce, Plugin};
use crate::frame::mysql::{
    Capabilities, ErrPacket, FirstClientPacket, FirstServerPacket, Greeting, HEADER_LEN, Header,
    PAYLOAD_LEN_MAX, Sequence, SslRequest, SslRequestSettings, StatusFlags, Violation,
    write_packet,
};
use crate::limits::LOGIN_PACKET_LEN_MAX;
use crate::wire::Writer;

/// One packet of MySQL's protocol. A payload of 0xffffff bytes is continued by the next packet.
#[repr(C)]
pub struct sealwire_mysql_packet {
    /// The payload.
    pub payload: *const u8,
    /// Its length, in bytes.
    pub payload_len: usize,
    /// Rises by one with every packet of either side, and begins at 0 with each command.
    pub sequence_id: u8,
}

/// What a server says first.
#[repr(C)]
#[derive(Clone)]
pub struct sealwire_mysql_greeting {
    /// What it offers, CLIENT_* with MariaDB's extended half above.
    pub capabilities: u64,
    /// What KILL calls the connection.
    pub thread_id: u32,
    /// SERVER_STATUS_*.
    pub status: u16,
    /// The low byte of its default collation.
    pub collation: u8,
    /// What the proof of a password covers.
    pub nonce: [u8; 20],
    /// Its version, ended by NUL and cut where it is longer.
    pub server_version: [c_char; 64],
    /// The plugin that most accounts use, ended by NUL and cut where it is longer; empty where it
    /// names none.
    pub plugin: [c_char; 64],
}

/// Gives the next packet in `*packet_out`. The payload is borrowed until the next call that takes
/// the connection non-const.
///
/// ::SEALWIRE_WANT_READ where it has not arrived in whole; ::SEALWIRE_EOF where the stream ended
/// cleanly in front of it; ::SEALWIRE_ERR_TRUNCATED where it ended within.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_next_mysql_packet(
    conn: *mut sealwire_conn,
    packet_out: *mut sealwire_mysql_packet,
) -> sealwire_result {
    call(conn, |conn, pools| {
        let out = Out::new("packet_out", packet_out)?;
        match next(&mut conn.frames, &mut conn.link, PAYLOAD_LEN_MAX, pools)? {
            Next::Packet(sequence_id, payload) => out.set(sealwire_mysql_packet {
                payload: payload.as_ptr(),
                payload_len: payload.len(),
                sequence_id,
            }),
            Next::Wait(condition) => return Ok(condition),
        }
        Ok(SEALWIRE_OK)
    })
}

/// Writes a payload of any length, as one packet or, from 0xffffff bytes on, as several; all of it
/// is taken, or nothing. The payload is the caller's again when the call returns.
///
/// Over a descriptor it is sent as far as the socket takes it; sealwire_conn_flush() goes on.
///
/// ::SEALWIRE_WANT_WRITE or, in mid-handshake, ::SEALWIRE_WANT_READ where nothing was taken, since
/// an earlier packet is still waiting.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_write_mysql_packet(
    conn: *mut sealwire_conn,
    packet: *const sealwire_mysql_packet,
) -> sealwire_result {
    call(conn, |conn, pools| {
        let packet = pointer::shared("packet", packet)?;
        let payload = packet.payload.cast::<c_void>();
        let payload = pointer::bytes("packet->payload", payload, packet.payload_len)?;
        put(conn, packet.sequence_id, payload, pools)
    })
}

/// Brings a client from its first byte into TLS: reads the server's greeting, asks for TLS and
/// completes the handshake. Called again after ::SEALWIRE_WANT_READ or ::SEALWIRE_WANT_WRITE it
/// goes on where it was.
///
/// The connection has to be set to begin in plaintext (sealwire_conn_set_plaintext()).
/// `capabilities` and `collation` are the client's: CLIENT_SSL is added, and the login that the
/// caller writes next, with sequence id 2, repeats them, since servers read it by what was asked
/// for here. `greeting_out` may be NULL; with the result ::SEALWIRE_OK it has been written, by a
/// server that nobody has authenticated at the time.
///
/// ::SEALWIRE_ERR_STATE where the connection is not in plaintext;
/// ::SEALWIRE_ERR_NOT_TLS where the server offers no TLS, or somebody on the path took that out;
/// ::SEALWIRE_ERR_FRAME where it speaks something else than MySQL, or refuses the connection.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_mysql_connect(
    conn: *mut sealwire_conn,
    capabilities: u32,
    collation: u8,
    greeting_out: *mut sealwire_mysql_greeting,
) -> sealwire_result {
    call(conn, |conn, pools| {
        let out = match greeting_out.is_null() {
            true => None,
            false => Some(Out::new("greeting_out", greeting_out)?),
        };
        if conn.upgrade.step == Step::Unbegun {
            conn.link.check_plain()?;
            let len_max = LOGIN_PACKET_LEN_MAX;
            conn.upgrade.greeting = match next(&mut conn.frames, &mut conn.link, len_max, pools)? {
                Next::Packet(_, greeting) => Some(greeting_of(greeting)?),
                Next::Wait(condition) => return Ok(condition),
            };
            let request = ssl_request(capabilities, collation);
            put(conn, 1, &request, pools)?;
            conn.link.start_tls(pools)?;
            conn.upgrade.step = Step::Begun;
        }
        let done = conn.link.handshake(pools)?;
        if let (SEALWIRE_OK, Some(greeting), Some(out)) = (done, &conn.upgrade.greeting, out) {
            out.set(greeting.clone());
        }
        Ok(done)
    })
}

/// Brings a server from its first byte into TLS: sends `greeting` with CLIENT_SSL added, reads the
/// client's request for TLS and completes the handshake. Called again after ::SEALWIRE_WANT_READ or
/// ::SEALWIRE_WANT_WRITE, with the same greeting, it goes on where it was. The client's login comes
/// next (sealwire_conn_next_mysql_packet()).
///
/// The connection has to be set to begin in plaintext (sealwire_conn_set_plaintext()).
///
/// ::SEALWIRE_ERR_NOT_TLS where the client logs in without TLS: it has been told so, as by a server
/// with require_secure_transport (error 3159).
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_mysql_accept(
    conn: *mut sealwire_conn,
    greeting: *const sealwire_mysql_greeting,
) -> sealwire_result {
    call(conn, |conn, pools| {
        let greeting = pointer::shared("greeting", greeting)?;
        if conn.upgrade.step == Step::Unbegun {
            conn.link.check_plain()?;
            put(conn, 0, &greeting.payload(), pools)?;
            conn.upgrade.step = Step::Greeted;
        }
        if conn.upgrade.step == Step::Greeted {
            let len_max = LOGIN_PACKET_LEN_MAX;
            let answer = match next(&mut conn.frames, &mut conn.link, len_max, pools)? {
                Next::Packet(_, answer) => FirstClientPacket::parse(answer).map_err(broken)?,
                Next::Wait(condition) => return Ok(condition),
            };
            if let FirstClientPacket::Login(_) = answer {
                return Err(refuse_plain_login(conn, pools)?);
            }
            conn.link.start_tls(pools)?;
            conn.upgrade.step = Step::Begun;
        }
        conn.link.handshake(pools)
    })
}

/// Computes what a client answers for `password` to a server's nonce of 20 bytes, by the
/// authentication plugin of that name: mysql_native_password or caching_sha2_password. Writes up to
/// `len` bytes to `buf`; 32 suffice.
///
/// Where caching_sha2_password goes on to ask for the password itself (a payload of 1 and 4), the
/// answer inside of TLS is the password with a NUL behind it.
///
/// ::SEALWIRE_ERR_ARGUMENT where the plugin is another one, or `len` is too small.
///
/// Any thread, at any time.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_mysql_prove_password(
    plugin: *const c_char,
    password: *const c_char,
    nonce: *const u8,
    buf: *mut u8,
    len: usize,
    len_out: *mut usize,
) -> sealwire_result {
    guarded(|| {
        let out = Out::new("len_out", len_out)?;
        let plugin = Plugin::named(pointer::text("plugin", plugin)?.as_bytes());
        if !matches!(plugin, Plugin::Native | Plugin::CachingSha2) {
            let text = "plugin is neither mysql_native_password nor caching_sha2_password";
            return Err(Failure::argument(text));
        }
        let password = pointer::text("password", password)?.as_bytes();
        let nonce = pointer::shared("nonce", nonce.cast::<Nonce>())?;
        let proof =
            ClientAuth::new(password, false, KeySource::Refused, plugin, *nonce).answer()?;
        let target = pointer::bytes_mut("buf", buf.cast::<c_void>(), len)?;
        let Some(target) = target.get_mut(..proof.len()) else {
            let text = format!("buf has {len} bytes, {} are needed", proof.len());
            return Err(Failure::argument(text));
        };
        target.copy_from_slice(&proof);
        out.set(proof.len());
        Ok(SEALWIRE_OK)
    })
}

/// How far the upgrade of a connection has come.
#[derive(Default)]
pub(super) struct Upgrade {
    step: Step,
    greeting: Option<sealwire_mysql_greeting>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Step {
    #[default]
    Unbegun,
    /// The server's greeting is on its way out, and the client's answer awaited.
    Greeted,
    /// TLS has begun.
    Begun,
}

enum Next<'a> {
    /// The sequence id and the payload, which is lent.
    Packet(u8, &'a [u8]),
    Wait(sealwire_result),
}

/// Gathers the next packet, header and payload.
fn next<'a>(
    frames: &'a mut Frames,
    link: &mut Link,
    payload_len_max: usize,
    pools: &mut Pools,
) -> Result<Next<'a>, Failure> {
    let condition = frames.gather(HEADER_LEN, link, pools)?;
    let Some(header) = frames
        .incoming()
        .first_chunk()
        .filter(|_| condition == SEALWIRE_OK)
    else {
        return Ok(Next::Wait(condition));
    };
    let header = Header::decode(*header);
    let payload_len = header.payload_len as usize;
    if payload_len > payload_len_max {
        let text =
            format!("the peer sent a packet of {payload_len} bytes, {payload_len_max} at most");
        return Err(Error::new(ErrorKind::Limit, text).into());
    }
    match frames.gather(HEADER_LEN + payload_len, link, pools)? {
        SEALWIRE_OK => {
            let payload = frames.lend().get(HEADER_LEN..).unwrap_or_default();
            Ok(Next::Packet(header.sequence, payload))
        }
        condition => Ok(Next::Wait(condition)),
    }
}

fn put(conn: &mut Conn, sequence_id: u8, payload: &[u8], pools: &mut Pools) -> Outcome {
    conn.frames.put(&mut conn.link, pools, |out| {
        write_packet(out, &mut Sequence(sequence_id), |writer| {
            writer.bytes(payload)
        });
    })
}

fn greeting_of(payload: &[u8]) -> Result<sealwire_mysql_greeting, Failure> {
    let greeting = match FirstServerPacket::parse(payload).map_err(broken)? {
        FirstServerPacket::Greeting(greeting) => greeting,
        FirstServerPacket::Refused(refusal) => {
            let message = String::from_utf8_lossy(refusal.message);
            let text = format!(
                "the server refuses the connection: {} {message:?}",
                refusal.code
            );
            return Err(Error::new(ErrorKind::Protocol, text).into());
        }
    };
    if !greeting.capabilities.contains(Capabilities::SSL) {
        let text = "the server offers no TLS, or somebody on the path took the offer out";
        return Err(Error::new(ErrorKind::NotTls, text).into());
    }
    Ok(sealwire_mysql_greeting {
        capabilities: greeting.capabilities.bits(),
        thread_id: greeting.thread_id,
        status: greeting.status.bits(),
        collation: greeting.collation,
        nonce: greeting.nonce,
        server_version: fixed_text(greeting.version),
        plugin: fixed_text(greeting.plugin.unwrap_or_default()),
    })
}

fn ssl_request(capabilities: u32, collation: u8) -> Vec<u8> {
    let request = SslRequest {
        capabilities: Capabilities::from_bits(capabilities.into()).with(Capabilities::SSL),
        settings: Some(SslRequestSettings {
            packet_len_max: PAYLOAD_LEN_MAX as u32,
            collation,
        }),
    };
    request.payload()
}

/// Tells a client that logs in without TLS what is wrong.
fn refuse_plain_login(conn: &mut Conn, pools: &mut Pools) -> Result<Failure, Failure> {
    let error = ErrPacket {
        code: ER_SECURE_TRANSPORT_REQUIRED,
        sql_state: Some(*b"HY000"),
        message: b"Connections using insecure transport are prohibited while \
                   --require_secure_transport=ON.",
    };
    let mut payload = Vec::new();
    error.write(&mut Writer::new(&mut payload));
    put(conn, 2, &payload, pools)?;
    let text = "the client logs in without TLS";
    Ok(Error::new(ErrorKind::NotTls, text).into())
}

impl sealwire_mysql_greeting {
    fn payload(&self) -> Vec<u8> {
        let (version, plugin) = (text_of(&self.server_version), text_of(&self.plugin));
        let greeting = Greeting {
            version: &version,
            thread_id: self.thread_id,
            nonce: self.nonce,
            capabilities: Capabilities::from_bits(self.capabilities).with(Capabilities::SSL),
            collation: self.collation,
            status: StatusFlags::from_bits(self.status),
            plugin: (!plugin.is_empty()).then_some(&plugin[..]),
        };
        let mut payload = Vec::new();
        greeting.write(&mut Writer::new(&mut payload));
        payload
    }
}

fn fixed_text<const LEN: usize>(text: &[u8]) -> [c_char; LEN] {
    let mut fixed = [0; LEN];
    for (to, from) in fixed.iter_mut().take(LEN - 1).zip(text) {
        *to = *from as c_char;
    }
    fixed
}

fn text_of(fixed: &[c_char]) -> Vec<u8> {
    fixed
        .iter()
        .map(|byte| *byte as u8)
        .take_while(|byte| *byte != 0)
        .collect()
}

fn broken(violation: Violation) -> Failure {
    Error::from(violation).into()
}

/// ER_SECURE_TRANSPORT_REQUIRED.
const ER_SECURE_TRANSPORT_REQUIRED: u16 = 3159;
