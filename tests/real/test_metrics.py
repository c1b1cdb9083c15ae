"""Metrics, the status page and the health of a gateway, against what really happened."""

import signal
import socket
import ssl

from harness import certs, clients, databases, pki
from harness.case import ONCE, Case, free_port, tcp_route
from harness.chromium import Chromium
from harness.gateway import BINARY
from harness.metrics import Metrics
from harness.mysql_case import (
    PLAIN,
    TLS_1_2,
    TLS_1_3,
    MysqlCase,
    client_side,
    enter,
    greeted,
    port_of,
    route,
    server_side,
    to_address,
)
from harness.process import run, until
from harness.servers import Listener, echo
from peers.mysql import DEFAULT_CAPABILITIES, SSL, Client, Greeting, Login, ServerError, Wire

QUERY = "SELECT 1"
# A command is its packet's header, its code and its text; COM_QUIT is one without text.
QUERY_LEN, QUIT_LEN = 4 + 1 + len(QUERY), 4 + 1

# A common name and a user that would be markup if they could.
SCRIPT = '<script>document.title="taken"</script>'
USER = "eve\n\"'</td><b>\t\\n"


def metrics_address() -> str:
    return f"127.0.0.1:{free_port()}"


def stand_still(connection: socket.socket) -> None:
    """A server of MySQL that offers TLS and, asked for it, does nothing."""
    wire, greeting = Wire(connection), Greeting()
    greeting.capabilities |= SSL
    wire.write(greeting.encode())
    while connection.recv(65536):
        pass


class Counted(MysqlCase):
    def open(self, *routes: dict, **settings) -> Metrics:
        address = metrics_address()
        self.proxy = self.gateway(*routes, metrics=address, **settings)
        self.metrics = Metrics(address)
        return self.metrics

    def until_closed(self, name: str) -> None:
        until(lambda: self.metrics.scrape().sum("sealwire_connections", route=name) == 0, "all connections are closed")


