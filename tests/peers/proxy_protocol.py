"""The PROXY protocol, versions 1 and 2, as HAProxy's proxy-protocol.txt has it: reading, and writing for tests."""

import ipaddress
import socket
import struct
from dataclasses import dataclass, field

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LINE_MAX = 107

SSL = 0x20
SSL_VERSION, SSL_CN, SSL_CIPHER = 0x21, 0x22, 0x23
# This one is the gateway's own.
SUBJECT = 0xE5

CLIENT_SSL, CLIENT_CERT_CONN, CLIENT_CERT_SESS = 1, 2, 4


@dataclass
class Tls:
    flags: int
    verify: int
    values: dict[int, str]


@dataclass
class Header:
    version: int
    is_local: bool = False
    source: tuple[str, int] | None = None
    destination: tuple[str, int] | None = None
    values: dict[int, bytes] = field(default_factory=dict)

    @property
    def tls(self) -> Tls | None:
        value = self.values.get(SSL)
        if value is None:
            return None
        flags, verify = struct.unpack_from(">BI", value)
        return Tls(flags, verify, {kind: text.decode() for kind, text in read_values(value[5:]).items()})

    @property
    def subject(self) -> str | None:
        value = self.values.get(SUBJECT)
        return None if value is None else value.decode()


def take(connection: socket.socket) -> Header:
    """Reads a header from a connection, and not one byte behind it."""
    first = take_exactly(connection, 1)
    if first != SIGNATURE[:1]:
        return take_line(connection, first)
    prefix = first + take_exactly(connection, 15)
    assert prefix[:12] == SIGNATURE, prefix
    command, family, length = struct.unpack(">BBH", prefix[12:])
    body = take_exactly(connection, length)
    header = Header(2, is_local={0x20: True, 0x21: False}[command])
    if header.is_local:
        return header
    size = {0x11: 4, 0x21: 16}[family]
    ends = [str(ipaddress.ip_address(body[at : at + size])) for at in (0, size)]
    ports = struct.unpack_from(">HH", body, 2 * size)
    header.source, header.destination = zip(ends, ports)
    header.values = read_values(body[2 * size + 4 :])
    return header


def take_line(connection: socket.socket, line: bytes) -> Header:
    while not line.endswith(b"\r\n"):
        assert len(line) < LINE_MAX, line
        line += take_exactly(connection, 1)
    words = line.decode("ascii").split()
    assert words[0] == "PROXY", line
    header = Header(1)
    if words[1] != "UNKNOWN":
        _, _, source, destination, source_port, destination_port = words
        header.source, header.destination = (source, int(source_port)), (destination, int(destination_port))
    return header


def take_exactly(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = connection.recv(length - len(data))
        assert more, f"the stream ended after {len(data)} of {length} bytes"
        data += more
    return data


def read_values(data: bytes) -> dict[int, bytes]:
    values = {}
    while data:
        kind, length = struct.unpack_from(">BH", data)
        assert len(data) >= 3 + length, "a value is cut short"
        assert kind not in values, f"two values of the kind {kind:#x}"
        values[kind], data = data[3 : 3 + length], data[3 + length :]
    return values


def line(source: str, port: int = 50_000, destination: str = "192.0.2.1") -> bytes:
    return f"PROXY TCP4 {source} {destination} {port} 3306\r\n".encode()


def binary(source: str, port: int = 50_000, destination: str = "192.0.2.1", values: bytes = b"") -> bytes:
    ips = [ipaddress.ip_address(address) for address in (source, destination)]
    family = {4: 0x11, 6: 0x21}[ips[0].version]
    body = b"".join(ip.packed for ip in ips) + struct.pack(">HH", port, 3306) + values
    return SIGNATURE + struct.pack(">BBH", 0x21, family, len(body)) + body


def local() -> bytes:
    """What a balancer says that looks whether somebody is there."""
    return SIGNATURE + b"\x20\0\0\0"
