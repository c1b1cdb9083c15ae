"""Start, reload, drain, and what happens when either end is killed."""

import signal
import socket
import ssl
import threading

from harness import certs, clients
from harness.case import Case, free_port, tcp_route
from harness.gateway import SERVER_UNREACHABLE, SESSION_FAILED
from harness.process import listens, until
from harness.servers import Listener, Redis, echo


class Drain(Case):
    def test_what_is_under_way_ends_and_nothing_new_begins(self):
        """SIGTERM while a client waits for an answer: it still gets it."""
        go_on = threading.Event()

        def slow(connection):
            connection.recv(4)
            go_on.wait(30)
            connection.sendall(b"answer")

        gateway = self.gateway(tcp_route(Listener(self, slow).address), drain_timeout_s=30)
        with clients.tls(gateway.port) as connection:
            connection.sendall(b"ask?")
            gateway.signal(signal.SIGTERM)
            gateway.wait_event(message="draining")
            until(lambda: not listens(gateway.port), "new connections are refused")
            self.assertTrue(gateway.is_running())
            go_on.set()
            self.assertEqual(clients.read_to_end(connection), b"answer")
            connection.unwrap()
        self.assertEqual(gateway.wait(), 0)
        gateway.judge()

    def test_the_accept_queue_is_emptied_first(self):
        """Connections that the kernel accepted before the SIGTERM are served: nobody who got in is dropped."""
        server = Listener(self, echo)
        gateway = self.gateway(tcp_route(server.address), drain_timeout_s=30)
        with clients.tls(gateway.port) as connection:
            clients.ask(connection, b"warm")
            connection.unwrap()
        gateway.signal(signal.SIGSTOP)
        waiting = [clients.plain(gateway.port) for _ in range(10)]
        gateway.signal(signal.SIGTERM)
        gateway.signal(signal.SIGCONT)
        for connection in waiting:
            with clients.context().wrap_socket(connection, server_hostname="localhost") as secured:
                self.assertEqual(clients.ask(secured, b"queued"), b"queued")
                secured.unwrap()
        self.assertEqual(gateway.wait(), 0)
        gateway.judge()

    def test_the_drain_has_an_end(self):
        """A connection that goes on is cut after drain_timeout_s."""
        gateway = self.gateway(tcp_route(Listener(self, echo).address), drain_timeout_s=1)
        with clients.tls(gateway.port) as connection:
            clients.ask(connection, b"going on")
            gateway.signal(signal.SIGTERM)
            self.assertTrue(clients.is_ended(connection))
        self.assertEqual(gateway.wait(), 0)

    def test_a_second_sigterm_ends_it(self):
        gateway = self.gateway(tcp_route(Listener(self, echo).address), drain_timeout_s=600)
        with clients.tls(gateway.port) as connection:
            clients.ask(connection, b"going on")
            gateway.signal(signal.SIGTERM)
            gateway.wait_event(message="draining")
            gateway.signal(signal.SIGTERM)
            gateway.wait(10)
            self.assertTrue(clients.is_ended(connection))

    def test_idle(self):
        gateway = self.gateway(tcp_route(Listener(self, echo).address), drain_timeout_s=600)
        self.assertEqual(gateway.terminate(10), 0)

    def test_sigint_drains_too(self):
        gateway = self.gateway(tcp_route(Listener(self, echo).address))
        gateway.signal(signal.SIGINT)
        self.assertEqual(gateway.wait(10), 0)


