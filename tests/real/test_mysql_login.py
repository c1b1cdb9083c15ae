"""What the gateway changes in a login and what it must not, as a server of the tests' own sees it; and passwords."""

import ssl

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from harness import clients, databases, netns, pki
from harness.databases import PASSWORD, MariaDb
from harness.mysql_case import (
    PLAIN,
    TLS_1_3,
    MysqlCase,
    client_side,
    context_of,
    enter,
    greeted,
    port_of,
    read_whole,
    reset,
    route,
    server_side,
    to_address,
)
from harness.process import until
from harness.servers import Listener
from peers import mysql as protocol
from peers.mysql import CACHING_SHA2, NATIVE, SHA256, Client, Greeting, Login, Server

# How the two legs may be encrypted: of the client, of the server.
LEGS = [(PLAIN, "off"), (TLS_1_3, "off"), (PLAIN, "verify-full"), (TLS_1_3, "verify-full")]


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.server().cert, pki.server().key)
    return context


class Rewriting(MysqlCase):
    """The server checks every sequence id, and so does the client."""

    def start_gateway(self, *servers: tuple[Server, str, dict]) -> list[int]:
        """One gateway with a route to each of the servers: itself, the server side, changes to that."""
        routes = []
        for server, side, changes in servers:
            if side != "off":
                server.tls = server_context()
            made = to_address(Listener(self, server).address, side) | changes
            routes.append(route(f"route {len(routes)}", client_side("preferred"), made))
        self.proxy = self.gateway(*routes)
        return [port_of(route) for route in routes]

    def test_login_arrives_as_it_was_sent(self):
        """But for CLIENT_SSL, which each leg has as it needs it; bits that only OceanBase or MariaDB know included."""
        wanted = protocol.DEFAULT_CAPABILITIES | protocol.QUERY_ATTRIBUTES | protocol.HIDDEN_ROWID
        wanted |= protocol.LOB_LOCATOR | protocol.CONNECT_WITH_DB
        # Without the first bit the upper half is MariaDB's, in the last bytes of the filler.
        cases = []
        for capabilities in (wanted, wanted & ~1 | protocol.MARIADB_PROGRESS | 1 << 34):
            for way, side in LEGS:
                server = Server(greeting=Greeting(capabilities=capabilities | protocol.CONNECT_ATTRS))
                cases.append((server, side, {}, way, capabilities))
        ports = self.start_gateway(*(case[:3] for case in cases))
        for port, (server, side, _, way, capabilities) in zip(ports, cases):
            with self.subTest(way=way, side=side, capabilities=hex(capabilities)):
                self.check_login(port, server, side, way, capabilities)

    def check_login(self, port: int, server: Server, side: str, way: str, capabilities: int):
        greeting = server.greeting
        with greeted(port) as client:
            self.assertEqual(client.greeting.capabilities, greeting.capabilities | protocol.SSL)
            self.assertEqual(client.greeting.thread_id, greeting.thread_id)
            self.assertEqual(client.greeting.version, greeting.version)
            self.assertEqual(client.greeting.scramble, greeting.scramble)
            options = {"database": "test", "attributes": {"program": "tests"}, "capabilities": capabilities}
            login = client.prepare("good", **options, packet_max=123_456, charset=33)
            if way != PLAIN:
                client.upgrade(pki.context(), login)
            client.login(login, PASSWORD)
            client.quit()
        (arrived,) = server.logins
        login.capabilities &= ~protocol.SSL
        login.capabilities |= 0 if side == "off" else protocol.SSL
        self.assertEqual(arrived, login.encode())
        self.assertEqual(server.ssl_requests, [] if side == "off" else [arrived[:32]])
        self.assertEqual(server.troubles, [])

    def test_login_data_with_a_length_of_several_bytes(self):
        greeting = Greeting(capabilities=Greeting().capabilities | protocol.LENENC_AUTH)
        server = Server(greeting=greeting)
        (port,) = self.start_gateway((server, "off", {}))
        attributes = {f"key{number}": "v" * 200 for number in range(100)}
        with greeted(port) as client:
            capabilities = protocol.DEFAULT_CAPABILITIES | protocol.LENENC_AUTH
            login = client.prepare("good", attributes=attributes, capabilities=capabilities)
            client.upgrade(pki.context(), login)
            client.login(login, PASSWORD)
            client.quit()
        self.assertEqual(Login.decode(server.logins[0]).attributes, attributes)

    def test_switches_and_full_logins(self):
        """Further exchanges, each of which shifts the ids again."""
        key = rsa.generate_private_key(65537, 2048)
        public = self.scratch / "public.pem"
        public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        cases = []
        for first in (NATIVE, CACHING_SHA2):
            for switch in ("", NATIVE, CACHING_SHA2, SHA256):
                for way, side in LEGS:
                    server = Server(plugin=first, switch_to=switch, password_key=key)
                    cases.append((server, side, {"server_public_key": public} if side == "off" else {}, way))
        ports = self.start_gateway(*(case[:3] for case in cases))
        for port, (server, side, _, way) in zip(ports, cases):
            with self.subTest(first=server.plugin, switch=server.switch_to, way=way, side=side):
                with enter(port, "good", way) as client:
                    self.assertEqual(client.query("switched").rows, [("switched",)])
                    client.quit()
                self.assertEqual((server.troubles, server.exposed), ([], []))

    def test_wrong_passwords(self):
        cases = [(Server(plugin=plugin), side, {}, way) for plugin in (NATIVE, CACHING_SHA2) for way, side in LEGS]
        ports = self.start_gateway(*(case[:3] for case in cases))
        for port, (server, side, _, way) in zip(ports, cases):
            with self.subTest(plugin=server.plugin, way=way, side=side):
                self.refused(1045, "28000", lambda: enter(port, "good", way, "wrong"))
                self.assertEqual(server.troubles, [])

    def test_key_is_wanted_by_name(self):
        """Without a key nothing goes out, and the client is told of both ways to have one."""
        for plugin in (CACHING_SHA2, SHA256):
            server = Server(plugin=plugin, password_key=rsa.generate_private_key(65537, 2048))
            made = route("test", client_side("preferred"), to_address(Listener(self, server).address))
            proxy = self.gateway(made)
            proxy.judges_failures = False
            with self.subTest(plugin), self.assertRaises(protocol.ServerError) as refused:
                enter(proxy.port, "good")
            self.assertIn("server_public_key", refused.exception.message)
            self.assertIn("danger_fetch_server_public_key", refused.exception.message)
            self.assertEqual(server.exposed, [])

    def test_password_in_clear_is_not_passed_on(self):
        """A server that asks for it on a plain leg does not get it, though the client would send it."""
        for plugin in ("mysql_clear_password", "dialog"):
            seen = []

            def serve(connection, plugin=plugin, seen=seen):
                wire = protocol.Wire(connection)
                wire.write(Greeting().encode())
                wire.read()
                wire.write(bytes([protocol.SWITCH]) + plugin.encode() + b"\0")
                seen.append(connection.recv(4_096))

            made = route("test", client_side("preferred"), to_address(Listener(self, serve).address))
            proxy = self.gateway(made)
            proxy.judges_failures = False
            client = greeted(proxy.port)
            with self.subTest(plugin), client:
                login = client.prepare("good")
                client.upgrade(pki.context(), login)
                login.auth = protocol.hashed(login.plugin, PASSWORD, client.greeting.scramble)
                client.wire.write(login.encode())
                header = client.wire.take(4)
                payload = client.wire.take(int.from_bytes(header[:3], "little"))
                if payload[0] == protocol.SWITCH:
                    client.wire.sequence = header[3] + 1
                    client.wire.write(PASSWORD.encode() + b"\0")
                    payload = client.wire.read()
                self.assertEqual(payload[0], protocol.ERR, payload)
            until(lambda: seen, "the server has its answer")
            self.assertNotIn(PASSWORD.encode(), seen[0])

    def test_change_of_user_hides_the_password_too(self):
        """The same exchange in mid-session, on a leg that is plain."""
        key = rsa.generate_private_key(65537, 2048)
        public = self.scratch / "public.pem"
        public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        server = Server(plugin=CACHING_SHA2, password_key=key)
        (port,) = self.start_gateway((server, "off", {"server_public_key": public}))
        with enter(port, "good") as client:
            client.change_user("better", PASSWORD)
            self.assertEqual(client.query("changed").rows, [("changed",)])
            client.quit()
        self.assertEqual((server.troubles, server.exposed), ([], []))


