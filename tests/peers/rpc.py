"""OB-RPC on the wire: headers, checksum, serialization. Shares no code with the library."""

import struct
import zlib
from dataclasses import dataclass, field

NET = struct.Struct(">4sIII")
MAGIC = b"\x01\xdb\xdb\xce"
REQUIRED = struct.Struct(">IBBHQQQQQQqq")
# Name, format and default of each field behind those that every header has.
OPTIONAL = [
    ("cost_time", "40s", struct.pack(">i36x", 40)), ("dst_cluster_id", "q", -1), ("compressor", "i", 0),
    ("original_len", "i", 0), ("src_cluster_id", "q", -1), ("unis_version", "q", 0), ("request_level", "i", 0),
    ("seq_no", "q", 0), ("group_id", "i", 0), ("trace_2", "Q", 0), ("trace_3", "Q", 0),
    ("cluster_name_hash", "Q", 0), ("data_version", "Q", 0),
]

RESPONSE, STREAM, STREAM_LAST, ONE_WAY, NO_LOG_LEVEL = 1 << 15, 1 << 14, 1 << 13, 1 << 10, 7

ZLIB = 4


class Malformed(Exception):
    """The peer broke the protocol."""


@dataclass
class Packet:
    """A request or a response."""

    pcode: int
    payload: bytes = b""
    chid: int = 0
    priority: int = 5
    flags: int = NO_LOG_LEVEL
    tenant_id: int = 1
    priv_tenant_id: int = 1
    session_id: int = 0
    trace: tuple = (0, 0)
    timeout_us: int = 3_000_000
    timestamp_us: int = 0
    rest: dict = field(default_factory=dict)
    header_len: int = 192

    def encode(self, payload_checksum=None):
        """The bytes of it. The checksum may be known, which for much data is worth a lot."""
        if payload_checksum is None:
            payload_checksum = checksum(self.payload)
        rest = {name: default for name, _, default in OPTIONAL} | self.rest
        fixed = REQUIRED.pack(
            self.pcode, self.header_len, self.priority, self.flags, payload_checksum, self.tenant_id,
            self.priv_tenant_id, self.session_id, *self.trace, self.timeout_us, self.timestamp_us,
        )
        header = fixed + b"".join(struct.pack(">" + form, rest[name]) for name, form, _ in OPTIONAL)
        body = header[:self.header_len].ljust(self.header_len, b"\0") + self.payload
        return NET.pack(MAGIC, len(body), self.chid, 0) + body

    def compressed(self):
        original, self.payload = self.payload, zlib.compress(self.payload)
        self.rest |= {"compressor": ZLIB, "original_len": len(original)}
        return self


def read_packet(stream, len_max=64 << 20):
    magic, length, chid, _reserved = NET.unpack(stream.read(NET.size))
    if magic != MAGIC:
        raise Malformed(f"a packet that begins with {magic!r}")
    if length > len_max:
        raise Malformed(f"a packet of {length} bytes")
    return decode(chid, stream.read(length))


def decode(chid, body):
    if len(body) < 136:
        raise Malformed(f"a packet of {len(body)} bytes")
    (pcode, header_len, priority, flags, expected, tenant_id, priv_tenant_id, session_id, trace_0, trace_1,
     timeout_us, timestamp_us) = REQUIRED.unpack_from(body)
    rest, position = {}, REQUIRED.size
    for name, form, default in OPTIONAL:
        rest[name] = default
        if header_len > position:
            rest[name] = struct.unpack_from(">" + form, body, position)[0]
        position += struct.calcsize(">" + form)
    payload = body[header_len:]
    if checksum(payload) != expected:
        raise Malformed(f"checksum {checksum(payload):#x}, not {expected:#x}")
    if rest["compressor"] == ZLIB:
        payload = zlib.decompress(payload)
        if len(payload) != rest["original_len"]:
            raise Malformed("a payload of another length than promised")
    return Packet(
        pcode, payload, chid, priority, flags, tenant_id, priv_tenant_id, session_id, (trace_0, trace_1),
        timeout_us, timestamp_us, rest, header_len,
    )


def crc_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


CRC_TABLE = crc_table()


def checksum(payload):
    value = 0
    for byte in payload:
        value = value >> 8 ^ CRC_TABLE[value & 0xFF ^ byte]
    return value


# --- serialization ---


def varint(value, bits=64):
    value &= (1 << bits) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def vi32(value):
    return varint(value, 32)


def string(data):
    return varint(len(data)) + data + b"\0"


def c_string(data):
    return varint(len(data) + 1) + data + b"\0"


def obj(*members, padded=True):
    body = b"".join(members)
    if not padded:
        return varint(1) + varint(len(body)) + body
    length = bytes([len(body) >> shift & 0x7F | 0x80 for shift in (0, 7, 14, 21)] + [len(body) >> 28])
    return varint(1) + length + body


class Reader:
    """A cursor over a payload."""

    def __init__(self, data):
        self.data = data
        self.position = 0

    def take(self, length):
        if self.position + length > len(self.data):
            raise Malformed("an end within a payload")
        self.position += length
        return self.data[self.position - length:self.position]

    def rest(self):
        return self.take(len(self.data) - self.position)

    def varint(self, bits=64):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        value &= (1 << bits) - 1
        return value - (1 << bits) if value >> (bits - 1) else value

    def vi32(self):
        return self.varint(32)

    def u64(self):
        return int.from_bytes(self.take(8), "big")

    def string(self):
        data = self.take(self.varint())
        self.take(1)
        return data

    def c_string(self):
        return self.take(self.varint())[:-1]

    def obj(self):
        version = self.varint()
        if version != 1:
            raise Malformed(f"an object of version {version}")
        return Reader(self.take(self.varint()))


def result_code(rcode, text=b""):
    return obj(vi32(rcode), c_string(text), varint(0))


def read_result(payload):
    reader = Reader(payload)
    members = reader.obj()
    rcode, text = members.vi32(), members.c_string()
    return rcode, text, reader.rest()
