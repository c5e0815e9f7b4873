"""API keys in the console: shown once with settings for each tool, rotated with an overlap, listed with what they did."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from providers.models import Deployment
from routing.models import ModelAlias
from routing.services import publish
from tenants.models import ApiKey, Budget, RateLimit, Tenant, UsageDay
from tenants.playground_keys import playground_key
from tenants.services import create_key, has_secret, rotate_key
from tests.gateway_site.admin.browsing import Console, member_console
from tests.routing.catalogue import make_catalogue

pytestmark = pytest.mark.django_db

KEYS = "/admin/tenants/apikey/"
SECRET = re.compile(r"tg_[A-Za-z0-9]{40}")


def page_of(key: ApiKey) -> str:
    return f"{KEYS}{key.pk}/change/"


def rotation_of(key: ApiKey) -> str:
    return f"{KEYS}{key.pk}/rotate/"


def secrets_in(response: Any) -> set[str]:
    return set(SECRET.findall(response.content.decode()))


@pytest.fixture
def key(tenant: Tenant) -> ApiKey:
    return create_key(tenant=tenant, name="ci")[0]


@pytest.fixture
def charlie(charlie: Client) -> Console:
    return Console(charlie)


@pytest.fixture
def served(stores: tuple[str, str]) -> None:
    """`smart` is served to everybody, and speaks OpenAI's formats."""
    with redis.Redis.from_url(stores[1]) as client:
        client.flushall()
    make_catalogue()
    publish()


def used(key: ApiKey, *, day: datetime, cost: str = "0.25", currency: str = "USD", requests: int = 3) -> None:
    UsageDay.objects.create(
        starts_at=day.replace(hour=0, minute=0, second=0, microsecond=0),
        tenant=key.tenant,
        api_key=key,
        alias="smart",
        outcome="served",
        cost_status="exact",
        currency=currency,
        requests=requests,
        cost=Decimal(cost),
    )


# --- Made --------------------------------------------------------------------------------------------------


