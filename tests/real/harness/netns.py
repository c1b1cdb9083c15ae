"""Network namespaces: for servers that cannot be told to listen on loopback only, and for clients with an address.

A namespace has one link to the machine's own, so that processes on both sides reach each other, and nothing else.
"""

import atexit
import os
import re
import shutil
from pathlib import Path
from unittest import SkipTest

from .process import program, run

PREFIX = "sealwire"
# What `ip netns exec` lays over /etc: a folder for each namespace.
ETC = Path("/etc/netns")
OUTER_NAME = "outside.test"
# Of 198.18.0.0/15, which is set aside for tests of network devices (RFC 2544), each process has 256 addresses, in
# networks of four.
PROCESSES = 512
NETWORKS = 64

_made = 0


class Namespace:
    """Exists until the tests end."""

    def __init__(self):
        global _made
        if os.geteuid() != 0 or program("ip") is None:
            raise SkipTest("network namespaces need root and iproute2")
        _remove_those_of_dead_runs()
        _made += 1
        number = _made
        self.name = f"{PREFIX}-{os.getpid()}-{number}"
        self._ip("netns", "add", self.name)
        atexit.register(self.remove)
        outer, inner = f"sw{os.getpid()}o{number}", f"sw{os.getpid()}i{number}"
        self._ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", self.name)
        process, network = os.getpid() % PROCESSES, number % NETWORKS
        base = f"198.{18 + process // 256}.{process % 256}"
        first = network * 4
        # Of the machine, and of the namespace.
        self.outer_address, self.address = f"{base}.{first + 1}", f"{base}.{first + 2}"
        self._ip("addr", "add", f"{self.outer_address}/30", "dev", outer)
        self._ip("link", "set", outer, "up")
        self._ip("-n", self.name, "link", "set", "lo", "up")
        self._ip("-n", self.name, "addr", "add", f"{self.address}/30", "dev", inner)
        self._ip("-n", self.name, "link", "set", inner, "up")
        # MySQL and MariaDB count the errors of a host only where its address has a name.
        hosts = ETC / self.name / "hosts"
        hosts.parent.mkdir(parents=True)
        hosts.write_text(f"127.0.0.1 localhost\n{self.outer_address} {OUTER_NAME}\n{self.address} inside.test\n")

    def command(self, *words) -> list[str]:
        """The command that runs another one inside; the process is the same."""
        return [program("ip"), "netns", "exec", self.name, *(str(word) for word in words)]

    def remove(self) -> None:
        _remove(self.name)

    def _ip(self, *words) -> None:
        done = run("ip", *words)
        if done.returncode != 0:
            raise SkipTest(f"ip {' '.join(words)}: {done.stderr.strip()}")


def _remove_those_of_dead_runs() -> None:
    for line in run("ip", "netns", "list").stdout.splitlines():
        match = re.match(rf"({PREFIX}-(\d+)-\d+)\b", line)
        if match and not os.path.exists(f"/proc/{match[2]}"):
            _remove(match[1])


def _remove(name: str) -> None:
    run("ip", "netns", "del", name)
    shutil.rmtree(ETC / name, ignore_errors=True)
