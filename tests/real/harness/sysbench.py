"""sysbench's point selects: the load that databases are commonly measured by."""

import re
from dataclasses import dataclass
from pathlib import Path

from . import databases, pki
from .databases import PASSWORD, Database
from .process import run

HERE = Path(__file__).resolve().parent

ROWS = 1_000
THREADS = 64


@dataclass(frozen=True)
class Outcome:
    """What one run reports. Any error that it does not ignore ends it at once."""

    queries: int
    queries_per_s: float
    errors: int
    reconnects: int
    latency_p95_ms: float


def prepare(database: Database) -> None:
    """Makes the table, once."""
    if database in _prepared:
        return
    statements = [f"({number}, {number}, REPEAT('c', 119), REPEAT('p', 59))" for number in range(1, ROWS + 1)]
    database.execute(
        "CREATE TABLE sbtest.sbtest1 (id INT PRIMARY KEY, k INT NOT NULL, c CHAR(120) NOT NULL, pad CHAR(60) NOT NULL)",
        f"INSERT INTO sbtest.sbtest1 VALUES {', '.join(statements)}",
    )
    _prepared.add(database)


def point_select(database: Database, host: str, port: int, is_tls: bool, seconds: int) -> Outcome:
    return _run("oltp_point_select", database, host, port, is_tls, seconds, THREADS)


def reconnect(database: Database, host: str, port: int, is_tls: bool, seconds: int, threads: int) -> Outcome:
    """The same, each over a connection of its own."""
    return _run(HERE / "reconnect.lua", database, host, port, is_tls, seconds, threads)


def _run(script, database: Database, host: str, port: int, is_tls: bool, seconds: int, threads: int) -> Outcome:
    prepare(database)
    account = next(iter(database.accounts.values()))
    command = ["sysbench", script, "--db-driver=mysql", f"--mysql-host={host}", f"--mysql-port={port}"]
    command += [f"--mysql-user={account}", f"--mysql-password={PASSWORD}", "--mysql-db=sbtest"]
    command += [f"--table-size={ROWS}", f"--threads={threads}", f"--time={seconds}", "--rand-type=uniform"]
    command += ["--mysql-ssl=on"] if is_tls else []
    done = run(*command, "run", cwd=pki.sysbench_folder(), timeout_s=seconds + 60)
    assert done.returncode == 0, done.stdout + done.stderr
    return _parse(done.stdout)


_prepared: set[databases.Database] = set()


def _parse(text: str) -> Outcome:
    def number(pattern: str) -> float:
        match = re.search(pattern, text)
        assert match, f"{pattern} is not in {text}"
        return float(match[1])

    return Outcome(
        int(number(r"total:\s+(\d+)")),
        number(r"queries:\s+\d+\s+\(([\d.]+) per sec"),
        int(number(r"ignored errors:\s+(\d+)")),
        int(number(r"reconnects:\s+(\d+)")),
        number(r"95th percentile:\s+([\d.]+)"),
    )
