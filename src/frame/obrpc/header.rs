use crate::wire::{Hole, Reader, Writer};

use super::compression::Compressor;
use super::flags::Flags;
use super::pcode::Pcode;
use super::violation::Violation;

/// The header of a request or a response.
///
/// Its length tells how much of it there is: senders of different ages use 128, 160, 176, 184 and
/// 192 bytes, later ones more. What is not there has its default, and what is not understood is
/// skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RpcHeader {
    /// What is called.
    pub pcode: Pcode,
    /// Length of the header, in bytes: the payload begins there. None is written that is shorter
    /// than [`RPC_HEADER_LEN_MIN`].
    pub len: u8,
    /// From 0 to 11; clients use 5.
    pub priority: u8,
    /// The flags.
    pub flags: Flags,
    /// That of the payload as it is sent ([`checksum`](super::checksum)).
    pub checksum: u64,
    /// The tenant; 1 is sys.
    pub tenant_id: u64,
    /// The tenant whose privileges count.
    pub priv_tenant_id: u64,
    /// The session, as of a stream.
    pub session_id: u64,
    /// The trace id; its last two words are of the longer headers.
    pub trace_id: [u64; 4],
    /// How long the sender waits, in microseconds.
    pub timeout_us: u64,
    /// When it was sent, in microseconds since 1970.
    pub timestamp_us: u64,
    /// What the server notes of its own times, as it is on the wire.
    pub cost_time: [u8; COST_TIME_LEN],
    /// The cluster that is meant; [`ANY_CLUSTER`]: not to be checked.
    pub dst_cluster_id: i64,
    /// How the payload is compressed.
    pub compressor: Compressor,
    /// Length of the payload before it was compressed, in bytes; zero where it is not.
    pub original_len: u32,
    /// The sender's cluster; [`ANY_CLUSTER`] for tools and clients.
    pub src_cluster_id: i64,
    /// Version of the serialization.
    pub unis_version: u64,
    /// How deep calls are nested.
    pub request_level: u32,
    /// A logical clock of the servers.
    pub seq_no: u64,
    /// The resource group.
    pub group_id: u32,
    /// Hash of the cluster's name; zero within one cluster.
    pub cluster_name_hash: u64,
    /// The sender's data version; zero from clients.
    pub data_version: u64,
}

impl Default for RpcHeader {
    fn default() -> Self {
        Self {
            pcode: Pcode(0),
            len: RPC_HEADER_LEN,
            priority: PRIORITY,
            flags: Flags::default(),
            checksum: 0,
            tenant_id: SYS_TENANT,
            priv_tenant_id: SYS_TENANT,
            session_id: 0,
            trace_id: [0; 4],
            timeout_us: 0,
            timestamp_us: 0,
            cost_time: COST_TIME,
            dst_cluster_id: ANY_CLUSTER,
            compressor: Compressor::INVALID,
            original_len: 0,
            src_cluster_id: ANY_CLUSTER,
            unis_version: 0,
            request_level: 0,
            seq_no: 0,
            group_id: 0,
            cluster_name_hash: 0,
            data_version: 0,
        }
    }
}

impl RpcHeader {
    /// Reads the header at the front of a packet's body, and gives the payload behind it.
    ///
    /// # Errors
    ///
    /// [`Violation::Malformed`] where the header is shorter than any, or longer than the body.
    pub fn decode(body: &[u8]) -> Result<(Self, &[u8]), Violation> {
        Self::read(body).ok_or(Violation::Malformed("an RPC header"))
    }

    fn read(body: &[u8]) -> Option<(Self, &[u8])> {
        let len = *body.get(LEN_AT)?;
        let (header, payload) = body.split_at_checked(len.into())?;
        let mut fields = Reader::new(header);
        let mut header = Self {
            pcode: Pcode(fields.u32_be()?),
            len: fields.u8()?,
            priority: fields.u8()?,
            flags: Flags(fields.u16_be()?),
            checksum: fields.u64_be()?,
            tenant_id: fields.u64_be()?,
            priv_tenant_id: fields.u64_be()?,
            session_id: fields.u64_be()?,
            trace_id: [fields.u64_be()?, fields.u64_be()?, 0, 0],
            timeout_us: fields.u64_be()?,
            timestamp_us: fields.u64_be()?,
            ..Self::default()
        };
        // Each field of the rest is there, or is not and neither are those after it.
        let _ = header.read_rest(&mut fields);
        Some((header, payload))
    }

