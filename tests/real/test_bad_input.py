"""What a peer may get wrong before or after the handshake. Each has one line in the log and harms nobody else."""

import socket
import ssl

from harness import certs, clients
from harness.case import BACKENDS, BACKENDS_AND_RECORDS, Case, tcp_route
from harness.gateway import HANDSHAKE_FAILED, SESSION_FAILED
from harness.process import run, until
from harness.servers import Listener, digest, echo
from harness.tls13 import (
    ALERT,
    APPLICATION_DATA,
    BAD_RECORD_MAC,
    CLOSE_NOTIFY,
    HANDSHAKE,
    RECORD_OVERFLOW,
    Alert,
    Tls13Client,
    client_hello,
    record_header,
)


class BadCase(Case):
    """A gateway before an echo server, with a good connection beside whatever goes wrong."""

    variants = BACKENDS

    def setUp(self):
        super().setUp()
        self.server = Listener(self, echo)

    def start_gateway(self, **changes):
        gateway = self.gateway(tcp_route(self.server.address, **changes))
        bystander = clients.tls(gateway.port)
        self.addCleanup(bystander.close)

        def is_unharmed():
            self.assertEqual(clients.ask(bystander, b"still here"), b"still here")
            bystander.unwrap()

        # Run before the gateway is stopped, since it was added later.
        self.addCleanup(is_unharmed)
        return gateway


