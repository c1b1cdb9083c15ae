"""TLS sessions with MySQL servers that are resumed, and those that must not be."""

import socket
import threading

from harness import certs, databases, pki
from harness.databases import Database
from harness.mysql_case import TLS_1_3, MysqlCase, client_side, enter, route, server_side
from harness.process import until
from harness.servers import Listener

# One for each version, which a server of any kind has.
SUITES = {"TLSv1.2": "ECDHE-RSA-AES128-GCM-SHA256", "TLSv1.3": "TLS_AES_128_GCM_SHA256"}


class TowardsServers(MysqlCase):
    def open(self, database: Database, suite: str) -> None:
        self.database, alice = database, pki.client("alice")
        # How much the server has said on each connection that has ended.
        self.said: list[int] = []
        server = server_side(database, "verify-full", cert=alice.cert, key=alice.key, suites=[suite])
        server["address"] = Listener(self, self.relay).address
        self.proxy = self.gateway(route("test", client_side("required"), server))
        self.full_len = 0

    def relay(self, connection: socket.socket) -> None:
        """To the server and back."""
        with socket.create_connection((self.database.host, self.database.port)) as server:
            onward = threading.Thread(target=copy, args=(connection, server))
            onward.start()
            length = copy(server, connection)
            onward.join()
            self.said.append(length)

    def is_resumed(self, user: str) -> bool:
        """Whether the server, which shows its certificate in full handshakes alone, has said that much less."""
        before = len(self.said)
        with enter(self.proxy.port, user, TLS_1_3) as session:
            self.assertEqual(session.query("SELECT 'in'").rows, [("in",)])
            session.quit()
        until(lambda: len(self.said) > before, "the connection has ended")
        self.full_len = max(self.full_len, self.said[-1])
        certificate = certs.x509.load_pem_x509_certificate(self.database.identity.cert.read_bytes())
        shown_len = len(certificate.public_bytes(certs.serialization.Encoding.DER))
        return self.said[-1] <= self.full_len - shown_len

    def check_resumed(self, database: Database):
        """Whoever the account is, one that requires the gateway's certificate included."""
        for version, suite in SUITES.items():
            with self.subTest(version):
                self.open(database, suite)
                users = ["u_none", "u_x509", "u_subject", "u_issuer", "u_none"]
                self.assertEqual([self.is_resumed(user) for user in users], [False, True, True, True, True])
                # A reload that changes nothing forgets nothing.
                self.assertEqual(self.proxy.reload()["routes_changed"], 0)
                self.assertTrue(self.is_resumed("u_none"))
                # One that changes the route begins anew.
                self.proxy.routes[0]["connect_timeout_ms"] = 4_000
                self.proxy.write_config()
                self.assertEqual(self.proxy.reload()["routes_changed"], 1)
                self.assertFalse(self.is_resumed("u_none"))
                self.proxy.stop_and_judge()

    def test_mariadb(self):
        self.check_resumed(databases.mariadb())

    def test_mysql(self):
        self.check_resumed(databases.mysql())

    def test_seekdb_is_always_met_anew(self):
        """It gives tickets, and ends TLS with internal_error where they are used."""
        for version, suite in SUITES.items():
            with self.subTest(version):
                self.open(databases.seekdb(), suite)
                self.assertEqual([self.is_resumed("native") for _ in range(3)], [False] * 3)
                self.proxy.stop_and_judge()


def copy(source: socket.socket, sink: socket.socket) -> int:
    """All that there is, and the end; gives its length."""
    length = 0
    try:
        while data := source.recv(65536):
            length += len(data)
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        # The other direction has ended both.
        pass
    return length
