"""The PROXY protocol: real HAProxy in front of the gateway, real MariaDB behind it, and hostile peers."""

import re
import socket
import ssl
from functools import cache
from pathlib import Path

from harness import certs, clients, databases, pki
from harness.case import Case, free_port, tcp_route
from harness.databases import PASSWORD, MariaDb
from harness.gateway import HANDSHAKE_FAILED, ROOT, Gateway
from harness.mysql_case import PLAIN, TLS_1_2, TLS_1_3, MysqlCase, client_side, context_of, route, server_side
from harness.process import Process, program
from harness.servers import Listener
from peers import mysql as protocol
from peers import proxy_protocol
from peers.mysql import Client

# Where clients come from: loopback has many addresses, and HAProxy connects from the first.
CLIENT, OTHER_CLIENT, BALANCER = "127.0.0.9", "127.0.0.10", "127.0.0.1"
# How HAProxy may announce a client.
ANNOUNCEMENTS = ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority"]
V2 = {"proxy_protocol": "v2"}


def haproxy(case: Case, servers: str, bind: str = "", port: int | None = None) -> int:
    """HAProxy with these servers behind it."""
    port = port or free_port()
    lines = ["mode tcp", "timeout connect 5s", "timeout client 30s", "timeout server 30s"]
    lines += [f"bind 127.0.0.1:{port} {bind}", *(f"server {line}" for line in servers.splitlines())]
    config = case.scratch / f"haproxy-{port}.cfg"
    config.write_text("listen front\n" + "".join(f"    {line}\n" for line in lines))
    return start_haproxy(case, config, port)


def start_haproxy(case: Case, config: Path, port: int) -> int:
    command = [program("haproxy"), "-db", "-f", config]
    case.start(Process("haproxy", command, config.with_suffix(".log"), ready_port=port))
    return port


