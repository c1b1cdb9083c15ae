//! rustls connections: the handshake, and the record path that leaves records to rustls.
//!
//! This is the only file that names rustls' connection types. rustls is fed one record at a time,
//! so that when the handshake ends nothing behind it has been touched: the rest of the input still
//! is as it arrived, and either record path can take over.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::kernel::KernelConnection;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{AlertDescription, CommonState, HandshakeKind, ProtocolVersion};

use super::config::{ClientConfig, RecordPath, ServerConfig, Version};
use super::record::{Alert, InPlaceRecords, KeySchedule, Opened, Protocol, Records, TrafficKeys};
use super::verify::{ClientVerifier, ServerVerifier};
use super::{Facts, call, failure, suites};
use crate::buf::{Buf, BufPool, SendQueue};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::time::Now;

/// A handshake under way.
pub(crate) struct Handshake {
    rustls: Rustls,
    /// Bytes that rustls has begun to read and not let go of.
    carry: Vec<u8>,
    records: RecordPath,
    server_name: Option<String>,
    verifier: Verifier,
    /// The application protocol that the server must confirm.
    required_protocol: Option<&'static str>,
}

/// Who judges the peer's certificate. rustls asks in full handshakes; in a resumed one it is asked
/// here, since what was good when the session began may have been revoked or have expired since.
enum Verifier {
    OfServers(Arc<ServerVerifier>, ServerName<'static>),
    /// `None`: clients present no certificates.
    OfClients(Option<Arc<ClientVerifier>>),
}

enum Rustls {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

impl Handshake {
    pub(crate) fn client(
        config: &ClientConfig,
        name: &ServerName<'static>,
        now: Now,
    ) -> Result<Self> {
        call::begin(now);
        let rustls = UnbufferedClientConnection::new(Arc::clone(config.rustls()), name.clone())
            .map_err(|error| failure::describe(error, failure::Peer::Server))?;
        let verifier = Verifier::OfServers(Arc::clone(config.verifier()), name.clone());
        let required_protocol = config.required_protocol();
        Ok(Self {
            required_protocol,
            ..Self::new(Rustls::Client(rustls), verifier, config.records())
        })
    }

    pub(crate) fn server(config: &ServerConfig, now: Now) -> Result<Self> {
        call::begin(now);
        let rustls = UnbufferedServerConnection::new(Arc::clone(config.rustls()))
            .map_err(|error| failure::describe(error, failure::Peer::Client))?;
        let verifier = Verifier::OfClients(config.verifier().cloned());
        Ok(Self::new(
            Rustls::Server(rustls),
            verifier,
            config.records(),
        ))
    }

    fn new(rustls: Rustls, verifier: Verifier, records: RecordPath) -> Self {
        Self {
            rustls,
            carry: Vec::new(),
            records,
            server_name: None,
            verifier,
            required_protocol: None,
        }
    }

    /// Feeds one whole record, or nothing for a client to begin. What is to be sent is queued, also
    /// where the result is an error: the alert.
    pub(crate) fn advance(
        &mut self,
        now: Now,
        record: &[u8],
        out: &mut SendQueue,
        pool: &mut BufPool,
    ) -> Result<()> {
        call::begin(now);
        if self.carry.len() + record.len() > limits::HANDSHAKE_CARRY_LEN_MAX {
            let text = "peer sent a handshake message in more records than any peer needs";
            return Err(Error::new(ErrorKind::TlsProtocol, text));
        }
        self.carry.extend_from_slice(record);
        let (carry, mut is_early) = (&mut self.carry, false);
        let early = |data: &[u8]| is_early |= !data.is_empty();
        let driven = match &mut self.rustls {
            Rustls::Client(client) => drive(client, carry, early, out, pool),
            Rustls::Server(server) => drive(server, carry, early, out, pool),
        };
        drop_front(carry, driven.discard);
        self.server_name = call::take_server_name().or(self.server_name.take());
        driven
            .result
            .map_err(|error| failure::describe(error, self.rustls.peer()))?;
        if driven.peer_closed {
            return Err(Error::new(
                ErrorKind::Truncated,
                "peer ended TLS in mid-handshake",
            ));
        }
        if is_early {
            return Err(Error::new(
                ErrorKind::Internal,
                "data before the end of the handshake",
            ));
        }
        Ok(())
    }

    pub(crate) fn is_done(&self) -> bool {
        !self.rustls.common().is_handshaking()
    }

