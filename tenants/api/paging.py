"""Lists go on after the last row of the page before, so that the thousandth page costs what the first does."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from ninja import Schema
from pydantic import Field

from tenants.api.errors import invalid
from tenants.api.schema import Leaf, Strict, Whole, model_of

USUAL, MOST = 50, 200
LARGEST_KEY = 2**63 - 1


class Page(Strict):
    """Which part of a list."""

    limit: Whole = Field(USUAL, ge=1, le=MOST, description="How many, at most.")
    after: str = Field("", max_length=500, description="`next` of the page before.")


def page_answer(noun: str, answer: type[Schema]) -> type[Schema]:
    """Return the model of a list's page."""
    leaves = {
        "items": Leaf(annotation=list[answer], is_required=True),  # type: ignore[valid-type]
        "next": Leaf(annotation=str | None, description="For `after`; null: that was the last page.", is_required=True),
    }
    return model_of(f"{noun.title().replace(' ', '')}Page", leaves, base=Schema)


def page_of(
    request: HttpRequest,
    response: HttpResponse,
    rows: QuerySet[Any],
    page: Any,
    order: tuple[str, ...],
    ends_at: Any = None,
) -> tuple[list[Any], str | None]:
    """Return the rows of a page and where to go on; the way on stands in the header `Link`, too.

    `ends_at` is the row where reading ends though there may be more: then the list goes on behind it.
    """
    found = list(rest_of(rows, page, order).order_by(*order)[: page.limit + 1])
    shown = found[: page.limit]
    last = shown[-1] if len(found) > page.limit else ends_at
    if last is None:
        return shown, None
    place = _place(last, order)
    query = request.GET.copy()
    query["after"] = place
    response["Link"] = f'<{request.path}?{query.urlencode()}>; rel="next"'
    return shown, place


def rest_of(rows: QuerySet[Any], page: Any, order: tuple[str, ...]) -> QuerySet[Any]:
    """Return the rows behind where the page before has ended."""
    return rows.filter(_beyond(rows, order, page.after)) if page.after else rows


def _place(row: Any, order: tuple[str, ...]) -> str:
    values = [str(getattr(row, name.lstrip("-"))) for name in order]
    return urlsafe_b64encode(json.dumps(values, separators=(",", ":")).encode()).decode().rstrip("=")


def _beyond(rows: QuerySet[Any], order: tuple[str, ...], after: str) -> Q:
    """Return the condition of all rows behind a place; one column, or a time and a key."""
    names = [name.lstrip("-") for name in order]
    way = "lt" if order[0].startswith("-") else "gt"
    values = _values(rows, names, after)
    if len(names) == 1:
        return Q(**{f"{names[0]}__{way}": values[0]})
    (first, second), (one, other) = names, values
    return Q(**{f"{first}__{way}e": one}) & (Q(**{f"{first}__{way}": one}) | Q(**{f"{second}__{way}": other}))


def _values(rows: QuerySet[Any], names: list[str], after: str) -> list[Any]:
    try:
        texts = json.loads(urlsafe_b64decode(after + "=" * (-len(after) % 4)))
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError
        fields = [rows.model._meta.pk if name == "pk" else rows.model._meta.get_field(name) for name in names]
        values = [field.to_python(text) for field, text in zip(fields, texts, strict=True)]
        if any(isinstance(value, int) and abs(value) > LARGEST_KEY for value in values):
            raise ValueError
        return values
    except (ValueError, TypeError, ValidationError, RecursionError):
        raise invalid([("after", "take it as it is from `next` of the page before.")]) from None


def check_parameters(request: HttpRequest, known: set[str]) -> None:
    """Refuse parameters that nobody knows: a filter with a typing error would show everything."""
    unknown = sorted(set(request.GET) - known)
    if unknown:
        raise invalid((name, f"there is no such parameter; there are {', '.join(sorted(known))}.") for name in unknown)
    for name, value in request.GET.items():
        if "\0" in str(value):
            raise invalid([(name, "has a character that cannot be stored.")])
