"""The MySQL protocol, both ends, up to what tests need: login with TLS, text queries, change of user.

It is written from the protocol's description and shares nothing with the product, so that it can judge it. It checks
what a peer sends (sequence ids above all) and sends wrong things where it is told to.
"""

import hashlib
import os
import socket
import ssl
import struct
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

PAYLOAD_MAX = 0xFF_FFFF

FOUND_ROWS, LONG_FLAG, CONNECT_WITH_DB, COMPRESS, LOCAL_FILES = 1 << 1, 1 << 2, 1 << 3, 1 << 5, 1 << 7
PROTOCOL_41, SSL, TRANSACTIONS, SECURE_CONNECTION = 1 << 9, 1 << 11, 1 << 13, 1 << 15
MULTI_STATEMENTS, MULTI_RESULTS, PS_MULTI_RESULTS = 1 << 16, 1 << 17, 1 << 18
PLUGIN_AUTH, CONNECT_ATTRS, LENENC_AUTH, SESSION_TRACK = 1 << 19, 1 << 20, 1 << 21, 1 << 23
# Bits that MySQL and OceanBase use for different things, and the first of MariaDB's extension.
QUERY_ATTRIBUTES, HIDDEN_ROWID, LOB_LOCATOR, MARIADB_PROGRESS = 1 << 27, 1 << 28, 1 << 29, 1 << 32

DEFAULT_CAPABILITIES = (
    1 | LONG_FLAG | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | MULTI_RESULTS | PS_MULTI_RESULTS | PLUGIN_AUTH
)
UTF8MB4 = 45

QUIT, QUERY, PING, PROCESS_KILL, CHANGE_USER = 0x01, 0x03, 0x0E, 0x0C, 0x11
OK, MORE_DATA, SWITCH, ERR, LOCAL_INFILE = 0x00, 0x01, 0xFE, 0xFF, 0xFB
IN_TRANSACTION, AUTOCOMMIT, MORE_RESULTS = 0x0001, 0x0002, 0x0008

NATIVE, CACHING_SHA2, SHA256 = "mysql_native_password", "caching_sha2_password", "sha256_password"


class ServerError(Exception):
    """An ERR packet."""

    def __init__(self, code: int, state: str | None, message: str, sequence: int):
        super().__init__(code, state, message)
        self.code, self.state, self.message, self.sequence = code, state, message, sequence


class OutOfOrder(Exception):
    """A packet with the wrong sequence id."""


def packet(sequence: int, payload: bytes) -> bytes:
    """A payload on the wire, in as many packets as it needs."""
    framed = b""
    while True:
        part, payload = payload[:PAYLOAD_MAX], payload[PAYLOAD_MAX:]
        framed += len(part).to_bytes(3, "little") + bytes([sequence & 0xFF]) + part
        sequence += 1
        if len(part) < PAYLOAD_MAX:
            return framed