    /// Hands the connection to its record path. Only called when [`Handshake::is_done`]. The alert
    /// of an error is queued.
    pub(crate) fn finish(
        self,
        now: Now,
        out: &mut SendQueue,
        pool: &mut BufPool,
    ) -> Result<(Facts, Box<dyn Records>)> {
        let facts = self.rustls.facts(self.server_name)?;
        if let Some(required) = self.required_protocol
            && facts.application_protocol.is_none()
        {
            let peer = self.rustls.peer();
            return Err(failure::no_application_protocol(peer, required));
        }
        if facts.resumed {
            call::begin(now);
            let chain = self.rustls.common().peer_certificates();
            if let Err(error) = self.verifier.judge_again(chain, now) {
                let alert = alert_of(&error);
                let error = failure::describe(error, self.rustls.peer());
                // rustls sends no alert behind a handshake that was good to it; this crate's own
                // records do, whichever path was chosen.
                let mut records = self.rustls.into_in_place(facts.version)?;
                records.send_alert(alert, out, pool);
                return Err(error);
            }
        }
        let records: Box<dyn Records> = match (self.records, self.rustls) {
            (RecordPath::Rustls, Rustls::Client(client)) => Box::new(RustlsRecords::new(client)),
            (RecordPath::Rustls, Rustls::Server(server)) => Box::new(RustlsRecords::new(server)),
            (RecordPath::InPlace, rustls) => Box::new(rustls.into_in_place(facts.version)?),
        };
        Ok((facts, records))
    }
}

impl Verifier {
    fn judge_again(
        &self,
        chain: Option<&[CertificateDer<'static>]>,
        now: Now,
    ) -> Result<(), rustls::Error> {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now.wall_s));
        let chain = chain.and_then(<[_]>::split_first);
        match (self, chain) {
            (Self::OfServers(verifier, name), Some((leaf, rest))) => verifier
                .verify_server_cert(leaf, rest, name, &[], now)
                .map(|_| ()),
            (Self::OfClients(None), _) => Ok(()),
            (Self::OfClients(Some(verifier)), Some((leaf, rest))) => {
                verifier.verify_client_cert(leaf, rest, now).map(|_| ())
            }
            (Self::OfClients(Some(verifier)), None) if !verifier.client_auth_mandatory() => Ok(()),
            (_, None) => Err(rustls::Error::NoCertificatesPresented),
        }
    }
}

/// The two unbuffered connection types of rustls, which share no trait of its own.
trait Unbuffered: Send {
    type Data;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
    fn common(&self) -> &CommonState;
    fn peer(&self) -> failure::Peer;
}

/// What one record did to a connection.
struct Driven {
    /// Bytes at the front of the input that rustls has let go of. It must be given the others
    /// again.
    discard: usize,
    peer_closed: bool,
    result: Result<(), rustls::Error>,
}

/// Drives rustls until it needs another record, or until the handshake has ended: what follows it
/// belongs to the record path. Data goes to `take`; the alert of an error is queued.
fn drive<C: Unbuffered>(
    conn: &mut C,
    input: &mut [u8],
    mut take: impl FnMut(&[u8]),
    out: &mut SendQueue,
    pool: &mut BufPool,
) -> Driven {
    let mut driven = Driven {
        discard: 0,
        peer_closed: false,
        result: Ok(()),
    };
    loop {
        let input = input.get_mut(driven.discard..).unwrap_or_default();
        let UnbufferedStatus { discard, state } = conn.process(input);
        let goes_on = match state {
            Ok(ConnectionState::EncodeTlsData(encode)) => {
                queue_encoded(encode, out, pool);
                driven.result.is_ok() || conn.common().wants_write()
            }
            Ok(ConnectionState::TransmitTlsData(transmit)) => {
                transmit.done();
                driven.result.is_ok() && conn.common().is_handshaking()
            }
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(Ok(record)) = traffic.next_record() {
                    take(record.payload);
                }
                false
            }
            Ok(ConnectionState::PeerClosed) => {
                driven.peer_closed = true;
                true
            }
            // rustls does not remember a fatal error: asked again it gives the alert, and asked
            // once more it would read on.
            Err(error) if driven.result.is_ok() => {
                driven.result = Err(error);
                conn.common().wants_write()
            }
            _ => false,
        };
        driven.discard += discard;
        if !goes_on {
            return driven;
        }
    }
}

