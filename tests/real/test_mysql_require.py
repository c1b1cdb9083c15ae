"""Rules on accounts: the gateway in front of accounts that require nothing, beside the servers that have the same rules.

Every cell of the matrix is asked twice, of the server itself and of the gateway, and the answers must be the same: in
or not, and number, SQLSTATE and text of the refusal.
"""

import itertools
import ssl
import struct
import zlib
from functools import cache

from harness import databases, pki
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
        self.socket.sendall(len(framed).to_bytes(3, "little") + bytes([0]) + bytes(3) + framed)
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
        self.assertEqual(self.logged_in(server), 0)

    def logged_in(self, server: Database) -> int:
        until(lambda: server.sessions() == 0, "every session has ended")
        return server.sessions()

    def test_mariadb(self):
        self.check("mariadb")

    def test_mysql(self):
        self.check("mysql")

    def test_seekdb(self):
        self.check("seekdb")