def connect(port: int, source: str = CLIENT, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((host, port), timeout=10, source_address=(source, 0))


def over_tls(connection: socket.socket, made: ssl.SSLContext) -> ssl.SSLSocket:
    return made.wrap_socket(connection, server_hostname="localhost", suppress_ragged_eofs=False)


def end(connection: ssl.SSLSocket) -> None:
    connection.unwrap()
    connection.close()


class Told:
    """A server that reads a header, answers with what a client sends, and remembers both."""

    def __init__(self, case: Case, tls: ssl.SSLContext | None = None):
        self.headers: list[proxy_protocol.Header] = []
        self._tls = tls
        self._listener = Listener(case, self._serve)
        self.address = self._listener.address

    def _serve(self, connection: socket.socket) -> None:
        self.headers.append(proxy_protocol.take(connection))
        if self._tls:
            connection = self._tls.wrap_socket(connection, server_side=True)
        while data := connection.recv(65536):
            connection.sendall(data)


def announced_route(server: str, **changes) -> dict:
    """A route behind a balancer, to a server that is told of its clients."""
    made = tcp_route(server)
    made["client"] = made["client"] | {"proxy_protocol_from": [BALANCER]} | changes.pop("client", {})
    made["server"] = made["server"] | V2 | changes.pop("server", {})
    return made | changes


class Balancer(Case):
    needs = ("haproxy",)

    def test_clients_keep_their_address(self):
        told = Told(self)
        gateway = self.gateway(announced_route(told.address))
        for words in ANNOUNCEMENTS:
            with self.subTest(words):
                port = haproxy(self, f"gateway 127.0.0.1:{gateway.port} {words}")
                connection = over_tls(connect(port), clients.context())
                name = connection.getsockname()
                self.assertEqual(clients.ask(connection, b"hello"), b"hello")
                end(connection)
                header = told.headers.pop()
                self.assertEqual((header.version, header.source), (2, name))
                self.assertEqual(header.destination, ("127.0.0.1", port))

    def test_what_it_tells_of_its_own_tls_is_passed_over(self):
        """HAProxy ends the client's TLS; the gateway's server is told of none, since the gateway saw none."""
        told, own = Told(self), certs.server()
        made = announced_route(told.address, client={})
        made["client"] = {"tls": "off", "proxy_protocol_from": [BALANCER]}
        gateway = self.gateway(made)
        pair = self.scratch / "pair.pem"
        pair.write_bytes(own.cert.read_bytes() + own.key.read_bytes())
        bind = f"ssl crt {pair} ca-file {certs.authority().cert} verify required"
        server = f"gateway 127.0.0.1:{gateway.port} send-proxy-v2-ssl-cn proxy-v2-options crc32c,cert-sig,cert-key"
        port = haproxy(self, server, bind)
        connection = over_tls(connect(port), clients.context(identity=certs.client()))
        name = connection.getsockname()
        self.assertEqual(clients.ask(connection, b"hello"), b"hello")
        connection.close()
        header = told.headers.pop()
        self.assertEqual((header.source, header.tls), (name, None))

    def test_over_a_unix_socket(self):
        told, path = Told(self), self.scratch / "front"
        made = announced_route(told.address, client={"proxy_protocol_from": ["unix"]})
        gateway = self.gateway(made | {"listen": [f"unix:{path}", *made["listen"]]})
        for words in ANNOUNCEMENTS:
            with self.subTest(words):
                port = haproxy(self, f"gateway unix@{path} {words}")
                connection = over_tls(connect(port), clients.context())
                self.assertEqual(clients.ask(connection, b"hello"), b"hello")
                self.assertEqual(told.headers.pop().source, connection.getsockname())
                end(connection)
        self.assertEqual(gateway.failures(), [])

    def test_the_log_has_the_address_of_the_client(self):
        gateway = self.gateway(announced_route(Told(self).address))
        port = haproxy(self, f"gateway 127.0.0.1:{gateway.port} send-proxy-v2")
        connection = connect(port)
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        gateway.failed(clients.name(connection), "not_tls", HANDSHAKE_FAILED)
        connection.close()

    def test_its_own_checks_are_connections_of_its_own(self):
        told = Told(self)
        made = announced_route(told.address)
        made["client"] = {"tls": "off", "proxy_protocol_from": [BALANCER]}
        gateway = self.gateway(made)
        gateway.judges_failures = False
        haproxy(self, f"gateway 127.0.0.1:{gateway.port} send-proxy-v2 check inter 50ms")
        gateway.until(lambda: told.headers, "a check")
        self.assertEqual({header.source[0] for header in told.headers}, {BALANCER})
        self.assertEqual(gateway.failures(**{"class": "protocol"}), [])

    def test_haproxy_says_the_same_of_the_same_client(self):
        own, told = certs.server(), Told(self)
        pair = self.scratch / "pair.pem"
        pair.write_bytes(own.cert.read_bytes() + own.key.read_bytes())
        bind = f"ssl crt {pair} ca-file {certs.authority().cert} verify required"
        options = "send-proxy-v2 proxy-v2-options ssl,cert-cn,ssl-cipher"
        direct = haproxy(self, f"told {told.address} {options}", bind)
        client = {"tls": "required", "cert": own.cert, "key": own.key, "ca": certs.authority().cert}
        gateway = self.gateway(tcp_route("", client=client, server={"tls": "off", "address": told.address} | V2))
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with self.subTest(version.name):
                suite = "ECDHE-ECDSA-AES128-GCM-SHA256"
                made = clients.context(identity=certs.client(), version=version, ciphers=suite)
                for port in (direct, gateway.port):
                    connection = over_tls(connect(port), made)
                    self.assertEqual(clients.ask(connection, b"hello"), b"hello")
                    connection.close()
                of_haproxy, of_gateway = (header.tls for header in told.headers[-2:])
                # HAProxy has another order of the suites of TLS 1.3.
                suites = [tls.values.pop(proxy_protocol.SSL_CIPHER) for tls in (of_haproxy, of_gateway)]
                self.assertTrue(version == ssl.TLSVersion.TLSv1_3 or suites[0] == suites[1], suites)
                self.assertEqual(of_haproxy, of_gateway)
        gateway.tolerated = {"truncated", "io"}

    def test_haproxy_reads_what_a_server_is_sent(self):
        """The gateway's header, read by HAProxy, which passes on in its own words what it understood."""
        told = Told(self)
        inner = haproxy(self, f"told {told.address} send-proxy", "accept-proxy")
        own = certs.server()
        client = {"tls": "required", "cert": own.cert, "key": own.key, "ca": certs.authority().cert}
        server = {"tls": "off", "address": f"127.0.0.1:{inner}", "proxy_protocol_subject": True} | V2
        gateway = self.gateway(tcp_route("", client=client, server=server))
        connection = over_tls(connect(gateway.port), clients.context(identity=certs.client()))
        self.assertEqual(clients.ask(connection, b"hello"), b"hello")
        header = told.headers.pop()
        self.assertEqual((header.version, header.source), (1, connection.getsockname()))
        self.assertEqual(header.destination, ("127.0.0.1", gateway.port))
        end(connection)


class Raw(Case):
    """Peers of the test's own, which say what they like."""

    def setUp(self):
        super().setUp()
        self.told = Told(self)

    def open(self, *, listed: list[str] | None = None, **changes) -> Gateway:
        client = {"proxy_protocol_from": listed or [BALANCER]}
        return self.gateway(announced_route(self.told.address, client=client, **changes))

    def test_pieces(self):
        """Byte by byte, and with the ClientHello in the same segment."""
        for header in (proxy_protocol.line("192.0.2.7"), proxy_protocol.binary("192.0.2.7")):
            gateway = self.open()
            connection = clients.plain(gateway.port)
            for byte in header:
                connection.sendall(bytes([byte]))
            connection = over_tls(connection, clients.context())
            self.assertEqual(clients.ask(connection, b"hello"), b"hello")
            self.assertEqual(self.told.headers.pop().source, ("192.0.2.7", 50_000))
            end(connection)
            connection = clients.plain(gateway.port)
            connection.sendall(header + clients.client_hello())
            # A ServerHello: the first bytes behind the header were taken for TLS.
            self.assertEqual(clients.read(connection, 1), b"\x16")
            connection.close()
            gateway.failed("192.0.2.7:50000", {"truncated", "io"}, HANDSHAKE_FAILED)
            gateway.stop_and_judge()

    def test_version_6_addresses(self):
        gateway = self.open()
        connection = clients.plain(gateway.port)
        connection.sendall(proxy_protocol.binary("2001:db8::7", 1, "2001:db8::1", b"\xee\0\x03any"))
        connection = over_tls(connection, clients.context())
        self.assertEqual(clients.ask(connection, b"hello"), b"hello")
        header = self.told.headers.pop()
        self.assertEqual((header.source, header.destination), (("2001:db8::7", 1), ("2001:db8::1", 3306)))
        end(connection)

    def test_checks(self):
        """Who says that he comes for himself is known by the address that he has."""
        gateway = self.open()
        connection = clients.plain(gateway.port)
        connection.sendall(proxy_protocol.local())
        connection = over_tls(connection, clients.context())
        self.assertEqual(clients.ask(connection, b"hello"), b"hello")
        header = self.told.headers.pop()
        self.assertEqual((header.source, header.destination[1]), (connection.getsockname(), gateway.port))
        end(connection)

    def test_who_must_begin_with_a_header_and_does_not(self):
        gateway = self.open()
        good = proxy_protocol.binary("192.0.2.7")
        for sent, fault in (
            (clients.client_hello(), "protocol"),
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "protocol"),
            (b"PROXY TCP4 192.0.2.7 192.0.2.1 50000\r\n", "protocol"),
            (b"PROXY " + b"x" * 200, "limit"),
            (good[:14] + b"\xff\xff", "limit"),
            (good[:12] + b"\x31" + good[13:], "protocol"),
            (proxy_protocol.binary("192.0.2.7", values=b"\x03\0\x04abcd"), "protocol"),
        ):
            with self.subTest(sent):
                connection = clients.plain(gateway.port)
                connection.sendall(sent)
                self.assertTrue(clients.is_ended(connection))
                event = gateway.failed(clients.name(connection), fault, HANDSHAKE_FAILED)
                self.assertIn("proxy_protocol_from", event["reason"])
                connection.close()
        self.assertEqual(self.told.headers, [])

    def test_a_header_that_is_late(self):
        gateway = self.open(handshake_timeout_s=1)
        for sent in (b"", proxy_protocol.line("192.0.2.7")[:-1], proxy_protocol.binary("192.0.2.7")[:-1]):
            with self.subTest(sent):
                connection = clients.plain(gateway.port)
                connection.sendall(sent)
                self.assertTrue(clients.is_ended(connection))
                gateway.failed(clients.name(connection), "timeout", HANDSHAKE_FAILED)
                connection.close()
        self.assertEqual(self.told.headers, [])

    def test_nobody_else_says_who_he_is(self):
        """The header of a peer that is not listed is what a client sends: no TLS."""
        gateway = self.open(listed=["127.0.0.2", "10.0.0.0/8", "unix"])
        for header in (proxy_protocol.line("192.0.2.7"), proxy_protocol.binary("192.0.2.7")):
            connection = clients.plain(gateway.port)
            connection.sendall(header + clients.client_hello())
            self.assertTrue(clients.is_ended(connection) or clients.is_ended(connection))
            gateway.failed(clients.name(connection), "not_tls", HANDSHAKE_FAILED)
            connection.close()
        # Without one it is served as ever, and known by its own address.
        connection = clients.tls(gateway.port)
        self.assertEqual(clients.ask(connection, b"hello"), b"hello")
        self.assertEqual(self.told.headers.pop().source, connection.getsockname())
        end(connection)
        # The one that is listed is believed.
        connection = connect(gateway.port, "127.0.0.2")
        connection.sendall(proxy_protocol.line("192.0.2.7"))
        connection = over_tls(connection, clients.context())
        self.assertEqual(clients.ask(connection, b"hello"), b"hello")
        self.assertEqual(self.told.headers.pop().source, ("192.0.2.7", 50_000))
        end(connection)


