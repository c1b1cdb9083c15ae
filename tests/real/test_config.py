"""The command line and the configuration: what is wrong is said, with file and line, before anything listens."""

import os
import re
import socket
import unittest
from pathlib import Path

from harness import certs, clients
from harness.case import BACKENDS, ONCE, Case, free_port, is_root, tcp_route
from harness.gateway import BINARY, render
from harness.process import Process, run
from harness.servers import Listener, echo, nginx

USAGE, FAILED = 2, 1


class ConfigCase(Case):
    variants = ONCE

    def command(self, name: str, text: str):
        self.file = self.scratch / "gateway.toml"
        self.file.write_text(text)
        return run(BINARY, name, "--config", self.file)

    def refused(self, text: str, *said: str, code: int = USAGE) -> str:
        """Both the gateway and the check refuse this configuration, and say all of this."""
        for name in ("check", "gateway"):
            done = self.command(name, text)
            self.assertEqual(done.returncode, code, f"{name}: {done.stdout}{done.stderr}")
            for words in said:
                self.assertIn(words, done.stdout + done.stderr, name)
        return done.stderr

    def config(self, client: dict | None = None, server: dict | None = None, **route) -> str:
        made = tcp_route("127.0.0.1:1", **route)
        made["client"] |= client or {}
        made["server"] |= server or {}
        return render({}, [made])

    def line(self, text: str, part: str) -> str:
        """`file:line` of the first line with this part."""
        number = next(at for at, line in enumerate(text.splitlines(), 1) if part in line)
        return f"gateway.toml:{number}"


class Configuration(ConfigCase):
    def test_good(self):
        done = self.command("check", self.config())
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("test", done.stdout)

    def test_unknown_key(self):
        for wrong, right in (
            (self.config(client={"certt": "x"}), "cert"),
            (self.config(server={"adress": "x"}), "address"),
            (self.config(handshake_timeout=1), "handshake_timeout_s"),
            (render({"worker": 1}, [tcp_route("127.0.0.1:1")]), "workers"),
        ):
            key = next(k for k in ("certt", "adress", "handshake_timeout", "worker") if f"\n{k} =" in wrong)
            self.refused(wrong, self.line(wrong, f"{key} ="), key, f'did you mean "{right}"')

    def test_not_toml(self):
        text = self.config() + "\nname = = 1\n"
        self.refused(text, self.line(text, "= = 1"))

    def test_wrong_type_and_wrong_word(self):
        text = self.config(max_connections="many")
        self.refused(text, self.line(text, "max_connections"), "max_connections")
        text = self.config(client={"tls": "requird"})
        self.refused(text, self.line(text, "requird"), "required")
        text = self.config(protocol="udp")
        self.refused(text, self.line(text, "udp"), "protocol")

    def test_number_out_of_range(self):
        text = self.config(handshake_timeout_s=-1)
        self.refused(text, self.line(text, "handshake_timeout_s"), "handshake_timeout_s")

    def test_no_such_file(self):
        done = run(BINARY, "gateway", "--config", self.scratch / "none.toml")
        self.assertEqual(done.returncode, USAGE)
        self.assertIn("none.toml", done.stderr)

    def test_no_route(self):
        self.refused("[gateway]\nworkers = 1\n", "route")

    def test_duplicates(self):
        first, second = tcp_route("127.0.0.1:1"), tcp_route("127.0.0.1:1")
        text = render({}, [first, second])
        self.refused(text, "test")
        text = render({}, [first, second | {"name": "other", "listen": first["listen"]}])
        self.refused(text, first["listen"][0])

    def test_illegal_combinations(self):
        ca = certs.authority().cert
        for client, server in (
            ({"tls": "passthrough"}, {"tls": "verify-full", "address": "127.0.0.1:1", "ca": ca}),
            ({"tls": "off", "cert": "x"}, {"tls": "off", "address": "127.0.0.1:1"}),
            ({"tls": "required"}, {"tls": "off", "address": "127.0.0.1:1"}),
            ({"tls": "off"}, {"tls": "verify-full", "address": "127.0.0.1:1"}),
            ({"tls": "off"}, {"tls": "verify-full", "address": "unix:/tmp/x", "ca": ca}),
            ({"tls": "off"}, {"tls": "off"}),
        ):
            text = render({}, [tcp_route("", client=client, server=server)])
            self.refused(text, "gateway.toml:")

    def test_relative_paths_are_relative_to_the_file(self):
        own = certs.server()
        (self.scratch / "cert.pem").write_bytes(own.cert.read_bytes())
        (self.scratch / "key.pem").write_bytes(own.key.read_bytes())
        text = self.config(client={"cert": "cert.pem", "key": "key.pem"})
        done = self.command("check", text)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_suite_that_does_not_exist(self):
        text = self.config(client={"suites": ["TLS_RSA_WITH_RC4_128_MD5"]})
        self.refused(text, "TLS_RSA_WITH_RC4_128_MD5", self.line(text, "suites"))


