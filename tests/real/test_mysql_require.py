"""Rules on accounts: the gateway before accounts that require nothing, beside the servers that have the same rules.

Every cell of the matrix is asked twice, of the server itself and of the gateway, and the answers must be the same: in
or not, and number, SQLSTATE and text of the refusal.
"""

import itertools
import ssl
import struct
import zlib
from functools import cache

from harness import clients, databases, pki
from harness.case import ONCE
from harness.databases import PASSWORD, Database, MariaDb
from harness.gateway import Gateway
from harness.mysql_case import MysqlCase, client_side, name, route, server_side
from harness.netns import Namespace
from harness.process import until
from peers import mysql as protocol
from peers import ob20
from peers.mysql import Client, ServerError

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
AES_256, AES_128 = "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"
OTHER_ISSUER = "/C=CN/O=Test Org/CN=Other CA"
ACCESS_DENIED = 1045
# What the log says of a client without a certificate that needs one.
UNMET = "shown no certificate"
# What OceanBase says in place of the client's host.
HIDDEN = "xxx.xxx.xxx.xxx"


@cache
def rules() -> dict[str, dict]:
    """Of each account what it requires: every subset of the three options, and what else SQL has."""
    alice = pki.client("alice")
    options = {"cipher": AES_256, "issuer": alice.issuer, "subject": alice.subject}
    made = {}
    for length in range(len(options) + 1):
        for keys in itertools.combinations(options, length):
            made["_".join(keys) or "none"] = {key: options[key] for key in keys}
    return made | {
        "ssl": {"ssl": True},
        "x509": {"x509": True},
        "other_issuer": {"issuer": OTHER_ISSUER},
        "suffix": {"subject": alice.subject + "x"},
        "prefix": {"subject": alice.subject[:-1]},
    }


def clause(requirement: dict) -> str:
    """The same in SQL."""
    words = [key.upper() if value is True else f"{key.upper()} '{value}'" for key, value in requirement.items()]
    return " AND ".join(words) or "NONE"


@cache
def ways() -> dict[str, ssl.SSLContext | None]:
    """The kinds of clients."""
    alice, bob, stranger = pki.client("alice"), pki.client("bob"), pki.client("alice", "Other CA")
    return {
        "plain": None,
        "tls13": pki.context(version=TLS_1_3),
        "tls12": pki.context(None, TLS_1_2, AES_256),
        "tls12 other cipher": pki.context(None, TLS_1_2, AES_128),
        "alice tls13": pki.context(alice, TLS_1_3),
        "alice tls12": pki.context(alice, TLS_1_2, AES_256),
        "alice tls12 other cipher": pki.context(alice, TLS_1_2, AES_128),
        "bob tls13": pki.context(bob, TLS_1_3),
        "bob tls12": pki.context(bob, TLS_1_2, AES_256),
        "stranger tls13": pki.context(stranger, TLS_1_3),
        "stranger tls12": pki.context(stranger, TLS_1_2, AES_256),
    }


@cache
def prepared(kind: str) -> Database:
    """The server with two accounts for each rule: `o_…` has it in the server, `g_…` requires nothing."""
    server = databases.by_name(kind)
    server.execute(
        *(
            f"CREATE USER '{letter}_{user}'@'%' IDENTIFIED BY '{PASSWORD}' REQUIRE {required}"
            for user, requirement in rules().items()
            for letter, required in (("o", clause(requirement)), ("g", "NONE"))
        )
    )
    return server


