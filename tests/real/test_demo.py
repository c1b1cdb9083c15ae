"""`sealwire demo`: what it shows, what it leaves behind, and that it does without io_uring."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.case import ONCE, Case
from harness.gateway import BINARY

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
        for leg in (plain, tls):
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
        for words in ("p99.9", "plaintext", "TLS 1.3", "ratio", "200 of 200", "0 of 200", "█"):
            self.assertIn(words, out)

    def test_interrupted(self):
        code, out, err = self.demo("--seconds", "60", interrupt=True)
        self.assertEqual(code, 1, err)
        self.assertIn("interrupted", err)
        self.assertIn("ratio", out)
