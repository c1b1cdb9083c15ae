#!/usr/bin/env python3
"""The peers against the documented bytes, and against each other."""

import pathlib
import socket
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import proxy_protocol  # noqa: E402
import rpc  # noqa: E402
import ussl  # noqa: E402
from peers import oblog  # noqa: E402


class Vectors(unittest.TestCase):
    def test_negotiation(self):
        vector = bytes.fromhex("1203efbe 01000000 10000000 04000000 00000000 03000000 01000000")
        self.assertEqual(ussl.message(4, 0x1_0000_0003), vector)
        garbage = ussl.message(4, 0x1_0000_0003, ussl.INCUMBENT)
        self.assertEqual(ussl.parse(garbage), (4, 0x1_0000_0003))
        self.assertEqual(garbage[:16] + garbage[20:], vector[:16] + vector[20:])

    def test_proxy_header(self):
        """Examples of proxy-protocol.txt, and what follows them."""
        signature, client = "0d0a0d0a000d0a515549540a", ("192.168.0.1", 56324)
        for header, expected in [
            (b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", client),
            (bytes.fromhex(signature + "21 11 0010 c0a80001 c0a8000b dc04 01bb ea000161"), client),
            (bytes.fromhex(signature + "20 00 0000"), None),
        ]:
            near, far = socket.socketpair()
            with near, far:
                near.sendall(header + b"behind")
                self.assertEqual(proxy_protocol.take(far).source, expected)
                self.assertEqual(far.recv(100), b"behind")

    def test_checksum(self):
        for payload, value in [
            (b"", 0), (b"a", 0x93AD1061), (b"123456789", 0x58E3FA20), (bytes(32), 0), (b"\xff" * 32, 0xE8399DE9),
            (bytes(range(32)), 0xCC4C4FE4),
        ]:
            self.assertEqual(rpc.checksum(payload), value)

    def test_checksum_of_parts(self):
        halves = [oblog.Part.of(b"1234"), oblog.Part.of(b""), oblog.Part.of(b"56789")]
        self.assertEqual(oblog.Part.join(halves), oblog.Part(b"123456789", 0x58E3FA20))

    def test_hash_of_headers(self):
        """As libxxhash has it."""
        self.assertEqual(oblog.xxh64(bytes(range(32))), 0xCBF59C5116FF32B4)
        self.assertEqual(oblog.xxh64(bytes(range(56))), 0x0CD869F80FF2B918)

    def test_worked_packet(self):
        packet = rpc.Packet(
            0x1101, b"123456789", 0x2A, trace=(1, 2), timeout_us=10_000_000, timestamp_us=1_700_000_000_000_000,
        )
        expected = bytes.fromhex(
            "01dbdbce 000000c9 0000002a 00000000 00001101 c0050007 00000000 58e3fa20 0000000000000001 0000000000000001"
            "0000000000000000 0000000000000001 0000000000000002 0000000000989680 00060a24181e4000 00000028 00000000"
        ) + bytes(32) + bytes.fromhex("ffffffffffffffff 0000000000000000 ffffffffffffffff") + bytes(56) + b"123456789"
        self.assertEqual(packet.encode(), expected)
        self.assertEqual(rpc.decode(0x2A, expected[16:]).payload, b"123456789")

    def test_captured_login(self):
        login = (HERE.parent / "data/obkv_login.bin").read_bytes()
        packet = rpc.decode(0, login[16:])
        self.assertEqual((packet.pcode, packet.header_len, packet.timeout_us), (0x1101, 184, 10_000_000))
        members = rpc.Reader(packet.payload).obj()
        self.assertEqual(members.take(4), b"\1\2\1\0")
        numbers = [members.varint() for _ in range(4)]
        self.assertEqual(numbers, [0, 0, 0, 0])
        self.assertEqual([members.string() for _ in range(2)], [b"mysql", b"kv_user"])

    def test_result_codes(self):
        self.assertEqual(rpc.result_code(0).hex(), "01848080800000010000")
        self.assertEqual(rpc.result_code(-4174).hex(), "018880808000b2dfffff0f010000")
        self.assertEqual(rpc.read_result(rpc.result_code(-4174) + b"x"), (-4174, b"", b"x"))


class Pairs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        make_certificates(cls.directory.name)

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def test_every_method_and_call(self):
        calls = ["echo", "00ff", "error", "-4012", "one-way", "ab", "parts", "4", "abort", "9", "config", "a=1"]
        calls += ["start-lsn", "1001", "fetch", "1001", "4096"]
        said = [
            "echo 0 00ff", "error -4012 as asked for", "one-way", "parts 0 [3, 2, 1, 0]", "abort 0 [8, 7]",
            "config 0", "start-lsn 0 1 0 1 0 1001000 5", "fetch 0 1 0 0 1001 -1",
        ]
        for habits in ([], ["--incumbent", "--no-exempts-loopback"]):
            for method, link in [("none", "plain"), ("ssl_no_encrypt", "plain"), ("ssl_io", None)]:
                link = link or ("TLSv1.2" if habits else "TLSv1.3")
                with self.subTest(habits=habits, method=method), self.serve(*habits) as server:
                    lines = self.call(server, method, *habits, calls=calls)
                    self.assertEqual(lines, [f"connected {link}", *said])

    def test_segments_of_one_byte(self):
        with self.serve("--segment", "1") as server:
            for method in ussl.METHODS:
                lines = self.call(server, method, "--segment", "1", calls=["echo", "00"])
                self.assertEqual(lines[1], "echo 0 00")

    def test_compressed_answers(self):
        with self.serve("--compress") as server:
            self.assertEqual(self.call(server, "none", calls=["echo", "00" * 500])[1], "echo 0 " + "00" * 500)

    def test_an_incumbent_closes_on_a_short_first_segment(self):
        with self.serve("--closes-on-short-first-segment") as server:
            with socket.create_connection(("127.0.0.1", int(server.port)), timeout=30) as sock:
                sock.sendall(ussl.message(4, 1)[:5])
                self.assertTrue(is_closed(sock))

    def test_an_incumbent_wants_a_certificate(self):
        with self.serve("--demands-client-certificate") as server:
            calls = ["echo", "00"]
            self.assertIn("echo", self.call(server, "ssl_io", calls=calls)[-1])
            self.assertIn("failed", self.call(server, "ssl_io", calls=calls, certificate=False)[-1])

    def test_an_incumbent_exempts_loopback(self):
        with self.serve("--exempts-loopback", "--methods", "ssl_io") as server:
            lines = self.call(server, "ssl_io", "--exempts-loopback", calls=["echo", "00"])
            self.assertEqual(lines, ["connected plain", "echo 0 00"])

    def test_who_is_refused(self):
        with self.serve("--methods", "ssl_io") as server:
            for method in ("none", "ssl_no_encrypt", "legacy"):
                self.assertIn("failed", self.call(server, method, calls=["echo", "00"])[-1])
        with self.serve("--methods", "ssl_io", "--takes-either-ssl-method") as server:
            self.assertIn("echo 0", self.call(server, "ssl_no_encrypt", calls=["echo", "00"])[-1])
        with self.serve("--methods", "ssl_io", "--bypass") as server:
            for method in ("none", "legacy"):
                self.assertIn("-4174", self.call(server, method, calls=["config", "a=1"])[-1])
                self.assertIn("start-lsn 0", self.call(server, method, calls=["start-lsn", "1"])[-1])

    def serve(self, *flags):
        return Server(self.directory.name, flags)

    def call(self, server, method, *flags, calls=(), certificate=True):
        credentials = ["--cert", "client.pem", "--key", "client-key.pem"] if certificate else []
        command = [sys.executable, str(HERE / "obrpc.py"), "call", f"127.0.0.1:{server.port}", *calls]
        command += ["--method", method, "--ca", "ca.pem", *credentials, *flags]
        done = subprocess.run(command, cwd=self.directory.name, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.stderr, "")
        return done.stdout.splitlines()


class Server:
    def __init__(self, directory, flags):
        credentials = ["--cert", "server.pem", "--key", "server-key.pem", "--ca", "ca.pem"]
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "obrpc.py"), "serve", *credentials, *flags],
            cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        self.port = self.process.stdout.readline().split()[1]

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


def is_closed(sock):
    """Waits for the peer to close; bytes it has not read make that a reset."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def make_certificates(directory):
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *new_key, "-keyout", "ca-key.pem", "-out", "ca.pem", "-days", "30", "-subj", "/CN=Peers CA")
    for name, host in [("server", "localhost"), ("client", "client")]:
        openssl("req", *new_key, "-keyout", f"{name}-key.pem", "-out", f"{name}.csr", "-subj", f"/CN={host}")
        extensions = pathlib.Path(directory, "extensions")
        extensions.write_text(f"subjectAltName=DNS:{host}\n")
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial",
            "-out", f"{name}.pem", "-days", "30", "-extfile", "extensions",
        )


if __name__ == "__main__":
    unittest.main()