class Wire:
    """Packets over a socket; nothing is read ahead, since TLS may begin with the very next byte."""

    def __init__(self, connection: socket.socket):
        self.socket = connection
        self.sequence = 0

    def read(self) -> bytes:
        payload = b""
        while True:
            header = self.take(4)
            length, sequence = int.from_bytes(header[:3], "little"), header[3]
            if sequence != self.sequence & 0xFF:
                raise OutOfOrder(f"sequence id {sequence} instead of {self.sequence & 0xFF}")
            self.sequence += 1
            payload += self.take(length)
            if length < PAYLOAD_MAX:
                return payload

    def write(self, payload: bytes) -> None:
        framed = packet(self.sequence, payload)
        self.sequence += len(payload) // PAYLOAD_MAX + 1
        self.socket.sendall(framed)

    def take(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            more = self.socket.recv(min(length - len(data), 1 << 20))
            if not more:
                raise EOFError(f"the stream ended after {len(data)} of {length} bytes")
            data += more
        return bytes(data)


@dataclass
class Greeting:
    """HandshakeV10."""

    version: str = "8.0.36-peer"
    thread_id: int = 77
    scramble: bytes = field(default_factory=lambda: bytes(1 + byte % 126 for byte in os.urandom(20)))
    # The upper 32 bits are MariaDB's extension.
    capabilities: int = DEFAULT_CAPABILITIES | CONNECT_WITH_DB | CONNECT_ATTRS | LENENC_AUTH | LOCAL_FILES
    charset: int = UTF8MB4
    status: int = AUTOCOMMIT
    plugin: str = NATIVE

    def encode(self) -> bytes:
        low, high = self.capabilities & 0xFFFF, self.capabilities >> 16 & 0xFFFF
        return b"".join(
            [
                bytes([10]) + self.version.encode() + b"\0",
                struct.pack("<I", self.thread_id) + self.scramble[:8] + b"\0",
                struct.pack("<HBHHB", low, self.charset, self.status, high, len(self.scramble) + 1),
                bytes(6) + struct.pack("<I", self.capabilities >> 32),
                self.scramble[8:] + b"\0" + self.plugin.encode() + b"\0",
            ]
        )

    @classmethod
    def decode(cls, payload: bytes) -> "Greeting":
        assert payload[0] == 10, f"protocol version {payload[0]}"
        version, rest = payload[1:].split(b"\0", 1)
        thread_id, first, low, charset, status, high, length = struct.unpack_from("<I8sxHBHHB", rest)
        extended = 0 if low & 1 else struct.unpack_from("<I", rest, 27)[0]
        second, rest = rest[31 : 31 + max(13, length - 8)], rest[31 + max(13, length - 8) :]
        capabilities = low | high << 16 | extended << 32
        plugin = rest.split(b"\0", 1)[0].decode() if capabilities & PLUGIN_AUTH else NATIVE
        return cls(version.decode(), thread_id, (first + second)[:20], capabilities, charset, status, plugin)


@dataclass
class Login:
    """HandshakeResponse41."""

    user: str
    auth: bytes = b""
    capabilities: int = DEFAULT_CAPABILITIES
    packet_max: int = 1 << 24
    charset: int = UTF8MB4
    database: str = ""
    plugin: str = NATIVE
    attributes: dict[str, str] = field(default_factory=dict)

    def head(self) -> bytes:
        """The 32 bytes that an SSLRequest has in common with the login that follows."""
        capabilities = self.capabilities & 0xFFFF_FFFF
        return struct.pack("<IIB", capabilities, self.packet_max, self.charset) + bytes(19) + struct.pack(
            "<I", self.capabilities >> 32
        )

    def encode(self) -> bytes:
        body = self.head() + self.user.encode() + b"\0"
        if self.capabilities & LENENC_AUTH:
            body += lenenc(len(self.auth)) + self.auth
        else:
            body += bytes([len(self.auth)]) + self.auth
        if self.capabilities & CONNECT_WITH_DB:
            body += self.database.encode() + b"\0"
        if self.capabilities & PLUGIN_AUTH:
            body += self.plugin.encode() + b"\0"
        if self.capabilities & CONNECT_ATTRS:
            body += encode_attributes(self.attributes)
        return body

    @classmethod
    def decode(cls, payload: bytes) -> "Login":
        low, packet_max, charset = struct.unpack_from("<IIB", payload)
        capabilities = low if low & 1 else low | struct.unpack_from("<I", payload, 28)[0] << 32
        user, rest = payload[32:].split(b"\0", 1)
        if low & LENENC_AUTH:
            length, rest = read_lenenc(rest)
        else:
            length, rest = rest[0], rest[1:]
        auth, rest = rest[:length], rest[length:]
        database = plugin = b""
        if low & CONNECT_WITH_DB:
            database, rest = rest.split(b"\0", 1)
        if low & PLUGIN_AUTH:
            plugin, rest = rest.split(b"\0", 1)
        attributes = decode_attributes(rest) if low & CONNECT_ATTRS else {}
        return cls(
            user.decode(), auth, capabilities, packet_max, charset, database.decode(), plugin.decode(), attributes
        )


def encode_attributes(attributes: dict[str, str]) -> bytes:
    body = b"".join(
        lenenc(len(word)) + word for pair in attributes.items() for word in (part.encode() for part in pair)
    )
    return lenenc(len(body)) + body


def decode_attributes(data: bytes) -> dict[str, str]:
    length, data = read_lenenc(data)
    data, words = data[:length], []
    while data:
        size, data = read_lenenc(data)
        words.append(data[:size].decode())
        data = data[size:]
    return dict(zip(words[::2], words[1::2]))


@dataclass
class Result:
    """What a statement gave: rows of text, or what it changed."""

    columns: int = 0
    rows: list[tuple] = field(default_factory=list)
    affected: int = 0
    status: int = 0


class Client:
    """A client, step by step: `greet`, then `upgrade` where there is to be TLS, then `login`."""

    def __init__(self, connection: socket.socket):
        self.wire = Wire(connection)
        self.greeting: Greeting | None = None
        self.capabilities = DEFAULT_CAPABILITIES

    @classmethod
    def connect(
        cls, host: str, port: int, user: str, password: str, tls: ssl.SSLContext | None = None, **options
    ) -> "Client":
        """A session that is logged in."""
        timeout_s = options.pop("timeout_s", 20)
        client = cls(socket.create_connection((host, port), timeout=timeout_s))
        return client._enter(user, password, tls, options)

    @classmethod
    def connect_unix(cls, path: str, user: str, password: str, **options) -> "Client":
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        connection.connect(str(path))
        return cls(connection)._enter(user, password, None, options)

    def _enter(self, user: str, password: str, tls, options: dict) -> "Client":
        session = options.pop("session", None)
        try:
            self.greet()
            login = self.prepare(user, **options)
            if tls:
                self.upgrade(tls, login, session=session)
            self.login(login, password)
        except BaseException:
            self.close()
            raise
        return self

    def greet(self) -> Greeting:
        self.greeting = Greeting.decode(self.answer())
        return self.greeting

    def prepare(self, user: str, database: str = "", attributes=None, plugin: str = "", **more) -> Login:
        """A login for this server; `more` holds further fields of it."""
        plugin = plugin or self.greeting.plugin
        self.capabilities = more.pop("capabilities", DEFAULT_CAPABILITIES) | LOCAL_FILES
        if database:
            self.capabilities |= CONNECT_WITH_DB
        if attributes:
            self.capabilities |= CONNECT_ATTRS
        return Login(
            user, b"", self.capabilities, database=database, plugin=plugin, attributes=attributes or {}, **more
        )

    def upgrade(
        self, context: ssl.SSLContext, login: Login | None = None, session=None, server: str = "localhost"
    ) -> None:
        """SSLRequest, then TLS on the same socket, which resumes the session where there is one."""
        assert self.greeting.capabilities & SSL, "the server offers no TLS"
        login = login or Login("")
        login.capabilities |= SSL
        self.wire.write(login.head())
        self.wire.socket = context.wrap_socket(self.wire.socket, server_hostname=server, session=session)

    def login(self, login: Login, password: str) -> Result:
        login.auth = login.auth or self._first_answer(login.plugin, password, self.greeting.scramble)
        self.wire.write(login.encode())
        return self._authenticate(login.plugin, password, self.greeting.scramble)

    def change_user(self, user: str, password: str, database: str = "") -> Result:
        self.wire.sequence = 0
        plugin, scramble = self.greeting.plugin, self.greeting.scramble
        auth = self._first_answer(plugin, password, scramble)
        payload = bytes([CHANGE_USER]) + user.encode() + b"\0" + bytes([len(auth)]) + auth + database.encode() + b"\0"
        self.wire.write(payload + struct.pack("<H", UTF8MB4) + plugin.encode() + b"\0")
        return self._authenticate(plugin, password, scramble)

    def query(self, sql: str | bytes, local: bytes = b"") -> Result:
        """Runs one statement; `local` is the file that LOAD DATA LOCAL asks for."""
        self.command(QUERY, sql.encode() if isinstance(sql, str) else sql)
        first = self.answer()
        if first[0] == LOCAL_INFILE:
            self.wire.write(local)
            if local:
                self.wire.write(b"")
            first = self.answer()
        if first[0] == OK:
            return parse_ok(first)
        columns, _ = read_lenenc(first)
        result = Result(columns)
        for _ in range(columns + 1):
            self.answer()
        while not is_eof(payload := self.answer()):
            result.rows.append(decode_row(payload))
        result.status = struct.unpack_from("<H", payload, 3)[0]
        return result

    def ping(self) -> None:
        self.command(PING)
        assert self.answer()[0] == OK

    def command(self, code: int, data: bytes = b"") -> None:
        self.wire.sequence = 0
        self.wire.write(bytes([code]) + data)

    def answer(self) -> bytes:
        """The next packet of the server, which is not an ERR."""
        payload = self.wire.read()
        if payload[:1] == bytes([ERR]):
            raise parse_error(payload, self.wire.sequence - 1)
        return payload

    def quit(self) -> None:
        self.command(QUIT)
        self.close()

    def close(self) -> None:
        self.wire.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def tls_version(self) -> str | None:
        return self.wire.socket.version() if self._is_tls() else None

    def _is_tls(self) -> bool:
        return isinstance(self.wire.socket, ssl.SSLSocket)

    def _is_secure(self) -> bool:
        return self._is_tls() or self.wire.socket.family == socket.AF_UNIX

    def _first_answer(self, plugin: str, password: str, scramble: bytes) -> bytes:
        if plugin == SHA256 and password:
            # In clear, or a request for the key. Unlike the newer plugin it does not count a socket in the file system
            # as secure.
            return password.encode() + b"\0" if self._is_tls() else b"\x01"
        return hashed(plugin, password, scramble)

    def _authenticate(self, plugin: str, password: str, scramble: bytes) -> Result:
        while True:
            payload = self.answer()
            if payload[0] == OK:
                return parse_ok(payload)
            if payload[0] == SWITCH:
                name, data = payload[1:].split(b"\0", 1)
                plugin, scramble = name.decode(), data[:20]
                self.wire.write(self._first_answer(plugin, password, scramble))
            elif payload == b"\x01\x04":
                self._send_password(b"\x02", password, scramble)
            elif plugin == SHA256 and payload[0] == MORE_DATA:
                self.wire.write(encrypted(payload[1:], password, scramble))
            elif payload != b"\x01\x03":
                raise AssertionError(f"unexpected {payload!r}")

    def _send_password(self, key_request: bytes, password: str, scramble: bytes) -> None:
        """In clear where only the server can read it; else encrypted to a key that is asked for."""
        if self._is_secure():
            self.wire.write(password.encode() + b"\0")
            return
        self.wire.write(key_request)
        key = self.answer()
        assert key[0] == MORE_DATA, key
        self.wire.write(encrypted(key[1:], password, scramble))


def hashed(plugin: str, password: str, scramble: bytes) -> bytes:
    """What proves knowledge of the password without showing it."""
    if not password:
        return b""
    make = hashlib.sha1 if plugin == NATIVE else hashlib.sha256
    once = make(password.encode()).digest()
    twice = make(once).digest()
    salted = make(scramble + twice) if plugin == NATIVE else make(twice + scramble)
    return xor(once, salted.digest())


def xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def encrypted(pem: bytes, password: str, scramble: bytes) -> bytes:
    key = serialization.load_pem_public_key(pem)
    return key.encrypt(masked(password.encode() + b"\0", scramble), _oaep())


def decrypted(key: rsa.RSAPrivateKey, data: bytes, scramble: bytes) -> bytes:
    return masked(key.decrypt(data, _oaep()), scramble)


def masked(data: bytes, scramble: bytes) -> bytes:
    return bytes(byte ^ scramble[at % len(scramble)] for at, byte in enumerate(data))


def _oaep():
    return padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)


