"""Sessions of MySQL that a reload ends since their route has changed, each when it is idle."""

import subprocess

from harness import clients, databases, drivers
from harness.mysql_case import PLAIN, TLS_1_3, MysqlCase, client_side, enter, name, port_of, read_whole, route, server_side
from harness.process import until
from peers.mysql import Client, parse_error

SERVER_SHUTDOWN = 1053
MODE = "SELECT @@hostname IS NOT NULL"


class Drained(MysqlCase):
    """Two routes to the same server, of which reloads change the first."""

    def open(self, client: str = "preferred", **settings) -> None:
        self.database = databases.mariadb()
        self.account = next(iter(self.database.accounts.values()))
        server = server_side(self.database, "off")
        routes = [route("test", client_side(client), server), route("other", client_side("preferred"), server)]
        self.proxy = self.gateway(*routes, **settings)
        self.proxy.tolerated = set()

    def change(self, client: str) -> None:
        """The first route's mode towards clients, in service when this returns."""
        self.proxy.routes[0]["client"] = client_side(client)
        self.proxy.write_config()
        answer = self.proxy.reload()
        self.assertEqual((answer["message"], answer["routes_changed"]), ("reloaded", 1))

    def enter(self, way: str = PLAIN, number: int = 0) -> Client:
        return enter(port_of(self.proxy.routes[number]), self.account, way)

    def told_of_shutdown(self, session: Client) -> None:
        session.wire.sequence = 0
        error = parse_error(session.wire.read())
        self.assertEqual((error.code, error.state), (SERVER_SHUTDOWN, "08S01"))
        self.assertEqual(read_whole(session.wire.socket), b"")
        session.close()

    def lives(self, session: Client) -> None:
        self.assertEqual(session.query("SELECT 'on'").rows, [("on",)])

    def test_what_is_idle_ends_and_what_is_not_ends_later(self):
        self.open(reload_drain_s=600)
        self.database.execute("CREATE OR REPLACE TABLE test.drained (a INT)")
        idle, busy, other = self.enter(), self.enter(TLS_1_3), self.enter(number=1)
        busy.query("BEGIN")
        busy.query("INSERT INTO test.drained VALUES (1)")
        self.change("required")
        self.told_of_shutdown(idle)
        busy.query("INSERT INTO test.drained VALUES (2)")
        busy.query("COMMIT")
        self.told_of_shutdown(busy)
        self.assertEqual(self.database.execute("SELECT SUM(a) FROM test.drained"), [("3",)])
        self.lives(other)
        other.quit()
        self.enter(TLS_1_3).quit()

    def test_what_is_never_idle_ends_at_the_deadline(self):
        self.open(reload_drain_s=1)
        session, other = self.enter(), self.enter(number=1)
        peer = name(session)
        session.query("BEGIN")
        self.change("required")
        self.assertTrue(clients.is_ended(session.wire.socket))
        failure = self.proxy.failed(peer, "timeout", "session failed")
        self.assertIn("reload_drain_s", failure["reason"])
        self.lives(other)
        other.quit()

    def test_what_did_not_change_or_failed_ends_nothing(self):
        self.open(reload_drain_s=1)
        session = self.enter()
        session.query("BEGIN")
        self.assertEqual(self.proxy.reload()["routes_changed"], 0)
        good = self.proxy.config.read_text()
        self.proxy.config.write_text(good.replace('"required"', '"preferred"') + "half an edi")
        self.assertEqual(self.proxy.reload()["message"], "reload failed")
        # For longer than a session could live on if one of the two had ended it.
        self.assertEqual(session.query("SELECT SLEEP(1.5)").rows, [("0",)])
        session.query("COMMIT")
        self.lives(session)
        session.quit()

    def test_the_mariadb_client_comes_back_in_tls(self):
        """It takes TLS where that is offered, and had come when it was not."""
        driver = drivers.MariadbCli()
        driver.check()
        self.open("off", reload_drain_s=600)
        target = drivers.Target("127.0.0.1", self.proxy.port, self.account)
        command = [str(word) for word in driver.command(target) if word != "--skip-ssl"]
        command += ["--ssl", f"--ssl-ca={self.database.ca}", "--unbuffered", "--skip-column-names", "--force"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with subprocess.Popen(command, **pipes) as program:

            def cipher() -> str:
                # What it says itself it passes on behind the rows of a query.
                program.stdin.write(b"status\nSELECT 'over';\n")
                program.stdin.flush()
                lines = list(iter(program.stdout.readline, b"over\n"))
                return next(line for line in lines if line.startswith(b"SSL:")).split(b":", 1)[1].strip().decode()

            self.assertEqual(cipher(), "Not in use")
            self.change("required")
            until(lambda: self.database.sessions() == 0, "the session has ended at the server")
            # It is told of the end, and goes on to connect anew as it did before.
            program.stdin.write(b"SELECT 1;\nconnect\n")
            self.assertIn("Cipher in use", cipher())
            program.communicate(b"exit\n", 20)

    def test_a_pooled_connection_comes_back_in_tls(self):
        """Its pool was told to use TLS, and had connections without."""
        drivers.Connector().check()
        import mysql.connector.pooling as pooling

        self.open(reload_drain_s=600)
        server = {"host": "127.0.0.1", "port": self.proxy.port, "user": self.account, "password": databases.PASSWORD}
        server |= {"use_pure": True, "connection_timeout": 20}
        tls = {"ssl_disabled": False, "ssl_ca": str(self.database.ca), "ssl_verify_cert": True}
        pool = pooling.MySQLConnectionPool(pool_name="reload", pool_size=2, ssl_disabled=True, **server)

        def is_encrypted() -> list[bool]:
            borrowed = [pool.get_connection() for _ in range(2)]
            found = []
            for connection in borrowed:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1")
                    self.assertEqual(cursor.fetchall(), [(1,)])
                found.append(connection._cnx._socket is not None and "SSL" in type(connection._cnx._socket.sock).__name__)
                connection.close()
            return found

        self.assertEqual(is_encrypted(), [False, False])
        self.change("required")
        until(lambda: self.database.sessions() == 0, "the sessions have ended at the server")
        pool.set_config(**server, **tls)
        self.assertEqual(is_encrypted(), [True, True])
