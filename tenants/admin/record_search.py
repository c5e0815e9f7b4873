"""How requests are found: by indexes, by hours that the sums name, or among so many rows and no more.

No index knows all that is looked for. What the hourly sums know tells in which hours the records are; what several
indexes know is merged (`record_lists.py`). The rest is compared row by row, newest first, among so many rows at most;
then the list says how far it has looked, and goes on from there.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.core.exceptions import EmptyResultSet
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from tenants.admin.keyset import AFTER, BEFORE, SEPARATOR, KeysetChangeList
from tenants.admin.record_filters import Condition, Edge, StartedFilter
from tenants.admin.record_lists import MOST_MET, Place, compare, meet, useful
from tenants.admin.scope import standing_in
from tenants.models import ApiKey, UsageRecord
from tenants.reports import hours_with
from tenants.retention import stored_days

MOST_READ = 20_000  # rows that are compared for one page, where they lie in their order
MOST_SPANS = 60  # of time, in one query
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


class RecordChangeList(KeysetChangeList):
    """Requests, newest first."""

    only_tenant: int | None = None  # of a member
    conditions: list[Condition]
    of_time: QuerySet[UsageRecord]  # those of the times that are looked in, whosever they are
    searched_to: datetime | None = None  # there may be more beyond

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        found: QuerySet[Any] = super().get_queryset(request, exclude_parameters)
        self.only_tenant = standing_in(request).tenant_id
        self.of_time = UsageRecord.objects.all()
        for spec in self.filter_specs:
            if isinstance(spec, (StartedFilter, Edge)):
                self.of_time = spec.queryset(request, self.of_time)
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
        return bool(self.conditions) and not self.query and not all(map(self._is_quick, self.conditions))

    @property
    def _is_of_one(self) -> bool:
        """Whether only one tenant's or one key's are looked for."""
        return bool(self.only_tenant or any(self._given(name) for name in SUMMED))

    def _given(self, name: str) -> Any:
        return self.filter_params.get(name, [""])[-1]

    def _is_quick(self, each: Condition) -> bool:
        """Whether the sums are asked, which know all of it."""
        if not each.summed():
            return False
        if len(self.conditions) > 1 and self._indexes():  # which are quicker than the sums of each key
            return each.is_summed_of_all and not each.index
        return self._is_of_one or each.is_summed_of_all

    # --- With the sums ---------------------------------------------------------------------------------------

    def narrowed(self, found: QuerySet[Any], place: Any, is_backwards: bool) -> QuerySet[Any]:
        summed = self._summed()
        if self.query or not summed:
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
        summed: dict[str, Any] = {SUMMED[name]: self._given(name) for name in SUMMED if self._given(name)}
        for each in filter(self._is_quick, self.conditions):
            summed |= each.summed()
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
        found = self._found(None if text is None else self._place(text), is_backwards)
        return self._rows(found[: self.list_per_page]), len(found) > self.list_per_page

    def _found(self, place: Place | None, is_backwards: bool) -> list[Place]:
        """Return the places of what is meant, one more than a page has; and note where reading ended."""
        order = list(self._ordering())
        order = [name.removeprefix("-") for name in order] if is_backwards else order
        self._hours = [] if is_backwards else self._known_hours(place)
        if self._known and not self._hours and not is_backwards:
            return []
        try:
            found, end = self._searched(place, is_backwards, order)
        except EmptyResultSet:  # of nobody
            return []
        if len(found) <= self.list_per_page:
            self._end = end or (None if is_backwards else self._end_of_hours())
        return found

    def _searched(self, place: Place | None, is_backwards: bool, order: list[str]) -> tuple[list[Place], Place | None]:
        """Search the merged indexes if there are several, else the rows of the only one, or all rows."""
        behind = self._behind(place, is_backwards)
        meant, enough = self._meant(), self.list_per_page + 1
        lists = self._lists(behind)
        if len(lists) > 1:
            near = place[0] if place else self._span()[1] or datetime.now(UTC)
            return meet(useful(lists, order, near), self.queryset, meant, order, enough)
        rows = self._narrowest(self.queryset.filter(behind))
        return compare(rows, min(self._most, MOST_MET) if lists else self._most, meant, order, enough)

    def _behind(self, place: Place | None, is_backwards: bool) -> Q:
        """Return the condition of the rows behind a place, in the hours that they can be in."""
        behind = Q() if place is None else self._beyond(place, "gt" if is_backwards else "lt")
        return behind & in_hours(self._hours) if self._hours else behind

    def _meant(self) -> Q:
        meant = Q()
        for each in self.conditions:
            meant &= each.condition()
        return meant

    def _indexes(self) -> list[str]:
        """Return the partial indexes that hold all that is meant."""
        return list(dict.fromkeys(each.index for each in self.conditions if each.index))

    def _narrowest(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows of a partial index, if there is one."""
        for name in self._indexes():
            rows = getattr(rows, name)()
        return rows

    def _lists(self, behind: Q) -> list[QuerySet[Any]]:
        """Return what the indexes have that tell of what is meant: that of keys or tenants, and partial ones."""
        rows = self.of_time.filter(behind)
        lists = [getattr(rows, name)() for name in self._indexes()]
        tenant = self.only_tenant or self._given("tenant__id__exact")
        if key := self._given("api_key__id__exact"):
            lists.append(rows.filter(api_key=key))
        elif tenant:
            lists.append(rows.filter(tenant=tenant))
        return lists

    @cached_property
    def _known(self) -> dict[str, Any]:
        """Return what the sums know that no index of records does."""
        known = self._summed()
        return known if known.keys() - SUMMED.values() else {}

    def _known_hours(self, place: Place | None) -> list[datetime]:
        """Return the latest hours, before a place, that have what is looked for; none: nothing is known of them."""
        known = self._known
        if not known:
            return []
        since, until = self._span()
        until = _earlier(place and place[0], until)
        return _few_spans(hours_with(known, enough=MOST_READ, since=since, until=until))

    def _end_of_hours(self) -> Place | None:
        """Return where the hours end that were searched; None: there are no others."""
        if not self._hours:
            return None
        earliest = min(self._hours)
        since, _ = self._span()
        has_more = hours_with(self._known, enough=1, since=since, until=earliest - timedelta(microseconds=1))
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