    fn read_rest(&mut self, fields: &mut Reader<'_>) -> Option<()> {
        self.cost_time = fields.array()?;
        self.dst_cluster_id = fields.array().map(i64::from_be_bytes)?;
        self.compressor = Compressor(fields.u32_be()?);
        self.original_len = fields.u32_be()?;
        self.src_cluster_id = fields.array().map(i64::from_be_bytes)?;
        self.unis_version = fields.u64_be()?;
        self.request_level = fields.u32_be()?;
        self.seq_no = fields.u64_be()?;
        self.group_id = fields.u32_be()?;
        self.trace_id[2] = fields.u64_be()?;
        self.trace_id[3] = fields.u64_be()?;
        self.cluster_name_hash = fields.u64_be()?;
        self.data_version = fields.u64_be()?;
        Some(())
    }

    /// Appends as much of the header as its length says, and zeros for what is beyond it. The
    /// checksum is left open, since it is known once the payload is written.
    pub(super) fn encode(&self, writer: &mut Writer<'_>) -> Hole<CHECKSUM_LEN> {
        let len = self.len.max(RPC_HEADER_LEN_MIN);
        let start = writer.position();
        writer.u32_be(self.pcode.0);
        writer.u8(len);
        writer.u8(self.priority);
        writer.u16_be(self.flags.0);
        let checksum = writer.reserve();
        writer.u64_be(self.tenant_id);
        writer.u64_be(self.priv_tenant_id);
        writer.u64_be(self.session_id);
        writer.u64_be(self.trace_id[0]);
        writer.u64_be(self.trace_id[1]);
        writer.u64_be(self.timeout_us);
        writer.u64_be(self.timestamp_us);
        writer.bytes(&self.cost_time);
        writer.bytes(&self.dst_cluster_id.to_be_bytes());
        writer.u32_be(self.compressor.0);
        writer.u32_be(self.original_len);
        writer.bytes(&self.src_cluster_id.to_be_bytes());
        writer.u64_be(self.unis_version);
        writer.u32_be(self.request_level);
        writer.u64_be(self.seq_no);
        writer.u32_be(self.group_id);
        writer.u64_be(self.trace_id[2]);
        writer.u64_be(self.trace_id[3]);
        writer.u64_be(self.cluster_name_hash);
        writer.u64_be(self.data_version);
        writer.fit(start, len.into());
        checksum
    }

    /// The header of an answer to this request.
    pub fn response(&self) -> Self {
        Self {
            pcode: self.pcode,
            priority: self.priority,
            flags: Flags::default() | Flags::RESPONSE,
            tenant_id: self.tenant_id,
            priv_tenant_id: self.priv_tenant_id,
            session_id: self.session_id,
            trace_id: self.trace_id,
            dst_cluster_id: self.src_cluster_id,
            ..Self::default()
        }
    }
}

/// The tenant of the system.
pub const SYS_TENANT: u64 = 1;

/// A cluster id that stands for any.
pub const ANY_CLUSTER: i64 = -1;

/// The priority that clients use.
pub const PRIORITY: u8 = 5;

/// Length of the header that is sent, in bytes: what current servers send.
pub const RPC_HEADER_LEN: u8 = 192;

/// The shortest header that any sender uses, in bytes.
pub const RPC_HEADER_LEN_MIN: u8 = 128;

/// Length of [`RpcHeader::checksum`], in bytes.
pub(super) const CHECKSUM_LEN: usize = 8;

/// Where the header has its length.
const LEN_AT: usize = 4;

/// Length of [`RpcHeader::cost_time`], in bytes, which it begins with.
const COST_TIME_LEN: usize = 40;

const COST_TIME: [u8; COST_TIME_LEN] = {
    let mut times = [0; COST_TIME_LEN];
    times[3] = COST_TIME_LEN as u8;
    times
};
