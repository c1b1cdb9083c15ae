"""A log of OceanBase, and a server for those who read it, which breaks connections where it is told to.

Shares no code with the library or with its examples. Checksums are linear (no inversions), so that what is the same in
many packets is summed once: the checksum of two parts follows from theirs and from their lengths.
"""

import hashlib
import random
import socket
import ssl
import struct
import threading
from dataclasses import dataclass, field
from functools import cache

from . import rpc, ussl
from .rpc import Packet, Reader, obj, result_code, varint, vi32

FETCH_LOG, START_LSN = 0x853, 0x855
LS_NOT_EXIST = -4719

GROUP = struct.Struct(">2shiqQQQqQ")
ENTRY = struct.Struct(">2shiQQQ")
PADDING = {1: 1 << 1, 2: 1 << 62}


class Broken(Exception):
    """The connection was broken, as planned."""


# --- checksums ---


def multiply(left, right):
    """The product of two polynomials modulo CRC-32C's, in its reflected order of bits."""
    product = 0
    while left:
        if left & 0x80000000:
            product ^= right
        left = left << 1 & 0xFFFFFFFF
        right = right >> 1 ^ (0x82F63B78 if right & 1 else 0)
    return product


@cache
def power(length):
    """What a checksum is multiplied by where so many bytes follow."""
    if length == 0:
        return 0x80000000
    half = power(length // 2)
    return multiply(multiply(half, half), 0x00800000) if length % 2 else multiply(half, half)


@dataclass(frozen=True)
class Part:
    """Bytes and their checksum."""

    data: bytes
    checksum: int

    @classmethod
    def of(cls, data):
        return cls(data, rpc.checksum(data))

    @classmethod
    def join(cls, parts):
        checksum = 0
        for part in parts:
            checksum = multiply(checksum, power(len(part.data))) ^ part.checksum
        return cls(b"".join(part.data for part in parts), checksum)


def chained(checksum, part):
    """Goes on with the checksum of a part, as 8 bytes."""
    return multiply(checksum, power(8)) ^ rpc.checksum(struct.pack("<Q", part))


def xxh64(data):
    """XXH64 with seed 0, of whole words and of 32 bytes at least."""
    words = struct.unpack(f"<{len(data) // 8}Q", data)
    lanes = [P1 + P2 & M, P2, 0, -P1 & M]
    whole = len(words) // 4 * 4
    for index, word in enumerate(words[:whole]):
        lanes[index % 4] = xxh_round(lanes[index % 4], word)
    value = sum(rotated(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18))) & M
    for lane in lanes:
        value = ((value ^ xxh_round(0, lane)) * P1 + P4) & M
    value = value + len(data) & M
    for word in words[whole:]:
        value = (rotated(value ^ xxh_round(0, word), 27) * P1 + P4) & M
    value = (value ^ value >> 33) * P2 & M
    value = (value ^ value >> 29) * P3 & M
    return value ^ value >> 32


def xxh_round(lane, word):
    return rotated(lane + word * P2 & M, 31) * P1 & M


def rotated(value, bits):
    return (value << bits | value >> 64 - bits) & M


M = (1 << 64) - 1
P1, P2, P3, P4 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63


# --- the log ---


def header(form, magic, version, *members):
    """A header with its check: a bit of parity, or 16 bits of a hash over the structure in memory."""
    encoded = form.pack(magic, version, *members)
    if version == 1:
        check = int.from_bytes(encoded, "big").bit_count() & 1
    else:
        (number,) = struct.unpack(">H", magic)
        # As many words behind the first 8 bytes as there are members but for the length.
        words = [member & M for member in members[1:]]
        check = xxh64(struct.pack(f"<HHi{len(words)}Q", number, version, members[0], *words)) & 0xFFFF
    return encoded[:-8] + struct.pack(">Q", members[-1] | check)


@dataclass(frozen=True)
class Body:
    """What is behind a group's header."""

    part: Part
    checksum: int
    entry_count: int

    @classmethod
    def of_entries(cls, version, entries, scn=7):
        parts, checksum = [], 0
        for data in map(Part.of, entries):
            parts.append(Part.of(header(ENTRY, b"LH", version, len(data.data), scn, data.checksum, 0)))
            parts.append(data)
            checksum = chained(checksum, data.checksum)
        return cls(Part.join(parts), checksum, len(entries))

    @classmethod
    def padding(cls, length):
        return cls(Part(bytes(length), 0), 0, 0)


