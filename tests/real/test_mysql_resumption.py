"""TLS sessions with MySQL servers that are resumed, and those that must not be."""

from harness import databases, pki
from harness.databases import Database
from harness.mysql_case import TLS_1_3, MysqlCase, client_side, enter, route, server_side

# One for each version, which a server of any kind has.
SUITES = {"TLSv1.2": "ECDHE-RSA-AES128-GCM-SHA256", "TLSv1.3": "TLS_AES_128_GCM_SHA256"}


class TowardsServers(MysqlCase):
    def open(self, database: Database, suite: str) -> None:
        alice = pki.client("alice")
        server = server_side(database, "verify-full", cert=alice.cert, key=alice.key, suites=[suite])
        self.proxy = self.gateway(route("test", client_side("required"), server))

    def is_resumed(self, user: str) -> bool:
        """What the server says of a session that the gateway begins now."""
        with enter(self.proxy.port, user, TLS_1_3) as session:
            said = dict(session.query("SHOW SESSION STATUS LIKE 'Ssl_%'").rows)
            session.quit()
        self.assertEqual(said["Ssl_cipher"], self.suite)
        return said["Ssl_sessions_reused"] == "1"

    def check_resumed(self, database: Database):
        """Whoever the account is, one that requires the gateway's certificate included."""
        for version, self.suite in SUITES.items():
            with self.subTest(version):
                self.open(database, self.suite)
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
        database = databases.seekdb()
        for version, suite in SUITES.items():
            with self.subTest(version):
                self.open(database, suite)
                for _ in range(3):
                    with enter(self.proxy.port, "native", TLS_1_3) as session:
                        self.assertEqual(session.query("SELECT 'in'").rows, [("in",)])
                        session.quit()
                self.proxy.stop_and_judge()
