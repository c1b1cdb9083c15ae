"""Which back end runs, what it does without io_uring, and that io_uring's system calls are io_uring's alone."""

import re
import sys
from pathlib import Path

from harness import certs, clients
from harness.case import BACKENDS, ONCE, Case, is_root, tcp_route
from harness.gateway import BINARY, Gateway, render
from harness.process import program, run, until
from harness.servers import Listener, Redis, echo

WITHOUT_IO_URING = (sys.executable, Path(__file__).parent / "harness" / "without_io_uring.py")
SYSCTL = Path("/proc/sys/kernel/io_uring_disabled")

# Reading and writing a socket by a system call of its own. Setting one up is done once per connection.
TRANSFERS = ["read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2"]
TRANSFERS += ["recvfrom", "recvmsg", "recvmmsg", "sendto", "sendmsg", "sendmmsg", "sendfile", "splice"]


class Forbidden(Case):
    """io_uring forbidden: epoll takes over with one line, unless io_uring was demanded."""

    variants = ONCE
    runs_alone = True

    def check_fallback(self, gateway: Gateway):
        warning = gateway.claimed(level="WARN")
        text = str(warning)
        self.assertIn("io_uring", text)
        self.assertIn("epoll", text)
        with clients.tls(gateway.port) as connection:
            self.assertEqual(clients.ask(connection, b"epoll"), b"epoll")
            connection.unwrap()

    def test_by_seccomp(self):
        route = tcp_route(Listener(self, echo).address)
        gateway = self.gateway(route, backend="auto", launcher=WITHOUT_IO_URING, workers=2)
        self.check_fallback(gateway)

    def test_by_seccomp_although_demanded(self):
        config = self.scratch / "gateway.toml"
        config.write_text(render({"backend": "uring"}, [tcp_route("127.0.0.1:1")]))
        done = run(*WITHOUT_IO_URING, BINARY, "gateway", "--config", config, "--log", "json")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("io_uring", done.stderr)
        self.assertIn("not permitted", done.stderr)
        self.assertNotIn('"ready"', done.stderr)

    def test_by_sysctl(self):
        """The switch is the machine's: it is put back as soon as the gateway has started."""
        if not is_root() or not SYSCTL.exists():
            self.skipTest("kernel.io_uring_disabled cannot be written")
        before = SYSCTL.read_text()
        route = tcp_route(Listener(self, echo).address)
        config = self.scratch / "demanded.toml"
        config.write_text(render({"backend": "uring"}, [tcp_route("127.0.0.1:1")]))
        try:
            SYSCTL.write_text("2")
            gateway = self.gateway(route, backend="auto")
            demanded = run(BINARY, "gateway", "--config", config)
        finally:
            SYSCTL.write_text(before)
        self.check_fallback(gateway)
        self.assertEqual(demanded.returncode, 1, demanded.stderr)
        self.assertIn("io_uring", demanded.stderr)

    def test_allowed(self):
        """Where nothing forbids it, auto takes io_uring and says nothing at WARN."""
        gateway = self.gateway(tcp_route(Listener(self, echo).address), backend="auto")
        self.assertIn("io_uring", str(gateway.events(message="ready") + gateway.events(level="INFO")))


class SystemCalls(Case):
    """Every system call of a gateway that relays, as strace sees them."""

    variants = BACKENDS
    needs = ("strace", "redis-server", "redis-cli", "redis-benchmark")

    def traced_gateway(self, server: str) -> Gateway:
        self.trace = self.scratch / "strace.log"
        calls = f"trace=network,{','.join(TRANSFERS)},io_uring_enter"
        # -yy writes what each descriptor is: <TCP:[...]>, <UNIX-STREAM:[...]>, <anon_inode:[eventfd]>; with -D the
        # process that was started is the gateway, and strace watches from aside.
        launcher = (program("strace"), "-D", "-f", "-yy", "-q", "-s", "0", "-o", self.trace, "-e", calls)
        return self.gateway(tcp_route(server), launcher=launcher)

    def transfers(self) -> list[str]:
        """Calls that move bytes of TCP connections or of sockets that have a path."""
        of_socket = re.compile(rf"\b({'|'.join(TRANSFERS)})\(\d+<(TCP|TCPv6|socket|UNIX[^>]*\"/)")
        return [line for line in self.trace.read_text().splitlines() if of_socket.search(line)]

    def check(self, gateway: Gateway):
        gateway.stop_and_judge()
        until(lambda: "+++ exited with 0 +++" in self.trace.read_text(), "the trace is whole")
        found = self.transfers()
        if self.variant.backend == "epoll":
            self.assertGreater(len(found), 100, "the trace shows nothing of epoll: it proves nothing of io_uring")
            return
        self.assertIn("io_uring_enter", self.trace.read_text())
        self.assertEqual(found, [])

    def test_redis_benchmark(self):
        redis = Redis(self)
        gateway = self.traced_gateway(f"127.0.0.1:{redis.port}")
        # Redis' own tools leave without close_notify.
        gateway.tolerated = {"truncated"}
        tool = ("-h", "127.0.0.1", "-p", gateway.port, "--tls", "--cacert", certs.authority().cert)
        done = run("redis-benchmark", *tool, "-q", "-n", 2_000, "-c", 10, "-t", "set,get", timeout_s=40)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(run("redis-cli", *tool, "ping").stdout, "PONG\n")
        self.check(gateway)

    def test_bulk(self):
        gateway = self.traced_gateway(Listener(self, echo).address)
        with clients.tls(gateway.port) as connection:
            for _ in range(100):
                self.assertEqual(clients.ask(connection, b"b" * 60_000), b"b" * 60_000)
            connection.unwrap()
        self.check(gateway)