class BeforeTheHandshake(BadCase):
    needs = ("openssl",)

    def test_plaintext(self):
        gateway = self.start_gateway()
        for data in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", bytes(100), b"\xff" * 100):
            with self.subTest(data[:8]), clients.plain(gateway.port) as connection:
                connection.sendall(data)
                until(lambda: clients.is_ended(connection), "the connection ends")
                gateway.failed(clients.name(connection), "not_tls", message=HANDSHAKE_FAILED)

    def test_hello_in_one_byte_segments(self):
        gateway = self.start_gateway()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = clients.context().wrap_bio(incoming, outgoing, server_hostname="localhost")
        with clients.plain(gateway.port) as connection:
            while True:
                try:
                    session.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    for byte in outgoing.read():
                        connection.sendall(bytes([byte]))
                    incoming.write(connection.recv(65536))
            session.write(b"whole")
            for byte in outgoing.read():
                connection.sendall(bytes([byte]))
            data = b""
            while not data:
                try:
                    data = session.read(5)
                except ssl.SSLWantReadError:
                    incoming.write(connection.recv(65536))
            self.assertEqual(data, b"whole")
            try:
                session.unwrap()
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())

    def test_half_a_hello_then_silence(self):
        gateway = self.start_gateway(handshake_timeout_s=1)
        hello = clients.client_hello()
        with clients.plain(gateway.port) as connection:
            connection.sendall(hello[: len(hello) // 2])
            self.assertTrue(clients.is_ended(connection))
            gateway.failed(clients.name(connection), "timeout", message=HANDSHAKE_FAILED)

    def test_a_byte_now_and_then(self):
        """The deadline is for the handshake as a whole: trickling does not move it."""
        gateway = self.start_gateway(handshake_timeout_s=1)
        with clients.plain(gateway.port) as connection:
            connection.settimeout(0.05)
            hello = iter(clients.client_hello())

            def is_cut():
                try:
                    connection.sendall(bytes([next(hello)]))
                    return clients.is_ended(connection)
                except TimeoutError:
                    return False
                except OSError:
                    return True

            until(is_cut, "the connection ends", patience_s=10)
            gateway.failed(clients.name(connection), "timeout", message=HANDSHAKE_FAILED)

    def test_silence(self):
        gateway = self.start_gateway(handshake_timeout_s=1)
        with clients.plain(gateway.port) as connection:
            self.assertTrue(clients.is_ended(connection))
            gateway.failed(clients.name(connection), "timeout", message=HANDSHAKE_FAILED)

    def test_an_end_in_the_middle_of_a_hello(self):
        gateway = self.start_gateway()
        with clients.plain(gateway.port) as connection:
            connection.sendall(clients.client_hello()[:100])
            connection.shutdown(socket.SHUT_WR)
            self.assertTrue(clients.is_ended(connection))
            gateway.failed(clients.name(connection), "truncated", message=HANDSHAKE_FAILED)

    def test_tls_1_1(self):
        gateway = self.start_gateway()
        self.check_refused(gateway, b"alert", "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0")

    def test_no_common_suite(self):
        gateway = self.start_gateway()
        self.check_refused(gateway, b"handshake failure", "-tls1_2", "-cipher", "AES128-SHA")

    def test_no_common_suite_of_tls_1_3(self):
        gateway = self.start_gateway()
        self.check_refused(
            gateway, b"handshake failure", "-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"
        )

    def check_refused(self, gateway, alert: bytes, *options):
        done = run("openssl", "s_client", "-connect", f"127.0.0.1:{gateway.port}", *options, input=b"", text=False)
        self.assertIn(alert, done.stderr)
        event = gateway.claimed(message=HANDSHAKE_FAILED, **{"class": "tls_incompatible"})
        self.assertTrue(event["peer"].startswith("127.0.0.1:"), event)
        self.assertTrue(event["reason"], event)

    def test_hello_that_never_ends(self):
        """A handshake message that claims 16 MiB is refused long before it is whole."""
        gateway = self.start_gateway()
        with clients.plain(gateway.port) as connection:
            try:
                connection.sendall(record_header(HANDSHAKE, 16_384) + b"\x01\xff\xff\xff" + bytes(16_380))
                for _ in range(64):
                    connection.sendall(record_header(HANDSHAKE, 16_384) + bytes(16_384))
            except ConnectionError:
                pass
            until(lambda: clients.is_ended(connection), "the connection ends")
            gateway.failed(clients.name(connection), {"tls_protocol", "limit"}, message=HANDSHAKE_FAILED)


class ClientCertificates(BadCase):
    def check_refused(self, identity, fault: str, alert: str, mode: str = "required"):
        own, ca = certs.server(), certs.authority().cert
        client = {"tls": "required", "cert": own.cert, "key": own.key, "ca": ca, "client_cert": mode}
        gateway = self.gateway(tcp_route(self.server.address, client=client))
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            made = clients.context(identity=identity, version=version)
            with self.subTest(version.name), clients.plain(gateway.port) as connection:
                peer = clients.name(connection)
                with self.assertRaises(ssl.SSLError) as refused:
                    # In TLS 1.3 the client's handshake is complete before its certificate is judged.
                    made.wrap_socket(connection.dup(), server_hostname="localhost").recv(1)
                self.assertIn(alert, str(refused.exception).lower().replace("_", " "))
                gateway.failed(peer, fault, message=HANDSHAKE_FAILED)
        self.assertEqual(self.server.accepted, 0, "the server saw a client that was refused")
        gateway.stop_and_judge()

    def test_of_another_authority(self):
        other = certs.client("client", "other")
        self.check_refused(other, "certificate_unknown_issuer", "unknown ca")
        self.check_refused(other, "certificate_unknown_issuer", "unknown ca", "optional")

    def test_expired(self):
        self.check_refused(certs.expired_client(), "certificate_expired", "certificate expired")

    def test_of_a_server(self):
        self.check_refused(certs.server(), "certificate_unusable", "certificate")

    def test_none_where_one_is_required(self):
        # TLS 1.2 has no alert of its own for it.
        self.check_refused(None, "certificate_missing", "alert")


class Records(BadCase):
    """Record-level faults, after a good handshake of TLS 1.3, on both record paths."""

    variants = BACKENDS_AND_RECORDS

    def setUp(self):
        super().setUp()
        self.proxy = self.start_gateway()
        self.client = Tls13Client(clients.plain(self.proxy.port))
        self.peer = clients.name(self.client.socket)
        self.client.send(b"good")
        self.assertEqual(self.client.read(4), b"good")

    def check_ended(self, alerts: set[int], classes: str | set[str]):
        """Ends with one of these fatal alerts, or with a reset where what we still sent made one."""
        found = self.client.read_to_alert()
        if found is not None:
            self.assertIn(found.description, alerts)
            self.assertEqual(found.level, 2)
        self.proxy.failed(self.peer, classes, message=SESSION_FAILED)

    def test_record_of_16_kib_and_257_bytes(self):
        self.client.socket.sendall(record_header(APPLICATION_DATA, 16_384 + 257) + bytes(16_384 + 257))
        # rustls finds it out when it decrypts.
        self.check_ended({RECORD_OVERFLOW, BAD_RECORD_MAC}, {"tls_protocol", "limit"})

    def test_plaintext_of_16_kib_and_one_byte(self):
        self.client.send(bytes(16_384 + 1))
        self.check_ended({RECORD_OVERFLOW}, {"tls_protocol", "limit"})

    def test_largest_record(self):
        self.client.send(b"m" * 16_384)
        self.assertEqual(self.client.read(16_384), b"m" * 16_384)
        self.client.end()

    def test_flood_of_empty_records(self):
        try:
            for _ in range(1_000):
                self.client.send(b"")
        except ConnectionError:
            pass
        self.check_ended({10, 40, 80}, {"tls_protocol", "limit"})

    def test_some_empty_records(self):
        for _ in range(50):
            self.client.socket.sendall(self.client.sealed(APPLICATION_DATA, b"") + self.client.sealed(23, b"x"))
        self.assertEqual(self.client.read(50), b"x" * 50)
        self.client.end()

    def test_key_update_storm(self):
        try:
            for _ in range(1_000):
                self.client.socket.sendall(self.client.key_update(wants_answer=True))
        except ConnectionError:
            pass
        self.check_ended({10, 40, 80}, {"tls_protocol", "limit"})

    def test_key_update_that_asks_for_nonsense(self):
        self.client.send_record(HANDSHAKE, bytes([24, 0, 0, 1, 7]))
        self.check_ended({47, 50}, "tls_protocol")

    def test_data_glued_behind_a_key_update(self):
        """A message that changes the key must end its record (RFC 8446 section 5.1)."""
        message = bytes([24, 0, 0, 1, 0])
        self.client.send_record(HANDSHAKE, message + message)
        self.check_ended({10}, "tls_protocol")

    def test_forged_record(self):
        record = bytearray(self.client.sealed(APPLICATION_DATA, b"forged"))
        record[-1] ^= 1
        self.client.socket.sendall(record)
        self.check_ended({BAD_RECORD_MAC}, "tls_protocol")

    def test_replayed_record(self):
        record = self.client.sealed(APPLICATION_DATA, b"once")
        self.client.socket.sendall(record + record)
        self.check_ended({BAD_RECORD_MAC}, "tls_protocol")

    def test_record_in_the_clear(self):
        self.client.socket.sendall(record_header(HANDSHAKE, 4) + bytes(4))
        self.check_ended({10, 20, 50}, "tls_protocol")

    def test_record_of_unknown_type(self):
        self.client.send_record(99, b"what")
        self.check_ended({10, 50}, "tls_protocol")

    def test_record_without_a_type(self):
        """Nothing but padding."""
        self.client.socket.sendall(self.client.sending.seal(bytes(50)))
        self.check_ended({10, 50}, "tls_protocol")

    def test_fatal_alert(self):
        self.client.send_record(ALERT, bytes([2, 80]))
        event = self.proxy.failed(self.peer, "tls_alert", message=SESSION_FAILED)
        self.assertIn("internal", event["reason"].lower())

    def test_renegotiation(self):
        """A ClientHello after the handshake."""
        self.client.send_record(HANDSHAKE, client_hello(bytes(32), "localhost"))
        self.check_ended({10}, "tls_protocol")

    def test_truncation(self):
        """An end without close_notify is an error here, and not a clean end at the server."""
        self.client.send(b"cut")
        self.assertEqual(self.client.read(3), b"cut")
        self.client.socket.shutdown(socket.SHUT_WR)
        self.proxy.failed(self.peer, "truncated", message=SESSION_FAILED)
        until(lambda: self.server.errors, "the server sees a reset")
        self.assertIsInstance(self.server.errors[0], ConnectionResetError)

    def test_truncation_in_the_middle_of_a_record(self):
        self.client.socket.sendall(self.client.sealed(APPLICATION_DATA, b"x" * 1_000)[:500])
        self.client.socket.shutdown(socket.SHUT_WR)
        self.proxy.failed(self.peer, "truncated", message=SESSION_FAILED)


class AfterClose(Case):
    variants = BACKENDS_AND_RECORDS

    def test_bytes_after_close_notify(self):
        """They are ignored (RFC 8446 section 6.1), and the server gets what came before, and its end."""
        gateway = self.gateway(tcp_route(Listener(self, digest).address))
        for junk in (b"\x17\x03\x03\x00\x05junk!", b"not even a record", bytes(100_000)):
            client = Tls13Client(clients.plain(gateway.port))
            client.send(b"all of it")
            end = client.sealed(ALERT, bytes([1, CLOSE_NOTIFY]))
            client.socket.sendall(end + client.sealed(APPLICATION_DATA, b"too late") + junk)
            self.assertTrue(client.receive().startswith(b"9 "), junk)
            found = client.read_to_alert()
            self.assertIn(found, (Alert(1, CLOSE_NOTIFY), None))
            client.socket.close()
