"""What a usage report is to tell: read from the parameters of an address, each refused by its name."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from django.http import QueryDict

from tenants.models import Tenant

GROUPS: Mapping[str, tuple[str, ...]] = {  # what one row is of, as columns
    "tenant": ("tenant_id",),
    "project": ("tenant_id", "project"),
    "api_key": ("tenant_id", "api_key_id"),
    "end_user": ("tenant_id", "end_user"),
    "model": ("alias",),
    "provider": ("provider",),
    "deployment": ("provider", "deployment"),
    "day": ("day",),
    "hour": ("hour",),
}
FILTERS: Mapping[str, str] = {  # parameters, and the columns that they narrow
    "tenant": "tenant_id",
    "tenant_id": "tenant_id",
    "project": "project",
    "api_key": "api_key_id",
    "end_user": "end_user",
    "model": "alias",
    "provider": "provider",
    "deployment": "deployment",
    "currency": "currency",
}
ORDERS = ("key", "cost")
FORMATS = ("json", "csv")
PARAMETERS = ("group_by", "from", "to", *FILTERS, "order", "limit", "after", "format")
NOT_OF_END_USERS = ("provider", "deployment")
USUAL_ROWS, MOST_ROWS = 1_000, 50_000
USUAL_SPAN, USUAL_HOURS = timedelta(days=30), timedelta(days=1)
LONGEST_TEXT = 200
LARGEST_ID = 2**63 - 1


class ReportRefused(ValueError):
    """A parameter makes no sense."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(f"{parameter}: {message}")
        self.parameter, self.message = parameter, message


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A report: of what, of which time, of whom."""

    begins: datetime
    ends: datetime  # not included
    group_by: str = "day"
    filters: Mapping[str, Any] = field(default_factory=dict)  # columns and their values
    order: str = "key"
    limit: int = USUAL_ROWS
    after: tuple[Any, ...] | None = None  # where to go on, see `position`
    format: str = "json"

    @property
    def is_of_end_users(self) -> bool:
        """Whether only the sums of end users know."""
        return self.group_by == "end_user" or "end_user" in self.filters

    @property
    def is_of_hours(self) -> bool:
        """Whether the sums of days are too coarse."""
        return (
            self.group_by == "hour" or _at_midnight(self.begins) != self.begins or _at_midnight(self.ends) != self.ends
        )


def single_values(query: QueryDict) -> dict[str, str]:
    """Return an address's parameters; raises ReportRefused for one that stands there twice."""
    for name, values in query.lists():
        if len(values) > 1:
            raise ReportRefused(name, "give it once.")
    return {name: str(value) for name, value in query.items()}


def read_question(parameters: Mapping[str, str], *, now: datetime, only: Tenant | None = None) -> Question:
    """Return what is asked; raises ReportRefused naming the parameter that makes no sense.

    `only` is the tenant of a member, who is told of no other; None asks for an operator.
    """
    given = {name: text.strip() for name, text in parameters.items() if text.strip()}
    for name, text in given.items():
        _check_text(name, text)
    group_by = _choice(given, "group_by", tuple(GROUPS), "day")
    order = _choice(given, "order", ORDERS, "key")
    begins, ends = _span(given, group_by, now)
    question = Question(
        begins=begins,
        ends=ends,
        group_by=group_by,
        filters=_filters(given) if only is None else _own_filters(given, only),
        order=order,
        limit=_number(given, "limit", MOST_ROWS) or USUAL_ROWS,
        after=_position(given["after"], group_by, order) if "after" in given else None,
        format=_choice(given, "format", FORMATS, "json"),
    )
    if question.is_of_end_users:
        _check_end_users(question)
    return question


def position(question: Question, row: tuple[Any, ...]) -> str:
    """Return where a report goes on after a row (cost, then its keys and currency), for `after`."""
    plain = [value.isoformat() if isinstance(value, date) else value for value in row[1:]]
    cost = [f"{row[0]}"] if question.order == "cost" else []
    text = json.dumps([question.group_by, question.order, *cost, *plain], separators=(",", ":"))
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _position(text: str, group_by: str, order: str) -> tuple[Any, ...]:
    try:
        kind, sort, *values = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if (kind, sort) != (group_by, order):
            raise ReportRefused("after", "this is from another report; use it with the same group_by and order.")
        readers: list[Callable[[Any], Any]] = [_reader(column) for column in (*GROUPS[group_by], "currency")]
        if order == "cost":
            readers.insert(0, _money)
        return tuple(read(value) for read, value in zip(readers, values, strict=True))
    except ReportRefused:
        raise
    except (ValueError, TypeError, Base64Error, RecursionError, InvalidOperation):
        raise ReportRefused("after", "take it as it is from `next` of the answer before.") from None


