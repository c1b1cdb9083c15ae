"""Bounds: back-pressure, timeouts, numbers of connections, and that everything is given back."""

import contextlib
import hashlib
import socket
import threading
import time

from harness import certs, clients
from harness.case import Case, free_port, tcp_route
from harness.gateway import SERVER_UNREACHABLE
from harness.process import until
from harness.servers import Listener, echo, pattern, pattern_digest

MIB = 1 << 20

# What a gateway may keep of a connection whose reader sleeps: the send queue, and what one cycle brought before the
# other side was stopped. A cycle of io_uring brings more.
PER_SLOW_CONNECTION_KIB = {"uring": 3_072, "epoll": 768}
# What it keeps of buffers however many connections there are: 8 MiB that it receives into, 17 MiB to send from.
SHARED_KIB = 25 * 1_024


class Backpressure(Case):
    runs_alone = True

    def test_slow_readers(self):
        """Twenty clients ask for much and read nothing: the server is stopped, memory stays small, nothing is lost."""
        length = 64 * MIB
        sent = Counter()

        def flood(connection):
            for chunk in pattern(length):
                connection.sendall(chunk)
                sent.add(len(chunk))

        gateway = self.gateway(tcp_route(Listener(self, flood).address))
        before = gateway.rss_kib()
        readers = [clients.tls(gateway.port) for _ in range(20)]
        self.until_steady(lambda: sent.total)
        self.assertLess(sent.total, 20 * length // 2, "the server was not stopped")
        grown = gateway.rss_kib() - before
        self.assertLess(grown, SHARED_KIB + len(readers) * self.per_connection_kib(), "memory of slow readers")
        for reader in readers[1:]:
            reader.close()
        self.assertEqual(hash_of(readers[0]), pattern_digest(length))
        readers[0].close()
        gateway.judges_failures = False  # nineteen clients left in the middle
        gateway.until_sockets(0, "no connection is left")

    def test_slow_server(self):
        """The same in the other direction: the client is stopped."""
        go_on = threading.Event()
        found = []

        def slow(connection):
            go_on.wait(30)
            found.append(hash_of(connection))

        gateway = self.gateway(tcp_route(Listener(self, slow).address))
        before = gateway.rss_kib()
        length = 64 * MIB
        sent = Counter()

        def client():
            with clients.tls(gateway.port) as connection:
                connection.settimeout(40)
                for chunk in pattern(length):
                    connection.sendall(chunk)
                    sent.add(len(chunk))
                connection.unwrap()

        thread = threading.Thread(target=client, daemon=True)
        thread.start()
        self.until_steady(lambda: sent.total)
        self.assertLess(sent.total, length // 2, "the client was not stopped")
        self.assertLess(gateway.rss_kib() - before, SHARED_KIB + self.per_connection_kib())
        go_on.set()
        thread.join(40)
        self.assertEqual(found, [pattern_digest(length)])

    def per_connection_kib(self) -> int:
        return PER_SLOW_CONNECTION_KIB[self.variant.backend]

    def until_steady(self, value):
        """Until nothing has moved for half a second: the test is about what is not sent, which has no event."""
        last = [None, time.monotonic()]

        def is_steady():
            now = value()
            if now != last[0]:
                last[:] = [now, time.monotonic()]
            return now > 0 and time.monotonic() - last[1] > 0.5

        until(is_steady, "the flow stops", patience_s=30)


class Counter:
    def __init__(self):
        self.total = 0
        self._lock = threading.Lock()

    def add(self, number: int) -> None:
        with self._lock:
            self.total += number


def hash_of(connection) -> str:
    """Of everything up to the end."""
    sha = hashlib.sha256()
    while data := connection.recv(MIB):
        sha.update(data)
    return sha.hexdigest()


class Timeouts(Case):
    def test_idle(self):
        gateway = self.gateway(tcp_route(Listener(self, echo).address, idle_timeout_s=1))
        with clients.tls(gateway.port) as connection:
            clients.ask(connection, b"then nothing")
            self.assertTrue(clients.is_ended(connection))
            gateway.failed(clients.name(connection), "timeout")
        gateway.until_sockets(0, "no connection is left")

    def test_traffic_is_not_idle(self):
        """Bytes in one direction keep the whole connection."""
        pace = threading.Event()

        def drip(connection):
            for _ in range(12):
                connection.sendall(b".")
                pace.wait(0.25)

        gateway = self.gateway(tcp_route(Listener(self, drip).address, idle_timeout_s=1))
        with clients.tls(gateway.port) as connection:
            self.assertEqual(clients.read_to_end(connection), b"." * 12)
            connection.unwrap()

    def test_connect(self):
        """A server whose queue is full answers nothing at all."""
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            address = full.getsockname()
            fill = []
            self.addCleanup(lambda: [filler.close() for filler in fill])
            while True:
                filler = socket.socket()
                filler.settimeout(0.3)
                fill.append(filler)
                try:
                    filler.connect(address)
                except TimeoutError:
                    break
            gateway = self.gateway(tcp_route(f"127.0.0.1:{address[1]}", connect_timeout_ms=300))
            with clients.tls(gateway.port) as connection:
                self.assertTrue(clients.is_ended(connection))
                gateway.failed(clients.name(connection), "timeout", message=SERVER_UNREACHABLE)

    def test_handshake_with_the_server(self):
        """A server that accepts and says nothing."""
        never = threading.Event()
        self.addCleanup(never.set)
        server = Listener(self, lambda connection: never.wait(30))
        leg = {"tls": "verify-full", "address": server.address, "ca": certs.authority().cert}
        gateway = self.gateway(tcp_route("", server=leg, client={"tls": "off"}, handshake_timeout_s=1))
        with clients.plain(gateway.port) as connection:
            self.assertTrue(clients.is_ended(connection))
            gateway.failed(clients.name(connection), "timeout")


class Connections(Case):
    def test_max_connections_of_a_route(self):
        self.check_limit(self.gateway(tcp_route(Listener(self, echo).address, max_connections=3)))

    def test_max_connections_of_the_gateway(self):
        self.check_limit(self.gateway(tcp_route(Listener(self, echo).address), max_connections=3))

    def check_limit(self, gateway):
        """The fourth is refused and logged; a place that becomes free is given away."""
        inside = [clients.tls(gateway.port) for _ in range(3)]
        for connection in inside:
            clients.ask(connection, b"inside")
        # The reset may come before the client knows that it is connected.
        with contextlib.suppress(ConnectionResetError), clients.plain(gateway.port) as fourth:
            self.assertTrue(clients.is_ended(fourth))
        gateway.claimed(**{"class": "limit"})
        inside.pop().unwrap().close()
        gateway.until_sockets(4, "one connection is gone")
        with clients.tls(gateway.port) as instead:
            self.assertEqual(clients.ask(instead, b"instead"), b"instead")
            instead.unwrap()
        for connection in inside:
            self.assertEqual(clients.ask(connection, b"undisturbed"), b"undisturbed")
            connection.unwrap().close()

    def test_unix_socket_behind(self):
        server = Listener(self, echo, address=f"unix:{self.scratch}/server")
        gateway = self.gateway(tcp_route(server.address))
        with clients.tls(gateway.port) as connection:
            self.assertEqual(clients.ask(connection, b"u" * 300_000), b"u" * 300_000)
            connection.unwrap()

    def test_unix_socket_that_is_not_there(self):
        gateway = self.gateway(tcp_route(f"unix:{self.scratch}/nobody"))
        with clients.tls(gateway.port) as connection:
            self.assertTrue(clients.is_ended(connection))
            gateway.failed(clients.name(connection), "io", message=SERVER_UNREACHABLE)

    def test_several_routes(self):
        first = tcp_route(Listener(self, lambda c: c.sendall(b"one")).address)
        second = tcp_route(Listener(self, lambda c: c.sendall(b"two")).address, name="second")
        self.gateway(first, second)
        for route, expected in ((first, b"one"), (second, b"two")):
            port = int(route["listen"][0].rsplit(":", 1)[1])
            with clients.tls(port) as connection:
                self.assertEqual(clients.read_to_end(connection), expected)
                connection.unwrap()

    def test_descriptors_that_run_out(self):
        """At its limit of descriptors the gateway pauses accepting, says so, and goes on when some are free again."""
        launcher = ("sh", "-c", 'ulimit -n 100; exec "$@"', "sh")
        gateway = self.gateway(tcp_route(Listener(self, echo).address), launcher=launcher, max_connections=1_000)
        gateway.judges_failures = False
        crowd = [clients.plain(gateway.port) for _ in range(200)]
        gateway.wait_event(level="WARN", message="accept paused")
        for connection in crowd:
            connection.close()

        def is_well():
            try:
                with clients.tls(gateway.port) as connection:
                    return clients.ask(connection, b"well") == b"well"
            except OSError:
                return False

        until(is_well, "the gateway serves again")
        gateway.wait_event(message="accept resumed")


class GivenBack(Case):
    """After any number of connections, good and bad, the gateway is as large as after the first hundred."""

    deadline_s = 120
    runs_alone = True
    # Allocators keep pages: what counts is that a thousand more connections add next to nothing.
    RSS_TOLERANCE_KIB = 2_048

    def round(self, gateway, count: int):
        made = clients.context()
        for number in range(count):
            kind = number % 5
            with clients.plain(gateway.port) as connection:
                if kind == 0:
                    connection.sendall(b"no TLS at all")
                elif kind == 1:
                    connection.sendall(clients.client_hello()[:200])
                else:
                    with made.wrap_socket(connection, server_hostname="localhost") as secured:
                        clients.ask(secured, b"data" * 1_000)
                        if kind == 2:
                            secured.unwrap()
                        if kind == 3:
                            linger = b"\1\0\0\0\0\0\0\0"
                            secured.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        gateway.until_sockets(0, "no connection is left")

    def test_descriptors_and_memory(self):
        gateway = self.gateway(tcp_route(Listener(self, echo).address))
        gateway.judges_failures = False
        self.round(gateway, 300)
        descriptors, rss = gateway.descriptors(), gateway.rss_kib()
        self.round(gateway, 1_000)
        self.assertEqual(gateway.descriptors(), descriptors)
        self.assertLess(gateway.rss_kib() - rss, self.RSS_TOLERANCE_KIB)

    def test_unreachable_server(self):
        """Nor is anything kept of connections whose server was not there."""
        gateway = self.gateway(tcp_route(f"127.0.0.1:{free_port()}"))
        gateway.judges_failures = False

        def attempts(count):
            for _ in range(count):
                with clients.tls(gateway.port) as connection:
                    self.assertTrue(clients.is_ended(connection))
            gateway.until_sockets(0, "no connection is left")

        attempts(200)
        descriptors, rss = gateway.descriptors(), gateway.rss_kib()
        attempts(500)
        self.assertEqual(gateway.descriptors(), descriptors)
        self.assertLess(gateway.rss_kib() - rss, self.RSS_TOLERANCE_KIB)
