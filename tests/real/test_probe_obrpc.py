"""`sealwire probe --obrpc`: what it says of OB-RPC ports of every policy, and of ports that are none."""

import json
import socket
from dataclasses import dataclass

from harness import certs
from harness.case import BACKENDS, ONCE, Case, free_port
from harness.gateway import BINARY
from harness.netns import Namespace
from harness.obrpc import INCUMBENT, RpcServer
from harness.process import run
from harness.servers import Listener
from peers import rpc
from test_obrpc import plain_clients, rpc_route, tls_clients

CA = ("--ca", certs.authority().cert)
OWN = ("--cert", certs.client().cert, "--key", certs.client().key)


@dataclass
class Report:
    code: int
    text: str
    messages: str

    @property
    def facts(self) -> dict:
        return json.loads(self.text)

    @property
    def port(self) -> dict:
        return self.facts["obrpc"]

    def attempt(self, way: str, shows_certificate: bool = False) -> dict:
        attempts = self.port["attempts"]
        (attempt,) = (a for a in attempts if (a["way"], a["client_certificate"]) == (way, shows_certificate))
        return attempt

    def how(self, way: str, shows_certificate: bool = False) -> str:
        return self.attempt(way, shows_certificate)["how"]


def probe(port: int | str, *flags, launcher: tuple = ()) -> Report:
    target = port if isinstance(port, str) else f"127.0.0.1:{port}"
    done = run(*launcher, BINARY, "probe", "--obrpc", target, *CA, *flags, text=False)
    return Report(done.returncode, done.stdout.decode(), done.stderr.decode())


def as_json(port: int | str, *flags, **where) -> Report:
    return probe(port, "--json", *flags, **where)


