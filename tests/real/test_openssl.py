"""OpenSSL in front: every suite, KeyUpdate, half-close, client certificates."""

import hashlib
import ssl
import subprocess

from harness import certs, clients
from harness.case import BACKENDS_AND_RECORDS, Case, tcp_route
from harness.process import program, run
from harness.servers import Listener, digest, echo
from harness.tls13 import Tls13Client

SUITES_TLS13 = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
SUITES_TLS12 = ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"]


class OpensslClient(Case):
    variants = BACKENDS_AND_RECORDS
    needs = ("openssl",)

    def s_client(self, port: int, *options, input: bytes = b""):
        command = ["openssl", "s_client", "-connect", f"localhost:{port}", "-verify_return_error"]
        return run(*command, "-CAfile", certs.authority().cert, *options, input=input, text=False)

    def check_suite(self, port: int, name: str, *options):
        done = self.s_client(port, *options)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"Cipher is {name}".encode(), done.stdout)
        self.assertIn(b"Verify return code: 0 (ok)", done.stdout)

    def test_suites_of_tls_1_3(self):
        server = Listener(self, echo)
        gateway = self.gateway(tcp_route(server.address))
        for suite in SUITES_TLS13:
            with self.subTest(suite):
                self.check_suite(gateway.port, suite, "-tls1_3", "-ciphersuites", suite)

    def test_suites_of_tls_1_2(self):
        server = Listener(self, echo)
        for kind, own in (("ECDSA", certs.server()), ("RSA", certs.rsa_server())):
            client = {"tls": "required", "cert": own.cert, "key": own.key}
            gateway = self.gateway(tcp_route(server.address, client=client))
            for suite in SUITES_TLS12:
                with self.subTest(f"{kind} {suite}"):
                    name = f"ECDHE-{kind}-{suite}"
                    self.check_suite(gateway.port, name, "-tls1_2", "-cipher", name)
                    made = clients.context(version=ssl.TLSVersion.TLSv1_2, ciphers=name)
                    with clients.tls(gateway.port, made) as connection:
                        self.assertEqual(clients.ask(connection, b"x" * 50_000), b"x" * 50_000)
                        connection.unwrap()
            gateway.stop_and_judge()

    def test_suites_that_are_configured(self):
        own = certs.server()
        suites = ["TLS_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"]
        client = {"tls": "required", "cert": own.cert, "key": own.key, "suites": suites}
        gateway = self.gateway(tcp_route(Listener(self, echo).address, client=client))
        self.check_suite(gateway.port, suites[0])
        self.check_suite(gateway.port, suites[1], "-tls1_2")

    def test_key_updates(self):
        gateway = self.gateway(tcp_route(Listener(self, echo).address))
        command = [program("openssl"), "s_client", "-connect", f"localhost:{gateway.port}", "-tls1_3"]
        command += ["-CAfile", certs.authority().cert]
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.stdin.close)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)

        def until_seen(line: bytes) -> None:
            while (found := child.stdout.readline()) != line:
                self.assertTrue(found, f"ended before {line}")

        # "K" asks for the other side's new key too, "k" does not. Each is a command where it is all that was read.
        for round, key in enumerate(["K", "k", "K", "K", "k"]):
            child.stdin.write(f"{key}\n".encode())
            until_seen(b"KEYUPDATE\n")
            line = f"line {round}\n".encode()
            child.stdin.write(line)
            until_seen(line)
        child.stdin.write(b"Q\n")
        self.assertEqual(child.wait(10), 0)

    def test_key_updates_in_both_directions_under_load(self):
        """A client that asks for the server's new key with each message, while data flows both ways."""
        gateway = self.gateway(tcp_route(Listener(self, echo).address))
        client = Tls13Client(clients.plain(gateway.port))
        for round in range(200):
            data = bytes([round]) * 5_000
            client.socket.sendall(client.key_update(wants_answer=True) + client.sealed(23, data))
            self.assertEqual(client.read(len(data)), data)
        self.assertEqual(client.key_updates_received, 200)
        client.end()

    def test_key_updates_while_only_receiving(self):
        """They are answered although the gateway has nothing to send (RFC 8446 section 4.6.3)."""
        gateway = self.gateway(tcp_route(Listener(self, digest).address))
        client = Tls13Client(clients.plain(gateway.port))
        sha = hashlib.sha256()
        for round in range(40):
            data = bytes([round]) * 1_000
            sha.update(data)
            client.socket.sendall(client.sealed(23, data) + client.key_update(wants_answer=True))
        client.close_notify()
        answer = f"40000 {sha.hexdigest()}\n".encode()
        self.assertEqual(client.read(len(answer)), answer)
        self.assertGreaterEqual(client.key_updates_received, 1)

    def test_padding(self):
        gateway = self.gateway(tcp_route(Listener(self, echo).address))
        client = Tls13Client(clients.plain(gateway.port))
        for padding in (0, 1, 255, 16_000):
            client.send_record(23, b"padded", padding)
            self.assertEqual(client.read(6), b"padded")
        client.end()

    def test_half_close(self):
        """The client ends its side; the server sees that end and answers behind it."""
        gateway = self.gateway(tcp_route(Listener(self, digest).address))
        data = b"half" * 100_000
        expected = f"{len(data)} {hashlib.sha256(data).hexdigest()}\n".encode()

        raw = Tls13Client(clients.plain(gateway.port))
        for start in range(0, len(data), 16_000):
            raw.send(data[start : start + 16_000])
        raw.close_notify()
        self.assertEqual(raw.read(len(expected)), expected)
        self.assertEqual(raw.read_to_alert().description, 0)

        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with self.subTest(version):
                self.assertEqual(half_close(gateway.port, clients.context(version=version), data), expected)

    def test_server_ends_first(self):
        """The server's end reaches the client as a close_notify."""
        gateway = self.gateway(tcp_route(Listener(self, lambda connection: connection.sendall(b"bye")).address))
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with clients.tls(gateway.port, clients.context(version=version)) as connection:
                self.assertEqual(clients.read_to_end(connection), b"bye")
                connection.unwrap()

    def test_client_certificates(self):
        own, ca = certs.server(), certs.authority().cert
        server = Listener(self, echo)
        for mode in ("optional", "required"):
            client = {"tls": "required", "cert": own.cert, "key": own.key, "ca": ca, "client_cert": mode}
            gateway = self.gateway(tcp_route(server.address, client=client))
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                with self.subTest(f"{mode} {version.name}"):
                    made = clients.context(identity=certs.client(), version=version)
                    with clients.tls(gateway.port, made) as connection:
                        self.assertEqual(clients.ask(connection, b"mine"), b"mine")
                        connection.unwrap()
            if mode == "optional":
                with clients.tls(gateway.port) as connection:
                    self.assertEqual(clients.ask(connection, b"none"), b"none")
                    connection.unwrap()
            gateway.stop_and_judge()

    def test_resumption(self):
        gateway = self.gateway(tcp_route(Listener(self, echo).address))
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            made = clients.context(version=version)
            with clients.tls(gateway.port, made) as first:
                clients.ask(first, b"first")
                session = first.session
                first.unwrap()
            with clients.tls(gateway.port, made, session=session) as second:
                self.assertEqual(clients.ask(second, b"again"), b"again")
                self.assertTrue(second.session_reused, version)
                second.unwrap()


def half_close(port: int, made: ssl.SSLContext, data: bytes) -> bytes:
    """OpenSSL sends `data` and its close_notify, then reads to the server's."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = made.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with clients.plain(port) as connection:

        def drive(step):
            while True:
                try:
                    result = step()
                except ssl.SSLWantReadError:
                    result = None
                connection.sendall(outgoing.read())
                if result is not None:
                    return result
                more = connection.recv(65536)
                incoming.write(more) if more else incoming.write_eof()

        drive(lambda: session.do_handshake() or True)
        sent = 0
        while sent < len(data):
            sent += drive(lambda: session.write(data[sent : sent + 16_000]))
        try:
            session.unwrap()
        except ssl.SSLWantReadError:
            connection.sendall(outgoing.read())
        found = b""
        while True:
            try:
                more = drive(lambda: session.read(65536))
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError) as end:
                assert isinstance(end, ssl.SSLZeroReturnError), "no close_notify came back"
                return found
            if not more:
                return found
            found += more
