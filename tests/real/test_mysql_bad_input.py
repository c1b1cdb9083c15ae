"""What clients and servers of a MySQL route may get wrong. Each has an answer and a line in the log, harming no one."""

import socket
import ssl
import struct

from harness import clients, databases, pki
from harness.case import free_port
from harness.databases import PASSWORD
from harness.mysql_case import (
    PLAIN,
    TLS_1_2,
    TLS_1_3,
    MysqlCase,
    client_side,
    enter,
    greeted,
    name,
    read_whole,
    route,
    server_side,
    to_address,
)
from harness.process import until
from harness.servers import Listener
from peers import mysql as protocol
from peers.mysql import Client, Greeting, Login, Server

MIB = 1 << 20
TLS_HANDSHAKE, TLS_ALERT = 22, 21


class OfClients(MysqlCase):
    """Before a server that remembers all that reaches it, and with a good session beside whatever goes wrong."""

    def start_gateway(self, client: str = "preferred", **changes):
        self.server = Server()
        side = to_address(Listener(self, self.server).address)
        proxy = self.gateway(route("test", client_side(client), side, **changes))
        bystander = enter(proxy.port, "good", PLAIN if client == "off" else TLS_1_3)
        self.logins = len(self.server.logins)

        def is_unharmed():
            self.assertEqual(bystander.query("still here").rows, [("still here",)])
            bystander.quit()

        # Run before the gateway is stopped, since it was added later.
        self.addCleanup(is_unharmed)
        return proxy

    def check_nothing_reached_the_server(self):
        """Of the client, that is: the gateway itself may end its leg by a login that is refused."""
        for login in self.server.logins[self.logins :]:
            self.assertTrue(Login.decode(login).user.startswith("sealwire"), login)
            for word in (b"good", b"confidential", b"smuggled"):
                self.assertNotIn(word, login)
        self.assertEqual(self.server.commands, [])

    def answer(self, client: Client) -> protocol.ServerError:
        """The ERR that the gateway sends next, whatever its sequence id; then the end."""
        header = client.wire.take(4)
        payload = client.wire.take(int.from_bytes(header[:3], "little"))
        self.assertEqual(payload[0], protocol.ERR, payload)
        self.assertTrue(clients.is_ended(client.wire.socket))
        return protocol.parse_error(payload, header[3])

    def test_plain_on_a_required_route(self):
        proxy = self.start_gateway("required")
        with greeted(proxy.port) as client:
            client.wire.write(client.prepare("confidential").encode())
            error = self.answer(client)
            self.assertEqual((error.code, error.state, error.sequence), (3159, "HY000", 2))
            self.reported(proxy, name(client), "plain.*refused|refused.*plain")
        self.assertNotIn("confidential", proxy.log.read_text())
        self.check_nothing_reached_the_server()

    def test_plain_on_a_required_route_before_real_servers(self):
        for database in (databases.mariadb(), databases.seekdb()):
            proxy = self.gateway(route("test", client_side("required"), server_side(database, "verify-full")))
            with self.subTest(database.kind), greeted(proxy.port) as client:
                client.wire.write(client.prepare("native").encode())
                self.assertEqual(self.answer(client).code, 3159)
                self.reported(proxy, name(client), "plain.*refused|refused.*plain")

    def test_wrong_sequence_id_in_the_login(self):
        for way, expected in ((PLAIN, 1), (TLS_1_3, 2)):
            proxy = self.start_gateway()
            with self.subTest(way), greeted(proxy.port) as client:
                login = client.prepare("good")
                if way != PLAIN:
                    client.upgrade(pki.context(), login)
                client.wire.sequence = 7
                client.wire.write(login.encode())
                error = self.answer(client)
                self.assertEqual((error.code, error.state), (1156, "08S01"))
                said = rf"out of order.*(expected {expected}\b.*7|7.*expected {expected}\b)"
                self.reported(proxy, name(client), said)
            self.check_nothing_reached_the_server()

    def test_wrong_sequence_id_of_an_ssl_request(self):
        proxy = self.start_gateway()
        with greeted(proxy.port) as client:
            login = Login("", capabilities=protocol.DEFAULT_CAPABILITIES | protocol.SSL)
            client.wire.socket.sendall(protocol.packet(3, login.head()))
            self.assertEqual(self.answer(client).code, 1156)
            self.reported(proxy, name(client), "out of order")
        self.check_nothing_reached_the_server()

    def test_nothing_at_all(self):
        self.check_timeout(b"")

    def test_half_an_ssl_request(self):
        login = Login("", capabilities=protocol.DEFAULT_CAPABILITIES | protocol.SSL)
        self.check_timeout(protocol.packet(1, login.head())[:18])

    def test_an_ssl_request_and_no_hello(self):
        login = Login("", capabilities=protocol.DEFAULT_CAPABILITIES | protocol.SSL)
        self.check_timeout(protocol.packet(1, login.head()))

    def test_half_a_login(self):
        self.check_timeout(protocol.packet(1, Login("good", b"x" * 20).encode())[:40])

    def check_timeout(self, sent: bytes):
        proxy = self.start_gateway(handshake_timeout_s=1)
        with greeted(proxy.port) as client:
            client.wire.socket.sendall(sent)
            read_whole(client.wire.socket)
            event = self.reported(proxy, name(client), "time")
            self.assertTrue(event.get("stage"), event)
        self.check_nothing_reached_the_server()

    def test_hello_in_the_segment_of_the_ssl_request(self):
        proxy = self.start_gateway()
        with greeted(proxy.port) as client:
            login = client.prepare("good")
            login.capabilities |= protocol.SSL
            session = Pipelined(client.wire.socket, protocol.packet(1, login.head()))
            client.wire.sequence = 2
            client.wire.socket = session
            login.auth = protocol.hashed(login.plugin, PASSWORD, client.greeting.scramble)
            client.login(login, PASSWORD)
            self.assertEqual(client.query("pipelined").rows, [("pipelined",)])
            client.quit()

    def test_short_ssl_request(self):
        """Of capabilities alone, as old drivers send it."""
        proxy = self.start_gateway()
        with greeted(proxy.port) as client:
            login = client.prepare("good")
            login.capabilities |= protocol.SSL
            client.wire.write(login.head()[:4])
            client.wire.socket = pki.context().wrap_socket(client.wire.socket, server_hostname="localhost")
            client.login(login, PASSWORD)
            self.assertEqual(client.query("short").rows, [("short",)])
            client.quit()

    def test_plain_login_behind_an_ssl_request(self):
        login = Login("smuggled", b"x" * 20)
        self.check_smuggled(protocol.packet(2, login.encode()))

    def test_query_behind_an_ssl_request(self):
        self.check_smuggled(protocol.packet(0, b"\x03SELECT 'smuggled'"))

    def check_smuggled(self, sent: bytes):
        """In the segment of the SSLRequest, and in the next."""
        for segments in ((True,), (True, False)):
            proxy = self.start_gateway()
            with self.subTest(segments=len(segments)), greeted(proxy.port) as client:
                request = protocol.packet(1, Login("", capabilities=login_capabilities()).head())
                connection = client.wire.socket
                if len(segments) == 1:
                    connection.sendall(request + sent)
                else:
                    connection.sendall(request)
                    connection.sendall(sent)
                self.check_alert(connection)
                self.reported(proxy, name(client), "plaintext after SSLRequest")
            self.check_nothing_reached_the_server()

    def test_query_in_front_of_the_login_in_tls(self):
        """Smuggled into the middle of the handshake: it is a record of no kind."""
        proxy = self.start_gateway()
        with greeted(proxy.port) as client:
            connection = client.wire.socket
            request = protocol.packet(1, Login("", capabilities=login_capabilities()).head())
            smuggled = protocol.packet(0, b"\x03SELECT 'smuggled'")
            connection.sendall(request + clients.client_hello(pki.context()) + smuggled)
            self.check_alert(connection)
            gateway_says = proxy.claimed(peer=name(client))
            self.assertTrue(gateway_says.get("reason"), gateway_says)
        self.check_nothing_reached_the_server()

    def check_alert(self, connection: socket.socket):
        """TLS records only, the last of them an alert; then the end."""
        data = read_whole(connection)
        kinds = []
        while data:
            kind, _, length = struct.unpack_from("!BHH", data)
            kinds.append(kind)
            data = data[5 + length :]
        self.assertTrue(kinds and kinds[-1] in (TLS_ALERT, 23), kinds)

    def test_packets_that_are_too_large(self):
        """A header is enough to be refused by: what it promises is neither waited for nor kept."""
        for length in (MIB + 1, 16 * MIB - 1):
            for way in (PLAIN, TLS_1_3):
                proxy = self.start_gateway()
                with self.subTest(length=length, way=way), greeted(proxy.port) as client:
                    if way != PLAIN:
                        client.upgrade(pki.context())
                    before = proxy.rss_kib()
                    client.wire.socket.sendall(length.to_bytes(3, "little") + bytes([client.wire.sequence]))
                    error = self.answer(client)
                    self.assertEqual((error.code, error.state), (1153, "08S01"))
                    self.reported(proxy, name(client), "too large")
                    self.assertLess(proxy.rss_kib() - before, 1_024)
                self.check_nothing_reached_the_server()

    def test_login_of_1_mib_that_is_whole(self):
        """It may be as large as that, if no larger."""
        proxy = self.start_gateway()
        with greeted(proxy.port) as client:
            login = client.prepare("good", attributes={"long": "x" * 60_000})
            client.upgrade(pki.context(), login)
            client.login(login, PASSWORD)
            self.assertEqual(client.query("large").rows, [("large",)])
            client.quit()

    def test_login_that_makes_no_sense(self):
        proxy = self.start_gateway()
        for payload in (b"", b"\x05", b"\x00\x00", struct.pack("<I", protocol.DEFAULT_CAPABILITIES) + b"\xff" * 40):
            with self.subTest(payload[:8]), greeted(proxy.port) as client:
                client.wire.write(payload)
                self.assertIn(self.answer(client).code, (1043, 1045, 2013))
                self.reported(proxy, name(client), "protocol|malformed|login")
        self.check_nothing_reached_the_server()

    def test_too_many_connections(self):
        self.server = Server()
        side = to_address(Listener(self, self.server).address)
        proxy = self.gateway(route("test", client_side("preferred"), side, max_connections=3))
        held = [enter(proxy.port, "good") for _ in range(3)]
        error = self.refused(1040, None, lambda: enter(proxy.port, "good"))
        self.assertEqual(error.sequence, 0)
        self.assertIn("limit", str(proxy.claimed(level="WARN")).lower())
        held.pop().quit()
        until(lambda: self.enters(proxy.port), "there is room again")
        proxy.judges_failures = False
        for client in held:
            client.quit()

    @staticmethod
    def enters(port: int) -> bool:
        try:
            enter(port, "good").quit()
            return True
        except protocol.ServerError:
            return False

    def test_claims_of_being_a_proxy(self):
        """Attributes that a server would believe of anybody."""
        proxy = self.start_gateway()
        for attributes in (
            {"__mysql_client_type": "__ob_proxy"},
            {"__client_ip": "10.0.0.1"},
            {"program": "honest", "__proxy_scramble": "x" * 20},
        ):
            with self.subTest(attributes), greeted(proxy.port) as client:
                login = client.prepare("good", attributes=attributes)
                client.upgrade(pki.context(), login)
                with self.assertRaises(protocol.ServerError) as refused:
                    client.login(login, PASSWORD)
                self.assertNotIn("trusted_proxies", refused.exception.message)
                self.reported(proxy, name(client), "proxy")
        self.check_nothing_reached_the_server()

    def test_proxies_that_are_trusted(self):
        server = Server()
        side = to_address(Listener(self, server).address)
        client = client_side("preferred", trusted_proxies=["127.0.0.0/8"])
        proxy = self.gateway(route("test", client, side))
        attributes = {"__mysql_client_type": "__ob_proxy", "__client_ip": "10.0.0.1"}
        enter(proxy.port, "good", attributes=attributes).quit()
        self.assertEqual(Login.decode(server.logins[0]).attributes, attributes)

    def test_bytes_of_another_protocol(self):
        """Whoever takes the port for something else."""
        proxy = self.start_gateway(handshake_timeout_s=2)
        for data in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", clients.client_hello(pki.context()), b"\xff" * 64):
            with self.subTest(data[:8]), clients.plain(proxy.port) as connection:
                connection.sendall(data)
                self.assertTrue(read_whole(connection))
                event = proxy.claimed(peer=clients.name(connection))
                self.assertTrue(event.get("reason"), event)
        self.check_nothing_reached_the_server()


