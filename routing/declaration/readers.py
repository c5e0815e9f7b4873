"""One field at a time: a reader takes a cursor and returns a value, or notes what is wrong and raises Broken.

`record` reads a mapping into a frozen dataclass whose fields name their readers::

    @entry
    class Timeouts(Entry):
        connect: float = optional(seconds, default=5.0)

Everything in a mapping or a list is looked at, so that all its problems are noted at once.
"""

import dataclasses
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, time
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, dataclass_transform

from django.core.exceptions import ValidationError

from providers.certificates import tidy
from routing.declaration.document import Broken, Cursor
from tenants.currencies import CURRENCIES

type Reader[T] = Callable[[Cursor], T]

SLUG = re.compile(r"[A-Za-z0-9_-]{1,63}")
WHOLE = re.compile(r"-?\d[\d_]{0,18}")
NUMBER = re.compile(r"-?(\d[\d_]{0,18}(\.\d{0,18})?|\.\d{1,18})([eE][+-]?\d{1,2})?")
TRUE_WORDS = frozenset({"true", "yes", "on"})
FALSE_WORDS = frozenset({"false", "no", "off"})


# --- Scalars -----------------------------------------------------------------------------------------------


def text(at: Cursor) -> str:
    """Any text without control characters."""
    value = at.text()
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in value):
        raise at.broken("must not hold control characters")
    return value


def pem(at: Cursor) -> str:
    """A certificate or a key, in several lines."""
    value = tidy(at.text())
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in value.replace("\n", "")):
        raise at.broken("must not hold control characters")
    return value


def slug(at: Cursor) -> str:
    """A name that may stand in URLs."""
    value = text(at)
    if not SLUG.fullmatch(value):
        raise at.broken("must be 1 to 63 letters, digits, hyphens and underscores")
    return value


def boolean(at: Cursor) -> bool:
    """true or false."""
    word = _bare(at, "must be true or false").lower()
    if word not in TRUE_WORDS | FALSE_WORDS:
        raise at.broken("must be true or false")
    return word in TRUE_WORDS


def whole(*, minimum: int, maximum: int | None = None) -> Reader[int]:
    """A whole number, such as 200 or 2_000_000."""
    bounds = f"at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"

    def read(at: Cursor) -> int:
        problem = f"must be a whole number, {bounds}"
        value = _bare(at, problem)
        if not WHOLE.fullmatch(value) or not minimum <= int(value) <= (maximum or int(value)):
            raise at.broken(problem)
        return int(value)

    return read


def seconds(at: Cursor) -> float:
    """A time span above 0."""
    problem = "must be a number above 0"
    value = _bare(at, problem)
    if not NUMBER.fullmatch(value) or float(value) <= 0:
        raise at.broken(problem)
    return float(value)


def per_cent(at: Cursor) -> float:
    """0 to 100."""
    problem = "must be a number from 0 to 100"
    value = _bare(at, problem)
    if not NUMBER.fullmatch(value) or not 0 <= float(value) <= 100:
        raise at.broken(problem)
    return float(value)


def money(at: Cursor) -> Decimal:
    """An amount that is not negative, exactly as it is written, quoted or not."""
    value = at.text()
    if not NUMBER.fullmatch(value):
        raise at.broken("must be an amount, such as 2.50")
    amount = Decimal(value)
    if amount.is_signed() and amount:
        raise at.broken("must not be negative")
    return abs(amount)


def choice(options: Collection[str], noun: str) -> Reader[str]:
    """One of a few words."""

    def read(at: Cursor) -> str:
        value = at.text()
        if value not in options:
            raise at.broken(f"{_shown(at)} is not {noun}{_hint(value, options)}")
        return value

    return read


def currency(at: Cursor) -> str:
    """An ISO 4217 code."""
    value = at.text()
    if value not in CURRENCIES:
        raise at.broken(f"{_shown(at)} is not a currency; use a code such as USD or EUR")
    return value


def moment(at: Cursor) -> datetime:
    """A date and time, in UTC unless it says otherwise; a date alone is its beginning."""
    value = _date_or_time(at)
    return value if isinstance(value, datetime) else datetime.combine(value, time.min, UTC)


def last_moment(at: Cursor) -> datetime:
    """A date and time, in UTC unless it says otherwise; a date alone is its end."""
    value = _date_or_time(at)
    return value if isinstance(value, datetime) else datetime.combine(value, time.max, UTC)


def checked_by[T](reader: Reader[T], validator: Callable[[T], None]) -> Reader[T]:
    """What the reader reads, when one of Django's validators accepts it."""

    def read(at: Cursor) -> T:
        value = reader(at)
        try:
            validator(value)
        except ValidationError as error:
            raise at.broken(" ".join(error.messages)) from None
        return value

    return read


