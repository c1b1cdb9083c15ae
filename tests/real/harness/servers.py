"""Servers behind the gateway: real ones, and small ones of our own where a test needs to see inside."""

import hashlib
import os
import signal
import socket
import ssl
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from .case import Case, free_port, is_root
from .process import Process, program, run

CHUNK = 1 << 20


def nginx(case: Case, port: int | None = None, tls: str = "") -> int:
    """nginx on loopback; `tls` holds the lines that make it speak TLS. Answers / with what it knows of the client."""
    port = port or free_port()
    home = case.scratch / f"nginx-{port}"
    (home / "www").mkdir(parents=True)
    (home / "nginx.conf").write_text(
        f"""
        daemon off;
        {"user root;" if is_root() else ""}
        worker_processes 1;
        pid {home}/nginx.pid;
        error_log stderr warn;
        events {{ worker_connections 1024; }}
        http {{
            access_log off;
            client_body_temp_path {home}/body;
            proxy_temp_path {home}/proxy;
            fastcgi_temp_path {home}/fastcgi;
            uwsgi_temp_path {home}/uwsgi;
            scgi_temp_path {home}/scgi;
            client_max_body_size 0;
            server {{
                listen 127.0.0.1:{port} {"ssl" if tls else ""};
                ssl_protocols TLSv1.2 TLSv1.3;
                {tls}
                location = / {{ return 200 "nginx $ssl_protocol $ssl_client_s_dn\\n"; }}
                location /www/ {{ root {home}; dav_methods PUT; create_full_put_path on; }}
            }}
        }}
        """
    )
    command = [program("nginx"), "-p", home, "-c", home / "nginx.conf", "-e", "stderr"]
    case.start(Process("nginx", command, home / "log", ready_port=port))
    return port


def nginx_folder(case: Case, port: int) -> Path:
    """What it serves under /www/."""
    return case.scratch / f"nginx-{port}" / "www"


class Redis:
    """A redis server on loopback."""

    def __init__(self, case: Case):
        self.port = free_port()
        command = [program("redis-server"), "--port", self.port, "--bind", "127.0.0.1", "--save", ""]
        command += ["--appendonly", "no", "--maxclients", 10_000, "--dir", case.scratch, "--loglevel", "warning"]
        log = case.scratch / f"redis-{self.port}.log"
        self.process = case.start(Process("redis", command, log, ready_port=self.port))

    def cli(self, *command) -> str:
        done = run("redis-cli", "-h", "127.0.0.1", "-p", self.port, *command)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def clients(self) -> int:
        """Connected clients, without the one that asks."""
        line = next(line for line in self.cli("info", "clients").splitlines() if line.startswith("connected_clients:"))
        return int(line.split(":")[1]) - 1


def openssl_server(case: Case, identity, *options) -> int:
    """`openssl s_server -rev`: answers each line reversed."""
    port = free_port()
    command = [program("openssl"), "s_server", "-accept", f"127.0.0.1:{port}", "-rev", "-quiet"]
    command += ["-cert", identity.cert, "-key", identity.key, *options]
    case.start(Process("s_server", command, case.scratch / f"s_server-{port}.log", ready_port=port))
    return port


class Listener:
    """A server of one function per connection, each in its own thread; stopped at the end of the test."""

    def __init__(self, case: Case, serve, address: str | None = None, tls: ssl.SSLContext | None = None):
        self.address = address or f"127.0.0.1:{free_port()}"
        self._serve = serve
        self._tls = tls
        self._is_open = True
        self._connections: list[socket.socket] = []
        self.errors: list[BaseException] = []
        self.accepted = 0
        self._socket = self._listen()
        threading.Thread(target=self._accept, daemon=True).start()
        case.addCleanup(self.close)

    def close(self) -> None:
        self._is_open = False
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _listen(self) -> socket.socket:
        if self.address.startswith("unix:"):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(self.address.removeprefix("unix:"))
        else:
            host, port = self.address.rsplit(":", 1)
            host = host.strip("[]")
            listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, int(port)))
        listener.listen(512)
        return listener

    def _accept(self) -> None:
        while self._is_open:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.accepted += 1
            self._connections.append(connection)
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection: socket.socket) -> None:
        try:
            with connection:
                if self._tls:
                    connection = self._tls.wrap_socket(connection, server_side=True)
                self._serve(connection)
        except (OSError, ssl.SSLError) as error:
            self.errors.append(error)


def echo(connection: socket.socket) -> None:
    """What comes goes back; an end is answered by an end."""
    while data := connection.recv(65536):
        connection.sendall(data)


def digest(connection: socket.socket) -> None:
    """Reads to the end, then answers with length and SHA-256 of what came."""
    total, sha = 0, hashlib.sha256()
    while data := connection.recv(65536):
        total += len(data)
        sha.update(data)
    connection.sendall(f"{total} {sha.hexdigest()}\n".encode())


class PatternServer:
    """HTTP in a process of its own: GET /LENGTH sends that much pattern, PUT answers with the SHA-256 of what came."""

    def __init__(self, case: Case):
        server = ThreadingHTTPServer(("127.0.0.1", free_port()), _PatternHandler)
        self.port = server.server_address[1]
        self.pid = os.fork()
        if self.pid == 0:
            try:
                signal.alarm(0)
                server.serve_forever()
            finally:
                os._exit(0)
        server.server_close()
        case.addCleanup(self.stop)

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


class _PatternHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        length = int(self.path.strip("/"))
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        for chunk in pattern(length):
            self.wfile.write(chunk)

    def do_PUT(self):
        sha = hashlib.sha256()
        left = int(self.headers["Content-Length"])
        while left:
            data = self.rfile.read(min(left, CHUNK))
            if not data:
                return
            sha.update(data)
            left -= len(data)
        body = sha.hexdigest().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Silent: the gateway's log is the one that counts."""


def pattern(length: int):
    """`length` bytes in chunks, no two chunks alike, so that a lost, repeated or moved byte changes the digest."""
    base = hashlib.shake_128(b"pattern").digest(CHUNK) * 2
    view = memoryview(base)
    for number in range(0, -(-length // CHUNK)):
        start = number * 4099 % CHUNK
        yield view[start : start + min(CHUNK, length - number * CHUNK)]


def pattern_digest(length: int) -> str:
    sha = hashlib.sha256()
    for chunk in pattern(length):
        sha.update(chunk)
    return sha.hexdigest()
