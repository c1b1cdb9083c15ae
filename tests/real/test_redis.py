"""redis-cli and redis-benchmark in front, redis behind."""

from harness import certs, clients
from harness.case import BACKENDS_AND_RECORDS, Case, tcp_route
from harness.process import run, until
from harness.servers import Redis


class RedisBehind(Case):
    variants = BACKENDS_AND_RECORDS
    needs = ("redis-server", "redis-cli", "redis-benchmark")

    def setUp(self):
        super().setUp()
        self.redis = Redis(self)
        self.proxy = self.gateway(tcp_route(f"127.0.0.1:{self.redis.port}"))
        # Redis' own tools leave without close_notify.
        self.proxy.tolerated = {"truncated"}

    def tool(self, name: str, *options, **more):
        tls = ("--tls", "--cacert", certs.authority().cert)
        return run(name, "-h", "127.0.0.1", "-p", self.proxy.port, *tls, *options, **more)

    def test_commands(self):
        self.assertEqual(self.tool("redis-cli", "set", "key", "value").stdout, "OK\n")
        self.assertEqual(self.tool("redis-cli", "get", "key").stdout, "value\n")
        self.assertEqual(self.redis.cli("get", "key"), "value\n")

    def test_pipe_mode(self):
        commands = b"".join(
            b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$4\r\n%s\r\n" % (len(key), key, b"data")
            for key in (b"key%d" % number for number in range(20_000))
        )
        done = self.tool("redis-cli", "--pipe", input=commands)
        self.assertIn("errors: 0, replies: 20000", done.stdout)
        self.assertEqual(self.redis.cli("dbsize"), "20000\n")

    def test_benchmark(self):
        options = ("-q", "-n", 20_000, "-c", 50, "-P", 8, "-t", "set,get,lrange_100", "-d", 300)
        done = self.tool("redis-benchmark", *options, timeout_s=50)
        self.assertEqual(done.returncode, 0, done.stderr)
        for test in ("SET:", "GET:", "LRANGE_100"):
            self.assertIn(test, done.stdout)
        # Its connections are gone from the server too, not only from the gateway.
        until(lambda: self.redis.clients() == 0, "no connection is left at the server")

    def test_large_value(self):
        value = b"v" * (8 << 20)
        self.redis.cli("set", "large", "")
        with clients.tls(self.proxy.port) as connection:
            connection.sendall(b"*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n$%d\r\n" % len(value) + value + b"\r\n")
            self.assertEqual(clients.read(connection, 5), b"+OK\r\n")
            connection.sendall(b"GET large\r\n")
            self.assertEqual(clients.read(connection, len(value) + 12), b"$8388608\r\n" + value + b"\r\n")
            connection.unwrap()
