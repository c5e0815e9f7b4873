"""GET /api/v1/usage, of the control plane: usage of all tenants for operators, of their own for members."""

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Query, Router, Schema
from ninja.errors import HttpError, ValidationError
from pydantic import Field

from tenants.report_files import as_csv, as_json
from tenants.report_question import GROUPS, MOST_ROWS, USUAL_ROWS, ReportRefused, read_question, single_values
from tenants.reports import Report, usage_report, without
from tenants.standing import standing_of

router = Router(tags=["usage"])
PERMISSION = "tenants.view_usageday"
OPERATORS_MONEY = ("cost_price", "margin")


class UsageQuestion(Schema):
    """What the report is to tell. Read and checked by `read_question`; here for the documentation."""

    group_by: str = Field("day", description=f"One of {', '.join(GROUPS)}.")
    from_: str = Field("", alias="from", description="A day, or a full hour such as 2026-11-30T13:00Z.")
    to: str = Field("", description="A day, which is included, or a full hour, which is not.")
    tenant: str = Field("", description="Only this one's: its slug.")
    tenant_id: str = Field("", description="The same by its id, also of one that was deleted.")
    project: str = Field("", description="Only this slug.")
    api_key: str = Field("", description="Only this id.")
    end_user: str = Field("", description="Only this one.")
    model: str = Field("", description="Only this alias.")
    provider: str = Field("", description="Only this slug.")
    deployment: str = Field("", description="Only this slug.")
    currency: str = Field("", description="Only this one, such as USD.")
    order: str = Field("key", description="key, or cost: the most expensive first.")
    limit: str = Field(str(USUAL_ROWS), description=f"How many rows, {MOST_ROWS} at most.")
    after: str = Field("", description="`next` of the answer before.")
    format: str = Field("json", description="json or csv.")


def may_see_usage(user: Any) -> bool:
    """Operators and members that may view daily usage."""
    return standing_of(user).is_somebody and bool(user.has_perm(PERMISSION))


def report_for(user: Any, parameters: Mapping[str, str]) -> Report:
    """Return what somebody asks for; members learn of their own tenant only, and not what the operator pays."""
    standing = standing_of(user)
    report = usage_report(read_question(parameters, now=timezone.now(), only=standing.tenant))
    return report if standing.is_operator else without(report, OPERATORS_MONEY)


@router.get("/usage", summary="Usage by tenant, project, API key, end user, model, provider, deployment, day or hour")
def get_usage(request: HttpRequest, asked: Query[UsageQuestion]) -> HttpResponse:
    """From hourly and daily sums. Currencies are never added up: every row and every total is of one."""
    if not may_see_usage(request.user):
        raise HttpError(403, "Usage takes the right to view daily usage.")
    try:
        report = report_for(request.user, single_values(request.GET))
    except ReportRefused as error:
        raise ValidationError([{"loc": (error.parameter,), "msg": error.message}]) from None
    question = report.question
    headers = {"cache-control": "no-store"}
    if report.next is not None:
        following = request.GET.copy()
        following["after"] = report.next
        headers["link"] = f'<{request.path}?{following.urlencode()}>; rel="next"'
    if question.format == "csv":
        headers["content-disposition"] = f'attachment; filename="{file_name(report)}"'
        return HttpResponse(as_csv(report), content_type="text/csv; charset=utf-8", headers=headers)
    return HttpResponse(as_json(report), content_type="application/json", headers=headers)


def file_name(report: Report) -> str:
    """Return what an export is called; one that is not the whole report says so."""
    question = report.question
    part = "-part" if report.next is not None or question.after is not None else ""
    return f"usage-by-{question.group_by.replace('_', '-')}-{question.begins:%Y-%m-%d}{part}.csv"
