"""A headless Chromium that is told what to do over a pipe (the DevTools protocol)."""

import base64
import fcntl
import itertools
import json
import os
from pathlib import Path

from .process import Process, program

# The descriptors on which --remote-debugging-pipe reads and writes.
COMMANDS_FD, ANSWERS_FD = 3, 4


class Chromium(Process):
    """It sees one page at a time."""

    def __init__(self, scratch: Path):
        command = [program("chromium") or "chromium", "--headless=new", "--no-sandbox", "--disable-gpu"]
        command += ["--remote-debugging-pipe", f"--user-data-dir={scratch / 'chromium'}", "about:blank"]
        super().__init__("chromium", command, scratch / "chromium.log")
        self._ids = itertools.count(1)
        self._unread = b""
        self._session = None

    def start(self) -> None:
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        # Above those that the two are moved to, so that neither overwrites the other.
        commands_high, answers_high = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (commands, answers))

        def move():
            os.dup2(commands_high, COMMANDS_FD)
            os.dup2(answers_high, ANSWERS_FD)

        self.options = {"preexec_fn": move, "close_fds": False}
        super().start()
        for fd in (commands, answers, commands_high, answers_high):
            os.close(fd)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")

    def kill(self) -> None:
        super().kill()
        for fd in (self._commands, self._answers):
            os.close(fd)

    def show(self, url: str, width: int, height: int = 800, scheme: str = "light") -> None:
        """Loads a page into a window of this size, in CSS pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=True)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        loaded = self.call("Page.navigate", url=url)
        assert "errorText" not in loaded, loaded
        while self._next().get("method") != "Page.loadEventFired":
            pass

    def evaluate(self, expression: str):
        """The value of an expression of JavaScript in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """The whole page, its part below the window included."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def call(self, method: str, **parameters) -> dict:
        number = next(self._ids)
        command = {"id": number, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while (answer := self._next()).get("id") != number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def _next(self) -> dict:
        """The next message, an answer or an event."""
        while b"\0" not in self._unread:
            more = os.read(self._answers, 1 << 20)
            assert more, f"chromium has ended\n{self.tail()}"
            self._unread += more
        message, self._unread = self._unread.split(b"\0", 1)
        return json.loads(message)
