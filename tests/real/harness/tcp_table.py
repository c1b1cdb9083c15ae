"""The kernel's list of TCP sockets, which has those too that are in no list of a process: io_uring's."""

import ipaddress
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

STATES = {
    "01": "ESTABLISHED",
    "02": "SYN_SENT",
    "03": "SYN_RECV",
    "04": "FIN_WAIT1",
    "05": "FIN_WAIT2",
    "06": "TIME_WAIT",
    "07": "CLOSE",
    "08": "CLOSE_WAIT",
    "09": "LAST_ACK",
    "0A": "LISTEN",
    "0B": "CLOSING",
    "0C": "NEW_SYN_RECV",
}


@dataclass(frozen=True)
class Row:
    """One socket; its addresses are in hexadecimal, as the kernel writes them."""

    local: str
    remote: str
    state: str
    # Bytes that the peer has not acknowledged, and that the process has not read.
    queues: str
    timer: str
    # 0 where no process holds it any more.
    inode: int

    def is_open(self) -> bool:
        return self.state not in ("LISTEN", "TIME_WAIT")

    def __str__(self) -> str:
        address, port = self.local.rsplit(":", 1)
        to, to_port = self.remote.rsplit(":", 1)
        ends = f"{address}:{int(port, 16)} -> {to}:{int(to_port, 16)}"
        return f"{ends} {self.state}, queues {self.queues}, timer {self.timer}, held by {holder(self.inode)}"


def connections_of(addresses: list[str]) -> list[Row]:
    """Sockets with one of these addresses at either end that are neither closed nor waiting out their time.

    The address counts as well as the port: servers in namespaces have ports of their own, and so has every run of these
    tests that goes on beside this one.
    """
    marks = re.compile("|".join(mark(address) for address in addresses))
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        # Thousands may be waiting out their time: only what can match is parsed.
        found += [parse(line) for line in Path(table).read_text().splitlines()[1:] if marks.search(line)]
    return [row for row in found if row.is_open()]


def mark(address: str) -> str:
    """The pattern of an address as the kernel writes it: words in the order of this machine's bytes."""
    host, port = address.rsplit(":", 1)
    ip = ipaddress.ip_address(host.strip("[]"))
    words = [ip.packed[at : at + 4] for at in range(0, len(ip.packed), 4)]
    digits = "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
    return f" {'[0-9A-F]+' if ip.is_unspecified else digits}:{int(port):04X} "


def parse(line: str) -> Row:
    _, local, remote, state, queues, timer, _, _, _, inode = line.split()[:10]
    return Row(local, remote, STATES.get(state, state), queues, timer, int(inode))


def holder(inode: int) -> str:
    """Which processes have a descriptor of a socket, and what it is where none has."""
    if inode == 0:
        return "the kernel alone"
    holders = [pid for pid in Path("/proc").iterdir() if pid.name.isdigit() and has_socket(pid, inode)]
    names = [f"{pid.name} ({(pid / 'comm').read_text().strip()})" for pid in holders]
    return ", ".join(names) or f"no descriptor (inode {inode})"


def has_socket(pid: Path, inode: int) -> bool:
    try:
        return any(os.readlink(fd) == f"socket:[{inode}]" for fd in (pid / "fd").iterdir())
    except OSError:
        return False
