"""OB-RPC through the gateway, with ends that are written from OceanBase's habits alone."""

import socket
import struct
from itertools import product

from harness import certs
from harness.case import BACKENDS, BACKENDS_AND_RECORDS, Case, free_port
from harness.gateway import BINARY
from harness.netns import Namespace
from harness.obrpc import INCUMBENT, PrintedGateway, RpcServer, call
from harness.process import run, until

METHODS = ("none", "ssl_no_encrypt", "ssl_io")
GID = 0x2_0000_0007
KEEPALIVE = bytes.fromhex("1234567877668833" "0009" "6683221dd298cc23" "00")
LIBEASY = bytes.fromhex("1234567877668833" "0009" "12567348667799aa" "01")


def rpc_route(server: str, client: dict | None = None, towards: dict | None = None) -> dict:
    """A route that admits TLS alone and speaks in the clear to its server, unless told otherwise."""
    return {
        "name": "rpc",
        "protocol": "obrpc",
        "listen": [f"127.0.0.1:{free_port()}"],
        "client": client or tls_clients(),
        "server": {"address": server, "method": "none"} | (towards or {}),
    }


def tls_clients(*methods: str, **more) -> dict:
    """The client's side with TLS, and with certificates of ours."""
    own = certs.server()
    files = {"cert": own.cert, "key": own.key, "ca": certs.authority().cert}
    return {"method": list(methods) or ["ssl_io"]} | files | more


def plain_clients() -> dict:
    """The client's side where nobody speaks TLS."""
    return {"method": ["none"]}


def tls_server(method: str = "ssl_io", **more) -> dict:
    """The server's side with TLS and a certificate of ours."""
    own = certs.client()
    return {"method": method, "ca": certs.authority().cert, "cert": own.cert, "key": own.key} | more


class Methods(Case):
    variants = BACKENDS_AND_RECORDS

    def route(self, server: RpcServer, asked: str, spoken: str) -> dict:
        client = plain_clients() if asked == "none" else tls_clients(asked)
        towards = {} if spoken == "none" else tls_server(spoken)
        return rpc_route(f"127.0.0.1:{server.port}", client, towards)

    def test_every_pair_of_methods(self):
        for asked, spoken in product(METHODS, METHODS):
            with self.subTest(asked=asked, spoken=spoken):
                server = RpcServer(self, *INCUMBENT, methods=spoken)
                gateway = self.gateway(self.route(server, asked, spoken))
                calls = ("echo", "00ff" * 2000, "error", "-4012", "one-way", "aa", "parts", 5, "abort", 9, "fetch", 1001, 0)
                done = call(gateway.port, asked, *calls, options=("--gid", GID, *INCUMBENT))
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                version = {"none": "plain", "ssl_no_encrypt": "plain", "ssl_io": "TLSv1.2"}[asked]
                self.assertEqual(done.stdout.splitlines(), [
                    f"connected {version}", "echo 0 " + "00ff" * 2000, "error -4012 as asked for", "one-way",
                    "parts 0 [4, 3, 2, 1, 0]", "abort 0 [8, 7]", done.stdout.splitlines()[-1],
                ])
                # The thread that the client chose is the one that the server is asked for.
                encrypted = "encrypted" if spoken == "ssl_io" else "plain"
                self.assertEqual(server.lines("began"), [f"began {spoken} {GID} {encrypted}"])
                self.assertEqual(server.lines("heard"), ["heard aa"])
                gateway.stop_and_judge()

    def test_chunks_of_a_byte(self):
        server = RpcServer(self, *INCUMBENT, methods="ssl_io")
        gateway = self.gateway(self.route(server, "ssl_io", "ssl_io"))
        done = call(gateway.port, "ssl_io", "echo", "abcd", options=("--segment", 1))
        self.assertEqual(done.stdout, "connected TLSv1.3\necho 0 abcd\n")

    def test_a_careful_peer_gets_the_newest_version_and_is_bound_to_its_method(self):
        server = RpcServer(self)
        back = self.gateway(rpc_route(f"127.0.0.1:{server.port}", tls_clients(require_binding=True)))
        front = self.gateway(rpc_route(
            f"127.0.0.1:{back.port}", plain_clients(), tls_server(require_binding=True)
        ))
        done = call(front.port, "legacy", "echo", "01")
        self.assertEqual(done.stdout, "connected plain\necho 0 01\n")
        # An end that names no method in its handshake is refused there.
        refused = call(back.port, "ssl_io", "echo", "01")
        self.assertEqual(refused.returncode, 1, refused.stdout)
        event = back.claimed(message="handshake failed")
        self.assertIn("ob-rpc/io", event["reason"])


