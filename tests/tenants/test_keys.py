"""A key is recognised by what is stored of it, and what is stored is worth nothing alone."""

import hashlib
import hmac
import re

import pytest

from tenants import keys

SECRET = "tg_" + "a" * 40


def test_a_new_secret_has_its_shape_and_is_never_the_same():
    made = {keys.generate() for _ in range(50)}
    assert len(made) == 50
    assert all(re.fullmatch(r"tg_[A-Za-z0-9]{40}", secret) for secret in made)
    assert len(set("".join(made)) - set("tg_")) > 50  # the whole alphabet is used
    assert all(len(secret) <= keys.MAX_KEY_LENGTH for secret in made)


def test_the_digest_is_what_the_design_says_it_is():
    inner = hashlib.sha256(SECRET.encode()).digest()
    expected = hmac.new(b"pepper", inner, hashlib.sha256).hexdigest()
    assert keys.digest(SECRET, b"pepper") == expected
    assert re.fullmatch("[0-9a-f]{64}", expected)


def test_the_digest_is_stable_over_versions():
    assert keys.digest(SECRET, b"pepper") == "35f3cca3c5712e7b04c90e8afff50e1d18bd492039c69481448ad79d0008b329"


@pytest.mark.parametrize("other", ["tg_" + "b" * 40, SECRET + " ", SECRET[:-1], SECRET.upper(), ""])
def test_another_secret_has_another_digest(other: str):
    assert keys.digest(other, b"pepper") != keys.digest(SECRET, b"pepper")


def test_another_pepper_gives_another_digest():
    assert keys.digest(SECRET, b"pepper") != keys.digest(SECRET, b"another")


def test_a_digest_exported_elsewhere_recognises_its_key():
    exported = hashlib.sha256(b"sk-of-another-gateway").hexdigest()
    assert keys.digest_of_sha256(bytes.fromhex(exported), b"pepper") == keys.digest("sk-of-another-gateway", b"pepper")


def test_peppers_rotate():
    old, new = keys.peppers(["old"])[0], keys.peppers(["new", "old"])
    stored = keys.digest(SECRET, old.value)
    inner = keys.sha256(SECRET)
    assert stored in [keys.digest_of_sha256(inner, pepper.value) for pepper in new]
    assert stored not in [keys.digest_of_sha256(inner, pepper.value) for pepper in keys.peppers(["new"])]


def test_a_pepper_keeps_its_id_wherever_it_stands():
    first, second = keys.peppers(["one", "two"])
    assert keys.peppers(["two", "one"]) == (second, first)
    assert first.id != second.id
    assert re.fullmatch("[0-9a-f]{8}", first.id)


def test_a_peppers_id_tells_nothing_of_its_value():
    (pepper,) = keys.peppers(["one"])
    assert not hashlib.sha256(b"one").hexdigest().startswith(pepper.id)


@pytest.mark.parametrize(
    ("secret", "shown"),
    [(SECRET, "tg_aaaa"), ("sk-" + "x" * 48, "sk-xxxx"), ("short-key", "sh"), ("abc", ""), ("", "")],
)
def test_what_is_shown_is_never_enough_to_guess_the_rest(secret: str, shown: str):
    assert keys.prefix(secret) == shown
    assert len(shown) <= len(secret) / 4


@pytest.mark.parametrize("secret", ["schlüssel", "🙂", "\udcff", "a\x00b"])
def test_any_secret_that_can_come_in_a_header_has_a_digest(secret: str):
    assert len(keys.sha256(secret)) == 32