/// Queues what rustls encoded: a record, which a send buffer always has room for.
fn queue_encoded<Data>(
    mut encode: EncodeTlsData<'_, Data>,
    out: &mut SendQueue,
    pool: &mut BufPool,
) {
    let record_len_max = limits::RECORD_PLAIN_LEN_MAX + limits::RECORD_OVERHEAD_MAX;
    if let Ok(len) = encode.encode(out.spare(record_len_max, pool)) {
        out.commit(len);
    }
}

fn in_place<Data: 'static>(
    secrets: rustls::ExtractedSecrets,
    kernel: KernelConnection<Data>,
    version: Version,
    is_client: bool,
) -> Result<InPlaceRecords>
where
    KernelConnection<Data>: KeySchedule,
{
    let protocol = version.protocol();
    let send = TrafficKeys::new(protocol, secrets.tx)?;
    let receive = TrafficKeys::new(protocol, secrets.rx)?;
    Ok(match protocol {
        Protocol::Tls12 => InPlaceRecords::tls12(send, receive, is_client),
        Protocol::Tls13 => InPlaceRecords::tls13(send, receive, Box::new(kernel)),
    })
}

/// The alert that rustls sends for this refusal in a full handshake.
fn alert_of(error: &rustls::Error) -> Alert {
    Alert::fatal(u8::from(match error {
        rustls::Error::InvalidCertificate(reason) => AlertDescription::from(reason.clone()),
        _ => AlertDescription::HandshakeFailure,
    }))
}

impl Rustls {
    fn common(&self) -> &CommonState {
        match self {
            Self::Client(client) => client,
            Self::Server(server) => server,
        }
    }

    fn peer(&self) -> failure::Peer {
        match self {
            Self::Client(_) => failure::Peer::Server,
            Self::Server(_) => failure::Peer::Client,
        }
    }

    /// Takes keys and sequence numbers over from rustls, which keeps the key schedule.
    fn into_in_place(self, version: Version) -> Result<InPlaceRecords> {
        match self {
            Self::Client(client) => {
                let (secrets, kernel) = client
                    .dangerous_into_kernel_connection()
                    .map_err(|error| failure::describe(error, failure::Peer::Server))?;
                in_place(secrets, kernel, version, true)
            }
            Self::Server(server) => {
                let (secrets, kernel) = server
                    .dangerous_into_kernel_connection()
                    .map_err(|error| failure::describe(error, failure::Peer::Client))?;
                in_place(secrets, kernel, version, false)
            }
        }
    }

    fn facts(&self, server_name: Option<String>) -> Result<Facts> {
        let common = self.common();
        let version = match common.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => Version::Tls12,
            Some(ProtocolVersion::TLSv1_3) => Version::Tls13,
            _ => {
                return Err(Error::new(
                    ErrorKind::Internal,
                    "a handshake without a version",
                ));
            }
        };
        let chain = common.peer_certificates().unwrap_or_default();
        Ok(Facts {
            version,
            suite: common
                .negotiated_cipher_suite()
                .map_or("", |suite| suites::name(suite.suite())),
            group: common
                .negotiated_key_exchange_group()
                .map_or("", |group| suites::group_name(group.name())),
            resumed: common.handshake_kind() == Some(HandshakeKind::Resumed),
            server_name,
            application_protocol: common
                .alpn_protocol()
                .map(|name| String::from_utf8_lossy(name).into_owned()),
            peer_chain: chain
                .iter()
                .map(|certificate| certificate.to_vec())
                .collect(),
        })
    }
}

/// The record path that leaves records to rustls: the conservative choice, and the other path's
/// oracle.
///
/// A KeyUpdate that the peer requests is answered in front of the next data that is sent, which is
/// when RFC 8446 section 4.6.3 demands it.
struct RustlsRecords<C> {
    rustls: Box<C>,
    /// Bytes that rustls has begun to read and not let go of.
    carry: Vec<u8>,
    /// What was opened and not let go of.
    plain: Option<Buf>,
    /// What was written and is not sealed.
    gathered: Option<Buf>,
    refresh_is_due: bool,
}

impl<C: Unbuffered> RustlsRecords<C> {
    fn new(rustls: C) -> Self {
        Self {
            rustls: Box::new(rustls),
            carry: Vec::new(),
            plain: None,
            gathered: None,
            refresh_is_due: false,
        }
    }