class Keys(MysqlCase):
    """Full authentication at a real MySQL, by every way to its key."""

    def check(self, way: str, side: str, **changes):
        server = databases.mysql()
        made = route("test", client_side("preferred"), server_side(server, side, **changes))
        proxy = self.gateway(made)
        for account in ("caching", "sha256"):
            server.forget_passwords()
            with self.subTest(account), enter(proxy.port, account, way) as client:
                self.assertEqual(client.query("SELECT 1").rows, [("1",)])
            self.refused(1045, "28000", lambda: enter(proxy.port, account, way, "wrong"))
        return proxy

    def test_from_a_file(self):
        self.check(TLS_1_3, "off", server_public_key=databases.mysql().public_key)

    def test_fetched(self):
        proxy = self.check(TLS_1_3, "off", danger_fetch_server_public_key=True)
        self.assertIn("danger_fetch_server_public_key", proxy.claimed(level="WARN", route="test")["danger"])

    def test_by_the_client_itself(self):
        self.check(PLAIN, "off")

    def test_of_the_gateway(self):
        """The client encrypts to the gateway, and the server's leg is encrypted as a whole."""
        self.check(PLAIN, "verify-full")

    def test_of_another_server(self):
        """A key that is not the server's: the login is refused, since the server cannot read the password."""
        server = databases.mysql()
        side = server_side(server, "off", server_public_key=pki.rsa_key().cert)
        proxy = self.gateway(route("test", client_side("preferred"), side))
        proxy.judges_failures = False
        server.forget_passwords()
        with self.assertRaises((protocol.ServerError, EOFError)):
            enter(proxy.port, "caching")

    def test_no_key(self):
        server = databases.mysql()
        proxy = self.gateway(route("test", client_side("preferred"), server_side(server, "off")))
        proxy.judges_failures = False
        server.forget_passwords()
        with self.assertRaises(protocol.ServerError) as refused:
            enter(proxy.port, "caching")
        self.assertIn("server_public_key", refused.exception.message)


