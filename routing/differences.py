"""What changed between two snapshots, in lines for the person who approves it: everything but secrets and long texts.

+ provider groq: adapter groq, base_url https://api.groq.com/openai/v1, credential (set)
~ provider openai: base_url https://api.openai.com/v1 → https://proxy.example.com/v1
~ deployment large: ~ price sell from 2026-11-21 00:00: input 1 → 2
~ deployment large: upstream tells max_output_tokens none → 64000
~ route smart: + target large: priority 1
- alias clever
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from providers.pricing import Price
from providers.profiles import Profile, profile_of
from routing import snapshot as values

type Fields = dict[str, Any]

# Secrets, and what is too long to be read in a line.
NOT_SHOWN = frozenset(
    {"credential", "proxy", "client_key", "ca_certificate", "client_certificate", "capabilities", "catalogue"}
)
NAMES = frozenset({"slug", "name", "tenant_id"})  # of whole objects: they stand at the beginning of the line
SECTIONS = {"providers": "provider", "deployments": "deployment", "routes": "route", "aliases": "alias"}
PLAIN = re.compile(r"[^\s,→\"'\[\](){}]+")  # any other text is quoted, so that none looks like another line


def _fields(item: msgspec.Struct) -> Fields:
    fields: Fields = msgspec.to_builtins(item, builtin_types=(Decimal,))
    return fields


NO_TARGET = _fields(values.Target(deployment="", priority=-1))  # the priority is always worth a word
NO_PRICE = _fields(Price(side="sell", effective_from=0))


def differences(before: values.Snapshot, after: values.Snapshot, blanks: Mapping[str, Any]) -> list[str]:
    """Return what changed, a line each: at least one wherever two snapshots differ.

    `blanks` has an object with nothing but defaults for each section; what a new one shares with it is not listed.
    """
    lines: list[str] = []
    for section, word in SECTIONS.items():
        old, new = _by_name(getattr(before, section)), _by_name(getattr(after, section))
        blank = _fields(blanks[section]) if section in blanks else {}
        for name in new:
            if name not in old:
                lines += _arrival(f"{word} {name}", new[name], blank)
        lines += [f"- {word} {name}" for name in old if name not in new]
        for name in new:
            if name in old and old[name] != new[name]:
                lines += [f"~ {word} {name}: {change}" for change in _changes(old[name], new[name])]
    return lines


def _by_name(items: Iterable[Any]) -> dict[str, Fields]:
    return {_name(item): _fields(item) for item in items}


def _name(item: Any) -> str:
    name = _shown(getattr(item, "slug", None) or item.name)
    return f"{name} (tenant {item.tenant_id})" if getattr(item, "tenant_id", None) is not None else name


# --- Whole objects -------------------------------------------------------------------------------------------


def _arrival(subject: str, new: Fields, blank: Fields) -> Iterator[str]:
    """Tell of a new object: its fields in one line, its targets and prices in one each."""
    facts = ", ".join(_facts({name: value for name, value in new.items() if name not in NAMES}, blank))
    yield f"+ {subject}: {facts}" if facts else f"+ {subject}"
    for field, compare in PARTS.items():
        yield from (f"+ {subject}: {line}" for line in compare((), new.get(field, ())))


def _facts(new: Fields, blank: Fields) -> Iterator[str]:
    """Yield the fields that are not what they are by default."""
    for field, value in new.items():
        default = blank.get(field)
        if value == default or field in PARTS:
            continue
        if field in NOT_SHOWN:
            yield f"{field} (set)"
        elif field == "headers":
            yield from (f"header {_shown(name)}" for name in value)
        elif isinstance(value, dict) and isinstance(default, dict) and default:
            yield from (f"{field}.{fact}" for fact in _facts(value, default))
        else:
            yield f"{field} {_shown(value)}"


def _changes(old: Fields, new: Fields) -> Iterator[str]:
    for field in {**old, **new}:
        before, after = old.get(field), new.get(field)
        if before == after:
            continue
        if field == "capabilities" and old["model"] == new["model"]:
            yield from _learned(profile_of(new["model"], before), profile_of(new["model"], after))
        elif field in NOT_SHOWN:
            yield f"{field} ({_fate(before, after)})"
        elif field == "headers":
            yield from _headers(before or {}, after or {})
        elif field in PARTS:
            yield from list(PARTS[field](before, after)) or [f"{field}: another order"]
        elif isinstance(after, dict) and isinstance(before, dict) and field != "conditions":
            yield from (f"{field}.{change}" for change in _changes(before, after))
        else:
            yield f"{field} {_shown(before)} → {_shown(after)}"


def _learned(before: Profile, after: Profile) -> Iterator[str]:
    """Tell what an upstream says of a model, as far as requests are written by it."""
    old, new = (msgspec.to_builtins(profile, order="deterministic") for profile in (before, after))
    changes = [f"{field} {_shown(old[field])} → {_shown(new[field])}" for field in new if old[field] != new[field]]
    yield f"upstream tells {', '.join(changes)}" if changes else "upstream tells the same in other words"


def _fate(before: Any, after: Any) -> str:
    return "changed" if before and after else "set" if after else "removed"


def _headers(old: Fields, new: Fields) -> Iterator[str]:
    """Name headers; their values may be secret."""
    yield from (f"+ header {_shown(name)}" for name in new if name not in old)
    yield from (f"- header {_shown(name)}" for name in old if name not in new)
    yield from (f"~ header {_shown(name)} (changed)" for name in new if name in old and old[name] != new[name])


# --- Targets and prices --------------------------------------------------------------------------------------


def _targets(old: Iterable[Fields], new: Iterable[Fields]) -> Iterator[str]:
    return _parts("target", old, new, lambda target: _shown(target["deployment"]), NO_TARGET)


def _prices(old: Iterable[Fields], new: Iterable[Fields]) -> Iterator[str]:
    return _parts("price", old, new, _price_name, NO_PRICE)


PARTS: dict[str, Callable[[Any, Any], Iterator[str]]] = {"targets": _targets, "prices": _prices}


def _price_name(price: Fields) -> str:
    return f"{price['side']} from {datetime.fromtimestamp(price['effective_from'], UTC):%Y-%m-%d %H:%M}"


def _parts(
    word: str, old: Iterable[Fields], new: Iterable[Fields], name_of: Callable[[Fields], str], blank: Fields
) -> Iterator[str]:
    before, after = _numbered(old, name_of), _numbered(new, name_of)
    own = {"deployment", "side", "effective_from"}  # what the name says
    for name, part in after.items():
        if name not in before:
            facts = ", ".join(_facts({field: value for field, value in part.items() if field not in own}, blank))
            yield f"+ {word} {name}: {facts}" if facts else f"+ {word} {name}"
    yield from (f"- {word} {name}" for name in before if name not in after)
    for name, part in after.items():
        if name in before and before[name] != part:
            yield f"~ {word} {name}: {', '.join(_changes(before[name], part))}"


def _numbered(parts: Iterable[Fields], name_of: Callable[[Fields], str]) -> dict[str, Fields]:
    """Name each part; a second one of the same name gets a number."""
    found, seen = {}, Counter[str]()
    for part in parts:
        name = name_of(part)
        seen[name] += 1
        found[name if seen[name] == 1 else f"{name} ({seen[name]})"] = part
    return found


# --- Values --------------------------------------------------------------------------------------------------


def _shown(value: Any) -> str:
    if value is None or value == "" or value == () or value == []:
        return "none"
    if isinstance(value, str):
        return value if PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)
    if isinstance(value, tuple | list | dict):
        return json.dumps(value, ensure_ascii=False)
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)
