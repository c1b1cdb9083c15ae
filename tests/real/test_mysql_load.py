"""Much at once on MySQL routes, and what happens to it when something ends: the gateway, the server, a mode."""

import os
import resource
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

from harness import databases, pki, sysbench, tcp_table
from harness.case import free_port
from harness.databases import PASSWORD
from harness.metrics import Metrics
from harness.mysql_case import (
    PLAIN,
    TLS_1_3,
    MysqlCase,
    client_side,
    enter,
    greeted,
    route,
    server_side,
)
from harness.process import until
from peers.mysql import Client, ServerError

# `make soak` takes longer.
SECONDS = 300 if os.environ.get("SOAK") == "1" else 30
CONNECTIONS = 2_000

# glibc's heap grows by holes between buffers of many sizes, by as much as a small leak: buffers get pages of their own.
RETURNING_MEMORY = ("env", "MALLOC_MMAP_THRESHOLD_=8192")

# What a client may be told where an end dies: unreachable, lost, in the middle of its TLS, shutting down.
# 8001 is what seekdb says while it starts.
ENDS = {2003, 2006, 2013, 2026, 1053, 1152, 1158, 1184, 1927, 8001}


class Load:
    """Threads that log in, ask a few times and leave, over and over."""

    def __init__(self, port: int, database, way: str = TLS_1_3, clients_count: int = 8):
        sysbench.prepare(database)
        self.port = port
        self.account = next(iter(database.accounts.values()))
        self.queries = 0
        self.errors: list[Exception] = []
        self._context = None if way == PLAIN else pki.context()
        self._is_over = False
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients_count)]
        for thread in self._threads:
            thread.start()

    def until_more(self, count: int = 200) -> None:
        reached = self.queries
        until(lambda: self.queries >= reached + count, "the load goes on", patience_s=40)

    def stop(self) -> None:
        """Every thread ends: none hangs in a connection that nobody answers."""
        self._is_over = True
        for thread in self._threads:
            thread.join(25)
            assert not thread.is_alive(), "a client hangs"

    def _run(self) -> None:
        number = 0
        while not self._is_over:
            try:
                with Client.connect("127.0.0.1", self.port, self.account, PASSWORD, self._context) as client:
                    for _ in range(20):
                        number = number % sysbench.ROWS + 1
                        found = client.query(f"SELECT k FROM sbtest.sbtest1 WHERE id = {number}").rows
                        if found != [(str(number),)]:
                            raise AssertionError(f"{found} instead of {number}")
                        self.queries += 1
                    client.quit()
            except Exception as error:
                # Its frames would keep the whole connection, and an outage has thousands of them.
                self.errors.append(error.with_traceback(None))


def is_an_end(error: Exception) -> bool:
    if isinstance(error, ServerError):
        return error.code in ENDS
    return isinstance(error, (ConnectionError, EOFError, ssl.SSLError))