class Compressed:
    """MySQL's compressed frames in place of a plain wire; what goes out is stored, not deflated."""

    def __init__(self, client: Client):
        self._plain, self._buffer, self.sequence = client.wire, b"", 0

    @property
    def socket(self):
        return self._plain.socket

    def write(self, payload: bytes) -> None:
        framed = protocol.packet(self.sequence, payload)
        self.socket.sendall(len(framed).to_bytes(3, "little") + bytes([self.sequence]) + bytes(3) + framed)
        self.sequence += 1

    def read(self) -> bytes:
        header = self._take(4)
        self.sequence = header[3] + 1
        return self._take(int.from_bytes(header[:3], "little"))

    def _take(self, length: int) -> bytes:
        while len(self._buffer) < length:
            header = self._plain.take(7)
            body = self._plain.take(int.from_bytes(header[:3], "little"))
            self._buffer += zlib.decompress(body) if any(header[4:]) else body
        taken, self._buffer = self._buffer[:length], self._buffer[length:]
        return taken


class RequireCase(MysqlCase):
    variants = ONCE
    deadline_s = 120

    def guarded(self, server: Database, required=None, tls: str = "verify-full", **settings) -> Gateway:
        """A gateway with these rules, or those of the matrix, in front of `server`."""
        if required is None:
            required = [{"user": f"g_{user}"} | requirement for user, requirement in rules().items()]
        client = client_side("preferred", ca=pki.authority().cert, require=required) | settings
        return self.gateway(route("test", client, server_side(server, tls)))

    def outcome(self, port: int, host: str, user: str, password: str, context) -> tuple:
        """What a login comes to, with its user and the host that the server saw left open."""
        try:
            Client.connect(host, port, user, password, context).quit()
            return ("in",)
        except ServerError as error:
            seen = error.message.split("'")[3]
            text = error.message.replace(f"'{user}'@'{seen}'", "'USER'@'HOST'")
            return (error.code, error.state, text, error.sequence)
        except ssl.SSLError as error:
            return ("alert", error.reason)
        except (OSError, EOFError):
            return ("ended",)

    def refused_by_rule(self, gateway: Gateway, attempt, words: str = "") -> ServerError:
        """The refusal of an attempt, which must be the gateway's own."""
        before = len(gateway.failures(**{"class": "account_denied"}))
        with self.assertRaises(ServerError) as found:
            attempt()
        error = found.exception
        self.assertEqual(error.code, ACCESS_DENIED, error.message)
        denied = lambda: gateway.failures(**{"class": "account_denied"})
        gateway.until(lambda: len(denied()) > before, "a line about the denial")
        self.assertIn(words, denied()[-1]["reason"])
        return error


class Matrix(RequireCase):
    def check(self, kind: str):
        server = prepared(kind)
        gateway = self.guarded(server)
        gateway.judges_failures = False
        differing, counts = [], {"in": 0, "denied": 0, "alert": 0}
        for user, requirement in rules().items():
            for way, context in ways().items():
                for password in (PASSWORD, "wrong") if way in ("tls13", "alice tls12") else (PASSWORD,):
                    server.forget_passwords()
                    wanted = self.outcome(server.port, server.host, f"o_{user}", password, context)
                    server.forget_passwords()
                    found = self.outcome(gateway.port, "127.0.0.1", f"g_{user}", password, context)
                    # An alert is one in either case, whatever each library calls it.
                    kind_of = {"in": "in", "alert": "alert", "ended": "alert"}.get(wanted[0], "denied")
                    counts[kind_of] += 1
                    is_same = found[0] in ("alert", "ended") if kind_of == "alert" else found == wanted
                    if not is_same:
                        differing.append(f"{user} {requirement}, {way}, {password}: {wanted} but here {found}")
        self.assertEqual(differing, [])
        self.assertTrue(all(counts.values()), f"a kind of answer is missing: {counts}")
        until(lambda: server.sessions() == 0, "every session has ended")

    def test_mariadb(self):
        self.check("mariadb")

    def test_mysql(self):
        self.check("mysql")

    def test_seekdb(self):
        self.check("seekdb")