class WhoNegotiatesNothing(Case):
    def test_a_sidecar_encrypts_for_clients_that_cannot(self):
        server = RpcServer(self, *INCUMBENT, methods="ssl_io")
        gateway = self.gateway(rpc_route(f"127.0.0.1:{server.port}", plain_clients(), tls_server()))
        done = call(gateway.port, "legacy", "echo", "beef", "config", "a=b")
        self.assertEqual(done.stdout, "connected plain\necho 0 beef\nconfig 0\n")
        self.assertEqual(server.lines("began"), [f"began ssl_io {1 << 32} encrypted"])

    def test_the_preamble_of_libeasy_is_left_out_where_the_server_negotiates(self):
        server = RpcServer(self, *INCUMBENT, methods="ssl_io")
        gateway = self.gateway(rpc_route(f"127.0.0.1:{server.port}", plain_clients(), tls_server()))
        with socket.create_connection(("127.0.0.1", gateway.port)) as client:
            client.sendall(LIBEASY + request(0x106, b"\x03a=b\0", chid=9))
            self.assertEqual(answer(client), (9, 0x106, 0))
        until(lambda: server.lines("config"), "the call came")
        self.assertEqual(server.lines("config"), ["config a=b"])

    def test_the_net_keepalive_passes_in_the_clear_whatever_the_methods(self):
        server = RpcServer(self, *INCUMBENT, methods="ssl_io")
        gateway = self.gateway(rpc_route(f"127.0.0.1:{server.port}", None, tls_server()))
        with socket.create_connection(("127.0.0.1", gateway.port)) as client:
            client.sendall(KEEPALIVE)
            for _ in range(3):
                client.sendall(b"o")
                magic, length = struct.unpack(">Ii", read(client, 8))
                self.assertEqual(magic, 0x2C15C364)
                read(client, length)
        self.assertEqual(server.lines("began"), ["began None None plain"])

    def test_a_keepalive_can_be_refused(self):
        server = RpcServer(self)
        gateway = self.gateway(rpc_route(f"127.0.0.1:{server.port}", tls_clients(net_keepalive=False)))
        with socket.create_connection(("127.0.0.1", gateway.port)) as client:
            peer = "{}:{}".format(*client.getsockname())
            client.sendall(KEEPALIVE + b"o")
            self.assertEqual(client.recv(1), b"")
        self.assertIn("net keepalive", gateway.failed(peer, "not_tls")["reason"])

    def test_a_request_in_the_clear_is_answered_by_an_error_packet(self):
        server = RpcServer(self)
        gateway = self.gateway(rpc_route(f"127.0.0.1:{server.port}"))
        with socket.create_connection(("127.0.0.1", gateway.port)) as client:
            peer = "{}:{}".format(*client.getsockname())
            client.sendall(request(0x106, b"\x03a=b\0", chid=77))
            self.assertEqual(answer(client), (77, 0x106, -4174))
            self.assertEqual(client.recv(1), b"")
        self.assertIn("SET_CONFIG", gateway.failed(peer, "not_tls")["reason"])
        self.assertEqual(server.lines("began"), [])

    def test_who_is_admitted_for_some_requests_makes_no_other(self):
        for bypass in ("table-api", "everybody"):
            with self.subTest(bypass=bypass):
                server = RpcServer(self)
                gateway = self.gateway(rpc_route(f"127.0.0.1:{server.port}", tls_clients(danger_bypass=bypass)))
                self.assertIn(bypass, gateway.claimed(message="danger")["danger"])
                with socket.create_connection(("127.0.0.1", gateway.port)) as client:
                    peer = "{}:{}".format(*client.getsockname())
                    client.sendall(request(0x1101, b"", chid=1))
                    self.assertEqual(answer(client), (1, 0x1101, -4118))
                    client.sendall(request(0x106, b"\x03a=b\0", chid=2))
                    self.assertEqual(answer(client), (2, 0x106, -4174))
                    self.assertEqual(client.recv(1), b"")
                self.assertIn("SET_CONFIG", gateway.failed(peer, "protocol")["reason"])
                self.assertEqual(server.lines("config"), [])
                gateway.stop_and_judge()