class Sysbench(MysqlCase):
    needs = ("sysbench",)
    deadline_s = SECONDS + 90
    runs_alone = True

    def check(self, database, seconds: int):
        """64 threads, and not one error."""
        made = route("test", client_side("required"), server_side(database, "verify-full"))
        proxy = self.gateway(made, workers=0)
        found = sysbench.point_select(database, "127.0.0.1", proxy.port, True, seconds)
        self.assertEqual((found.errors, found.reconnects), (0, 0))
        self.assertGreater(found.queries, seconds * 500)
        until(lambda: database.sessions() == 0, "no session is left at the server")
        proxy.until_sockets(0, "no connection is left")

    def test_mariadb(self):
        # At length on the back end of choice.
        self.check(databases.mariadb(), SECONDS if self.variant.backend == "uring" else SECONDS // 3)

    def test_seekdb(self):
        self.check(databases.seekdb(), SECONDS // 3)


class Crowd(MysqlCase):
    deadline_s = 180
    runs_alone = True
    # What a second crowd may add to what the first left: a KiB for each connection of it.
    RSS_TOLERANCE_KIB = 2 * 1_024

    def setUp(self):
        super().setUp()
        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if allowed < 2 * CONNECTIONS + 500:
            self.skipTest(f"{2 * CONNECTIONS + 500} descriptors are needed, {allowed} are allowed")

    def test_2000_connections(self):
        """All open at once, each with a session of its own at the server; then all gone, from everywhere; and again."""
        database = databases.mariadb()
        made = route("test", client_side("required"), server_side(database, "verify-full"))
        proxy = self.gateway(made, workers=0, launcher=RETURNING_MEMORY)
        descriptors, rss_kib = self.after_a_crowd(proxy, database)
        added_kib = []
        # Tables grow once, where a worker gets more of a crowd than of those before; what leaks grows each time.
        while not added_kib or (added_kib[-1] >= self.RSS_TOLERANCE_KIB and len(added_kib) < 3):
            again = self.after_a_crowd(proxy, database)
            self.assertEqual(again[0], descriptors)
            added_kib.append(again[1] - rss_kib)
            rss_kib = again[1]
        self.assertLess(added_kib[-1], self.RSS_TOLERANCE_KIB, added_kib)

    def after_a_crowd(self, proxy, database) -> tuple[int, int]:
        """Descriptors and memory of the gateway, in KiB, once a crowd has come and gone."""
        context = pki.context()

        def come(_):
            return Client.connect("127.0.0.1", proxy.port, "native", PASSWORD, context, timeout_s=60)

        def speak(client):
            return client.query("SELECT CONNECTION_ID()").rows[0][0]

        with ThreadPoolExecutor(32) as pool:
            crowd = list(pool.map(come, range(CONNECTIONS)))
            self.assertEqual(database.sessions(), CONNECTIONS)
            for _ in range(2):
                found = list(pool.map(speak, crowd))
                self.assertEqual(found, [str(client.greeting.thread_id) for client in crowd])
            list(pool.map(Client.quit, crowd))
        proxy.until_sockets(0, "no connection is left")
        until(lambda: database.sessions() == 0, "no session is left at the server")
        return proxy.descriptors(), proxy.rss_kib()


class Killed(MysqlCase):
    """Under load: clients see errors, none hangs, and nothing is left when they have gone."""

    deadline_s = 150
    runs_alone = True
    # What a second outage may add to what the first left.
    RSS_TOLERANCE_KIB = 1_024

    def start_gateway(self, database):
        made = route("test", client_side("required"), server_side(database, "verify-full"))
        # Its status says in what phase a session is that is left at the end.
        address = f"127.0.0.1:{free_port()}"
        proxy = self.gateway(made, launcher=RETURNING_MEMORY, metrics=address)
        proxy.judges_failures = False
        # Once it has answered, it has all the descriptors that it keeps.
        Metrics(address).get("/healthz")
        until(lambda: not tcp_table.connections_of([address]), "its connection is closed")
        self.descriptors = proxy.descriptors()
        return proxy

    def start_load(self, database, proxy) -> Load:
        load = Load(proxy.port, database)
        load.until_more()
        return load

    def stop_load(self, database, proxy, load: Load) -> None:
        load.until_more()
        load.stop()
        strange = [error for error in load.errors if not is_an_end(error)]
        self.assertEqual(strange, [])
        self.assertTrue(load.errors, "no client noticed anything")
        proxy.until_sockets(0, "no connection is left")
        until(lambda: database.sessions() == 0, "no session is left at the server")
        proxy.until_descriptors(self.descriptors, "no descriptor is left")

    def check_gateway(self, database):
        proxy = self.start_gateway(database)
        load = self.start_load(database, proxy)
        proxy.kill()
        until(lambda: len(load.errors) > 8, "clients are told")
        proxy.start()
        self.stop_load(database, proxy, load)

    def test_gateway_before_mariadb(self):
        self.check_gateway(databases.mariadb())

    def test_gateway_before_seekdb(self):
        self.check_gateway(databases.seekdb())

    def check_server(self, database, end):
        proxy = self.start_gateway(database)
        self.addCleanup(self.revive, database)
        left_kib = [self.outage(database, proxy, end) for _ in range(2)]
        self.assertLess(left_kib[1] - left_kib[0], self.RSS_TOLERANCE_KIB)

    def outage(self, database, proxy, end) -> int:
        """The memory of the gateway when it is over, in KiB."""
        load = self.start_load(database, proxy)
        end(database.process)
        until(lambda: any(isinstance(error, ServerError) for error in load.errors), "an ERR says so")
        proxy.wait_event(level="WARN", message="server unreachable")
        database.start()
        self.stop_load(database, proxy, load)
        return proxy.rss_kib()

    @staticmethod
    def revive(database):
        """Others need it, whatever became of this test."""
        if not database.process.is_running():
            database.start()

    def test_mariadb(self):
        self.check_server(databases.mariadb(), lambda process: process.kill())

    def test_seekdb(self):
        self.check_server(databases.seekdb(), lambda process: process.terminate(60))


class Reload(MysqlCase):
    deadline_s = 90
    runs_alone = True

    def test_off_preferred_required_under_load(self):
        """Sessions that exist live on; every new one follows the new mode."""
        database = databases.mariadb()
        proxy = self.gateway(route("test", client_side("off"), server_side(database, "verify-full")))
        proxy.judges_failures = False
        held = [enter(proxy.port, "native", PLAIN)]
        plain = Load(proxy.port, database, PLAIN, clients_count=4)
        plain.until_more()

        self.switch(proxy, "preferred")
        held.append(enter(proxy.port, "native", TLS_1_3))
        held.append(enter(proxy.port, "native", PLAIN))
        encrypted = Load(proxy.port, database, TLS_1_3, clients_count=4)
        encrypted.until_more()
        plain.until_more()
        self.assertEqual((plain.errors, encrypted.errors), ([], []))

        self.switch(proxy, "required")
        self.refused(3159, "HY000", lambda: enter(proxy.port, "native", PLAIN))
        encrypted.until_more()
        until(lambda: plain.errors, "new plain clients are refused")
        plain.stop()
        encrypted.stop()
        self.assertEqual(encrypted.errors, [])
        codes = {error.code if isinstance(error, ServerError) else error for error in plain.errors}
        self.assertEqual(codes, {3159})
        for session in held:
            self.assertEqual(session.query("SELECT 'still here'").rows, [("still here",)])
            session.quit()

        self.switch(proxy, "off")
        with greeted(proxy.port) as client:
            self.assertFalse(client.greeting.capabilities & 1 << 11, "TLS is offered")

    def switch(self, proxy, tls: str):
        proxy.routes[0]["client"] = client_side(tls)
        proxy.write_config()
        self.assertEqual(proxy.reload()["message"], "reloaded")

    def test_server_side(self):
        database = databases.mariadb()
        proxy = self.gateway(route("test", client_side("required"), server_side(database, "off")))
        proxy.judges_failures = False
        with enter(proxy.port, "native") as before:
            self.refused(1045, "28000", lambda: enter(proxy.port, "u_ssl"))
            proxy.routes[0]["server"] = server_side(database, "verify-full")
            proxy.write_config()
            self.assertEqual(proxy.reload()["message"], "reloaded")
            enter(proxy.port, "u_ssl").quit()
            self.assertEqual(before.query("SELECT 1").rows, [("1",)])