class ProbePeers(Case):
    """Servers that are written from OceanBase's habits alone."""

    variants = ONCE

    def test_every_policy(self):
        """Each method is taken where it is offered and nowhere else, and the faults are those of the policy."""
        demanding = ("--demands-client-certificate",)
        rows = [
            # Methods, habits, faults with a certificate and without.
            ("ssl_io", demanding, ["table_api"], ["certificate_demanded", "table_api"]),
            ("ssl_io", (), ["unauthenticated", "table_api"], ["unauthenticated", "table_api"]),
            ("ssl_io", INCUMBENT, ["table_api", "ssl_no_encrypt"],
             ["certificate_demanded", "table_api", "ssl_no_encrypt"]),
            ("ssl_no_encrypt", demanding, ["ssl_io_refused", "table_api", "ssl_no_encrypt"],
             ["ssl_io_refused", "table_api", "ssl_no_encrypt"]),
            ("none", (), ["ssl_io_refused", "plaintext"], ["ssl_io_refused", "plaintext"]),
            ("none,ssl_no_encrypt,ssl_io", demanding, ["plaintext", "ssl_no_encrypt"],
             ["certificate_demanded", "plaintext", "ssl_no_encrypt"]),
        ]
        for methods, habits, *faults in rows:
            server = RpcServer(self, *habits, methods=methods)
            for flags, expected in zip((OWN, ()), faults):
                with self.subTest(methods=methods, habits=habits, flags=flags):
                    report = as_json(server.port, *flags)
                    self.assertEqual(report.port["faults"], expected, report.text)
                    self.assertEqual(report.code, 1, report.messages)
                    for way in ("none", "plain", "libeasy"):
                        self.assertEqual(report.attempt(way)["taken"], "none" in methods.split(","), way)
                    self.assertEqual(report.port["direct_tls"], False)
                    self.assertEqual(report.port["plaintext"], "none" in methods.split(","))
                    self.assertEqual(report.port["net_keepalive"], True)
                    self.assertEqual(report.port["loopback_exempt"], False)
                    self.assertEqual(report.facts["protocol"], "obrpc")

    def test_how_a_server_refuses(self):
        server = RpcServer(self, *INCUMBENT, methods="ssl_io")
        report = as_json(server.port, *OWN)
        taken = report.attempt("ssl_io", True)
        self.assertEqual((taken["how"], taken["rcode"], taken["acknowledged"]), ("answered", -4118, True))
        self.assertEqual((taken["version"], taken["application_protocol"]), ("1.2", None))
        self.assertIs(report.port["bound"], False)
        anybody = report.attempt("ssl_io")
        self.assertEqual((anybody["how"], anybody["acknowledged"]), ("alert", True))
        none = report.attempt("none")
        self.assertEqual((none["taken"], none["acknowledged"], none["version"]), (False, None, None))
        self.assertIn(none["how"], ("closed", "reset"))
        self.assertTrue(report.facts["verify"]["verify_full"])
        self.assertEqual(report.facts["client_certificate"], {"requested": True, "presented": True})
        bypassed = as_json(RpcServer(self, "--bypass", methods="ssl_io").port)
        for way in ("none", "plain"):
            self.assertEqual((bypassed.how(way), bypassed.attempt(way)["rcode"]), ("error_packet", -4174))
        self.assertEqual((bypassed.port["plaintext"], bypassed.port["table_api"]), (False, True))

    def test_a_refusal_behind_the_handshake_is_seen(self):
        """In TLS 1.3 a client without a certificate believes all to be well until its call is answered."""
        server = RpcServer(self, "--demands-client-certificate", methods="ssl_io")
        report = as_json(server.port)
        attempt = report.attempt("ssl_io")
        self.assertEqual((attempt["version"], attempt["how"], attempt["taken"]), ("1.3", "alert", False))
        self.assertIn("a client certificate is demanded; give one with --cert and --key", report.messages)

    def test_verification(self):
        server = RpcServer(self, "--demands-client-certificate", methods="ssl_io")
        report = as_json(server.port, *OWN, "--server-name", "other.example")
        self.assertEqual(report.port["faults"], ["not_believed", "table_api"])
        self.assertEqual(report.facts["verify"]["refusal"]["class"], "certificate_name")
        self.assertIn('tls = "verify-full" would not believe the server', report.messages)
        foreign = certs.client("mallory", "other")
        report = as_json(server.port, "--cert", foreign.cert, "--key", foreign.key)
        self.assertEqual((report.how("ssl_io", True), report.port["faults"][0]), ("alert", "ssl_io_refused"))
        self.assertIn("asked for, and ours was shown", probe(
            server.port, "--cert", foreign.cert, "--key", foreign.key).text)

    def test_the_rule_for_127_0_0_1_is_told_from_a_silent_port(self):
        server = RpcServer(self, "--incumbent", methods="ssl_io")
        flags = (*OWN, "--timeout", 1)
        report = as_json(server.port, *flags)
        self.assertEqual(report.port["faults"], ["loopback_exempt"])
        self.assertEqual(report.attempt("ssl_io", True)["how"], "silent")
        self.assertEqual(report.attempt("ssl_io", True)["acknowledged"], False)
        text = probe(server.port, *flags).text
        self.assertIn("speaks in the clear", text)
        self.assertIn("compat_loopback", text)

        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        report = probe(silent.getsockname()[1], *flags)
        self.assertIn("nothing that came back is OB-RPC", report.messages)
        self.assertIn("this port answers neither way", report.text)
        self.assertNotIn("answers neither way", text)

    def test_the_same_server_from_another_address(self):
        namespace = Namespace()
        self.addCleanup(namespace.remove)
        server = RpcServer(self, "--incumbent", "--host", namespace.outer_address, methods="ssl_io")
        report = as_json(
            f"{namespace.outer_address}:{server.port}", *OWN, "--server-name", "localhost",
            launcher=tuple(namespace.command()),
        )
        self.assertEqual(report.port["faults"], ["table_api", "ssl_no_encrypt"], report.text)
        self.assertIsNone(report.port["loopback_exempt"])


class ProbeGateway(Case):
    variants = BACKENDS

    def test_routes_of_each_policy(self):
        server = RpcServer(self)
        rows = [
            ({"client": tls_clients()}, OWN, []),
            ({"client": tls_clients(require_binding=True)}, OWN, []),
            ({"client": tls_clients()}, (), ["certificate_demanded"]),
            ({"client": tls_clients(client_cert="optional")}, OWN, ["unauthenticated"]),
            ({"client": tls_clients("ssl_no_encrypt")}, OWN, ["ssl_io_refused", "ssl_no_encrypt"]),
            ({"client": tls_clients("ssl_io", "none")}, OWN, ["plaintext"]),
            ({"client": plain_clients()}, OWN, ["ssl_io_refused", "plaintext"]),
            ({"client": tls_clients(direct_tls=True)}, OWN, []),
            ({"client": tls_clients(direct_tls=True)}, (), ["certificate_demanded"]),
            ({"client": tls_clients(direct_tls=True, client_cert="optional")}, (), ["unauthenticated"]),
            ({"client": tls_clients(danger_bypass="table-api")}, OWN, ["table_api"]),
            ({"client": tls_clients(danger_bypass="everybody")}, OWN, ["table_api"]),
            ({"client": tls_clients(compat_loopback=True)}, (*OWN, "--timeout", 1), ["loopback_exempt"]),
        ]
        routes = [rpc_route(f"127.0.0.1:{server.port}", **sides) | {"name": f"r{i}"}
                  for i, (sides, _, _) in enumerate(rows)]
        gateway = self.gateway(*routes)
        gateway.judges_failures = False
        for route, (_, flags, faults) in zip(routes, rows):
            with self.subTest(route["client"], flags=len(flags)):
                report = as_json(route["listen"][0], *flags)
                self.assertEqual(report.port["faults"], faults, report.text)
                self.assertEqual(report.code, 1 if faults else 0, report.messages)
                is_direct = "direct_tls" in route["client"] and "certificate_demanded" not in faults
                self.assertEqual(report.port["direct_tls"], is_direct)
                is_plain = "none" in route["client"]["method"] or "compat_loopback" in route["client"]
                self.assertEqual(report.attempt("libeasy")["taken"], is_plain)
                if report.port["ssl_io"]:
                    self.assertTrue(report.port["bound"])
                    attempt = report.attempt("ssl_io", flags[:4] == OWN)
                    self.assertEqual(attempt["application_protocol"], "ob-rpc/io")
                    self.assertEqual(report.facts["tls"]["version"], "1.3")
        report = probe(routes[0]["listen"][0], *OWN)
        self.assertEqual(report.messages, "")
        self.assertIn("  verdict       good: ", report.text)
        self.assertIn("error packet", report.text)