class Loopback(Case):
    """OceanBase's rule for 127.0.0.1, from where nobody negotiates, is kept where that is said and nowhere else."""

    KEEPS_IT = ("--incumbent",)

    def test_where_it_is_kept(self):
        server = RpcServer(self, *self.KEEPS_IT, methods="ssl_io")
        client, towards = tls_clients(compat_loopback=True), tls_server(compat_loopback=True)
        gateway = self.gateway(rpc_route(f"127.0.0.1:{server.port}", client, towards))
        done = call(gateway.port, "ssl_io", "echo", "01", options=("--gid", GID, *self.KEEPS_IT))
        self.assertEqual(done.stdout, "connected plain\necho 0 01\n")
        self.assertEqual(server.lines("began"), [f"began ssl_io {GID} plain"])

    def test_whoever_comes_from_elsewhere_is_not_exempt(self):
        namespace = Namespace()
        self.addCleanup(namespace.remove)
        server = RpcServer(self)
        route = rpc_route(f"127.0.0.1:{server.port}", tls_clients(compat_loopback=True))
        port = free_port()
        route["listen"] = [f"{namespace.outer_address}:{port}"]
        gateway = self.gateway(route)
        where = {"host": namespace.outer_address, "launcher": tuple(namespace.command())}
        done = call(port, "ssl_io", "echo", "01", options=self.KEEPS_IT, **where)
        self.assertEqual(done.stdout, "connected TLSv1.2\necho 0 01\n")
        refused = call(port, "legacy", "echo", "01", **where)
        self.assertEqual(refused.stdout, "connected plain\necho -4174 \n")
        self.assertIn("in the clear", gateway.claimed(message="handshake failed")["reason"])

    def test_where_it_is_not_kept(self):
        server = RpcServer(self)
        gateway = self.gateway(rpc_route(f"127.0.0.1:{server.port}"))
        # A client that keeps it waits for no acknowledgement, and speaks in the clear.
        done = call(gateway.port, "ssl_io", "echo", "01", options=self.KEEPS_IT)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertEqual(gateway.claimed(message="handshake failed")["class"], "not_tls")


class Downgrades(Case):
    def test_a_method_that_is_not_accepted_is_refused(self):
        server = RpcServer(self)
        for accepted, asked in (("ssl_io", "ssl_no_encrypt"), ("ssl_no_encrypt", "ssl_io"), ("ssl_io", "none")):
            with self.subTest(accepted=accepted, asked=asked):
                gateway = self.gateway(rpc_route(f"127.0.0.1:{server.port}", tls_clients(accepted)))
                done = call(gateway.port, asked, "echo", "01")
                self.assertEqual(done.returncode, 1, done.stdout)
                event = gateway.claimed(message="handshake failed")
                self.assertIn(f"asks for method {asked}", event["reason"])
                gateway.stop_and_judge()
        self.assertEqual(server.lines("began"), [])

    def test_a_server_that_acknowledges_another_method_is_refused(self):
        gateway = self.gateway(rpc_route("127.0.0.1:1", plain_clients(), tls_server()))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            gateway.routes[0]["server"]["address"] = f"127.0.0.1:{listener.getsockname()[1]}"
            gateway.write_config()
            self.assertEqual(gateway.reload()["message"], "reloaded")
            with socket.create_connection(("127.0.0.1", gateway.port)) as client:
                client.sendall(request(0x106, b"\x03a=b\0", chid=2))
                server, _ = listener.accept()
                with server:
                    message = bytearray(read(server, 28))
                    self.assertEqual(message[12], 4)
                    message[12] = 2
                    server.sendall(message)
                    self.assertTrue(has_ended(client))
                    self.assertTrue(has_ended(server))
        self.assertIn("ssl_no_encrypt", gateway.claimed(message="handshake failed")["reason"])

    def test_the_server_must_be_who_it_is_to_be(self):
        server = RpcServer(self, methods="ssl_io")
        towards = tls_server(ca=certs.authority("other").cert)
        gateway = self.gateway(rpc_route(f"127.0.0.1:{server.port}", plain_clients(), towards))
        self.assertEqual(call(gateway.port, "legacy", "echo", "01").returncode, 1)
        self.assertEqual(gateway.claimed(message="handshake failed")["class"], "certificate_unknown_issuer")

    def test_a_client_must_have_a_certificate(self):
        server = RpcServer(self)
        gateway = self.gateway(rpc_route(f"127.0.0.1:{server.port}"))
        options = ("--cert", "", "--no-demands-client-certificate")
        self.assertEqual(call(gateway.port, "ssl_io", "echo", "01", options=options).returncode, 1)
        self.assertEqual(gateway.claimed(message="handshake failed")["class"], "certificate_missing")