class Reload(Case):
    def serial(self, port: int) -> int:
        """Of the certificate that is presented now."""
        text = ssl.get_server_certificate(("127.0.0.1", port))
        return certs.x509.load_pem_x509_certificate(text.encode()).serial_number

    def test_new_certificate_and_new_server(self):
        first, second = Listener(self, echo), Listener(self, lambda c: c.sendall(b"second"))
        gateway = self.gateway(tcp_route(first.address))
        gateway.judges_failures = False  # get_server_certificate leaves without a word
        with clients.tls(gateway.port) as before:
            self.assertEqual(clients.ask(before, b"before"), b"before")
            fresh = certs.fresh_server()
            gateway.routes[0]["client"] = {"tls": "required", "cert": fresh.cert, "key": fresh.key}
            gateway.routes[0]["server"] = {"tls": "off", "address": second.address}
            gateway.write_config()
            self.assertEqual(gateway.reload()["message"], "reloaded")
            with clients.tls(gateway.port) as after:
                self.assertEqual(clients.read(after, 6), b"second")
            self.assertEqual(self.serial(gateway.port), fresh.serial)
            # Connections from before go on as they were.
            self.assertEqual(clients.ask(before, b"still"), b"still")
            before.unwrap()

    def test_the_same_files_with_new_content(self):
        """What a renewal does: the file of the same name holds another certificate."""
        own, fresh = certs.server(), certs.fresh_server()
        cert, key = self.scratch / "cert.pem", self.scratch / "key.pem"
        cert.write_bytes(own.cert.read_bytes())
        key.write_bytes(own.key.read_bytes())
        client = {"tls": "required", "cert": cert, "key": key}
        gateway = self.gateway(tcp_route(Listener(self, echo).address, client=client))
        gateway.judges_failures = False
        self.assertEqual(self.serial(gateway.port), own.serial)
        cert.write_bytes(fresh.cert.read_bytes())
        key.write_bytes(fresh.key.read_bytes())
        self.assertEqual(gateway.reload()["message"], "reloaded")
        self.assertEqual(self.serial(gateway.port), fresh.serial)

    def test_a_bad_configuration_changes_nothing(self):
        gateway = self.gateway(tcp_route(Listener(self, echo).address))
        gateway.judges_failures = False
        good = gateway.config.read_text()
        missing = good.replace(str(certs.server().key), str(self.scratch / "missing.pem"))
        for bad, said in (
            (good + "\n[gateway]\n", "gateway"),
            (good.replace("workers =", "worker ="), "worker"),
            (missing, "missing.pem"),
        ):
            gateway.config.write_text(bad)
            answer = gateway.reload()
            self.assertEqual(answer["message"], "reload failed")
            self.assertIn(said, answer["reason"])
            with clients.tls(gateway.port) as connection:
                self.assertEqual(clients.ask(connection, b"as before"), b"as before")
                connection.unwrap()
        gateway.config.write_text(good)
        self.assertEqual(gateway.reload()["message"], "reloaded")

    def test_addresses_come_and_go(self):
        server = Listener(self, echo).address
        old, new = free_port(), free_port()
        gateway = self.gateway(tcp_route(server, f"127.0.0.1:{old}"))
        with clients.tls(old) as before:
            clients.ask(before, b"before")
            gateway.routes[0]["listen"] = [f"127.0.0.1:{new}"]
            gateway.write_config()
            self.assertEqual(gateway.reload()["message"], "reloaded")
            with clients.tls(new) as after:
                self.assertEqual(clients.ask(after, b"new"), b"new")
                after.unwrap()
            until(lambda: not listens(old), "the old address is closed")
            self.assertEqual(clients.ask(before, b"still"), b"still")
            before.unwrap()

    def test_an_address_that_is_taken_changes_nothing(self):
        gateway = self.gateway(tcp_route(Listener(self, echo).address))
        own = gateway.routes[0]["listen"]
        with socket.create_server(("127.0.0.1", 0)) as taken:
            gateway.routes[0]["listen"] = own + [f"127.0.0.1:{taken.getsockname()[1]}"]
            gateway.write_config()
            answer = gateway.reload()
        self.assertEqual(answer["message"], "reload failed")
        self.assertIn("in use", answer["reason"])
        with clients.tls(gateway.port) as connection:
            self.assertEqual(clients.ask(connection, b"as before"), b"as before")
            connection.unwrap()

    def test_under_load(self):
        """Fifty reloads while clients come and go: none of them notices."""
        gateway = self.gateway(tcp_route(Listener(self, echo).address))
        load = Load(gateway.port, clients_count=4)
        for _ in range(50):
            self.assertEqual(gateway.reload()["message"], "reloaded")
        load.stop()
        self.assertEqual(load.errors, [])
        self.assertGreater(load.exchanges, 50)


