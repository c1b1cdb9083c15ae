"""The gateway as a TLS client, towards openssl s_server and nginx."""

import hashlib

from harness import certs, clients
from harness.case import BACKENDS, BACKENDS_AND_RECORDS, Case, free_port, tcp_route
from harness.gateway import SERVER_UNREACHABLE
from harness.process import run
from harness.servers import Listener, nginx, openssl_server, pattern

PLAIN = {"tls": "off"}

# nginx answers a close_notify by closing, without one of its own.
NGINX_ENDS = {"truncated"}


def server_leg(port: int, tls: str = "verify-full", host: str = "127.0.0.1", **more) -> dict:
    return {"tls": tls, "address": f"{host}:{port}", "ca": certs.authority().cert} | more


def route_to(port: int, *options, client: dict = PLAIN, **more) -> dict:
    return tcp_route("", client=client, server=server_leg(port, *options, **more))


class TowardsServers(Case):
    variants = BACKENDS_AND_RECORDS
    needs = ("openssl", "nginx", "curl")

    def reversed_line(self, port: int) -> None:
        """One exchange with `s_server -rev` through the gateway, from a plain client."""
        with clients.plain(port) as connection:
            connection.sendall(b"abcdef\n")
            self.assertEqual(clients.read(connection, 7), b"fedcba\n")

    def test_versions_and_suites(self):
        own = certs.server()
        for options in (
            ["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"],
            ["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"],
            ["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
            ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
            ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"],
            ["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"],
        ):
            with self.subTest(options[2]):
                gateway = self.gateway(route_to(openssl_server(self, own, *options)))
                self.reversed_line(gateway.port)
                gateway.stop_and_judge()

    def test_rsa_server(self):
        server = openssl_server(self, certs.rsa_server())
        self.reversed_line(self.gateway(route_to(server)).port)

    def test_names(self):
        """An IP address and a DNS name, taken from the address or given."""
        server = openssl_server(self, certs.server())
        other = openssl_server(self, certs.server("db.example"))
        for route in (
            route_to(server),
            route_to(server, host="localhost"),
            route_to(other, server_name="db.example"),
            route_to(other, "verify-ca"),
        ):
            gateway = self.gateway(route)
            self.reversed_line(gateway.port)
            gateway.stop_and_judge()

    def test_mutual_tls(self):
        own, ca, mine = certs.server(), certs.authority().cert, certs.client()
        server = openssl_server(self, own, "-Verify", "1", "-verify_return_error", "-CAfile", ca)
        gateway = self.gateway(route_to(server, cert=mine.cert, key=mine.key))
        self.reversed_line(gateway.port)

    def test_mutual_tls_without_a_certificate(self):
        """The refusal comes as an alert behind the handshake; the client is told by an end, the log by a class."""
        own, ca = certs.server(), certs.authority().cert
        for version in ("-tls1_2", "-tls1_3"):
            options = ("-Verify", "1", "-verify_return_error", "-CAfile", ca, version)
            gateway = self.gateway(route_to(openssl_server(self, own, *options)))
            with clients.plain(gateway.port) as connection:
                self.assertTrue(clients.is_ended(connection))
                gateway.failed(clients.name(connection), "tls_alert")
            gateway.stop_and_judge()

    def test_nginx_with_mutual_tls(self):
        own, mine = certs.server(), certs.client()
        lines = f"""
            ssl_certificate {own.cert}; ssl_certificate_key {own.key};
            ssl_client_certificate {certs.authority().cert}; ssl_verify_client on;
        """
        server = nginx(self, tls=lines)
        both = {"tls": "required", "cert": own.cert, "key": own.key}
        route = route_to(server, client=both, host="localhost", cert=mine.cert, key=mine.key)
        gateway = self.gateway(route)
        gateway.tolerated = NGINX_ENDS
        done = run("curl", "-sS", "--cacert", certs.authority().cert, f"https://localhost:{gateway.port}/")
        self.assertEqual(done.stdout, "nginx TLSv1.3 CN=client\n", done.stderr)

    def test_bulk_through_tls_on_both_sides(self):
        """curl speaks TLS to the gateway, the gateway to nginx: 64 MiB each way."""
        own = certs.server()
        server = nginx(self, tls=f"ssl_certificate {own.cert}; ssl_certificate_key {own.key};")
        both = {"tls": "required", "cert": own.cert, "key": own.key}
        gateway = self.gateway(route_to(server, client=both))
        gateway.tolerated = NGINX_ENDS
        sent = b"".join(pattern(64 << 20))
        (self.scratch / "sent").write_bytes(sent)
        url = f"https://localhost:{gateway.port}/www/file"
        curl = ("curl", "-sS", "--cacert", certs.authority().cert)
        done = run(*curl, "-T", self.scratch / "sent", url)
        self.assertEqual(done.returncode, 0, done.stderr)
        done = run(*curl, url, text=False)
        self.assertEqual(hashlib.sha256(done.stdout).digest(), hashlib.sha256(sent).digest())

    def test_server_ends_without_close_notify(self):
        """What the server cut short must not look whole to a client that speaks TLS."""

        def cut(connection):
            connection.recv(5)
            connection.sendall(b"part of it")

        both = {"tls": "required", "cert": certs.server().cert, "key": certs.server().key}
        server = Listener(self, cut, tls=server_context())
        gateway = self.gateway(route_to(int(server.address.rsplit(":", 1)[1]), client=both))
        with clients.tls(gateway.port) as connection:
            connection.sendall(b"begin")
            self.assertEqual(clients.read(connection, 10), b"part of it")
            with self.assertRaises(OSError, msg="the client saw a clean end"):
                connection.recv(1)
            gateway.failed(clients.name(connection), "truncated")


class ServersRefused(Case):
    """Certificates that must not be taken. The client gets an end; who runs the gateway gets the reason."""

    variants = BACKENDS
    needs = ("openssl",)

    def check_refused(self, identity, fault: str, tls: str = "verify-full", **leg):
        gateway = self.gateway(route_to(openssl_server(self, identity), tls, **leg))
        with clients.plain(gateway.port) as connection:
            self.assertTrue(clients.is_ended(connection))
            event = gateway.failed(clients.name(connection), fault)
            self.assertEqual(event["route"], "test")
        gateway.stop_and_judge()

    def test_expired(self):
        self.check_refused(certs.expired_server(), "certificate_expired")
        self.check_refused(certs.expired_server(), "certificate_expired", "verify-ca")

    def test_not_yet_valid(self):
        self.check_refused(certs.future_server(), "certificate_not_yet_valid")

    def test_wrong_name(self):
        self.check_refused(certs.server("db.example"), "certificate_name")
        self.check_refused(certs.server("db.example"), "certificate_name", host="localhost")
        self.check_refused(certs.server(), "certificate_name", server_name="db.example")

    def test_unknown_authority(self):
        own = certs.server("localhost", "other")
        self.check_refused(own, "certificate_unknown_issuer")
        self.check_refused(own, "certificate_unknown_issuer", "verify-ca")

    def test_certificate_of_a_client(self):
        self.check_refused(certs.client(), {"certificate_unusable", "certificate_name"}, "verify-ca")

    def test_server_without_tls(self):
        server = Listener(self, lambda connection: connection.sendall(b"220 plain text here\r\n"))
        gateway = self.gateway(route_to(int(server.address.rsplit(":", 1)[1])))
        with clients.plain(gateway.port) as connection:
            self.assertTrue(clients.is_ended(connection))
            gateway.failed(clients.name(connection), "not_tls")

    def test_nobody_listens(self):
        gateway = self.gateway(tcp_route(f"127.0.0.1:{free_port()}"))
        with clients.tls(gateway.port) as connection:
            self.assertTrue(clients.is_ended(connection))
            gateway.failed(clients.name(connection), "io", message=SERVER_UNREACHABLE)

    def test_no_such_name(self):
        gateway = self.gateway(tcp_route("no-such-host.invalid:1"))
        with clients.tls(gateway.port) as connection:
            self.assertTrue(clients.is_ended(connection))
            gateway.failed(clients.name(connection), "io", message=SERVER_UNREACHABLE)


def server_context():
    own = certs.server()
    made = clients.ssl.SSLContext(clients.ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(own.cert, own.key)
    return made