class ProbeOthers(Case):
    """Ports that are none of OB-RPC."""

    variants = ONCE

    def test_each_ends_by_itself_with_clear_words(self):
        def flood(connection):
            while True:
                connection.sendall(b"\x9b2J\x1b]0;\x07" * 4096)

        def flood_behind_the_acknowledgement(connection):
            connection.sendall(connection.recv(28))
            flood(connection)

        def answer_what_was_not_asked(connection):
            """Answers of OB-RPC, and none to any call: empty responses on another channel."""
            frame = bytes.fromhex("01dbdbce" "00000000" "ffffffff" "00000000")
            while True:
                connection.sendall(frame * 1024)

        def greet(connection):
            connection.sendall(b"J\0\0\0\n8.0.36\0" + bytes(67))
            connection.recv(4096)

        def http(connection):
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        rows = [
            ("garbage", flood, "not_obrpc"),
            ("other answers", answer_what_was_not_asked, "not_obrpc"),
            ("MySQL", greet, "not_obrpc"),
            ("HTTP", http, "not_obrpc"),
            # Read to its end, since a close with bytes unread is a reset.
            ("closes", lambda connection: connection.recv(4096), "closed"),
        ]
        for name, serve, how in rows:
            with self.subTest(name):
                report = self.judge(Listener(self, serve).address, "--timeout", 2)
                self.assertEqual(report.port["faults"], ["not_obrpc"], report.text)
                self.assertIn(how, {attempt["how"] for attempt in report.port["attempts"]}, report.text)
                self.assertIn("is it an RPC port?", report.messages)
        report = self.judge(Listener(self, flood_behind_the_acknowledgement).address, "--timeout", 2)
        self.assertEqual(report.how("ssl_io"), "not_tls")
        self.assertIn("ssl_io_refused", report.port["faults"])

    def judge(self, target: str, *flags) -> Report:
        """It ends by itself, and nothing that the server chose reaches the terminal."""
        report = as_json(target, *flags)
        text = probe(target, *flags)
        self.assertEqual((report.code, text.code), (1, 1), report.messages)
        for printed in (report.text, text.text, report.messages, text.messages):
            self.assertNotRegex(printed, r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")
        return report

    def test_a_closed_port(self):
        target = f"127.0.0.1:{free_port()}"
        report = as_json(target)
        self.assertEqual((report.code, report.port), (1, None))
        self.assertEqual(report.facts["error"]["class"], "io")
        self.assertTrue(report.messages.startswith(f"sealwire: {target}: connect to "), report.messages)

    def test_a_server_with_words_of_its_own(self):
        """The text of an error packet is the server's choice."""
        def serve(connection):
            if connection.recv(4, socket.MSG_PEEK) != rpc.MAGIC:
                return
            request = rpc.read_packet(connection.makefile("rb"))
            payload = rpc.result_code(-4012, b"no\x1b[2J\x9b\xe2\x80\xae!")
            connection.sendall(rpc.Packet(request.pcode, payload, request.chid, flags=rpc.RESPONSE).encode())

        report = self.judge(Listener(self, serve).address, "--timeout", 2)
        self.assertEqual(report.attempt("plain")["rcode"], -4012)
        self.assertIn("TIMEOUT (-4012)", report.attempt("plain")["reason"])

    def test_wrong_usage(self):
        target = f"127.0.0.1:{free_port()}"
        for flag in (("--mysql",), ("--tls",), ("--user", "app")):
            report = probe(target, *flag)
            self.assertEqual(report.code, 2)
            self.assertIn("cannot be used with", report.messages)
