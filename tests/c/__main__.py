"""Tests of the C library, from C and C++.

    tests/c [PATTERN ...]    runs the tests whose names contain one of the patterns, or all

The library is built, and installed to a folder, by the first test that wants it. Each test prints one line: `ok`,
`FAIL` or `skip`.
"""

import sys
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "real"), str(HERE.parent)]


def main() -> int:
    tests = [test for test in flatten(unittest.defaultTestLoader.discover(str(HERE))) if is_wanted(test.id())]
    result = Lines()
    unittest.TestSuite(tests).run(result)
    return 0 if tests and result.wasSuccessful() else 1


def is_wanted(name: str) -> bool:
    return not sys.argv[1:] or any(pattern in name for pattern in sys.argv[1:])


def flatten(suite):
    for item in suite:
        yield from flatten(item) if isinstance(item, unittest.TestSuite) else [item]


class Lines(unittest.TestResult):
    """One line for each test, in the form of tests/real."""

    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()

    def addSuccess(self, test):
        super().addSuccess(test)
        self.say("ok  ", test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        print(f"skip {test.id()}: {reason}", flush=True)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.say("FAIL", test)
        print(self.failures[-1][1], getattr(test, "evidence", ""), flush=True)

    def addError(self, test, error):
        super().addError(test, error)
        self.say("FAIL", test)
        print(self.errors[-1][1], getattr(test, "evidence", ""), flush=True)

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            self.say("FAIL", test)
            print(subtest, (self.failures + self.errors)[-1][1], flush=True)

    def say(self, verdict, test):
        print(f"{verdict} {test.id()} ({time.monotonic() - self.started:.1f} s)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
