"""How sessions of MySQL end: in a drain, at a second SIGTERM, and not in a reload."""

import signal
import subprocess
import threading

from harness import clients, databases, drivers
from harness.databases import Database
from harness.mysql_case import (
    PLAIN,
    TLS_1_2,
    TLS_1_3,
    MysqlCase,
    client_side,
    enter,
    read_whole,
    route,
    server_side,
)
from harness.process import listens, until
from peers.mysql import Client, ServerError, parse_error

SERVER_SHUTDOWN = 1053
SECURE_TRANSPORT_REQUIRED = 3159


class Ending(MysqlCase):
    """Every failed connection is one that the test has to expect: none is tolerated."""

    database: Database

    def open(self, database: Database, server: str = "verify-full", **settings) -> int:
        self.database = database
        self.account = next(iter(database.accounts.values()))
        self.proxy = self.gateway(route("test", client_side("preferred"), server_side(database, server)), **settings)
        self.proxy.tolerated = set()
        return self.proxy.port

    def enter(self, way: str = TLS_1_3) -> Client:
        return enter(self.proxy.port, self.account, way)

    def drain(self) -> None:
        self.proxy.signal(signal.SIGTERM)
        self.proxy.wait_event(message="draining")

    def told_of_shutdown(self, session: Client) -> None:
        """What the client reads now is the error of a server that is shut down, and then the end."""
        session.wire.sequence = 0
        error = parse_error(session.wire.read())
        self.assertEqual((error.code, error.state), (SERVER_SHUTDOWN, "08S01"))
        self.assertEqual(read_whole(session.wire.socket), b"")
        session.close()

    def aborted(self) -> str:
        """How many clients the server thinks to have left without a word."""
        return self.database.execute("SHOW GLOBAL STATUS LIKE 'Aborted_clients'")[0][1]


class Drain(Ending):
    def check_idle(self, database: Database):
        for way, server in ((PLAIN, "off"), (TLS_1_2, "verify-full"), (TLS_1_3, "off")):
            with self.subTest(way=way, server=server):
                self.open(database, server, drain_timeout_s=600)
                sessions = [self.enter(way) for _ in range(5)]
                for session in sessions:
                    session.query("SELECT 1")
                before = self.aborted()
                self.drain()
                for session in sessions:
                    self.told_of_shutdown(session)
                self.assertEqual(self.proxy.wait(), 0)
                self.proxy.judge()
                until(lambda: database.sessions() == 0, "no session is left at the server")
                self.assertEqual(self.aborted(), before, "the server was told")

    def test_idle_on_mariadb(self):
        self.check_idle(databases.mariadb())

    def test_idle_on_mysql(self):
        self.check_idle(databases.mysql())

    def test_a_command_is_answered_first(self):
        self.open(databases.mariadb(), drain_timeout_s=600)
        session = self.enter()
        found = []
        asking = threading.Thread(target=lambda: found.extend(session.query("SELECT SLEEP(1), 'slept'").rows))
        asking.start()
        until(lambda: any("SLEEP" in str(row[7]) for row in self.processes()), "the query runs")
        self.drain()
        asking.join(20)
        self.assertEqual(found, [("0", "slept")])
        self.told_of_shutdown(session)
        self.assertEqual(self.proxy.wait(), 0)

    def test_a_transaction_is_completed_first(self):
        self.open(databases.mariadb(), drain_timeout_s=600)
        self.database.execute("CREATE OR REPLACE TABLE test.drained (a INT)")
        session, other = self.enter(), self.enter()
        session.query("BEGIN")
        session.query("INSERT INTO test.drained VALUES (1)")
        self.drain()
        # The other one is idle: the drain has come to the sessions.
        self.told_of_shutdown(other)
        session.query("INSERT INTO test.drained VALUES (2)")
        session.query("COMMIT")
        self.told_of_shutdown(session)
        self.assertEqual(self.proxy.wait(), 0)
        self.assertEqual(self.database.execute("SELECT SUM(a) FROM test.drained"), [("3",)])
        self.database.execute("DROP TABLE test.drained")

    def test_a_transaction_that_goes_on_is_cut(self):
        self.open(databases.mariadb(), drain_timeout_s=1)
        session = self.enter()
        session.query("BEGIN")
        self.drain()
        self.assertTrue(clients.is_ended(session.wire.socket))
        self.proxy.claimed(message="drain timed out")
        self.assertEqual(self.proxy.wait(), 0)
        self.proxy.judge()

    def test_a_second_sigterm_cuts_it_at_once(self):
        self.open(databases.mariadb(), drain_timeout_s=600)
        session = self.enter()
        session.query("BEGIN")
        self.drain()
        self.assertTrue(listens(self.proxy.port) or self.proxy.is_running())
        self.proxy.signal(signal.SIGTERM)
        self.assertTrue(clients.is_ended(session.wire.socket))
        self.proxy.claimed(message="ending at once")
        self.assertEqual(self.proxy.wait(), 0)

    def check_client(self, driver: drivers.Driver, *options):
        """A program that waits for its next line is told when it asks, and says so."""
        driver.check()
        port = self.open(databases.mariadb(), drain_timeout_s=600)
        target = drivers.Target("127.0.0.1", port, self.account, ca=self.database.ca)
        command = [*driver.command(target), *options, "--unbuffered", "--skip-column-names"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen([str(word) for word in command], **pipes) as program:
            program.stdin.write(b"SELECT 'before';\n")
            program.stdin.flush()
            self.assertEqual(program.stdout.readline(), b"before\n")
            self.drain()
            until(lambda: self.database.sessions() == 0, "the session has ended at the server")
            _, said = program.communicate(b"SELECT 'after';\n", 20)
        self.assertRegex(said.decode(), r"ERROR 1053 \(08S01\).*Server shutdown in progress")
        self.assertEqual(self.proxy.wait(), 0)
        self.proxy.judge()

    def test_the_mariadb_client_is_told(self):
        self.check_client(drivers.MariadbCli())

    def test_the_mysql_client_is_told(self):
        self.check_client(drivers.MysqlCli())

    def test_the_mariadb_client_is_told_in_compressed_frames(self):
        self.check_client(drivers.MariadbCli(), "--compress")

    def processes(self) -> list[tuple]:
        return self.database.execute("SHOW FULL PROCESSLIST")


class Reload(Ending):
    def test_from_off_to_preferred_to_required(self):
        """Every session follows the mode that was in service when it came, to its end."""
        port = self.open(databases.mariadb(), "off")
        sessions = []
        for mode, ways in (("off", (PLAIN,)), ("preferred", (PLAIN, TLS_1_3)), ("required", (TLS_1_3,))):
            self.proxy.routes[0]["client"] = client_side(mode)
            self.proxy.write_config()
            self.assertEqual(self.proxy.reload()["message"], "reloaded")
            sessions += [self.enter(way) for way in ways]
            for session in sessions:
                self.assertEqual(session.query("SELECT 'on'").rows, [("on",)])
        with self.assertRaises(ServerError) as refused:
            enter(port, self.account, PLAIN)
        self.assertEqual(refused.exception.code, SECURE_TRANSPORT_REQUIRED)
        self.proxy.claimed(level="WARN", message="handshake failed")
        for session in sessions:
            session.quit()
