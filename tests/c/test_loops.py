"""Loops that wait for a descriptor: what lies inside of the library is not forgotten.

The peer sends everything in one segment and then nothing, with the connection open: a loop that only waits for the
descriptor would wait for ever.
"""

import socket
import ssl
import subprocess

from harness import certs
from toolchain import EXAMPLES, SANITIZERS, CCase

RECORDS = [f"record {number:04}\n".encode() for number in range(300)]
TEXT = b"".join(RECORDS)
PATIENCE_S = 20


class Loops(CCase):
    def test_level_triggered(self):
        with Server() as server, self.poll_client(server.port) as client:
            server.handshake()
            server.send(*RECORDS)
            self.assertTrue(client.stdout.read(len(TEXT)) == TEXT)
            client.stdin.close()
            server.close()

    def test_level_triggered_sees_the_end(self):
        with Server() as server, self.poll_client(server.port) as client:
            server.handshake()
            server.send(*RECORDS, end=True)
            self.assertTrue(client.stdout.read(len(TEXT)) == TEXT)
            self.assertEqual(client.wait(PATIENCE_S), 0)

    def test_level_triggered_sees_a_broken_record(self):
        with Server() as server, self.poll_client(server.port) as client:
            server.handshake()
            server.send(*RECORDS, junk=b"\x17\x03\x03\x00\x20" + bytes(32))
            self.assertTrue(client.stdout.read(len(TEXT)) == TEXT)
            self.assertEqual(client.wait(PATIENCE_S), 1)
            self.assertIn(b"SEALWIRE_ERR_TLS_PROTOCOL", client.stderr.read())

    def test_edge_triggered(self):
        own = certs.server()
        command = SANITIZERS.command(EXAMPLES / "legacy/echo_server_tls.c", 0, own.cert, own.key)
        with started(command, SANITIZERS) as server:
            port = int(server.stdout.readline())
            with Peer(socket.create_connection(("127.0.0.1", port)), is_server=False) as peer:
                peer.handshake()
                peer.send(*RECORDS)
                self.assertTrue(peer.receive(len(TEXT)) == TEXT)
            server.stdin.close()
            self.assertEqual(server.wait(PATIENCE_S), 0)

    def poll_client(self, port: int):
        command = SANITIZERS.command(EXAMPLES / "poll_client.c", "localhost", port, certs.authority().cert)
        return started(command, SANITIZERS)


def started(command, tool) -> subprocess.Popen:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(list(map(str, command)), env=tool.environment(), **pipes)


class Peer:
    """An end of OpenSSL's that says what goes into one segment."""

    def __init__(self, connection: socket.socket, is_server: bool):
        self.socket = connection
        self.socket.settimeout(PATIENCE_S)
        self.arrived, self.leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        if is_server:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certs.server().cert, certs.server().key)
        else:
            context = ssl.create_default_context(cafile=certs.authority().cert)
        name = None if is_server else "localhost"
        self.tls = context.wrap_bio(self.arrived, self.leaving, is_server, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def handshake(self):
        self.until_done(self.tls.do_handshake)
        self.socket.sendall(self.leaving.read())

    def send(self, *records: bytes, end: bool = False, junk: bytes = b""):
        for record in records:
            self.tls.write(record)
        if end:
            try:
                self.tls.unwrap()
            except ssl.SSLWantReadError:
                pass
        self.socket.sendall(self.leaving.read() + junk)

    def receive(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            data += self.until_done(lambda: self.tls.read(length - len(data)))
        return data

    def until_done(self, call):
        while True:
            try:
                return call()
            except ssl.SSLWantReadError:
                self.socket.sendall(self.leaving.read())
                self.arrived.write(self.socket.recv(65536))


class Server(Peer):
    """The same, for the first client that connects."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(PATIENCE_S)
        self.port = self.listener.getsockname()[1]

    def handshake(self):
        connection, _ = self.listener.accept()
        super().__init__(connection, is_server=True)
        super().handshake()

    def close(self):
        self.listener.close()
        super().close()
