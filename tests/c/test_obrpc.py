"""OB-RPC through the C ABI: both ends in C, and each against a peer in Python with OceanBase's habits."""

import subprocess

from harness import certs
from harness.obrpc import INCUMBENT, RpcServer
from harness.obrpc import call as call_as_peer
from harness.process import run
from toolchain import ROOT, SANITIZERS, CCase

PROGRAM = ROOT / "tests/c/programs/obrpc.c"
METHODS = {"none": 1, "ssl_no_encrypt": 2, "ssl_io": 4}
ALL = sum(METHODS.values())

ANSWERS = """\
unknown call: bulk
unknown call: hello
unknown call: OB_TIMEOUT {words}
unknown call: 2 1 0
unknown call: 2
unknown call:
unknown call:{silent}
"""


class Calls(CCase):
    def call(self, port: int, method: str, manner: str = ""):
        own, ca = certs.client(), certs.authority().cert
        command = SANITIZERS.command(PROGRAM, "call", port, METHODS[method], own.cert, own.key, ca, manner)
        return run(*command, env=SANITIZERS.environment(), timeout_s=60)

    def check_answers(self, done, method: str, words: str, silent: str, end: str):
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        answers = ANSWERS.format(words=words, silent=silent)
        self.assertEqual(done.stdout, f"{answers}method {METHODS[method]}, {end}\n")

    def serve(self, client, methods: int = ALL) -> str:
        """What the server in C says of one client."""
        own, ca = certs.server(), certs.authority().cert
        command = list(map(str, SANITIZERS.command(PROGRAM, "serve", methods, own.cert, own.key, ca)))
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=SANITIZERS.environment())
        self.addCleanup(server.kill)
        client(int(server.stdout.readline()))
        said, _ = server.communicate(timeout=60)
        self.assertEqual(server.returncode, 0)
        return said

    def test_both_ends_in_c(self):
        for method, number in METHODS.items():

            def client(port, method=method):
                done = self.call(port, method, "" if method == "none" else "strict")
                self.check_answers(done, method, "", "SEALWIRE_ERR_TIMEOUT", "SEALWIRE_EOF ")

            said = self.serve(client)
            self.assertEqual(said, f"heard heard?\naborted with 2 left\nmethod {number}, SEALWIRE_EOF \n")

    def test_a_server_with_the_habits_of_oceanbase(self):
        server = RpcServer(self, *INCUMBENT, "--compress")
        for method in METHODS:
            done = self.call(server.port, method, "lax")
            self.check_answers(done, method, "as asked for", " OB_UNKNOWN_PACKET ", "SEALWIRE_EOF ")
        server.until(lambda: len(server.lines("ended")) == len(METHODS), "each has ended")
        began = [f"began {method} {0x700000003} {'encrypted' if method == 'ssl_io' else 'plain'}" for method in METHODS]
        self.assertEqual(server.lines("began"), began)

    def test_an_end_without_close_notify_is_told(self):
        server = RpcServer(self, *INCUMBENT)
        done = self.call(server.port, "ssl_io")
        self.assertIn("method 4, SEALWIRE_ERR_TRUNCATED peer closed the connection without", done.stdout)

    def test_a_server_that_names_no_method_is_refused_by_a_strict_client(self):
        server = RpcServer(self, *INCUMBENT)
        done = self.call(server.port, "ssl_io", "strict")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("SEALWIRE_ERR_TLS_INCOMPATIBLE", done.stderr)

    def test_a_client_with_the_habits_of_oceanbase(self):
        calls = ("echo", "abcd", "error", "-4012", "parts", "4", "abort", "5", "echo", "00" * 20_000)

        for method, number in METHODS.items():

            def client(port, method=method):
                done = call_as_peer(port, method, *calls, options=INCUMBENT)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                lines = done.stdout.splitlines()[1:-1]
                self.assertEqual(lines, ["echo 0 abcd", "error -4012 ", "parts 0 [3, 2, 1, 0]", "abort 0 [4, 3]"])

            said = self.serve(client)
            end = "SEALWIRE_ERR_TRUNCATED" if method == "ssl_io" else "SEALWIRE_EOF"
            self.assertTrue(said.startswith(f"aborted with 3 left\nmethod {number}, {end}"), said)

    def test_a_method_that_is_not_admitted(self):
        def client(port):
            done = call_as_peer(port, "ssl_no_encrypt", "echo", "00")
            self.assertIn("failed", done.stdout)

        said = self.serve(client, METHODS["ssl_io"])
        self.assertTrue(said.startswith("method 0, SEALWIRE_ERR_NOT_TLS peer asks for method ssl_no_encrypt"), said)
