"""server.c, the two ports of an OBServer: what accounts require, asked by the clients that people use."""

import signal
import subprocess
from dataclasses import replace

from harness import certs, clients, obrpc, pki
from harness.databases import PASSWORD
from harness.drivers import Connector, MariadbCli, Mysql2, MysqlCli, PyMysql, Refused, Target
from harness.process import run
from peers import mysql as protocol
from toolchain import EXAMPLES, SANITIZERS, VALGRIND, CCase, checked

SERVER = EXAMPLES / "server.c"
DRIVERS = (MariadbCli, MysqlCli, PyMysql, Connector, Mysql2)
CIPHERS = {"aes128": "TLS_AES_128_GCM_SHA256", "aes256": "TLS_AES_256_GCM_SHA384"}
# valgrind lets signals in only where it knows that a call may wait, which it does not know of io_uring's.
VALGRIND_ON_EPOLL = replace(VALGRIND, env=(("SEALWIRE_BACKEND", "epoll"),))

# Of each way to begin on the RPC port the version that an end of today comes to, and one of OceanBase.
METHODS = {
    "legacy": ("plain", "plain"),
    "none": ("plain", "plain"),
    "ssl_no_encrypt": ("plain", "plain"),
    "ssl_io": ("TLSv1.3", "TLSv1.2"),
}
# Whose clients have shown a certificate.
AUTHENTICATED = ("ssl_no_encrypt", "ssl_io")
# For a client that is given one by default.
WITHOUT_CERTIFICATE = ("--cert", "")
UNKNOWN_PACKET, UNKNOWN_CONNECTION = -4118, -4174


def accounts() -> dict[str, str]:
    """Of each account what it requires."""
    alice = pki.client("alice")
    issuer, subject = f"issuer={alice.issuer}", f"subject={alice.subject}"
    made = {"one_way": "", "any": "x509", "issuer": issuer, "subject": subject}
    for name, cipher in CIPHERS.items():
        made |= {name: f"cipher={cipher}", f"all_{name}": "\t".join((f"cipher={cipher}", issuer, subject))}
    return made


def right_and_wrong(driver) -> dict[str, tuple]:
    """Of each account the certificates that it takes, and those that it does not; None: no certificate."""
    alice, bob, stranger = pki.client("alice"), pki.client("bob"), pki.client("alice", "Other CA")
    # Drivers offer their ciphers in one of two orders.
    mine, other = ("aes128", "aes256") if isinstance(driver, MysqlCli) else ("aes256", "aes128")
    return {
        "one_way": ((None, alice, stranger), ()),
        "any": ((bob, stranger), (None,)),
        mine: ((alice, stranger), (None,)),
        other: ((), (alice, None)),
        "issuer": ((alice, bob), (stranger, None)),
        "subject": ((alice, stranger), (bob, None)),
        f"all_{mine}": ((alice,), (bob, stranger, None)),
        f"all_{other}": ((), (alice,)),
    }


