"""`sealwire probe`: what it says of servers, compared with what OpenSSL and the servers say themselves."""

import calendar
import json
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from harness import certs, databases, netns, pki
from harness.case import ONCE, Case, free_port, tcp_route
from harness.certs import Identity
from harness.gateway import BINARY
from harness.mysql_case import MysqlCase, client_side, route, server_side
from harness.process import Process, program, run
from harness.servers import Listener, echo, openssl_server
from peers import mysql as protocol

TEST_CA = ("--ca", certs.authority().cert)
LOCALHOST = ("--server-name", "localhost")


@dataclass
class Report:
    """What a probe has printed, and how it ended."""

    code: int
    text: str
    messages: str

    @property
    def facts(self) -> dict:
        return json.loads(self.text)

    @property
    def leaf(self) -> dict:
        return self.facts["certificates"][0]

    @property
    def refusal(self) -> dict:
        return self.facts["verify"]["refusal"]

    @property
    def account(self) -> dict:
        return self.facts["mysql"]["account"]


def probe(target: str, *arguments) -> Report:
    done = run(BINARY, "probe", target, *arguments, text=False)
    return Report(done.returncode, done.stdout.decode(), done.stderr.decode())


def as_json(target: str | int, *arguments) -> Report:
    target = f"127.0.0.1:{target}" if isinstance(target, int) else target
    return probe(target, "--json", *arguments)


