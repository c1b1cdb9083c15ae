"""Certificates that are replaced while they are in use, and sessions that are resumed across gateways."""

import os
import re
import socket
import ssl
from pathlib import Path

from harness import certs, clients, databases
from harness.case import ONCE, Case, free_port, tcp_route
from harness.databases import PASSWORD
from harness.gateway import BINARY, HANDSHAKE_FAILED, ROOT, Gateway
from harness.process import Process, program, run
from harness.servers import Listener, echo
from peers.mysql import Client, ServerError

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def one_byte(connection) -> None:
    """Waits for a byte before it ends, so that a client has read the tickets of its session by then."""
    connection.recv(1)


class Replaced(Case):
    """Nobody sends a signal: the gateway sees for itself."""

    variants = ONCE

    def replaced(self, gateway: Gateway, before: int = 0) -> dict:
        """The answer to the files that were replaced, behind `before` others."""
        answers = lambda: [e for e in gateway.events(trigger="files") if e["message"] in ("reloaded", "reload failed")]
        gateway.until(lambda: len(answers()) > before, "files to be read again")
        self.assertEqual(len(answers()), before + 1)
        return answers()[-1]

    def presented(self, port: int) -> int:
        with clients.tls(port) as connection:
            der = connection.getpeercert(binary_form=True)
            self.assertEqual(clients.ask(connection, b"hello"), b"hello")
            connection.unwrap()
        return certs.x509.load_der_x509_certificate(der).serial_number

    def put(self, file: Path, text: bytes) -> None:
        """In one step, as everybody should who replaces a file."""
        beside = file.with_suffix(".new")
        beside.write_bytes(text)
        beside.rename(file)

    def test_half_a_pair_changes_nothing(self):
        own, fresh = certs.server(), certs.fresh_server()
        cert, key = self.scratch / "cert.pem", self.scratch / "key.pem"
        self.put(cert, own.cert.read_bytes())
        self.put(key, own.key.read_bytes())
        client = {"tls": "required", "cert": cert, "key": key}
        gateway = self.gateway(tcp_route(Listener(self, echo).address, client=client))
        self.put(key, fresh.key.read_bytes())
        self.assertEqual(self.replaced(gateway)["message"], "reload failed")
        failure = gateway.claimed(message="reload failed")
        self.assertEqual((failure["class"], failure["count"]), ("config", 1))
        self.assertIn(f"{key}: the private key does not belong to any certificate of {cert}", failure["reason"])
        self.assertEqual(self.presented(gateway.port), own.serial)
        self.put(cert, fresh.cert.read_bytes())
        self.assertEqual(self.replaced(gateway, 1)["message"], "reloaded")
        self.assertEqual(self.presented(gateway.port), fresh.serial)
        gateway.stop_and_judge()
        totals = gateway.wait_event(message="reload totals")
        self.assertEqual((totals["good"], totals["failed"]), (1, 1))

    def test_a_mounted_secret(self):
        """As Kubernetes does it: the files are links through `..data`, which is a link to a directory of the day."""
        own, fresh = certs.server(), certs.fresh_server()
        for day, identity in (("monday", own), ("tuesday", fresh)):
            (self.scratch / day).mkdir()
            (self.scratch / day / "tls.crt").write_bytes(identity.cert.read_bytes())
            (self.scratch / day / "tls.key").write_bytes(identity.key.read_bytes())
        (self.scratch / "..data").symlink_to("monday")
        for name in ("tls.crt", "tls.key"):
            (self.scratch / name).symlink_to(f"..data/{name}")
        client = {"tls": "required", "cert": self.scratch / "tls.crt", "key": self.scratch / "tls.key"}
        gateway = self.gateway(tcp_route(Listener(self, echo).address, client=client))
        self.assertEqual(self.presented(gateway.port), own.serial)
        (self.scratch / "..new").symlink_to("tuesday")
        (self.scratch / "..new").rename(self.scratch / "..data")
        self.assertEqual(self.replaced(gateway)["message"], "reloaded")
        self.assertEqual(self.presented(gateway.port), fresh.serial)

    def test_a_client_that_was_revoked(self):
        """It may not resume the session that it has, either."""
        own, alice = certs.server(), certs.client("alice")
        crl, other = self.scratch / "crl.pem", self.scratch / "other-crl.pem"
        self.put(crl, certs.revocation_list())
        self.put(other, certs.revocation_list(issuer="other"))
        client = {"tls": "required", "cert": own.cert, "key": own.key, "ca": certs.authority().cert}
        client["crl"] = [str(other), str(crl)]
        gateway = self.gateway(tcp_route(Listener(self, echo).address, client=client | {"crl_required": True}))
        made = clients.context(identity=alice)
        with clients.tls(gateway.port, made) as connection:
            self.assertEqual(clients.ask(connection, b"hello"), b"hello")
            session = connection.session
            connection.unwrap()
        self.put(crl, certs.revocation_list(alice))
        self.assertEqual(self.replaced(gateway)["message"], "reloaded")
        for options in ({}, {"session": session}):
            connection = clients.tls(gateway.port, made, **options)
            self.addCleanup(connection.close)
            with self.assertRaises((ssl.SSLError, ConnectionError)):
                connection.sendall(b"hello")
                connection.recv(5)
            gateway.failed(clients.name(connection), "certificate_revoked", HANDSHAKE_FAILED)

    def test_the_configuration_itself_waits_for_a_signal(self):
        own, fresh = certs.server(), certs.fresh_server()
        cert, key = self.scratch / "cert.pem", self.scratch / "key.pem"
        self.put(cert, own.cert.read_bytes())
        self.put(key, own.key.read_bytes())
        client = {"tls": "required", "cert": cert, "key": key}
        gateway = self.gateway(tcp_route(Listener(self, echo).address, client=client))
        gateway.config.write_text(gateway.config.read_text() + "half an edi")
        self.put(cert, fresh.cert.read_bytes())
        self.put(key, fresh.key.read_bytes())
        self.assertEqual(self.replaced(gateway)["message"], "reloaded")
        self.assertEqual(self.presented(gateway.port), fresh.serial)
        self.assertEqual(gateway.reload()["message"], "reload failed")

    def test_a_certificate_that_is_about_to_expire(self):
        for days, is_told in ((29.5, True), (30.5, False)):
            with self.subTest(days):
                own = certs.expiring_server(days)
                client = {"tls": "required", "cert": own.cert, "key": own.key}
                gateway = self.gateway(tcp_route(Listener(self, echo).address, client=client))
                if is_told:
                    told = gateway.claimed(message="certificate expires soon")
                    self.assertEqual((told["side"], told["days"], told["subject"]), ("client", 29, "CN=localhost"))
                gateway.stop_and_judge()


    def test_an_authority_and_a_revocation_list_that_come_to_their_end(self):
        """A list is due soon when a tenth of its time is left."""
        own, crl = certs.server(), self.scratch / "crl.pem"
        for days, lists, told in (
            (29.5, (-20, 10), [("authority expires soon", "days", 29)]),
            (-0.5, (-20, 10), [("authority expired", "side", "client")]),
            (60, (-19, 1.02), [("revocation list is due soon", "hours", 24)]),
            (60, (-9.5, -0.1), [("revocation list is overdue", "side", "client")]),
            (60, (-7.5, 1), []),
        ):
            with self.subTest(days=days, lists=lists):
                authority = certs.expiring_authority(days)
                self.put(crl, certs.revocation_list(days=lists))
                client = {"tls": "required", "cert": own.cert, "key": own.key, "ca": authority.cert, "crl": str(crl)}
                gateway = self.gateway(tcp_route(Listener(self, echo).address, client=client))
                for message, field, value in told:
                    event = gateway.claimed(message=message)
                    self.assertEqual(event[field], value)
                    self.assertIn(event["file"], (str(authority.cert), str(crl)))
                gateway.stop_and_judge()


