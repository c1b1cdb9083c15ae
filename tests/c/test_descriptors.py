"""What a process has open, and how it is given back: in orders of freeing, after failures, and where none is left."""

from harness import certs
from harness.process import run
from toolchain import ROOT, SANITIZERS, VALGRIND, CCase

PROGRAM = ROOT / "tests/c/programs/descriptors.c"


class Descriptors(CCase):
    needs = ("valgrind",)

    def check(self, tool, what: str):
        own = certs.server()
        for backend in ("uring", "epoll"):
            with self.subTest(backend):
                command = tool.command(PROGRAM, certs.authority().cert, own.cert, own.key, backend, what)
                done = run(*command, env=tool.environment(), timeout_s=100)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_every_order_of_freeing(self):
        self.check(SANITIZERS, "1")

    def test_some_orders_of_freeing_under_valgrind(self):
        self.check(VALGRIND, "41")

    def test_a_listener_pauses_where_there_is_none_left(self):
        self.check(SANITIZERS, "scarce")
