"""A thousand reloads, every tenth of a set that is broken, while clients come and go: none of them notices."""

import threading

from harness import certs, databases, pki, sysbench
from harness.case import ONCE
from harness.gateway import Gateway
from harness.mysql_case import TLS_1_3, MysqlCase, client_side, enter, route, server_side

RELOADS = 1_000
BROKEN_EVERY = 10
# How many reloads there are from one look at the certificate that is shown to the next.
LOOK_EVERY = 20
# Connections at least that came and went meanwhile, on however busy a machine.
CONNECTIONS_MIN = RELOADS // 2


class Thousand(MysqlCase):
    variants = ONCE
    needs = ("sysbench",)
    deadline_s = 240

    def setUp(self):
        super().setUp()
        self.database = databases.mariadb()
        self.pairs = [pki.server(addresses=("127.0.0.1", f"10.0.0.{number}")) for number in range(1, 4)]
        for number, pair in enumerate(self.pairs):
            self.folder(f"good-{number}", pair.cert.read_bytes(), pair.key.read_bytes())
        first, other = self.pairs[0], self.pairs[1]
        cert, key = first.cert.read_bytes(), first.key.read_bytes()
        self.folder("key of another", cert, other.key.read_bytes())
        self.folder("broken PEM", cert.replace(b"M", b"?"), key)
        self.folder("no key", cert, None)
        self.folder("cut off", cert[: len(cert) // 2], key)
        self.broken = ["key of another", "broken PEM", "no key", "cut off", "syntax error"]

    def folder(self, name: str, cert: bytes, key: bytes | None) -> None:
        folder = self.scratch / name
        folder.mkdir()
        (folder / "cert.pem").write_bytes(cert)
        if key:
            (folder / "key.pem").write_bytes(key)

    def turn(self, name: str) -> None:
        """Puts another set in the place of the one that there is, in one step."""
        link = self.scratch / "new"
        link.symlink_to(name)
        link.rename(self.scratch / "current")

    def serving(self, number: int) -> None:
        """A client is shown this pair."""
        with enter(self.proxy.port, self.account, TLS_1_3) as session:
            der = session.wire.socket.getpeercert(binary_form=True)
            session.quit()
        shown = certs.x509.load_der_x509_certificate(der)
        self.assertEqual(shown, certs.x509.load_pem_x509_certificate(self.pairs[number].cert.read_bytes()))

    def put_config(self, text: str) -> None:
        beside = self.proxy.config.with_suffix(".new")
        beside.write_text(text)
        beside.rename(self.proxy.config)

    def reload_broken(self, kind: str) -> None:
        config = self.proxy.config.read_text()
        if kind == "syntax error":
            self.put_config(config.replace("[route.client]", "[route.client", 1))
        else:
            self.turn(kind)
        answer = self.proxy.reload()
        self.assertEqual((answer["message"], answer["class"]), ("reload failed", "config"), kind)
        self.put_config(config)

    def by_the_files(self, name: str, message: str) -> None:
        """The same without a signal."""
        answers = lambda: [e for e in self.proxy.events(trigger="files") if e["message"] in ("reloaded", "reload failed")]
        before = len(answers())
        self.turn(name)
        self.proxy.until(lambda: len(answers()) > before, f"files to be read again: {name}")
        self.assertEqual(answers()[-1]["message"], message)
        self.proxy.claimed(number=answers()[-1]["number"])

    def test_of_them(self):
        self.turn("good-0")
        current = self.scratch / "current"
        client = client_side("required", cert=current / "cert.pem", key=current / "key.pem")
        self.account = next(iter(self.database.accounts.values()))
        self.proxy = self.gateway(route("test", client, server_side(self.database, "verify-full")), workers=2)
        self.proxy.tolerated = set()
        load = Load(self.database, self.proxy)
        for number in range(RELOADS):
            if number % BROKEN_EVERY == BROKEN_EVERY - 1:
                self.reload_broken(self.broken[number // BROKEN_EVERY % len(self.broken)])
            else:
                pair = number % len(self.pairs)
                self.turn(f"good-{pair}")
                self.assertEqual(self.proxy.reload()["message"], "reloaded")
            if number % LOOK_EVERY in (0, BROKEN_EVERY - 1):
                self.serving(pair)
        self.by_the_files("good-1", "reloaded")
        self.serving(1)
        self.by_the_files("key of another", "reload failed")
        self.serving(1)
        self.by_the_files("good-2", "reloaded")
        self.serving(2)
        load.stop()
        self.assertGreater(load.connections, CONNECTIONS_MIN)
        # Nor does its log know of a connection that failed.
        self.proxy.stop_and_judge()
        self.assertEqual(self.proxy.failures(message="handshake failed"), [])
        broken = RELOADS // BROKEN_EVERY
        totals = self.proxy.wait_event(message="reload totals")
        self.assertEqual((totals["good"], totals["failed"]), (RELOADS - broken + 2, broken + 1))
        signalled = lambda message: len(self.proxy.events(trigger="SIGHUP", message=message))
        self.assertEqual((signalled("reloaded"), signalled("reload failed")), (RELOADS - broken, broken))


class Load:
    """sysbench over and over, which connects anew for every query and ends at the first error."""

    SECONDS = 4
    THREADS = 4

    def __init__(self, database, proxy: Gateway):
        self.connections = 0
        self._trouble: list[BaseException] = []
        self._is_over = False
        self._thread = threading.Thread(target=self._run, args=(database, proxy.port), daemon=True)
        sysbench.prepare(database)
        self._thread.start()

    def stop(self) -> None:
        self._is_over = True
        self._thread.join(60)
        assert not self._thread.is_alive(), "sysbench hangs"
        assert not self._trouble, self._trouble

    def _run(self, database, port: int) -> None:
        try:
            while not self._is_over:
                found = sysbench.reconnect(database, "127.0.0.1", port, True, self.SECONDS, self.THREADS)
                assert found.errors == 0, found
                self.connections += found.queries
        except BaseException as trouble:
            self._trouble.append(trouble)
