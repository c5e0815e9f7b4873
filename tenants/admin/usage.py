"""The page /admin/usage: who used how much, what it cost and what it earned, with links to the same as CSV and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, QueryDict
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from gateway_site.infra.table import table
from tenants.admin.scope import standing_in
from tenants.admin.trace import words
from tenants.dashboard_words import amount
from tenants.models import Tenant
from tenants.report_api import may_see_usage, report_for
from tenants.report_question import GROUPS, MOST_ROWS, Question, ReportRefused, read_question, single_values
from tenants.reports import MONEY, Report, is_coarse

TITLE = "Usage report"
ROWS = 100
EXPORT = "/api/v1/usage"
DAYS_OF_KEYS = 5  # of all tenants' keys together
LABELS = {
    "api_key": "API key",
    "end_user": "End user",
    "model": "Model",
    "input_tokens": "Input",
    "output_tokens": "Output",
    "reasoning_tokens": "Reasoning",
    "cost_price": "What we pay",
}
MAIN_FIELDS = ("group_by", "from", "to", "order")  # the others stand behind a fold
HIDDEN = frozenset({"tenant_id", "api_key_id", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens"})


def _text(label: str, hint: str = "") -> forms.CharField:
    return forms.CharField(required=False, label=label, widget=UnfoldAdminTextInputWidget({"placeholder": hint}))


class UsageForm(forms.Form):
    """What can be asked; `read_question` checks it."""

    group_by = forms.ChoiceField(
        choices=[(name, LABELS.get(name, name.capitalize())) for name in GROUPS],
        label="By",
        widget=UnfoldAdminSelectWidget,
    )
    order = forms.ChoiceField(
        choices=[("key", "Name or time"), ("cost", "Cost, highest first")],
        label="Order",
        widget=UnfoldAdminSelectWidget,
    )
    tenant = _text("Tenant", "slug")
    project = _text("Project", "slug")
    api_key = _text("API key", "id")
    end_user = _text("End user")
    model = _text("Model", "alias")
    provider = _text("Provider", "slug")
    deployment = _text("Deployment", "slug")
    currency = _text("Currency", "USD")

    def __init__(self, *args: Any, is_of_all: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Named as Python does not let attributes be.
        times = {"from": _text("From"), "to": _text("To, included")}
        self.fields = {"group_by": self.fields.pop("group_by"), **times, **self.fields}
        if not is_of_all:  # who has one tenant does not choose one
            del self.fields["tenant"]
            group_by: Any = self.fields["group_by"]
            group_by.choices = [choice for choice in group_by.choices if choice[0] != "tenant"]


def usage_page(request: HttpRequest) -> HttpResponse:
    """Show a page of a report."""
    if not may_see_usage(request.user):
        raise PermissionDenied
    is_of_all = standing_in(request).is_operator
    initial = {"group_by": "day", "order": "key", **request.GET.dict()}
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": TITLE,
        "form": UsageForm(initial=initial, is_of_all=is_of_all),
        "is_of_all": is_of_all,
        "main_fields": MAIN_FIELDS,
        "is_narrowed": any(value for name, value in request.GET.items() if name not in MAIN_FIELDS),
    }
    try:
        span = _span(single_values(request.GET), standing_in(request).tenant)
        report = report_for(request.user, {**single_values(request.GET), **span, "limit": f"{ROWS}"})
    except ReportRefused as error:
        refused = context["form"].fields.get(error.parameter)
        told = f"{refused.label}: {error.message}" if refused is not None else str(error)
        context |= {"error": told, "refused": error.parameter}
        return TemplateResponse(request, "admin/usage.html", context, status=422)
    for name, moment in zip(("from", "to"), _edges(report.question), strict=True):
        context["form"].fields[name].widget.attrs["placeholder"] = moment  # of which time it tells when nobody says
    return TemplateResponse(request, "admin/usage.html", {**context, **_shown(report, request.GET, span)})


def _edges(question: Question) -> tuple[str, str]:
    """The first and the last day that a report tells of; where it knows hours, when the first begins and the last ends."""
    if question.is_of_hours:
        return f"{question.begins:%Y-%m-%dT%H:%MZ}", f"{question.ends:%Y-%m-%dT%H:%MZ}"
    return f"{question.begins:%Y-%m-%d}", f"{question.ends - timedelta(days=1):%Y-%m-%d}"


def _span(parameters: Mapping[str, str], only: Tenant | None) -> dict[str, str]:
    """Return from when on a page tells what is too much for the usual time; raises ReportRefused where more is asked."""
    question = read_question(parameters, now=timezone.now(), only=only)
    most = _most_days(question)
    if most is None or question.ends - question.begins <= timedelta(days=most):
        return {}
    if not any(parameters.get(name, "").strip() for name in ("from", "to")):
        return {"from": f"{question.ends - timedelta(days=most):%Y-%m-%d}"}
    name = LABELS.get(question.group_by, question.group_by.capitalize())
    days = "one day" if most == 1 else f"{most} days"
    hint = "choose a tenant or a shorter time, or export it: that has no such limit."
    raise ReportRefused("from", f"{name} of all tenants: {days} at most on one page; {hint}")


def _most_days(question: Question) -> int | None:
    """How many days a page tells of; None: all that are asked for, since few rows know them."""
    if is_coarse(question) or "tenant_id" in question.filters:
        return None
    if question.is_of_end_users or question.is_of_hours:
        return 1
    return None if "api_key_id" in question.filters else DAYS_OF_KEYS


def _shown(report: Report, query: QueryDict, span: Mapping[str, str]) -> dict[str, Any]:
    columns = [name for name in report.columns if name not in HIDDEN]
    totals = [name for name in columns if report.totals and name in report.totals[0]]
    return {
        "report": report,
        "edges": _edges(report.question),
        "rows": _table(columns, report.rows) if report.rows else None,
        "totals": _table(totals, report.totals) if report.totals else None,
        "next": _address("", query, after=report.next) if report.next is not None else None,
        "first": _address("", query, after=None) if report.question.after is not None else None,
        "as_csv": _address(EXPORT, query, after=None, limit=f"{MOST_ROWS}", format="csv", **span),
        "as_json": _address(EXPORT, query, after=None, limit=f"{MOST_ROWS}", format="json", **span),
    }


def _table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> SafeString:
    """Rows with a heading, numbers at the right."""
    numbers = [isinstance(rows[0][name], int | Decimal) for name in columns]

    def line(cells: Iterable[str]) -> list[dict[str, str]]:
        pairs = zip(cells, numbers, strict=True)
        return [{"content": cell, "class": "number" if is_number else ""} for cell, is_number in pairs]

    headings = line(LABELS.get(name, words(name).capitalize()) for name in columns)
    return table(headings, (line(_cell(row, name) for name in columns) for row in rows))


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row[name]
    if value is None:
        return f"deleted ({row[f'{name}_id']})"
    if name in MONEY:
        return amount(value)
    return f"{value:,}" if isinstance(value, int | Decimal) else str(value)


def _address(path: str, query: QueryDict, **changes: str | None) -> str:
    """Return the same report elsewhere or otherwise."""
    parameters = query.copy()
    for name, value in changes.items():
        parameters.pop(name, None)
        if value is not None:
            parameters[name] = value
    return f"{path}?{parameters.urlencode()}"