class Abandoned(MysqlCase):
    """Clients that leave before they log in must not get the gateway locked out by its server (ERR 1129)."""

    deadline_s = 120
    ATTEMPTS = 40

    def check(self, side: str):
        # Loopback is never blocked, so the gateway has to come from elsewhere.
        namespace = netns.Namespace()
        identity = pki.server(addresses=(namespace.address,))
        server = MariaDb(identity, namespace, max_connect_errors=5)
        self.addCleanup(server.stop)
        made = route("test", client_side("preferred"), server_side(server, side), handshake_timeout_s=2)
        proxy = self.gateway(made)
        proxy.judges_failures = False
        greeted = (self.after_the_greeting, self.after_the_request, self.in_the_switch, self.by_reset, self.by_silence)
        for leave in (self.at_once, *greeted):
            with self.subTest(leave.__name__):
                attempts = 8 if leave == self.by_silence else self.ATTEMPTS
                left = [leave(proxy.port) for _ in range(attempts)]
                for client in left:
                    if client.wire.socket.fileno() >= 0:
                        read_whole(client.wire.socket)
                    client.close()
                with enter(proxy.port, "native") as session:
                    self.assertEqual(session.query("SELECT 1").rows, [("1",)])
                    session.quit()
        until(lambda: server.sessions() == 0, "no session is left at the server")
        blocked = server.execute("SHOW GLOBAL STATUS LIKE 'Connection_errors_max_connections'")
        self.assertEqual(blocked[0][1], "0")

    def at_once(self, port: int) -> Client:
        client = Client(clients.plain(port))
        client.wire.socket.shutdown(2)
        return client

    def after_the_greeting(self, port: int) -> Client:
        client = greeted(port)
        client.wire.socket.shutdown(2)
        return client

    def after_the_request(self, port: int) -> Client:
        client = greeted(port)
        client.upgrade(context_of(TLS_1_3))
        client.wire.socket.shutdown(2)
        return client

    def in_the_switch(self, port: int) -> Client:
        """The server has asked for another plugin's answer."""
        client = greeted(port)
        client.wire.write(client.prepare("native", plugin="client_ed25519").encode())
        self.assertEqual(client.answer()[:1], b"\xfe")
        client.wire.socket.shutdown(2)
        return client

    def by_reset(self, port: int) -> Client:
        client = greeted(port)
        reset(client.wire.socket)
        return client

    def by_silence(self, port: int) -> Client:
        return greeted(port)

    def test_plain_leg(self):
        self.check("off")

    def test_tls_leg(self):
        self.check("verify-full")

    def test_the_server_does_block(self):
        """Without a gateway, the same behaviour locks the address out: this is what the others show to be absent."""
        namespace = netns.Namespace()
        server = MariaDb(pki.server(addresses=(namespace.address,)), namespace, max_connect_errors=5)
        self.addCleanup(server.stop)

        def is_blocked():
            connection = Client(clients.plain(server.port, host=server.address.split(":")[0]))
            try:
                connection.greet()
                return False
            except protocol.ServerError as error:
                return error.code == 1129
            finally:
                connection.close()

        until(is_blocked, "the address is blocked")
