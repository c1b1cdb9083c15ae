"""The mariadb command line client in front, MariaDB behind."""

from harness import certs, clients
from harness.case import Case, free_port, tcp_route
from harness.process import Process, program, run

TLS = ("--ssl", f"--ssl-ca={certs.authority().cert}", "--ssl-verify-server-cert")
PLAIN = ("--skip-ssl",)


class MariaDb(Case):
    needs = ("mariadb", "mariadbd", "mariadb-install-db")

    def setUp(self):
        super().setUp()
        data = ("--no-defaults", "--user=root", f"--datadir={self.scratch / 'data'}")
        made = run("mariadb-install-db", *data, "--auth-root-authentication-method=normal")
        self.assertEqual(made.returncode, 0, made.stderr)
        accounts = self.scratch / "init.sql"
        accounts.write_text("DROP USER IF EXISTS ''@'localhost';\nCREATE USER u@'%' IDENTIFIED BY 'right';\n")
        self.server = free_port()
        own = certs.server()
        files = (f"--init-file={accounts}", f"--socket={self.scratch / 's'}", f"--pid-file={self.scratch / 'p'}")
        tls = (f"--ssl-cert={own.cert}", f"--ssl-key={own.key}")
        address = ("--bind-address=127.0.0.1", f"--port={self.server}")
        command = [program("mariadbd"), *data, *files, *tls, *address]
        self.start(Process("mariadbd", command, self.scratch / "mariadbd.log", ready_port=self.server))

    def proxy(self, client: str, server: str, port: int | None = None):
        route = tcp_route(f"localhost:{port or self.server}", protocol="mysql")
        route["client"] = {"tls": "off"} if client == "off" else route["client"] | {"tls": client}
        if server != "off":
            route["server"] |= {"tls": server, "ca": certs.authority().cert}
        gateway = self.gateway(route)
        # Both ends of MySQL leave without close_notify, and the server resets what follows COM_QUIT.
        gateway.tolerated = {"truncated", "io"}
        return gateway

    def ask(self, port: int, *options, password: str = "right", sql: str = "SHOW STATUS LIKE 'Ssl_version'"):
        login = ("-h", "127.0.0.1", "-P", port, "-uu", f"-p{password}")
        return run("mariadb", "--no-defaults", *login, *options, "-e", sql)

    def test_every_mix_of_legs(self):
        for client in ("off", "preferred", "required"):
            for server in ("off", "verify-full"):
                proxy = self.proxy(client, server)
                for options in {"off": (PLAIN,), "preferred": (PLAIN, TLS), "required": (TLS,)}[client]:
                    with self.subTest(client=client, server=server, options=options):
                        done = self.ask(proxy.port, *options)
                        self.assertEqual(done.returncode, 0, done.stderr)
                        # The server's own view of its leg.
                        self.assertEqual("TLSv1.3" in done.stdout, server != "off", done.stdout)

    def test_tls13_towards_the_client(self):
        done = self.ask(self.proxy("required", "off").port, *TLS, sql="\\s")
        self.assertRegex(done.stdout, r"SSL:\s+Cipher in use is TLS_AES_256_GCM_SHA384")

    def test_a_wrong_password_is_the_servers_to_refuse(self):
        direct = self.ask(self.server, *PLAIN, password="wrong")
        through = self.ask(self.proxy("required", "verify-full").port, *TLS, password="wrong")
        self.assertIn("ERROR 1045 (28000)", direct.stderr)
        self.assertEqual(through.stderr, direct.stderr)

    def test_a_plain_client_is_refused_where_tls_is_required(self):
        proxy = self.proxy("required", "off")
        done = self.ask(proxy.port, *PLAIN)
        self.assertIn("ERROR 3159 (HY000)", done.stderr)
        proxy.claimed(message="handshake failed", stage="client_handshake")

    def test_a_server_that_is_down(self):
        proxy = self.proxy("required", "off", free_port())
        with clients.plain(proxy.port) as client:
            peer = clients.name(client)
            packet = clients.read_to_end(client)
        self.assertEqual(packet[3:7], b"\x00\xff" + (2003).to_bytes(2, "little"))
        proxy.failed(peer, "io", "server unreachable")