class ChangeOfUser(RequireCase):
    """From an account that anybody may be to one whose rule is stricter, over the same connection."""

    # Who may come from anywhere, who must show a certificate, and who is not known.
    RULES = [{"user": "g_none"}, {"user": "g_ssl", "ssl": True}, {"user": "g_x509", "x509": True}]

    def enter(self, gateway: Gateway, way: str = "tls13", **options) -> Client:
        return Client.connect("127.0.0.1", gateway.port, "g_none", PASSWORD, ways()[way], **options)

    def check(self, kind: str):
        server = prepared(kind)
        gateway = self.guarded(server, self.RULES, require_default="deny")
        with self.enter(gateway, "alice tls13") as client:
            for user in ("g_x509", "g_ssl", "g_none"):
                server.forget_passwords()
                client.change_user(user, PASSWORD)
                (row,) = client.query("SELECT CURRENT_USER()").rows
                self.assertEqual(row[0].split("@")[0], user)
            client.quit()
        for user, words in (("g_x509", "shown no certificate"), ("g_issuer", "no rule names")):
            with self.subTest(user), self.enter(gateway) as client:
                error = self.refused_by_rule(gateway, lambda: client.change_user(user, PASSWORD), words)
                self.assertEqual(error.state, server.refused_state)
                host = HIDDEN if kind == "seekdb" else "127.0.0.1"
                self.assertEqual(error.message, f"Access denied for user '{user}'@'{host}' (using password: YES)")
                with self.assertRaises((OSError, EOFError)):
                    client.query("SELECT CURRENT_USER()")
                gateway.failed(name(client), "account_denied")
        until(lambda: server.sessions() == 0, "every session has ended")

    def test_on_mariadb(self):
        self.check("mariadb")

    def test_on_mysql(self):
        self.check("mysql")

    def test_on_seekdb(self):
        self.check("seekdb")

    def check_framed(self, kind: str, framed, **options):
        """A change that the rules allow passes; one that they deny ends the session with nothing of it sent."""
        server = prepared(kind)
        gateway = self.guarded(server, self.RULES)
        client = framed(self.enter(gateway, **options))
        client.change_user("g_ssl", PASSWORD)
        (row,) = client.query("SELECT CURRENT_USER()").rows
        self.assertEqual(row[0].split("@")[0], "g_ssl")
        with self.assertRaises((OSError, EOFError)):
            client.change_user("g_x509", PASSWORD)
        self.assertIn("COM_CHANGE_USER", gateway.failed(name(client), "misuse")["reason"])
        client.close()
        until(lambda: server.sessions() == 0, "every session has ended")

    def test_in_compressed_frames(self):
        def framed(client: Client) -> Client:
            client.wire = Compressed(client)
            return client

        capabilities = protocol.DEFAULT_CAPABILITIES | protocol.COMPRESS
        self.check_framed("mariadb", framed, capabilities=capabilities)

    def test_in_frames_of_oceanbase(self):
        self.check_framed("seekdb", ob20.framed, attributes=ob20.ATTRIBUTES)

    def test_behind_another_command(self):
        gateway = self.guarded(prepared("mariadb"), self.RULES)
        client = self.enter(gateway)
        auth = protocol.hashed(protocol.NATIVE, PASSWORD, client.greeting.scramble)
        change = bytes([protocol.CHANGE_USER]) + b"g_x509\0" + bytes([len(auth)]) + auth + b"\0"
        change += struct.pack("<H", protocol.UTF8MB4) + protocol.NATIVE.encode() + b"\0"
        ask = bytes([protocol.QUERY]) + b"SELECT SLEEP(1)"
        client.wire.socket.sendall(protocol.packet(0, ask) + protocol.packet(0, change))
        self.assertTrue(clients.is_ended(client.wire.socket))
        self.assertIn("COM_CHANGE_USER", gateway.failed(name(client), "misuse")["reason"])
        client.close()

    def test_where_commands_cannot_be_seen(self):
        """A framing that the gateway cannot read is refused in the login, and zstd is not even offered."""
        server = prepared("seekdb")
        gateway = self.guarded(server, self.RULES)
        attributes = ob20.ATTRIBUTES | {"__proxy_capability_flag": str(1 << 8 | 1 << 22)}
        with self.assertRaises(ServerError) as found:
            self.enter(gateway, attributes=attributes)
        self.assertEqual((found.exception.code, found.exception.state), (3159, "HY000"))
        gateway.claimed(**{"class": "misuse"})
        zstd = 1 << 26
        mysql = prepared("mysql")
        gateway = self.guarded(mysql, self.RULES)
        for port, is_offered in ((mysql.port, True), (gateway.port, False)):
            with Client.connect("127.0.0.1", port, "g_none", PASSWORD, ways()["tls13"]) as client:
                self.assertEqual(bool(client.greeting.capabilities & zstd), is_offered)
                client.quit()


