"""The databases without a gateway: that they and the drivers work here, and what they answer to those they refuse.

What a gateway does in their place is measured by this.
"""

import json
import ssl
from pathlib import Path

from harness import databases, drivers, pki
from harness.case import ONCE, Case
from harness.databases import PASSWORD, REQUIRE
from peers import mysql as protocol
from peers import ob20
from peers.mysql import Client, ServerError

RECORDED = Path(__file__).resolve().parents[1] / "data/mysql/refusals.json"
SERVERS = ("mariadb", "mysql", "seekdb")
TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

# What of each account a login brings: plain; TLS; with the certificates of alice and of bob; with TLS 1.2 and the
# certificate of alice, by the suite that the account `u_cipher` names and by another.
LOGINS = ("plain", "tls", "alice", "bob", "tls12-aes256", "tls12-aes128")
ALLOWED = {
    "u_none": "yyyyyy",
    "u_ssl": "nyyyyy",
    "u_x509": "nnyyyy",
    "u_issuer": "nnyyyy",
    "u_subject": "nnynyy",
    "u_cipher": "nnnnyn",
    "u_all": "nnynnn",
}


def login(server, user: str, how: str, password: str = PASSWORD) -> Client:
    alice, bob = pki.client("alice"), pki.client("bob")
    context = {
        "plain": lambda: None,
        "tls": pki.context,
        "alice": lambda: pki.context(alice),
        "bob": lambda: pki.context(bob),
        "other": lambda: pki.context(pki.client("alice", "Other CA")),
        "tls12-aes256": lambda: pki.context(alice, TLS_1_2, "ECDHE-RSA-AES256-GCM-SHA384"),
        "tls12-aes128": lambda: pki.context(alice, TLS_1_2, "ECDHE-RSA-AES128-GCM-SHA256"),
    }[how]()
    return Client.connect(server.host, server.port, user, password, context)


def refusals(server) -> dict[str, dict]:
    """What the server answers to logins that it refuses, with the names of user and host left open."""
    account = next(iter(server.accounts.values()))
    cases = {
        "wrong password": (account, "plain", "wrong"),
        "no password": (account, "plain", ""),
        "unknown user": ("nobody", "plain", PASSWORD),
        "wrong password over TLS": (account, "tls", "wrong"),
        "REQUIRE SSL": ("u_ssl", "plain", PASSWORD),
        "REQUIRE X509": ("u_x509", "tls", PASSWORD),
        "REQUIRE SUBJECT": ("u_subject", "bob", PASSWORD),
        "REQUIRE SSL and wrong password": ("u_ssl", "plain", "wrong"),
    }
    return {name: _refusal(server, *case) for name, case in cases.items()}


def _refusal(server, user: str, how: str, password: str) -> dict:
    server.forget_passwords()
    try:
        login(server, user, how, password).close()
    except ServerError as error:
        host = error.message.split("'")[3]
        text = error.message.replace(f"'{user}'", "'{user}'", 1).replace(f"'{host}'", "'{host}'", 1)
        return {"code": error.code, "state": error.state, "message": text}
    raise AssertionError(f"{user} was not refused")


class Direct(Case):
    """Every driver on every server, plain and over both versions of TLS."""

    variants = ONCE
    deadline_s = 120

    def check(self, driver, *accounts: tuple[str, str]):
        driver.check()
        for server, account in accounts:
            database = databases.by_name(server)
            plain = drivers.Target(database.host, database.port, account)
            ways = [plain.but(ca=database.ca, version=version) for version in ("TLSv1.2", "TLSv1.3")]
            if driver.asks_for_key or server != "mysql":
                ways.append(plain)
            with self.subTest(server=server, account=account):
                for way in ways:
                    database.forget_passwords()
                    self.assertEqual(driver.ask_each([way], "SELECT 'here'"), [[("here",)]], way)
                stranger = plain.but(ca=pki.authority("Other CA").cert)
                self.assertIsInstance(driver.ask_each([stranger], "SELECT 1")[0], drivers.Refused)

    def test_mariadb_cli(self):
        self.check(drivers.MariadbCli(), ("mariadb", "native"), ("seekdb", "native"))

    def test_mysql_cli(self):
        self.check(drivers.MysqlCli(), ("mysql", "caching"), ("mysql", "sha256"))

    def test_pymysql(self):
        self.check(
            drivers.PyMysql(),
            *(("mariadb", "native"), ("seekdb", "native"), ("mysql", "caching"), ("mysql", "sha256")),
        )

    def test_connector_python(self):
        self.check(drivers.Connector(), ("mariadb", "native"), ("seekdb", "native"), ("mysql", "caching"))

    def test_mysql2(self):
        self.check(drivers.Mysql2(), ("mariadb", "native"), ("seekdb", "native"), ("mysql", "caching"))