    /// Calls `act` once rustls is ready to send, with what it had queued before in front.
    fn with_traffic<T>(
        &mut self,
        out: &mut SendQueue,
        pool: &mut BufPool,
        act: impl FnOnce(WriteTraffic<'_, C::Data>, &mut SendQueue, &mut BufPool) -> Result<T>,
    ) -> Result<T> {
        loop {
            let UnbufferedStatus { discard, state } = self.rustls.process(&mut self.carry);
            match state {
                Ok(ConnectionState::EncodeTlsData(encode)) => queue_encoded(encode, out, pool),
                Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
                Ok(ConnectionState::WriteTraffic(traffic)) => return act(traffic, out, pool),
                _ => return Err(Error::new(ErrorKind::Internal, "rustls cannot send")),
            }
            drop_front(&mut self.carry, discard);
        }
    }

    fn encrypt(&mut self, plain: &[u8], out: &mut SendQueue, pool: &mut BufPool) -> Result<()> {
        for chunk in plain.chunks(limits::RECORD_PLAIN_LEN_MAX) {
            self.with_traffic(out, pool, |mut traffic, out, pool| {
                seal_chunk(&mut traffic, chunk, out, pool)
            })?;
        }
        Ok(())
    }

    fn encrypt_gathered(&mut self, out: &mut SendQueue, pool: &mut BufPool) -> Result<()> {
        let Some(gathered) = self.gathered.take() else {
            return Ok(());
        };
        let result = self.encrypt(gathered.filled(), out, pool);
        pool.give(gathered);
        result
    }

    /// Has rustls read one record behind what it has not let go of; data is added to `plain`.
    fn read(
        &mut self,
        record: &mut [u8],
        plain: &mut Buf,
        out: &mut SendQueue,
        pool: &mut BufPool,
    ) -> Driven {
        // A record holds less than a send buffer does.
        let take = |data: &[u8]| {
            plain.append(data);
        };
        if self.carry.is_empty() {
            let driven = drive(&mut *self.rustls, record, take, out, pool);
            let rest = record.get(driven.discard..).unwrap_or_default();
            self.carry.extend_from_slice(rest);
            return driven;
        }
        self.carry.extend_from_slice(record);
        let driven = drive(&mut *self.rustls, &mut self.carry, take, out, pool);
        drop_front(&mut self.carry, driven.discard);
        driven
    }

    /// Replaces the sending key where that is due. While the peer is in the middle of a handshake
    /// message rustls would take it for the peer's fault, and it waits.
    fn refresh_if_due(&mut self, out: &mut SendQueue, pool: &mut BufPool) -> Result<()> {
        if !self.refresh_is_due || !self.carry.is_empty() {
            return Ok(());
        }
        self.refresh_is_due = false;
        let peer = self.rustls.peer();
        self.with_traffic(out, pool, |traffic, _, _| {
            traffic
                .refresh_traffic_keys()
                .map_err(|error| failure::describe(error, peer))
        })?;
        self.with_traffic(out, pool, |_, _, _| Ok(()))
    }
}

impl<C: Unbuffered> Records for RustlsRecords<C> {
    fn open(
        &mut self,
        now: Now,
        record: &mut [u8],
        out: &mut SendQueue,
        pool: &mut BufPool,
    ) -> Result<Opened> {
        call::begin(now);
        self.let_go(pool);
        let mut plain = pool.take();
        let driven = self.read(record, &mut plain, out, pool);
        let is_empty = plain.is_empty();
        match is_empty {
            true => pool.give(plain),
            false => self.plain = Some(plain),
        }
        driven
            .result
            .map_err(|error| failure::describe(error, self.rustls.peer()))?;
        match (driven.peer_closed, is_empty) {
            (true, _) => Ok(Opened::Closed),
            (false, true) => Ok(Opened::Nothing),
            (false, false) => Ok(Opened::Held),
        }
    }

    fn held(&self) -> &[u8] {
        self.plain.as_ref().map_or(&[], Buf::filled)
    }

    fn let_go(&mut self, pool: &mut BufPool) {
        if let Some(plain) = self.plain.take() {
            pool.give(plain);
        }
    }

    fn write(&mut self, plain: &[u8], out: &mut SendQueue, pool: &mut BufPool) -> Result<()> {
        let is_short = plain.len() < limits::SEAL_DIRECT_LEN_MIN;
        if !is_short || self.gathered() + plain.len() > limits::RECORD_PLAIN_LEN_MAX {
            self.encrypt_gathered(out, pool)?;
        }
        if plain.is_empty() {
            return Ok(());
        }
        if is_short {
            let gathered = self.gathered.get_or_insert_with(|| pool.take());
            gathered.append(plain);
            return Ok(());
        }
        self.encrypt(plain, out, pool)
    }

    fn seal(&mut self, out: &mut SendQueue, pool: &mut BufPool) -> Result<()> {
        self.encrypt_gathered(out, pool)?;
        self.refresh_if_due(out, pool)
    }

