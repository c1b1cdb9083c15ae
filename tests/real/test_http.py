"""curl in front, nginx behind."""

import hashlib
import os

from harness import certs
from harness.case import BACKENDS_AND_RECORDS, Case, free_port, tcp_route
from harness.gateway import HANDSHAKE_FAILED
from harness.process import run
from harness.servers import nginx, nginx_folder


class Http(Case):
    variants = BACKENDS_AND_RECORDS
    needs = ("curl", "nginx")

    def setUp(self):
        super().setUp()
        self.nginx = nginx(self)

    def curl(self, port: int, path: str = "/", *options, host: str = "localhost", text: bool = True):
        url = f"https://{host}:{port}{path}"
        return run("curl", "-sS", "--cacert", certs.authority().cert, *options, url, text=text)

    def test_tls_1_3(self):
        port = self.gateway(tcp_route(f"127.0.0.1:{self.nginx}")).port
        done = self.curl(port, "/", "-v")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(done.stdout.startswith("nginx"), done.stdout)
        self.assertIn("SSL connection using TLSv1.3", done.stderr)

    def test_tls_1_2(self):
        port = self.gateway(tcp_route(f"127.0.0.1:{self.nginx}")).port
        done = self.curl(port, "/", "-v", "--tls-max", "1.2")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("SSL connection using TLSv1.2", done.stderr)

    def test_tls_1_2_is_refused_where_1_3_is_the_least(self):
        own = certs.server()
        client = {"tls": "required", "cert": own.cert, "key": own.key, "min_version": "1.3"}
        gateway = self.gateway(tcp_route(f"127.0.0.1:{self.nginx}", client=client))
        self.assertEqual(self.curl(gateway.port).returncode, 0)
        self.assertEqual(self.curl(gateway.port, "/", "--tls-max", "1.2").returncode, 35)
        gateway.claimed(message=HANDSHAKE_FAILED, **{"class": "tls_incompatible"})

    def test_files_both_ways(self):
        port = self.gateway(tcp_route(f"127.0.0.1:{self.nginx}")).port
        sent = os.urandom(32 << 20)
        (self.scratch / "sent").write_bytes(sent)
        done = self.curl(port, "/www/file", "-T", self.scratch / "sent")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(nginx_folder(self, self.nginx).joinpath("file").read_bytes(), sent)
        got = self.curl(port, "/www/file", "-o", self.scratch / "got")
        self.assertEqual(got.returncode, 0, got.stderr)
        found = hashlib.sha256((self.scratch / "got").read_bytes()).hexdigest()
        self.assertEqual(found, hashlib.sha256(sent).hexdigest())

    def test_many_requests_on_one_connection(self):
        port = self.gateway(tcp_route(f"127.0.0.1:{self.nginx}")).port
        done = self.curl(port, "/?[1-500]")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.count("nginx"), 500)

    def test_rsa_certificate(self):
        own = certs.rsa_server()
        client = {"tls": "required", "cert": own.cert, "key": own.key}
        port = self.gateway(tcp_route(f"127.0.0.1:{self.nginx}", client=client)).port
        for version in ("1.2", "1.3"):
            done = self.curl(port, "/", "--tls-max", version)
            self.assertEqual(done.returncode, 0, done.stderr)


class Listening(Case):
    needs = ("curl", "nginx")

    def test_several_addresses_and_ipv6(self):
        server = f"127.0.0.1:{nginx(self)}"
        ports = [free_port(), free_port()]
        listen = [f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}", f"[::1]:{ports[0]}"]
        gateway = self.gateway(tcp_route(server, listen))
        self.assertEqual(len(gateway.events(message="listening")), 3)
        for host, port in (("127.0.0.1", ports[0]), ("127.0.0.1", ports[1]), ("[::1]", ports[0])):
            done = run("curl", "-sS", "--cacert", certs.authority().cert, f"https://{host}:{port}/")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertTrue(done.stdout.startswith("nginx"), done.stdout)

    def test_several_workers_share_a_port(self):
        gateway = self.gateway(tcp_route(f"127.0.0.1:{nginx(self)}"), workers=2)
        for _ in range(20):
            done = run("curl", "-sS", "--cacert", certs.authority().cert, f"https://localhost:{gateway.port}/")
            self.assertEqual(done.returncode, 0, done.stderr)
        self.assertGreaterEqual(len(gateway.events(message="ready")), 1)

    def test_a_name_with_several_addresses_is_tried_to_the_end(self):
        # localhost is ::1 and 127.0.0.1; nginx listens on the latter only.
        gateway = self.gateway(tcp_route(f"localhost:{nginx(self)}"))
        done = run("curl", "-sS", "--cacert", certs.authority().cert, f"https://localhost:{gateway.port}/")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_passthrough(self):
        own = certs.server()
        tls = f"ssl_certificate {own.cert}; ssl_certificate_key {own.key};"
        server = nginx(self, tls=tls)
        route = tcp_route(f"127.0.0.1:{server}", client={"tls": "passthrough"})
        gateway = self.gateway(route)
        done = run("curl", "-sS", "--cacert", certs.authority().cert, f"https://localhost:{gateway.port}/")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(done.stdout.startswith("nginx TLSv1.3"), done.stdout)

    def test_plain_on_both_sides(self):
        gateway = self.gateway(tcp_route(f"127.0.0.1:{nginx(self)}", client={"tls": "off"}))
        done = run("curl", "-sS", f"http://localhost:{gateway.port}/")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(done.stdout.startswith("nginx"), done.stdout)