class Spelling(RequireCase):
    """No way to write an account gets around its rule."""

    OTHERS = ("g_none", "g_ssl")

    def check(self, server: Database, spellings, required: list, words: str = "", **settings):
        gateway = self.guarded(server, required, **settings)
        for spelling in spellings:
            with self.subTest(spelling):
                server.forget_passwords()
                attempt = lambda: Client.connect("127.0.0.1", gateway.port, spelling, PASSWORD, ways()["tls13"])
                error = self.refused_by_rule(gateway, attempt, words)
                self.assertEqual(error.state, server.refused_state)
                if words == UNMET:
                    self.assert_as_at_the_server(server, spelling, error)
        gateway.judges_failures = False

    def assert_as_at_the_server(self, server: Database, spelling: str, denied: ServerError):
        """The same account with a wrong password is refused there in the same words, but for the host."""
        with self.assertRaises(ServerError) as found:
            Client.connect(server.host, server.port, spelling, "wrong", ways()["tls13"])
        told = found.exception.message.replace("'localhost'", "'127.0.0.1'")
        self.assertEqual(denied.message, told)

    def test_on_oceanbase(self):
        """Tenant and cluster in both orders, with separators of its proxy; left out; quoted; in upper case."""
        server = prepared("seekdb")
        spellings = (
            *("g_x509", "g_x509@sys", "g_x509@sys#c1", "g_x509#c1", "c1:sys:g_x509", "c1:sys:g_x509:7"),
            *("c1.sys.g_x509", "c1-sys-g_x509", "'g_x509'", "'g_x509'@sys", "G_X509@SYS#c1", "g_x509@sys#c1:3"),
        )
        required = [{"user": "g_x509", "tenant": "sys", "cluster": "c1", "x509": True}]
        self.check(server, spellings, required, UNMET)
        # An empty tenant, which the server tells in words of its own.
        self.check(server, ("g_x509@", "g_x509@#c1"), required, "REQUIRE X509")
        faults = ("g_x509@sys@sys", "g_x509#c1@sys", "g_x509@sys#c1#c1")
        self.check(server, faults, required, "more than one")

    def test_quotes_and_length(self):
        required = [{"user": "g_x509", "x509": True}]
        for kind in ("mariadb", "mysql"):
            server = prepared(kind)
            with self.subTest(kind):
                self.check(server, ("g_x509", "'g_x509'"), required, UNMET)
                self.check(server, ("g_x509" + "x" * 123,), required, "longer than a server reads")

    def test_charsets(self):
        """What is no ASCII counts as UTF-8 only where the client says that it is."""
        server = prepared("mariadb")
        server.execute(f"CREATE USER 'g_\u00e9'@'%' IDENTIFIED BY '{PASSWORD}'".encode().decode())
        gateway = self.guarded(server, [{"user": "g_\u00e9", "x509": True}])
        latin1, gbk, utf8 = 8, 28, protocol.UTF8MB4
        for charset, words in ((utf8, "shown no certificate"), (latin1, "charset"), (gbk, "charset")):
            with self.subTest(charset):
                attempt = lambda: Client.connect(
                    "127.0.0.1", gateway.port, "g_\u00e9", PASSWORD, ways()["tls13"], charset=charset
                )
                self.refused_by_rule(gateway, attempt, words)
        gateway.judges_failures = False


