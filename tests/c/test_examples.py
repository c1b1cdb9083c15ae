"""The examples against real counterparts, each under what finds mistakes of memory and of threads."""

import difflib
import socket
import ssl
import subprocess
import sys
import threading
from dataclasses import replace

from harness import certs
from harness.case import free_port, tcp_route
from harness.process import Process, run
from toolchain import EXAMPLES, ROOT, SANITIZERS, THREADS, VALGRIND, CCase, checked

WITHOUT_IO_URING = (sys.executable, str(ROOT / "tests/real/harness/without_io_uring.py"))
MEMORY = (SANITIZERS, VALGRIND)
# What watches a program makes its handshake slow.
PATIENT = {"handshake_timeout_s": 300}


class ExampleCase(CCase):
    needs = ("openssl", "valgrind")

    def client(self, tool, source, *arguments, input: bytes | None = None, code: int = 0, **environment):
        environment = tool.environment() | environment
        done = run(*tool.command(source, *arguments), env=environment, input=input, timeout_s=60)
        self.assertEqual(done.returncode, code, f"{tool.name}\n{done.stdout}{done.stderr}")
        return done

    def s_server(self, *flags) -> int:
        own, port = certs.server(), free_port()
        command = ["openssl", "s_server", "-quiet", "-accept", f"127.0.0.1:{port}", "-cert", own.cert, "-key", own.key]
        self.start(Process("s_server", command + list(flags), self.scratch / f"s_server-{port}.log", port))
        return port

    def listening(self, tool, source, *arguments) -> int:
        """The port of a server that prints it."""
        server = subprocess.Popen(
            list(map(str, tool.command(source, *arguments))),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=tool.environment(),
        )
        self.addCleanup(self.judge_server, server, tool)
        self.server_says = server.stdout.readline
        return int(self.server_says())

    def judge_server(self, server, tool):
        server.stdin.close()
        code = server.wait(30)
        server.stdout.close()
        self.assertEqual(code, 0, f"{tool.name}: the server's exit code")


class Clients(ExampleCase):
    def test_blocking_client(self):
        port = self.s_server("-rev")
        for tool in MEMORY:
            done = self.client(tool, EXAMPLES / "blocking_client.c", "localhost", port, ca(), "was it a car")
            self.assertEqual(done.stdout, "rac a ti saw\n")

    def test_the_systems_authorities(self):
        """As OpenSSL's programs, it is told by the environment where the system has them."""
        port, stranger = self.s_server("-rev"), certs.authority("stranger").cert
        for authority, code, words in ((ca(), 0, "rac a ti saw"), (stranger, 1, "UNKNOWN_ISSUER")):
            arguments = ("localhost", port, "system", "was it a car")
            where = {"SSL_CERT_FILE": str(authority)}
            done = self.client(SANITIZERS, EXAMPLES / "blocking_client.c", *arguments, code=code, **where)
            self.assertIn(words, done.stdout + done.stderr)

    def test_client_in_cxx(self):
        port = self.s_server("-rev")
        for tool in MEMORY:
            done = self.client(tool, EXAMPLES / "client.cc", "localhost", port, ca(), "was it a car")
            self.assertEqual(done.stdout, "rac a ti saw\n")

    def test_poll_client_through_the_gateway(self):
        echo = self.listening(SANITIZERS, EXAMPLES / "legacy/echo_server.c", 0)
        gateway = self.gateway(tcp_route(f"127.0.0.1:{echo}", **PATIENT))
        text = "".join(f"line {number}\n" for number in range(20_000))
        for tool in MEMORY:
            source = EXAMPLES / "poll_client.c"
            done = self.client(tool, source, "localhost", gateway.port, ca(), input=text.encode())
            self.assertTrue(done.stdout == text, f"{len(done.stdout)} of {len(text)} bytes came back")

    def test_a_server_that_is_not_believed(self):
        port = self.s_server("-rev")
        stranger = certs.authority("stranger").cert
        for source in ("blocking_client.c", "client.cc"):
            done = self.client(SANITIZERS, EXAMPLES / source, "localhost", port, stranger, "hello", code=1)
            self.assertIn("SEALWIRE_ERR_CERT_UNKNOWN_ISSUER", done.stderr)
            self.assertIn("test CA", done.stderr)


class WithoutPeers(ExampleCase):
    def test_memory_pair(self):
        own = certs.server()
        for tool in MEMORY:
            done = self.client(tool, EXAMPLES / "memory_pair.c", ca(), own.cert, own.key)
            self.assertEqual(done.stdout, "hello from memory\n")

    def test_threads_share_a_configuration(self):
        own = certs.server()
        self.client(THREADS, ROOT / "tests/c/programs/threads.c", ca(), own.cert, own.key)

    def test_a_connection_is_freed_at_exit(self):
        for tool in MEMORY:
            done = self.client(tool, ROOT / "tests/c/programs/at_exit.c", ca())
            self.assertEqual((done.stdout, done.stderr), ("freed behind this line\n", ""))

    def test_the_sanitizers_are_in(self):
        source = EXAMPLES / "memory_pair.c"
        self.assertIn("__asan_init", checked("nm", "-D", SANITIZERS.program(source)))
        self.assertIn("__tsan_init", checked("nm", "-D", THREADS.program(ROOT / "tests/c/programs/threads.c")))

    def test_every_tool_finds_what_it_is_there_for(self):
        source = ROOT / "tests/c/programs/mistakes.c"
        finds = {"leak": MEMORY, "overflow": MEMORY, "race": (THREADS,)}
        for mistake, tools in finds.items():
            for tool in tools:
                with self.subTest(mistake, tool=tool.name):
                    self.client(tool, source, mistake, code=99)


