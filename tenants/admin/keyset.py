"""Lists that are paged by where the last page ended: the thousandth reads no more than the first, and none is counted."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from gateway_site.infra.admin import LedgerAdmin, QuietChangeList, UncountedPaginator

AFTER, BEFORE = "after", "before"
SEPARATOR = "~"
LARGEST_KEY = 2**63 - 1


class KeysetPaginator(UncountedPaginator):
    """Says which template shows the way on; the list itself finds its rows."""

    template_name = "admin/includes/keyset_pagination.html"


class KeysetChangeList(QuietChangeList):
    """A list in the order of its model, newest first, that goes on after a row or before one."""

    older: str | None = None  # links
    newer: str | None = None
    newest: str | None = None

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        """Leave out where the page begins: with another filter it means nothing."""
        for name in (AFTER, BEFORE):
            self.filter_params.pop(name, None)
        if any("\0" in value for values in self.filter_params.values() for value in values):
            raise IncorrectLookupParameters  # Postgres would
        return super().get_filters_params(params)

    def get_results(self, request: HttpRequest) -> None:
        """Read one row more than is shown, to know whether there are others."""
        after, before = request.GET.get(AFTER), request.GET.get(BEFORE)
        rows, has_more = self._read(after, before)
        if before is None:
            has_older, has_newer = has_more, after is not None
        else:
            has_older, has_newer = True, has_more
        self.older = self._link(AFTER, rows[-1]) if rows and has_older else None
        self.newer = self._link(BEFORE, rows[0]) if rows and has_newer else None
        self.newest = self.get_query_string() if after is not None or before is not None else None
        self.result_list = rows
        self.result_count = self.full_result_count = len(rows)
        self.show_full_result_count = self.can_show_all = False
        self.show_admin_actions = self.multi_page = True
        self.paginator = KeysetPaginator(rows, self.list_per_page)

    def narrowed(self, found: QuerySet[Any], place: Any, is_backwards: bool) -> QuerySet[Any]:
        """Make it quicker to find the rows behind a place (None: the beginning), if there is a way; the same rows."""
        return found

    def _read(self, after: str | None, before: str | None) -> tuple[list[Any], bool]:
        found, place = self.queryset.order_by(*self._ordering()), None
        if before is not None or after is not None:
            place = self._place(after if before is None else before)
            found = found.filter(self._beyond(place, "lt" if before is None else "gt"))
        if before is not None:
            found = found.reverse()
        rows = list(self.narrowed(found, place and place[0], before is not None)[: self.list_per_page + 1])
        shown = rows[: self.list_per_page]
        return (shown if before is None else shown[::-1]), len(rows) > self.list_per_page

    def _ordering(self) -> tuple[str, str]:
        time, key = self.lookup_opts.ordering
        return time, key

    def _fields(self) -> tuple[str, str]:
        time, key = (name.lstrip("-") for name in self._ordering())
        return time, key

    def _place(self, text: Any) -> tuple[Any, Any]:
        """Read a row's time and key."""
        try:
            moment, number = (
                self.lookup_opts.get_field(name).to_python(part)
                for name, part in zip(self._fields(), text.split(SEPARATOR), strict=True)
            )
        except (ValidationError, ValueError, OverflowError):
            raise IncorrectLookupParameters from None
        is_place = isinstance(moment, date) and not (isinstance(moment, datetime) and moment.tzinfo is None)
        if not is_place or (isinstance(number, int) and abs(number) > LARGEST_KEY):
            raise IncorrectLookupParameters
        return moment, number

    def _beyond(self, place: tuple[Any, Any], way: str) -> Q:
        """Return the condition of all rows behind a place; the first part of it is what an index needs."""
        (time, key), (moment, number) = self._fields(), place
        return Q(**{f"{time}__{way}e": moment}) & (Q(**{f"{time}__{way}": moment}) | Q(**{f"{key}__{way}": number}))

    def _link(self, name: str, row: Any) -> str:
        time, key = self._fields()
        return self.get_query_string({name: f"{getattr(row, time).isoformat()}{SEPARATOR}{getattr(row, key)}"})


class KeysetAdmin(LedgerAdmin):
    """A large table that is only ever read, newest first."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        return KeysetChangeList