class Server(Case):
    """What a server is told of a client and of its TLS."""

    def open(self, told: Told, server: dict | None = None, **client) -> Gateway:
        own = certs.server()
        side = {"tls": "required", "cert": own.cert, "key": own.key} | client
        return self.gateway(
            tcp_route(
                "",
                listen=[f"0.0.0.0:{free_port()}"],
                client=side,
                server={"tls": "off", "address": told.address} | V2 | (server or {}),
            )
        )

    def test_certificates(self):
        alice = pki.client("alice")
        told = Told(self)
        settings = {"ca": pki.authority().cert, "client_cert": "optional"}
        for is_subject_told in (False, True):
            gateway = self.open(told, {"proxy_protocol_subject": is_subject_told}, **settings)
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                for identity in (None, alice):
                    with self.subTest(version=version.name, identity=identity, subject=is_subject_told):
                        made = clients.context(identity=identity, version=version)
                        # Of the many addresses that it listens on.
                        connection = over_tls(connect(gateway.port, host="127.0.0.3"), made)
                        self.assertEqual(clients.ask(connection, b"hello"), b"hello")
                        header = told.headers.pop()
                        self.assertEqual(header.source, connection.getsockname())
                        self.assertEqual(header.destination, ("127.0.0.3", gateway.port))
                        self.check(header, connection, "alice" if identity else None)
                        self.assertEqual(header.subject, alice.subject if identity and is_subject_told else None)
                        end(connection)
            gateway.stop_and_judge()

    def check(self, header: proxy_protocol.Header, connection: ssl.SSLSocket, name: str | None) -> None:
        tls = header.tls
        expected = {proxy_protocol.SSL_VERSION: connection.version(), proxy_protocol.SSL_CIPHER: connection.cipher()[0]}
        flags = proxy_protocol.CLIENT_SSL
        if name:
            expected[proxy_protocol.SSL_CN] = name
            flags |= proxy_protocol.CLIENT_CERT_CONN | proxy_protocol.CLIENT_CERT_SESS
        self.assertEqual((tls.flags, tls.verify == 0, tls.values), (flags, bool(name), expected))

    def test_sessions_that_are_resumed(self):
        """The certificate is that of the session then, and was not shown on this connection."""
        told = Told(self)
        gateway = self.open(told, ca=certs.authority().cert)
        made = clients.context(identity=certs.client(), version=ssl.TLSVersion.TLSv1_2)
        first = over_tls(connect(gateway.port), made)
        self.assertEqual(clients.ask(first, b"hello"), b"hello")
        session = first.session
        end(first)
        second = made.wrap_socket(connect(gateway.port), server_hostname="localhost", session=session)
        self.assertEqual(clients.ask(second, b"hello"), b"hello")
        self.assertTrue(second.session_reused)
        end(second)
        flags = [header.tls.flags for header in told.headers]
        session_only = proxy_protocol.CLIENT_SSL | proxy_protocol.CLIENT_CERT_SESS
        self.assertEqual(flags, [session_only | proxy_protocol.CLIENT_CERT_CONN, session_only])
        self.assertEqual(told.headers[1].tls.values[proxy_protocol.SSL_CN], "client")

    def test_the_header_comes_before_tls_with_the_server(self):
        own = certs.server()
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(own.cert, own.key)
        told = Told(self, tls)
        gateway = self.open(told, {"tls": "verify-full", "ca": certs.authority().cert})
        connection = over_tls(connect(gateway.port), clients.context())
        self.assertEqual(clients.ask(connection, b"hello" * 10_000), b"hello" * 10_000)
        self.assertEqual(told.headers.pop().source, connection.getsockname())
        connection.close()
        gateway.tolerated = {"truncated", "io"}

    def test_clients_without_tls(self):
        told = Told(self)
        for tls in ("off", "passthrough"):
            gateway = self.gateway(
                tcp_route("", client={"tls": tls}, server={"tls": "off", "address": told.address} | V2)
            )
            connection = connect(gateway.port)
            self.assertEqual(clients.ask(connection, b"hello"), b"hello")
            header = told.headers.pop()
            self.assertEqual((header.source, header.tls), (connection.getsockname(), None))
            connection.close()
            gateway.stop_and_judge()


