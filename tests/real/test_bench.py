"""`sealwire bench`: real servers, every bad input, and what it says where they fail."""

import json
import re
import signal
import ssl
import subprocess
from pathlib import Path

from harness import certs, databases, pki
from harness.case import ONCE, Case, free_port
from harness.gateway import BINARY
from harness.process import run
from harness.servers import Listener, echo

TEST_CA = ("--ca", certs.authority().cert)
SHORT = ("--warmup", 0, "--duration", 1, "--timeout", 3)


def bench(*words):
    return run(BINARY, "bench", *words)


class Bench(Case):
    variants = ONCE

    def mysql(self, *flags, password=databases.PASSWORD):
        server = databases.mariadb()
        secret = self.scratch / "password"
        secret.write_text(password + "\n")
        user = next(iter(server.accounts.values()))
        login = ("--user", user, "--password-file", secret, "--ca", pki.authority().cert)
        return bench("mysql", f"127.0.0.1:{server.port}", *login, *flags)

    def tls_echo(self, serve=echo) -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certs.server().cert, certs.server().key)
        return Listener(self, serve, tls=context).address

    def check(self, done, ways: list[str]) -> dict:
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual([way["name"] for way in report["ways"]], ways)
        for way in report["ways"]:
            self.assertEqual((way["errors"], way["missed"]), ({}, 0))
            self.assertGreater(way["requests"], 0)
            percentiles = [way[f"{name}_us"] for name in ("p50", "p90", "p99", "p99.9", "max")]
            self.assertEqual(percentiles, sorted(percentiles))
            self.assertEqual(way["tls"] is not None, way["name"] == "TLS")
        return report

    def test_mariadb_both_ways_with_all_outputs(self):
        hgrm, plot = self.scratch / "out.hgrm", self.scratch / "out.svg"
        done = self.mysql(*SHORT, "-c", 4, "--depth", 4, "--compare-plain", "--json", "--hgrm", hgrm, "--plot", plot)
        report = self.check(done, ["TLS", "plaintext"])
        self.assertGreater(report["ratio"]["p50"], 0)
        for path, way in zip((hgrm, Path(f"{hgrm}.plain")), report["ways"]):
            total = re.search(r"Total count    = +(\d+)\]", path.read_text())[1]
            self.assertEqual(int(total), way["requests"])
        svg = plot.read_text()
        self.assertEqual(svg.count("<polyline"), 2)
        self.assertIn(report["ways"][0]["tls"], svg)

    def test_a_rate_is_kept(self):
        done = self.mysql(*SHORT, "--rate", 500, "--size", 1000, "--json")
        self.assertEqual(self.check(done, ["TLS"])["ways"][0]["requests"], 500)

    def test_a_connection_for_each_query(self):
        made = lambda: int(databases.mariadb().execute("SHOW GLOBAL STATUS LIKE 'Connections'")[0][1])
        before = made()
        report = self.check(self.mysql(*SHORT, "-c", 2, "--reconnect", "--json"), ["TLS"])
        self.assertGreaterEqual(made() - before, report["ways"][0]["requests"])

    def test_calls_over_obrpc_both_ways(self):
        command = [str(BINARY), "demo", "--seconds", "1", "--keep"]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        demo = subprocess.Popen(command, text=True, **pipes)
        try:
            line = next(line for line in demo.stderr if "sealwire probe --obrpc" in line)
            to, ca = re.fullmatch(r" *sealwire probe --obrpc (\S+) --ca (\S+)\n", line).groups()
            done = bench("obrpc", to, "--ca", ca, *SHORT, "-c", 2, "--depth", 16, "--compare-plain", "--json")
            self.check(done, ["TLS", "plaintext"])
            refused = bench("obrpc", to, "--ca", ca, *SHORT, "-c", 1, "--pcode", 0x106)
            self.assertEqual(refused.returncode, 1, refused.stderr)
            self.assertRegex(refused.stdout, r"TLS: \d+ × ")
        finally:
            demo.send_signal(signal.SIGINT)
            demo.communicate(timeout=20)

    def test_an_echo_over_tls(self):
        done = bench("tls", self.tls_echo(), *TEST_CA, *SHORT, "-c", 4, "--size", 20000)
        self.assertEqual(done.returncode, 0, done.stderr)
        for words in ("p99.9", "closed loop, 4 connections", "TLS 1.3"):
            self.assertIn(words, done.stdout)

    def test_a_server_that_hangs_up_on_half_of_them(self):
        accepted = iter(range(1 << 30))

        def serve(connection):
            if next(accepted) % 2:
                connection.recv(1)
                return
            echo(connection)

        done = bench("tls", self.tls_echo(serve), *TEST_CA, *SHORT, "-c", 8)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertRegex(done.stdout, r"TLS: \d+ × ")
        self.assertRegex(done.stderr, r"\d+ requests failed")

    def test_a_rate_that_nobody_can_keep(self):
        done = bench("tls", self.tls_echo(), *TEST_CA, *SHORT, "-c", 1, "--rate", 50_000_000)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("the rate of 50000000/s is beyond", done.stderr)
        self.assertIn("were due and not begun", done.stdout)

    def test_a_statement_that_is_refused_is_an_error_by_kind(self):
        done = self.mysql(*SHORT, "-c", 1, "--query", "SELEKT 1", "--json")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(list(json.loads(done.stdout)["ways"][0]["errors"]), ["ERROR 1064 (42000)"])

    def test_a_wrong_password(self):
        done = self.mysql(*SHORT, "-c", 1, password="wrong")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertRegex(done.stderr, r"refuses the login of .* ERROR 1045 \(28000\): Access denied")

    def test_nobody_is_there(self):
        port = free_port()
        done = bench("tls", f"127.0.0.1:{port}", *TEST_CA, *SHORT)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn(f"connect to 127.0.0.1:{port}: Connection refused", done.stderr)

    def test_a_server_that_never_greets(self):
        address = Listener(self, lambda connection: connection.recv(1)).address
        done = bench("mysql", address, "--user", "u", "--plain", *SHORT)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("plaintext: no request was answered", done.stderr)

    def test_connections_for_each_request_are_not_made_without_a_pause(self):
        accepted = []

        def serve(connection):
            accepted.append(1)
            if len(accepted) == 1:
                echo(connection)

        done = bench("tls", self.tls_echo(serve), *TEST_CA, *SHORT, "-c", 1, "--reconnect")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertLess(len(accepted), 20)

    def test_a_server_that_is_not_believed(self):
        done = bench("tls", self.tls_echo(), "--ca", certs.authority("other").cert, *SHORT)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("certificate", done.stderr)

    def test_wrong_usage(self):
        """None of them reaches the server, which is not there."""
        to, user = f"127.0.0.1:{free_port()}", ("--user", "u")
        nowhere = self.scratch / "no" / "such"
        for words, message in (
            (("tls", to, "--rate", 0), "0 is not in 1..="),
            (("tls", to, "--reconnect", "--depth", 2), "cannot be used with"),
            (("tls", to, "--danger-no-verify", *TEST_CA), "cannot be used with"),
            (("mysql", to, *user, "--plain", "--compare-plain"), "cannot be used with"),
            (("mysql", to, *user, "--query", "DO 1", "--size", 5), "cannot be used with"),
            (("mysql", to, *user, "--plain", "--hgrm", nowhere), f"write {nowhere}: No such file"),
            (("mysql", to, *user, "--plain", "--plot", nowhere), f"write {nowhere}: No such file"),
            (("obrpc", to, "--plain", "--plot", "x", "--hgrm", "x"), "one file cannot be both"),
        ):
            done = bench(*words)
            self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
            self.assertIn(message, done.stderr)

    def test_interrupted(self):
        begun = []

        def serve(connection):
            begun.append(1)
            child.send_signal(signal.SIGINT)
            echo(connection)

        address = self.tls_echo(serve)
        words = map(str, (BINARY, "bench", "tls", address, *TEST_CA, "-c", 1, "--warmup", 0, "--duration", 60))
        child = subprocess.Popen([*words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(child.kill)
        out, err = child.communicate(timeout=30)
        self.assertEqual(child.returncode, 1, err)
        self.assertIn("interrupted", err)
        self.assertIn("p99.9", out)
