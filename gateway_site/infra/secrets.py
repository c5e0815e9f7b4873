"""Encryption of what must be readable again: provider credentials, stored responses. Several keys, to be rotated."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from gateway_site.env import SettingError


class SecretUnreadable(Exception):
    """None of the keys in TOLLGATE_SECRETS_KEY opens this secret."""


def encrypt(plain: str) -> str:
    """Encrypt with the first key."""
    return _cipher(tuple(settings.TOLLGATE_SECRETS_KEYS)).encrypt(plain.encode()).decode()


def decrypt(encrypted: str) -> str:
    """Decrypt with whichever key fits; raises SecretUnreadable."""
    try:
        return _cipher(tuple(settings.TOLLGATE_SECRETS_KEYS)).decrypt(encrypted.encode()).decode()
    except InvalidToken:
        raise SecretUnreadable(
            "A stored credential was encrypted with a key that TOLLGATE_SECRETS_KEY lacks."
        ) from None


def encrypt_bytes(plain: bytes) -> bytes:
    """Encrypt with the first key, without the base64 that a text would need: a quarter less to store."""
    return urlsafe_b64decode(_cipher(tuple(settings.TOLLGATE_SECRETS_KEYS)).encrypt(plain))


def decrypt_bytes(encrypted: bytes) -> bytes:
    """Decrypt with whichever key fits; raises SecretUnreadable."""
    try:
        return _cipher(tuple(settings.TOLLGATE_SECRETS_KEYS)).decrypt(urlsafe_b64encode(encrypted))
    except InvalidToken:
        raise SecretUnreadable("Stored data was encrypted with a key that TOLLGATE_SECRETS_KEY lacks.") from None


@lru_cache(maxsize=4)
def _cipher(keys: tuple[str, ...]) -> MultiFernet:
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError:
        raise SettingError(
            "TOLLGATE_SECRETS_KEY must be one or more Fernet keys: 32 bytes in URL-safe base64."
        ) from None
