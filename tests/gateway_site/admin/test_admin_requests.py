"""Requests in the console: found by whatever is known of them, explained on their page, their bodies opened by few.

Charlie owns another tenant: he finds nothing of Acme's, and opens nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from providers.models import Deployment, ModelPrice, Provider
from tenants import bodies
from tenants.admin import record_lists, record_search
from tenants.error_words import OWNERS, error_owner
from tenants.kept_body import KeptBody
from tenants.models import ApiKey, AuditEvent, Tenant, UsageRecord, User
from tenants.services import create_key
from tests.gateway_site.people import member_browser
from tests.gateway_site.records import write_record

pytestmark = pytest.mark.django_db

LIST = "/admin/tenants/usagerecord/"
SECRET = "<b>the prompt</b>"


@pytest.fixture
def key(tenant: Tenant) -> ApiKey:
    return create_key(tenant=tenant, name="ci")[0]


def use(tenant: Tenant, seconds_ago: float = 60, **facts: Any) -> UsageRecord:
    found = tenant.api_keys.first() or create_key(tenant=tenant, name="ci")[0]
    values = {
        "started_at": datetime.now(UTC).timestamp() - seconds_ago,
        "api_key_id": found.pk,
        "provider": "anthropic",
        "deployment": "claude",
        "latency_ms": 900,
        "input_tokens": 212,
        "cache_read_tokens": 600,
        "output_tokens": 120,
        "cost": Decimal("0.0041"),
    }
    return write_record(tenant, **values | facts)


def keep(record: UsageRecord) -> None:
    bodies.store(
        [
            KeptBody(
                request_id=record.pk.hex,
                tenant_id=record.tenant_id,
                started_at=record.started_at.timestamp(),
                request=f'{{"content": "{SECRET} of bob@elsewhere.example"}}'.encode(),
                answer=b"data: " + b'{"choices": [{"delta": {"content": "an answer"}}]}\n\n',
                request_size=10**6,
                answer_size=60,
            )
        ]
    )


def page(record: UsageRecord) -> str:
    return reverse("admin:tenants_usagerecord_change", args=[record.pk])


def body(record: UsageRecord) -> str:
    return reverse("admin:tenants_usagerecord_body", args=[record.pk])


# --- The list ------------------------------------------------------------------------------------------------

FILTERS = (
    ({"status": "429"}, {"status": 429, "outcome": "upstream_failed"}),
    ({"status": "4xx"}, {"status": 404, "outcome": "rejected"}),
    ({"status": "5xx"}, {"status": 502, "outcome": "upstream_failed"}),
    ({"owner": "gateway"}, {"outcome": "gateway_failed", "status": 500}),
    ({"owner": "upstream"}, {"outcome": "cut", "error_code": "upstream_cut"}),
    ({"owner": "client"}, {"outcome": "rejected", "status": 400}),
    ({"error_code": "upstream_timeout"}, {"error_code": "upstream_timeout", "outcome": "upstream_failed"}),
    ({"cost": "0.5"}, {"cost": Decimal("0.75")}),
    ({"cost": "1"}, {"cost": Decimal("1.5")}),
    ({"duration": "30"}, {"latency_ms": 31_000}),
    ({"duration": "61"}, {"latency_ms": 62_000}),
    ({"first_token": "2"}, {"first_token_ms": 2_500, "latency_ms": 3_000}),
    ({"streamed": "yes"}, {"is_streamed": True}),
    ({"project": "search"}, {"project": "search"}),
    ({"end_user": "eve"}, {"end_user": "eve"}),
    ({"alias": "fast"}, {"alias": "fast"}),
    ({"provider": "openai"}, {"provider": "openai"}),
    ({"deployment": "mini"}, {"deployment": "mini"}),
    ({"outcome__exact": "cut"}, {"outcome": "cut"}),
    ({"cost_status__exact": "unpriced"}, {"cost_status": "unpriced"}),
)


@pytest.mark.parametrize(("query", "facts"), FILTERS, ids=[str(query) for query, _ in FILTERS])
def test_each_filter_finds_what_it_says(console, tenant, query, facts):
    wanted = use(tenant, 30, **facts)
    for seconds in (10, 50, 7_200):
        use(tenant, seconds)
    for more in ({}, {"period": "all"}, {"api_key__id__exact": str(wanted.api_key_id)}, {"streamed": "no"}):
        found = console.get(LIST, **{**more, **query}).context["cl"].result_list
        is_streamed = facts.get("is_streamed", False) and "streamed" not in query
        assert [row.pk for row in found] == ([] if is_streamed else [wanted.pk])


def test_filters_of_every_kind_go_together(console, tenant):
    wanted = use(tenant, 30, status=502, outcome="upstream_failed", latency_ms=40_000, alias="fast", end_user="eve")
    use(tenant, 30, status=502, outcome="upstream_failed", latency_ms=10, alias="fast", end_user="eve")
    use(tenant, 30, status=502, outcome="upstream_failed", latency_ms=40_000, end_user="eve")
    query = {"status": "5xx", "duration": "30", "alias": "fast", "end_user": "eve", "owner": "upstream"}
    assert [row.pk for row in console.get(LIST, **query).context["cl"].result_list] == [wanted.pk]
    assert not console.get(LIST, **query, translation="lossy").context["cl"].result_list


def test_times_are_from_and_to(console, tenant):
    now = datetime.now(UTC)
    old = use(tenant, 20 * 86_400)
    new = use(tenant, 60)
    day = (now - timedelta(days=20)).date()
    assert [row.pk for row in console.get(LIST, **{"from": f"{day}", "to": f"{day}"}).context["cl"].result_list] == [
        old.pk
    ]
    since = f"{now - timedelta(minutes=5):%Y-%m-%d %H:%M}"
    assert [row.pk for row in console.get(LIST, **{"from": since}).context["cl"].result_list] == [new.pk]
    both = {"from": f"{day}", "alias": "smart", "duration": "0.1"}
    assert [row.pk for row in console.get(LIST, **both).context["cl"].result_list] == [new.pk, old.pk]


def test_the_owner_that_is_filtered_by_is_the_one_that_is_shown(console, tenant):
    for outcome, code, status in (
        ("rejected", "upstream_rejected", 400),
        ("upstream_failed", "upstream_auth_failed", 502),
        ("upstream_failed", "upstream_failed", 502),
        ("upstream_failed", "deadline_exceeded", 504),
        ("cut", "upstream_cut", 200),
        ("lost", "worker_lost", 500),
        ("client_gone", "", 499),
        ("served", "", 200),
    ):
        use(tenant, outcome=outcome, error_code=code, status=status)
    for owner in OWNERS:
        found = console.get(LIST, owner=owner).context["cl"].result_list
        assert found
        assert {error_owner(row.outcome, row.error_code, row.status) for row in found} == {owner}


def test_a_search_among_many_goes_on_where_it_ended(console, tenant, monkeypatch):
    monkeypatch.setattr(record_search.RecordChangeList, "_most", 5)
    wanted = {
        use(tenant, 1_000 + number * 100, is_streamed=number % 4 == 0).pk: number % 4 == 0 for number in range(17)
    }
    found, link, pages = [], "?streamed=yes", 0
    while link is not None:
        shown = console.client.get(LIST + link)
        found += [row.pk for row in shown.context["cl"].result_list]
        link, pages = shown.context["cl"].older, pages + 1
        assert ("Go on from there" in shown.content.decode()) is (link is not None)
    assert sorted(map(str, found)) == sorted(str(pk) for pk, is_streamed in wanted.items() if is_streamed)
    assert pages > 3


def test_what_stands_in_several_indexes_is_found_however_little_is_read_at_once(console, tenant, monkeypatch, charlie):
    """Merged: failed, traced and translated requests, and those of one tenant or key; there and back."""
    other = Tenant.objects.create(slug="other", name="Other")
    attempts = [{"deployment": "one", "status": 503}, {"deployment": "two", "status": 502}]
    losses = [{"path": "seed", "weight": "degrades", "why": "none"}]
    wanted = set()
    for number in range(24):
        facts: dict[str, Any] = {"attempts": attempts, "trace": {}} if number % 2 else {}
        facts |= {"losses": losses, "dialect_upstream": "anthropic_messages"} if number % 3 else {}
        facts |= {"outcome": "cut", "status": 502} if number % 4 else {}
        found = use(tenant if number % 5 else other, 1_000 + 400 * number, **facts)
        if number % 2 and number % 3 and number % 4 and number % 5:
            wanted.add(found.pk)
    query = f"?period=all&attempts=fallback&translation=lossy&owner=upstream&tenant__id__exact={tenant.pk}"
    key = tenant.api_keys.get()
    own = LIST + query.partition("&tenant")[0]
    for address in (own, f"{own}&api_key__id__exact={key.pk}"):
        assert not charlie.get(address).context["cl"].result_list
    of_key = console.get(
        LIST, period="all", attempts="several", translation="translated", api_key__id__exact=str(key.pk)
    )
    assert {row.pk for row in of_key.context["cl"].result_list} >= wanted
    for limits in ({}, {"MOST_LISTED": 3, "MOST_MET": 2}, {"MOST_LISTED": 9, "MOST_MET": 3}, {"AT_MOST_DENSER": 1}):
        for name, value in limits.items():
            monkeypatch.setattr(record_lists, name, value)
        rows, link, newer = [], query, None
        while link is not None:
            shown = console.client.get(LIST + link).context["cl"]
            rows += [row.pk for row in shown.result_list]
            link, newer = shown.older, shown.newer or newer
        assert (len(rows), set(rows)) == (len(wanted), wanted)
        assert (newer is not None) is bool(limits)


def test_pages_of_merged_indexes_lead_there_and_back(console, tenant):
    losses = [{"path": "seed", "weight": "degrades", "why": "none"}]
    for number in range(55):
        use(tenant, 100 + number, losses=losses, outcome="cut", error_code="upstream_cut")
    first = console.get(LIST, translation="lossy", owner="upstream")
    second = console.client.get(LIST + first.context["cl"].older)
    assert [len(shown.context["cl"].result_list) for shown in (first, second)] == [50, 5]
    back = console.client.get(LIST + second.context["cl"].newer)
    assert [row.pk for row in back.context["cl"].result_list] == [row.pk for row in first.context["cl"].result_list]


def test_pages_of_a_search_lead_there_and_back(console, tenant):
    for number in range(60):
        use(tenant, 100 + number, is_streamed=True)
        use(tenant, 100 + number)
    first = console.get(LIST, streamed="yes")
    second = console.client.get(LIST + first.context["cl"].older)
    assert [len(shown.context["cl"].result_list) for shown in (first, second)] == [50, 10]
    assert second.context["cl"].older is None
    back = console.client.get(LIST + second.context["cl"].newer)
    assert [row.pk for row in back.context["cl"].result_list] == [row.pk for row in first.context["cl"].result_list]


def test_no_search_counts_or_reads_without_a_bound(console, tenant):
    use(tenant, is_streamed=True)
    for query in ({"streamed": "yes"}, {"owner": "client", "alias": "smart"}, {"cost": "0.001", "period": "all"}):
        with CaptureQueriesContext(connection) as queries:
            assert console.get(LIST, **query).status_code == 200
        asked = [each["sql"] for each in queries if 'FROM "tenants_usagerecord"' in each["sql"]]
        assert len(queries) <= 30
        assert not [sql for sql in asked if "COUNT(" in sql.upper()]
        assert all("LIMIT" in sql or "request_id" in sql for sql in asked)


@pytest.mark.parametrize(
    "query",
    [
        "status=x",
        "status=%00",
        "cost=-1",
        "cost=NaN",
        "duration=1e99",
        "owner=nobody",
        "from=tomorrow",
        "to=0001-01-01",
        "error_code=%00",
        f"end_user={'x' * 1_000}",
        "streamed=perhaps",
        "translation=perhaps",
        "attempts=perhaps",
        "status=429&after=x",
        "from=9999-12-31T23:59-14:00",
    ],
)
def test_nonsense_breaks_nothing(console, tenant, query):
    use(tenant)
    assert console.client.get(f"{LIST}?{query}").status_code in {200, 302, 400}


# --- The page ------------------------------------------------------------------------------------------------


def test_a_page_tells_what_happened_in_a_sentence(console, tenant):
    attempts = [
        {"deployment": "claude-us", "status": 529, "result": "status_529", "milliseconds": 100},
        {"deployment": "claude-eu", "status": 200, "result": "streaming", "milliseconds": 300},
    ]
    shown = use(
        tenant,
        deployment="claude-eu",
        attempts=attempts,
        is_streamed=True,
        latency_ms=1_200,
        first_token_ms=450,
        overhead_us=2_000,
    )
    text = console.get(page(shown)).content.decode()
    assert "Served by claude-eu after 1 fallback in 1.2 s; 812 tokens in (600 cached), 120 out; 0.0041 USD." in text
    phases = {phase.name: phase.milliseconds for phase in console.get(page(shown)).context["page"]["phases"]}
    assert phases == {"gateway": 2.0, "earlier": 100.0, "waiting": 348.0, "streaming": 750.0}


@pytest.mark.parametrize("outcome", UsageRecord.Outcome.values)
def test_every_outcome_has_a_page(console, tenant, outcome):
    shown = use(tenant, outcome=outcome, status=500, error_code="unheard_of", cost_status="unpriced", latency_ms=0)
    assert console.get(page(shown)).status_code == 200
    bare = use(tenant, outcome=outcome, deployment="", provider="", input_tokens=None, cost=Decimal(0))
    assert console.get(page(bare)).status_code == 200


def test_an_error_is_explained(console, tenant):
    text = console.get(page(use(tenant, outcome="cut", error_code="upstream_cut"))).content.decode()
    assert "broke off in mid-answer" in text
    assert "An error of the upstream." in text
    told = console.get(page(use(tenant, outcome="upstream_failed", error_code="upstream_failed"))).context["page"]
    assert told["error"]["owner"] == ""
    assert "Answer" not in dict(told["facts"])


def test_what_it_cost_is_broken_down_by_the_price_of_its_time(console, tenant):
    provider = Provider.objects.create(slug="anthropic", adapter="anthropic", base_url="https://example.com")
    deployment = Deployment.objects.create(slug="claude", provider=provider, model="claude")
    moment = timezone.now()
    for side, amount, since in (("sell", 2, 30), ("sell", 999, -1), ("cost", 1, 30)):
        ModelPrice.objects.create(
            deployment=deployment,
            side=side,
            input=Decimal(amount),
            output=Decimal(amount * 5),
            effective_from=moment - timedelta(days=since),
        )
    shown = use(tenant, cost=Decimal("0.002824"), cost_price=Decimal("0.001412"))
    text = console.get(page(shown)).content.decode()
    for part in ("2 per 1,000,000", "0.000424", "0.0012", "What we pay", "0.000212"):
        assert part in text, part
    assert "999" not in text
    assert "In sum" not in text
    own = member_browser(tenant, "bob", "developer").get(page(shown)).content.decode()
    assert "0.000424" in own
    assert "What we pay" not in own
    assert "0.000212" not in own


def test_corrections_and_budgets_are_named(console, tenant):
    shown = use(tenant, budgets=["7.0:1700000000"])
    fix = use(
        tenant, outcome="correction", corrects=shown.pk.hex, started_at=shown.started_at.timestamp(), cost=Decimal("-1")
    )
    text = console.get(page(shown)).content.decode()
    assert "deleted (7)" in text
    assert page(fix) in text


def test_names_of_clients_are_only_text(console, tenant):
    shown = use(tenant, end_user="<script>x", alias="<i>a", error_code="<u>", outcome="cut", correlation_id="<s>")
    for text in (console.get(page(shown)).content.decode(), console.get(LIST).content.decode()):
        assert not [tag for tag in ("<script>x", "<i>a", "<u>", "<s>") if tag in text]


def test_a_page_asks_few_times(console, tenant):
    shown = use(tenant)
    keep(shown)
    with CaptureQueriesContext(connection) as queries:
        console.get(page(shown))
    assert len(queries) <= 30


# --- Bodies --------------------------------------------------------------------------------------------------


def test_a_body_is_opened_as_text_and_that_is_noted(console, tenant):
    shown = use(tenant)
    keep(shown)
    assert SECRET not in console.get(page(shown)).content.decode()
    assert not AuditEvent.objects.filter(action="body_opened").exists()
    answer = console.client.post(body(shown))
    text = answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    assert "&lt;b&gt;the prompt&lt;/b&gt;" in text
    assert SECRET not in text
    assert "elsewhere.example" not in text
    assert "an answer" in text
    assert "the beginning of" in text
    event = AuditEvent.objects.get(action="body_opened")
    assert (event.actor, event.tenant_id) == ("alice", tenant.pk)


def test_a_body_is_not_opened_by_a_link(console, tenant):
    shown = use(tenant)
    keep(shown)
    assert console.get(body(shown)).status_code == 405


@pytest.mark.parametrize(("role", "status"), [("owner", 200), ("developer", 200), ("viewer", 403)])
def test_members_open_their_own_as_far_as_their_role_goes(tenant, role, status):
    shown = use(tenant)
    keep(shown)
    client = member_browser(tenant, "bob", role)
    assert client.post(body(shown)).status_code == status
    assert ("Open prompt and answer" in client.get(page(shown)).content.decode()) is (status == 200)


@pytest.mark.parametrize(("role", "may"), [("developer", True), ("viewer", False)])
def test_who_may_not_play_is_not_sent_to_the_playground(tenant, role, may):
    text = member_browser(tenant, "bob", role).get(page(use(tenant))).content.decode()
    assert ("in the playground" in text) is may


def test_charlie_finds_and_opens_nothing_of_acmes(charlie, tenant):
    shown = use(tenant, end_user="only-acmes", alias="acmes-own", is_streamed=True)
    keep(shown)
    queries = (
        "",
        "?streamed=yes",
        f"?q={shown.pk.hex}",
        f"?api_key__id__exact={shown.api_key_id}",
        "?end_user=only-acmes",
    )
    for query in queries:
        answer = charlie.get(LIST + query, follow=True)
        assert page(shown) not in answer.content.decode()
        assert "acmes-own" not in answer.content.decode()
    assert charlie.get(page(shown)).status_code in {302, 404}
    assert charlie.post(body(shown)).status_code == 404
    assert not AuditEvent.objects.filter(action="body_opened").exists()


def test_an_operator_needs_leave_of_their_own(tenant):
    from django.contrib.auth.models import Permission

    shown = use(tenant)
    keep(shown)
    eve = User.objects.create_user("eve", is_staff=True)
    eve.user_permissions.add(Permission.objects.get(codename="view_usagerecord"))
    client = Client()
    client.force_login(eve)
    assert client.get(page(shown)).status_code == 200
    assert client.post(body(shown)).status_code == 403


def test_what_is_over_cannot_be_opened(console, tenant):
    shown = use(tenant, 3 * 86_400)
    keep(shown)
    Tenant.objects.filter(pk=tenant.pk).update(audit_retention_days=2, audit_policy="all")
    assert SECRET not in console.client.post(body(shown)).content.decode()
    assert "Not kept" in console.get(page(shown)).content.decode()


def test_an_owner_says_what_is_kept_and_a_developer_does_not(tenant):
    url = reverse("admin:tenants_tenant_change", args=[tenant.pk])
    assert 'name="audit_policy"' in member_browser(tenant, "bob", "owner").get(url).content.decode()
    assert 'name="audit_policy"' not in member_browser(tenant, "dora", "developer").get(url).content.decode()
