"""The ends of OB-RPC: the peers of tests/peers, which share no code with the gateway."""

import re
import subprocess
import sys

from . import certs
from .gateway import ROOT, Gateway
from .process import Process, run

PEER = ROOT / "tests/peers/obrpc.py"
GUIDE = (ROOT / "docs/obrpc.md").read_text()

# As OceanBase's ends are, but for their exemption of 127.0.0.1, which everybody here comes from.
INCUMBENT = ("--incumbent", "--no-exempts-loopback")


def printed(language: str, containing: str) -> str:
    """The one block of docs/obrpc.md in this language that contains a text."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    (block,) = (block for block in blocks if containing in block)
    return block


class PrintedGateway(Gateway):
    """A gateway with a configuration of the guide, but for some addresses; `certs` is beside it."""

    def __init__(self, case, name: str, changes: dict, launcher: tuple = ()):
        self.text = printed("toml", f'name = "{name}"')
        for old, new in changes.items():
            assert old in self.text, f"{old} is not in the configuration {name!r}"
            self.text = self.text.replace(old, new)
        listens = [{"listen": [address]} for address in re.findall(r'^listen = \["(.*)"\]$', self.text, re.MULTILINE)]
        super().__init__(case.scratch, listens, launcher, **case.settings())
        case.start(self)
        case.addCleanup(self.stop_and_judge)

    def write_config(self) -> None:
        settings = "".join(f'{key} = "{value}"\n' for key, value in self.settings.items() if isinstance(value, str))
        self.config.write_text(f"[gateway]\n{settings}\n{self.text}")


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
        """What it said that begins with a word. A line may be written in parts: the last one may not be whole yet."""
        whole, _, _ = self.log.read_text().rpartition("\n")
        return [line for line in whole.splitlines() if line.startswith(word)]


def call(port: int, method: str, *calls, options: tuple = (), host: str = "127.0.0.1", launcher: tuple = ()):
    """Makes calls as a client with a certificate; `method` is `legacy` for one that negotiates nothing."""
    own = certs.client()
    files = ("--cert", own.cert, "--key", own.key, "--ca", certs.authority().cert)
    words = ("call", f"{host}:{port}", *calls, "--method", method, *files, *options)
    return run(*launcher, sys.executable, PEER, *words)
