"""Much at once on MySQL routes, and what happens to it when something ends: the gateway, the server, a mode."""

import os
import resource
import signal
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

from harness import clients, databases, pki, sysbench
from harness.databases import PASSWORD
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
from harness.process import listens, until
from peers.mysql import Client, ServerError

# `make soak` takes the time for it.
SECONDS = 30 if os.environ.get("SOAK") == "1" else 5
CONNECTIONS = 2_000

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
                self.errors.append(error)


def is_an_end(error: Exception) -> bool:
    if isinstance(error, ServerError):
        return error.code in ENDS
    return isinstance(error, (ConnectionError, EOFError, ssl.SSLError))


class Sysbench(MysqlCase):
    needs = ("sysbench",)
    deadline_s = SECONDS + 90

    def check(self, database):
        """64 threads, and not one error."""
        made = route("test", client_side("required"), server_side(database, "verify-full"))
        proxy = self.gateway(made, workers=0)
        found = sysbench.point_select(database, "127.0.0.1", proxy.port, True, SECONDS)
        self.assertEqual((found.errors, found.reconnects), (0, 0))
        self.assertGreater(found.queries, SECONDS * 500)
        until(lambda: database.sessions() == 0, "no session is left at the server")
        until(lambda: proxy.sockets() == 0, "no connection is left")

    def test_mariadb(self):
        self.check(databases.mariadb())

    def test_seekdb(self):
        self.check(databases.seekdb())


class Crowd(MysqlCase):
    deadline_s = 180
    RSS_TOLERANCE_KIB = 48 * 1_024

    def setUp(self):
        super().setUp()
        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if allowed < 2 * CONNECTIONS + 500:
            self.skipTest(f"{2 * CONNECTIONS + 500} descriptors are needed, {allowed} are allowed")

    def test_2000_connections(self):
        """All open at once, each with a session of its own at the server; then all gone, from everywhere."""
        database = databases.mariadb()
        made = route("test", client_side("required"), server_side(database, "verify-full"))
        proxy = self.gateway(made, workers=0)
        enter(proxy.port, "native").quit()
        until(lambda: proxy.sockets() == 0, "the first connection is gone")
        descriptors, rss = proxy.descriptors(), proxy.rss_kib()
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
        until(lambda: proxy.sockets() == 0, "no connection is left")
        until(lambda: database.sessions() == 0, "no session is left at the server")
        self.assertEqual(proxy.descriptors(), descriptors)
        self.assertLess(proxy.rss_kib() - rss, self.RSS_TOLERANCE_KIB)


class Killed(MysqlCase):
    deadline_s = 150

    def start_load(self, database):
        made = route("test", client_side("required"), server_side(database, "verify-full"))
        proxy = self.gateway(made)
        proxy.judges_failures = False
        enter(proxy.port, next(iter(database.accounts.values()))).quit()
        until(lambda: proxy.sockets() == 0, "the first connection is gone")
        self.descriptors = proxy.descriptors()
        load = Load(proxy.port, database)
        load.until_more()
        return proxy, load

    def check_after(self, database, proxy, load):
        load.until_more()
        load.stop()
        strange = [error for error in load.errors if not is_an_end(error)]
        self.assertEqual(strange, [])
        self.assertTrue(load.errors, "no client noticed anything")
        until(lambda: proxy.sockets() == 0, "no connection is left")
        until(lambda: database.sessions() == 0, "no session is left at the server")
        self.assertEqual(proxy.descriptors(), self.descriptors)

    @staticmethod
    def revive(database):
        """Others need it, whatever became of this test."""
        if not database.process.is_running():
            database.start()

    def test_gateway_before_mariadb(self):
        self.check_gateway(databases.mariadb())

    def test_gateway_before_seekdb(self):
        self.check_gateway(databases.seekdb())

    def check_gateway(self, database):
        proxy, load = self.start_load(database)
        proxy.kill()
        until(lambda: len(load.errors) > 8, "clients are told")
        proxy.start()
        self.check_after(database, proxy, load)

    def test_mariadb(self):
        database = databases.mariadb()
        proxy, load = self.start_load(database)
        self.addCleanup(self.revive, database)
        database.process.kill()
        until(lambda: any(isinstance(error, ServerError) for error in load.errors), "an ERR says so")
        self.assertIn("unreachable", str(proxy.events(level="WARN")))
        database.start()
        self.check_after(database, proxy, load)

    def test_seekdb(self):
        database = databases.seekdb()
        proxy, load = self.start_load(database)
        self.addCleanup(self.revive, database)
        database.process.terminate(60)
        until(lambda: any(isinstance(error, ServerError) for error in load.errors), "an ERR says so")
        database.start()
        self.check_after(database, proxy, load)