class Figures(Counted):
    def test_sessions_of_mysql(self):
        """Whatever is counted is as often there as it was done."""
        database = databases.mariadb()
        metrics = self.open(route("orders", client_side("preferred"), server_side(database, "verify-full")))
        (user,) = database.accounts.values()
        ways = [TLS_1_3, TLS_1_3, TLS_1_3, TLS_1_2, PLAIN]
        sessions = [enter(self.proxy.port, user, way) for way in ways]
        for session in sessions:
            session.query(QUERY)
        self.assertEqual(metrics.scrape().sum("sealwire_connections", route="orders"), len(ways))
        for session in sessions:
            session.quit()
        self.distrust()
        self.until_closed("orders")
        found = metrics.scrape()
        self.assertEqual(found.sum("sealwire_connections_total", route="orders"), len(ways) + 1)
        for version, way in (("1.2", TLS_1_2), ("1.3", TLS_1_3)):
            done = found.sum("sealwire_handshakes_total", side="client", result="ok", version=version)
            self.assertEqual(done, ways.count(way), version)
        self.assertEqual(found.sum("sealwire_handshakes_total", side="client", result="failed"), 1)
        self.assertEqual(found.sum("sealwire_handshakes_total", side="server", result="failed"), 0)
        # The login of the client that left is brought to its end at the server, in TLS.
        self.assertEqual(found.sum("sealwire_handshakes_total", side="server", result="ok"), len(ways) + 1)
        self.assertEqual(found.sum("sealwire_handshake_duration_seconds_count", side="client"), 4)
        self.assertEqual(found.sum("sealwire_handshake_duration_seconds_count", side="server"), len(ways) + 1)
        self.assertEqual(found.sum("sealwire_connect_duration_seconds_count", route="orders"), len(ways) + 1)
        for name in ("connect", "handshake"):
            self.assertGreater(found.sum(f"sealwire_{name}_duration_seconds_sum"), 0)
        sent = found.sum("sealwire_bytes_total", direction="to_server")
        self.assertEqual(sent, len(ways) * (QUERY_LEN + QUIT_LEN))
        self.assertGreater(found.sum("sealwire_bytes_total", direction="to_client"), sent)
        self.assertEqual(found.sum("sealwire_failures_total", route="orders"), 1)
        self.assertGreater(found.sum("sealwire_loop_busy_seconds_total", worker="0"), 0)

    def distrust(self) -> None:
        """A client that believes another authority, and breaks the handshake off."""
        client = greeted(self.proxy.port)
        peer = clients.name(client.wire.socket)
        with self.assertRaises(ssl.SSLError):
            client.upgrade(pki.context(issuer="Another CA"))
        client.close()
        self.proxy.failed(peer, {"tls_alert", "truncated", "io"})

    def test_handshakes_that_stand_still(self):
        """They have failed when their time is over, which is the login's."""
        side = server_side(databases.mariadb(), "off")
        still = to_address(Listener(self, stand_still).address, "verify-full")
        metrics = self.open(
            route("client", client_side("required"), side, handshake_timeout_s=1),
            route("server", client_side("off"), still, handshake_timeout_s=1),
        )
        self.proxy.judges_failures = False
        with greeted(port_of(self.proxy.routes[0])) as client:
            client.wire.write(Login("", capabilities=DEFAULT_CAPABILITIES | SSL).head())
            self.until_closed("client")
        with self.assertRaises(ServerError):
            enter(port_of(self.proxy.routes[1]), "native", PLAIN)
        self.until_closed("server")
        found = metrics.scrape()
        for name in ("client", "server"):
            self.assertEqual(found.sum("sealwire_handshakes_total", route=name, side=name, result="failed"), 1)
            self.assertEqual(found.sum("sealwire_failures_total", route=name, reason="timeout"), 1)

    def test_bytes_and_resumptions_of_any_protocol(self):
        name = "any \"name\"\\"
        metrics = self.open(tcp_route(Listener(self, echo).address, name=name))
        session, context = None, clients.context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        for _ in range(3):
            with clients.tls(self.proxy.port, context, session=session) as connection:
                clients.ask(connection, bytes(1_000))
                session = connection.session
                connection.unwrap()
        self.until_closed(name)
        found = metrics.scrape()
        self.assertEqual(found.sum("sealwire_handshakes_total", route=name, result="ok", resumed="false"), 1)
        self.assertEqual(found.sum("sealwire_handshakes_total", route=name, result="ok", resumed="true"), 2)
        for direction in ("to_server", "to_client"):
            self.assertEqual(found.sum("sealwire_bytes_total", route=name, direction=direction), 3_000)

    def test_refusals_and_servers_that_are_down(self):
        metrics = self.open(
            tcp_route(f"127.0.0.1:{free_port()}", name="down", client={"tls": "off"}),
            tcp_route(Listener(self, echo).address, name="full", client={"tls": "off"}, max_connections=1),
        )
        self.proxy.judges_failures = False
        down, full = (port_of(it) for it in self.proxy.routes)
        self.turned_away(down)
        with clients.plain(full) as first:
            clients.ask(first, b"in use")
            self.turned_away(full)
        self.until_closed("full")
        found = metrics.scrape()
        self.assertEqual(found.sum("sealwire_failures_total", route="down", reason="io"), 1)
        self.assertEqual(found.sum("sealwire_failures_total", route="full", reason="limit"), 1)
        self.assertEqual(found.sum("sealwire_connections_total", route="full"), 1)
        self.assertEqual(found.sum("sealwire_connect_duration_seconds_count", route="down"), 0)


    def turned_away(self, port: int) -> None:
        """A reset, which may come before connect has returned."""
        try:
            with clients.plain(port) as connection:
                self.assertTrue(clients.is_ended(connection))
        except ConnectionResetError:
            pass


class Live(Counted):
    variants = ONCE

    def test_the_account_is_the_one_of_now(self):
        metrics = self.open(route("orders", client_side("preferred"), server_side(databases.mariadb(), "off")))
        with enter(self.proxy.port, "native") as session:
            until(lambda: "<div>native</div>" in metrics.get("/")[1], "the account is shown")
            session.change_user("u_none", databases.PASSWORD)
            until(lambda: "<div>u_none</div>" in metrics.get("/")[1], "the other account is shown")
            self.assertNotIn("native", metrics.get("/")[1])
            session.quit()
        until(lambda: "There are none." in metrics.get("/")[1], "the connection is gone")


class Reload(Counted):
    variants = ONCE

    def test_counters_stay_and_a_failure_shows(self):
        metrics = self.open(tcp_route(Listener(self, echo).address))
        proxy = self.proxy

        def visit():
            with clients.tls(proxy.port) as connection:
                clients.ask(connection, b"hello")
                connection.unwrap()
            self.until_closed("test")

        visit()
        started = metrics.scrape().sum("sealwire_config_last_reload_success_timestamp_seconds")
        own = proxy.routes[0]["client"]["cert"]
        proxy.routes[0]["client"]["cert"] = self.scratch / "no <such> file.pem"
        proxy.write_config()
        self.assertEqual(proxy.reload()["message"], "reload failed")
        until(lambda: metrics.scrape().sum("sealwire_reloads_total", result="failed") == 1, "the failure is counted")
        found = metrics.scrape()
        self.assertEqual(found.sum("sealwire_config_last_reload_successful"), 0)
        self.assertEqual(found.sum("sealwire_config_last_reload_success_timestamp_seconds"), started)
        self.assertEqual(found.sum("sealwire_connections_total"), 1)
        self.assertIn("no &lt;such&gt; file.pem", metrics.get("/")[1])

        proxy.routes[0]["client"]["cert"] = own
        proxy.write_config()
        self.assertEqual(proxy.reload()["message"], "reloaded")
        until(lambda: metrics.scrape().sum("sealwire_reloads_total", result="ok") == 1, "the success is counted")
        visit()
        found = metrics.scrape()
        self.assertEqual(found.sum("sealwire_config_last_reload_successful"), 1)
        self.assertEqual(found.sum("sealwire_connections_total"), 2)
        self.assertEqual(found.sum("sealwire_bytes_total", direction="to_server"), 10)


