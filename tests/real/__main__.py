"""Tests with real servers and clients.

    tests/real [PATTERN ...]      runs the tests whose names contain one of the patterns, or all
    tests/real -l [PATTERN ...]   lists them

Each test prints one line: `ok`, `FAIL` or `skip`. The binary is target/release/sealwire, or SEALWIRE_BIN.
"""

import importlib
import sys
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from harness import case, gateway  # noqa: E402  (the path to it is set above)


def main() -> int:
    arguments = sys.argv[1:]
    is_list = "-l" in arguments
    patterns = [argument for argument in arguments if argument != "-l"]
    tests = [test for test in collect() if not patterns or any(p in test.id() for p in patterns)]
    if is_list:
        print("\n".join(test.id() for test in tests))
        return 0
    if not gateway.BINARY.exists():
        print(f"FAIL {gateway.BINARY} is missing: cargo build --release")
        return 1
    case.raise_descriptor_limit()
    if not tests:
        return 1
    failed = 0
    while tests:
        # Popped, so that what a test holds goes with it.
        failed += not run(tests.pop(0))
    return 1 if failed else 0


def collect() -> list[unittest.TestCase]:
    """Every test once per variant of its class, in the order in which it is written."""
    tests = []
    for path in sorted(HERE.glob("test_*.py")):
        module = importlib.import_module(path.stem)
        classes = [
            item
            for item in vars(module).values()
            if isinstance(item, type) and issubclass(item, case.Case) and item.__module__ == path.stem
        ]
        for base in classes:
            for variant in base.variants:
                methods = [name for name in vars(base) if name.startswith("test_")]
                tests += [base(method, variant) for method in methods]
    return tests


def run(test: unittest.TestCase) -> bool:
    """Runs and reports one test; true unless it failed."""
    started = time.monotonic()
    result = unittest.TestResult()
    test.run(result)
    seconds = time.monotonic() - started
    troubles = [f"{where}\n{text}" for where, text in result.failures + result.errors]
    if troubles:
        print(f"FAIL {test.id()} ({seconds:.1f} s)")
        print("\n".join(troubles))
        print(test.evidence, flush=True)
        return False
    if result.skipped:
        print(f"skip {test.id()}: {result.skipped[0][1]}", flush=True)
        return True
    print(f"ok   {test.id()} ({seconds:.1f} s)", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
