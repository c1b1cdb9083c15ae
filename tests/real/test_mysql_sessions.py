"""What goes on in a session: large results, files, compression, frames, KILL, another user; and several hops."""

import hashlib
import re
import shutil
import ssl
import threading
import zlib

from harness import databases, drivers, pki
from harness.case import free_port, tcp_route
from harness.databases import PASSWORD
from harness.gateway import ROOT, Gateway
from harness.mysql_case import (
    PLAIN,
    TLS_1_2,
    TLS_1_3,
    MysqlCase,
    client_side,
    context_of,
    enter,
    route,
    server_side,
    to_address,
)
from harness.process import run, until
from peers import mysql as protocol
from peers import ob20
from peers.mysql import Client

MIB = 1 << 20
BULK = 64 * MIB


class Session(MysqlCase):
    """TLS on both legs, unless a test says otherwise."""

    deadline_s = 120

    def open(self, database, client: str = "required", server: str = "verify-full", **changes):
        self.database = database
        self.account = next(iter(database.accounts.values()))
        made = route("test", client_side(client), server_side(database, server), **changes)
        self.proxy = self.gateway(made)
        self.target = drivers.Target("127.0.0.1", self.proxy.port, self.account, ca=database.ca)
        return self.proxy.port

    def enter(self, way: str = TLS_1_3, **options) -> Client:
        return enter(self.proxy.port, self.account, way, **options)


