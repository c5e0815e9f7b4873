"""API keys as values: how a secret is made, hashed and recognised. Pure.

A key is `tg_` and 40 random letters and digits (238 bits). What is stored is HMAC-SHA256(pepper, SHA-256(key)), so a
stolen table is worth nothing without the pepper, peppers rotate, and SHA-256 digests exported elsewhere can be imported.
"""

import hashlib
import hmac
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass

PREFIX = "tg_"
SECRET_LENGTH = 40
MAX_KEY_LENGTH = 256
ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Pepper:
    """A secret that keys are hashed with, and a short id to tell several apart."""

    id: str
    value: bytes


def generate() -> str:
    """Make a new secret."""
    return PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(SECRET_LENGTH))


def prefix(secret: str) -> str:
    """Return the part of a secret that may be shown: 7 characters, fewer for short secrets of one's own."""
    return secret[: min(7, len(secret) // 4)]


def peppers(values: Sequence[str]) -> tuple[Pepper, ...]:
    """Give each configured pepper its id, the beginning of its hash."""
    return tuple(
        Pepper(id=hashlib.sha256(b"pepper-id:" + value.encode()).hexdigest()[:8], value=value.encode())
        for value in values
    )


def digest(secret: str, pepper: bytes) -> str:
    """Return what is stored of a secret: 64 hexadecimal digits."""
    return digest_of_sha256(sha256(secret), pepper)


def sha256(secret: str) -> bytes:
    """Return the inner hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def mark(secret: str, salt: bytes) -> bytes:
    """Return the name of a key in the memory of a process with a salt (16 bytes) of its own: 16 bytes, of no use elsewhere.

    BLAKE2 and not SHA-256, which goes through OpenSSL: that costs 32 µs in a process that has rested, this 16.
    """
    return hashlib.blake2b(secret.encode("utf-8", "surrogateescape"), digest_size=16, salt=salt).digest()


def digest_of_sha256(inner: bytes, pepper: bytes) -> str:
    """Return the stored digest for an inner hash, such as one imported from elsewhere."""
    return hmac.digest(pepper, inner, "sha256").hex()