class Resumption(Case):
    """Two gateways that share their ticket keys, behind HAProxy, which deals connections out in turn."""

    needs = ("haproxy",)

    def setUp(self):
        super().setUp()
        self.tickets = self.scratch / "tickets.keys"
        self.rotate()
        self.gateways = [self.one("a"), self.one("b")]
        self.port = self.haproxy()

    def rotate(self) -> None:
        done = run(BINARY, "cert", "tickets", self.tickets)
        self.assertEqual(done.returncode, 0, done.stderr)

    def one(self, letter: str, name: str = "shared") -> Gateway:
        own = certs.server()

        def serve(connection):
            connection.sendall(letter.encode())
            one_byte(connection)

        client = {"tls": "required", "cert": own.cert, "key": own.key, "tickets": self.tickets}
        return self.gateway(tcp_route(Listener(self, serve).address, name=name, client=client))

    def haproxy(self) -> int:
        port = free_port()
        servers = [f"server s{g.port} 127.0.0.1:{g.port}" for g in self.gateways]
        config = self.scratch / "haproxy.cfg"
        sections = {
            "defaults": ["mode tcp", "timeout connect 5s", "timeout client 30s", "timeout server 30s"],
            "listen shared": [f"bind 127.0.0.1:{port}", "balance roundrobin", *servers],
        }
        config.write_text("".join(f"{name}\n" + "".join(f"    {l}\n" for l in ls) for name, ls in sections.items()))
        command = [program("haproxy"), "-db", "-f", config]
        self.start(Process("haproxy", command, self.scratch / "haproxy.log", ready_port=port))
        return port

    def connect(self, made: ssl.SSLContext, session=None, port: int | None = None):
        """Which gateway it was, whether the session was resumed, and the session to resume."""
        with clients.tls(port or self.port, made, session=session) as connection:
            letter = clients.read(connection, 1).decode()
            found = letter, connection.session_reused, connection.session
            connection.sendall(b".")
            self.assertEqual(connection.recv(1), b"")
            connection.unwrap()
        return found

    def reload_all(self) -> None:
        for gateway in self.gateways:
            self.assertEqual(gateway.reload()["message"], "reloaded")

    def test_a_session_goes_on_at_the_other_gateway_until_its_key_is_rotated_out(self):
        for version in VERSIONS:
            with self.subTest(version.name):
                made = clients.context(version=version)
                first, is_resumed, session = self.connect(made)
                self.assertFalse(is_resumed)
                second, is_resumed, _ = self.connect(made, session)
                self.assertEqual({first, second}, {"a", "b"})
                self.assertTrue(is_resumed, "at the other gateway")
                # What the session was sealed with is the previous key now, and then none.
                for expected in (True, False):
                    self.rotate()
                    self.reload_all()
                    found = {self.connect(made, session)[:2] for _ in self.gateways}
                    self.assertEqual(found, {("a", expected), ("b", expected)})

    def test_gateways_rotate_one_after_the_other(self):
        made = clients.context()
        self.rotate()
        self.assertEqual(self.gateways[0].reload()["message"], "reloaded")
        ahead, behind = (gateway.port for gateway in self.gateways)
        for begun, resumed in ((ahead, behind), (behind, ahead)):
            session = self.connect(made, port=begun)[2]
            self.assertTrue(self.connect(made, session, resumed)[1])

    def test_a_route_of_another_name(self):
        other = self.one("c", name="other")
        for version in VERSIONS:
            with self.subTest(version.name):
                made = clients.context(version=version)
                session = self.connect(made)[2]
                self.assertEqual(self.connect(made, session, other.port)[:2], ("c", False))
                session = self.connect(made, port=other.port)[2]
                self.assertFalse(self.connect(made, session)[1])