class Content(Session):
    def test_large_result_of_mariadb(self):
        self.check_large_result(databases.mariadb())

    def test_large_result_of_seekdb(self):
        self.check_large_result(databases.seekdb())

    def test_large_result_of_mysql(self):
        self.check_large_result(databases.mysql())

    def check_large_result(self, database):
        """64 MiB in rows of 1 MiB, no two alike."""
        self.open(database)
        rows = BULK // MIB
        union = " UNION ALL ".join(f"SELECT {number} AS number" for number in range(rows))
        sql = f"SELECT number, REPEAT(LPAD(number, 16, '.'), {MIB // 16}) FROM ({union}) AS numbers ORDER BY number"
        with self.enter() as client:
            found = client.query(sql).rows
            client.quit()
        self.assertEqual(len(found), rows)
        for number, row in enumerate(found):
            self.assertEqual(row[0], str(number))
            self.assertTrue(row[1] == f"{number:.>16}" * (MIB // 16), f"row {number}")

    def test_large_insert_of_mariadb(self):
        self.check_large_insert(databases.mariadb(), BULK)

    def test_large_insert_of_mysql(self):
        self.check_large_insert(databases.mysql(), BULK)

    def test_large_insert_of_seekdb(self):
        # Larger packets are more than a server of its default size takes in one statement.
        self.check_large_insert(databases.seekdb(), 8 * MIB, statements=8)

    def check_large_insert(self, database, length: int, statements: int = 1):
        """Random bytes, so that nothing on the way can make them smaller or mistake one part for another."""
        self.open(database)
        data = hashlib.shake_256(b"insert").digest(length // 2).hex()
        database.execute(
            "DROP TABLE IF EXISTS test.large", "CREATE TABLE test.large (id INT PRIMARY KEY, data LONGTEXT)"
        )
        with self.enter(timeout_s=90) as client:
            for number in range(statements):
                result = client.query(f"INSERT INTO test.large VALUES ({number}, '{data}')")
                self.assertEqual(result.affected, 1)
                found = client.query(f"SELECT LENGTH(data), CRC32(data) FROM test.large WHERE id = {number}").rows
                self.assertEqual(found, [(str(length), str(zlib.crc32(data.encode())))])
            back = client.query(f"SELECT data FROM test.large WHERE id = {statements - 1}").rows
            self.assertTrue(back[0][0] == data, "what came back is not what was sent")
            client.quit()
        database.execute("DROP TABLE test.large")

    def test_payloads_at_the_edge_of_a_packet(self):
        """16 MiB − 1 is the largest packet, and a payload of just that length is followed by an empty one."""
        self.open(databases.mariadb())
        with self.enter() as client:
            for length in (protocol.PAYLOAD_MAX - 1, protocol.PAYLOAD_MAX, protocol.PAYLOAD_MAX + 1):
                head, tail = b"\x03SELECT LENGTH('", b"')"
                text = b"x" * (length - len(head) - len(tail))
                found = client.query(head[1:] + text + tail)
                self.assertEqual(found.rows, [(str(len(text)),)])
            client.quit()

    def test_local_file(self):
        """The one time a client speaks in the middle of an answer; its bytes are nobody's packets."""
        database = databases.mariadb()
        self.open(database)
        database.execute("DROP TABLE IF EXISTS test.loaded", "CREATE TABLE test.loaded (word VARCHAR(20))")
        # It looks like commands, a change of user among them.
        words = b"\x11root\x00\x01\x00\n" + b"".join(b"word %07d\n" % number for number in range(200_000))
        for data, rows in ((words, 200_001), (b"", 200_001)):
            with self.enter() as client:
                client.query("LOAD DATA LOCAL INFILE 'any' INTO TABLE test.loaded", data)
                self.assertEqual(client.query("SELECT COUNT(*) FROM test.loaded").rows, [(str(rows),)])
                client.quit()
        database.execute("DROP TABLE test.loaded")

    def test_prepared_statements_and_long_data(self):
        database = databases.mariadb()
        self.open(database)
        connection = drivers.Connector().connect(self.target)
        with connection, connection.cursor(prepared=True) as cursor:
            cursor.execute("SELECT MD5(?), ?", (b"\x11" * (3 * MIB), 7))
            (row,) = cursor.fetchall()
        self.assertEqual(str(row[0]), hashlib.md5(b"\x11" * (3 * MIB)).hexdigest())

    def test_compression(self):
        """Of the client's and the server's own making, by both algorithms; what is inside passes untouched."""
        sql = f"SELECT MD5(REPEAT('compressible', {MIB})), '{'incompressible' * 5_000}'"
        expected = hashlib.md5(b"compressible" * MIB).hexdigest()
        self.open(databases.mariadb())
        found = drivers.MariadbCli().ask(self.target, sql, "--compress")
        self.assertEqual(found, [(expected, "incompressible" * 5_000)])

    def test_compression_of_mysql(self):
        driver = drivers.MysqlCli()
        driver.check()
        self.open(databases.mysql())
        for algorithm in ("zlib", "zstd"):
            with self.subTest(algorithm):
                options = (f"--compression-algorithms={algorithm}",)
                found = driver.ask(self.target, "SHOW SESSION STATUS LIKE 'Compression_algorithm'", *options)
                self.assertEqual(found, [("Compression_algorithm", algorithm)])
                found = driver.ask(self.target, f"SELECT REPEAT('x', {MIB})", *options)
                self.assertEqual(found, [("x" * MIB,)])

    def test_several_statements_at_once(self):
        self.open(databases.mariadb())
        with drivers.PyMysql().connect(self.target, client_flag=protocol.MULTI_STATEMENTS) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT 1; SELECT 2; DO SLEEP(0); SELECT 3")
            found = []
            while True:
                found += cursor.fetchall()
                if not cursor.nextset():
                    break
        self.assertEqual(found, [(1,), (2,), (3,)])


class Frames(Session):
    """OB 2.0 inside TLS: both ends check every checksum and the connection's id."""

    def check(self, client: str, server: str, *ways: str):
        self.open(databases.seekdb(), client, server)
        for way in ways:
            with self.subTest(way=way, server=server), self.enter(way, attributes=ob20.ATTRIBUTES) as session:
                ob20.framed(session)
                self.assertEqual(session.query("SELECT 'framed'").rows, [("framed",)])
                found = session.query("SELECT REPEAT('x', 1000000)").rows
                self.assertTrue(found == [("x" * 1_000_000,)])
                with self.assertRaises(protocol.ServerError):
                    session.query("SELECT nothing FROM nowhere")
                session.ping()
                self.assertGreater(session.wire.frames_received, 3)

    def test_tls_to_tls(self):
        self.check("required", "verify-full", TLS_1_2, TLS_1_3)

    def test_tls_to_plain(self):
        self.check("preferred", "off", PLAIN, TLS_1_3)

    def test_plain_to_tls(self):
        self.check("off", "verify-full", PLAIN)

    def test_passthrough(self):
        self.check("passthrough", "off", TLS_1_3)


class Commands(Session):
    def check_kill(self, database):
        self.open(database)
        with self.enter() as victim, self.enter() as killer:
            (row,) = victim.query("SELECT CONNECTION_ID()").rows
            self.assertEqual(row[0], str(victim.greeting.thread_id))
            outcome = []

            def sleep():
                try:
                    outcome.append(victim.query("SELECT SLEEP(30)"))
                except (protocol.ServerError, OSError, EOFError) as error:
                    outcome.append(error)

            sleeper = threading.Thread(target=sleep)
            sleeper.start()
            until(lambda: any("SLEEP" in str(row[7]) for row in self.processes()), "the query runs")
            killer.query(f"KILL QUERY {victim.greeting.thread_id}")
            sleeper.join(20)
            self.assertFalse(sleeper.is_alive(), "the query goes on")
            killer.query(f"KILL {victim.greeting.thread_id}")
            with self.assertRaises((protocol.ServerError, OSError, EOFError)):
                victim.query("SELECT 1")
            self.proxy.judges_failures = False
            killer.quit()

    def processes(self) -> list[tuple]:
        return [row for row in self.database.execute("SHOW FULL PROCESSLIST") if row[1] == self.account]

    def test_kill_on_mariadb(self):
        self.check_kill(databases.mariadb())

    def test_kill_on_mysql(self):
        self.check_kill(databases.mysql())

    def test_kill_on_seekdb(self):
        self.check_kill(databases.seekdb())

    def test_interrupt_of_the_mariadb_client(self):
        """Its own way to end a query: a second connection with the password that it kept."""
        self.open(databases.mariadb())
        command = drivers.MariadbCli().command(self.target)
        done = run("timeout", "--signal=INT", "--kill-after=10", "1", *command, "-e", "SELECT SLEEP(20)")
        self.assertIn(done.returncode, (0, 1, 124))
        self.proxy.judges_failures = False
        until(lambda: not self.processes(), "the query has ended")

    def check_change_of_user(self, database, server: str, way: str = TLS_1_3, **changes):
        """To another account and back, and a refusal; REQUIRE is checked again by the server."""
        self.database = database
        side = server_side(database, server, **changes)
        self.proxy = self.gateway(route("test", client_side("preferred"), side))
        account = next(iter(database.accounts.values()))
        with enter(self.proxy.port, account, way) as client:
            for user in (*database.accounts.values(), "u_none", account):
                database.forget_passwords()
                client.change_user(user, PASSWORD)
                (row,) = client.query("SELECT CURRENT_USER()").rows
                self.assertEqual(row[0].split("@")[0], user)
            if server == "off":
                with self.assertRaises((protocol.ServerError, OSError, EOFError)):
                    client.change_user("u_ssl", PASSWORD)
            else:
                client.change_user("u_ssl", PASSWORD)
                client.quit()
        with enter(self.proxy.port, account, way) as client, self.assertRaises(protocol.ServerError) as refused:
            client.change_user("u_none", "wrong")
        self.assertEqual(refused.exception.code, 1045)
        self.proxy.judges_failures = False

    def test_change_of_user_on_mariadb(self):
        for way, server in ((PLAIN, "verify-full"), (TLS_1_3, "off"), (TLS_1_3, "verify-full")):
            with self.subTest(way=way, server=server):
                self.check_change_of_user(databases.mariadb(), server, way)

    def test_change_of_user_on_seekdb(self):
        for way, server in ((TLS_1_3, "off"), (TLS_1_3, "verify-full")):
            with self.subTest(way=way, server=server):
                self.check_change_of_user(databases.seekdb(), server, way)

    def test_change_of_user_on_mysql(self):
        server = databases.mysql()
        self.check_change_of_user(server, "verify-full")
        self.check_change_of_user(server, "verify-full", PLAIN)
        self.check_change_of_user(server, "off", server_public_key=server.public_key)

    def test_a_session_that_quits_is_no_failure(self):
        """Every driver closes after COM_QUIT, and none sends a close_notify: nobody wants to read of that."""
        self.open(databases.mariadb())
        with self.enter() as client:
            client.quit()
        for driver in (drivers.MariadbCli(), drivers.PyMysql(), drivers.Connector(), drivers.Mysql2()):
            driver.check()
            driver.ask(self.target, "SELECT 1")
        self.proxy.until_sockets(0, "no connection is left")
        self.assertEqual(self.proxy.failures(), [])

    def test_idle_session(self):
        """Ended when it has been idle for as long as that; one that speaks is not."""
        self.open(databases.mariadb(), idle_timeout_s=1)
        with self.enter() as client:
            try:
                self.assertEqual(client.wire.socket.recv(100)[:0], b"")
            except (ssl.SSLError, ConnectionError):
                pass
        self.proxy.judges_failures = False
        until(lambda: self.database.sessions() == 0, "the session is gone from the server")


class Placements(MysqlCase):
    """Who is seen by whom: the server sees the identity of the last hop, and each hop that of the one before it."""

    def identity(self, who: str) -> dict:
        pair = pki.client(who)
        return {"cert": pair.cert, "key": pair.key}

    def names_of(self, port: int, way: str = TLS_1_3, identity=None) -> set[str]:
        """The accounts, by the certificate that each requires, as which one gets in."""
        found = set()
        for user in ("u_none", "u_ssl", "u_x509", "u_subject"):
            try:
                Client.connect("127.0.0.1", port, user, PASSWORD, context_of(way, identity)).quit()
                found.add(user)
            except protocol.ServerError as error:
                self.assertEqual(error.code, 1045)
        return found

    def check_driver_to_server(self, database):
        """The client's certificate ends at the gateway; the server sees the gateway's."""
        sides = {
            "nobody": server_side(database, "verify-full"),
            "bob": server_side(database, "verify-full", **self.identity("bob")),
            "alice": server_side(database, "verify-full", **self.identity("alice")),
        }
        expected = {"nobody": {"u_none", "u_ssl"}, "bob": {"u_none", "u_ssl", "u_x509"}}
        expected["alice"] = expected["bob"] | {"u_subject"}
        for who, side in sides.items():
            own = client_side("required", ca=pki.authority().cert, client_cert="optional")
            proxy = self.gateway(route("test", own, side))
            proxy.judges_failures = False
            for client in (None, pki.client("alice")):
                with self.subTest(gateway=who, client=bool(client)):
                    self.assertEqual(self.names_of(proxy.port, identity=client), expected[who])

    def test_driver_to_mariadb(self):
        self.check_driver_to_server(databases.mariadb())

    def test_driver_to_seekdb(self):
        self.check_driver_to_server(databases.seekdb())

    def test_passthrough(self):
        """Here it is the client's own certificate that the server sees."""
        made = route("test", client_side("passthrough"), server_side(databases.mariadb(), "off"))
        proxy = self.gateway(made)
        proxy.judges_failures = False
        self.assertEqual(self.names_of(proxy.port), {"u_none", "u_ssl"})
        alice = self.names_of(proxy.port, identity=pki.client("alice"))
        self.assertEqual(alice, {"u_none", "u_ssl", "u_x509", "u_subject"})

    def check_two_hops(self, database):
        """Driver, gateway, a second gateway in the place of a proxy, server: all TLS, and two show certificates."""
        inner_side = server_side(database, "verify-full", **self.identity("alice"))
        demanding = client_side("required", ca=pki.authority().cert, client_cert="required")
        inner = self.gateway(route("inner", demanding, inner_side))
        outer_side = to_address(f"127.0.0.1:{inner.port}", "verify-full", **self.identity("bob"))
        outer = self.gateway(route("outer", client_side("required"), outer_side))
        outer.judges_failures = inner.judges_failures = False
        self.assertEqual(self.names_of(outer.port), {"u_none", "u_ssl", "u_x509", "u_subject"})
        with enter(outer.port, next(iter(database.accounts.values()))) as client:
            self.assertEqual(client.query("SELECT REPEAT('x', 100000)").rows, [("x" * 100_000,)])
            client.quit()
        # It is the certificate of the first hop that lets it into the second.
        inner_side = to_address(f"127.0.0.1:{inner.port}", "verify-full")
        nobody = self.gateway(route("nobody", client_side("required"), inner_side))
        nobody.judges_failures = False
        with self.assertRaises(protocol.ServerError) as refused:
            enter(nobody.port, "u_none")
        # In TLS 1.3 a client's handshake is complete before its certificate is judged.
        self.assertIn(refused.exception.code, (2013, 2026))
        event = inner.wait_event(route="inner", message="handshake failed")
        self.assertIn("certificate", event["reason"].lower())

    def test_two_hops_to_mariadb(self):
        self.check_two_hops(databases.mariadb())

    def test_two_hops_to_seekdb(self):
        self.check_two_hops(databases.seekdb())

    def test_proxy_to_seekdb(self):
        """What a proxy sends reaches the server: its attributes, and its frames after the login."""
        own = client_side("preferred", trusted_proxies=["127.0.0.1/32"])
        side = server_side(databases.seekdb(), "verify-full")
        proxy = self.gateway(route("test", own, side))
        attributes = ob20.ATTRIBUTES | {"__mysql_client_type": "__ob_proxy", "__client_ip": "10.1.2.3"}
        attributes["__proxy_scramble"] = "\0" * 20
        for way in (PLAIN, TLS_1_3):
            with self.subTest(way), enter(proxy.port, "native", way, attributes=attributes) as session:
                ob20.framed(session)
                self.assertEqual(session.query("SELECT 'from a proxy'").rows, [("from a proxy",)])


class Guide(MysqlCase):
    """docs/gateway.md, "Placements": its configurations, but for the ports, as they are printed."""

    def test_configurations_as_printed(self):
        guide = (ROOT / "docs/gateway.md").read_text().partition("### Placements")[2]
        one, two = re.findall(r"^```toml\n(.*?)^```", guide, re.DOTALL | re.MULTILINE)[:2]
        database = databases.mariadb()
        (self.scratch / "certs").mkdir()
        for name, pair in {"server": pki.server(), "client": pki.client("alice")}.items():
            shutil.copy(pair.cert, self.scratch / f"certs/{name}-cert.pem")
            shutil.copy(pair.key, self.scratch / f"certs/{name}-key.pem")
        shutil.copy(pki.authority().cert, self.scratch / "certs/ca.pem")
        for text, port in ((one, 3307), (two, 2883)):
            with self.subTest(port):
                front = free_port()
                proxy = Gateway(self.scratch, [tcp_route("", f"127.0.0.1:{front}")])
                for printed, used in ((port, front), (2884, free_port()), (3306, database.port)):
                    text = text.replace(f"127.0.0.1:{printed}", f"127.0.0.1:{used}")
                proxy.config.write_text(text)
                self.start(proxy)
                # The account requires the subject of the certificate that the gateway shows.
                with Client.connect("127.0.0.1", front, "u_subject", PASSWORD, context_of(TLS_1_3)) as client:
                    ((_, version),) = client.query("SHOW STATUS LIKE 'Ssl_version'").rows
                    self.assertEqual(version, "TLSv1.3")
                    client.quit()
                proxy.stop_and_judge()