    fn gathered(&self) -> usize {
        self.gathered.as_ref().map_or(0, Buf::len)
    }

    fn close(&mut self, out: &mut SendQueue, pool: &mut BufPool) -> Result<()> {
        self.encrypt_gathered(out, pool)?;
        self.with_traffic(out, pool, |mut traffic, out, pool| {
            queue_sized(out, pool, CLOSE_NOTIFY_LEN, |spare| {
                traffic.queue_close_notify(spare)
            })
        })
    }

    fn refresh(&mut self, out: &mut SendQueue, pool: &mut BufPool) -> Result<()> {
        self.refresh_is_due =
            self.rustls.common().protocol_version() == Some(ProtocolVersion::TLSv1_3);
        self.seal(out, pool)
    }
}

fn seal_chunk<Data>(
    traffic: &mut WriteTraffic<'_, Data>,
    chunk: &[u8],
    out: &mut SendQueue,
    pool: &mut BufPool,
) -> Result<()> {
    let len = chunk.len() + limits::RECORD_OVERHEAD_MAX;
    queue_sized(out, pool, len, |spare| traffic.encrypt(chunk, spare))
}

/// Queues what `seal` writes, with more memory where `len` bytes were not enough: a KeyUpdate may
/// come first.
fn queue_sized(
    out: &mut SendQueue,
    pool: &mut BufPool,
    mut len: usize,
    mut seal: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<()> {
    loop {
        match seal(out.spare(len, pool)) {
            Ok(sealed_len) => {
                out.commit(sealed_len);
                return Ok(());
            }
            Err(EncryptError::InsufficientSize(short)) if len < short.required_size => {
                len = short.required_size;
            }
            Err(EncryptError::InsufficientSize(_)) => {
                return Err(Error::new(
                    ErrorKind::Internal,
                    "a record larger than a send buffer",
                ));
            }
            Err(EncryptError::EncryptExhausted) => {
                return Err(Error::new(
                    ErrorKind::Limit,
                    "the key has protected as many records as it may; connect again",
                ));
            }
        }
    }
}

/// Drops the first `len` bytes, and the memory where nothing is left.
fn drop_front(carry: &mut Vec<u8>, len: usize) {
    if len >= carry.len() {
        *carry = Vec::new();
        return;
    }
    carry.drain(..len);
}

impl Unbuffered for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }

    fn common(&self) -> &CommonState {
        self
    }

    fn peer(&self) -> failure::Peer {
        failure::Peer::Server
    }
}

impl Unbuffered for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }

    fn common(&self) -> &CommonState {
        self
    }

    fn peer(&self) -> failure::Peer {
        failure::Peer::Client
    }
}

impl KeySchedule for KernelConnection<ClientConnectionData> {
    fn next_send_keys(&mut self) -> Result<TrafficKeys> {
        next_keys(self.update_tx_secret())
    }

    fn next_receive_keys(&mut self) -> Result<TrafficKeys> {
        next_keys(self.update_rx_secret())
    }

    fn take_ticket(&mut self, now: Now, body: &[u8]) -> Result<()> {
        call::begin(now);
        self.handle_new_session_ticket(body)
            .map_err(|error| failure::describe(error, failure::Peer::Server))
    }
}

impl KeySchedule for KernelConnection<ServerConnectionData> {
    fn next_send_keys(&mut self) -> Result<TrafficKeys> {
        next_keys(self.update_tx_secret())
    }

    fn next_receive_keys(&mut self) -> Result<TrafficKeys> {
        next_keys(self.update_rx_secret())
    }

    fn take_ticket(&mut self, _now: Now, _body: &[u8]) -> Result<()> {
        Err(Error::new(
            ErrorKind::TlsProtocol,
            "client sent a NewSessionTicket",
        ))
    }
}

/// Keys after a KeyUpdate, which only TLS 1.3 knows.
fn next_keys(
    secrets: Result<(u64, rustls::ConnectionTrafficSecrets), rustls::Error>,
) -> Result<TrafficKeys> {
    let secrets = secrets.map_err(|error| {
        Error::new(
            ErrorKind::Internal,
            format!("the next keys cannot be made: {error}"),
        )
    })?;
    TrafficKeys::new(Protocol::Tls13, secrets)
}

/// A sealed close_notify, in bytes: at most that of TLS 1.2 with AES-GCM.
const CLOSE_NOTIFY_LEN: usize = 2 + limits::RECORD_OVERHEAD_MAX;