class Enablement(Case):
    """TLS between nodes without restarting anything."""

    def test_the_server_side_first_then_the_clients(self):
        server = RpcServer(self, methods="none")
        back = self.gateway(rpc_route(f"127.0.0.1:{server.port}", tls_clients("none", "ssl_io")))
        front = self.gateway(rpc_route(f"127.0.0.1:{back.port}", plain_clients()))
        with socket.create_connection(("127.0.0.1", front.port)) as old:
            old.sendall(request(0x106, b"\x01a\0", chid=1))
            self.assertEqual(answer(old), (1, 0x106, 0))
            # The client's side begins to ask.
            front.routes[0]["server"] |= tls_server()
            front.write_config()
            self.assertEqual(front.reload()["message"], "reloaded")
            self.assertEqual(call(front.port, "none", "echo", "01").returncode, 0)
            # The server's side admits nobody else any more.
            back.routes[0]["client"]["method"] = ["ssl_io"]
            back.write_config()
            self.assertEqual(back.reload()["message"], "reloaded")
            self.assertEqual(call(back.port, "none", "echo", "01").returncode, 1)
            self.assertIn("method none", back.claimed(message="handshake failed")["reason"])
            self.assertEqual(call(front.port, "none", "echo", "01").returncode, 0)
            # What was there before lives on.
            old.sendall(request(0x106, b"\x01b\0", chid=2))
            self.assertEqual(answer(old), (2, 0x106, 0))
        self.assertEqual(server.lines("config"), ["config a", "config b"])


class Guide(Case):
    """docs/obrpc.md: its configurations as they are printed, but for addresses. Those between nodes have a test of
    their own."""

    def setUp(self):
        super().setUp()
        made = run(BINARY, "cert", "init", self.scratch / "certs")
        self.assertEqual(made.returncode, 0, made.stderr)

    def files(self, name: str) -> tuple:
        folder = self.scratch / "certs"
        return ("--cert", folder / f"{name}-cert.pem", "--key", folder / f"{name}-key.pem", "--ca", folder / "ca.pem")

    def test_in_front_of_a_node(self):
        server = RpcServer(self, methods="none")
        port = free_port()
        PrintedGateway(self, "node", {"0.0.0.0:2892": f"127.0.0.1:{port}", "127.0.0.1:2882": f"127.0.0.1:{server.port}"})
        done = call(port, "ssl_io", "echo", "01", options=self.files("client"))
        self.assertEqual(done.stdout, "connected TLSv1.3\necho 0 01\n")

    def test_beside_a_client_that_cannot(self):
        server = RpcServer(self, *INCUMBENT, *self.files("server"), methods="ssl_io")
        port = free_port()
        changes = {"127.0.0.1:2882": f"127.0.0.1:{port}", "db1.example:2882": f"127.0.0.1:{server.port}"}
        PrintedGateway(self, "client", changes)
        self.assertEqual(call(port, "legacy", "echo", "01").stdout, "connected plain\necho 0 01\n")
        self.assertEqual(server.lines("began"), [f"began ssl_io {1 << 32} encrypted"])


class Ending(Case):
    def test_a_drain_waits_for_calls_and_no_longer(self):
        gateway = self.gateway(rpc_route("127.0.0.1:1", plain_clients()))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            gateway.routes[0]["server"]["address"] = f"127.0.0.1:{listener.getsockname()[1]}"
            gateway.write_config()
            self.assertEqual(gateway.reload()["message"], "reloaded")
            with socket.create_connection(("127.0.0.1", gateway.port)) as client:
                call_bytes = request(0x106, b"\x01a\0", chid=5)
                client.sendall(call_bytes)
                server, _ = listener.accept()
                with server:
                    self.assertEqual(read(server, len(call_bytes)), call_bytes)
                    gateway.signal(15)
                    gateway.wait_event(message="draining")
                    # The answer of the call that is under way still comes, and then the end.
                    response = request(0x106, b"\x01" + bytes(9), chid=5, flags=1 << 15)
                    server.sendall(response)
                    self.assertEqual(read(client, len(response)), response)
                    self.assertEqual(client.recv(1), b"")
                    self.assertEqual(server.recv(1), b"")
        self.assertEqual(gateway.wait(), 0)


def request(pcode: int, payload: bytes, chid: int, flags: int = 0) -> bytes:
    """A packet whose header has what matters here, and zeros."""
    body = struct.pack(">IBBHQ", pcode, 192, 5, flags | 7, crc(payload)).ljust(192, b"\0") + payload
    return struct.pack(">4sIII", b"\x01\xdb\xdb\xce", len(body), chid, 0) + body


def answer(sock: socket.socket) -> tuple[int, int, int]:
    """Channel, pcode and result code of a response."""
    magic, length, chid, _ = struct.unpack(">4sIII", read(sock, 16))
    assert magic == b"\x01\xdb\xdb\xce", magic
    body = read(sock, length)
    pcode, header_len = struct.unpack_from(">IB", body)
    # An object: version, five bytes of length, then the code in seven bits a byte.
    value = shift = 0
    for byte in body[header_len + 6:]:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return chid, pcode, value - (1 << 32) if value >> 31 else value


def read(sock: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        piece = sock.recv(length - len(data))
        assert piece, f"an end after {len(data)} of {length} bytes"
        data += piece
    return data


def has_ended(sock: socket.socket) -> bool:
    """By an end of its stream or by a reset."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def crc(payload: bytes) -> int:
    value = 0
    for byte in payload:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value
