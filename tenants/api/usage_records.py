"""GET /api/v1/usage-records: single requests, newest first. Sums are at /api/v1/usage."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Query, Router, Schema
from pydantic import Field

from tenants.api.access import permit, standing_in, visible
from tenants.api.audit_events import aware
from tenants.api.errors import not_found
from tenants.api.paging import Page, check_parameters, page_of
from tenants.api.resource import PROBLEMS, page_answer
from tenants.api.schema import Leaf, Text, Whole, leaf_of, model_of, plain
from tenants.models import UsageRecord

router = Router(tags=["usage-records"])
PERMISSION = "tenants.view_usagerecord"
USUAL_SPAN = timedelta(days=7)
# What the operator pays and how it was routed is no tenant's business; the console's page hides the same.
OPERATORS = frozenset({"cost_price", "reported_cost", "attempts", "trace", "revision", "worker"})
LONG = frozenset({"attempts", "losses", "trace", "units", "budgets"})  # only of one record
EXACT = {
    "tenant": "tenant__slug",
    "model": "alias",
    "provider": "provider",
    "deployment": "deployment",
    "outcome": "outcome",
    "cost_status": "cost_status",
    "end_user": "end_user",
    "project": "project",
    "correlation_id": "correlation_id",
}


class RecordQuery(Page):
    """Which requests."""

    from_: datetime | None = Field(None, alias="from", description="Not before this moment; usually 7 days ago.")
    to: datetime | None = Field(None, description="Before this moment.")
    tenant: Text = Field("", description="Only of this tenant: its slug.")
    project: Text = Field("", description="Only of this project: its slug.")
    api_key: Whole | None = Field(None, ge=1, le=2**63 - 1, description="Only with this API key: its id.")
    end_user: Text = ""
    model: Text = Field("", description="Only for this alias.")
    provider: Text = ""
    deployment: Text = ""
    outcome: Text = Field("", description=f"One of {', '.join(UsageRecord.Outcome.values)}.")
    cost_status: Text = Field("", description="exact, estimated or unpriced.")
    status: Whole | None = Field(None, ge=0, le=999, description="The HTTP status.")
    correlation_id: Text = ""


NAMES = [field.name for field in UsageRecord._meta.concrete_fields if field.name not in {"tenant", "api_key"}]
LEAVES = {name: leaf_of(UsageRecord, name, is_answer=True) for name in NAMES} | {
    "request_id": Leaf(annotation=UUID),
    "corrects": Leaf(annotation=UUID | None, description="The record whose cost this one corrects."),
    "tenant_id": Leaf(annotation=int),
    "api_key_id": Leaf(annotation=int),
}
Record = model_of("UsageRecordAnswer", LEAVES, base=Schema)
RecordPage = page_answer("usage record", Record)


@router.get(
    "/usage-records",
    response={200: RecordPage, **PROBLEMS},
    summary="Single requests, newest first",
    operation_id="list_usage_records",
    exclude_unset=True,
)
def list_records(request: HttpRequest, response: HttpResponse, asked: Query[RecordQuery]) -> Any:
    """Without what is long: attempts, losses, trace, units and budgets stand in single records."""
    permit(request, PERMISSION)
    check_parameters(request, {"limit", "after", "from", "to", "api_key", "status", *EXACT})
    found, following = page_of(request, response, _asked(request, asked), asked, ("-started_at", "-request_id"))
    return {"items": [_shown(request, record, LONG) for record in found], "next": following}


def _asked(request: HttpRequest, asked: RecordQuery) -> QuerySet[UsageRecord]:
    rows = visible(request, UsageRecord.objects.defer(*LONG), "tenant")
    # Never all of time: a page reads few partitions.
    begins = aware(asked.from_) if asked.from_ is not None else timezone.now() - USUAL_SPAN
    rows = rows.filter(started_at__gte=begins)
    if asked.to is not None:
        rows = rows.filter(started_at__lt=aware(asked.to))
    for name, lookup in EXACT.items():
        if name in request.GET:
            rows = rows.filter(**{lookup: getattr(asked, name)})
    numbers = {"api_key_id": asked.api_key, "status": asked.status}
    return rows.filter(**{name: value for name, value in numbers.items() if value is not None})


@router.get(
    "/usage-records/{uuid:request_id}",
    response={200: Record, **PROBLEMS},
    summary="One request",
    operation_id="get_usage_record",
    exclude_unset=True,
)
def get_record(request: HttpRequest, request_id: UUID) -> Any:
    """By its id, which the answer's header `x-request-id` told."""
    permit(request, PERMISSION)
    check_parameters(request, set())
    found = visible(request, UsageRecord.objects.filter(pk=request_id), "tenant").first()
    if found is None:
        raise not_found("usage record", request_id)
    return _shown(request, found, frozenset())


def _shown(request: HttpRequest, record: UsageRecord, left_out: frozenset[str]) -> dict[str, Any]:
    hidden = left_out if standing_in(request).is_operator else left_out | OPERATORS
    return {name: plain(getattr(record, name)) for name in LEAVES if name not in hidden}