class Certificates(Counted):
    variants = ONCE

    def test_their_expiry(self):
        route = tcp_route(Listener(self, echo).address)
        # Two of one name, as while an authority is replaced: the first to end counts.
        authority = certs.authority().cert.read_text()
        both = self.scratch / "authorities.pem"
        both.write_text(authority + authority)
        route["client"]["ca"] = both
        metrics = self.open(route)
        samples = metrics.scrape().of("sealwire_certificate_expiry_timestamp_seconds")
        found = {sample.labels["kind"]: sample for sample in samples}
        self.assertEqual((len(samples), set(found)), (2, {"certificate", "authority"}))
        for kind, path in (("certificate", route["client"]["cert"]), ("authority", certs.authority().cert)):
            text = ssl._ssl._test_decode_cert(str(path))["notAfter"]
            self.assertEqual(found[kind].value, ssl.cert_time_to_seconds(text))
        labels = {"route": "test", "side": "client", "kind": "certificate", "subject": "CN=localhost"}
        self.assertEqual(found["certificate"].labels, labels)


class Health(Counted):
    variants = ONCE

    def test_a_drain_and_the_gateway_after_it(self):
        """While one drains it is not healthy, and its successor serves without metrics until it has gone."""
        listener = Listener(self, echo)
        metrics = self.open(tcp_route(listener.address, client={"tls": "off"}), drain_timeout_s=600)
        self.assertEqual(metrics.get("/healthz"), (200, "serving\n"))
        old, routes = self.proxy, self.proxy.routes
        with clients.plain(old.port) as connection:
            clients.ask(connection, b"going on")
            old.signal(signal.SIGTERM)
            until(lambda: metrics.get("/healthz") == (503, "draining\n"), "it is not healthy any more")
            self.assertEqual(metrics.scrape().sum("sealwire_draining"), 1)

            new = self.gateway(*routes, metrics=f"{metrics.host}:{metrics.port}")
            new.claimed(message="metrics wait for their address")
            with clients.plain(new.port) as other:
                self.assertEqual(clients.ask(other, b"served"), b"served")
            self.assertEqual(metrics.get("/healthz"), (503, "draining\n"))
        self.assertEqual(old.wait(), 0)
        new.wait_event(message="metrics")
        self.assertEqual(metrics.get("/healthz"), (200, "serving\n"))


class Exposed(Counted):
    variants = ONCE

    def test_beyond_loopback(self):
        """By its address and by the names that it was given; the log and `check` say what that means."""
        address = f"0.0.0.0:{free_port()}"
        settings = {"metrics_names": ["gateway.example"], "danger_expose_metrics": True}
        gateway = self.gateway(tcp_route(Listener(self, echo).address), metrics=address, **settings)
        gateway.claimed(message="danger", level="WARN")
        metrics = Metrics(address)
        for host, code in (("10.0.0.1:9464", 200), ("gateway.example", 200), ("other.example", 421)):
            self.assertEqual(metrics.get("/healthz", Host=host)[0], code, host)
        checked = run(BINARY, "check", "--config", gateway.config)
        self.assertIn(f"metrics and status page on {address}\n  DANGER: danger_expose_metrics", checked.stdout)

        gateway.settings["danger_expose_metrics"] = False
        gateway.write_config()
        checked = run(BINARY, "check", "--config", gateway.config)
        self.assertEqual(checked.returncode, 2)
        self.assertIn("is not on loopback", checked.stderr)


