"""Settings from the environment: what makes no sense stops the process with one sentence that names the variable."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway_site.env import (
    SettingError,
    envbool,
    envfloat,
    envint,
    envlist,
    envsecret,
    envsecrets,
    envstr,
    valkey_url,
)

NAME = "TOLLGATE_TEST_SETTING"


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NAME, raising=False)
    monkeypatch.delenv(f"{NAME}_FILE", raising=False)


def test_without_the_variable_there_is_the_default():
    assert envstr(NAME) is None
    assert envstr(NAME, "d") == "d"
    assert envbool(NAME, True) is True
    assert envbool(NAME, False) is False
    assert (envint(NAME, 3), envfloat(NAME, 1.5)) == (3, 1.5)
    assert envlist(NAME, "a, b") == ["a", "b"]
    assert envsecret(NAME, default="d") == "d"


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(NAME, "")
    assert (envstr(NAME, "d"), envint(NAME, 3), envbool(NAME, True), envlist(NAME)) == ("d", 3, True, [])


@pytest.mark.parametrize(
    ("reader", "value", "expected"),
    [
        *[(lambda name: envbool(name, False), word, True) for word in ("1", "true", "YES", " on ", "True")],
        *[(lambda name: envbool(name, True), word, False) for word in ("0", "false", "NO", " off ")],
        (lambda name: envint(name, 3), "42", 42),
        (lambda name: envint(name, 3), " -7 ", -7),
        (lambda name: envint(name, 3, minimum=0), "0", 0),
        (lambda name: envfloat(name, 3.0), "0.25", 0.25),
        (lambda name: envfloat(name, 3.0), "2", 2.0),
        (envlist, "a, b,,c ,", ["a", "b", "c"]),
        (envlist, " , ", []),
        (envsecret, "s", "s"),
        (envsecrets, "new, old,", ["new", "old"]),
        (envstr, " kept ", " kept "),
    ],
)
def test_it_reads_a_value(monkeypatch: pytest.MonkeyPatch, reader: Callable[[str], Any], value: str, expected: Any):
    monkeypatch.setenv(NAME, value)
    assert reader(NAME) == expected


@pytest.mark.parametrize(
    ("reader", "value", "sentence"),
    [
        (lambda name: envbool(name, False), "maybe", "must be true or false, not 'maybe'"),
        (lambda name: envint(name, 3), "many", "must be a number, not 'many'"),
        (lambda name: envint(name, 3), "1.5", "must be a number"),
        (lambda name: envint(name, 3, minimum=1), "0", "must be at least 1, not 0"),
        (lambda name: envfloat(name, 3.0), "1,5", "must be a number"),
        (lambda name: envfloat(name, 3.0), "nan", "must be a number, not 'nan'"),
        (lambda name: envfloat(name, 3.0), "inf", "must be a number"),
        (lambda name: envfloat(name, 3.0, minimum=0.1), "0.05", "must be at least 0.1"),
    ],
)
def test_it_says_what_makes_no_sense(
    monkeypatch: pytest.MonkeyPatch, reader: Callable[[str], Any], value: str, sentence: str
):
    monkeypatch.setenv(NAME, value)
    with pytest.raises(SettingError, match=f"^{NAME} {sentence}"):
        reader(NAME)


def test_a_missing_secret_says_how_to_get_one():
    with pytest.raises(SettingError, match=f"^{NAME} is not set.*make run.*{NAME}_FILE"):
        envsecret(NAME)


def test_an_error_ends_the_process():
    assert issubclass(SettingError, SystemExit)


def test_a_file_may_hold_the_value(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    file = tmp_path / "secret"
    file.write_text("  schlüssel\n", encoding="utf-8")
    monkeypatch.setenv(f"{NAME}_FILE", str(file))
    assert envsecret(NAME) == "schlüssel"
    file.write_text("17\n", encoding="utf-8")
    assert envint(NAME, 3) == 17


def test_the_variable_comes_before_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv(NAME, "direct")
    monkeypatch.setenv(f"{NAME}_FILE", str(tmp_path / "missing"))
    assert envstr(NAME) == "direct"


@pytest.mark.parametrize("content", [None, b"\xff\xfe"], ids=["missing", "not text"])
def test_a_file_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None):
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv(f"{NAME}_FILE", str(file))
    with pytest.raises(SettingError, match=f"^{NAME}_FILE points at .*secret, which cannot be read: ."):
        envstr(NAME)


def test_an_empty_file_is_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    file = tmp_path / "secret"
    file.write_text("\n")
    monkeypatch.setenv(f"{NAME}_FILE", str(file))
    with pytest.raises(SettingError):
        envsecret(NAME)


@pytest.mark.parametrize("value", ["", ",", " , "])
def test_of_several_secrets_there_must_be_one(monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv(NAME, value)
    with pytest.raises(SettingError, match=f"^{NAME} "):
        envsecrets(NAME)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"VALKEY_URL": "redis://a:1/0"}, "redis://a:1/0"),
        ({"VALKEY_URL": "valkey://a"}, "redis://a"),
        ({"VALKEY_URL": "valkeys://:valkey@a"}, "rediss://:valkey@a"),
        ({"REDIS_URL": "rediss://b"}, "rediss://b"),
        ({"VALKEY_URL": "valkey://a", "REDIS_URL": "redis://b"}, "redis://a"),
        ({"VALKEY_URL": "", "REDIS_URL": "redis://b"}, "redis://b"),
    ],
)
def test_the_store_may_be_called_by_either_name(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str | None
):
    for name in ("VALKEY_URL", "REDIS_URL", "VALKEY_URL_FILE", "REDIS_URL_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert valkey_url() == expected
