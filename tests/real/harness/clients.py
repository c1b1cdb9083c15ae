"""Clients of the gateway: OpenSSL by way of Python, and what tests do with sockets."""

import socket
import ssl
from pathlib import Path

from . import certs


def context(ca: str = "test", **options) -> ssl.SSLContext:
    """A client that verifies the server by the authority `ca`, and to which an end without close_notify is an error."""
    made = trusting(certs.authority(ca).cert, **options)
    made.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    return made


def trusting(
    authority: Path,
    identity=None,
    version: ssl.TLSVersion | None = None,
    ciphers: str | None = None,
) -> ssl.SSLContext:
    """A client that verifies the server's chain and name by the authorities in this file."""
    made = ssl.create_default_context(cafile=str(authority))
    if identity:
        made.load_cert_chain(identity.cert, identity.key)
    if version:
        made.minimum_version = made.maximum_version = version
    if ciphers:
        made.set_ciphers(ciphers)
    return made


def plain(port: int, host: str = "127.0.0.1", timeout_s: float = 10) -> socket.socket:
    connection = socket.create_connection((host, port), timeout=timeout_s)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def tls(port: int, made: ssl.SSLContext | None = None, host: str = "127.0.0.1", **options) -> ssl.SSLSocket:
    return (made or context()).wrap_socket(
        plain(port, host), server_hostname="localhost", suppress_ragged_eofs=False, **options
    )


def name(connection: socket.socket) -> str:
    """The client's own address, as the gateway logs it."""
    host, port = connection.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def ask(connection: socket.socket, data: bytes) -> bytes:
    """Sends `data` and reads as much back."""
    connection.sendall(data)
    return read(connection, len(data))


def read(connection: socket.socket, length: int) -> bytes:
    """Exactly `length` bytes."""
    data = b""
    while len(data) < length:
        more = connection.recv(length - len(data))
        if not more:
            raise EOFError(f"the stream ended after {len(data)} of {length} bytes")
        data += more
    return data


def read_to_end(connection: socket.socket) -> bytes:
    """Everything up to an end that is clean."""
    data = b""
    while more := connection.recv(65536):
        data += more
    return data


def is_ended(connection: socket.socket) -> bool:
    """Whether the next thing to be read is an end or a reset, and not data."""
    try:
        return connection.recv(65536) == b""
    except (ConnectionError, ssl.SSLError):
        return True


def client_hello(made: ssl.SSLContext | None = None) -> bytes:
    """The first flight of OpenSSL, as bytes."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = (made or context()).wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()
