#!/usr/bin/env python3
"""Runs the groups of tests and adds up what they say.

    tests/run.py [lint] [cargo] [c] [real]      all four where none is named

The last line is `N passed, N failed, N skipped`; the exit code is 1 where anything failed. With REQUIRE_ALL=1 in the
environment a skipped test is a failed one, unless it is for want of MySQL's bootstrap. Each check of `lint` counts as
a test.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIRE_ALL = os.environ.get("REQUIRE_ALL") == "1"
CARGO = os.environ.get("CARGO", "cargo")

# A group that takes longer than this hangs. The machine of record needs a third of it.
GROUP_TIMEOUT_S = 20 * 60

# Most tests with real servers wait most of the time.
REAL_PROCESSES = 2

# Compilers that remember: cargo compiles aws-lc once per profile, by the same flags. In PATH and not in CC, whose every
# change makes cargo compile it anew.
CCACHE = "/usr/lib/ccache"

BUILD = [CARGO, "build", "--release"]

# The one reason to skip that REQUIRE_ALL=1 lets pass: MySQL comes from a suite of Debian that is rolling.
EXCUSED = "MySQL could not be bootstrapped"

LINTS = [
    ("format", [CARGO, "fmt", "--check"], {}),
    ("clippy", [CARGO, "clippy", "-q", "--all-targets", "--all-features", "--", "-D", "warnings"], {}),
    ("clippy-without-cli", [CARGO, "clippy", "-q", "--lib", "--no-default-features", "--", "-D", "warnings"], {}),
    ("rustdoc", [CARGO, "doc", "-q", "--no-deps", "--all-features"], {"RUSTDOCFLAGS": "-D warnings"}),
]


def main() -> int:
    groups = {"lint": lint, "cargo": cargo, "c": c, "real": real}
    chosen = sys.argv[1:] or list(groups)
    unknown = [name for name in chosen if name not in groups]
    if unknown:
        print(f"unknown group {unknown[0]!r}; the groups are {', '.join(groups)}", file=sys.stderr)
        return 2
    if Path(CCACHE).exists():
        os.environ["PATH"] = f"{CCACHE}:{os.environ['PATH']}"
    tallies = []
    for name in chosen:
        say(f"\n== {name}")
        started = time.monotonic()
        tally = Tally(name)
        groups[name](tally)
        tally.seconds = time.monotonic() - started
        tallies.append(tally)
    return summarize(tallies)


@dataclass
class Tally:
    """What one group found."""

    name: str
    passed: int = 0
    failures: list[str] = field(default_factory=list)
    skips: list[str] = field(default_factory=list)
    seconds: float = 0.0


def lint(tally: Tally) -> None:
    for name, command, env in LINTS:
        started = time.monotonic()
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | env, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        good = done.returncode == 0
        say(f"{'ok  ' if good else 'FAIL'} {name} ({time.monotonic() - started:.1f} s)")
        if good:
            tally.passed += 1
        else:
            tally.failures.append(f"lint {name}")
            say(done.stdout + done.stderr)


def cargo(tally: Tally) -> None:
    """Parses libtest's own output: it has no stable machine-readable form."""
    target = ""

    def read(line: str) -> None:
        nonlocal target
        if match := re.match(r"\s+(?:Running|Doc-tests) (.*)", line):
            target = match[1].split(" (")[0]
        elif match := re.match(r"test (.+) \.\.\. (FAILED|ignored)", line):
            kind = tally.failures if match[2] == "FAILED" else tally.skips
            kind.append(f"{target}: {match[1]}")
        elif match := re.match(r"test result: \w+\. (\d+) passed", line):
            tally.passed += int(match[1])

    code = stream([CARGO, "test", "--all-features", "--no-fail-fast"], read)
    if code != 0 and not tally.failures:
        tally.failures.append(f"cargo test: exit code {code}")


def c(tally: Tally) -> None:
    harnessed("c", tally)


def real(tally: Tally) -> None:
    harnessed("real", tally, f"-j{REAL_PROCESSES}")


def harnessed(group: str, tally: Tally, *flags: str) -> None:
    """Runs the tests of a folder that print a line each."""
    if "SEALWIRE_BIN" not in os.environ:
        code = stream(BUILD, lambda line: None)
        if code != 0:
            tally.failures.append("cargo build --release")
            return

    def read(line: str) -> None:
        if re.match(r"ok   ", line):
            tally.passed += 1
        elif match := re.match(r"FAIL (\S+)", line):
            tally.failures.append(f"{group} {match[1]}")
        elif match := re.match(r"skip (.*)", line):
            tally.skips.append(f"{group} {match[1]}")

    code = stream([python_of_the_tests(), "-u", f"tests/{group}", *flags], read)
    if code != 0 and not tally.failures:
        tally.failures.append(f"tests/{group}: exit code {code}")


def python_of_the_tests() -> str:
    """The one that tests/install-deps gave the drivers; else one with `cryptography`, which all real tests need."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sealwire"
    for python in (str(cache / "venv/bin/python"), sys.executable, "/usr/bin/python3"):
        if shutil.which(python) and subprocess.run(
            [python, "-c", "import cryptography"], stdin=subprocess.DEVNULL, capture_output=True
        ).returncode == 0:
            return python
    return sys.executable


def stream(command: list[str], read) -> int:
    """Runs a command, shows its output as it comes, hands each line to `read`, and gives the exit code."""
    child = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )

    def give_up(_signal, _frame):
        say(f"FAIL {' '.join(command)} ran for more than {GROUP_TIMEOUT_S} s")
        os.killpg(child.pid, signal.SIGKILL)

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(GROUP_TIMEOUT_S)
    try:
        for line in child.stdout:
            say(line.rstrip("\n"))
            read(line)
        return child.wait()
    except BaseException:
        os.killpg(child.pid, signal.SIGTERM)
        raise
    finally:
        signal.alarm(0)


def summarize(tallies: list[Tally]) -> int:
    say("")
    for tally in tallies:
        for skip in tally.skips:
            say(f"skipped: {skip}")
        if REQUIRE_ALL:
            needed = [skip for skip in tally.skips if EXCUSED not in skip]
            tally.failures += [f"skipped, but REQUIRE_ALL=1: {skip}" for skip in needed]
            tally.skips = [skip for skip in tally.skips if EXCUSED in skip]
        for failure in tally.failures:
            say(f"FAILED: {failure}")
    say(f"{'group':8}{'passed':>8}{'failed':>8}{'skipped':>8}{'seconds':>9}")
    for tally in tallies:
        counts = (tally.passed, len(tally.failures), len(tally.skips))
        say(f"{tally.name:8}{counts[0]:8}{counts[1]:8}{counts[2]:8}{tally.seconds:9.0f}")
    passed = sum(tally.passed for tally in tallies)
    failed = sum(len(tally.failures) for tally in tallies)
    skipped = sum(len(tally.skips) for tally in tallies)
    say(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
