"""MySQL's upgrade to TLS through the C ABI: a C client at real servers, a real client at a C server."""

import os
import socket
import subprocess

from harness import certs, databases
from harness.databases import PASSWORD
from harness.process import run
from peers import mysql as protocol
from test_guide import GUIDE, blocks
from toolchain import EXAMPLES, ROOT, SANITIZERS, VALGRIND, CCase, compiled

PING = EXAMPLES / "mysql_ping.c"
SERVER = ROOT / "tests/c/programs/mysql_server.c"


class Ping(CCase):
    """mysql_ping logs in and asks; what it cannot do it says."""

    deadline_s = 300
    needs = ("valgrind",)

    def ping(self, database, user: str, password: str = PASSWORD, ca=None, tool=SANITIZERS):
        command = tool.command(PING, database.host, database.port, user, ca or database.ca)
        return run(*command, env=tool.environment() | {"MYSQL_PWD": password}, timeout_s=60)

    def check_answer(self, database, *user, tool=SANITIZERS):
        done = self.ping(database, *user, tool=tool)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("SELECT 6 * 7 = 42\n", done.stdout)

    def check_accounts(self, database, user: str):
        # Where the server caches what it learns, the second login is a shorter one.
        database.forget_passwords()
        self.check_answer(database, user)
        self.check_answer(database, user)
        self.check_answer(database, "empty", "", tool=VALGRIND)
        refused = self.ping(database, user, "wrong")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("the server says: 1045 Access denied for user", refused.stderr)

    def test_mariadb(self):
        self.check_accounts(databases.mariadb(), "native")

    def test_mysql(self):
        database = databases.mysql()
        self.check_accounts(database, database.accounts["caching_sha2_password"])

    def test_seekdb(self):
        database = databases.seekdb()
        self.check_accounts(database, database.accounts["mysql_native_password"])

    def test_the_guides_client(self):
        source = self.scratch / "maria.c"
        source.write_text(next(block for _, block in blocks(GUIDE) if "sealwire_conn_mysql_connect(" in block))
        self.assertLess(len(source.read_text().splitlines()), 100)
        database = databases.mariadb()

        def ask(password: str, ca):
            return run(compiled(source), database.host, database.port, ca, "native", password, timeout_s=60)

        done = ask(PASSWORD, database.ca)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"MariaDB.*: 42\n$")
        done = ask("wrong", database.ca)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("Access denied for user 'native'", done.stderr)
        done = ask(PASSWORD, certs.authority("stranger").cert)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("TLS: SEALWIRE_ERR_CERT_UNKNOWN_ISSUER: ", done.stderr)

    def test_a_server_that_is_not_believed(self):
        done = self.ping(databases.mariadb(), "native", ca=certs.authority("stranger").cert)
        self.assertEqual(done.returncode, 1)
        self.assertIn("begin TLS: SEALWIRE_ERR_CERT_UNKNOWN_ISSUER: ", done.stderr)

    def test_a_server_without_tls(self):
        done = self.ping(databases.plain_mariadb(), "native", ca=certs.authority().cert)
        self.assertEqual(done.returncode, 1)
        self.assertIn("begin TLS: SEALWIRE_ERR_NOT_TLS: the server offers no TLS", done.stderr)


class Server(CCase):
    """sealwire_conn_mysql_accept, with MariaDB's own client and one written from the manual."""

    needs = ("mariadb", "valgrind")

    def serve(self, tool, client) -> str:
        """How the server says that it ended."""
        own = certs.server()
        server = subprocess.Popen(
            list(map(str, tool.command(SERVER, own.cert, own.key))),
            stdout=subprocess.PIPE,
            text=True,
            env=tool.environment(),
        )
        self.addCleanup(server.kill)
        client(int(server.stdout.readline()))
        end, _ = server.communicate(timeout=60)
        self.assertEqual(server.returncode, 0, tool.name)
        return end

    def mariadb(self, port: int, *flags):
        command = ("mariadb", "-h127.0.0.1", f"-P{port}", "-uroot", "-px", *flags, "-e", "DO 1")
        return run(*command, env=os.environ, timeout_s=60)

    def test_mariadb_client(self):
        trust = (f"--ssl-ca={certs.authority().cert}", "--ssl-verify-server-cert")

        def client(port):
            done = self.mariadb(port, *trust)
            self.assertEqual(done.returncode, 0, done.stderr)

        for tool in (SANITIZERS, VALGRIND):
            self.assertEqual(self.serve(tool, client), "SEALWIRE_OK \n")

    def test_a_login_without_tls_is_told_why(self):
        def client(port):
            done = self.mariadb(port, "--skip-ssl")
            self.assertIn("ERROR 3159 (HY000): Connections using insecure transport", done.stderr)

        end = self.serve(SANITIZERS, client)
        self.assertEqual(end, "SEALWIRE_ERR_NOT_TLS the client logs in without TLS\n")

    def test_a_client_that_leaves(self):
        end = self.serve(SANITIZERS, lambda port: self.say(port, b""))
        self.assertTrue(end.startswith("SEALWIRE_EOF"), end)

    def test_bytes_behind_the_request_for_tls_belong_to_tls(self):
        capabilities = (1 << 9 | 1 << 11 | 1 << 15).to_bytes(4, "little")
        request = protocol.packet(1, capabilities + (0xFFFFFF).to_bytes(4, "little") + bytes([45]) + bytes(23))
        login = protocol.packet(2, capabilities + bytes(28) + b"root\0\0")
        end = self.serve(SANITIZERS, lambda port: self.say(port, request + login))
        self.assertTrue(end.startswith("SEALWIRE_ERR_NOT_TLS"), end)

    def say(self, port: int, text: bytes):
        """Waits for the greeting, answers it, and reads to the end."""
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            self.assertTrue(client.recv(4_096))
            client.sendall(text)
            client.shutdown(socket.SHUT_WR)
            while client.recv(4_096):
                pass
