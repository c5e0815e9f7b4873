"""Requests that stand in several indexes: found by merging these, and only then compared row by row.

The ledger's indexes are in the order of time: of a tenant, of a key, and the partial ones of what is rare. An index tells
when a request began and its id without reading its row, so what stands in one of them only costs little. How much is
read has bounds; where they end the search, it says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Q, QuerySet
from django.db.models.expressions import RawSQL

from tenants.models import UsageRecord

COMPARED = (
    *("request_id", "started_at", "project", "end_user", "dialect", "dialect_upstream", "alias", "provider"),
    *("deployment", "is_streamed", "status", "outcome", "error_code", "cost", "cost_status", "latency_ms"),
    *("first_token_ms", "attempts", "losses", "trace"),
)
TABLE = UsageRecord._meta.db_table
MOST_LISTED = 50_000  # entries of each index
MOST_MET = 5_000  # rows that are compared: each lies on a page of its own
AT_MOST_DENSER = 10  # times an index may have as many entries as the sparsest, or it ends too soon to be of use

type Place = tuple[datetime, UUID]
type Rows = QuerySet[Any]
type Sql = tuple[str, tuple[Any, ...]]


def compare(rows: Rows, most: int, condition: Q, order: Sequence[str], enough: int) -> tuple[list[Place], Place | None]:
    """Return so many of the first rows that are meant; and where reading ended, if that was before a page was full."""
    inner, inner_values = _sql(rows.order_by(*order)[:most].values(*COMPARED))
    outer, outer_values = _sql(_meant(condition).order_by(*order)[:enough])
    statement = outer.replace(f'FROM "{TABLE}"', f'FROM ({inner}) AS "{TABLE}"', 1)
    found = _fetch(statement, (*inner_values, *outer_values))
    return found, None if len(found) >= enough else _listed(rows, order)[most - 1 : most].first()


def useful(lists: Sequence[Rows], order: Sequence[str], near: datetime) -> list[Rows]:
    """Return the sparsest of the lists, and those that are not much denser."""
    parts: list[str] = []
    values: list[Any] = []
    for number, rows in enumerate(lists):
        sql, more = _sql(_listed(rows, order)[MOST_MET - 1 : MOST_MET])
        parts.append(f"SELECT {number}, started_at FROM ({sql}) list_{number}")
        values += more
    ends = dict(_fetch(" UNION ALL ".join(parts), values))
    if complete := [rows for number, rows in enumerate(lists) if number not in ends]:
        return complete[:1]
    reach = {number: abs(end - near) for number, end in ends.items()}
    most = max(reach.values())
    return [rows for number, rows in enumerate(lists) if reach[number] * AT_MOST_DENSER >= most]


def meet(
    lists: Sequence[Rows], rows: Rows, condition: Q, order: Sequence[str], enough: int
) -> tuple[list[Place], Place | None]:
    """Return so many of what stands in all lists, is among the rows and is meant; and where reading ended, if it did."""
    statement, values = _meeting_sql(lists, rows, condition, order, enough)
    found, ended, read = [], [], []
    for number, count, *place in _fetch(statement, values):
        if number < 0:
            found.append(tuple(place))
            continue
        read.append(number)
        is_cut = count >= _limit(lists, number)
        if is_cut or number < len(lists):  # what they have in common ends with the first of them
            ended.append((is_cut, tuple(place)))
    found.sort(reverse=order[0].startswith("-"))  # a union has no order
    if len(found) >= enough or not {*range(len(lists))} <= {*read}:  # one of them is empty
        return found, None
    return found, _end([place for is_cut, place in ended if is_cut], ended, order)


def _end(cut: list[Any], ended: list[tuple[bool, Any]], order: Sequence[str]) -> Place | None:
    """Return the first place where a list was cut off, unless another was read to its end before."""
    if not cut:
        return None
    is_newest_first = order[0].startswith("-")
    end: Place = max(cut) if is_newest_first else min(cut)
    whole = [place for is_cut, place in ended if not is_cut]
    is_all = any(place >= end if is_newest_first else place <= end for place in whole)
    return None if is_all else end


def _limit(lists: Sequence[Rows], number: int) -> int:
    """How many are read of a list; the one after the last is of what they have in common."""
    return MOST_MET if number == len(lists) or len(lists) == 1 else MOST_LISTED


def _meeting_sql(lists: Sequence[Rows], rows: Rows, condition: Q, order: Sequence[str], enough: int) -> Sql:
    values: list[Any] = []
    parts = []
    for number, each in enumerate(lists):
        sql, more = _sql(_listed(each, order)[: _limit(lists, number)])
        parts.append(f"list_{number} AS MATERIALIZED ({sql})")
        values += more
    names = [f"list_{number}" for number in range(len(lists))]
    joined = names[0] + "".join(f" JOIN {name} USING (started_at, request_id)" for name in names[1:])
    ordered, back = _order(order), _order([_reversed(name) for name in order])
    parts.append(
        f"place AS MATERIALIZED (SELECT started_at, request_id FROM {joined} ORDER BY {ordered} LIMIT {MOST_MET})"
    )
    # Row by row: to join whole tables, as the planner may like it, would read them all.
    at_place = {name: RawSQL(f"place.{name}", ()) for name in ("started_at", "request_id")}
    inner, inner_values = _sql(rows.filter(**at_place).order_by().values(*COMPARED)[:1])
    outer, outer_values = _sql(_meant(condition).order_by(*order)[:enough])
    source = f'FROM place, LATERAL ({inner}) AS "{TABLE}"'
    parts.append(f"found AS MATERIALIZED ({outer.replace(f'FROM "{TABLE}"', source, 1)})")
    ends = [
        f"(SELECT {number}, (SELECT count(*) FROM {name}), started_at, request_id FROM {name}"
        f" WHERE (SELECT count(*) FROM found) < {enough} ORDER BY {back} LIMIT 1)"
        for number, name in enumerate([*names, "place"])
    ]
    statement = " UNION ALL ".join(("SELECT -1, 0::bigint, started_at, request_id FROM found", *ends))
    return f"WITH {', '.join(parts)} {statement}", (*values, *inner_values, *outer_values)


def _listed(rows: Rows, order: Sequence[str]) -> Rows:
    return rows.order_by(*order).values_list("started_at", "request_id")


def _meant(condition: Q) -> Rows:
    return UsageRecord.objects.filter(condition).values_list("started_at", "request_id")


def _order(order: Iterable[str]) -> str:
    return ", ".join(f"{name.removeprefix('-')} {'DESC' if name.startswith('-') else 'ASC'}" for name in order)


def _reversed(name: str) -> str:
    return name.removeprefix("-") if name.startswith("-") else f"-{name}"


def _sql(rows: Rows) -> Sql:
    sql, values = rows.query.sql_with_params()
    return sql, tuple(values)


def _fetch(statement: str, values: Sequence[Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()