@cache
def mariadb() -> MariaDb:
    """One that believes what the gateway says of its clients."""
    server = MariaDb(pki.server(), **{"proxy-protocol-networks": BALANCER, "skip-name-resolve": 1})
    server.execute(
        f"CREATE USER 'placed'@'{CLIENT}' IDENTIFIED BY '{PASSWORD}'",
        f"GRANT PROCESS ON *.* TO 'placed'@'{CLIENT}'",
    )
    return server


class Mysql(MysqlCase):
    """MariaDB sees the client's address, judges accounts by it, and has no idea of the two in between."""

    needs = ("haproxy",)

    def enter(self, port: int, way: str, source: str, user: str = "placed") -> Client:
        client = Client(connect(port, source))
        return client._enter(user, PASSWORD, context_of(way), {})

    def check(self, port: int, way: str) -> None:
        with self.enter(port, way, CLIENT) as session:
            host, own_port = session.wire.socket.getsockname()
            self.assertEqual(session.query("SELECT USER()").rows, [(f"placed@{host}",)])
            sql = "SELECT HOST FROM information_schema.PROCESSLIST WHERE ID = CONNECTION_ID()"
            self.assertEqual(session.query(sql).rows, [(f"{host}:{own_port}",)])
            self.assertEqual(session.query("SELECT REPEAT('x', 100000)").rows, [("x" * 100_000,)])
            session.quit()
        with self.assertRaises(protocol.ServerError) as refused:
            self.enter(port, way, OTHER_CLIENT)
        self.assertEqual(refused.exception.code, 1045)
        self.assertIn(f"'placed'@'{OTHER_CLIENT}'", refused.exception.message)

    def test_haproxy_before_and_mariadb_behind(self):
        sides = [("preferred", "off"), ("preferred", "verify-full"), ("passthrough", "off"), ("off", "verify-full")]
        for client, server in sides:
            side = client_side(client, proxy_protocol_from=[BALANCER])
            gateway = self.gateway(route("test", side, server_side(mariadb(), server, **V2)))
            if client == "passthrough":
                gateway.claimed(message="danger")
            ports = [haproxy(self, f"gateway 127.0.0.1:{gateway.port} {words}") for words in ANNOUNCEMENTS]
            ways = (PLAIN,) if client == "off" else (PLAIN, TLS_1_2, TLS_1_3)
            for way, port in zip(ways, ports):
                with self.subTest(client=client, server=server, way=way):
                    self.check(port, way)
            gateway.stop_and_judge()

    def test_nothing_in_front(self):
        gateway = self.gateway(route("test", client_side("required"), server_side(mariadb(), "verify-full", **V2)))
        self.check(gateway.port, TLS_1_3)

    def test_a_header_before_a_login_is_none(self):
        """MariaDB takes one in front of every packet of a login; here none is passed on, nor is the login."""
        gateway = self.gateway(route("test", client_side("preferred"), server_side(mariadb(), "off", **V2)))
        for way in (PLAIN, TLS_1_3):
            with self.subTest(way):
                connection = connect(gateway.port, OTHER_CLIENT)
                peer = clients.name(connection)
                client = Client(connection)
                client.greet()
                if way != PLAIN:
                    client.upgrade(context_of(way))
                # As the header of a packet its first bytes promise some megabytes.
                client.wire.socket.sendall(proxy_protocol.line(CLIENT))
                with self.assertRaises(protocol.ServerError) as refused:
                    client.answer()
                self.assertEqual(refused.exception.code, 1153)
                self.reported(gateway, peer, "packet too large")
                client.close()

    def test_what_passes_unread_may_have_a_header_of_its_own(self):
        """Of MariaDB, to which a second header is as good as the first; the log warns of it."""
        gateway = self.gateway(route("test", client_side("passthrough"), server_side(mariadb(), "off", **V2)))
        self.assertIn("pose as any address", gateway.claimed(message="danger")["danger"])
        connection = connect(gateway.port, OTHER_CLIENT)
        client = Client(connection)
        client.greet()
        connection.sendall(proxy_protocol.binary(CLIENT))
        client.login(client.prepare("placed"), PASSWORD)
        self.assertEqual(client.query("SELECT USER()").rows, [(f"placed@{CLIENT}",)])
        client.quit()
        client.close()

    def test_a_silent_balancer(self):
        """No greeting comes before the header has."""
        side = client_side("preferred", proxy_protocol_from=[BALANCER])
        made = route("test", side, server_side(mariadb(), "off"), handshake_timeout_s=1)
        gateway = self.gateway(made)
        connection = connect(gateway.port, BALANCER)
        with self.assertRaises(ConnectionResetError):
            connection.recv(1)
        gateway.failed(clients.name(connection), "timeout", HANDSHAKE_FAILED)
        connection.close()


