"""Child processes: started with a log file, stopped by pid, never left behind."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

# Long for a machine that is busy with something else; no test waits this long when all is well.
PATIENCE_S = float(os.environ.get("PATIENCE_S", 20))


class Process:
    """A child whose output goes to a file."""

    # PIPE for a program that runs until its input ends.
    stdin = subprocess.DEVNULL

    def __init__(self, name: str, command: list, log: Path, ready_port: int | None = None, cwd: Path | None = None):
        self.name = name
        self.command = [str(word) for word in command]
        self.log = log
        self.ready_port = ready_port
        self.cwd = cwd
        self.options = {}
        self.child: subprocess.Popen | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                self.command,
                stdin=self.stdin,
                stdout=log,
                stderr=log,
                cwd=self.cwd,
                start_new_session=True,
                **self.options,
            )
        self.wait_ready()

    def wait_ready(self) -> None:
        if self.ready_port is not None:
            self.until(lambda: listens(self.ready_port), f"{self.name} listens on port {self.ready_port}")

    @property
    def pid(self) -> int:
        return self.child.pid

    def is_running(self) -> bool:
        return self.child is not None and self.child.poll() is None

    def signal(self, number: int) -> None:
        if self.is_running():
            os.kill(self.pid, number)

    def terminate(self, patience_s: float = PATIENCE_S) -> int:
        """SIGTERM, and the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(patience_s)

    def wait(self, patience_s: float = PATIENCE_S) -> int:
        return self.child.wait(patience_s)

    def kill(self) -> None:
        """SIGKILL to the process and to what it started."""
        if self.child is None:
            return
        if self.is_running():
            os.killpg(self.pid, signal.SIGKILL)
        self.child.wait()

    def until(self, is_so, what: str) -> None:
        """Waits until something is so, but not for a process that has ended."""

        def still_possible():
            if is_so():
                return True
            if not self.is_running():
                raise AssertionError(f"{self.name} ended before {what}\n{self.tail()}")
            return False

        until(still_possible, what)

    def descriptors(self) -> int:
        return len(self._descriptors())

    def until_descriptors(self, count: int, what: str) -> None:
        """Waits for so many of them, and lists those there are where it waits in vain."""
        until(lambda: self.descriptors() == count, f"{count} descriptors: {what}", evidence=self._list_descriptors)

    def _descriptors(self) -> list[Path]:
        return list(Path(f"/proc/{self.pid}/fd").iterdir())

    def _list_descriptors(self) -> str:
        return "".join(f"    {fd.name}: {os.readlink(fd)}\n" for fd in self._descriptors())

    def rss_kib(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1])

    def tail(self, lines: int = 25) -> str:
        if not self.log.exists():
            return ""
        text = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "".join(f"    {self.name}| {line[:400]}\n" for line in text)


def until(is_so, what: str, patience_s: float = PATIENCE_S, evidence=lambda: "") -> None:
    """Polls until something is so. Only the failure depends on time. It says what `evidence` gives, and whether this
    process itself stood still meanwhile, as it does on a machine that is paused or far too busy."""
    looked_at, slowest_s = time.monotonic(), 0.0
    end = looked_at + patience_s
    while not is_so():
        now = time.monotonic()
        looked_at, slowest_s = now, max(slowest_s, now - looked_at)
        if now > end:
            slowest = f"the slowest look took {slowest_s:.1f} s"
            raise AssertionError(f"not within {patience_s} s: {what}; {slowest}\n{evidence()}")
        time.sleep(0.01)


def listens(port: int) -> bool:
    """Whether a socket of this machine listens on the port. Nobody is connected to: a server would notice."""
    listen_state = "0A"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, _, state = line.split()[:4]
            if state == listen_state and local.endswith(f":{port:04X}"):
                return True
    return False


def program(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def run(*command, input: bytes | None = None, timeout_s: float = PATIENCE_S, **options) -> subprocess.CompletedProcess:
    """Runs a client to its end; its output is text unless `text=False`."""
    words = [program(str(command[0])) or str(command[0])] + [str(word) for word in command[1:]]
    source = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
    if options.setdefault("text", True) and input is not None:
        source["input"] = input.decode()
    return subprocess.run(words, capture_output=True, timeout=timeout_s, **source, **options)
