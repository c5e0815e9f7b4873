"""GET /api/v1/usage-records: single requests, newest first. Sums are at /api/v1/usage."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Query, Router, Schema
from pydantic import Field

from tenants.api.access import permit, standing_in, visible
from tenants.api.errors import PROBLEMS, not_found
from tenants.api.paging import Page, check_parameters, page_answer, page_of, rest_of
from tenants.api.schema import Leaf, Text, Whole, aware, leaf_of, model_of, plain
from tenants.models import Tenant, UsageRecord

router = Router(tags=["usage-records"])
PERMISSION = "tenants.view_usagerecord"
USUAL_SPAN = timedelta(days=7)
# What the operator pays and how it was routed is no tenant's business; the console's page hides the same.
OPERATORS = frozenset({"cost_price", "reported_cost", "attempts", "trace", "revision", "worker"})
LONG = frozenset({"attempts", "losses", "trace", "units", "budgets"})  # only of one record
ORDER = ("-started_at", "-request_id")
# Rows compared for one page: where they lie in their order, on a page of storage each, and far apart in an index.
MOST_READ, MOST_SCATTERED, MOST_RARE = 20_000, 5_000, 1_000
EXACT = {
    "model": "alias",
    "provider": "provider",
    "deployment": "deployment",
    "outcome": "outcome",
    "cost_status": "cost_status",
    "end_user": "end_user",
    "project": "project",
}
FAILED = frozenset(UsageRecord.Outcome.values) - {"served", "client_gone"}


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
    """Without what is long: attempts, losses, trace, units and budgets stand in single records.

    What is rare is looked for among so many records for each page: a page may have fewer than `limit`, or none, and
    still lead on with `next`.
    """
    permit(request, PERMISSION)
    check_parameters(request, {"limit", "after", "from", "to", "tenant", "api_key", "status", "correlation_id", *EXACT})
    is_of_one = standing_in(request).tenant is not None or asked.api_key is not None or "tenant" in request.GET
    rows, ends_at = _compared(_indexed(request, asked), _conditions(request, asked), asked, is_of_one)
    found, following = page_of(request, response, rows, asked, ORDER, ends_at)
    return {"items": [_shown(request, record, LONG) for record in found], "next": following}


def _indexed(request: HttpRequest, asked: RecordQuery) -> QuerySet[UsageRecord]:
    """Return the rows of what indexes know: whose they are, of which time, and what clients called them."""
    rows = visible(request, UsageRecord.objects.defer(*LONG), "tenant")
    # Never all of time: a page reads few partitions.
    begins = aware(asked.from_) if asked.from_ is not None else timezone.now() - USUAL_SPAN
    rows = rows.filter(started_at__gte=begins)
    if asked.to is not None:
        rows = rows.filter(started_at__lt=aware(asked.to))
    if "tenant" in request.GET:
        found = Tenant.objects.filter(slug=asked.tenant).values_list("pk", flat=True).first()
        rows = rows.none() if found is None else rows.filter(tenant=found)
    if asked.api_key is not None:
        rows = rows.filter(api_key=asked.api_key)
    if "correlation_id" not in request.GET:
        return rows
    with suppress(ValueError):  # the gateway's own is the request's id
        own = rows.filter(pk=UUID(asked.correlation_id), correlation_id=asked.correlation_id)
        return rows.called(asked.correlation_id) | own
    return rows.called(asked.correlation_id)


def _conditions(request: HttpRequest, asked: RecordQuery) -> dict[str, Any]:
    """Return what has to be compared row by row."""
    found = {lookup: getattr(asked, name) for name, lookup in EXACT.items() if name in request.GET}
    return found if asked.status is None else found | {"status": asked.status}


def _compared(
    rows: QuerySet[UsageRecord], conditions: dict[str, Any], asked: RecordQuery, is_of_one: bool
) -> tuple[QuerySet[UsageRecord], UsageRecord | None]:
    """Return those of the next rows that are meant, and the row where comparing ends; None: that is all there is."""
    if not conditions:
        return rows, None
    rows, is_of_failed = rest_of(rows, asked, ORDER), _are_failed(conditions)
    if is_of_failed:
        rows = rows.failed()  # type: ignore[attr-defined]  # an index knows these
    most = MOST_READ if not (is_of_one or is_of_failed) else MOST_RARE if is_of_one and is_of_failed else MOST_SCATTERED
    ends_at = rows.only("started_at").order_by(*ORDER)[most - 1 : most].first()
    if ends_at is not None:
        moment = ends_at.started_at
        is_before = Q(started_at__gt=moment) | Q(started_at=moment, request_id__gte=ends_at.pk)
        rows = rows.filter(Q(started_at__gte=moment) & is_before)
    return rows.filter(**conditions), ends_at


def _are_failed(conditions: Mapping[str, Any]) -> bool:
    """Whether only failed requests are meant."""
    status = conditions.get("status", 0)
    return conditions.get("outcome") in FAILED or (status >= 400 and status != 499)  # 499: a client that left


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
