"""Every page opens with a bounded number of queries; ledgers and revisions are for reading."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from providers.models import Deployment, ModelPrice, Provider
from routing.models import ConfigRevision, HealthEvent, ModelAlias, Route, RouteTarget, StoredResponse
from tenants.ledger import ensure_partition
from tenants.models import (
    AlertIncident,
    ApiKey,
    AuditEvent,
    Budget,
    BudgetAlert,
    LegalAcceptance,
    LegalDocument,
    Member,
    Project,
    RateLimit,
    Tenant,
    UsageDay,
    UsageEndUserDay,
    UsageHour,
    UsageRecord,
    User,
)
from tenants.services import create_key

MOST_QUERIES = 30
ROWS = 12
RECORDS = "/admin/tenants/usagerecord/"
REVISIONS = "/admin/routing/configrevision/"
STORED = "/admin/routing/storedresponse/"
READ_ONLY = (
    AuditEvent,
    AlertIncident,
    UsageRecord,
    UsageHour,
    UsageDay,
    UsageEndUserDay,
    ConfigRevision,
    StoredResponse,
    HealthEvent,
    BudgetAlert,
    LegalAcceptance,
)
LOSSES = [
    {"path": "seed", "weight": "degrades", "why": "the upstream has no seed"},
    {"path": "messages[0].<b>", "weight": "cosmetic", "why": "nobody reads it"},
]


@pytest.fixture
def key(tenant) -> ApiKey:
    return create_key(tenant=tenant, name="ci")[0]


def record(key: ApiKey, *, started_at: datetime | None = None, **values: object) -> UsageRecord:
    started_at = started_at or timezone.now()
    ensure_partition(started_at.date())
    given = {
        "tenant": key.tenant,
        "dialect": "openai_chat",
        "alias": "smart",
        "status": 200,
        "outcome": "served",
        "cost_status": "exact",
        "cost": Decimal("0.0125"),
        "latency_ms": 900,
    }
    made = UsageRecord.objects.create(request_id=uuid.uuid4(), started_at=started_at, api_key=key, **given | values)
    UsageHour.objects.get_or_create(
        starts_at=started_at.replace(minute=0, second=0, microsecond=0),
        **{
            name: getattr(made, name) for name in ("tenant", "api_key", "alias", "deployment", "outcome", "cost_status")
        },
    )
    return made


def stored(key: ApiKey, response_id: str = "resp_1", **values: object) -> StoredResponse:
    given = {"deployment": "gpt", "dialect": "openai_chat", "is_native": False, "body": b"sealed conversation"}
    given |= {"expires_at": timezone.now() + timedelta(days=30), "tenant": key.tenant, "api_key": key}
    return StoredResponse.objects.create(response_id=response_id, **given | values)


@pytest.fixture
def filled(key) -> None:
    """Rows enough to find out which page asks once per row."""
    provider = Provider.objects.create(slug="openai", adapter="openai")
    route = Route.objects.create(name="route")
    now = timezone.now()
    for number in range(ROWS):
        tenant = Tenant.objects.create(slug=f"tenant-{number}", name=f"Tenant {number}")
        deployment = Deployment.objects.create(slug=f"deployment-{number}", provider=provider, model="m")
        ModelPrice.objects.create(deployment=deployment, input=1)
        RouteTarget.objects.create(route=route, deployment=deployment)
        ModelAlias.objects.create(name=f"alias-{number}", route=route, tenant=tenant)
        Route.objects.create(name=f"route-{number}")
        project = Project.objects.create(tenant=key.tenant, slug=f"project-{number}")
        own, _ = create_key(tenant=key.tenant, name=f"key-{number}", project=project)
        RateLimit.objects.create(tenant=key.tenant, project=project, kind="requests", amount=1, per="minute")
        budget = Budget.objects.create(tenant=key.tenant, api_key=own, amount=1, alert_at=[50])
        BudgetAlert.objects.create(
            tenant=key.tenant, budget=budget, counter=f"{budget.pk}.0:0", threshold=50, spent=1, limit=1
        )
        AlertIncident.objects.create(
            **dict.fromkeys(("value", "worst", "last"), 1),
            tenant=key.tenant,
            title="Errors",
            words="Too many.",
            severity="warning",
            metric="error_rate",
            began_at=now,
        )
        user = User.objects.create_user(f"user-{number}")
        Member.objects.create(tenant=key.tenant, user=user)
        LegalAcceptance.objects.create(user=user, document=LegalDocument.objects.create(kind="terms", text="Ours."))
        record(own, losses=LOSSES)
        stored(own, f"resp_{number}")
        HealthEvent.objects.create(deployment=deployment.slug, kind="breaker_opened", old="closed", new="open")
        rollup = {"tenant": key.tenant, "api_key": own, "alias": "smart", "outcome": "served", "cost_status": "exact"}
        UsageHour.objects.create(starts_at=now, **rollup)
        UsageDay.objects.create(starts_at=now, **rollup)
        UsageEndUserDay.objects.create(
            day=now.date(), tenant=key.tenant, api_key=own, end_user=f"user-{number}", alias="smart"
        )
        ConfigRevision.objects.create(number=number + 1, status="published", author=user, checksum=str(number))


def test_no_page_asks_more_than_thirty_times(console, filled):
    reverse("admin:index")
    costs = {}
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        urls = [reverse(f"{name}_changelist")]
        if (first := model._default_manager.first()) is not None:
            urls.append(reverse(f"{name}_change", args=[first.pk]))
        if model not in READ_ONLY:
            urls.append(reverse(f"{name}_add"))
        for url in urls:
            with CaptureQueriesContext(
                connection,
            ) as queries:
                assert console.get(url).status_code == 200, url
            costs[url] = len(queries)
    assert {url: count for url, count in costs.items() if count > MOST_QUERIES} == {}
    assert len(costs) > 40


# --- Ledgers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", READ_ONLY, ids=lambda model: model.__name__)
def test_ledgers_and_revisions_refuse_changes(console, filled, model):
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    first = model.objects.first()
    urls = [reverse(f"{name}_add"), *(reverse(f"{name}_{kind}", args=[first.pk]) for kind in ("change", "delete"))]
    for url in urls:
        assert console.client.post(url, {"alias": "forged", "note": "forged", "post": "yes"}).status_code == 403, url
    console.act(reverse(f"{name}_changelist"), "delete_selected", first)
    assert model.objects.filter(pk=first.pk).exists()


def test_a_record_shows_everything(console, key):
    shown = record(
        key, correlation_id="order-66", end_user="eve", attempts=[{"deployment": "gpt", "status": 529}], overhead_us=310
    )
    text = console.get(reverse("admin:tenants_usagerecord_change", args=[shown.pk])).content.decode()
    for part in ("order-66", "eve", "acme", "0.0125 USD", "Served", "529", "0.3 ms", "900 ms", shown.pk.hex):
        assert part in text


def test_a_record_shows_what_its_translation_lost(console, key):
    shown = record(key, dialect_upstream="anthropic_messages", losses=LOSSES)
    assert "2: degrades" in console.get(RECORDS).content.decode()
    text = console.get(reverse("admin:tenants_usagerecord_change", args=[shown.pk])).content.decode()
    for part in ("Anthropic messages", "seed", "the upstream has no seed", "messages[0].&lt;b&gt;", "cosmetic"):
        assert part in text


def test_records_are_narrowed_to_translated_and_lossy_ones(console, key):
    record(key, alias="passed-through", dialect_upstream="openai_chat")
    record(key, alias="translated", dialect_upstream="anthropic_messages")
    record(key, alias="lossy", dialect_upstream="anthropic_messages", losses=LOSSES)

    def aliases(**query: str) -> set[str]:
        return {row.alias for row in console.get(RECORDS, **query).context["cl"].result_list}

    assert aliases(translation="translated") == {"translated", "lossy"}
    assert aliases(translation="lossy") == {"lossy"}
    assert len(aliases()) == 3


def test_records_outlive_the_key_they_name(console, key):
    shown = record(key)
    deleted = key.pk
    key.delete()
    assert f"deleted ({deleted})" in console.get(RECORDS).content.decode()
    assert console.get(reverse("admin:tenants_usagerecord_change", args=[shown.pk])).status_code == 200


def test_records_are_never_counted_nor_joined(console, key):
    record(key, outcome="cut")
    for query in ({}, {"q": "order-66"}, {"outcome__exact": "cut"}, {"_facets": "True"}):
        with CaptureQueriesContext(connection) as queries:
            console.get(RECORDS, **query)
        asked = [query["sql"] for query in queries if 'FROM "tenants_usagerecord"' in query["sql"]]
        assert len(asked) == 1
        assert "COUNT(" not in asked[0]
        assert "JOIN" not in asked[0]
        assert "LIMIT 51" in asked[0]


def test_records_are_paged_without_a_count(console, key):
    start = timezone.now()
    for number in range(101):
        record(key, started_at=start - timedelta(seconds=number), alias=f"alias-{number}")
    first = console.get(RECORDS, period="1d")
    second = follow(console, first, "older")
    third = follow(console, second, "older")
    assert [len(page.context["cl"].result_list) for page in (first, second, third)] == [50, 50, 1]
    assert 'rel="next"' in first.content.decode()
    assert 'rel="prev"' not in first.content.decode()
    assert 'rel="next"' in second.content.decode()
    assert 'rel="next"' not in third.content.decode()
    assert 'rel="prev"' in third.content.decode()
    assert "alias-100" in third.content.decode()
    back = follow(console, follow(console, third, "newer"), "newer")
    assert [row.pk for row in back.context["cl"].result_list] == [row.pk for row in first.context["cl"].result_list]
    assert back.context["cl"].newer is None
    assert back.context["cl"].filter_params == {"period": ["1d"]}
    assert follow(console, third, "newest").context["cl"].newer is None


def follow(console: Any, page: Any, link: str) -> Any:
    return console.client.get(RECORDS + getattr(page.context["cl"], link))


@pytest.mark.parametrize(
    "place", ["", "x", "2026-01-01", "2026-01-01~x", f"2026-01-01T00:00Z~{uuid.UUID(int=7)}~", "~", "\0~\0"]
)
@pytest.mark.parametrize("way", ["after", "before"])
def test_a_place_that_is_none_leads_to_the_first_page(console, key, way, place):
    record(key)
    assert console.get(RECORDS, **{way: place}).status_code == 302


@pytest.mark.parametrize("page", [RECORDS, "/admin/routing/healthevent/"], ids=["keyset", "uncounted"])
def test_a_list_of_one_page_leads_to_no_other(console, key, page):
    record(key)
    assert 'aria-label="Pages"' not in console.get(page).content.decode()


def test_records_of_one_moment_are_on_one_page_only(console, key):
    moment = timezone.now()
    everything = {record(key, started_at=moment).pk for _ in range(60)}
    first = console.get(RECORDS)
    second = follow(console, first, "older")
    shown = [row.pk for page in (first, second) for row in page.context["cl"].result_list]
    assert len(shown) == 60
    assert set(shown) == everything


def test_the_list_goes_back_seven_days_unless_asked(console, key):
    record(key, alias="recent")
    record(key, alias="long-ago", started_at=timezone.now() - timedelta(days=20))

    def aliases(**query: str) -> set[str]:
        return {row.alias for row in console.get(RECORDS, **query).context["cl"].result_list}

    assert aliases() == {"recent"}
    assert aliases(period="31d") == aliases(period="all") == {"recent", "long-ago"}


def test_a_record_is_found_by_its_whole_id(console, key):
    wanted, other = record(key, correlation_id="order-66"), record(key)
    for query in (str(wanted.pk), wanted.pk.hex, "order-66"):
        assert [row.pk for row in console.get(RECORDS, q=query).context["cl"].result_list] == [wanted.pk]
    assert console.get(RECORDS, q="order").context["cl"].result_list == []
    assert other.pk != wanted.pk


# --- Stored responses --------------------------------------------------------------------------------------


def test_stored_responses_show_whose_they_are_and_never_what_is_in_them(console, key):
    here, upstream = stored(key), stored(key, "resp_2", is_native=True, body=b"")
    deleted = key.pk
    with CaptureQueriesContext(connection) as queries:
        listed = console.get(STORED).content.decode()
        page = console.get(reverse("admin:routing_storedresponse_change", args=[here.pk])).content.decode()
    for text in (listed, page):
        assert all(
            part in text for part in ("resp_1", "acme", "ci", "gpt", "Here, encrypted", "19\N{NO-BREAK SPACE}bytes")
        )
        assert "sealed" not in text
    selected = [query["sql"].split(" FROM ")[0] for query in queries if 'FROM "routing_storedresponse"' in query["sql"]]
    assert selected
    assert not any('"body",' in sql or sql.endswith('"body"') for sql in selected)
    assert (
        "Upstream" in console.get(reverse("admin:routing_storedresponse_change", args=[upstream.pk])).content.decode()
    )
    key.delete()
    assert f"deleted ({deleted})" in console.get(STORED).content.decode()


def test_stored_responses_are_never_counted_nor_joined(console, key):
    stored(key)
    for query in ({}, {"q": "resp_1"}, {"tenant__id__exact": str(key.tenant_id)}):
        with CaptureQueriesContext(connection) as queries:
            assert len(console.get(STORED, **query).context["cl"].result_list) == 1
        [asked] = [query["sql"] for query in queries if 'FROM "routing_storedresponse"' in query["sql"]]
        assert "COUNT(" not in asked
        assert "JOIN" not in asked
        assert "LIMIT 51" in asked


def test_a_stored_response_is_found_by_its_whole_id_and_by_its_tenant(console, key):
    other = create_key(tenant=Tenant.objects.create(slug="charlie"), name="ci")[0]
    stored(key, "resp_1")
    stored(other, "resp_11")

    def found(**query: str) -> list[str]:
        return [row.response_id for row in console.get(STORED, **query).context["cl"].result_list]

    assert found(q="resp_1") == ["resp_1"]
    assert found(q="resp") == []
    assert found(tenant__id__exact=str(other.tenant_id)) == ["resp_11"]
    assert found() == ["resp_11", "resp_1"]


def test_a_tenant_with_stored_responses_can_be_deleted_and_takes_them_along(console, key):
    charlie = create_key(tenant=Tenant.objects.create(slug="charlie"), name="ci")[0]
    stored(key)
    stored(charlie)
    url = reverse("admin:tenants_tenant_delete", args=[key.tenant_id])
    assert console.client.post(url, {"post": "yes"}).status_code == 302
    assert [row.tenant_id for row in StoredResponse.objects.all()] == [charlie.tenant_id]


# --- Revisions ---------------------------------------------------------------------------------------------


@pytest.fixture
def route(db) -> Route:
    provider = Provider.objects.create(slug="openai", adapter="openai")
    deployment = Deployment.objects.create(slug="gpt", provider=provider, model="gpt-5-mini")
    route = Route.objects.create(name="smart")
    RouteTarget.objects.create(route=route, deployment=deployment)
    ModelAlias.objects.create(name="smart", route=route)
    return route


def test_it_publishes_and_rolls_back(console, alice, route):
    published = console.confirm(reverse("admin:routing_configrevision_publish_now"), note="First")
    assert published.url == REVISIONS
    revision = ConfigRevision.objects.get()
    assert (revision.status, revision.author, revision.note) == ("published", alice, "First")
    again = console.confirm(reverse("admin:routing_configrevision_publish_now"))
    assert "Nothing has changed" in console.get(again.url).content.decode()

    route.retries = 3
    route.save()
    console.confirm(reverse("admin:routing_configrevision_publish_now"))
    console.confirm(reverse("admin:routing_configrevision_roll_back_to", args=[revision.pk]))
    numbers = ConfigRevision.objects.order_by("number").values_list("number", "author__username")
    assert list(numbers) == [(1, "alice"), (2, "alice"), (3, "alice")]


def test_a_rejected_revision_is_not_rolled_back_to(console):
    rejected = ConfigRevision.objects.create(number=1, status="rejected", checksum="x", errors=["No price."])
    console.confirm(reverse("admin:routing_configrevision_roll_back_to", args=[rejected.pk]))
    assert ConfigRevision.objects.count() == 1
    assert "was rejected and cannot be served" in console.get(REVISIONS).content.decode()


def test_a_revision_shows_its_diff_and_not_its_blob(console):
    revision = ConfigRevision.objects.create(
        number=7, status="published", checksum="x", diff=["+ deployment <gpt>"], blob=b"compiled"
    )
    with CaptureQueriesContext(connection) as queries:
        text = console.get(reverse("admin:routing_configrevision_change", args=[revision.pk])).content.decode()
    assert "+ deployment &lt;gpt&gt;" in text
    assert not any('"blob"' in query["sql"] for query in queries)


def test_what_lists_choices_and_the_palette_show_has_an_order(console):
    request = console.get("/admin/").wsgi_request
    pages = admin.site._registry.items()
    assert [model.__name__ for model, page in pages if not page.get_queryset(request).ordered] == []