class AtTheServer(RequireCase):
    """What the server sees of logins that are denied, and what a client can tell from how it is refused."""

    def test_it_neither_lets_the_account_in_nor_blocks_the_gateway(self):
        namespace = Namespace()
        identity = pki.server(addresses=(namespace.address,))
        server = MariaDb(identity, namespace, max_connect_errors=5, general_log=1, log_output="TABLE")
        self.addCleanup(server.stop)
        gateway = self.guarded(server, [{"user": "native", "x509": True}])
        gateway.judges_failures = False
        for way in ("plain", "tls13") * 10:
            attempt = lambda: Client.connect("127.0.0.1", gateway.port, "native", PASSWORD, ways()[way])
            self.refused_by_rule(gateway, attempt, "'native'@'%' REQUIRE X509")
        Client.connect("127.0.0.1", gateway.port, "native", PASSWORD, ways()["alice tls13"]).quit()
        # The server sees another host than the gateway, and both refusals are in the same words all the same.
        with self.assertRaises(ServerError) as found:
            Client.connect("127.0.0.1", gateway.port, "native", "wrong", ways()["alice tls13"])
        wrong = found.exception
        attempt = lambda: Client.connect("127.0.0.1", gateway.port, "native", "wrong", ways()["tls13"])
        denied = self.refused_by_rule(gateway, attempt)
        self.assertEqual(denied.args, wrong.args)
        self.assertEqual(denied.sequence, wrong.sequence)
        with self.assertRaises(ServerError) as found:
            Client.connect(server.host, server.port, "native", "wrong", ways()["tls13"])
        self.assertNotIn("'127.0.0.1'", found.exception.message)
        seen = server.execute("SELECT argument FROM mysql.general_log WHERE command_type = 'Connect'")
        allowed = [row for row in seen if "native@" in str(row[0]) and "denied" not in str(row[0])]
        refused = [row for row in seen if "sealwire: account refused" in str(row[0])]
        self.assertGreaterEqual(len(refused), 21)
        self.assertLessEqual(len(allowed), 3, allowed)
        gateway.judges_failures = False

    def test_an_account_for_everybody_lets_nobody_in(self):
        """Nobody may be let in as the anonymous user: it leaves at once, and the client is refused."""
        server = MariaDb(pki.server())
        self.addCleanup(server.stop)
        server.execute("CREATE USER ''@'%' IDENTIFIED BY ''", f"CREATE USER 'blank'@'%' IDENTIFIED BY ''")
        gateway = self.guarded(server, [{"user": "blank", "x509": True}])
        gateway.judges_failures = False
        before = self.aborted(server)
        attempt = lambda: Client.connect("127.0.0.1", gateway.port, "blank", "", ways()["tls13"])
        error = self.refused_by_rule(gateway, attempt)
        self.assertEqual(error.message, "Access denied for user 'blank'@'127.0.0.1' (using password: NO)")
        until(lambda: server.sessions() == 0, "nobody has left")
        self.assertEqual(self.aborted(server), before)

    def aborted(self, server: Database) -> str:
        """How many clients have left without a word."""
        return server.execute("SHOW GLOBAL STATUS LIKE 'Aborted_clients'")[0][1]

    def test_rules_are_reloaded(self):
        gateway = self.guarded(prepared("mariadb"), [{"user": "g_none", "x509": True}])
        attempt = lambda: Client.connect("127.0.0.1", gateway.port, "g_none", PASSWORD, ways()["tls13"])
        self.refused_by_rule(gateway, attempt)
        text = gateway.config.read_text()
        gateway.config.write_text(text.replace("x509 = true", "ssl = true"))
        self.assertEqual(gateway.reload()["message"], "reloaded")
        attempt().quit()
        gateway.config.write_text(text.replace("x509 = true", 'cipher = "AES256-SHA"'))
        self.assertEqual(gateway.reload()["message"], "reload failed")
        attempt().quit()
        gateway.judges_failures = False