class TowardsServers(Case):
    def test_the_session_with_a_server_is_resumed(self):
        own, seen = certs.server(), []

        def serve(connection):
            seen.append(connection.session_reused)
            connection.sendall(b"hello")
            one_byte(connection)
            connection.unwrap()

        for version in VERSIONS:
            with self.subTest(version.name):
                seen.clear()
                tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                tls.load_cert_chain(own.cert, own.key)
                tls.minimum_version = tls.maximum_version = version
                server = {"address": Listener(self, serve, tls=tls).address, "ca": certs.authority().cert}
                gateway = self.gateway(tcp_route("", client={"tls": "off"}, server=server))
                for _ in range(3):
                    with clients.plain(gateway.port) as connection:
                        self.assertEqual(clients.read(connection, 5), b"hello")
                        connection.sendall(b".")
                        self.assertEqual(connection.recv(1), b"")
                self.assertEqual(seen, [False, True, True])
                gateway.stop_and_judge()


class Guide(Case):
    """docs/trust.md: its commands and its configurations, but for the two ports, as they are printed."""

    variants = ONCE
    needs = ("openssl",)
    # Route: the server that it believes, and one that it does not.
    SERVERS = {
        "verify-full": ("db1.example", "db2.example"),
        "common-name": ("db2.example", "gateway.example"),
        "verify-ca": ("db2.example", "db3.example"),
        "fingerprint": ("db3.example", "db1.example"),
        "danger-none": ("db3.example", None),
    }
    REFUSALS = {"certificate_name", "certificate_unknown_issuer", "certificate_not_allowed"}
    # Route: the client that it lets in, one that it does not, and what it says of that.
    CLIENTS = {
        "clients-by-authority": ("alice", "bob", "certificate_not_allowed"),
        "clients-by-fingerprint": ("alice", "bob", "certificate_not_allowed"),
        "revocation": ("alice", "bob", "certificate_revoked"),
        "passphrase": (None, None, None),
        "tickets": (None, None, None),
    }

    # Account: whether it is let in plain; in TLS; with the certificate of alice; of bob; of alice in TLS 1.2.
    ACCOUNTS = {
        "monitor": "yyyyy",
        "reader": "nyyyy",
        "writer": "nnyyy",
        "batch": "nyyyn",
        "auditor": "nnyyy",
        "alice": "nnyny",
        "admin": "nnynn",
        "stranger": "nnnnn",
    }

    def setUp(self):
        super().setUp()
        guide = (ROOT / "docs/trust.md").read_text()
        path = f"{BINARY.parent}:{os.environ['PATH']}"
        for commands in re.findall(r"^```sh\n(.*?)^```", guide, re.DOTALL | re.MULTILINE):
            done = run("sh", "-ec", commands, cwd=self.scratch, env=os.environ | {"PATH": path})
            self.assertEqual(done.returncode, 0, f"{commands}\n{done.stderr}")
        blocks = re.findall(r"^```toml\n(.*?)^```", guide, re.DOTALL | re.MULTILINE)
        self.configurations = {re.search(r'^name = "(.*)"$', text, re.MULTILINE)[1]: text for text in blocks}
        self.assertEqual(len(self.configurations), len(blocks), "names are unique")

    def file(self, name: str) -> Path:
        return self.scratch / name

    def printed(self, name: str, server: str) -> Gateway:
        port = free_port()
        gateway = Gateway(self.scratch, [tcp_route("", f"127.0.0.1:{port}")])
        text = self.configurations[name].replace("127.0.0.1:6380", f"127.0.0.1:{port}")
        gateway.config.write_text(text.replace("127.0.0.1:6379", server))
        self.start(gateway)
        self.addCleanup(gateway.stop_and_judge)
        return gateway

    def test_every_configuration_is_run_or_checked(self):
        self.assertEqual(set(self.configurations), {"system", "accounts", *self.SERVERS, *self.CLIENTS})
        for name, text in self.configurations.items():
            with self.subTest(name):
                config = self.file("checked.toml")
                config.write_text(text)
                done = run(BINARY, "check", "--config", config)
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_servers(self):
        for name, (believed, other) in self.SERVERS.items():
            with self.subTest(name):
                gateway = self.printed(name, self.server(believed))
                if name.startswith("danger"):
                    self.assertIn(name, gateway.claimed(message="danger")["danger"])
                with clients.plain(gateway.port) as connection:
                    self.assertEqual(clients.ask(connection, b"hello"), b"hello")
                    connection.shutdown(socket.SHUT_WR)
                    self.assertEqual(connection.recv(1), b"")
                gateway.stop_and_judge()
                if not other:
                    continue
                gateway = self.printed(name, self.server(other))
                with clients.plain(gateway.port) as connection:
                    self.assert_refused(connection)
                    failure = gateway.failed(clients.name(connection), self.REFUSALS, HANDSHAKE_FAILED)
                    self.assertIn(f"CN={other}", failure["reason"])
                gateway.stop_and_judge()

    def server(self, name: str) -> str:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self.file(f"{name}.pem"), self.file(f"{name}-key.pem"))

        def serve(connection):
            echo(connection)
            connection.unwrap()

        return Listener(self, serve, tls=tls).address

    def test_clients(self):
        server = Listener(self, echo).address
        for name, (welcome, other, why) in self.CLIENTS.items():
            with self.subTest(name):
                gateway = self.printed(name, server)
                with self.connect(gateway, welcome) as connection:
                    self.assertEqual(clients.ask(connection, b"hello"), b"hello")
                    connection.unwrap()
                if other:
                    connection = self.connect(gateway, other)
                    self.addCleanup(connection.close)
                    self.assert_refused(connection)
                    failure = gateway.failed(clients.name(connection), why, HANDSHAKE_FAILED)
                    self.assertIn(f"CN={other}", failure["reason"])
                gateway.stop_and_judge()

    def test_accounts(self):
        server = databases.plain_mariadb()
        server.execute(*(f"CREATE USER '{user}'@'%' IDENTIFIED BY '{PASSWORD}'" for user in self.ACCOUNTS))
        self.addCleanup(server.execute, *(f"DROP USER '{user}'@'%'" for user in self.ACCOUNTS))
        gateway = self.printed("accounts", server.address)
        older = self.context("alice")
        older.maximum_version = ssl.TLSVersion.TLSv1_2
        contexts = (None, self.context(None), self.context("alice"), self.context("bob"), older)
        for user, expected in self.ACCOUNTS.items():
            found = "".join("y" if self.is_allowed(gateway, user, context) else "n" for context in contexts)
            self.assertEqual(found, expected, user)
        gateway.judges_failures = False

    def is_allowed(self, gateway: Gateway, user: str, context: ssl.SSLContext | None) -> bool:
        client = Client(clients.plain(gateway.port))
        self.addCleanup(client.close)
        client.greet()
        login = client.prepare(user)
        if context:
            client.upgrade(context, login, server="gateway.example")
        try:
            client.login(login, PASSWORD)
            client.quit()
            return True
        except ServerError as error:
            self.assertEqual((error.code, error.state), (1045, "28000"))
            return False

    def connect(self, gateway: Gateway, client: str | None) -> ssl.SSLSocket:
        made = self.context(client)
        return made.wrap_socket(clients.plain(gateway.port), server_hostname="gateway.example")

    def context(self, client: str | None) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=str(self.file("ca.pem")))
        if client:
            made.load_cert_chain(self.file(f"{client}.pem"), self.file(f"{client}-key.pem"))
        return made

    def assert_refused(self, connection) -> None:
        with self.assertRaises((ssl.SSLError, ConnectionError, EOFError)):
            clients.ask(connection, b"hello")
