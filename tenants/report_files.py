"""Reports as files. Amounts are written with all their digits, and never as floats."""

import csv
import io
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from gateway_site.infra.spreadsheet import harmless
from tenants.reports import FIGURES, Report

# A spreadsheet takes text that begins so for a formula, and runs it (https://owasp.org/www-community/attacks/CSV_Injection).
# Clients choose names of end users and models.


def as_json(report: Report) -> bytes:
    """Return a page of a report, amounts as strings."""
    question = report.question
    return msgspec.json.encode(
        {
            "group_by": question.group_by,
            "from": _moment(question.begins),
            "to": _moment(question.ends),
            "rows": [_plain({name: row[name] for name in report.columns}) for row in report.rows],
            "totals": [_plain(total) for total in report.totals],
            "next": report.next,
        }
    )


def as_csv(report: Report) -> bytes:
    """Return a page of a report with a line of headings; text cannot be taken for a formula."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(report.columns)
    writer.writerows(_cells(report.columns, report.rows))
    return file.getvalue().encode(errors="replace")


def _cells(columns: tuple[str, ...], rows: Iterable[Mapping[str, Any]]) -> Iterable[list[str]]:
    for row in rows:
        yield [_plain_value(row[name]) if name in FIGURES else harmless(str(_or_empty(row[name]))) for name in columns]


def _or_empty(value: Any) -> Any:
    return "" if value is None else value


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain_value(value) if isinstance(value, Decimal) else value for name, value in row.items()}


def _plain_value(value: Any) -> str:
    if not isinstance(value, Decimal):
        return str(value)
    return f"{value.normalize():f}" if value else "0"


def _moment(moment: Any) -> str:
    return f"{moment:%Y-%m-%dT%H:%MZ}"