def body_in(command: str) -> dict[str, Any]:
    found = re.search(r"-d '(.*)'$", command, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_a_new_key_stands_in_the_settings_of_every_tool(console, tenant, served):
    response = console.submit(f"{KEYS}add/", tenant=tenant.pk, name="any")
    (secret,) = secrets_in(response)
    tools = response.context["tools"]
    assert {"claude-code", "codex", "openai", "anthropic", "langchain", "ai-sdk", "open-webui", "curl"} <= {
        tool.slug for tool in tools
    }
    for tool in tools:
        assert any(secret in snippet.text for snippet in tool.snippets), tool.slug
        assert any("smart" in snippet.text for snippet in tool.snippets) or tool.slug == "open-webui"
    assert "no-store" in response["Cache-Control"]
    assert "data-warn-until-copied" in response.content.decode()


def test_the_command_names_a_model_that_the_key_may_use(console, tenant, served):
    response = console.submit(f"{KEYS}add/", tenant=tenant.pk, name="any")
    assert body_in(response.context["curl"])["model"] == "smart"
    assert "/v1/chat/completions" in response.context["curl"]
    response = console.submit(f"{KEYS}add/", tenant=tenant.pk, name="none", allowed_models="other-*")
    assert body_in(response.context["curl"])["model"] == "your-model"


def test_the_command_speaks_the_dialect_of_the_model(console, tenant, served):
    Deployment.objects.update(dialect="anthropic_messages")
    publish()
    response = console.submit(f"{KEYS}add/", tenant=tenant.pk, name="any")
    assert "/v1/messages" in response.context["curl"]
    assert body_in(response.context["curl"])["max_tokens"] > 0


def test_the_command_names_no_other_tenant_s_model(console, tenant, charlie, served):
    ModelAlias.objects.update(tenant=Tenant.objects.get(slug="charlies"))
    publish()
    response = console.submit(f"{KEYS}add/", tenant=tenant.pk, name="ci")
    assert body_in(response.context["curl"])["model"] == "your-model"


# --- Rotated -----------------------------------------------------------------------------------------------


def rotate(console: Console, key: ApiKey, **fields: Any) -> Any:
    return console.client.post(rotation_of(key), {"overlap": "24h", "replaces": key.hint, **fields})


def test_it_rotates_with_an_overlap_and_shows_the_secret_once(console, key, tenant):
    before = key.digest
    page = console.get(rotation_of(key)).content.decode()
    assert key.hint in page
    response = rotate(console, key)
    (secret,) = secrets_in(response)
    rotated = ApiKey.objects.get()
    assert (rotated.pk, rotated.previous_digest) == (key.pk, before)
    assert has_secret(rotated, secret)
    assert timedelta(hours=23) < rotated.previous_until - timezone.now() <= timedelta(hours=24)
    assert "no-store" in response["Cache-Control"]
    for url in (KEYS, page_of(key), "/admin/", page_of(key).replace("/change/", "/history/")):
        text = console.get(url).content.decode()
        assert secret not in text
        assert rotated.digest not in text
        assert before not in text
    assert secret not in str([session.get_decoded() for session in Session.objects.all()])
    assert "Rotating" in console.get(KEYS).content.decode()
    assert f"{rotated.previous_hint} works until" in console.get(page_of(key)).content.decode()


@pytest.mark.parametrize(("overlap", "hours"), [("now", 0), ("1h", 1), ("24h", 24), ("7d", 168)])
def test_the_overlap_is_chosen(console, key, overlap, hours):
    rotate(console, key, overlap=overlap)
    left = ApiKey.objects.get().previous_until - timezone.now()
    assert timedelta(hours=hours) - timedelta(minutes=5) < left <= timedelta(hours=hours)


def test_an_overlap_of_one_s_own_ends_when_it_is_told_to(console, key):
    until = (timezone.now() + timedelta(days=3)).replace(second=0, microsecond=0)
    response = rotate(console, key, overlap="until", until_0=f"{until:%Y-%m-%d}", until_1=f"{until:%H:%M}")
    assert secrets_in(response)
    assert ApiKey.objects.get().previous_until == until


@pytest.mark.parametrize("until", ["", "2020-01-01", "2199-01-01", "tomorrow"])
def test_an_overlap_that_makes_no_sense_is_refused(console, key, until):
    response = rotate(console, key, overlap="until", until_0=until, until_1="00:00" if until else "")
    assert "until" in response.context["form"].errors
    assert not secrets_in(response)
    assert ApiKey.objects.get().digest == key.digest


def test_a_form_that_is_sent_twice_rotates_once(console, key):
    rotate(console, key)
    again = rotate(console, key)
    assert not secrets_in(again)
    assert "another secret by now" in again.content.decode()


def test_the_overlap_is_ended_by_hand(console, key):
    assert "End the overlap" not in console.get(page_of(key)).content.decode()
    rotate(console, key, overlap="7d")
    assert "End the overlap" in console.get(page_of(key)).content.decode()
    console.confirm(f"{KEYS}{key.pk}/end_overlap/")
    assert not ApiKey.objects.get().is_overlapping


def test_a_revoked_key_is_not_rotated(console, key):
    key.revoke()
    assert console.get(rotation_of(key)).status_code == 302
    assert rotate(console, key).status_code == 302
    assert ApiKey.objects.get().previous_digest is None


def test_developers_rotate_and_viewers_do_not(tenant, key):
    viewer, developer = member_console(tenant, "vera", "viewer"), member_console(tenant, "dave", "developer")
    assert viewer.get(rotation_of(key)).status_code == 403
    assert rotate(viewer, key).status_code == 403
    assert ApiKey.objects.get().previous_digest is None
    assert secrets_in(rotate(developer, key))


# --- Charlie -----------------------------------------------------------------------------------------------


def test_charlie_neither_sees_nor_rotates_nor_ends_alices_key(charlie, key):
    assert key.hint not in charlie.get(KEYS).content.decode()
    for url in (page_of(key), rotation_of(key), f"{KEYS}{key.pk}/end_overlap/", f"{KEYS}{key.pk}/revoke/"):
        assert charlie.get(url).status_code in {302, 403, 404}, url
        sent = charlie.client.post(url, {"_form_submitted": "True", "overlap": "now", "replaces": key.hint})
        assert sent.status_code in {302, 403, 404}, url
    charlie.act(KEYS, "expire_selected", key)
    charlie.client.post(
        KEYS,
        {
            "action": "expire_selected",
            "_selected_action": [str(key.pk)],
            "apply": "1",
            "expires_at": "2199-01-01T00:00",
        },
    )
    charlie.act(KEYS, "revoke_selected", key)
    found = ApiKey.objects.get()
    assert (found.digest, found.previous_digest, found.revoked_at, found.expires_at) == (key.digest, None, None, None)


# --- Listed ------------------------------------------------------------------------------------------------


def test_the_list_tells_use_spending_and_limits(console, tenant, key):
    now = datetime.now(UTC)
    used(key, day=now, cost="0.25")
    used(key, day=now, cost="2", currency="EUR")
    used(key, day=now - timedelta(days=40), cost="99")
    RateLimit.objects.create(tenant=tenant, api_key=key, kind="requests", amount=60, per="minute")
    Budget.objects.create(tenant=tenant, api_key=key, amount=5)
    create_key(tenant=tenant, name="unused")
    text = console.get(KEYS).content.decode()
    for part in ("Today", "0.25 USD", "2.00 EUR", "60 requests per minute", "5 USD per month", "Never", "Nothing"):
        assert part in text, part
    assert "99" not in text.replace(f"{key.pk}", "")[: text.find("</table>")] or "99 USD" not in text


def test_a_page_of_many_keys_asks_as_often_as_one_of_few(console, tenant, key):
    console.get(KEYS)  # what is looked up once
    with CaptureQueriesContext(
        connection,
    ) as few:
        console.get(KEYS)
    for number in range(40):
        used(create_key(tenant=tenant, name=f"key-{number}")[0], day=datetime.now(UTC))
    with CaptureQueriesContext(connection) as many:
        assert "key-39" in console.get(KEYS).content.decode()
    assert len(many) <= len(few) + 1
    assert len(many) <= 30


def test_last_use_and_spending_are_found_by_index(tenant, key):
    from tenants.key_facts import LAST_USED, SPENT

    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        for statement, values in ((LAST_USED, [[key.pk]]), (SPENT, [[key.pk], timezone.now()])):
            cursor.execute(f"EXPLAIN {statement}", values)
            plan = "\n".join(row[0] for row in cursor.fetchall())
            assert "usage_day_api_key" in plan, plan
        cursor.execute("RESET enable_seqscan")


def names_with(console: Console, status: str) -> set[str]:
    text = console.get(KEYS, status=status).content.decode()
    return {name for name in ("early", "late", "rotated", "gone") if f">{name}</a>" in text}


def test_keys_that_expire_soon_and_those_being_rotated_are_found(console, tenant):
    create_key(tenant=tenant, name="early", expires_at=timezone.now() + timedelta(days=3))
    create_key(tenant=tenant, name="late", expires_at=timezone.now() + timedelta(days=300))
    gone = create_key(tenant=tenant, name="gone", expires_at=timezone.now() + timedelta(days=3))[0]
    gone.revoke()
    rotated = create_key(tenant=tenant, name="rotated")[0]
    rotate_key(key=rotated, until=timezone.now() + timedelta(hours=1))
    assert names_with(console, "expiring") == {"early"}
    assert names_with(console, "overlapping") == {"rotated"}
    assert names_with(console, "active") == {"early", "late", "rotated"}


def test_the_playground_s_keys_are_hidden_until_asked_for(console, tenant, alice):
    playground_key(tenant=tenant, user=alice)
    assert "playground of alice" not in console.get(KEYS).content.decode()
    assert "playground of alice" in console.get(KEYS, status="playground").content.decode()
    query = {"app_label": "tenants", "model_name": "usagerecord", "field_name": "api_key"}
    assert console.get("/admin/autocomplete/", **query).json()["results"] == []


# --- Many at once ------------------------------------------------------------------------------------------


def test_many_keys_get_an_end_at_once(console, tenant, key):
    second, revoked = (create_key(tenant=tenant, name=name)[0] for name in ("second", "revoked"))
    revoked.revoke()
    asked = console.act(KEYS, "expire_selected", key, second, revoked)
    assert "2 keys" in asked.content.decode()
    until = (timezone.now() + timedelta(days=30)).replace(second=0, microsecond=0)
    chosen = [str(item.pk) for item in (key, second, revoked)]
    fields = {"action": "expire_selected", "_selected_action": chosen, "apply": "1"}
    console.client.post(
        KEYS, fields | {"expires_at_0": f"{until:%Y-%m-%d}", "expires_at_1": f"{until:%H:%M}"}, follow=True
    )
    ends = dict(ApiKey.objects.values_list("name", "expires_at"))
    assert ends == {"ci": until, "second": until, "revoked": None}
    console.client.post(KEYS, fields | {"never": "on"}, follow=True)
    assert not ApiKey.objects.filter(expires_at__isnull=False).exists()


@pytest.mark.parametrize(
    "fields", [{}, {"expires_at_0": "2020-01-01", "expires_at_1": "00:00"}, {"expires_at_0": "soon"}]
)
def test_an_end_that_makes_no_sense_is_refused(console, key, fields):
    sent = {"action": "expire_selected", "_selected_action": [str(key.pk)], "apply": "1", **fields}
    assert "expires_at" in console.client.post(KEYS, sent).context["form"].errors
    assert ApiKey.objects.get().expires_at is None
