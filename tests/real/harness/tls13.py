"""A TLS 1.3 client that does as it is told, right or wrong (RFC 8446).

One suite (TLS_AES_128_GCM_SHA256), one group (X25519), no verification of the server: it is there to send what no
library would.
"""

import hashlib
import hmac
import os
import socket
import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA = 20, 21, 22, 23
CLIENT_HELLO, SERVER_HELLO, NEW_SESSION_TICKET, CERTIFICATE = 1, 2, 4, 11
CERTIFICATE_REQUEST, FINISHED, KEY_UPDATE = 13, 20, 24
CLOSE_NOTIFY, UNEXPECTED_MESSAGE, BAD_RECORD_MAC, RECORD_OVERFLOW = 0, 10, 20, 22
HASH_LEN = 32


@dataclass(frozen=True)
class Alert:
    level: int
    description: int


class Tls13Client:
    """A connection on which the handshake is complete."""

    def __init__(self, connection: socket.socket, server_name: str = "localhost"):
        self.socket = connection
        self.transcript = b""
        self.sending: Keys | None = None
        self.receiving: Keys | None = None
        self.tickets = 0
        self.key_updates_received = 0
        self._buffer = b""
        self._handshake(server_name)

    def send(self, data: bytes) -> None:
        self.send_record(APPLICATION_DATA, data)

    def send_record(self, kind: int, content: bytes, padding: int = 0) -> None:
        self.socket.sendall(self.sealed(kind, content, padding))

    def sealed(self, kind: int, content: bytes, padding: int = 0) -> bytes:
        """One record, under the present key."""
        return self.sending.seal(content + bytes([kind]) + bytes(padding))

    def key_update(self, wants_answer: bool) -> bytes:
        """A KeyUpdate, and the next key from here on."""
        record = self.sealed(HANDSHAKE, bytes([KEY_UPDATE, 0, 0, 1, int(wants_answer)]))
        self.sending = self.sending.next()
        return record

    def close_notify(self) -> None:
        self.send_record(ALERT, bytes([1, CLOSE_NOTIFY]))

    def end(self) -> None:
        """Ends both sides in order: close_notify to and fro."""
        self.close_notify()
        found = self.read_to_alert()
        assert found == Alert(1, CLOSE_NOTIFY), f"{found} instead of close_notify"
        self.socket.close()

    def receive(self) -> bytes | Alert | None:
        """Application data, an alert, or nothing at the end of the stream. Tickets and KeyUpdates are taken on the way."""
        while True:
            record = self._record()
            if record is None:
                return None
            kind, content = self.receiving.open(*record)
            if kind == APPLICATION_DATA:
                return content
            if kind == ALERT:
                return Alert(*content)
            self._post_handshake(content)

    def read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            more = self.receive()
            if not isinstance(more, bytes):
                raise EOFError(f"{more} after {len(data)} of {length} bytes")
            data += more
        return data

    def read_to_alert(self) -> Alert | None:
        """The alert that ends the stream, past whatever data comes before it; nothing where there is none."""
        try:
            while True:
                found = self.receive()
                if not isinstance(found, bytes):
                    return found
        except ConnectionError:
            return None

    def _handshake(self, server_name: str) -> None:
        private = X25519PrivateKey.generate()
        share = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        hello = client_hello(share, server_name)
        self.transcript += hello
        self.socket.sendall(record_header(HANDSHAKE, len(hello)) + hello)

        header, body = self._record()
        if header[0] == ALERT:
            raise ConnectionError(f"alert {body[1]} instead of ServerHello")
        assert header[0] == HANDSHAKE and body[0] == SERVER_HELLO, (header, body)
        self.transcript += body
        shared = private.exchange(X25519PublicKey.from_public_bytes(server_share(body)))

        early = extract(bytes(HASH_LEN), bytes(HASH_LEN))
        handshake = extract(derive(early, b"derived", b""), shared)
        client_secret = derive(handshake, b"c hs traffic", self.transcript)
        self.sending = Keys(client_secret)
        self.receiving = Keys(derive(handshake, b"s hs traffic", self.transcript))
        wants_certificate = self._server_flight()

        master = extract(derive(handshake, b"derived", b""), bytes(HASH_LEN))
        application_transcript = self.transcript
        flight = bytes([CERTIFICATE, 0, 0, 4, 0, 0, 0, 0]) if wants_certificate else b""
        self.transcript += flight
        finished_key = expand(client_secret, b"finished", b"", HASH_LEN)
        verify = hmac.digest(finished_key, hashlib.sha256(self.transcript).digest(), "sha256")
        flight += bytes([FINISHED]) + len(verify).to_bytes(3, "big") + verify
        self.send_record(HANDSHAKE, flight)
        self.sending = Keys(derive(master, b"c ap traffic", application_transcript))
        self.receiving = Keys(derive(master, b"s ap traffic", application_transcript))

    def _server_flight(self) -> bool:
        """Reads up to the server's Finished; whether it asks for a certificate."""
        wants_certificate = False
        pending = b""
        while True:
            header, body = self._record()
            if header[0] == CHANGE_CIPHER_SPEC:
                continue
            kind, content = self.receiving.open(header, body)
            if kind == ALERT:
                raise ConnectionError(f"alert {content[1]} in the handshake")
            pending += content
            while len(pending) >= 4 and len(pending) >= 4 + int.from_bytes(pending[1:4], "big"):
                length = 4 + int.from_bytes(pending[1:4], "big")
                message, pending = pending[:length], pending[length:]
                self.transcript += message
                wants_certificate |= message[0] == CERTIFICATE_REQUEST
                if message[0] == FINISHED:
                    return wants_certificate

    def _post_handshake(self, content: bytes) -> None:
        if content[0] == NEW_SESSION_TICKET:
            self.tickets += 1
        elif content[0] == KEY_UPDATE:
            self.key_updates_received += 1
            self.receiving = self.receiving.next()
            if content[4] == 1:
                self.socket.sendall(self.key_update(wants_answer=False))
        else:
            raise AssertionError(f"unexpected handshake message {content[0]}")

    def _record(self) -> tuple[bytes, bytes] | None:
        """Header and body of the next record; nothing at the end of the stream."""
        header = self._take(5)
        if header is None:
            return None
        body = self._take(struct.unpack("!H", header[3:])[0])
        return None if body is None else (header, body)

    def _take(self, length: int) -> bytes | None:
        while len(self._buffer) < length:
            more = self.socket.recv(65536)
            if not more:
                return None
            self._buffer += more
        taken, self._buffer = self._buffer[:length], self._buffer[length:]
        return taken


