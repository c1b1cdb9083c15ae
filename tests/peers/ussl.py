"""OceanBase's "ussl" negotiation and the TLS behind it, on sockets and Python's ssl module (OpenSSL).

Nothing here shares code with the library. Every read from the socket takes exactly what the protocol says comes
next, so that what follows a negotiation or a handshake is still in the socket. What OceanBase's own end does
beyond the protocol is a switch of `Habits`.
"""

import os
import socket
import ssl
import struct
from dataclasses import dataclass

MAGIC = 0xBEEF0312
HEAD = struct.Struct("<III")
BODY = struct.Struct("<iIQ")
PEEK_LEN = 256

METHODS = {"none": 1, "ssl_no_encrypt": 2, "ssl_io": 4}
SSL_BITS = METHODS["ssl_no_encrypt"] | METHODS["ssl_io"]

# OpenSSL's names of what OceanBase's older servers and clients allow, best first.
LEGACY_CIPHERS = ":".join([
    "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-RSA-AES128-SHA256",
    "ECDHE-RSA-AES256-SHA384", "DHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES256-SHA256", "AES128-GCM-SHA256",
    "AES256-GCM-SHA384", "AES128-SHA", "AES256-SHA",
])


@dataclass(frozen=True)
class Habits:
    """How OceanBase's end differs from a careful one."""

    closes_on_short_first_segment: bool = False
    tls_1_2_at_most: bool = False
    sends_no_close_notify: bool = False
    exempts_loopback: bool = False
    demands_client_certificate: bool = False
    leaves_garbage: bool = False
    offers_legacy_ciphers: bool = False
    takes_either_ssl_method: bool = False
    verifies_no_server: bool = False


CAREFUL = Habits()
INCUMBENT = Habits(*[True] * 9)


class Refused(Exception):
    """The connection is closed without a word."""


@dataclass
class Beginning:
    """How a connection began."""

    method: str | None
    gid: int | None
    is_restricted: bool = False
    is_encrypted: bool = False


# --- the message ---


def message(method, gid, habits=CAREFUL):
    padding = int.from_bytes(os.urandom(4), "little") if habits.leaves_garbage else 0
    return HEAD.pack(MAGIC, 1, BODY.size) + BODY.pack(method, padding, gid)


def acknowledgement(method, habits):
    gid = int.from_bytes(os.urandom(8), "little") if habits.leaves_garbage else 0
    return message(method, gid, habits)


def parse(head_and_body):
    method, _padding, gid = BODY.unpack_from(head_and_body, HEAD.size)
    return method, gid


# --- the server's end ---


def accept(sock, methods, contexts, habits=CAREFUL, bypass=False):
    """Negotiates as a server, with a TLS context for each method. Returns a stream and how it began."""
    first = first_bytes(sock, habits)
    is_exempt = habits.exempts_loopback and sock.getpeername()[0] == "127.0.0.1"
    if len(first) < 4 or struct.unpack_from("<I", first)[0] != MAGIC:
        restricted = legacy_admission(first, methods, is_exempt, bypass)
        return Plain(sock), Beginning(None, None, restricted)
    body_len = HEAD.unpack_from(first)[2]
    if HEAD.size + body_len > PEEK_LEN or body_len < BODY.size:
        raise Refused(f"a message of {body_len} bytes behind its head")
    if habits.closes_on_short_first_segment and len(first) < HEAD.size + body_len:
        raise Refused("a message in more than one segment")
    method, gid = parse(receive(sock, HEAD.size + body_len))
    name = {number: name for name, number in METHODS.items()}.get(method)
    if is_exempt:
        return Plain(sock), Beginning(name, gid)
    if method == METHODS["none"]:
        if not methods & method and not bypass:
            raise Refused("no method, and none is demanded")
        return Plain(sock), Beginning(name, gid, is_restricted=not methods & method)
    allowed = SSL_BITS if habits.takes_either_ssl_method and methods & SSL_BITS else methods
    if name is None or not method & allowed:
        raise Refused(f"method {method} of {methods}")
    if name not in contexts:
        raise Refused("no TLS configuration")
    sock.sendall(acknowledgement(method, habits))
    stream = Tls(sock, contexts[name], True, habits)
    if method == METHODS["ssl_no_encrypt"]:
        return Plain(sock), Beginning(name, gid)
    return stream, Beginning(name, gid, is_encrypted=True)


def first_bytes(sock, habits):
    """What is there to be looked at; OceanBase looks once, and at more than is there."""
    if habits.closes_on_short_first_segment:
        first = sock.recv(PEEK_LEN, socket.MSG_PEEK)
        if len(first) < HEAD.size:
            raise Refused(f"a first segment of {len(first)} bytes")
        return first
    first = sock.recv(4, socket.MSG_PEEK | socket.MSG_WAITALL)
    if first == struct.pack("<I", MAGIC):
        first = sock.recv(HEAD.size, socket.MSG_PEEK | socket.MSG_WAITALL)
        if len(first) < HEAD.size:
            raise Refused("an end within the message")
        return first
    # A table API request and the preamble of the keepalive are told by this much.
    return sock.recv(20 if first == b"\x01\xdb\xdb\xce" else 18, socket.MSG_PEEK | socket.MSG_WAITALL)