class Reload(MysqlCase):
    deadline_s = 90

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


class Drain(MysqlCase):
    """SIGTERM ends sessions at a safe moment: no command in flight, and no transaction open."""

    def open(self, drain_timeout_s: int = 30):
        self.database = databases.mariadb()
        made = route("test", client_side("required"), server_side(self.database, "verify-full"))
        self.proxy = self.gateway(made, drain_timeout_s=drain_timeout_s)
        return self.proxy

    def terminate(self):
        self.proxy.signal(signal.SIGTERM)
        until(lambda: not listens(self.proxy.port), "it accepts no more")

    def start_query(self, session: Client, sql: str) -> tuple[threading.Thread, list]:
        found = []

        def ask():
            try:
                found.append(session.query(sql).rows)
            except (OSError, EOFError, ServerError) as error:
                found.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        until(lambda: "SLEEP" in str(self.database.execute("SHOW FULL PROCESSLIST")), "the query runs")
        return thread, found

    def test_a_command_ends_first(self):
        proxy = self.open()
        busy, idle = enter(proxy.port, "native"), enter(proxy.port, "native")
        thread, found = self.start_query(busy, "SELECT 'done' FROM (SELECT SLEEP(2)) AS slept")
        self.terminate()
        self.assertTrue(clients.is_ended(idle.wire.socket), "the idle session goes on")
        self.assertTrue(thread.is_alive(), "the command was not waited for")
        thread.join(20)
        self.assertEqual(found, [[("done",)]])
        self.assertEqual(proxy.wait(), 0)
        until(lambda: self.database.sessions() == 0, "no session is left at the server")

    def test_a_transaction_ends_first(self):
        proxy = self.open()
        session = enter(proxy.port, "native")
        session.query("BEGIN")
        self.terminate()
        for _ in range(3):
            self.assertEqual(session.query("SELECT 1").rows, [("1",)])
        session.query("COMMIT")
        self.assertTrue(clients.is_ended(session.wire.socket), "the session goes on")
        self.assertEqual(proxy.wait(), 0)

    def test_the_timeout(self):
        proxy = self.open(drain_timeout_s=1)
        proxy.judges_failures = False
        thread, found = self.start_query(enter(proxy.port, "native"), "SELECT SLEEP(20)")
        self.terminate()
        self.assertEqual(proxy.wait(), 0)
        thread.join(10)
        self.assertFalse(thread.is_alive(), "the client hangs")
        self.assertIsInstance(found[0], Exception)
        self.end_queries()

    def test_a_second_signal(self):
        proxy = self.open()
        proxy.judges_failures = False
        thread, found = self.start_query(enter(proxy.port, "native"), "SELECT SLEEP(20)")
        self.terminate()
        self.assertTrue(proxy.is_running())
        proxy.signal(signal.SIGTERM)
        proxy.wait(10)
        thread.join(10)
        self.assertFalse(thread.is_alive(), "the client hangs")
        self.end_queries()

    def end_queries(self):
        """The server does not notice that its client is gone before the query ends."""
        for row in self.database.execute("SHOW FULL PROCESSLIST"):
            if "SLEEP" in str(row[7]) and row[1] == "native":
                self.database.execute(f"KILL {row[0]}")
