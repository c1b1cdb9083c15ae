"""MariaDB, MySQL and seekdb: each process of a run starts them at its first test that wants them, and stops them.

A server that cannot be had here raises SkipTest with the reason.
"""

import atexit
import getpass
import os
import shutil
import tempfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest import SkipTest

from peers import mysql as protocol

from . import pki
from .case import free_port
from .netns import Namespace
from .process import Process, program, run, until

# Where tests/install-deps puts what no Debian package of this release carries.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sealwire"

PASSWORD = "secret"
CONNECTIONS_MAX = 2_500
PACKET_MAX = 128 << 20

# Accounts of the REQUIRE matrix, and what each requires.
REQUIRE = {
    "u_none": "NONE",
    "u_ssl": "SSL",
    "u_x509": "X509",
    "u_issuer": "ISSUER '{issuer}'",
    "u_subject": "SUBJECT '{subject}'",
    "u_cipher": "CIPHER 'ECDHE-RSA-AES256-GCM-SHA384'",
    "u_all": "SUBJECT '{subject}' AND ISSUER '{issuer}' AND CIPHER 'TLS_AES_256_GCM_SHA384'",
}


class Database:
    """A running server with its accounts and the database `test`."""

    kind = ""
    # SQLSTATE of a refused login.
    refused_state = "28000"
    # Of each authentication plugin, an account that uses it. The password is always PASSWORD.
    accounts: dict[str, str] = {}

    def __init__(self, host: str, port: int, socket: Path | None, identity: pki.Pair | None):
        self.host, self.port, self.socket = host, port, socket
        self.identity = identity
        self.process: Process | None = None
        atexit.register(self.stop)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def ca(self) -> Path:
        return pki.authority().cert

    def start(self) -> None:
        """Returns when it answers."""
        self.process.start()
        self.process.until(self.answers, "an answer", patience_s=60)

    def answers(self) -> bool:
        try:
            self.root().close()
            return True
        except (OSError, EOFError, protocol.ServerError):
            return False

    def root(self) -> protocol.Client:
        """A session of the administrator, without TLS."""
        if self.socket:
            return protocol.Client.connect_unix(self.socket, "root", "")
        return protocol.Client.connect(self.host, self.port, "root", "", timeout_s=120)

    def execute(self, *statements: str) -> list[tuple]:
        """Runs statements as the administrator; gives the rows of the last."""
        with self.root() as client:
            for statement in statements:
                result = client.query(statement)
            client.quit()
        return result.rows

    def sessions(self) -> int:
        """Sessions of accounts other than the administrator's."""
        return sum(row[1] not in ("root", "event_scheduler", "system user") for row in self.execute("SHOW PROCESSLIST"))

    def forget_passwords(self) -> None:
        """Makes the next login of each account a full one where the server caches what it learns from one."""

    def stop(self) -> None:
        if self.process and self.process.is_running():
            self.process.terminate(60)

    def create_accounts(self) -> None:
        alice = pki.client("alice")
        names = {"issuer": alice.issuer, "subject": alice.subject}
        self.execute(
            "CREATE DATABASE IF NOT EXISTS test",
            "CREATE DATABASE IF NOT EXISTS sbtest",
            *(self.create(plugin, user) for plugin, user in self.accounts.items()),
            *(f"GRANT ALL ON *.* TO '{user}'@'%'" for user in self.accounts.values()),
            "CREATE USER 'empty'@'%' IDENTIFIED BY ''",
            *(
                f"CREATE USER '{user}'@'%' IDENTIFIED BY '{PASSWORD}' REQUIRE {clause.format(**names)}"
                for user, clause in REQUIRE.items()
            ),
        )

    def create(self, plugin: str, user: str) -> str:
        return f"CREATE USER '{user}'@'%' IDENTIFIED WITH {plugin} BY '{PASSWORD}'"


