"""Certificates and keys for tests, made when they are asked for."""

from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)


@cache
def identity(name: str = "gateway.test", passphrase: str = "") -> tuple[str, str]:
    """A self-signed certificate and its key, as PEM; the same ones for the same name."""
    key = generate_private_key(SECP256R1())
    return _certificate(name, key), _pem(key, passphrase)


def _certificate(name: str, key: EllipticCurvePrivateKey) -> str:
    subject, now = x509.Name.from_rfc4514_string(f"CN={name}"), datetime.now(UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode().strip()


def _pem(key: EllipticCurvePrivateKey, passphrase: str) -> str:
    encryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode().strip()