def _bare(at: Cursor, problem: str) -> str:
    """The text of a scalar that is not text by its quotes."""
    if at.is_null or (at.is_quoted and not at.has_variable):
        raise at.broken(f"{problem}, without quotes" if at.is_quoted else problem)
    return at.text()


def _date_or_time(at: Cursor) -> date | datetime:
    value = at.text()
    with suppress(ValueError):
        return _in_range(at, date.fromisoformat(value))
    with suppress(ValueError):
        parsed = _in_range(at, datetime.fromisoformat(value))
        return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)
    raise at.broken("must be a date such as 2027-12-31 or a time such as 2027-12-31T18:00:00Z")


def _in_range[D: date](at: Cursor, value: D) -> D:
    if not 2000 <= value.year <= 2999:
        raise at.broken("must be a date from 2000 to 2999")
    return value


def _shown(at: Cursor) -> str:
    """The scalar as it stands in the file: a variable's value is not shown."""
    return f'"{at.node.value}"'


def _hint(value: str, options: Collection[str]) -> str:
    near = get_close_matches(value, options, n=1)
    return f'; did you mean "{near[0]}"?' if near else f"; there are {', '.join(options)}"


# --- Lists and mappings ------------------------------------------------------------------------------------


def many[T](reader: Reader[T]) -> Reader[tuple[T, ...]]:
    """A list of plain values."""

    def read(at: Cursor) -> tuple[T, ...]:
        cursors = at.items()
        values = tuple(_sound(cursors, reader))
        if len(values) < len(cursors):
            raise Broken
        return values

    return read


def entries[E: Entry](cls: type[E]) -> Reader[tuple[E, ...]]:
    """A list of records; those that are broken are left out, so that the others are looked at further."""

    def read(at: Cursor) -> tuple[E, ...]:
        return tuple(_sound(at.items(), record(cls)))

    return read


def one_or_more[E: Entry](cls: type[E]) -> Reader[tuple[E, ...]]:
    """A record, or a list of them."""

    def read(at: Cursor) -> tuple[E, ...]:
        return entries(cls)(at) if at.is_list else (record(cls)(at),)

    return read


def named[T](reader: Reader[T]) -> Reader[dict[str, T]]:
    """A mapping whose names are free."""

    def read(at: Cursor) -> dict[str, T]:
        members = at.members()
        values = tuple(_sound(members.values(), reader))
        if len(values) < len(members):
            raise Broken
        return dict(zip(members, values, strict=True))

    return read


def _sound[T](cursors: Iterable[Cursor], reader: Reader[T]) -> Iterator[T]:
    """Read all; those that are broken have been noted and are left out."""
    for cursor in cursors:
        with suppress(Broken):
            yield reader(cursor)


# --- Records -----------------------------------------------------------------------------------------------


def required(reader: Reader[Any]) -> Any:
    """A field that must be there."""
    return dataclasses.field(metadata={"reader": reader})


def optional(reader: Reader[Any], *, default: Any) -> Any:
    """A field that may be absent or null."""
    return dataclasses.field(default=default, metadata={"reader": reader})


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(required, optional))
def entry[T](cls: type[T]) -> type[T]:
    """Make a frozen dataclass that `record` can read."""
    return dataclasses.dataclass(frozen=True, kw_only=True)(cls)


@entry
class Entry:
    """What every record has: where it stands, for errors that are found later."""

    path: str = ""

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield the field and the sentence for everything that a field alone cannot see."""
        yield from ()


def record[E: Entry](cls: type[E]) -> Reader[E]:
    """A mapping with the fields of an entry class."""
    fields = {field.name: field for field in dataclasses.fields(cls) if "reader" in field.metadata}

    def read(at: Cursor) -> E:
        members = at.members()
        for name in [name for name in members if name not in fields]:
            members.pop(name).broken(f"is not a field{_hint(name, fields)}")
        values, is_broken = _read_fields(at, fields.values(), members)
        value = cls(path=at.path, **values)
        at.reading.records.append(value)
        wrong = [] if is_broken else list(value.problems())
        for name, message in wrong:
            members.get(name, at).broken(message)
        if wrong or is_broken:
            raise Broken
        return value

    return read


def _read_fields(
    at: Cursor, fields: Iterable[dataclasses.Field[Any]], members: Mapping[str, Cursor]
) -> tuple[dict[str, Any], bool]:
    """The values, and whether any is broken; raises Broken when one of those is required."""
    values: dict[str, Any] = {}
    broken = []
    for field in fields:
        member = members.get(field.name)
        try:
            if member is not None and not member.is_null:
                values[field.name] = field.metadata["reader"](member)
            elif field.default is dataclasses.MISSING:
                raise (member or at).broken(f"{field.name} is missing" if member is None else "must be given")
        except Broken:
            broken.append(field)
    if any(field.default is dataclasses.MISSING for field in broken):
        raise Broken
    return values, bool(broken)
