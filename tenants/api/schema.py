"""Bodies and answers as pydantic models, made from the fields of Django's: type, choices, help text and default.

Where a field stands is a path such as `timeouts.connect`; the paths of the configuration's YAML are those of the API.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Optional

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone
from ninja import Schema
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("has a character that cannot be stored")
    return text


def _storable_json(value: Any) -> Any:
    if isinstance(value, str):
        return _storable(value)
    if isinstance(value, Mapping):
        return {_storable(str(name)): _storable_json(each) for name, each in value.items()}
    return [_storable_json(each) for each in value] if isinstance(value, list) else value


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def _storable_moment(moment: datetime) -> datetime:
    """Of 31 December 9999, an hour west of Greenwich is in the year 10000: that is stored, and never read again."""
    try:
        return moment if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is too far away") from None


Text = Annotated[str, AfterValidator(_storable)]
Money = Annotated[Decimal, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
Whole = Annotated[int, BeforeValidator(_no_bool)]
Number = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
Instant = Annotated[datetime, AfterValidator(_storable_moment)]  # may be without a time zone
Moment = Annotated[Instant, AfterValidator(lambda moment: aware(moment))]
Json = Annotated[Any, AfterValidator(_storable_json)]
Ref = Annotated[Whole | Text, Field(union_mode="left_to_right")]


class Strict(Schema):
    """Refuses fields that it does not know, by name."""

    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One value of a body or an answer."""

    annotation: Any
    description: str = ""
    is_required: bool = False
    examples: tuple[Any, ...] = ()
    default: Any = None  # for the documentation

    def info(self) -> tuple[Any, FieldInfo]:
        extra: dict[str, Any] = {"description": self.description} if self.description else {}
        if self.examples:
            extra["examples"] = list(self.examples)
        if self.is_required:
            return self.annotation, Field(**extra)
        if self.default is not None:
            extra["json_schema_extra"] = {"default": self.default}
        return self.annotation, Field(default_factory=_nothing, **extra)


def _nothing() -> None:
    return None


def leaf_of(model: type[models.Model], name: str, *, is_answer: bool = False) -> Leaf:
    """Describe a model's field: as it is sent (required where there is no default), or as it is answered."""
    field: Any = model._meta.get_field(name)
    annotation = _annotation(field, is_answer=is_answer)
    has_default = field.has_default() or field.blank or field.null
    default = field.default if field.has_default() and not callable(field.default) else None
    return Leaf(
        annotation=Optional[annotation] if field.null else annotation,  # noqa: UP045  # Annotated | None is no type
        description=str(field.help_text),
        is_required=not is_answer and not has_default,
        default=None if is_answer else str(default) if isinstance(default, Decimal) else default,
    )


def _annotation(field: Any, *, is_answer: bool) -> Any:
    if field.choices and not is_answer:
        words = tuple(value for value, _ in field.flatchoices)
        return Literal[*words, ""] if field.blank and "" not in words else Literal[words]
    match field:
        case ArrayField():
            return list[_annotation(field.base_field, is_answer=is_answer)]  # type: ignore[misc]
        case models.BooleanField():
            return bool
        case models.IntegerField():
            return Whole
        case models.FloatField():
            return Number
        case models.DecimalField():
            return str if is_answer else Money
        case models.DateTimeField():
            return datetime if is_answer else Moment
        case models.DateField():
            return date
        case models.JSONField():
            return Json
    return Text


def model_of(name: str, leaves: Mapping[str, Leaf], *, base: type[Schema] = Strict, **more: Any) -> type[Schema]:
    """Make a model of leaves by their paths; those with a dot stand in a mapping."""
    here: dict[str, tuple[Any, Any]] = {path: leaf.info() for path, leaf in leaves.items() if "." not in path}
    inner: dict[str, dict[str, Leaf]] = {}
    for path, leaf in leaves.items():
        outer, _, rest = path.partition(".")
        if rest:
            inner.setdefault(outer, {})[rest] = leaf
    for outer, parts in inner.items():
        part = model_of(f"{name}{outer.replace('_', ' ').title().replace(' ', '')}", parts, base=base)
        is_required = any(leaf.is_required for leaf in parts.values())
        here[outer] = (part, Field() if is_required else Field(default_factory=_nothing))
    made: type[Schema] = create_model(name, __base__=base, **here, **more)  # type: ignore[call-overload]
    return made


def given(body: Schema, prefix: str = "") -> dict[str, Any]:
    """Return what a body says, by path; what it leaves out is not there. Lists are one value."""
    found: dict[str, Any] = {}
    for name in body.model_fields_set:
        value, path = getattr(body, name), f"{prefix}{name}"
        found |= given(value, f"{path}.") if isinstance(value, Strict) else {path: value}
    return found


def nested(values: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return values by path as the mapping that is answered."""
    found: dict[str, Any] = {}
    for path, value in values:
        *outer, last = path.split(".")
        inner = found
        for name in outer:
            inner = inner.setdefault(name, {})
        inner[last] = value
    return found


def aware(moment: datetime) -> datetime:
    """A moment, in UTC unless it says otherwise."""
    return timezone.make_aware(moment) if timezone.is_naive(moment) else moment


def plain(value: Any) -> Any:
    """A value as it is answered: money as text, without an exponent and without zeros at its end."""
    return f"{value.normalize():f}" if isinstance(value, Decimal) else value
