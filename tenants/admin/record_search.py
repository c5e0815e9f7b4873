"""How requests are found: by an index, by hours that the sums name, or among so many rows and no more.

No index knows all that is looked for. What the hourly sums know tells in which hours the records are. What they do not
know is compared row by row, newest first, among `MOST_READ` rows at most; then the list says how far it has looked, and
goes on from there.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from tenants.admin.keyset import AFTER, BEFORE, SEPARATOR, KeysetChangeList
from tenants.admin.record_filters import Condition, Edge
from tenants.admin.scope import standing_in
from tenants.models import ApiKey, UsageRecord
from tenants.reports import hours_with
from tenants.retention import stored_days

MOST_READ = 20_000  # rows that are compared for one page, where they lie in their order
MOST_SCATTERED = 5_000  # where each lies on a page of its own: of one tenant, or of a partial index
MOST_RARE = 1_000  # of one tenant in a partial index of all
MOST_SPANS = 60  # of time, in one query
COMPARED = (
    *("request_id", "started_at", "project", "end_user", "alias", "provider", "deployment", "is_streamed", "status"),
    *("outcome", "error_code", "cost", "cost_status", "latency_ms", "first_token_ms"),
)
DETAILS = {"project", "deployment"}
SUMMED = {"tenant__id__exact": "tenant_id", "api_key__id__exact": "api_key_id"}
QUICK = (
    ("Failed at the upstream", "owner", "upstream"),
    ("Failed here", "owner", "gateway"),
    ("Mistakes of clients", "owner", "client"),
    ("Several attempts", "attempts", "several"),
    ("With losses", "translation", "lossy"),
    ("Over 30 s", "duration", "30"),
    ("Last hour", "period", "1h"),
)
LAST_ID = UUID(int=0)

type Place = tuple[datetime, UUID]


class RecordChangeList(KeysetChangeList):
    """Requests, newest first."""

    only_tenant: int | None = None  # of a member
    conditions: list[Condition]
    searched_to: datetime | None = None  # there may be more beyond

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        found: QuerySet[Any] = super().get_queryset(request, exclude_parameters)
        self.only_tenant = standing_in(request).tenant_id
        self.conditions = [spec for spec in self.filter_specs if isinstance(spec, Condition) and spec.given]
        for each in self.conditions:
            meant = each.condition()
            found = found if self.is_search else found.filter(meant)
        return found

    @property
    def quick(self) -> list[dict[str, Any]]:
        """What is often looked for, each with the link that turns it on or off."""
        found = []
        for label, name, value in QUICK:
            is_chosen = self.params.get(name) in (value, [value])
            link = self.get_query_string(remove=[name]) if is_chosen else self.get_query_string({name: value})
            found.append({"label": label, "link": link, "is_chosen": is_chosen})
        return found

    @property
    def is_search(self) -> bool:
        """Whether rows have to be compared one by one."""
        if self.query or not self.conditions:
            return False
        return self._is_indexed or not all(each.is_summed and self._is_quick(each) for each in self.conditions)

    @property
    def _is_indexed(self) -> bool:
        """Whether a filter has an index of its own, which knows nothing of the others."""
        return any(self.filter_params.get(name, [""])[-1] for name in ("translation", "attempts"))

    @property
    def _is_of_one(self) -> bool:
        """Whether only one tenant's or one key's are looked for."""
        return bool(self.only_tenant or any(self.filter_params.get(name, [""])[-1] for name in SUMMED))

    def _is_quick(self, each: Condition) -> bool:
        """Whether the sums are asked: of everybody, they have no index of all that they know."""
        return self._is_of_one or not DETAILS & (each.summed() or {}).keys()

    # --- With the sums ---------------------------------------------------------------------------------------

    def narrowed(self, found: QuerySet[Any], place: Any, is_backwards: bool) -> QuerySet[Any]:
        summed = self._summed()
        if self.query or not summed or self._is_indexed:
            return found
        since, until = self._span()
        hours = hours_with(
            summed,
            enough=self.list_per_page + 1,
            since=max(place, since) if is_backwards else since,
            until=until if is_backwards else _earlier(place, until),
            newest_first=not is_backwards,
        )
        return found.filter(in_hours(hours)) if hours else found.none()

    def _summed(self) -> dict[str, Any]:
        """What the hourly sums know of what is looked for."""
        given = {name: values[-1] for name, values in self.filter_params.items() if name in SUMMED and values[-1]}
        summed: dict[str, Any] = {SUMMED[name]: value for name, value in given.items()}
        for each in self.conditions:
            summed |= (each.summed() or {}) if self._is_quick(each) else {}
        if self.only_tenant is not None:
            return summed | {"tenant_id": self.only_tenant}
        if "api_key_id" in summed and "tenant_id" not in summed:  # by whom the sums of keys are found
            owner = ApiKey.objects.filter(pk=summed["api_key_id"]).values_list("tenant_id", flat=True).first()
            summed |= {} if owner is None else {"tenant_id": owner}
        return summed

    def _span(self) -> tuple[datetime, datetime | None]:
        """From when on there is anything to be found, and until when."""
        days = stored_days()
        now = datetime.now(UTC)
        first = datetime(days[0].year, days[0].month, days[0].day, tzinfo=UTC) if days else now
        edges = [spec for spec in self.filter_specs if isinstance(spec, Edge)]
        begin = next((edge.moment for edge in edges if not edge.is_end), None)
        return max(first, begin or first), next((edge.moment for edge in edges if edge.is_end), None)

    # --- Row by row ------------------------------------------------------------------------------------------

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if self.is_search and self._end is not None:
            way = AFTER if request.GET.get(BEFORE) is None else BEFORE
            link = self.get_query_string({way: f"{self._end[0].isoformat()}{SEPARATOR}{self._end[1]}"})
            if way == AFTER:
                self.older, self.searched_to = link, self._end[0]
            else:
                self.newer = link

    _most = MOST_READ
    _hours: list[datetime]
    _end: Place | None = None  # where reading ended before a page was full

    def _read(self, after: str | None, before: str | None) -> tuple[list[Any], bool]:
        if not self.is_search:
            return super()._read(after, before)
        is_backwards = before is not None
        text = before if is_backwards else after
        place = None if text is None else self._place(text)
        rows, order = self._candidates(place, is_backwards)
        if rows is None:
            return [], False
        compared = rows.order_by(*order)[: self._most]
        found = self._compare(compared, order)
        if len(found) <= self.list_per_page:
            self._end = self._end_of(rows.order_by(*order), is_backwards)
        pages = self._rows(found[: self.list_per_page])
        return pages, len(found) > self.list_per_page

    def _candidates(self, place: Place | None, is_backwards: bool) -> tuple[QuerySet[Any] | None, list[str]]:
        """Return which rows are compared and in which order; None: there are none."""
        order = list(self._ordering())
        rows = self.queryset
        is_indexed = self._is_indexed
        for each in self.conditions:
            narrowed = each.index(rows)
            if narrowed is not rows:
                rows, is_indexed = narrowed, True
                break
        if self._is_of_one or is_indexed:
            self._most = MOST_RARE if self._is_of_one and is_indexed else MOST_SCATTERED
        if place is not None:
            rows = rows.filter(self._beyond(place, "gt" if is_backwards else "lt"))
        self._hours = []
        summed = self._summed()
        if is_indexed:
            summed.pop("outcome__in", None)  # the index knows that better
        if is_backwards:
            order = [name.removeprefix("-") for name in order]
        elif summed:
            since, until = self._span()
            until = _earlier(place and place[0], until)
            self._hours = _few_spans(hours_with(summed, enough=MOST_READ, since=since, until=until))
            if not self._hours:
                return None, order
            rows = rows.filter(in_hours(self._hours))
        return rows, order

    def _compare(self, rows: QuerySet[Any], order: list[str]) -> list[Place]:
        """Return the places of those among the rows that are meant, one more than a page has."""
        meant = Q()
        for each in self.conditions:
            meant &= each.condition()
        inner, inner_values = rows.values(*COMPARED).query.sql_with_params()
        wanted = UsageRecord.objects.filter(meant).order_by(*order).values_list("started_at", "request_id")
        outer, outer_values = wanted[: self.list_per_page + 1].query.sql_with_params()
        table = f'FROM "{UsageRecord._meta.db_table}"'
        statement = outer.replace(table, f'FROM ({inner}) AS "{UsageRecord._meta.db_table}"', 1)
        with connection.cursor() as cursor:
            cursor.execute(statement, (*inner_values, *outer_values))
            return cursor.fetchall()

    def _end_of(self, rows: QuerySet[Any], is_backwards: bool) -> Place | None:
        """Return where reading had to end; None: all was read."""
        last: Place | None = rows.values_list("started_at", "request_id")[self._most - 1 : self._most].first()
        if last is not None or is_backwards or not self._hours:
            return last
        earliest = min(self._hours)
        since, _ = self._span()
        has_more = hours_with(self._summed(), enough=1, since=since, until=earliest - timedelta(microseconds=1))
        return (earliest, LAST_ID) if has_more else None

    def _rows(self, places: list[Place]) -> list[Any]:
        """Return the records at these places, newest first."""
        if not places:
            return []
        moments, ids = zip(*places, strict=True)
        found = self.queryset.filter(started_at__in=set(moments), pk__in=ids)
        return list(found.order_by(*self._ordering()))


def in_hours(hours: list[datetime]) -> Q:
    """Return the condition of records in these hours, as few spans of time."""
    spans = _spans(hours)
    condition = Q()
    for begins, ends in spans:
        condition |= Q(started_at__gte=begins, started_at__lt=ends)
    return Q(started_at__gte=spans[0][0], started_at__lt=spans[-1][1]) & condition


def _spans(hours: list[datetime]) -> list[list[datetime]]:
    spans: list[list[datetime]] = []
    for hour in sorted(hours):
        if spans and spans[-1][1] == hour:
            spans[-1][1] = hour + timedelta(hours=1)
        else:
            spans.append([hour, hour + timedelta(hours=1)])
    return spans


def _few_spans(hours: list[datetime]) -> list[datetime]:
    """Return the latest hours, in so many spans of time."""
    spans = _spans(hours)[-MOST_SPANS:]
    return [hour for hour in hours if hour >= spans[0][0]] if spans else []


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    moments = [moment for moment in (one, other) if moment is not None]
    return min(moments) if moments else None