class ServerCase(CCase):
    needs = ("openssl", "valgrind")
    deadline_s = 300

    def serve(self, tool, *options) -> dict[str, int]:
        """Starts the server, and gives its ports by their names. It has to end in order."""
        own, files = pki.server(), {name: self.scratch / name for name in ("accounts", "ca")}
        authorities = pki.authority("Test CA"), pki.authority("Other CA"), certs.authority()
        files["accounts"].write_text("".join(f"{user}\t{PASSWORD}\t{what}\n" for user, what in accounts().items()))
        files["ca"].write_bytes(b"".join(authority.cert.read_bytes() for authority in authorities))
        arguments = ["--cert", own.cert, "--key", own.key, "--ca", files["ca"]]
        arguments += ["--accounts", files["accounts"], "--mysql", "127.0.0.1:0", "--rpc", "127.0.0.1:0"]
        with (self.scratch / "log").open("wb") as log:
            server = subprocess.Popen(
                list(map(str, tool.command(SERVER, *arguments, *options))),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=tool.environment(),
            )
        self.addCleanup(self.end, server, tool)
        return {name: int(port) for name, port in (server.stdout.readline().split() for _ in range(2))}

    def end(self, server, tool):
        server.send_signal(signal.SIGTERM)
        code = server.wait(30)
        server.stdout.close()
        self.assertEqual(code, 0, f"{tool.name}\n{self.log()}")

    def log(self) -> str:
        return (self.scratch / "log").read_text()

    def target(self, port: int, user: str, identity=None) -> Target:
        return Target("127.0.0.1", port, user, ca=pki.authority().cert, identity=identity)

    def check_accounts(self, driver, port: int, count: int | None = None, users: tuple = ()):
        """Of each account, or of these, so many certificates that it takes and as many that it does not."""
        for user, (right, wrong) in right_and_wrong(driver).items():
            if users and user not in users:
                continue
            right, wrong = right[:count], wrong[:count]
            targets = [self.target(port, user, identity) for identity in right + wrong]
            outcomes = driver.ask_each(targets, "SHOW STATUS LIKE 'Ssl_cipher'")
            for identity, outcome in zip(right + wrong, outcomes, strict=True):
                with self.subTest(user, identity=identity):
                    if identity in right:
                        self.assertIn(outcome, ([("Ssl_cipher", cipher)] for cipher in CIPHERS.values()))
                    else:
                        self.assert_denied(outcome, user)

    def assert_denied(self, outcome, user: str):
        """As with a wrong password."""
        self.assertIsInstance(outcome, Refused)
        self.assertEqual((outcome.code, outcome.state or "28000"), (1045, "28000"))
        self.assertIn(f"Access denied for user '{user}'@'127.0.0.1' (using password: YES)", outcome.message)

    def call(self, port: int, method: str, *calls, options: tuple = ()):
        return obrpc.call(port, method, *calls, options=("--ca", pki.authority().cert, *options))

    def check_methods(self, port: int, *methods):
        for method in methods:
            for options, version in zip(((), obrpc.INCUMBENT), METHODS[method], strict=True):
                with self.subTest(method, options=options):
                    done = self.call(port, method, "config", "a=1,b=2", "echo", "00", "one-way", "00", options=options)
                    self.assertEqual(done.returncode, 0, done.stdout)
                    rcode = 0 if method in AUTHENTICATED else UNKNOWN_CONNECTION
                    answers = ["connected " + version, f"config {rcode}", f"echo {UNKNOWN_PACKET} ", "one-way"]
                    self.assertEqual(done.stdout.splitlines(), answers)
        believed = sum(method in AUTHENTICATED for method in methods)
        self.assertEqual(self.log().count("SET_CONFIG: a=1,b=2\n"), 2 * believed)


class BothPorts(ServerCase):
    def test_under_valgrind(self):
        ports = self.serve(VALGRIND_ON_EPOLL)
        self.check_accounts(PyMysql(), ports["mysql"], 1, users=("all_aes256",))
        self.check_methods(ports["rpc"], "ssl_io")


