"""What a translation cannot carry, as values: nothing is lost in silence. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import Any

import msgspec


class Weight(IntEnum):
    """How much a loss matters; the tenant's translation policy compares it."""

    COSMETIC = 1  # nobody reads another answer: a cache mark, an id, a label
    DEGRADES = 2  # the answer may be worse: sampling, reasoning of another vendor
    CHANGES_ANSWER = 3  # it would answer another question: a file that cannot be read, a tool that is not there

    @property
    def word(self) -> str:
        """As headers, records and pages say it."""
        return self.name.lower()


class Loss(msgspec.Struct, frozen=True, order=True):
    """One thing that did not get across. `path` is where the client wrote it, in the client's own field names."""

    path: str
    weight: Weight
    why: str  # a clause a tenant can read: "the upstream has no seed"


class NativeField(msgspec.Struct, frozen=True, kw_only=True):
    """A field that one dialect alone knows, and what it means that others have no place for it."""

    name: str
    value: Any  # as JSON
    weight: Weight
    why: str


class Native(msgspec.Struct, frozen=True, kw_only=True):
    """What one dialect knows of a value beyond its canonical meaning. Written back by it, lost by the others."""

    origin: str  # a dialect
    fields: tuple[NativeField, ...] = ()
    form: Any = None  # how it was spelled (a text or a list of parts, ...): never a loss

    def as_json(self) -> dict[str, Any]:
        """Return the fields as the dialect wrote them."""
        return {field.name: field.value for field in self.fields}


def form_of(native: Native | None, origin: str) -> Any:
    """Return how a value was spelled if this dialect spelled it, else None."""
    return native.form if native is not None and native.origin == origin else None


def fields_of(native: Native | None, origin: str) -> dict[str, Any]:
    """Return the fields that are this dialect's own, to be written back by it."""
    return native.as_json() if native is not None and native.origin == origin else {}


type Weights = Mapping[str, tuple[Weight, str]]

UNKNOWN_FIELD = (Weight.DEGRADES, "the upstream's format has no such field")


def keep_native(
    origin: str, raw: Mapping[str, Any], known: frozenset[str], weights: Weights, *, form: Any = None
) -> Native | None:
    """Keep what is not known canonically: each field with its weight from a dialect's table; None when there is none."""
    fields = tuple(
        NativeField(name=name, value=value, weight=weight, why=why)
        for name, value in raw.items()
        if name not in known
        for weight, why in (weights.get(name, UNKNOWN_FIELD),)
    )
    return Native(origin=origin, fields=fields, form=form) if fields or form is not None else None


class Losses:
    """Collects what a writer could not carry."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[Loss, None] = {}

    def __iter__(self) -> Iterator[Loss]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def cosmetic(self, path: str, why: str) -> None:
        """Note a loss that nobody will see in the answer."""
        self._found[Loss(path, Weight.COSMETIC, why)] = None

    def degrades(self, path: str, why: str) -> None:
        """Note a loss that may make the answer worse."""
        self._found[Loss(path, Weight.DEGRADES, why)] = None

    def changes_answer(self, path: str, why: str) -> None:
        """Note a loss that would make it an answer to another question."""
        self._found[Loss(path, Weight.CHANGES_ANSWER, why)] = None

    def native(self, native: Native | None, at: str, dialect: str) -> None:
        """Note every field that only another dialect knows; fields of `dialect` itself are not lost."""
        if native is None or native.origin == dialect:
            return
        for field in native.fields:
            path = f"{at}.{field.name}" if at else field.name
            self._found[Loss(path, field.weight, field.why)] = None


def heaviest(losses: Iterable[Loss]) -> Loss | None:
    """Return the loss that matters most, the first of several; None when there is none."""
    return max(losses, key=lambda loss: loss.weight, default=None)