@dataclass(frozen=True)
class Group:
    """A group where it lies."""

    lsn: int
    header: Part
    body: Body
    is_padding: bool

    @property
    def end_lsn(self):
        return self.lsn + GROUP.size + len(self.body.part.data)


class Log:
    """At least `size` bytes of groups of few bodies, each with a header of its own, all of it out of a seed."""

    BEGIN_LSN = 123_456

    def __init__(self, seed, size, body_len_max=512 << 10):
        self.groups = []
        self.checksum = 0
        dice = random.Random(seed)
        bodies = [self.make_body(dice, body_len_max) for _ in range(20)]
        while self.end_lsn - self.BEGIN_LSN < size:
            version, body = dice.choice(bodies)
            self.append(version, body, is_padding=body.entry_count == 0)
        self.by_lsn = {group.lsn: number for number, group in enumerate(self.groups)}

    @staticmethod
    def make_body(dice, len_max):
        version, length = dice.choice([1, 2]), dice.randrange(1, len_max)
        if dice.random() < 0.1:
            return version, Body.padding(length)
        count = dice.choice([1, 2, 10])
        return version, Body.of_entries(version, [dice.randbytes(max(1, length // count)) for _ in range(count)])

    def append(self, version, body, is_padding=False):
        self.checksum = chained(self.checksum, body.checksum)
        number = len(self.groups)
        flags = PADDING[version] if is_padding else 0
        encoded = header(
            GROUP, b"GR", version, len(body.part.data), 3, self.end_lsn, 1_700_000_000_000_000_000 + number,
            self.checksum, number, flags,
        )
        self.groups.append(Group(self.end_lsn, Part.of(encoded), body, is_padding))

    @property
    def end_lsn(self):
        return self.groups[-1].end_lsn if self.groups else self.BEGIN_LSN

    def groups_from(self, lsn, len_max):
        """As many whole groups as fit, but one at least. Nobody may ask from within a group."""
        if lsn == self.end_lsn:
            return []
        first = end = self.by_lsn[lsn]
        while end < len(self.groups) and (end == first or self.groups[end].end_lsn - lsn <= len_max):
            end += 1
        return self.groups[first:end]

    def digest(self):
        """Of the entries of all groups: what a reader prints."""
        digest = hashlib.sha256()
        for group in self.groups:
            if not group.is_padding:
                digest.update(group.body.part.data)
        return digest.hexdigest()


# --- replies ---


@dataclass
class FetchReply:
    """A reply with log, of which each member may be made a lie."""

    ls_id: int
    next_lsn: int
    group_count: int
    log: list
    error: int = 0
    feedback: int = -1
    is_end: bool = False
    is_limit: bool = False
    rpc_version: int = 1
    log_len: int | None = None
    tail: bytes = field(default_factory=lambda: varint(12_345))

    @classmethod
    def of(cls, ls_id, lsn, groups):
        log = [part for group in groups for part in (group.header, group.body.part)]
        return cls(ls_id, groups[-1].end_lsn if groups else lsn, len(groups), log)

    def payload(self):
        log_len = sum(len(part.data) for part in self.log)
        status = obj(bytes([self.is_end, self.is_limit]), *[varint(number) for number in range(5)])
        front = b"".join([
            varint(self.rpc_version), vi32(self.error), vi32(self.error), be64(self.ls_id), vi32(self.feedback),
            status, be64(self.next_lsn), varint(self.group_count),
            varint(log_len if self.log_len is None else self.log_len),
        ])
        # The length of an object that is not all in one place.
        length = len(front) + log_len + len(self.tail)
        head = bytes([1, *[length >> shift & 0x7F | 0x80 for shift in (0, 7, 14, 21)], length >> 28])
        return Part.join([Part.of(result_code(0) + head + front), *self.log, Part.of(self.tail)])


def be64(number):
    return struct.pack(">Q", number)


# --- the server ---


class LogServer:
    """Serves a log to one client after the other.

    `breaks` has an item for each connection that is to be broken: the number of bytes that the server sends on it,
    negotiation and handshake included, and whether it is reset then. `spoil` may change a reply or give the bytes of
    another packet in its place.
    """

    def __init__(self, log, context, *, methods=ussl.METHODS["ssl_io"], breaks=(), habits=ussl.CAREFUL,
                 reply_len=1 << 20, spoil=None, host="127.0.0.1"):
        self.log = log
        self.contexts = {"ssl_io": context}
        self.methods = methods
        self.breaks = list(breaks)
        self.habits = habits
        self.reply_len = reply_len
        self.spoil = spoil
        self.broken = 0
        # What was asked for: where each reply was to begin, and up to which time.
        self.starts = []
        self.limits = []
        self.complaints = []
        self.was_idle = False
        self.host = host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.create_server((host, 0), family=family)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve_all)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()

    def serve_all(self):
        while True:
            try:
                sock, address = self.listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plan = self.breaks.pop(0) if self.breaks else None
            with sock:
                self.serve(Breaking(sock, *plan) if plan else sock, address)

    def serve(self, sock, address):
        try:
            stream, _ = ussl.accept(sock, self.methods, self.contexts, self.habits)
            while True:
                stream.write(self.answer(rpc.read_packet(stream), address))
        except Broken:
            self.broken += 1
        except (EOFError, OSError, ssl.SSLError, ussl.Refused):
            # What the client makes of it, it says itself.
            pass
        except (AssertionError, KeyError, rpc.Malformed) as error:
            self.complaints.append(repr(error))

    def answer(self, request, address):
        members = Reader(request.payload).obj()
        assert members.varint() == 1, "another version of the call"
        if request.pcode == START_LSN:
            return self.encoded(request, Part.of(self.start_lsn(members, address)))
        assert request.pcode == FETCH_LOG, f"a call of {request.pcode:#x}"
        reply = self.fetch(members, address)
        spoiled = self.spoil(self, request, reply) if self.spoil else None
        return spoiled or self.encoded(request, reply.payload())

    def start_lsn(self, members, address):
        assert members.varint() == 1, "another number of log streams"
        item = members.obj()
        ls_id, time_ns = item.u64(), item.varint()
        check_client(members, address)
        assert time_ns > 0 and members.take(1) == b"\0" and not members.rest()
        error = 0 if ls_id == 1001 else LS_NOT_EXIST
        return result_code(0) + obj(
            varint(1), vi32(0), varint(1), obj(vi32(error), be64(self.log.BEGIN_LSN), varint(time_ns))
        )

    def fetch(self, members, address):
        ls_id, lsn = members.u64(), members.u64()
        self.limits.append(members.varint())
        assert self.limits[-1] > 0 and members.varint() > 0, "no upper limit or no process"
        check_client(members, address)
        members.varint()
        assert members.take(1) == b"\0" and members.vi32() == 1 and members.varint() == 1002 and not members.rest()
        self.starts.append(lsn)
        reply = FetchReply.of(ls_id, lsn, self.log.groups_from(lsn, self.reply_len))
        # Where there is no more, it is not yet said that there will be none.
        reply.is_end = not reply.log and self.was_idle
        self.was_idle = not reply.log
        return reply

    @staticmethod
    def encoded(request, payload):
        return Packet(
            request.pcode, payload.data, request.chid, flags=rpc.RESPONSE | rpc.NO_LOG_LEVEL,
            tenant_id=request.tenant_id, rest={"dst_cluster_id": request.rest["src_cluster_id"]},
        ).encode(payload.checksum)


class Breaking:
    """A socket that breaks once so many bytes were sent."""

    def __init__(self, sock, budget, is_reset):
        self.sock = sock
        self.budget = budget
        self.is_reset = is_reset

    def __getattr__(self, name):
        return getattr(self.sock, name)

    def sendall(self, data):
        if len(data) < self.budget:
            self.budget -= len(data)
            return self.sock.sendall(data)
        self.sock.sendall(data[:self.budget])
        if self.is_reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()
        raise Broken


def check_client(members, address):
    """The client has to tell its own address as the socket has it."""
    client = members.obj()
    assert client.varint() > 0, "no process"
    told = client.obj()
    version, words = told.vi32(), [told.vi32() & 0xFFFFFFFF for _ in range(4)]
    if version == 4:
        ip = socket.inet_ntop(socket.AF_INET, struct.pack(">I", words[0]))
    else:
        ip = socket.inet_ntop(socket.AF_INET6, struct.pack("<4I", *words))
    assert (ip, told.vi32()) == address[:2], f"{ip}, not {address}"