def parse_ok(payload: bytes) -> Result:
    affected, rest = read_lenenc(payload[1:])
    _, rest = read_lenenc(rest)
    return Result(affected=affected, status=struct.unpack_from("<H", rest)[0])


def parse_error(payload: bytes, sequence: int = 0) -> ServerError:
    code, text = struct.unpack_from("<H", payload, 1)[0], payload[3:]
    state = None
    if text[:1] == b"#":
        state, text = text[1:6].decode(), text[6:]
    return ServerError(code, state, text.decode(errors="replace"), sequence)


def error(code: int, message: str, state: str | None = None) -> bytes:
    """The payload of an ERR packet."""
    marker = f"#{state}" if state else ""
    return bytes([ERR]) + struct.pack("<H", code) + (marker + message).encode()


def ok(affected: int = 0, status: int = AUTOCOMMIT) -> bytes:
    """The payload of an OK packet."""
    return bytes([OK]) + lenenc(affected) + lenenc(0) + struct.pack("<HH", status, 0)


def is_eof(payload: bytes) -> bool:
    return payload[0] == SWITCH and len(payload) < 9


def decode_row(payload: bytes) -> tuple:
    row = []
    while payload:
        if payload[0] == 0xFB:
            row.append(None)
            payload = payload[1:]
            continue
        length, payload = read_lenenc(payload)
        value, payload = payload[:length], payload[length:]
        try:
            row.append(value.decode())
        except UnicodeDecodeError:
            row.append(value)
    return tuple(row)