class KeysAndCertificates(ConfigCase):
    needs = ("openssl",)

    def files(self, cert: Path, key: Path) -> str:
        return self.config(client={"cert": cert, "key": key})

    def refused_without_secrets(self, text: str, key: Path, *said: str):
        """The refusal does not quote the key."""
        output = self.refused(text, *said)
        secret = [line for line in key.read_text().splitlines() if len(line) > 40]
        self.assertTrue(secret)
        for line in secret:
            self.assertNotIn(line, output)

    def test_key_of_another_certificate(self):
        own, other = certs.server(), certs.client()
        text = self.files(own.cert, other.key)
        self.refused_without_secrets(text, other.key, own.cert.name, other.key.name)

    def test_file_that_is_not_there(self):
        self.refused(self.files(self.scratch / "none.pem", certs.server().key), "none.pem", "No such file")

    def test_folder_instead_of_a_file(self):
        self.refused(self.files(self.scratch, certs.server().key), str(self.scratch))

    @unittest.skipIf(is_root() and not Path("/usr/sbin/runuser").exists(), "runuser is not installed")
    def test_file_that_may_not_be_read(self):
        """As an ordinary user: root may read everything."""
        key = self.scratch / "secret-key.pem"
        key.write_bytes(certs.server().key.read_bytes())
        key.chmod(0)
        (self.scratch / "cert.pem").write_bytes(certs.server().cert.read_bytes())
        config = self.scratch / "gateway.toml"
        config.write_text(self.files(self.scratch / "cert.pem", key))
        self.scratch.chmod(0o755)
        binary = self.scratch / "sealwire"
        binary.write_bytes(BINARY.read_bytes())
        binary.chmod(0o755)
        as_user = ("runuser", "-u", "nobody", "--") if is_root() else ()
        done = run(*as_user, binary, "check", "--config", config)
        self.assertEqual(done.returncode, USAGE, done.stderr)
        self.assertIn("secret-key.pem", done.stderr)
        self.assertIn("Permission denied", done.stderr)

    def test_encrypted_keys(self):
        """Both forms: PKCS#8, and the older one with its headers. The error names the command that helps."""
        own = certs.server()
        forms = (
            ("pkcs8", ["-aes-256-cbc"], "openssl pkey"),
            ("traditional", ["-traditional", "-aes-256-cbc"], "openssl pkcs8 -topk8"),
        )
        for name, options, remedy in forms:
            with self.subTest(name):
                key = self.scratch / f"{name}.pem"
                run("openssl", "pkey", "-in", own.key, *options, "-passout", "pass:secret", "-out", key, check=True)
                self.assertIn("ENCRYPTED", key.read_text())
                self.refused_without_secrets(self.files(own.cert, key), key, f"{name}.pem", "encrypted", remedy)

    def test_forms_of_keys(self):
        """PKCS#8, PKCS#1 and SEC1 are taken."""
        forms = (("pkcs8", certs.server()), ("sec1", certs.server()), ("pkcs1", certs.rsa_server()))
        headers = {"pkcs8": "BEGIN PRIVATE KEY", "sec1": "BEGIN EC PRIVATE KEY", "pkcs1": "BEGIN RSA PRIVATE KEY"}
        for name, own in forms:
            with self.subTest(name):
                key = self.scratch / f"{name}.pem"
                options = [] if name == "pkcs8" else ["-traditional"]
                run("openssl", "pkey", "-in", own.key, *options, "-out", key, check=True)
                self.assertIn(headers[name], key.read_text())
                done = self.command("check", self.files(own.cert, key))
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_files_that_hold_something_else(self):
        own = certs.server()
        empty = self.scratch / "empty.pem"
        empty.write_text("")
        self.refused(self.files(empty, own.key), "empty.pem")
        self.refused(self.files(own.cert, empty), "empty.pem")
        self.refused(self.files(own.key, own.key), own.key.name)
        self.refused(self.files(own.cert, own.cert), own.cert.name)
        broken = self.scratch / "broken.pem"
        broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        self.refused(self.files(broken, own.key), "broken.pem")


class Ports(Case):
    variants = BACKENDS

    def test_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            config = self.scratch / "gateway.toml"
            config.write_text(render(self.settings(), [tcp_route("127.0.0.1:1", address)]))
            done = run(BINARY, "gateway", "--config", config, "--log", "json")
        self.assertEqual(done.returncode, FAILED, done.stderr)
        self.assertIn(address, done.stderr)
        self.assertIn("in use", done.stderr)
        self.assertNotIn('"ready"', done.stderr)

    def test_two_gateways_do_not_share_a_port(self):
        """SO_REUSEPORT is for the workers of one gateway, not for a second one started by mistake."""
        first = self.gateway(tcp_route(Listener(self, echo).address))
        config = self.scratch / "second.toml"
        config.write_text(first.config.read_text())
        done = run(BINARY, "gateway", "--config", config, "--log", "json")
        self.assertEqual(done.returncode, FAILED, done.stderr)
        self.assertIn("in use", done.stderr)