class MariaDb(Database):
    kind = "mariadb"
    accounts = {"mysql_native_password": "native"}

    def __init__(self, identity: pki.Pair | None, namespace: Namespace | None = None, **settings):
        home = scratch("mariadb")
        host = namespace.address if namespace else "127.0.0.1"
        super().__init__(host, free_port(), home / "socket", identity)
        lines = {
            "datadir": _mariadb_data(home),
            # One that starts clears it of tables that are another's.
            "tmpdir": home,
            "user": getpass.getuser(),
            "bind-address": host,
            "port": self.port,
            "socket": self.socket,
            "pid-file": home / "pid",
            "max_connections": CONNECTIONS_MAX,
            "max_allowed_packet": PACKET_MAX,
            "innodb_flush_log_at_trx_commit": 0,
            "back_log": 2_000,
            "local_infile": 1,
        }
        if identity:
            lines |= {
                "ssl-ca": self.ca,
                "ssl-cert": identity.cert,
                "ssl-key": identity.key,
                "tls_version": "TLSv1.2,TLSv1.3",
            }
        else:
            lines |= {"skip-ssl": 1}
        _write_settings(home / "my.cnf", "mariadbd", lines | settings)
        command = [program("mariadbd"), f"--defaults-file={home / 'my.cnf'}"]
        if namespace:
            command = namespace.command(*command)
        self.process = _Child("mariadb", command, home / "log")
        self.start()
        self.create_accounts()

    def create(self, plugin: str, user: str) -> str:
        return f"CREATE USER '{user}'@'%' IDENTIFIED VIA {plugin} USING PASSWORD('{PASSWORD}')"


class MySql(Database):
    """Runs in the tree of a newer Debian, since this one does not carry it."""

    kind = "mysql"
    accounts = {"caching_sha2_password": "caching", "sha256_password": "sha256"}

    def __init__(self, identity: pki.Pair, **settings):
        self.tree = mysql_tree()
        home = scratch("mysql", self.tree / "tmp")
        inside = Path("/") / home.relative_to(self.tree)
        super().__init__("127.0.0.1", free_port(), home / "socket", identity)
        for file in (self.ca, identity.cert, identity.key):
            shutil.copy(file, home)
        lines = {
            "datadir": inside / "data",
            "user": "root",
            "bind-address": self.host,
            "port": self.port,
            "socket": inside / "socket",
            "pid-file": inside / "pid",
            "mysqlx": 0,
            "performance_schema": 0,
            "skip-log-bin": 1,
            "max_connections": CONNECTIONS_MAX,
            "max_allowed_packet": PACKET_MAX,
            "innodb_flush_log_at_trx_commit": 0,
            "local_infile": 1,
            "secure-file-priv": "",
            "ssl-ca": inside / self.ca.name,
            "ssl-cert": inside / identity.cert.name,
            "ssl-key": inside / identity.key.name,
        }
        _write_settings(home / "my.cnf", "mysqld", lines | settings)
        self.public_key = home / "data/public_key.pem"
        chroot = [program("chroot"), self.tree, "mysqld"]
        initialize = [*chroot, "--no-defaults", "--initialize-insecure", "--user=root", f"--datadir={inside}/data"]
        first = _Child("mysqld --initialize", initialize, home / "initialize.log")
        first.start()
        if first.wait(120) != 0:
            raise AssertionError(first.tail())
        self.process = _Child("mysql", [*chroot, f"--defaults-file={inside}/my.cnf"], home / "log")
        self.start()
        self.create_accounts()

    def forget_passwords(self) -> None:
        self.execute("FLUSH PRIVILEGES")


class SeekDb(Database):
    """Listens on every address, so it lives in a namespace."""

    kind = "seekdb"
    refused_state = "42000"
    accounts = {"mysql_native_password": "native"}

    def __init__(self):
        binary = seekdb_binary()
        self.namespace = Namespace()
        # Its files may not be on tmpfs.
        home = scratch("seekdb", CACHE)
        identity = pki.server(addresses=("127.0.0.1", self.namespace.address))
        super().__init__(self.namespace.address, free_port(), None, identity)
        wallet = home / "base/wallet"
        wallet.mkdir(parents=True)
        shutil.copy(self.ca, wallet / "ca.pem")
        shutil.copy(identity.cert, wallet / "server-cert.pem")
        shutil.copy(identity.key, wallet / "server-key.pem")
        command = self.namespace.command(
            *(binary, "--nodaemon", "--port", self.port, "--base-dir", home / "base"),
            *("--parameter", "ssl_client_authentication=True"),
        )
        self.process = _Child("seekdb", command, home / "log", cwd=home)
        self.start()
        # Refuses every client certificate otherwise.
        self.execute(
            "ALTER SYSTEM SET ob_ssl_invited_common_names = 'alice,bob'",
            f"SET GLOBAL max_allowed_packet = {PACKET_MAX}",
        )
        self.create_accounts()

    def create(self, plugin: str, user: str) -> str:
        return f"CREATE USER '{user}'@'%' IDENTIFIED BY '{PASSWORD}'"

    @contextmanager
    def without_tls(self):
        """A greeting that offers no TLS, while the block runs."""
        self._set_tls(False)
        try:
            yield
        finally:
            self._set_tls(True)

    def _set_tls(self, is_on: bool) -> None:
        self.execute(f"ALTER SYSTEM SET ssl_client_authentication = {is_on}")
        until(lambda: self._offers_tls() == is_on, f"TLS is {'on' if is_on else 'off'}")

    def _offers_tls(self) -> bool:
        with self.root() as connection:
            return bool(connection.greeting.capabilities & protocol.SSL)


