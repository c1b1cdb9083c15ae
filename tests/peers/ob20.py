"""OceanBase's frames (OB 2.0) around MySQL packets: both checksums computed and checked.

The frames begin with the first command after a login whose connection attributes ask for them.
"""

import struct
from functools import cache

from .mysql import Client

# Connection attributes with which a server speaks OB 2.0 after the login.
ATTRIBUTES = {"__mysql_client_type": "__ob_libobclient", "__proxy_capability_flag": str(1 << 8)}

MAGIC, VERSION = 0x20AB, 20
LAST_PACKET = 1 << 1
OUTER_LEN, INNER_LEN, TAIL_LEN = 7, 24, 4


class FrameError(Exception):
    """A frame that is not what it should be."""


def encode(payload: bytes, connection_id: int, request_id: int, sequence: int = 0, flags: int = LAST_PACKET) -> bytes:
    """One frame around a payload."""
    outer = (INNER_LEN + len(payload) + TAIL_LEN).to_bytes(3, "little") + bytes([sequence]) + bytes(3)
    inner = struct.pack("<HHI", MAGIC, VERSION, connection_id) + request_id.to_bytes(3, "little") + bytes([sequence])
    inner += struct.pack("<IIH", len(payload), flags, 0)
    header = outer + inner
    return header + struct.pack("<H", crc16(header)) + payload + struct.pack("<I", crc32c(payload))


class FramedWire:
    """Reads and writes MySQL packets in frames; takes the place of a plain wire after the login."""

    def __init__(self, client: Client):
        self._plain = client.wire
        self.connection_id = client.greeting.thread_id
        self.frames_received = 0
        self._request_id = 0
        self._buffer = b""

    @property
    def socket(self):
        return self._plain.socket

    @property
    def sequence(self) -> int:
        return self._plain.sequence

    @sequence.setter
    def sequence(self, value: int) -> None:
        self._plain.sequence = value

    def write(self, payload: bytes) -> None:
        self._request_id += 1
        framed = len(payload).to_bytes(3, "little") + bytes([self.sequence]) + payload
        self.sequence += 1
        self.socket.sendall(encode(framed, self.connection_id, self._request_id))

    def read(self) -> bytes:
        header = self._take(4)
        if header[3] != self.sequence & 0xFF:
            raise FrameError(f"sequence id {header[3]} instead of {self.sequence & 0xFF}")
        self.sequence += 1
        return self._take(int.from_bytes(header[:3], "little"))

    def _take(self, length: int) -> bytes:
        while len(self._buffer) < length:
            self._buffer += self._frame()
        taken, self._buffer = self._buffer[:length], self._buffer[length:]
        return taken

    def _frame(self) -> bytes:
        header = self._plain.take(OUTER_LEN + INNER_LEN)
        length = int.from_bytes(header[:3], "little")
        magic, version, connection_id = struct.unpack_from("<HHI", header, 7)
        size, flags, _, checksum = struct.unpack_from("<IIHH", header, 19)
        if (magic, version, connection_id) != (MAGIC, VERSION, self.connection_id):
            raise FrameError(f"header {header.hex()}")
        if length != INNER_LEN + size + TAIL_LEN:
            raise FrameError(f"{length} outside, {size} inside")
        if checksum != crc16(header[:-2]):
            raise FrameError("checksum of the header")
        payload = self._plain.take(size)
        if struct.unpack("<I", self._plain.take(TAIL_LEN))[0] != crc32c(payload):
            raise FrameError("checksum of the payload")
        self.frames_received += 1
        return payload[4 + int.from_bytes(payload[:4], "little") :] if flags & 1 else payload


def framed(client: Client) -> Client:
    """The same client, which speaks in frames from here on."""
    client.wire = FramedWire(client)
    return client


def crc16(data: bytes) -> int:
    """CRC-16/ARC."""
    return _crc(data, 0xA001)


def crc32c(data: bytes) -> int:
    """Castagnoli, from zero and without inversion."""
    return _crc(data, 0x82F6_3B78)


def _crc(data: bytes, polynomial: int) -> int:
    table, crc = _table(polynomial), 0
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc


@cache
def _table(polynomial: int) -> list[int]:
    def entry(value: int) -> int:
        for _ in range(8):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
        return value

    return [entry(value) for value in range(256)]
