"""Encryption of what must be readable again, with keys that can be rotated."""

import os

import pytest
from cryptography.fernet import Fernet

from gateway_site.infra.secrets import SecretUnreadable, decrypt, decrypt_bytes, encrypt, encrypt_bytes

OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))


@pytest.mark.parametrize("plain", [b"", b"x", b"\0\xff" * 1_000, os.urandom(100_001)], ids=len)
def test_bytes_come_back_as_they_were(plain):
    sealed = encrypt_bytes(plain)
    assert len(plain) < 100 or plain not in sealed
    assert decrypt_bytes(sealed) == plain
    assert len(sealed) < len(plain) + 100


def test_bytes_are_never_encrypted_the_same_way_twice():
    assert encrypt_bytes(b"x") != encrypt_bytes(b"x")


def test_an_old_key_opens_what_it_has_encrypted_until_it_is_taken_away(settings):
    settings.TOLLGATE_SECRETS_KEYS = [OLD]
    sealed, credential = encrypt_bytes(b"conversation"), encrypt("sk-1")
    settings.TOLLGATE_SECRETS_KEYS = [NEW, OLD]
    assert (decrypt_bytes(sealed), decrypt(credential)) == (b"conversation", "sk-1")
    settings.TOLLGATE_SECRETS_KEYS = [NEW]
    with pytest.raises(SecretUnreadable):
        decrypt_bytes(sealed)
    with pytest.raises(SecretUnreadable):
        decrypt(credential)


@pytest.mark.parametrize("position", [0, 30, -1])
def test_what_was_tampered_with_is_unreadable(position):
    sealed = bytearray(encrypt_bytes(b"conversation"))
    sealed[position] ^= 1
    with pytest.raises(SecretUnreadable):
        decrypt_bytes(bytes(sealed))


@pytest.mark.parametrize("garbage", [b"", b"x", b"\x80" * 100])
def test_what_was_never_encrypted_is_unreadable(garbage):
    with pytest.raises(SecretUnreadable):
        decrypt_bytes(garbage)