class Guide(MysqlCase):
    """docs/gateway.md, "Balancers and addresses": its configurations, but for the ports, as they are printed."""

    needs = ("haproxy",)

    def setUp(self):
        super().setUp()
        guide = (ROOT / "docs/gateway.md").read_text().partition("## Balancers and addresses\n")[2]
        guide = guide.partition("\n## ")[0]
        self.routes = re.findall(r"^```toml\n(.*?)^```", guide, re.DOTALL | re.MULTILINE)
        (self.balancer,) = re.findall(r"^```haproxy\n(.*?)^```", guide, re.DOTALL | re.MULTILINE)
        (self.scratch / "certs").mkdir()
        for name, pair in {"server": pki.server(), "client": pki.client("alice")}.items():
            (self.scratch / f"certs/{name}-cert.pem").write_bytes(pair.cert.read_bytes())
            (self.scratch / f"certs/{name}-key.pem").write_bytes(pair.key.read_bytes())
        (self.scratch / "certs/ca.pem").write_bytes(pki.authority().cert.read_bytes())

    def run_printed(self, text: str, ports: dict[int, int]) -> Gateway:
        (front,) = re.findall(r'listen = \["127.0.0.1:(\d+)"\]', text)
        gateway = Gateway(self.scratch, [tcp_route("", f"127.0.0.1:{ports[int(front)]}")])
        gateway.config.write_text(replaced(text, ports))
        self.start(gateway)
        return gateway

    def test_haproxy_before_mariadb(self):
        ports = {3306: mariadb().port, 3307: free_port(), 3308: free_port()}
        gateway = self.run_printed(self.routes[0], ports)
        config = self.scratch / "printed.cfg"
        config.write_text(replaced(self.balancer, ports))
        start_haproxy(self, config, ports[3308])
        client = Client(connect(ports[3308]))
        with client._enter("placed", PASSWORD, context_of(TLS_1_3), {}) as session:
            self.assertEqual(session.query("SELECT USER()").rows, [(f"placed@{CLIENT}",)])
            session.quit()
        gateway.stop_and_judge()

    def test_certificates_told_to_a_server(self):
        told = Told(self)
        ports = {8080: int(told.address.rsplit(":", 1)[1]), 8443: free_port()}
        gateway = self.run_printed(self.routes[1], ports)
        connection = over_tls(connect(ports[8443]), context_of(TLS_1_3, pki.client("alice")))
        self.assertEqual(clients.ask(connection, b"hello"), b"hello")
        header = told.headers.pop()
        self.assertEqual(header.subject, pki.client("alice").subject)
        self.assertEqual(header.tls.values[proxy_protocol.SSL_CN], "alice")
        end(connection)
        gateway.stop_and_judge()


def replaced(text: str, ports: dict[int, int]) -> str:
    for printed, used in ports.items():
        text = text.replace(f"127.0.0.1:{printed}", f"127.0.0.1:{used}")
    return text