class Ports(ExampleCase):
    """Programs as they were before TLS, and what had to change."""

    def test_blocking_tool(self):
        with Answering(b"uptime 7 days\n") as plain:
            before = self.client(SANITIZERS, EXAMPLES / "legacy/blocking_tool.c", "localhost", plain.port, "uptime")
        with Answering(b"uptime 7 days\n") as plain:
            gateway = self.gateway(tcp_route(f"127.0.0.1:{plain.port}", **PATIENT))
            for tool in MEMORY:
                source = EXAMPLES / "legacy/blocking_tool_tls.c"
                after = self.client(tool, source, "localhost", gateway.port, "uptime", ca())
                self.assertEqual(after.stdout, before.stdout)
        self.assertEqual(before.stdout, "uptime 7 days\n")

    def test_echo_server(self):
        own = certs.server()
        text = "".join(f"line {number}\n" for number in range(5_000))
        for tool in MEMORY:
            port = self.listening(tool, EXAMPLES / "legacy/echo_server_tls.c", 0, own.cert, own.key)
            command = ["openssl", "s_client", "-quiet", "-verify_return_error", "-CAfile", ca()]
            with subprocess.Popen(
                [*command, "-connect", f"localhost:{port}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            ) as client:
                writer = threading.Thread(target=write, args=(client.stdin, text.encode()))
                writer.start()
                received = client.stdout.read(len(text))
                writer.join()
                client.stdin.close()
                client.terminate()
            self.assertTrue(received.decode() == text, f"{tool.name}: {len(received)} of {len(text)} bytes came back")

    def test_what_changes_is_under_40_lines(self):
        for name in ("blocking_tool", "echo_server"):
            before, after = (EXAMPLES / f"legacy/{name}{suffix}.c" for suffix in ("", "_tls"))
            lines = list(difflib.unified_diff(before.read_text().splitlines(), after.read_text().splitlines(), n=0))
            changed = [line for line in lines[2:] if line.startswith(("+", "-"))]
            self.assertLess(len(changed), 40, name)
            self.assertGreater(len(changed), 10, name)


class Engine(ExampleCase):
    def test_engine_echo(self):
        own = certs.server()
        context = ssl.create_default_context(cafile=ca())
        on_epoll = replace(SANITIZERS, launcher=WITHOUT_IO_URING)
        for tool, backend, count in (
            (SANITIZERS, "io_uring", 200),
            (on_epoll, "epoll", 200),
            (VALGRIND, "io_uring", 3),
        ):
            source = EXAMPLES / "engine_echo.c"
            port = self.listening(tool, source, "127.0.0.1:0", own.cert, own.key, count)
            self.assertRegex(self.server_says(), f"^{backend}")
            clients = [
                context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost")
                for _ in range(count)
            ]
            for number, client in enumerate(clients):
                client.sendall(b"%06d" % number)
            for number, client in enumerate(clients):
                self.assertEqual(read_exactly(client, 6), b"%06d" % number)
            if tool is not VALGRIND:
                self.outrun(clients[0])
            for client in clients:
                client.close()

    def test_engine_echo_in_cxx(self):
        own, identity = certs.server(), certs.client("alice")
        context = ssl.create_default_context(cafile=ca())
        port = self.listening(SANITIZERS, EXAMPLES / "engine_echo.cc", "127.0.0.1:0", own.cert, own.key, ca(), 2)
        for subject in ("nobody", "/CN=alice"):
            if subject != "nobody":
                context.load_cert_chain(identity.cert, identity.key)
            with socket.create_connection(("127.0.0.1", port)) as plain:
                client = context.wrap_socket(plain, server_hostname="localhost")
                client.sendall(b"hello")
                self.assertEqual(read_exactly(client, 5), b"hello")
                suite = client.cipher()[0]
                client.unwrap().close()
            self.assertEqual(self.server_says(), f"{suite} {subject}\n")

    def outrun(self, client):
        """Sends more than fits between the ends before it reads: the server has to wait for its client."""
        data = bytes(range(256)) * 4096 * 16
        writer = threading.Thread(target=client.sendall, args=(data,))
        writer.start()
        # What the kernel holds for both ends is less than that.
        writer.join(timeout=1)
        self.assertTrue(read_exactly(client, len(data)) == data)
        writer.join()


class Answering:
    """A server of plain TCP that answers every connection's first line, and hangs up."""

    def __init__(self, answer: bytes):
        self.answer = answer
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client, client.makefile("rb") as lines:
                lines.readline()
                client.sendall(self.answer)


def read_exactly(client, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = client.recv(length - len(data))
        if not part:
            break
        data += part
    return bytes(data)


def write(stream, data: bytes) -> None:
    stream.write(data)
    stream.flush()


def ca():
    return certs.authority().cert
