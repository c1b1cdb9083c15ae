"""Certificates for the tests, made once per process of a run."""

import atexit
import datetime
import ipaddress
import itertools
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = datetime.timedelta(days=1)
_numbers = itertools.count()


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, as files and as objects."""

    cert: Path
    key: Path
    certificate: x509.Certificate
    private_key: object

    @property
    def serial(self) -> int:
        return self.certificate.serial_number


@cache
def folder() -> Path:
    path = Path(tempfile.mkdtemp(prefix="sealwire-certs-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def authority(name: str = "test") -> Identity:
    """The certificate authority of this name."""
    return _authority(name)


@cache
def server(name: str = "localhost", issuer: str = "test") -> Identity:
    """For localhost, 127.0.0.1 and ::1, or for one other name only."""
    names = ["localhost", "127.0.0.1", "::1"] if name == "localhost" else [name]
    return _issue(name, authority(issuer), names=names)


@cache
def rsa_server() -> Identity:
    return _issue("localhost", authority(), names=["localhost", "127.0.0.1"], is_rsa=True)


@cache
def expired_server() -> Identity:
    return _issue("localhost", authority(), names=["localhost", "127.0.0.1"], days=(-30, -1))


@cache
def future_server() -> Identity:
    return _issue("localhost", authority(), names=["localhost", "127.0.0.1"], days=(10, 30))


@cache
def client(name: str = "client", issuer: str = "test") -> Identity:
    return _issue(name, authority(issuer), is_client=True)


@cache
def expired_client() -> Identity:
    return _issue("client", authority(), is_client=True, days=(-30, -1))


def fresh_server() -> Identity:
    """One that no other test has seen."""
    return _issue("localhost", authority(), names=["localhost", "127.0.0.1"])


def expiring_server(days: float) -> Identity:
    return _issue("localhost", authority(), names=["localhost", "127.0.0.1"], days=(-1, days))


def expiring_authority(days: float) -> Identity:
    return _issue("expiring CA", None, is_ca=True, days=(-1, days))


def revocation_list(*revoked: Identity, issuer: str = "test", days: tuple = (-1, 30)) -> bytes:
    """What the authority says that it revoked, in PEM."""
    signer, now = authority(issuer), datetime.datetime.utcnow()
    builder = x509.CertificateRevocationListBuilder().issuer_name(signer.certificate.subject)
    builder = builder.last_update(now + days[0] * _DAY).next_update(now + days[1] * _DAY)
    for identity in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(identity.serial).revocation_date(now - _DAY)
        builder = builder.add_revoked_certificate(entry.build())
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.certificate.public_key())
    builder = builder.add_extension(identifier, critical=False).add_extension(x509.CRLNumber(1), critical=False)
    return builder.sign(signer.private_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@cache
def _authority(name: str) -> Identity:
    return _issue(f"{name} CA", None, is_ca=True)


def _issue(name, issuer, names=(), is_ca=False, is_client=False, is_rsa=False, days=(-1, 90)) -> Identity:
    key = rsa.generate_private_key(65537, 2048) if is_rsa else ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.utcnow()
    signer = issuer.certificate if issuer else None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * _DAY)
        .not_valid_after(now + days[1] * _DAY)
        .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if signer:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        builder = builder.add_extension(identifier, critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(n) for n in names]), critical=False)
    if not is_ca:
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if is_client else ExtendedKeyUsageOID.SERVER_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    certificate = builder.sign(issuer.private_key if issuer else key, hashes.SHA256())
    return _write(name, certificate, key)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(name: str, certificate: x509.Certificate, key) -> Identity:
    stem = f"{next(_numbers)}-{name.replace(' ', '-').replace('*', 'any')}"
    cert_path, key_path = folder() / f"{stem}.pem", folder() / f"{stem}-key.pem"
    cert_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return Identity(cert_path, key_path, certificate, key)