class MysqlPort(ServerCase):
    def test_accounts(self):
        port = self.serve(SANITIZERS)["mysql"]
        for kind in DRIVERS:
            driver = kind()
            driver.check()
            with self.subTest(driver.name):
                self.check_accounts(driver, port, None if kind is PyMysql else 1)
                self.assertEqual(driver.ask(self.target(port, "one_way"), "SELECT 1"), [("1",)])
                self.assertEqual(driver.ask(self.target(port, "one_way"), "SELECT @@version"), [("5.7.25-sealwire",)])
                for target in (self.target(port, "one_way").but(password="wrong"), self.target(port, "nobody")):
                    self.assert_denied(*driver.ask_each([target], "SELECT 1"), target.user)

    def test_the_log_says_what_the_client_is_not_told(self):
        port = self.serve(SANITIZERS)["mysql"]
        for user in ("any", "nobody"):
            self.assert_denied(*PyMysql().ask_each([self.target(port, user)], "SELECT 1"), user)
        self.assertIn("the client has shown no certificate, and the rule is 'any'@'%' REQUIRE X509", self.log())
        self.assertIn("nobody: wrong password", self.log())
        self.assert_denied(*PyMysql().ask_each([self.target(port, "nobody\nforged")], "SELECT 1"), "nobody\nforged")
        self.assertIn(": nobody?forged: wrong password\n", self.log())

    def test_a_login_that_is_cut_is_refused_or_asked_to_change(self):
        """Wherever it is cut: within the proof of the password it cannot be read, behind it the plugin is not known."""
        port = self.serve(SANITIZERS)["mysql"]
        proof_end = 32 + len("one_way") + 1 + 1 + 20
        cut, length = 0, proof_end
        while cut < length:
            with protocol.Client(clients.plain(port)) as client:
                client.greet()
                login = client.prepare("one_way", database="test")
                client.upgrade(pki.context(), login)
                login.auth = b"x" * 20
                payload = login.encode()
                length = len(payload)
                client.wire.write(payload[:cut])
                try:
                    self.assertEqual(client.answer()[0], protocol.SWITCH)
                    self.assertGreaterEqual(cut, proof_end)
                except protocol.ServerError as error:
                    self.assertEqual((error.code, error.state), (1043, "08S01"))
                    self.assertLess(cut, proof_end)
            cut += 1

    def test_commands_that_it_does_not_know_are_refused(self):
        port = self.serve(SANITIZERS)["mysql"]
        with protocol.Client.connect("127.0.0.1", port, "one_way", PASSWORD, pki.context()) as client:
            for code in (*range(2), *range(4, 14), *range(15, 256)):
                if code == protocol.QUIT:
                    continue
                with self.assertRaises(protocol.ServerError) as refused:
                    client.command(code, b"x" * code)
                    client.answer()
                self.assertEqual(refused.exception.code, 1047)
            with self.assertRaises(protocol.ServerError) as refused:
                client.query("SELECT " + "x" * 1_000)
            self.assertEqual(refused.exception.code, 1064)
            client.ping()

    def test_a_login_without_tls_is_told_why(self):
        port = self.serve(SANITIZERS)["mysql"]
        (outcome,) = PyMysql().ask_each([self.target(port, "one_way").but(ca=None)], "SELECT 1")
        self.assertEqual(outcome.code, 3159)

    def test_a_tenant_may_follow_the_user(self):
        port = self.serve(SANITIZERS)["mysql"]
        for user in ("one_way@sys", "one_way@sys#cluster"):
            self.assertEqual(PyMysql().ask(self.target(port, user), "SELECT 1"), [("1",)])
        self.assert_denied(*PyMysql().ask_each([self.target(port, "any@sys")], "SELECT 1"), "any@sys")

    def test_it_ends_in_order_with_sessions_under_way(self):
        port = self.serve(SANITIZERS)["mysql"]
        connection = PyMysql().connect(self.target(port, "one_way"))
        self.addCleanup(connection.close)
        connection.ping(reconnect=False)
        connection.select_db("anything")


class RpcPort(ServerCase):
    def test_methods(self):
        port = self.serve(SANITIZERS, "--rpc-methods", "none,ssl_no_encrypt,ssl_io")["rpc"]
        self.check_methods(port, *METHODS)
        for method in AUTHENTICATED:
            self.assertIn(f"{method}: /CN=client\n", self.log())

    def test_others_are_refused(self):
        """Another method, no certificate, and one of nobody that is trusted."""
        port = self.serve(SANITIZERS)["rpc"]
        self.check_methods(port, "ssl_io")
        stranger = certs.client("client", "stranger")
        strangers = ("ssl_io", "--cert", stranger.cert, "--key", stranger.key)
        for method, *options in (("none",), ("ssl_no_encrypt",), strangers, ("ssl_io", *WITHOUT_CERTIFICATE)):
            with self.subTest(method, options=options):
                done = self.call(port, method, "config", "c=3", options=tuple(options))
                self.assertEqual(done.returncode, 1, done.stdout)
        done = self.call(port, "legacy", "config", "c=3")
        self.assertEqual(done.stdout, f"connected plain\nconfig {UNKNOWN_CONNECTION}\n")
        self.assertNotIn("c=3", self.log())
        self.assertIn("SEALWIRE_ERR_CERT_UNKNOWN_ISSUER", self.log())
        self.assertIn("SEALWIRE_ERR_CERT_MISSING", self.log())


class CommandLine(CCase):
    def test_a_method_that_is_none(self):
        words = ("--cert", "c", "--key", "k", "--ca", "a", "--accounts", "u", "--mysql", "m", "--rpc", "r")
        own = certs.server()
        given = {"c": own.cert, "k": own.key, "a": certs.authority().cert, "u": "/dev/null", "m": "127.0.0.1:0"}
        command = [given.get(word, word) for word in words]
        done = run(SANITIZERS.program(SERVER), *command, "--rpc-methods", "ssl_io,ssl")
        self.assertEqual((done.returncode, done.stderr), (1, "ssl: is no method\n"))

    def test_help(self):
        self.assertIn("usage: server --cert FILE", checked(SANITIZERS.program(SERVER), "--help"))