@cache
def mariadb() -> MariaDb:
    return MariaDb(pki.server())


@cache
def plain_mariadb() -> MariaDb:
    """One whose greeting offers no TLS."""
    return MariaDb(None)


@cache
def _mysql() -> MySql | SkipTest:
    return _or_reason(lambda: MySql(pki.server()))


@cache
def _seekdb() -> SeekDb | SkipTest:
    return _or_reason(SeekDb)


def mysql() -> MySql:
    return _have(_mysql())


def seekdb() -> SeekDb:
    return _have(_seekdb())


def by_name(name: str) -> Database:
    return {"mariadb": mariadb, "plain_mariadb": plain_mariadb, "mysql": mysql, "seekdb": seekdb}[name]()


def mysql_tree() -> Path:
    """The tree that tests/install-deps bootstrapped."""
    tree, reason = CACHE / "sid", CACHE / "sid.reason"
    if reason.exists():
        raise SkipTest(f"MySQL could not be bootstrapped: {reason.read_text().strip()}")
    if not (CACHE / "sid.installed").exists():
        raise SkipTest("MySQL is not installed: tests/install-deps has not run as root on Debian")
    return tree


def seekdb_binary() -> Path:
    found = sorted((CACHE / "venv").glob("lib/python3*/site-packages/pylibseekdb/seekdb"))
    if not found:
        raise SkipTest("pylibseekdb is not installed")
    return found[0]


def scratch(name: str, parent: Path | None = None) -> Path:
    """A folder that is removed when the run ends, or by the next run where this one is killed."""
    parent = parent or Path(tempfile.gettempdir())
    for path in parent.glob(f"sealwire-{name}-*-*"):
        if not Path("/proc", path.name.split("-")[-2]).exists():
            shutil.rmtree(path, ignore_errors=True)
    path = Path(tempfile.mkdtemp(prefix=f"sealwire-{name}-{os.getpid()}-", dir=parent))
    path.chmod(0o755)
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


class _Child(Process):
    """Ends with the run, even where the run is killed."""

    def __init__(self, name: str, command: list, log: Path, **options):
        super().__init__(name, [program("setpriv"), "--pdeathsig", "KILL", *command], log, **options)

    def until(self, is_so, what: str, patience_s: float = 20) -> None:
        def still_possible():
            if not is_so() and not self.is_running():
                raise AssertionError(f"{self.name} ended before {what}\n{self.tail()}")
            return is_so()

        until(still_possible, what, patience_s)


def _mariadb_data(home: Path) -> Path:
    """A copy of a data directory as it is when it is new."""
    if program("mariadbd") is None:
        raise SkipTest("mariadb-server is not installed")
    copied = run("cp", "-a", "--reflink=auto", "--sparse=always", _new_mariadb_data(), home / "data", timeout_s=60)
    assert copied.returncode == 0, copied.stderr
    return home / "data"


@cache
def _new_mariadb_data() -> Path:
    home = scratch("newmariadb")
    command = [program("mariadb-install-db"), "--no-defaults", f"--user={getpass.getuser()}"]
    command += [f"--datadir={home / 'data'}", f"--tmpdir={home}"]
    command += ["--auth-root-authentication-method=normal", "--skip-test-db"]
    install = _Child("mariadb-install-db", command, home / "install.log")
    install.start()
    if install.wait(60) != 0:
        raise AssertionError(install.tail())
    return home / "data"


def _write_settings(path: Path, section: str, lines: dict) -> None:
    path.write_text(f"[{section}]\n" + "".join(f"{key}={value}\n" for key, value in lines.items()))


def _or_reason(make):
    try:
        return make()
    except SkipTest as reason:
        return reason


def _have(found):
    if isinstance(found, SkipTest):
        raise found
    return found