def legacy_admission(first, methods, is_exempt, bypass):
    """True where only some requests are to be served."""
    if methods & METHODS["none"] or is_exempt:
        return False
    if first[:10] == bytes.fromhex("12345678776688330009") and first[10:18] == bytes.fromhex("6683221dd298cc23"):
        return False
    is_request = len(first) >= 20 and first[:4] == b"\x01\xdb\xdb\xce"
    is_table_api = is_request and 0x1101 <= struct.unpack_from(">I", first, 16)[0] <= 0x1124
    if bypass or is_table_api:
        return True
    raise Refused("no negotiation")


# --- the client's end ---


def connect(sock, method, gid, context, habits=CAREFUL, server_name=None, segment=None):
    """Negotiates as a client. Returns a stream."""
    send(sock, message(METHODS[method], gid, habits), segment)
    is_exempt = habits.exempts_loopback and sock.getsockname()[0] == "127.0.0.1"
    if method == "none" or is_exempt:
        return Plain(sock, segment)
    answer = receive(sock, HEAD.size)
    magic, _version, body_len = HEAD.unpack(answer)
    if magic != MAGIC or not BODY.size <= body_len <= PEEK_LEN - HEAD.size:
        raise Refused("no acknowledgement")
    answer += receive(sock, body_len)
    acknowledged = parse(answer)[0]
    if acknowledged not in (METHODS["ssl_no_encrypt"], METHODS["ssl_io"]):
        raise Refused(f"an acknowledgement of method {acknowledged}")
    if acknowledged != METHODS[method] and not habits.takes_either_ssl_method:
        raise Refused(f"an acknowledgement of method {acknowledged}")
    stream = Tls(sock, context, False, habits, server_name, segment)
    return stream if method == "ssl_io" else Plain(sock, segment)


# --- TLS contexts ---


def server_context(cert, key, ca, habits=CAREFUL):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    if ca:
        context.load_verify_locations(ca)
    context.verify_mode = ssl.CERT_REQUIRED if habits.demands_client_certificate else ssl.CERT_NONE
    return restrict(context, habits)


def client_context(cert, key, ca, habits=CAREFUL):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca)
    if habits.verifies_no_server:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cert:
        context.load_cert_chain(cert, key)
    return restrict(context, habits)


def restrict(context, habits):
    if habits.tls_1_2_at_most:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    if habits.offers_legacy_ciphers:
        context.set_ciphers(LEGACY_CIPHERS)
    return context


def only_tls_1_2(context):
    """For ssl_no_encrypt: later versions do not end with the handshake."""
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


# --- streams ---


class Plain:
    """The socket as it is."""

    tls = None

    def __init__(self, sock, segment=None):
        self.sock = sock
        self.segment = segment

    def read(self, length):
        return receive(self.sock, length)

    def write(self, data):
        send(self.sock, data, self.segment)

    def close(self):
        self.sock.close()


class Tls:
    """TLS over the socket, of which it reads one whole record at a time and nothing beyond it."""

    def __init__(self, sock, context, is_server, habits, server_name=None, segment=None):
        self.sock = sock
        self.habits = habits
        self.segment = segment
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, is_server, server_name)
        self.plain = b""
        self.is_ended = False
        self.run(self.tls.do_handshake)

    def run(self, step, *args):
        while True:
            try:
                result = step(*args)
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                self.feed_record()
            except ssl.SSLError:
                self.flush()
                raise

    def flush(self):
        if self.outgoing.pending:
            send(self.sock, self.outgoing.read(), self.segment)

    def feed_record(self):
        header = receive(self.sock, 5)
        self.incoming.write(header + receive(self.sock, int.from_bytes(header[3:5], "big")))

    def read(self, length):
        """Exactly that much, or `EOFError`; an end without close_notify is an end like any other."""
        while len(self.plain) < length:
            try:
                piece = self.run(self.tls.read, 65536)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError) as error:
                raise EOFError("the peer has closed") from error
            if not piece:
                raise EOFError("the peer has closed")
            self.plain += piece
        taken, self.plain = self.plain[:length], self.plain[length:]
        return taken

    def write(self, data):
        self.run(self.tls.write, data)

    def close(self):
        if not self.habits.sends_no_close_notify:
            try:
                self.tls.unwrap()
            except (ssl.SSLError, OSError):
                pass
            try:
                self.flush()
            except OSError:
                pass
        self.sock.close()


def receive(sock, length):
    """Exactly that much, or `EOFError`."""
    data = b""
    while len(data) < length:
        piece = sock.recv(length - len(data))
        if not piece:
            raise EOFError(f"an end after {len(data)} of {length} bytes")
        data += piece
    return data


def send(sock, data, segment=None):
    for start in range(0, len(data), segment or len(data) or 1):
        sock.sendall(data[start:start + (segment or len(data))])
