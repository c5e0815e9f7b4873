"""Settings from the environment: each reader fails loudly, naming the variable, when a value makes no sense.

Every name may also be given as `NAME_FILE`, the path of a file that holds the value (Docker and Kubernetes secrets).
"""

import math
import os
from pathlib import Path

TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
FALSE_WORDS = frozenset({"0", "false", "no", "off"})


class SettingError(SystemExit):
    """A setting is missing or malformed; the process ends with this one sentence."""


def envstr(name: str, default: str | None = None) -> str | None:
    """Return the variable, else the content of the file `NAME_FILE` points at, else the default."""
    value = os.environ.get(name)
    if value:
        return value
    path = os.environ.get(f"{name}_FILE")
    if path:
        return _read_file(name, path)
    return default


def envbool(name: str, default: bool) -> bool:
    """Read 1/0, true/false, yes/no, on/off."""
    value = envstr(name)
    if value is None:
        return default
    word = value.strip().lower()
    if word in TRUE_WORDS or word in FALSE_WORDS:
        return word in TRUE_WORDS
    raise SettingError(f"{name} must be true or false, not {value!r}.")


def envint(name: str, default: int, *, minimum: int | None = None) -> int:
    """Read a whole number."""
    return int(_number(name, default, int, minimum))


def envfloat(name: str, default: float, *, minimum: float | None = None) -> float:
    """Read a number."""
    return _number(name, default, float, minimum)


def envlist(name: str, default: str = "") -> list[str]:
    """Read a comma-separated list; empty items are dropped."""
    return [item.strip() for item in (envstr(name, default) or "").split(",") if item.strip()]


def envsecret(name: str, *, default: str | None = None) -> str:
    """Read a value that must be there."""
    value = envstr(name, default)
    if not value:
        raise SettingError(
            f"{name} is not set. `make run` makes one and keeps it under .tollgate/; "
            f"otherwise set {name} or {name}_FILE."
        )
    return value


def envsecrets(name: str) -> list[str]:
    """Read a comma-separated list of which there must be at least one."""
    parts = [part.strip() for part in envsecret(name).split(",") if part.strip()]
    if not parts:
        raise SettingError(f"{name} holds nothing but commas.")
    return parts


def valkey_url() -> str | None:
    """Read VALKEY_URL, or REDIS_URL, as redis-py and Celery spell it."""
    url = envstr("VALKEY_URL") or envstr("REDIS_URL")
    if url is None:
        return None
    return url.replace("valkeys://", "rediss://", 1).replace("valkey://", "redis://", 1)


def _number(name: str, default: float, kind: type, minimum: float | None) -> float:
    value = envstr(name)
    if value is None:
        return default
    try:
        number: float = kind(value)
        if not math.isfinite(number):
            raise ValueError
    except ValueError:
        raise SettingError(f"{name} must be a number, not {value!r}.") from None
    if minimum is not None and number < minimum:
        raise SettingError(f"{name} must be at least {minimum}, not {value}.")
    return number


def _read_file(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingError(f"{name}_FILE points at {path}, which cannot be read: {reason}.") from None
