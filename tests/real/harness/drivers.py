"""The clients that people use, each asked the same way: log in, run one statement, give its rows."""

import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import SkipTest

from . import databases
from .pki import Pair
from .process import program, run

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Target:
    """Where to log in, and how. With `ca` the login is over TLS, and chain and name are verified."""

    host: str
    port: int
    user: str
    password: str = databases.PASSWORD
    ca: Path | None = None
    identity: Pair | None = None
    # "TLSv1.2", "TLSv1.3", or what both ends choose.
    version: str = ""

    def but(self, **changes) -> "Target":
        return replace(self, **changes)


class Refused(Exception):
    """The error that the client reports: code, SQLSTATE where it tells one, text."""

    def __init__(self, code: int, state: str | None, message: str):
        super().__init__(code, state, message)
        self.code, self.state, self.message = code, state, message


class Driver:
    """A client program or library."""

    name = ""
    # Whether it logs in by full authentication over a plain connection, which takes the server's RSA key.
    asks_for_key = True

    def check(self) -> None:
        """Raises SkipTest where it is not installed."""

    def ask(self, target: Target, sql: str) -> list[tuple]:
        """The rows, as texts; raises Refused."""
        raise NotImplementedError

    def ask_each(self, targets: list[Target], sql: str) -> list:
        """Of each target the rows, or the Refused that there was instead."""

        def outcome(target: Target):
            try:
                return self.ask(target, sql)
            except Refused as refused:
                return refused

        return [outcome(target) for target in targets]


class MariadbCli(Driver):
    name = "mariadb"

    def check(self) -> None:
        if program("mariadb") is None:
            raise SkipTest("mariadb-client is not installed")

    def ask(self, target: Target, sql: str, *options) -> list[tuple]:
        done = run(*self.command(target), "--batch", "--skip-column-names", *options, "-e", sql)
        return _rows_of_cli(done)

    def command(self, target: Target) -> list:
        words = ["mariadb", "--no-defaults", "-h", target.host, "-P", target.port, "-u", target.user]
        words += [f"-p{target.password}", "--protocol=tcp"]
        if target.ca is None:
            return [*words, "--skip-ssl"]
        words += ["--ssl", f"--ssl-ca={target.ca}", "--ssl-verify-server-cert"]
        if target.identity:
            words += [f"--ssl-cert={target.identity.cert}", f"--ssl-key={target.identity.key}"]
        return words + ([f"--tls-version={target.version}"] if target.version else [])


class MysqlCli(Driver):
    """MySQL's own client, which lives in the tree of the newer Debian."""

    name = "mysql"

    def check(self) -> None:
        databases.mysql_tree()

    def ask(self, target: Target, sql: str, *options) -> list[tuple]:
        done = run(*self.command(target), "--batch", "--skip-column-names", *options, "-e", sql)
        return _rows_of_cli(done)

    def command(self, target: Target) -> list:
        tree = databases.mysql_tree()
        words = ["chroot", tree, "mysql", "--no-defaults", "-h", target.host, "-P", target.port, "-u", target.user]
        words += [f"-p{target.password}", "--protocol=tcp", "--get-server-public-key"]
        if target.ca is None:
            return [*words, "--ssl-mode=DISABLED"]
        words += ["--ssl-mode=VERIFY_IDENTITY", f"--ssl-ca={self._inside(tree, target.ca)}"]
        if target.identity:
            words += [f"--ssl-cert={self._inside(tree, target.identity.cert)}"]
            words += [f"--ssl-key={self._inside(tree, target.identity.key)}"]
        return words + ([f"--tls-version={target.version}"] if target.version else [])

    @staticmethod
    def _inside(tree: Path, file: Path) -> Path:
        """The file's name in the tree, where a copy of it is put."""
        folder = _folder_in_tree(tree)
        shutil.copy(file, folder)
        return Path("/") / folder.relative_to(tree) / file.name


