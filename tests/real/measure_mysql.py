#!/usr/bin/env python3
"""sysbench's point selects, in one run: direct and plain, direct over the server's own TLS, and through the gateway.

    measure_mysql.py [mariadb | seekdb | mysql] [SECONDS] [ROUNDS]

The ways take turns, so that a machine that changes its pace changes it for all. Each figure is the median of the
rounds. CPU is that of all threads of the gateway, by the scheduler's own account, over the queries of the run. Absolute
figures are those of this machine: what carries over are the ratios.
"""

import os
import platform
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from harness import case, databases, sysbench  # noqa: E402  (the path to them is set above)
from harness.gateway import Gateway  # noqa: E402
from harness.mysql_case import client_side, port_of, route, server_side  # noqa: E402


@dataclass
class Way:
    """One of the ways to the server, and what was measured on it."""

    title: str
    host: str
    port: int
    is_tls: bool
    gateway: Gateway | None = None
    outcomes: list[sysbench.Outcome] = field(default_factory=list)
    cpu_ns: list[float] = field(default_factory=list)

    def run(self, database: databases.Database, seconds: int) -> None:
        before = cpu_ns(self.gateway.pid) if self.gateway else 0
        outcome = sysbench.point_select(database, self.host, self.port, self.is_tls, seconds)
        self.outcomes.append(outcome)
        if self.gateway:
            self.cpu_ns.append((cpu_ns(self.gateway.pid) - before) / outcome.queries)

    def row(self, plain_per_s: float) -> str:
        per_s = self.per_s()
        p95 = statistics.median(outcome.latency_p95_ms for outcome in self.outcomes)
        cpu = f"{statistics.median(self.cpu_ns) / 1_000:.1f}" if self.cpu_ns else "–"
        return f"| {self.title:38} | {per_s:9.0f} | {per_s / plain_per_s:5.2f} | {p95:8.2f} | {cpu:>6} |"

    def per_s(self) -> float:
        return statistics.median(outcome.queries_per_s for outcome in self.outcomes)


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "mariadb"
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    case.raise_descriptor_limit()
    database = databases.by_name(name)
    plain = route("plain", client_side("required"), server_side(database, "off"))
    encrypted = route("encrypted", client_side("required"), server_side(database, "verify-full"))
    with tempfile.TemporaryDirectory() as scratch:
        gateway = Gateway(Path(scratch), [plain, encrypted], workers=1)
        gateway.start()
        ways = [
            Way("direct, plain", database.host, database.port, False),
            Way("direct, the server's own TLS", database.host, database.port, True),
            Way("through the gateway, TLS to plain", "127.0.0.1", port_of(plain), True, gateway),
            Way("through the gateway, TLS to TLS", "127.0.0.1", port_of(encrypted), True, gateway),
        ]
        for _ in range(rounds):
            for way in ways:
                way.run(database, seconds)
        gateway.kill()
    (version,) = database.execute("SELECT VERSION()")[0]
    print(f"{name} {version}, {cpu_model()}, Linux {platform.release()}")
    print(f"{sysbench.THREADS} threads, {rounds} rounds of {seconds} s each, gateway with one worker")
    print(f"| {'way':38} | queries/s | ratio | p95 ms   | CPU µs |")
    print(f"|{'-' * 40}|----------:|------:|---------:|-------:|")
    for way in ways:
        print(way.row(ways[0].per_s()))


def cpu_ns(pid: int) -> int:
    """User and system time of all threads, those that have ended and the kernel's for io_uring among them.

    Their split is sampled, their sum is exact to the tick that it is told in.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(models)} × {models[0]}" if models else platform.machine()


if __name__ == "__main__":
    main()
