"""Much at once, and much of it: 1 GiB each way, 5,000 connections."""

import asyncio
import hashlib
import resource
import subprocess

from harness import certs, clients
from harness.case import Case, tcp_route
from harness.process import program, run, until
from harness.servers import PatternServer, Redis, pattern, pattern_digest

GIB = 1 << 30
CONNECTIONS = 5_000

# glibc's heap grows by holes between buffers of many sizes, by as much as a small leak: buffers get pages of their own.
RETURNING_MEMORY = ("env", "MALLOC_MMAP_THRESHOLD_=8192")


class Bulk(Case):
    """curl and a server that makes what it sends, so that the disk sees nothing of it."""

    needs = ("curl",)
    deadline_s = 180
    runs_alone = True

    def setUp(self):
        super().setUp()
        server = PatternServer(self)
        self.proxy = self.gateway(tcp_route(f"127.0.0.1:{server.port}"))
        self.url = f"https://localhost:{self.proxy.port}"
        self.curl = [program("curl"), "-sS", "--cacert", certs.authority().cert]

    def test_download_of_1_gib(self):
        sha, length = hashlib.sha256(), 0
        with subprocess.Popen([*self.curl, f"{self.url}/{GIB}"], stdout=subprocess.PIPE, bufsize=0) as curl:
            while data := curl.stdout.read(1 << 20):
                sha.update(data)
                length += len(data)
        self.assertEqual((curl.returncode, length), (0, GIB))
        self.assertEqual(sha.hexdigest(), pattern_digest(GIB))

    def test_upload_of_1_gib(self):
        command = [*self.curl, "-T", "-", "-H", f"Content-Length: {GIB}", "-H", "Transfer-Encoding:"]
        command += ["-H", "Expect:", f"{self.url}/sink"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as curl:
            for chunk in pattern(GIB):
                curl.stdin.write(chunk)
            curl.stdin.close()
            answer = curl.stdout.read().decode()
        self.assertEqual((curl.returncode, answer), (0, pattern_digest(GIB)))


class Crowd(Case):
    """5,000 connections at once, each to redis and each with a value of its own."""

    needs = ("redis-server", "redis-cli")
    deadline_s = 180
    runs_alone = True
    # What a second crowd may add to what the first left: 800 bytes for each connection of it.
    RSS_TOLERANCE_KIB = 4 * 1_024

    def setUp(self):
        super().setUp()
        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 2 * CONNECTIONS + 500
        if allowed < wanted:
            self.skipTest(f"{wanted} descriptors are needed, {allowed} are allowed")

    def test_5000_connections(self):
        redis = Redis(self)
        gateway = self.gateway(tcp_route(f"127.0.0.1:{redis.port}"), launcher=RETURNING_MEMORY)
        descriptors, rss_kib = self.after_a_crowd(gateway, redis)
        again = self.after_a_crowd(gateway, redis)
        self.assertEqual(again[0], descriptors)
        self.assertLess(again[1] - rss_kib, self.RSS_TOLERANCE_KIB)

        done = run("redis-cli", "-p", redis.port, "dbsize")
        self.assertEqual(done.stdout, f"{CONNECTIONS}\n")

    def after_a_crowd(self, gateway, redis: Redis) -> tuple[int, int]:
        """Descriptors and memory of the gateway, in KiB, once a crowd has come and gone."""
        most = asyncio.run(self.crowd(gateway.port, redis))
        self.assertGreaterEqual(most, CONNECTIONS)
        gateway.until_sockets(0, "no connection is left")
        until(lambda: redis.clients() == 0, "no connection is left at the server")
        return gateway.descriptors(), gateway.rss_kib()

    async def crowd(self, port: int, redis: Redis) -> int:
        """Opens all, speaks on all twice while all are open, closes all; gives how many the server saw at once."""
        made = clients.context()
        at_once = asyncio.Semaphore(200)

        async def enter(_):
            async with at_once:
                return await asyncio.open_connection("127.0.0.1", port, ssl=made, server_hostname="localhost")

        async def speak(number, reader, writer):
            value = f"{number:06}" * 50
            writer.write(f"SET key{number} {value}\r\nGET key{number}\r\n".encode())
            expected = f"+OK\r\n${len(value)}\r\n{value}\r\n".encode()
            found = await asyncio.wait_for(reader.readexactly(len(expected)), 60)
            self.assertEqual(found, expected)

        streams = await asyncio.gather(*(enter(number) for number in range(CONNECTIONS)))
        for _ in range(2):
            await asyncio.gather(*(speak(number, *stream) for number, stream in enumerate(streams)))
        most = redis.clients()
        for _, writer in streams:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in streams), return_exceptions=True)
        return most