def lenenc(number: int) -> bytes:
    if number < 0xFB:
        return bytes([number])
    size = 2 if number < 1 << 16 else 3 if number < 1 << 24 else 8
    return {2: b"\xfc", 3: b"\xfd", 8: b"\xfe"}[size] + number.to_bytes(size, "little")


def read_lenenc(data: bytes) -> tuple[int, bytes]:
    """The number and what follows it."""
    size = {0xFC: 2, 0xFD: 3, 0xFE: 8}.get(data[0])
    if size is None:
        return data[0], data[1:]
    return int.from_bytes(data[1 : 1 + size], "little"), data[1 + size :]


@dataclass
class Server:
    """A server for one connection after another, which remembers what clients sent.

    It answers each query with one row that holds the query. `tls` makes it offer TLS; `password_key` is the RSA key
    that it hands out for full authentication without TLS.
    """

    password: str = "secret"
    plugin: str = NATIVE
    tls: ssl.SSLContext | None = None
    password_key: rsa.RSAPrivateKey | None = None
    # Whether caching_sha2_password knows the account already.
    is_cached: bool = False
    # Where set, the client is told to use this plugin instead of the greeting's.
    switch_to: str = ""
    greeting: Greeting = field(default_factory=Greeting)
    ssl_requests: list[bytes] = field(default_factory=list)
    logins: list[bytes] = field(default_factory=list)
    commands: list[bytes] = field(default_factory=list)
    # Passwords that came unencrypted over a leg without TLS.
    exposed: list[bytes] = field(default_factory=list)
    troubles: list[Exception] = field(default_factory=list)

    def __call__(self, connection: socket.socket) -> None:
        try:
            self._serve(connection)
        except (OSError, EOFError) as end:
            self.troubles.append(end)
        except (OutOfOrder, AssertionError) as trouble:
            self.troubles.append(trouble)
            raise OSError("refused") from trouble

    def _serve(self, connection: socket.socket) -> None:
        wire = Wire(connection)
        greeting = Greeting(**vars(self.greeting) | {"plugin": self.plugin})
        greeting.capabilities |= SSL if self.tls else 0
        wire.write(greeting.encode())
        first = wire.read()
        if int.from_bytes(first[:4], "little") & SSL:
            assert self.tls, "CLIENT_SSL is set, but was not offered"
            self.ssl_requests.append(first)
            wire.socket = self.tls.wrap_socket(connection, server_side=True)
            first = wire.read()
        self.logins.append(first)
        if self._admit(wire, Login.decode(first).auth, greeting.scramble):
            self._answer(wire, greeting.scramble)
        wire.socket.close()

    def _admit(self, wire: Wire, answer: bytes, scramble: bytes) -> bool:
        is_good = self._authenticate(wire, answer, scramble)
        wire.write(ok() if is_good else error(1045, "Access denied for user", "28000"))
        return is_good

    def _authenticate(self, wire: Wire, answer: bytes, scramble: bytes) -> bool:
        plugin = self.plugin
        if self.switch_to:
            plugin, scramble = self.switch_to, Greeting().scramble
            wire.write(bytes([SWITCH]) + plugin.encode() + b"\0" + scramble + b"\0")
            answer = wire.read()
        if plugin == NATIVE:
            return answer == hashed(plugin, self.password, scramble)
        if plugin == CACHING_SHA2:
            if answer != hashed(plugin, self.password, scramble):
                return False
            wire.write(b"\x01\x03" if self.is_cached else b"\x01\x04")
            return self.is_cached or self._full(wire, wire.read(), b"\x02", scramble)
        return self._full(wire, answer, b"\x01", scramble)

    def _full(self, wire: Wire, answer: bytes, key_request: bytes, scramble: bytes) -> bool:
        expected = self.password.encode() + b"\0"
        if isinstance(wire.socket, ssl.SSLSocket):
            return answer == expected
        if answer == key_request:
            public = self.password_key.public_key()
            pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            wire.write(bytes([MORE_DATA]) + pem)
            answer = wire.read()
        if self.password.encode() in answer:
            self.exposed.append(answer)
            return False
        try:
            return decrypted(self.password_key, answer, scramble) == expected
        except ValueError:
            # Not encrypted to this key, as what ends a login on purpose.
            return False

    def _answer(self, wire: Wire, scramble: bytes) -> None:
        while True:
            wire.sequence = 0
            command = wire.read()
            self.commands.append(command)
            if command[0] == QUIT:
                return
            if command[0] == CHANGE_USER:
                _, rest = command[1:].split(b"\0", 1)
                if not self._admit(wire, rest[1 : 1 + rest[0]], scramble):
                    return
            elif command[0] == QUERY:
                self._echo(wire, command[1:])
            else:
                wire.write(ok())

    @staticmethod
    def _echo(wire: Wire, text: bytes) -> None:
        eof = bytes([SWITCH]) + struct.pack("<HH", 0, AUTOCOMMIT)
        names = b"".join(lenenc(len(word)) + word for word in (b"def", b"", b"", b"", b"echo", b""))
        column = names + b"\x0c" + struct.pack("<HIBHB", UTF8MB4, 1 << 20, 0xFD, 0, 0) + b"\0\0"
        for payload in (lenenc(1), column, eof, lenenc(len(text)) + text, eof):
            wire.write(payload)
