"""GET /api/v1/usage: who may ask, what is refused, and that a link leads on."""

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission
from django.db import transaction
from django.test import Client

from tenants.ledger import write_records
from tenants.models import Tenant, User
from tenants.usage_event import UsageEvent

pytestmark = pytest.mark.django_db

URL = "/api/v1/usage"


def browser(**user: Any) -> Client:
    client = Client()
    client.force_login(User.objects.create_user(**user))
    return client


@pytest.fixture
def operator(db: None) -> Client:
    return browser(username="operator", is_staff=True, is_superuser=True)


@pytest.fixture
def _used(alice: Tenant, charlie: Tenant) -> None:
    now = datetime.now(UTC).timestamp()
    with transaction.atomic():
        write_records(
            [
                UsageEvent(
                    request_id=uuid4().hex,
                    started_at=now,
                    tenant_id=tenant.pk,
                    api_key_id=tenant.pk,
                    end_user=end_user,
                    dialect="openai_chat",
                    alias="smart",
                    provider="openai",
                    deployment="large",
                    status=200,
                    outcome="served",
                    cost_status="exact",
                    latency_ms=1,
                    input_tokens=3,
                    cost=Decimal("0.000000002"),
                    cost_price=Decimal("0.000000001"),
                )
                for tenant, end_user in ((alice, "dora"), (alice, "=1+1"), (charlie, "dora"))
            ]
        )


used = pytest.mark.usefixtures("_used")


@used
def test_an_operator_reads_the_usage_of_all_tenants(operator):
    answer = operator.get(URL, {"group_by": "tenant"})
    assert answer.status_code == 200
    assert answer["content-type"] == "application/json"
    assert answer["cache-control"] == "no-store"
    report = answer.json()
    rows = {row["tenant"]: row for row in report["rows"]}
    assert rows["alice"]["requests"] == 2
    assert rows["alice"]["cost"] == "0.000000004"
    assert rows["alice"]["margin"] == "0.000000002"
    assert [total["requests"] for total in report["totals"]] == [3]
    assert report["next"] is None


@used
@pytest.mark.parametrize("form", ["json", "csv"])
def test_charlies_report_has_nothing_of_alices(operator, form):
    for group_by in ("tenant", "api_key", "end_user", "project"):
        text = operator.get(URL, {"group_by": group_by, "tenant": "charlie", "format": form}).content.decode()
        assert "charlie" in text
        assert "alice" not in text
        assert "1+1" not in text


@used
def test_csv_is_a_file_that_no_spreadsheet_runs(operator):
    answer = operator.get(URL, {"group_by": "end_user", "format": "csv"})
    assert answer["content-type"] == "text/csv; charset=utf-8"
    assert answer["content-disposition"].startswith('attachment; filename="usage-by-end-user-')
    cells = [row["end_user"] for row in csv.DictReader(io.StringIO(answer.content.decode(), newline=""))]
    assert sorted(cells) == ["'=1+1", "dora", "dora"]


@used
@pytest.mark.parametrize("form", ["json", "csv"])
def test_a_link_leads_to_the_next_page(operator, form):
    url, pages = f"{URL}?group_by=end_user&limit=2&format={form}", []
    while url:
        answer = operator.get(url)
        pages.append(answer.content.decode().count("USD") - answer.content.decode().count('"totals":[{'))
        url = answer["link"].partition(">")[0].lstrip("<") if "link" in answer else None
        assert form == "json" or "-part.csv" in answer["content-disposition"]
    assert pages == [2, 1]


@pytest.mark.parametrize(
    ("parameter", "query"),
    [
        ("group_by", "group_by=colour"),
        ("colour", "colour=red"),
        ("from", "from=soon"),
        ("to", "from=2026-01-02&to=2026-01-01"),
        ("tenant", "tenant=nobody"),
        ("tenant", "tenant=a&tenant=b"),
        ("api_key", "api_key=x"),
        ("end_user", "end_user=%00"),
        ("limit", "limit=-1"),
        ("after", "after=x"),
        ("format", "format=xml"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_named(operator, parameter, query):
    answer = operator.get(f"{URL}?{query}")
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["code"] == "invalid_request"
    assert [each["field"] for each in error["fields"]] == [parameter]
    assert error["message"].startswith(f"{parameter}: ")


@pytest.mark.usefixtures("_used")
@pytest.mark.parametrize("form", ["json", "csv"])
def test_a_member_reads_their_own_tenant_s_usage_and_not_what_the_operator_pays(bob: User, charlie: Tenant, form):
    member = Client()
    member.force_login(bob)
    answer = member.get(f"{URL}?group_by=tenant&format={form}").content.decode()
    assert "alice" in answer
    for secret in ("charlie", "cost_price", "margin", "0.000000001"):
        assert secret not in answer
    own = member.get(f"{URL}?group_by=tenant&tenant=alice").json()
    assert [(row["tenant"], row["requests"]) for row in own["rows"]] == [("alice", 2)]
    for query in (f"tenant_id={charlie.pk}", "tenant=charlie", "tenant=nobody"):
        refusal = member.get(f"{URL}?{query}")
        assert refusal.status_code == 422
        assert "you are no member of a tenant" in refusal.json()["error"]["message"]


def test_strangers_read_nothing(alice: Tenant):
    assert Client().get(URL).status_code == 401
    nobody = browser(username="nobody")
    assert nobody.get(URL).status_code == 401
    assert Client().get(URL, headers={"authorization": "Bearer tg_x"}).status_code == 401


def test_staff_needs_the_right_to_view_usage():
    client = browser(username="eve", is_staff=True)
    assert client.get(URL).status_code == 403
    User.objects.get(username="eve").user_permissions.add(Permission.objects.get(codename="view_usageday"))
    assert client.get(URL).status_code == 200


def test_it_only_reads(operator):
    for method in (operator.post, operator.put, operator.delete):
        assert method(URL).status_code == 405


def test_it_is_documented(operator):
    described = operator.get("/api/openapi.json").json()["paths"]["/api/v1/usage"]["get"]
    assert {each["name"] for each in described["parameters"]} >= {"group_by", "from", "to", "tenant", "after", "format"}