class CommandLine(Case):
    variants = ONCE
    needs = ("openssl", "curl", "nginx")

    def test_help_fits_a_screen_and_ends_with_an_example(self):
        for command in ([], ["gateway"], ["check"], ["cert"], ["cert", "init"], ["demo"]):
            with self.subTest(command):
                done = run(BINARY, *command, "--help")
                self.assertEqual(done.returncode, 0, done.stderr)
                lines = done.stdout.strip().splitlines()
                self.assertLessEqual(len(lines), 40)
                last_paragraph = done.stdout.strip().split("\n\n")[-1]
                self.assertIn("Example", last_paragraph)
                self.assertIn("  sealwire ", last_paragraph)

    def test_wrong_usage(self):
        for command in ([], ["gateway"], ["no-such-command"], ["check", "--no-such-flag"]):
            with self.subTest(command):
                self.assertEqual(run(BINARY, *command).returncode, USAGE)

    def test_version(self):
        self.assertRegex(run(BINARY, "--version").stdout, r"^sealwire \d+\.\d+\.\d+")

    def test_cert_init(self):
        """A certificate authority, a server and a client that OpenSSL and curl are content with."""
        folder = self.scratch / "pki"
        done = run(BINARY, "cert", "init", folder, "--name", "db.example")
        self.assertEqual(done.returncode, 0, done.stderr)
        for name in ("ca", "server-cert", "client-cert", "ca-key", "server-key", "client-key"):
            file = folder / f"{name}.pem"
            self.assertTrue(file.exists(), file)
            if name.endswith("-key"):
                self.assertEqual(os.stat(file).st_mode & 0o077, 0, f"{file} may be read by others")
        for name, purpose in (("server-cert", "sslserver"), ("client-cert", "sslclient")):
            done = run("openssl", "verify", "-CAfile", folder / "ca.pem", "-purpose", purpose, folder / f"{name}.pem")
            self.assertEqual(done.returncode, 0, done.stderr)
        text = run("openssl", "x509", "-in", folder / "server-cert.pem", "-noout", "-text").stdout
        for name in ("DNS:localhost", "IP Address:127.0.0.1", "IP Address:0:0:0:0:0:0:0:1", "DNS:db.example"):
            self.assertIn(name, text)

        client = {
            "tls": "required",
            "cert": folder / "server-cert.pem",
            "key": folder / "server-key.pem",
            "ca": folder / "ca.pem",
            "client_cert": "required",
        }
        gateway = self.gateway(tcp_route(f"127.0.0.1:{nginx(self)}", client=client))
        mine = ("--cert", folder / "client-cert.pem", "--key", folder / "client-key.pem")
        done = run("curl", "-sS", "--cacert", folder / "ca.pem", *mine, f"https://localhost:{gateway.port}/")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_cert_init_does_not_overwrite(self):
        folder = self.scratch / "pki"
        self.assertEqual(run(BINARY, "cert", "init", folder).returncode, 0)
        before = (folder / "ca-key.pem").read_bytes()
        done = run(BINARY, "cert", "init", folder)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual((folder / "ca-key.pem").read_bytes(), before)

    def test_flags_instead_of_a_file(self):
        """One route by `--listen` and `--upstream`."""
        own, server = certs.server(), Listener(self, echo)
        port = free_port()
        help_text = run(BINARY, "gateway", "--help").stdout
        for flag in ("--listen", "--upstream", "--cert", "--key"):
            self.assertIn(flag, help_text)
        command = [BINARY, "gateway", "--listen", f"127.0.0.1:{port}", "--upstream", server.address]
        command += ["--server-tls", "off", "--cert", own.cert, "--key", own.key]
        process = self.start(Process("gateway", command, self.scratch / "flags.log"))
        process.until(lambda: "ready" in process.tail(), "ready")
        with clients.tls(port) as connection:
            self.assertEqual(clients.ask(connection, b"flags"), b"flags")
            connection.unwrap()
        self.assertEqual(process.terminate(), 0)

    def test_text_log(self):
        """The log for people: one line per event, peers' text escaped, nothing on stdout."""
        server = Listener(self, echo)
        config = self.scratch / "gateway.toml"
        route = tcp_route(server.address)
        config.write_text(render({"workers": 1}, [route]))
        process = self.start(
            Process("gateway", [BINARY, "gateway", "--config", config], self.scratch / "text.log")
        )
        process.until(lambda: "ready" in process.tail(), "ready")
        port = int(route["listen"][0].rsplit(":", 1)[1])
        with clients.plain(port) as connection:
            peer = clients.name(connection)
            connection.sendall(b"GET /\x1b[31m HTTP/1.1\r\n\r\n")
            clients.is_ended(connection)
        process.until(lambda: peer in process.tail(), "the failure is logged")
        line = next(line for line in process.tail().splitlines() if peer in line)
        for part in ("INFO", "handshake failed", "not_tls", "test"):
            self.assertIn(part, line)
        self.assertNotRegex(process.tail(), re.compile("\x1b"), "colours or raw bytes in a file")
        self.assertEqual(process.terminate(), 0)
