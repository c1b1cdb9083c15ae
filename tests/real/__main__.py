"""Tests with real servers and clients.

    tests/real [PATTERN ...]        runs the tests whose names contain one of the patterns, or all
    tests/real -j N [PATTERN ...]   runs them in N processes, each with servers of its own
    tests/real -l [PATTERN ...]     lists them

Each test prints one line: `ok`, `FAIL` or `skip`. The binary is target/release/sealwire, or SEALWIRE_BIN.
"""

import argparse
import importlib
import itertools
import multiprocessing
import os
import sys
import time
import unittest
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from harness import case, gateway  # noqa: E402  (the path to it is set above)

# Held while a test is reported, so that what two processes say of two tests does not mix.
_reporting = multiprocessing.Lock()


def main() -> int:
    parser = argparse.ArgumentParser("tests/real", usage=__doc__)
    parser.add_argument("-l", action="store_true", dest="is_list")
    parser.add_argument("-j", type=int, default=1, dest="processes")
    parser.add_argument("patterns", nargs="*")
    chosen = parser.parse_args()
    if chosen.is_list:
        print("\n".join(test.id() for test in collect(chosen.patterns)))
        return 0
    if not gateway.BINARY.exists():
        print(f"FAIL {gateway.BINARY} is missing: cargo build --release")
        return 1
    case.raise_descriptor_limit()
    taken = multiprocessing.Value("i", 0)
    # Before the tests are imported: what a module makes then is its process' own, and goes when that one ends.
    children = fork(chosen.processes - 1)
    tests = collect(chosen.patterns)
    all_good = run_waiting(parts(test for test in tests if not test.runs_alone), taken)
    if children is not None:
        # Their servers end with them: the rest has the machine for itself.
        all_good &= all([os.waitpid(child, 0)[1] == 0 for child in children])
        all_good &= run_all([test for test in tests if test.runs_alone])
    return 0 if all_good and tests else 1


def fork(count: int) -> list[int] | None:
    """As many processes like this one. None in each of them."""
    children = []
    for _ in range(count):
        child = os.fork()
        if child == 0:
            return None
        children.append(child)
    return children


def collect(patterns: list[str]) -> list[unittest.TestCase]:
    """Every test once per variant of its class, in the order in which it is written; all where there is no pattern."""
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
    return [test for test in tests if not patterns or any(pattern in test.id() for pattern in patterns)]


def parts(tests: Iterable[unittest.TestCase]) -> list[list[unittest.TestCase]]:
    """What one process runs in a row: the tests of one variant of a class. Those that may take longest come first."""
    grouped = [list(group) for _, group in itertools.groupby(tests, lambda test: (type(test), test.variant))]
    return sorted(grouped, key=lambda part: -part[0].deadline_s)


def run_waiting(waiting: list[list[unittest.TestCase]], taken) -> bool:
    """Runs parts that no other process has taken, until none is left."""
    all_good = True
    while True:
        with taken.get_lock():
            number = taken.value
            taken.value += 1
        if number >= len(waiting):
            return all_good
        all_good &= run_all(waiting[number])


def run_all(tests: list[unittest.TestCase]) -> bool:
    all_good = True
    while tests:
        # Popped, so that what a test holds goes with it.
        all_good &= run(tests.pop(0))
    return all_good


def run(test: unittest.TestCase) -> bool:
    """Runs and reports one test; true unless it failed."""
    started = time.monotonic()
    result = unittest.TestResult()
    test.run(result)
    seconds = time.monotonic() - started
    troubles = [f"{where}\n{text}" for where, text in result.failures + result.errors]
    if troubles:
        report(f"FAIL {test.id()} ({seconds:.1f} s)", *troubles, test.evidence)
    elif result.skipped:
        report(f"skip {test.id()}: {result.skipped[0][1]}")
    else:
        report(f"ok   {test.id()} ({seconds:.1f} s)")
    return not troubles


def report(*lines: str) -> None:
    with _reporting:
        print("\n".join(lines), flush=True)


if __name__ == "__main__":
    sys.exit(main())