class PyMysql(Driver):
    name = "PyMySQL"

    def check(self) -> None:
        _import("pymysql")

    def ask(self, target: Target, sql: str) -> list[tuple]:
        pymysql = _import("pymysql")
        try:
            with self.connect(target) as connection, connection.cursor() as cursor:
                cursor.execute(sql)
                return [_texts(row) for row in cursor.fetchall()]
        except pymysql.err.MySQLError as error:
            code = error.args[0] if error.args else 0
            raise Refused(code, None, str(error.args[-1]) if error.args else "") from error

    def connect(self, target: Target, **options):
        pymysql = _import("pymysql")
        tls = {"ssl_disabled": True}
        if target.ca:
            tls = {"ssl_ca": str(target.ca), "ssl_verify_cert": True, "ssl_verify_identity": True}
        if target.identity:
            tls |= {"ssl_cert": str(target.identity.cert), "ssl_key": str(target.identity.key)}
        settings = {"host": target.host, "port": target.port, "user": target.user, "password": target.password}
        return pymysql.connect(connect_timeout=20, max_allowed_packet=1 << 30, **settings, **tls, **options)


class Connector(Driver):
    """mysql-connector-python, its own implementation of the protocol."""

    name = "mysql-connector-python"
    asks_for_key = False

    def check(self) -> None:
        _import("mysql.connector")

    def ask(self, target: Target, sql: str) -> list[tuple]:
        connector = _import("mysql.connector")
        try:
            with self.connect(target) as connection:
                cursor = connection.cursor()
                cursor.execute(sql)
                return [_texts(row) for row in cursor.fetchall()]
        except connector.Error as error:
            raise Refused(error.errno, error.sqlstate, error.msg or str(error)) from error

    def connect(self, target: Target):
        tls = {"ssl_disabled": True}
        if target.ca:
            tls = {"ssl_ca": str(target.ca), "ssl_verify_cert": True, "ssl_verify_identity": True}
        if target.identity:
            tls |= {"ssl_cert": str(target.identity.cert), "ssl_key": str(target.identity.key)}
        if target.version:
            tls |= {"tls_versions": [target.version]}
        settings = {"host": target.host, "port": target.port, "user": target.user, "password": target.password}
        connector = _import("mysql.connector")
        return connector.connect(use_pure=True, connection_timeout=20, **settings, **tls)


class Mysql2(Driver):
    """npm's mysql2."""

    name = "mysql2"

    def check(self) -> None:
        if program("node") is None or not (databases.CACHE / "node/node_modules/mysql2").exists():
            raise SkipTest("node with mysql2 is not installed")

    def ask(self, target: Target, sql: str) -> list[tuple]:
        found = self.ask_each([target], sql)[0]
        if isinstance(found, Refused):
            raise found
        return found

    def ask_each(self, targets: list[Target], sql: str) -> list:
        """In one process, since node takes its time to start."""
        jobs = json.dumps([self._job(target, sql) for target in targets])
        modules = {"NODE_PATH": str(databases.CACHE / "node/node_modules")}
        done = run("node", HERE / "mysql2.cjs", input=jobs.encode(), env=os.environ | modules, timeout_s=60)
        if done.returncode != 0:
            raise AssertionError(done.stderr)
        return [self._outcome(found) for found in json.loads(done.stdout)]

    @staticmethod
    def _job(target: Target, sql: str) -> dict:
        job = {"host": target.host, "port": target.port, "user": target.user, "password": target.password, "sql": sql}
        job |= {"ca": str(target.ca) if target.ca else None, "version": target.version or None}
        if target.identity:
            job |= {"cert": str(target.identity.cert), "key": str(target.identity.key)}
        return job

    @staticmethod
    def _outcome(found: dict):
        if "rows" not in found:
            return Refused(found["code"], found["state"], found["message"])
        return [tuple(row) for row in found["rows"]]


ALL = [MariadbCli(), MysqlCli(), PyMysql(), Connector(), Mysql2()]


def _rows_of_cli(done) -> list[tuple]:
    if done.returncode == 0:
        return [tuple(line.split("\t")) for line in done.stdout.splitlines()]
    match = re.search(r"ERROR (\d+)(?: \((\w+)\))?[^:]*: (.*)", done.stderr, re.DOTALL)
    if match is None:
        raise AssertionError(done.stderr)
    raise Refused(int(match[1]), match[2], match[3].strip())


def _texts(row) -> tuple:
    return tuple(
        value if value is None else value.decode() if isinstance(value, (bytes, bytearray)) else str(value)
        for value in row
    )


def _import(name: str):
    try:
        return __import__(name, fromlist=["connect"])
    except ImportError:
        raise SkipTest(f"{name} is not installed") from None


_folders: dict[Path, Path] = {}


def _folder_in_tree(tree: Path) -> Path:
    if tree not in _folders:
        _folders[tree] = databases.scratch("client", tree / "tmp")
    return _folders[tree]
