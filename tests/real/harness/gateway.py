"""The gateway under test: its configuration, its process and its log."""

import itertools
import json
import os
import re
import signal
from pathlib import Path

from . import tcp_table
from .metrics import Metrics
from .process import Process, until

ROOT = Path(__file__).resolve().parents[3]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BINARY = Path(os.environ.get("SEALWIRE_BIN", TARGET / "release/sealwire"))

# What a draining gateway gives connections that a test left open.
DRAIN_TIMEOUT_S = 5

# What the log calls the three ways in which a connection fails.
HANDSHAKE_FAILED = "handshake failed"
SERVER_UNREACHABLE = "server unreachable"
SESSION_FAILED = "session failed"

_numbers = itertools.count()


class Gateway(Process):
    def __init__(self, scratch: Path, routes, launcher: tuple = (), **settings):
        stem = f"gateway-{next(_numbers)}"
        self.config = scratch / f"{stem}.toml"
        command = [*launcher, BINARY, "gateway", "--config", self.config, "--log", "json"]
        super().__init__("gateway", command, scratch / f"{stem}.log")
        self.settings = {"workers": 1, "drain_timeout_s": DRAIN_TIMEOUT_S} | settings
        self.routes = list(routes)
        # False where so much goes wrong on purpose that failed connections are not counted.
        self.judges_failures = True
        # Classes of failure that a peer of this test has a habit of.
        self.tolerated: set[str] = set()
        self._claimed: set[int] = set()
        self._events: list[dict] = []
        self._bytes_read = 0
        self._readies = 0
        self.write_config()

    def write_config(self) -> None:
        self.config.write_text(render(self.settings, self.routes))

    def start(self) -> None:
        """Starts it, or starts it again with the same files."""
        self._readies = len(self.events(message="ready"))
        super().start()

    def wait_ready(self) -> None:
        self.until(lambda: len(self.events(message="ready")) > self._readies, "ready")

    @property
    def port(self) -> int:
        """Of the first address of the first route."""
        return int(self.routes[0]["listen"][0].rsplit(":", 1)[1])

    def events(self, **fields) -> list[dict]:
        """The log lines that have these fields; a `reason` matches where it contains the value."""
        self._read()
        return [event for event in self._events if matches(event, fields)]

    def wait_event(self, **fields) -> dict:
        self.until(lambda: self.events(**fields), f"log line {fields}")
        return self.events(**fields)[0]

    def claimed(self, **fields) -> dict:
        """The one line that has these fields; it is expected, so it does not fail the test."""
        self.until(lambda: self.events(**fields), f"log line {fields}")
        found = self.events(**fields)
        assert len(found) == 1, f"{len(found)} lines instead of one for {fields}: {found}"
        self._claimed.add(found[0]["number"])
        return found[0]

    def failed(self, peer: str, classes: str | set[str], message: str | None = None) -> dict:
        """The one line about the failed connection from `peer`, which must be of one of these classes."""
        self.until(lambda: self.failures(peer=peer), f"a failure of {peer}")
        found = self.failures(peer=peer)
        assert len(found) == 1, f"{len(found)} lines instead of one for {peer}: {found}"
        (event,) = found
        wanted = {classes} if isinstance(classes, str) else classes
        assert event["class"] in wanted, f"class {event['class']!r} instead of {wanted}: {event}"
        assert message in (None, event["message"]), f"message {event['message']!r} instead of {message!r}"
        for field in ("peer", "route", "class", "reason"):
            assert event.get(field), f"no field {field}: {event}"
        self._claimed.add(event["number"])
        return event

    def failures(self, **fields) -> list[dict]:
        """The lines about connections that failed: those with a class."""
        return [event for event in self.events(**fields) if "class" in event]

    def reload(self) -> dict:
        """SIGHUP with the configuration as it now is, and the line that answers it."""
        before = len(self._answers())
        self.signal(signal.SIGHUP)
        self.until(lambda: len(self._answers()) > before, "an answer to SIGHUP")
        answer = self._answers()[-1]
        self._claimed.add(answer["number"])
        return answer

    def stop_and_judge(self) -> None:
        """Drains it, and fails the test for what it should not have logged."""
        if not self.is_running():
            return
        code = self.terminate()
        assert code == 0, f"exit code {code} after SIGTERM"
        self.judge()

    def judge(self) -> None:
        """Fails the test for every error, warning and failed connection that it did not claim."""
        found = [event for event in self.events() if self._is_trouble(event)]
        assert not found, f"log lines that nobody expected: {found}"

    def sockets(self) -> int:
        """Connections of its ports that are neither closed nor waiting out their time."""
        return len(self._sockets())

    def until_sockets(self, count: int, what: str) -> None:
        """Waits for so many of them, and tells of those there are where it waits in vain."""
        until(lambda: self.sockets() == count, what, evidence=self._connections)

    def _sockets(self) -> list[tcp_table.Row]:
        return tcp_table.connections_of([listen for route in self.routes for listen in route["listen"]])

    def _connections(self) -> str:
        """What the kernel says of them, and the gateway of itself where it is asked for its status."""
        lines = [f"    {row}\n" for row in self._sockets()]
        if "metrics" in self.settings:
            _, page = Metrics(self.settings["metrics"]).get("/")
            lines.append(" ".join(re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL).split()))
        return "".join(lines)

    def _is_trouble(self, event: dict) -> bool:
        if event["number"] in self._claimed:
            return False
        if event.get("level") == "ERROR":
            return True
        if not self.judges_failures:
            return False
        return event.get("level") == "WARN" or "class" in event and event["class"] not in self.tolerated

    def _answers(self) -> list[dict]:
        return [event for event in self.events() if event.get("message") in ("reloaded", "reload failed")]

    def _read(self) -> None:
        if not self.log.exists():
            return
        with self.log.open("rb") as log:
            log.seek(self._bytes_read)
            new = log.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._bytes_read += len(whole)
        for line in whole.splitlines():
            self._events.append(parse(line) | {"number": len(self._events)})


def parse(line: bytes) -> dict:
    """One log line as a flat dictionary. Anything but JSON in this log is a defect."""
    try:
        event = json.loads(line)
    except ValueError:
        raise AssertionError(f"not JSON in the log: {line!r}") from None
    return event | event.pop("fields", {})


def matches(event: dict, fields: dict) -> bool:
    for key, value in fields.items():
        found = event.get(key)
        is_match = value in str(found) if key == "reason" else found == value
        if not is_match:
            return False
    return True


def render(settings: dict, routes: list[dict]) -> str:
    """The configuration as TOML."""
    lines = ["[gateway]", *(f"{key} = {toml(value)}" for key, value in settings.items())]
    for route in routes:
        lines.append("\n[[route]]")
        lines += [f"{key} = {toml(value)}" for key, value in route.items() if not isinstance(value, dict)]
        for leg in ("client", "server"):
            lines.append(f"[route.{leg}]")
            lines += [f"{key} = {toml(value)}" for key, value in route[leg].items()]
    return "\n".join(lines) + "\n"


def toml(value) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(str(value) if isinstance(value, Path) else value)