def _reader(column: str) -> Callable[[Any], Any]:
    match column:
        case "tenant_id" | "api_key_id":
            return _id
        case "day" | "hour":
            return _moment
    return _text


def _id(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > LARGEST_ID:
        raise ValueError(value)
    return value


def _moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(value)
    value.encode()
    return value


def _money(value: Any) -> Decimal:
    money = Decimal(_text(value))
    if not money.is_finite() or abs(money.adjusted()) > 30:
        raise ValueError(value)
    return money


def _check_text(name: str, text: str) -> None:
    if name not in PARAMETERS:
        raise ReportRefused(name, f"there is no such parameter; there are {', '.join(PARAMETERS)}.")
    if len(text) > LONGEST_TEXT and name != "after":
        raise ReportRefused(name, f"longer than {LONGEST_TEXT} characters.")
    try:
        _text(text)
    except ValueError:
        raise ReportRefused(name, "has characters that cannot be stored.") from None


def _choice(given: Mapping[str, str], name: str, choices: tuple[str, ...], usual: str) -> str:
    chosen = given.get(name, usual)
    if chosen not in choices:
        raise ReportRefused(name, f"{chosen!r} is none of {', '.join(choices)}.")
    return chosen


def _number(given: Mapping[str, str], name: str, most: int) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 1 <= int(text) <= most):
        raise ReportRefused(name, f"has to be a whole number from 1 to {most}.")
    return int(text)


def _span(given: Mapping[str, str], group_by: str, now: datetime) -> tuple[datetime, datetime]:
    hours = group_by == "hour"
    soon = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1) if hours else _next_day(now)
    ends = _edge(given, "to", is_end=True) or soon
    try:
        begins = _edge(given, "from", is_end=False) or ends - (USUAL_HOURS if hours else USUAL_SPAN)
    except OverflowError:
        raise ReportRefused("to", "that is too early.") from None
    if begins >= ends:
        raise ReportRefused("from" if "to" not in given else "to", "the time has to begin before it ends.")
    return begins, ends


def _edge(given: Mapping[str, str], name: str, *, is_end: bool) -> datetime | None:
    """Read a day, the last of which is included, or a full hour."""
    text = given.get(name)
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return _hour(name, text)
    moment = datetime.combine(day, time(), UTC)
    try:
        return _next_day(moment) if is_end else moment
    except OverflowError:
        raise ReportRefused(name, "that is too late.") from None


def _hour(name: str, text: str) -> datetime:
    try:
        moment = _moment(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ReportRefused(
            name, f"{text!r} is neither a day, as 2026-11-30, nor an hour, as 2026-11-30T13:00Z."
        ) from None
    if moment.minute or moment.second or moment.microsecond:
        raise ReportRefused(name, "has to be a full hour (UTC), for usage is summed by hours.")
    return moment


def _filters(given: Mapping[str, str]) -> dict[str, Any]:
    filters: dict[str, Any] = {FILTERS[name]: given[name] for name in FILTERS if name in given}
    for name in ("tenant_id", "api_key"):
        if name in given:
            filters[FILTERS[name]] = _number(given, name, LARGEST_ID)
    if "tenant" in given:
        filters["tenant_id"] = _tenant(given)
    return filters


def _own_filters(given: Mapping[str, str], only: Tenant) -> dict[str, Any]:
    """Read filters of one who has one tenant, and does not learn which others there are."""
    for name, own in (("tenant", only.slug), ("tenant_id", f"{only.pk}")):
        if given.get(name, own) != own:
            raise ReportRefused(name, f"you are no member of a tenant {given[name]!r}.")
    return {**_filters(given), "tenant_id": only.pk}


def _tenant(given: Mapping[str, str]) -> int:
    if "tenant_id" in given:
        raise ReportRefused("tenant_id", "give tenant or tenant_id, not both.")
    found = Tenant.objects.filter(slug=given["tenant"]).values_list("pk", flat=True).first()
    if found is None:
        raise ReportRefused("tenant", f"there is no tenant {given['tenant']!r}; one that was deleted has a tenant_id.")
    return int(found)


def _check_end_users(question: Question) -> None:
    for name in NOT_OF_END_USERS:
        if name in question.filters or question.group_by == name:
            where = name if name in question.filters else "group_by"
            raise ReportRefused(where, f"the sums of end users do not know the {name}.")
    if question.is_of_hours:
        raise ReportRefused(
            "group_by" if question.group_by == "hour" else "from", "the sums of end users know whole days (UTC) only."
        )


def _at_midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _next_day(moment: datetime) -> datetime:
    return _at_midnight(moment) + timedelta(days=1)