def login_capabilities() -> int:
    return protocol.DEFAULT_CAPABILITIES | protocol.SSL


class Pipelined:
    """TLS whose ClientHello goes out in one segment with what precedes it."""

    def __init__(self, connection: socket.socket, first: bytes):
        self._socket, self._pending = connection, first
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = pki.context().wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self._until_done(self._session.do_handshake)

    def sendall(self, data: bytes) -> None:
        self._until_done(lambda: self._session.write(data))

    def recv(self, length: int) -> bytes:
        return self._until_done(lambda: self._session.read(length))

    def close(self) -> None:
        self._socket.close()

    def _until_done(self, step):
        while True:
            try:
                result = step()
                self._flush()
                return result
            except ssl.SSLWantReadError:
                self._flush()
                self._incoming.write(self._socket.recv(65536))

    def _flush(self) -> None:
        data, self._pending = self._pending + self._outgoing.read(), b""
        if data:
            self._socket.sendall(data)


class OfServers(MysqlCase):
    """Servers that are not there, or are not what they should be."""

    def start_gateway(self, side: dict, **changes):
        return self.gateway(route("test", client_side("preferred"), side, **changes))

    def check_greeting(self, serve, code: int, words: str, **changes):
        """What comes in place of the greeting: sequence 0, and no SQLSTATE, since nothing is agreed on yet."""
        proxy = self.start_gateway(to_address(Listener(self, serve).address), **changes)
        self.check_first(proxy, code, words)
        return proxy

    def check_first(self, proxy, code: int, words: str):
        client = Client(clients.plain(proxy.port))
        with client:
            with self.assertRaises(protocol.ServerError) as found:
                client.greet()
            error = found.exception
            self.assertEqual((error.code, error.state, error.sequence), (code, None, 0), error.message)
            self.assertTrue(clients.is_ended(client.wire.socket))
            return self.reported(proxy, name(client), words)

    def test_unreachable(self):
        port = free_port()
        proxy = self.start_gateway(to_address(f"127.0.0.1:{port}"))
        event = self.check_first(proxy, 2003, "unreachable")
        self.assertIn(f"127.0.0.1:{port}", str(event))
        self.assertIn("refused", event["reason"].lower())

    def test_unreachable_socket(self):
        proxy = self.start_gateway(to_address(f"unix:{self.scratch}/none"))
        self.assertIn(f"{self.scratch}/none", str(self.check_first(proxy, 2003, "unreachable")))

    def test_no_answer_to_the_connection(self):
        """A listener whose queue is full, so that the connection is never accepted."""
        full = socket.socket()
        self.addCleanup(full.close)
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        crowd = [socket.socket() for _ in range(8)]
        for one in crowd:
            self.addCleanup(one.close)
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        proxy = self.start_gateway(to_address(f"127.0.0.1:{port}"), connect_timeout_ms=500)
        self.check_first(proxy, 2003, "unreachable.*time|time.*unreachable")

    def test_end_before_the_greeting(self):
        self.check_greeting(lambda connection: None, 2003, "greeting|unreachable")

    def test_half_a_greeting(self):
        half = protocol.packet(0, Greeting().encode())[:30]
        self.check_greeting(lambda connection: connection.sendall(half), 2003, "greeting|unreachable")

    def test_silence_instead_of_a_greeting(self):
        self.check_greeting(lambda c: c.recv(1), 2003, "time", handshake_timeout_s=1)

    def test_greeting_of_garbage(self):
        garbage = b"SSH-2.0-OpenSSH_9.2\r\n" + bytes(range(256))
        self.check_garbage(garbage)

    def test_greeting_of_16_mib(self):
        self.check_garbage(b"\xff\xff\xff\x00\x0a" + b"x" * 4_096)

    def test_greeting_of_an_unknown_version(self):
        self.check_garbage(protocol.packet(0, b"\x09" + Greeting().encode()[1:]))

    def test_greeting_without_an_end(self):
        self.check_garbage(protocol.packet(0, b"\x0a" + b"8" * 60))

    def check_garbage(self, sent: bytes):
        def serve(connection):
            connection.sendall(sent)
            connection.recv(1)

        proxy = self.start_gateway(to_address(Listener(self, serve).address))
        event = self.check_first(proxy, 2013, "protocol")
        digits = "".join(c for c in event["reason"].lower() if c in "0123456789abcdef")
        payload = sent[4:8].hex()
        self.assertTrue(sent[:4].hex() in digits or payload in digits, event)

    def test_greeting_that_is_an_error(self):
        """The same, byte for byte; a server without descriptors says so to whoever asks."""
        sent = protocol.packet(0, protocol.error(1040, "Too many connections"))
        proxy = self.start_gateway(to_address(Listener(self, lambda c: c.sendall(sent)).address))
        with clients.plain(proxy.port) as connection:
            self.assertEqual(clients.read_to_end(connection), sent)

    def test_greeting_that_says_host_blocked(self):
        """The same too, and the log has the remedy: every client of the gateway is locked out by it."""
        text = "Host '10.0.0.1' is blocked because of many connection errors; unblock with 'mariadb-admin flush-hosts'"
        sent = protocol.packet(0, protocol.error(1129, text))
        proxy = self.start_gateway(to_address(Listener(self, lambda c: c.sendall(sent)).address))
        proxy.judges_failures = False
        with clients.plain(proxy.port) as connection:
            self.assertEqual(clients.read_to_end(connection), sent)
        proxy.until(lambda: proxy.events(level="WARN"), "a warning")
        self.assertRegex(str(proxy.events(level="WARN")), r"(?i)1129.*flush|flush.*1129")

    def check_tls(self, context: ssl.SSLContext, words: str, **side):
        """The client has its greeting by then, so the ERR has its SQLSTATE and answers the login."""
        server = Server(tls=context)
        for way in (PLAIN, TLS_1_3):
            mode = to_address(Listener(self, server).address, "verify-full") | side
            proxy = self.start_gateway(mode)
            with self.subTest(way), greeted(proxy.port) as client:
                login = client.prepare("good")
                if way != PLAIN:
                    client.upgrade(pki.context(), login)
                with self.assertRaises(protocol.ServerError) as found:
                    client.login(login, PASSWORD)
                self.assertEqual((found.exception.code, found.exception.state), (2026, "HY000"))
                self.reported(proxy, name(client), words)
        self.assertEqual(server.logins, [], "a login was sent to a server that was not verified")

    def test_server_of_another_authority(self):
        self.check_tls(server_context(pki.server(issuer="Other CA")), "issuer|authority|unknown_ca")

    def test_server_of_another_name(self):
        self.check_tls(server_context(pki.server("db.example", addresses=())), "name|mismatch")

    def test_server_that_has_only_tls_1_1(self):
        context = server_context(pki.server())
        context.set_ciphers("DEFAULT@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        self.check_tls(context, "version|1\\.1|protocol|sigalg")

    def test_server_that_has_only_rsa_key_exchange(self):
        context = server_context(pki.server())
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("AES128-GCM-SHA256:AES256-GCM-SHA384")
        self.check_tls(context, "handshake_?failure|suite|key exchange")

    def test_server_that_wants_a_certificate(self):
        context = server_context(pki.server())
        context.load_verify_locations(pki.authority().cert)
        context.verify_mode = ssl.CERT_REQUIRED
        # In TLS 1.3 the refusal comes when the handshake is complete for the client of it, the gateway.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.check_tls(context, "handshake_?failure|certificate")

    def test_server_that_answers_in_plain(self):
        """An ERR in place of a ServerHello: it is not believed, since anybody on the path could have sent it."""

        def serve(connection):
            wire = protocol.Wire(connection)
            greeting = Greeting()
            greeting.capabilities |= protocol.SSL
            wire.write(greeting.encode())
            wire.read()
            wire.write(protocol.error(1045, "injected", "28000"))
            connection.recv(1)

        proxy = self.start_gateway(to_address(Listener(self, serve).address, "verify-full"))
        with greeted(proxy.port) as client:
            login = client.prepare("good")
            client.upgrade(pki.context(), login)
            with self.assertRaises(protocol.ServerError) as found:
                client.login(login, PASSWORD)
            self.assertEqual(found.exception.code, 2026)
            self.assertNotIn("injected", found.exception.message)
            self.reported(proxy, name(client), "tls|record")

    def test_end_after_the_login(self):
        """A server that dies in the middle of a login: an ERR, not a bare end."""

        def serve(connection):
            wire = protocol.Wire(connection)
            wire.write(Greeting().encode())
            wire.read()

        proxy = self.start_gateway(to_address(Listener(self, serve).address))
        with greeted(proxy.port) as client:
            login = client.prepare("good")
            client.upgrade(pki.context(), login)
            with self.assertRaises(protocol.ServerError) as found:
                client.login(login, PASSWORD)
            self.assertEqual(found.exception.code, 2013)
            self.reported(proxy, name(client), "server|closed|truncated")


def server_context(identity: pki.Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.cert, identity.key)
    return context
