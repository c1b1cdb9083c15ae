"""The base of all tests: variants, a scratch folder, a deadline, and processes that are stopped by pid."""

import multiprocessing
import os
import resource
import shutil
import signal
import socket
import tempfile
import unittest
from dataclasses import dataclass
from pathlib import Path

from . import certs
from .gateway import Gateway
from .process import Process, program


@dataclass(frozen=True)
class Variant:
    """What one run of a test is made on. Empty: the gateway's own default."""

    backend: str = ""
    records: str = ""

    def __str__(self) -> str:
        return "-".join(word for word in (self.backend, self.records) if word) or "default"


ONCE = [Variant()]
BACKENDS = [Variant("uring"), Variant("epoll")]
BACKENDS_AND_RECORDS = [
    Variant(backend, records) for backend in ("uring", "epoll") for records in ("rustls", "in-place")
]


class Case(unittest.TestCase):
    variants = BACKENDS
    # Programs without which the class cannot run.
    needs: tuple[str, ...] = ()
    # A test that takes longer hangs.
    deadline_s = 60
    # Nothing else runs meanwhile: it judges memory or throughput, needs most of the machine, or changes its settings.
    runs_alone = False
    longMessage = True

    def __init__(self, method: str, variant: Variant):
        super().__init__(method)
        self.variant = variant
        self.evidence = ""
        self._processes: list[Process] = []

    def id(self) -> str:
        group = type(self).__module__.removeprefix("test_")
        return f"{group}.{type(self).__name__}[{self.variant}].{self._testMethodName.removeprefix('test_')}"

    def run(self, result=None):
        def hang(_signal, _frame):
            raise TimeoutError(f"{self.id()} did not end within {self.deadline_s} s")

        signal.signal(signal.SIGALRM, hang)
        signal.alarm(self.deadline_s)
        try:
            return super().run(result)
        finally:
            signal.alarm(0)

    def setUp(self):
        missing = [name for name in self.needs if program(name) is None]
        if missing:
            self.skipTest(f"{', '.join(missing)} is not installed")
        self.scratch = Path(tempfile.mkdtemp(prefix="sealwire-"))
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)
        self.addCleanup(self._stop_all)

    def start(self, process: Process) -> Process:
        """Starts a process that is stopped at the end of the test."""
        self._processes.append(process)
        process.start()
        return process

    def gateway(self, *routes: dict, **settings) -> Gateway:
        """A running gateway on this variant. Every WARN that it logs must be claimed by the test."""
        gateway = Gateway(self.scratch, routes, **(self.settings() | settings))
        self.start(gateway)
        self.addCleanup(gateway.stop_and_judge)
        return gateway

    def settings(self) -> dict:
        chosen = {"backend": self.variant.backend, "records": self.variant.records}
        return {key: value for key, value in chosen.items() if value}

    def _stop_all(self):
        for process in reversed(self._processes):
            process.kill()
            self.evidence += process.tail()


def tcp_route(server: str, /, listen: str | list[str] | None = None, **changes) -> dict:
    """A route with TLS on the client's side and none on the server's, but for `changes` to its keys."""
    listens = [listen] if isinstance(listen, str) else listen or [f"127.0.0.1:{free_port()}"]
    own = certs.server()
    route = {
        "name": "test",
        "protocol": "tcp",
        "listen": listens,
        "client": {"tls": "required", "cert": own.cert, "key": own.key},
        "server": {"tls": "off", "address": server},
    }
    return route | changes


# Of each port whether it was handed out, by any of the processes that run tests: they are forked from one.
_handed_out = multiprocessing.Array("b", 1 << 16)


def free_port(family: int = socket.AF_INET) -> int:
    """A port that nobody listens on and that this run has not used before."""
    host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    while True:
        with socket.socket(family) as probe:
            probe.bind((host, 0))
            port = probe.getsockname()[1]
        with _handed_out.get_lock():
            if not _handed_out[port]:
                _handed_out[port] = True
                return port


def raise_descriptor_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def is_root() -> bool:
    return os.geteuid() == 0