class Oracle(Case):
    """What the servers themselves do, cell by cell."""

    variants = ONCE
    deadline_s = 120

    def check_require(self, name: str):
        server = databases.by_name(name)
        for user in REQUIRE:
            expected = ALLOWED[user]
            if (name, user) == ("mysql", "u_all"):
                # It prefers TLS_AES_128_GCM_SHA256, whatever the client would like.
                expected = "nnnnnn"
            found = "".join("y" if self.is_allowed(server, user, how) else "n" for how in LOGINS)
            self.assertEqual(found, expected, f"{name} {user}")
            with self.assertRaises(OSError):
                login(server, user, "other").query("SELECT 1")

    def is_allowed(self, server, user: str, how: str) -> bool:
        try:
            login(server, user, how).quit()
            return True
        except ServerError as error:
            self.assertEqual((error.code, error.state), (1045, server.refused_state))
            return False

    def test_require_of_mariadb(self):
        self.check_require("mariadb")

    def test_require_of_mysql(self):
        self.check_require("mysql")

    def test_require_of_seekdb(self):
        self.check_require("seekdb")

    def check_refusals(self, name: str):
        recorded = json.loads(RECORDED.read_text())[name]
        self.assertEqual(refusals(databases.by_name(name)), recorded)

    def test_refusals_of_mariadb(self):
        self.check_refusals("mariadb")

    def test_refusals_of_mysql(self):
        self.check_refusals("mysql")

    def test_refusals_of_seekdb(self):
        self.check_refusals("seekdb")

    def test_full_authentication_without_tls(self):
        """The key is asked for, and the password goes out encrypted to it."""
        server = databases.mysql()
        for account in ("caching", "sha256"):
            server.forget_passwords()
            with Client.connect(server.host, server.port, account, PASSWORD) as client:
                self.assertEqual(client.query("SELECT 1").rows, [("1",)])

    def test_greeting_without_tls(self):
        plain = databases.plain_mariadb()
        with Client.connect(plain.host, plain.port, "native", PASSWORD) as client:
            self.assertFalse(client.greeting.capabilities & protocol.SSL)

    def test_seekdb_turns_tls_off_and_on(self):
        server = databases.seekdb()
        with server.without_tls(), Client.connect(server.host, server.port, "native", PASSWORD) as client:
            self.assertFalse(client.greeting.capabilities & protocol.SSL)
        login(server, "u_ssl", "tls").quit()

    def check_resumption(self, name: str, is_refused: bool):
        server = databases.by_name(name)
        for version in (TLS_1_2, TLS_1_3):
            context = pki.context(version=version)
            with self.subTest(version.name):
                session, _ = self.tls_login(server, context)
                if is_refused:
                    with self.assertRaisesRegex(ssl.SSLError, "INTERNAL_ERROR"):
                        self.tls_login(server, context, session)
                else:
                    _, is_resumed = self.tls_login(server, context, session)
                    self.assertTrue(is_resumed)

    @staticmethod
    def tls_login(server, context: ssl.SSLContext, session=None) -> tuple[ssl.SSLSession, bool]:
        """The session of a login, and whether it is the one that was brought along."""
        client = Client.connect(server.host, server.port, "u_ssl", PASSWORD, context, session=session)
        # Tickets come with the first answers.
        client.query("SELECT 1")
        found = client.wire.socket.session, client.wire.socket.session_reused
        client.quit()
        return found

    def test_resumption_of_mariadb(self):
        self.check_resumption("mariadb", is_refused=False)

    def test_resumption_of_mysql(self):
        self.check_resumption("mysql", is_refused=False)

    def test_resumption_of_seekdb(self):
        """It hands out tickets and then ends the handshake of whoever comes back with one."""
        self.check_resumption("seekdb", is_refused=True)

    def test_ob20_frames(self):
        server = databases.seekdb()
        for context in (None, pki.context()):
            client = Client.connect(
                server.host, server.port, "native", PASSWORD, context, attributes=ob20.ATTRIBUTES
            )
            with ob20.framed(client):
                self.assertEqual(client.query("SELECT 'framed'").rows, [("framed",)])
                self.assertEqual(client.query("SELECT REPEAT('x', 100000)").rows, [("x" * 100_000,)])
                self.assertGreater(client.wire.frames_received, 1)