class Keys:
    """The key of one direction."""

    def __init__(self, secret: bytes):
        self.secret = secret
        self._aead = AESGCM(expand(secret, b"key", b"", 16))
        self._iv = int.from_bytes(expand(secret, b"iv", b"", 12), "big")
        self._sequence = 0

    def next(self) -> "Keys":
        return Keys(expand(self.secret, b"traffic upd", b"", HASH_LEN))

    def seal(self, inner: bytes) -> bytes:
        header = record_header(APPLICATION_DATA, len(inner) + 16)
        return header + self._aead.encrypt(self._nonce(), inner, header)

    def open(self, header: bytes, body: bytes) -> tuple[int, bytes]:
        inner = self._aead.decrypt(self._nonce(), body, header).rstrip(b"\0")
        return inner[-1], inner[:-1]

    def _nonce(self) -> bytes:
        nonce = (self._iv ^ self._sequence).to_bytes(12, "big")
        self._sequence += 1
        return nonce


def record_header(kind: int, length: int) -> bytes:
    return struct.pack("!BHH", kind, 0x0303, length)


def client_hello(share: bytes, server_name: str) -> bytes:
    host = server_name.encode()
    extensions = b"".join(
        [
            extension(0, vector(2, b"\0" + vector(2, host))),
            extension(10, vector(2, b"\x00\x1d")),
            extension(13, vector(2, b"\x04\x03\x08\x04\x04\x01")),
            extension(43, vector(1, b"\x03\x04")),
            extension(51, vector(2, b"\x00\x1d" + vector(2, share))),
        ]
    )
    body = b"\x03\x03" + os.urandom(32) + vector(1, os.urandom(32)) + vector(2, b"\x13\x01")
    body += vector(1, b"\0") + vector(2, extensions)
    return bytes([CLIENT_HELLO]) + vector(3, body)


def server_share(hello: bytes) -> bytes:
    """The key share of a ServerHello."""
    at = 4 + 2 + 32
    at += 1 + hello[at] + 2 + 1 + 2
    while at < len(hello):
        kind, length = struct.unpack("!HH", hello[at : at + 4])
        if kind == 51:
            return hello[at + 8 : at + 4 + length]
        at += 4 + length
    raise AssertionError("ServerHello without a key share")


def extension(kind: int, data: bytes) -> bytes:
    return struct.pack("!H", kind) + vector(2, data)


def vector(length_bytes: int, data: bytes) -> bytes:
    return len(data).to_bytes(length_bytes, "big") + data


def extract(salt: bytes, secret: bytes) -> bytes:
    return hmac.digest(salt, secret, "sha256")


def derive(secret: bytes, label: bytes, transcript: bytes) -> bytes:
    return expand(secret, label, hashlib.sha256(transcript).digest(), HASH_LEN)


def expand(secret: bytes, label: bytes, hashed: bytes, length: int) -> bytes:
    """HKDF-Expand-Label. One block of output is enough for every key of this suite."""
    info = struct.pack("!H", length) + vector(1, b"tls13 " + label) + vector(1, hashed)
    return hmac.digest(secret, info + b"\x01", "sha256")[:length]