class Load:
    """Threads that connect, exchange a message and end cleanly, over and over."""

    def __init__(self, port: int, clients_count: int, message: bytes = b"PING\r\n", answer: bytes | None = None):
        self.port = port
        self.message, self.answer = message, answer or message
        self.exchanges = 0
        self.errors: list[Exception] = []
        self._is_over = False
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients_count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Every thread ends: none hangs in a connection that nobody answers."""
        self._is_over = True
        for thread in self._threads:
            thread.join(15)
            if thread.is_alive():
                raise AssertionError("a client hangs")

    def _run(self) -> None:
        made = clients.context()
        while not self._is_over:
            try:
                with clients.tls(self.port, made) as connection:
                    for _ in range(20):
                        connection.sendall(self.message)
                        found = clients.read(connection, len(self.answer))
                        if found != self.answer:
                            raise AssertionError(f"{found!r} instead of {self.answer!r}")
                        self.exchanges += 1
                    connection.unwrap()
            except Exception as error:
                self.errors.append(error)


class Killed(Case):
    needs = ("redis-server", "redis-cli")

    def test_server_killed_and_restarted_under_load(self):
        redis = Redis(self)
        gateway = self.gateway(tcp_route(f"127.0.0.1:{redis.port}"))
        gateway.judges_failures = False
        load = Load(gateway.port, clients_count=8, answer=b"+PONG\r\n")
        until(lambda: load.exchanges > 200, "the load is on")
        redis.process.kill()
        until(lambda: len(load.errors) > 20, "clients are told")
        gateway.wait_event(level="WARN", message=SERVER_UNREACHABLE)
        redis.process.start()
        reached = load.exchanges
        until(lambda: load.exchanges > reached + 200, "the load goes on")
        load.stop()
        self.assertTrue(all(is_an_end(error) for error in load.errors), load.errors)
        gateway.until_sockets(0, "no connection is left")
        until(lambda: redis.clients() == 0, "no connection is left at the server")

    def test_server_stopped_in_the_middle_of_an_answer(self):
        """It dies by a reset: what came is passed on, and a clean end is not made of it."""

        def die(connection):
            connection.recv(4)
            connection.sendall(b"x" * 1_000)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

        gateway = self.gateway(tcp_route(Listener(self, die).address))
        with clients.tls(gateway.port) as connection:
            connection.sendall(b"ask?")
            with self.assertRaises(OSError, msg="the client saw a clean end"):
                clients.read_to_end(connection)
            gateway.failed(clients.name(connection), "io", message=SESSION_FAILED)

    def test_gateway_killed_and_restarted(self):
        redis = Redis(self)
        gateway = self.gateway(tcp_route(f"127.0.0.1:{redis.port}"))
        load = Load(gateway.port, clients_count=8, answer=b"+PONG\r\n")
        until(lambda: load.exchanges > 200, "the load is on")
        gateway.kill()
        until(lambda: len(load.errors) > 8, "clients are told")
        # At once, on the same ports, while connections of the old one still wait out their time.
        gateway.start()
        reached = load.exchanges
        until(lambda: load.exchanges > reached + 200, "the load goes on")
        load.stop()
        self.assertTrue(all(is_an_end(error) for error in load.errors), load.errors)
        until(lambda: redis.clients() == 0, "no connection is left at the server")

    def test_client_killed(self):
        """By a reset, with an answer under way: the server's connection ends with it."""
        redis = Redis(self)
        gateway = self.gateway(tcp_route(f"127.0.0.1:{redis.port}"))
        connection = clients.tls(gateway.port)
        peer = clients.name(connection)
        connection.sendall(b"PING\r\n")
        self.assertEqual(clients.read(connection, 7), b"+PONG\r\n")
        until(lambda: redis.clients() == 1, "the server has the connection")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
        gateway.failed(peer, "io", message=SESSION_FAILED)
        until(lambda: redis.clients() == 0, "the server's connection ends")


def is_an_end(error: Exception) -> bool:
    """What a client may see where the other end dies: never silence, never wrong data."""
    return isinstance(error, (ConnectionError, EOFError, ssl.SSLError, BrokenPipeError))