class Hostile(Counted):
    variants = ONCE

    def setUp(self):
        super().setUp()
        self.open(tcp_route(Listener(self, echo).address, client={"tls": "off"}))

    def test_requests_that_are_not_answered(self):
        for request, code in (
            (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
            (b"GET /metrics HTTP/1.1\r\nHost: evil.example:80\r\n\r\n", 421),
            (b"GET / HTTP/1.1\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n\r\n", 400),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
            (b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
            (b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
            (b"GET http://localhost/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
            (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody", 405),
            (b"OPTIONS /metrics HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n", 405),
            (b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: " + b"a" * 100_000, 431),
            (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200, 431),
        ):
            answer = self.metrics.send(request)
            self.assertTrue(answer.startswith(b"HTTP/1.1 %d " % code), (request[:60], answer[:60]))
            self.assertNotIn(b"Access-Control", answer)
            self.assertNotIn(b"root:", answer)

    def test_a_request_that_never_ends(self):
        answer = self.metrics.send(b"GET / HTTP/1.1\r\nHost: loc")
        self.assertTrue(answer.startswith(b"HTTP/1.1 408 "), answer[:60])

    def test_more_connections_than_there_is_room_for(self):
        """Neither a scrape nor a session waits for those that only hold on."""
        address = (self.metrics.host, self.metrics.port)
        with clients.plain(self.proxy.port) as session:
            holding = []
            for _ in range(500):
                connection = socket.create_connection(address, timeout=20)
                connection.sendall(b"GET /metrics HTTP/1.1\r\nHo")
                self.addCleanup(connection.close)
                holding.append(connection)
            self.assertEqual(clients.ask(session, b"served"), b"served")
            self.assertEqual(self.metrics.scrape().sum("sealwire_connections"), 1)
            # The first was let go to make room, and not because its time was over.
            self.assertTrue(clients.is_ended(holding[0]))


class Page(Counted):
    variants = ONCE
    needs = ("chromium",)

    def open_page(self) -> Chromium:
        """A page with what a peer may do to it: two clients, one of them with a script for its name."""
        database = databases.mariadb()
        quoted = USER.replace("\\", "\\\\").replace("'", "\\'")
        database.execute(f"CREATE OR REPLACE USER '{quoted}'@'%' IDENTIFIED BY ''")
        self.addCleanup(database.execute, f"DROP USER '{quoted}'@'%'")
        side = client_side("preferred", ca=pki.authority().cert, client_cert="optional")
        metrics = self.open(
            route("orders", side, server_side(database, "verify-full")),
            tcp_route(Listener(self, echo).address, name="anamewithoutabreak" * 5),
        )
        script = pki.client(SCRIPT.replace("/", "\\/"))
        (user,) = database.accounts.values()
        sessions = [
            Client.connect("127.0.0.1", self.proxy.port, USER, "", pki.context(script)),
            enter(self.proxy.port, user, TLS_1_2),
            enter(self.proxy.port, user, PLAIN),
        ]
        for session in sessions:
            session.query(QUERY)
            self.addCleanup(session.close)
        browser = Chromium(self.scratch)
        self.start(browser)
        self.url = f"http://{metrics.host}:{metrics.port}/"
        return browser

    def test_what_peers_wrote_is_text(self):
        browser = self.open_page()
        browser.show(self.url, width=1280)
        self.assertEqual(browser.evaluate("document.title"), "Sealwire gateway")
        self.assertEqual(browser.evaluate("document.scripts.length"), 0)
        self.assertEqual(browser.evaluate("document.querySelectorAll('td b').length"), 0)
        rows = browser.evaluate(
            "Array.from(document.querySelectorAll('table:last-of-type tbody tr'),"
            " row => Array.from(row.cells, cell => cell.textContent))"
        )
        self.assertEqual(len(rows), 3, rows)
        self.assertEqual({len(row) for row in rows}, {8}, rows)
        (row,) = [row for row in rows if row[1].startswith("eve")]
        # The newline and the tab are written out; the rest stands as it came.
        self.assertEqual(row[1], "eve\\n\"'</td><b>\\t\\n")
        self.assertEqual(row[2], "/C=CN/O=Test Org/CN=" + SCRIPT.replace("/", "\\/"))
        self.assertEqual(browser.evaluate("document.querySelectorAll('td i').length"), 2)
        self.assertEqual(row[3], "1.3TLS_AES_256_GCM_SHA384")
        self.assertEqual(sorted(row[3][:3] for row in rows), ["1.2", "1.3", "–"])
        self.assertEqual([row[5] for row in rows], ["orders"] * 3)
        for row in rows:
            self.assertRegex(row[7], f"^↑ {QUERY_LEN} B↓ \\d+ B$")

    def test_it_fits_a_phone_and_a_desk(self):
        browser = self.open_page()
        for width in (360, 768, 1280):
            for scheme in ("light", "dark"):
                with self.subTest(width=width, scheme=scheme):
                    browser.show(self.url, width=width, scheme=scheme)
                    self.assertEqual(browser.evaluate("window.innerWidth"), width)
                    self.assertEqual(browser.evaluate("document.documentElement.scrollWidth"), width)
                    beyond = browser.evaluate(
                        "Array.from(document.body.querySelectorAll('*'))"
                        f".filter(it => it.getBoundingClientRect().right > {width}).map(it => it.outerHTML)"
                    )
                    self.assertEqual(beyond, [])
                    ground = browser.evaluate("getComputedStyle(document.body).backgroundColor")
                    self.assertEqual(ground, {"light": "rgb(245, 246, 248)", "dark": "rgb(16, 21, 28)"}[scheme])