def openssl(*arguments) -> str:
    done = run("openssl", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


class ProbeTls(Case):
    """Servers that begin with TLS."""

    variants = ONCE
    needs = ("openssl",)

    def made(self, name: str, *request, subject: str = "/CN=localhost") -> Identity:
        """What `openssl req -x509` makes of these options."""
        cert, key = self.scratch / f"{name}.pem", self.scratch / f"{name}-key.pem"
        kind = ("-newkey", "ed25519", "-nodes", "-days", 30, "-utf8")
        openssl("req", "-x509", *kind, "-subj", subject, "-keyout", key, "-out", cert, *request)
        return Identity(cert, key, None, None)

    def issued(self, name: str, subject: str, extensions: str | None) -> Identity:
        """Issued by the authority of the tests; without extensions it is of X.509 v1."""
        ca = certs.authority()
        cert, key, request = (self.scratch / f"{name}{suffix}" for suffix in (".pem", "-key.pem", ".csr"))
        kind = ("-newkey", "rsa:2048", "-nodes")
        openssl("req", "-new", *kind, "-utf8", "-subj", subject, "-keyout", key, "-out", request)
        extra = ()
        if extensions is not None:
            (self.scratch / f"{name}.ext").write_text(extensions)
            extra = ("-extfile", self.scratch / f"{name}.ext")
        signer = ("-CA", ca.cert, "-CAkey", ca.key, "-set_serial", 7, "-days", 30)
        openssl("x509", "-req", "-in", request, *signer, "-out", cert, *extra)
        return Identity(cert, key, None, None)

    def test_what_openssl_says(self):
        """The certificate and the session, each compared with what the openssl program says of it."""
        kinds = {
            "ECDSA": (certs.server(), "EC prime256v1", 256, "ecdsa-with-SHA256"),
            "RSA": (certs.rsa_server(), "RSA", 2048, "ecdsa-with-SHA256"),
            "self-signed": (self.made("self"), "ED25519", 256, "ED25519"),
        }
        for name, (own, kind, bits, algorithm) in kinds.items():
            for version in ("1.2", "1.3"):
                with self.subTest(f"{name} {version}"):
                    option = f"-tls1_{version[-1]}"
                    port = openssl_server(self, own, option)
                    report = as_json(port, "--tls", *TEST_CA)
                    self.check_certificate(report.leaf, own.cert)
                    found = report.leaf
                    self.assertEqual((found["key"], found["key_bits"]), (kind, bits))
                    self.assertEqual(found["signature_algorithm"], algorithm)
                    self.check_session(report.facts["tls"], port, version)
                    self.assertEqual(report.code, 0 if name != "self-signed" else 1, report.messages)

    def check_certificate(self, found: dict, cert: Path) -> None:
        fields = ("-subject", "-issuer", "-startdate", "-enddate", "-fingerprint", "-sha256")
        lines = openssl("x509", "-in", cert, "-noout", *fields, "-nameopt", "compat").splitlines()
        said = dict(line.split("=", 1) for line in lines)
        self.assertEqual(found["subject"], said["subject"].strip())
        self.assertEqual(found["issuer"], said["issuer"].strip())
        self.assertEqual(found["sha256"], said["sha256 Fingerprint"])
        for key, date in (("not_before_s", said["notBefore"]), ("not_after_s", said["notAfter"])):
            self.assertEqual(found[key], calendar.timegm(time.strptime(date, "%b %d %H:%M:%S %Y %Z")), key)
        days = (found["not_after_s"] - time.time()) / 86_400
        self.assertAlmostEqual(found["days_left"], days, delta=1.01)
        names = run("openssl", "x509", "-in", cert, "-noout", "-ext", "subjectAltName").stdout
        self.assertEqual(len(found["names"]), len(re.findall(r"DNS:|IP Address:", names)), names)

    def check_session(self, found: dict, port: int, version: str) -> None:
        """Where OpenSSL offers nothing but what the probe found, the server agrees to it."""
        suite = ("-ciphersuites" if version == "1.3" else "-cipher", found["openssl_suite"])
        # The authority of the tests signs by ECDSA, and has a key of that curve.
        scheme = found["signature"]
        schemes = scheme if "ecdsa" in scheme else f"{scheme}:ECDSA+SHA256"
        options = ("-sigalgs", schemes, "-groups", f"{found['group']}:P-256")
        connect = ("s_client", "-connect", f"127.0.0.1:{port}", "-brief")
        said = run("openssl", *connect, *suite, *options, input=b"").stderr
        self.assertIn(f"Protocol version: TLSv{found['version']}\n", said)
        self.assertIn(f"Ciphersuite: {found['openssl_suite']}\n", said)
        name = "UNDEF" if scheme == "ed25519" else "SHA" + scheme.rsplit("sha", 1)[1]
        self.assertIn(f"Hash used: {name}\n", said)
        self.assertIn(f"Server Temp Key: {found['group']}, ", said)
        self.assertEqual(found["version"], version)
        self.assertEqual((found["group"], found["post_quantum"]), ("X25519", False))
        self.assertEqual(found["resumption"], "yes")

    def test_verdicts(self):
        """Of each certificate, what full verification says, and which other settings would pass."""
        v1 = self.issued("v1", "/CN=localhost", None)
        cn_only = self.issued("cn", "/CN=localhost", "basicConstraints=CA:FALSE\n")
        self_signed = self.made("self", "-addext", "subjectAltName=DNS:localhost")
        namesake = certs.authority().certificate.subject.rfc4514_string()
        other = self.made("other", subject=f"/{namesake}")
        rows = [
            # Name, identity, further flags, class of the refusal, allow_cn_name, verify_ca.
            ("good", certs.server(), TEST_CA, None, True, True),
            ("another name", certs.server("db1.example"), TEST_CA, "certificate_name", False, True),
            ("X.509 v1", v1, TEST_CA, "certificate_name", True, True),
            ("common name", cn_only, TEST_CA, "certificate_name", True, True),
            ("expired", certs.expired_server(), TEST_CA, "certificate_expired", False, False),
            ("not yet valid", certs.future_server(), TEST_CA, "certificate_not_yet_valid", False, False),
            ("self-signed", self_signed, TEST_CA, "certificate_unknown_issuer", False, False),
            ("self-signed, trusted", self_signed, ("--ca", self_signed.cert), None, True, True),
            ("another authority", certs.server(), ("--ca", other.cert), "certificate_unknown_issuer", False, False),
            ("the system's", certs.server(), ("--ca", "system"), "certificate_unknown_issuer", False, False),
        ]
        for name, own, flags, refusal, by_common_name, by_authority in rows:
            with self.subTest(name):
                port = openssl_server(self, own)
                flags = ("--tls", *flags, *LOCALHOST)
                report = as_json(port, *flags)
                verify = report.facts["verify"]
                self.assertEqual(report.code, 1 if refusal else 0, report.messages)
                self.assertEqual(refusal, (verify["refusal"] or {}).get("class"), verify)
                self.assertEqual(verify["verify_full"], refusal is None)
                self.assertEqual((verify["allow_cn_name"], verify["verify_ca"]), (by_common_name, by_authority))
                self.check_certificate(report.leaf, own.cert)
                text = probe(f"127.0.0.1:{port}", *flags).text
                self.assertEqual("WOULD FAIL" in text, refusal is not None, text)
                self.assertEqual("allow_cn_name = true" in text, by_common_name and refusal is not None, text)
                self.assertEqual('tls = "verify-ca"' in text, by_authority and refusal is not None, text)

    def test_what_it_says_to_write_works(self):
        """The fingerprint that is printed, pasted into a gateway, lets that gateway connect."""
        own = self.made("self")
        port = openssl_server(self, own)
        text = probe(f"127.0.0.1:{port}", *TEST_CA).text
        (pin,) = re.findall(r'  fingerprints = \["([0-9A-F:]+)"\]\n', text)
        listen = f"127.0.0.1:{free_port()}"
        server = {"tls": "fingerprint", "address": f"127.0.0.1:{port}", "fingerprints": [pin]}
        self.gateway(tcp_route("", listen=listen, client={"tls": "off"}, server=server))
        with socket.create_connection(("127.0.0.1", int(listen.rsplit(":", 1)[1])), timeout=10) as connection:
            connection.sendall(b"abc\n")
            self.assertEqual(connection.recv(4), b"cba\n")

    def test_client_certificates(self):
        """Demanded, optional, refused; of TLS 1.3 the refusal comes when the client believes all to be well."""
        ca = certs.authority().cert
        own = ("--cert", certs.client().cert, "--key", certs.client().key)
        foreign = certs.client("mallory", "other")
        other = ("--cert", foreign.cert, "--key", foreign.key)
        for version in ("-tls1_2", "-tls1_3"):
            demanding = openssl_server(self, certs.server(), version, "-CAfile", ca, "-Verify", 1, "-verify_return_error")
            asking = openssl_server(self, certs.server(), version, "-CAfile", ca, "-verify", 1)
            rows = [
                ("demanded, none", demanding, (), 1, True, False, "demands a client certificate"),
                ("demanded, given", demanding, own, 0, True, True, ""),
                ("demanded, of another", demanding, other, 1, True, True, "alert"),
                ("asked, none", asking, (), 0, True, False, ""),
                ("asked, given", asking, own, 0, True, True, ""),
                ("not asked", openssl_server(self, certs.server(), version), own, 0, False, False, ""),
            ]
            for name, port, flags, code, requested, presented, words in rows:
                with self.subTest(f"{version} {name}"):
                    report = as_json(port, "--tls", *TEST_CA, *flags)
                    self.assertEqual(report.code, code, report.messages)
                    found = report.facts["client_certificate"]
                    self.assertEqual(found, {"requested": requested, "presented": presented})
                    self.assertIn(words, report.messages)
                    self.check_certificate(report.leaf, certs.server().cert)
            text = probe(f"127.0.0.1:{demanding}", *TEST_CA, *own).text
            self.assertIn("asked for, and ours was taken", text)

    def test_peers_without_a_suite_in_common(self):
        old = {"RSA key exchange": "AES128-GCM-SHA256", "CBC": "ECDHE-RSA-AES128-SHA256"}
        for name, suite in old.items():
            with self.subTest(name):
                port = openssl_server(self, certs.rsa_server(), "-tls1_2", "-cipher", suite)
                report = as_json(port, "--tls", *TEST_CA)
                self.assertEqual(report.code, 1)
                self.assertEqual(report.facts["error"]["class"], "tls_alert")
                self.assertIn("neither RSA key exchange nor CBC", report.messages)

    def test_servers_that_are_none(self):
        """Each is an error in words that names the server. One that says nothing ends by the time that was given."""
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        banner = Listener(self, lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"))
        http = Listener(self, lambda connection: connection.sendall(connection.recv(5) and b"HTTP/1.1 400 Bad\r\n\r\n"))
        rows = [
            ("refused", f"127.0.0.1:{free_port()}", (), "io", "Connection refused"),
            ("silent", f"127.0.0.1:{silent.getsockname()[1]}", ("--timeout", 2), "timeout", "timed out"),
            ("silent MySQL", f"127.0.0.1:{silent.getsockname()[1]}", ("--mysql", "--timeout", 1), "timeout", "greeting"),
            ("speaks first", banner.address, (), "protocol", "the server speaks first, and not as MySQL's would"),
            ("plain", http.address, ("--tls",), "not_tls", "it began with"),
            ("no name", "no-such-host.invalid:3306", (), "io", "resolve no-such-host.invalid"),
            ("no socket", f"unix:{self.scratch}/none", (), "io", "No such file"),
        ]
        for name, target, flags, kind, words in rows:
            with self.subTest(name):
                report = as_json(target, *TEST_CA, *LOCALHOST, *flags)
                self.assertEqual(report.code, 1, report.messages)
                self.assertEqual(report.facts["error"]["class"], kind, report.text)
                self.assertIn(words, report.messages)
                self.assertTrue(report.messages.startswith(f"sealwire: {target}: "), report.messages)

    def test_wrong_usage(self):
        target = f"127.0.0.1:{free_port()}"
        rows = [
            ((), "HOST:PORT"),
            (("localhost",), "neither host:port nor unix:/path"),
            ((target, "--mysql", "--tls"), "cannot be used with"),
            ((target, "--tls", "--user", "app"), "cannot be used with"),
            ((target, "--cert", certs.client().cert), "--key"),
            ((target, "--ca", self.scratch / "none.pem"), "none.pem"),
            ((target, "--server-name", "no name"), "neither a DNS name nor an IP address"),
            ((target, "--timeout", "0"), "--timeout"),
            ((target, "--cert", certs.client().cert, "--key", certs.server().key), "does not belong"),
        ]
        for arguments, words in rows:
            with self.subTest(arguments):
                done = run(BINARY, "probe", *arguments)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn(words, done.stderr)
                self.assertEqual(done.stdout, "")

    def test_other_addresses(self):
        """IPv6, a name, and a Unix socket, which stands for localhost."""
        own = certs.server()
        port, other = free_port(socket.AF_INET6), openssl_server(self, own)
        command = [program("openssl"), "s_server", "-accept", f"[::1]:{port}", "-rev", "-quiet"]
        command += ["-cert", own.cert, "-key", own.key]
        self.start(Process("s_server", command, self.scratch / "log6", ready_port=port))
        path = self.scratch / "socket"
        command = [program("openssl"), "s_server", "-unix", path, "-rev", "-quiet", "-cert", own.cert, "-key", own.key]
        server = self.start(Process("s_server", command, self.scratch / "log"))
        server.until(path.exists, "its socket")
        for target, address in (
            (f"[::1]:{port}", f"[::1]:{port}"),
            (f"localhost:{other}", f"127.0.0.1:{other}"),
            (f"unix:{path}", f"unix:{path}"),
        ):
            with self.subTest(target):
                report = as_json(target, *TEST_CA)
                self.assertEqual((report.code, report.facts["address"]), (0, address), report.messages)

    def test_names_do_not_reach_the_terminal(self):
        """Escape sequences, marks that turn text around, and what looks like a line of the report."""
        hostile = "a\x1b[2J\x1b]0;x\x07\r\x9b31m\u202eb\x7f"
        own = self.made("hostile", "-addext", f"subjectAltName=DNS:x{hostile}", subject=f"/CN={hostile}/O=Größe")
        port = openssl_server(self, own)
        for flags in ((), ("--json",)):
            report = probe(f"127.0.0.1:{port}", *TEST_CA, *flags)
            for text in (report.text, report.messages):
                found = [c for c in text if c != "\n" and (ord(c) < 32 or 127 <= ord(c) < 160 or c == "\u202e")]
                self.assertEqual(found, [], repr(text))
        self.assertEqual(report.leaf["common_name"], hostile)
        self.assertIn(f"x{hostile}", report.leaf["names"])
        self.assertTrue(report.text.isascii())

    def test_the_gateway(self):
        gateway = self.gateway(tcp_route(Listener(self, echo).address))
        report = as_json(gateway.port, *TEST_CA)
        self.assertEqual(report.code, 0, report.messages)
        tls = report.facts["tls"]
        self.assertEqual((tls["group"], tls["post_quantum"]), ("X25519MLKEM768", True))
        self.assertEqual((tls["version"], tls["resumption"]), ("1.3", "yes"))
        self.check_certificate(report.leaf, certs.server().cert)
        text = probe(f"127.0.0.1:{gateway.port}", *TEST_CA).text
        self.assertRegex(text, r"aes = (vaes512|vaes|aesni|armv8|none)\n")
        self.assertIn("X25519MLKEM768, post-quantum", text)

    def test_help_fits_a_screen(self):
        text = run(BINARY, "probe", "--help").stdout
        self.assertLessEqual(len(text.splitlines()), 40)
        self.assertIn("sealwire probe", text.splitlines()[-1])


class ProbeMysql(MysqlCase):
    """Servers whose TLS begins in the midst of a login."""

    variants = ONCE
    deadline_s = 180
    KINDS = {"mariadb": "MariaDB", "mysql": "MySQL", "seekdb": "OceanBase"}
    CA = ("--ca", pki.authority().cert)

    def check_server(self, name: str, resumption: str) -> None:
        database = databases.by_name(name)
        report = as_json(database.address, *self.CA)
        self.assertEqual(report.code, 0, report.messages)
        found = report.facts
        self.assertEqual((found["protocol"], found["address"]), ("mysql", database.address))
        self.assertEqual((found["mysql"]["kind"], found["mysql"]["offers_tls"]), (self.KINDS[name], True))
        self.assertTrue(database.execute("SELECT @@version")[0][0].startswith(found["mysql"]["version"]))
        self.assertEqual(found["tls"]["version"], "1.3")
        self.assertEqual(found["tls"]["resumption"], resumption)
        self.assertEqual(found["client_certificate"], {"requested": True, "presented": False})
        self.assertEqual(report.leaf["subject"], database.identity.subject)
        plugin, user = next(iter(database.accounts.items()))
        for name, expected in ((user, plugin), ("u_none", None)):
            report = as_json(database.address, *self.CA, "--user", name)
            self.assertEqual(report.code, 0, report.messages)
            self.assertEqual(report.account["user"], name)
            self.assertEqual(report.account["without_tls"], "unknown")
            self.assertIn(report.account["plugin"], {expected} if expected else set(database.accounts))
        self.assertEqual(as_json(database.address, *self.CA, "--user", "empty").account["without_tls"], "yes")

    def test_mariadb(self):
        self.check_server("mariadb", "yes")

    def test_mysql(self):
        self.check_server("mysql", "yes")
        database = databases.mysql()
        for plugin, user in database.accounts.items():
            self.assertEqual(as_json(database.address, *self.CA, "--user", user).account["plugin"], plugin)

    def test_seekdb(self):
        """Its tickets are answered by an alert, which is worth knowing."""
        self.check_server("seekdb", "fails")

    def test_accounts_that_may_not_log_in_without_tls(self):
        """Only an account without a password lets it be known; of any other the answer is `unknown`."""
        alice = pki.client("alice")
        own = ("--cert", alice.cert, "--key", alice.key)
        for database in (databases.mariadb(), databases.mysql()):
            database.execute(
                *(f"CREATE USER IF NOT EXISTS 'probe_{what}'@'%' IDENTIFIED BY '' REQUIRE {what}" for what in ("SSL", "X509"))
            )
            self.addCleanup(database.execute, "DROP USER 'probe_SSL'@'%', 'probe_X509'@'%'")
            rows = [
                ("probe_SSL", (), "no"),
                ("probe_X509", (), "unknown"),
                ("probe_X509", own, "no"),
                ("u_ssl", own, "unknown"),
                ("u_none", own, "unknown"),
                ("nobody", own, "unknown"),
            ]
            for user, flags, expected in rows:
                with self.subTest(f"{database.kind} {user} {bool(flags)}"):
                    account = as_json(database.address, *self.CA, *flags, "--user", user).account
                    self.assertEqual(account["without_tls"], expected, account)
        with self.subTest("a Unix socket"):
            database = databases.mariadb()
            report = as_json(f"unix:{database.socket}", *self.CA, "--user", "native")
            self.assertEqual((report.code, report.account["without_tls"]), (0, "yes"), report.messages)

    def test_servers_that_let_nobody_in_without_tls(self):
        """MySQL says so behind an empty password, and a gateway to everybody."""
        database = databases.mysql()
        database.execute("SET GLOBAL require_secure_transport = ON")
        self.addCleanup(database.execute, "SET GLOBAL require_secure_transport = OFF")
        account = as_json(database.address, *self.CA, "--user", "empty").account
        self.assertEqual(account["without_tls"], "no")
        self.assertIn("3159", account["reason"])
        self.assertEqual(as_json(database.address, *self.CA, "--user", "caching").account["without_tls"], "unknown")

    def test_the_gateway(self):
        database = databases.mariadb()
        gateway = self.gateway(route("test", client_side("required"), server_side(database, "verify-full")))
        gateway.judges_failures = False
        report = as_json(gateway.port, *self.CA, "--user", "native")
        self.assertEqual(report.code, 0, report.messages)
        self.assertTrue(report.facts["tls"]["post_quantum"])
        self.assertEqual(report.account["plugin"], "mysql_native_password")
        self.assertEqual(report.account["without_tls"], "no", report.account)

    def test_a_server_without_tls(self):
        database = databases.plain_mariadb()
        for flags in ((), ("--user", "native")):
            report = as_json(database.address, *self.CA, *flags)
            self.assertEqual((report.code, report.facts["error"]["class"]), (1, "not_tls"))
            self.assertFalse(report.facts["mysql"]["offers_tls"])
            self.assertIn("offers no TLS", report.messages)
        self.assertEqual(report.account["without_tls"], "unknown")

    def test_it_is_no_failed_handshake_to_the_server(self):
        """After this many of them the server would let nobody in."""
        namespace = netns.Namespace()
        identity = pki.server(addresses=(namespace.address,))
        server = databases.MariaDb(identity, namespace, max_connect_errors=2)
        self.addCleanup(server.stop)
        for flags in ((), ("--user", "native"), ("--user", "empty"), ("--user", "nobody")) * 2:
            report = as_json(server.address, *self.CA, *flags)
            self.assertEqual(report.code, 0, report.messages)
        host, port = server.address.split(":")
        protocol.Client.connect(host, int(port), "native", databases.PASSWORD).close()

    def test_nothing_of_the_server_reaches_the_terminal(self):
        """Its version, its plugin and its refusals are its own choice."""
        hostile = b"8.0\x1b[2J\x07"

        def greet(connection):
            greeting = protocol.Greeting(version=hostile.decode(), plugin="p\x1b[31m")
            connection.sendall(protocol.packet(0, greeting.encode()))
            wire = protocol.Wire(connection)
            wire.sequence = 1
            wire.read()
            connection.sendall(protocol.packet(2, protocol.error(1045, "no\x1b[2J\x9b!", "28000")))

        def refuse(connection):
            connection.sendall(protocol.packet(0, protocol.error(1040, "Too many\x1b[2J connections")))

        for serve, words in ((greet, "offers no TLS"), (refuse, "ERROR 1040: Too many")):
            server = Listener(self, serve)
            for flags in ((), ("--json",), ("--user", "x")):
                report = probe(server.address, *flags)
                self.assertEqual(report.code, 1, report.messages)
                self.assertIn(words, report.messages)
                for text in (report.text, report.messages):
                    self.assertNotRegex(text, r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
