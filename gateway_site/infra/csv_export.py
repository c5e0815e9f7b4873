"""Lists as CSV files: what the filters show, cell by cell as harmless text, up to a limit that the file itself tells."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.utils import timezone
from unfold.decorators import action

from gateway_site.infra.spreadsheet import harmless

MOST_ROWS = 50_000
ROWS_AT_ONCE = 1_000


class CsvMixin:
    """A list with a button "Export as CSV"; it has what `get_queryset` shows whoever asks, and nothing else."""

    csv_fields: tuple[str, ...] = ()  # of the model, or of what it refers to: tenant__slug

    @action(description="Export as CSV", icon="download", permissions=["view"], url_path="export.csv")
    def export_csv(self, request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
        """The list with the filters of the address; the browser's script hands them on."""
        page: Any = self
        try:
            changes = page.get_changelist_instance(request)
        except IncorrectLookupParameters:
            return HttpResponseRedirect("../")
        rows = changes.get_queryset(request).values_list(*self.csv_fields)
        name = f"{page.opts.model_name}-{timezone.now():%Y-%m-%d}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
        content = as_csv(self.csv_fields, rows[: MOST_ROWS + 1].iterator(chunk_size=ROWS_AT_ONCE))
        return StreamingHttpResponse(content, content_type="text/csv; charset=utf-8", headers=headers)


def as_csv(headings: Iterable[str], rows: Iterable[Iterable[Any]]) -> Iterator[bytes]:
    """Yield a file in parts; a last line tells when it has not everything."""
    yield _lines([[heading.replace("__", ".") for heading in headings]])
    left, rows = MOST_ROWS, iter(rows)
    while left > 0 and (part := list(islice(rows, min(ROWS_AT_ONCE, left)))):
        left -= len(part)
        yield _lines([[cell(value) for value in row] for row in part])
    if next(rows, None) is not None:
        yield _lines([[f"Only the first {MOST_ROWS} rows; narrow the list to see the others."]])


def cell(value: Any) -> str:
    """A value as text that no program takes for a formula."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case Decimal():
            return f"{value.normalize():f}" if value else "0"
        case int() | float():
            return str(value)
        case datetime():
            return value.isoformat()
        case list() | tuple():
            return harmless(", ".join(map(str, value)))
    return harmless(str(value))


def _lines(rows: Iterable[Iterable[str]]) -> bytes:
    file = io.StringIO()
    csv.writer(file, lineterminator="\r\n").writerows(rows)
    return file.getvalue().encode(errors="replace")
