"""The ends of OB-RPC: the peers of tests/peers, which share no code with the gateway."""

import subprocess
import sys

from . import certs
from .gateway import ROOT
from .process import Process, run

PEER = ROOT / "tests/peers/obrpc.py"

# As OceanBase's ends are, but for their exemption of 127.0.0.1, which everybody here comes from.
INCUMBENT = ("--incumbent", "--no-exempts-loopback")


class RpcServer(Process):
    """An OBServer's port; its log has a line for each connection."""

    stdin = subprocess.PIPE

    def __init__(self, case, *options, methods: str = "none,ssl_no_encrypt,ssl_io", launcher: tuple = ()):
        own = certs.server()
        files = ("--cert", own.cert, "--key", own.key, "--ca", certs.authority().cert)
        command = [*launcher, sys.executable, "-u", PEER, "serve", "--methods", methods, *files, *options]
        super().__init__("obrpc-server", command, case.scratch / f"obrpc-server-{id(self)}.log")
        case.start(self)

    def wait_ready(self) -> None:
        self.until(lambda: self.lines("ready"), "its port is known")

    @property
    def port(self) -> int:
        return int(self.lines("ready")[0].split()[1])

    def lines(self, word: str) -> list[str]:
        """What it said that begins with a word."""
        return [line for line in self.log.read_text().splitlines() if line.startswith(word)]


def call(port: int, method: str, *calls, options: tuple = (), host: str = "127.0.0.1", launcher: tuple = ()):
    """Makes calls as a client with a certificate; `method` is `legacy` for one that negotiates nothing."""
    own = certs.client()
    files = ("--cert", own.cert, "--key", own.key, "--ca", certs.authority().cert)
    words = ("call", f"{host}:{port}", *calls, "--method", method, *files, *options)
    return run(*launcher, sys.executable, PEER, *words)
