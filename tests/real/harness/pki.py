"""Certificates with the names that accounts may require, made by `openssl` once per process of a run.

They are RSA, so that a server has both kinds of TLS 1.2 suites to choose from, and so that every server and driver of
the tests loads them.
"""

import ssl
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from . import certs, clients
from .process import run

DAYS = 90


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    cert: Path
    key: Path

    @property
    def subject(self) -> str:
        """As OpenSSL writes it on one line, which is what accounts are compared with."""
        return _name(self.cert, "-subject")

    @property
    def issuer(self) -> str:
        return _name(self.cert, "-issuer")


def authority(name: str = "Test CA") -> Pair:
    return _authority(name)


def server(name: str = "localhost", issuer: str = "Test CA", addresses: tuple[str, ...] = ("127.0.0.1",)) -> Pair:
    """For one DNS name and these addresses."""
    names = ",".join([f"DNS:{name}", *(f"IP:{address}" for address in addresses)])
    extensions = f"subjectAltName={names}\nextendedKeyUsage=serverAuth\n"
    return _issue(name, issuer, extensions, " ".join((name, *addresses)))


def client(name: str, issuer: str = "Test CA") -> Pair:
    return _issue(name, issuer, "extendedKeyUsage=clientAuth\n", f"client {name}")


@cache
def sysbench_folder() -> Path:
    """Where sysbench finds its certificates: it reads fixed names from its working directory."""
    folder = certs.folder() / "sysbench"
    folder.mkdir()
    pair = client("alice")
    (folder / "cacert.pem").write_bytes(authority().cert.read_bytes())
    (folder / "client-cert.pem").write_bytes(pair.cert.read_bytes())
    (folder / "client-key.pem").write_bytes(pair.key.read_bytes())
    return folder


@cache
def rsa_key() -> Pair:
    """A private key and, in place of a certificate, its public half."""
    pair = _paths("password key")
    _openssl("genrsa", "-out", pair.key, "2048")
    _openssl("rsa", "-in", pair.key, "-pubout", "-out", pair.cert)
    return pair


def context(identity: Pair | None = None, version=None, ciphers=None, issuer: str = "Test CA") -> ssl.SSLContext:
    """Of a client that verifies the server's chain and name."""
    return clients.trusting(authority(issuer).cert, identity, version, ciphers)


@cache
def _authority(name: str) -> Pair:
    pair = _paths(name)
    _openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", DAYS, "-subj", f"/C=CN/O=Test Org/CN={name}"),
        *("-keyout", pair.key, "-out", pair.cert, "-addext", "keyUsage=critical,keyCertSign,cRLSign"),
    )
    return pair


@cache
def _issue(name: str, issuer: str, extensions: str, file_name: str) -> Pair:
    pair, ca = _paths(f"{file_name} of {issuer}"), authority(issuer)
    request, extension_file = pair.cert.with_suffix(".csr"), pair.cert.with_suffix(".ext")
    _openssl(
        *("req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", f"/C=CN/O=Test Org/CN={name}"),
        *("-keyout", pair.key, "-out", request),
    )
    extension_file.write_text("basicConstraints=critical,CA:FALSE\n" + extensions)
    _openssl(
        *("x509", "-req", "-in", request, "-CA", ca.cert, "-CAkey", ca.key, "-CAcreateserial", "-days", DAYS),
        *("-extfile", extension_file, "-out", pair.cert),
    )
    return pair


def _paths(name: str) -> Pair:
    return Pair(certs.folder() / f"pki-{_stem(name)}.pem", certs.folder() / f"pki-{_stem(name)}-key.pem")


def _stem(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)


def _name(cert: Path, which: str) -> str:
    line = _openssl("x509", "-in", cert, "-noout", which, "-nameopt", "compat")
    return line.split("=", 1)[1].strip()


def _openssl(*arguments) -> str:
    done = run("openssl", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout
