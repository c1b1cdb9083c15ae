"""`sealwire demo`: what it shows, what it leaves behind, and that it does without io_uring."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import databases, drivers
from harness.case import ONCE, Case
from harness.gateway import BINARY
from harness.obrpc import PEER
from harness.process import run

WITHOUT_IO_URING = (sys.executable, Path(__file__).parent / "harness" / "without_io_uring.py")


class Demo(Case):
    variants = ONCE

    def demo(self, *flags, launcher=(), backend="auto", interrupt=False):
        """Runs it with a scratch directory for its certificates, which must be empty afterwards."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as scratch:
            child = subprocess.Popen(
                [*map(str, launcher), str(BINARY), "demo", *flags],
                env=os.environ | {"TMPDIR": scratch, "SEALWIRE_BACKEND": backend},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            if interrupt:
                for line in child.stderr:
                    if line.startswith("measuring"):
                        break
                child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=60)
            self.assertEqual(os.listdir(scratch), [], "certificates and keys are left behind")
        return child.returncode, out, err

    def check(self, report, backend):
        plain, tls = report["legs"]
        self.assertTrue(report["backend"].startswith(backend), report["backend"])
        self.assertFalse(plain["encrypted"])
        self.assertEqual(plain["readable_messages"], plain["looked_at_messages"])
        self.assertTrue(tls["encrypted"])
        self.assertEqual((tls["version"], tls["readable_messages"]), ("1.3", 0))
        rpc_plain, rpc_tls, sidecar = report["obrpc"]["legs"]
        self.assertEqual((rpc_plain["encrypted"], rpc_plain["server_sees"]), (False, "plaintext"))
        self.assertEqual(rpc_plain["readable_messages"], rpc_plain["looked_at_messages"])
        self.assertEqual(rpc_tls["readable_messages"], 0)
        self.assertEqual(rpc_tls["client_sees"], rpc_tls["server_sees"])
        # The application beside the gateway speaks in the clear; what counts is what reaches the server.
        self.assertEqual(sidecar["client_sees"], "plaintext")
        for leg in (rpc_tls, sidecar):
            self.assertTrue(leg["encrypted"])
            self.assertRegex(leg["server_sees"], r"^TLS 1\.3, .*; bound to ob-rpc/io$")
        for leg in (rpc_plain, rpc_tls, sidecar):
            self.assertLess(leg["in_flight_sends_per_call"], 0.1)
            self.assertGreater(leg["in_flight_calls_per_s"], 0)
            self.assertEqual(leg["answers"], rpc_plain["answers"])
        for leg in (plain, tls, rpc_plain, rpc_tls, sidecar):
            self.assertGreater(leg["requests"], 0)
            self.assertLessEqual(leg["p50_us"], leg["p99.9_us"])

    def test_io_uring(self):
        code, out, err = self.demo("--seconds", "1", "--json", backend="uring")
        self.assertEqual(code, 0, err)
        self.check(json.loads(out), "io_uring")

    def test_epoll(self):
        code, out, err = self.demo("--seconds", "1", "--json", backend="epoll")
        self.assertEqual(code, 0, err)
        self.check(json.loads(out), "epoll")

    def test_io_uring_forbidden(self):
        code, out, err = self.demo("--seconds", "1", launcher=WITHOUT_IO_URING)
        self.assertEqual(code, 0, err)
        self.assertIn("not io_uring:", out)
        code, out, err = self.demo("--seconds", "1", "--json", launcher=WITHOUT_IO_URING)
        self.assertEqual(code, 0, err)
        report = json.loads(out)
        self.assertIn("io_uring", report["fallback_reason"])
        self.check(report, "epoll")

    def test_both_histograms_for_people(self):
        code, out, err = self.demo("--seconds", "1")
        self.assertEqual(code, 0, err)
        for words in ("p99.9", "plaintext", "TLS 1.3", "ratio", "200 of 200", "0 of 200", "█", "64 in flight"):
            self.assertIn(words, out)
        for answer in (
            "echo (0x1): the same 200 bytes", "NOT_SUPPORTED (-4007)",
            "LS_FETCH_LOG2 (0x853), log stream 1001: 10 groups, 30 entries in 3 calls",
            "5 parts, STREAM in each and STREAM_LAST in the last",
        ):
            self.assertEqual(out.count(answer), 1, answer)

    def test_interrupted(self):
        code, out, err = self.demo("--seconds", "60", interrupt=True)
        self.assertEqual(code, 1, err)
        self.assertIn("interrupted", err)
        self.assertIn("ratio", out)

    def test_drivers_and_an_rpc_client_at_those_that_are_kept(self):
        with tempfile.TemporaryDirectory(dir=self.scratch) as scratch:
            command = [str(BINARY), "demo", "--seconds", "1", "--keep"]
            pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
            child = subprocess.Popen(command, env=os.environ | {"TMPDIR": scratch}, text=True, **pipes)
            try:
                line = next(line for line in child.stderr if line.lstrip().startswith("mariadb "))
                login = re.fullmatch(r" *mariadb (.*) -e '\\s'\n", line)[1].split()
                for account in ("demo", "demo_native"):
                    words = [account if word == "demo" else word for word in login]
                    status = run("mariadb", "--no-defaults", *words, "-e", "\\s")
                    self.assertEqual(status.returncode, 0, status.stderr)
                    self.assertRegex(status.stdout, r"SSL:\s+Cipher in use is TLS_AES_")
                    self.assertRegex(status.stdout, rf"Current user:\s+{account}@")
                    self.assertRegex(status.stdout, r"Uptime:\s+\d+ sec")
                    rows = run("mariadb", "--no-defaults", *words, "-Ne", "SELECT 'it''s', 7; SHOW STATUS LIKE 'Ssl%'")
                    self.assertEqual(rows.stdout, "it's\t7\nSsl_cipher\t\nSsl_cipher_list\t\nSsl_version\t\n")
                    for driver in (drivers.PyMysql(), drivers.Connector(), drivers.Mysql2()):
                        found = driver.ask(self.target(words, account), "SELECT 'x' AS name, 8")
                        self.assertEqual(found, [("x", "8")], driver.name)
                plain = run("mariadb", "--no-defaults", *(w for w in login if "ssl" not in w), "--skip-ssl", "-e", "\\s")
                self.assertIn("ERROR 3159 (HY000)", plain.stderr)
                self.call(child.stderr)
            finally:
                child.send_signal(signal.SIGINT)
                child.communicate(timeout=20)
            self.assertEqual(os.listdir(scratch), [], "certificates and keys are left behind")

    def call(self, lines):
        """Calls of a client that shares no code with the demo, where the demo says so."""
        sidecar = next(line for line in lines if line.startswith("The OB-RPC server"))
        address = re.search(r"in the clear at (\S+) ", sidecar)[1]
        server, ca = re.fullmatch(r" *sealwire probe --obrpc (\S+) --ca (\S+)\n", next(lines)).groups()
        calls = ("echo", "00ff", "config", "a=1", "parts", "5", "abort", "5", "fetch", "1001", "0")
        answers = ["echo 0 00ff", "config -4007", "parts 0 [4, 3, 2, 1, 0]", "abort 0 [4, 3]"]
        for to, method, tls in (
            (server, "legacy", "plain"), (server, "ssl_io", "TLSv1.3"), (address, "legacy", "plain"),
        ):
            done = run(sys.executable, PEER, "call", to, *calls, "--method", method, "--ca", ca)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            connected, *answered, fetched = done.stdout.splitlines()
            self.assertEqual((connected, answered), (f"connected {tls}", answers))
            # Version, two error codes, the log stream, no feedback.
            self.assertEqual(fetched, "fetch 0 1 0 0 1001 -1")

    def target(self, words: list[str], account: str) -> drivers.Target:
        """Where the command line of the `mariadb` client goes."""
        option = lambda start: next(word for word in words if word.startswith(start)).removeprefix(start)
        port = int(words[words.index("-P") + 1])
        return drivers.Target("127.0.0.1", port, account, option("-p"), Path(option("--ssl-ca=")))

    def upstream(self, password: str):
        server = databases.mariadb()
        secret = self.scratch / "password"
        secret.write_text(password + "\n")
        login = ("--user", next(iter(server.accounts.values())), "--password-file", str(secret))
        return self.demo("--seconds", "1", "--json", "--upstream", f"127.0.0.1:{server.port}", *login)

    def test_a_real_server(self):
        code, out, err = self.upstream(databases.PASSWORD)
        self.assertEqual(code, 0, err)
        report = json.loads(out)
        self.check(report, report["backend"])
        self.assertIn("MariaDB", report["server_version"])

    def test_a_password_that_a_real_server_refuses(self):
        code, out, err = self.upstream("wrong")
        self.assertEqual((code, out), (1, ""), err)
        self.assertRegex(err, r"plaintext leg: the server refuses the login of .* ERROR 1045 \(28000\): Access denied")
