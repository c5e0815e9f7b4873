"""Alert rules, channels, silences and incidents over REST: bob is Acme's program, charlie another tenant's."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from tenants.api_tokens import create_token
from tenants.models import (
    AlertChannel,
    AlertIncident,
    AlertRule,
    AlertSilence,
    AuditEvent,
    Tenant,
    User,
)
from tenants.services import create_key
from tests.gateway_site.people import member_browser

pytestmark = pytest.mark.django_db

V1 = "/api/v1"
HOOK = "https://hooks.example.com/services/very-private-path"


class Program:
    """What has a token."""

    def __init__(self, **token: Any) -> None:
        _, secret = create_token(**{"name": "ci", "scopes": ["*"], **token})
        self.client = Client(headers={"authorization": f"Bearer {secret}"})

    def __call__(self, method: str, path: str, **body: Any) -> Any:
        if method == "get":
            return self.client.get(f"{V1}/{path}", body)
        return getattr(self.client, method)(f"{V1}/{path}", json.dumps(body), content_type="application/json")

    def make(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self("post", path, **body)
        assert answer.status_code == 201, answer.content
        return dict(answer.json())


@pytest.fixture(autouse=True)
def no_tests_yet(stores: Any) -> None:
    cache.clear()


@pytest.fixture
def alice(db: None) -> Program:
    return Program(created_by=User.objects.create_superuser("alice"))


@pytest.fixture
def acme(db: None) -> Tenant:
    return Tenant.objects.create(slug="acme", name="Acme")


@pytest.fixture
def bob(acme: Tenant) -> Program:
    return Program(tenant=acme)


@pytest.fixture
def charlie(db: None) -> Program:
    return Program(tenant=Tenant.objects.create(slug="charlies"))


def incident_of(rule: AlertRule) -> AlertIncident:
    return AlertIncident.objects.create(
        tenant=rule.tenant,
        rule=rule,
        title=rule.name,
        words="in words",
        severity="warning",
        metric=rule.metric,
        began_at=timezone.now(),
        value=Decimal(7),
        worst=Decimal(9),
        last=Decimal(8),
    )


def fields_of(answer: Any) -> list[str]:
    assert answer.status_code == 422, answer.content
    return [each["field"] for each in answer.json()["error"]["fields"]]


# --- Channels ------------------------------------------------------------------------------------------------


def test_a_webhook_s_secret_is_told_once_and_its_address_never(bob: Program, acme: Tenant):
    made = bob.make("alert-channels", name="ops", kind="webhook", address=HOOK)
    assert made["secret"].startswith("whsec_")
    assert made["leads_to"] == "https://hooks.example.com/…"
    channel = AlertChannel.objects.get()
    assert (channel.tenant, channel.address, channel.secret) == (acme, HOOK, made["secret"])
    for answer in (
        bob("get", f"alert-channels/{made['id']}"),
        bob("get", "alert-channels"),
        bob("get", "audit-events"),
    ):
        text = answer.content.decode()
        assert "very-private-path" not in text
        assert "whsec_" not in text
    again = bob("post", f"alert-channels/{made['id']}/rotate").json()
    assert again["secret"] not in {"", made["secret"]}
    channel.refresh_from_db()
    assert channel.secret == again["secret"]


def test_a_channel_reaches_somebody(bob: Program):
    assert fields_of(bob("post", "alert-channels", name="ops", kind="webhook")) == ["address"]
    assert fields_of(bob("post", "alert-channels", name="ops", kind="email")) == ["emails"]
    assert fields_of(bob("post", "alert-channels", name="ops", kind="email", address=HOOK)) == ["address"]
    made = bob.make("alert-channels", name="ops", emails=["ops@example.com"])
    assert fields_of(bob("patch", f"alert-channels/{made['id']}", emails=[])) == ["emails"]
    assert fields_of(bob("patch", f"alert-channels/{made['id']}", kind="slack")) == ["kind"]
    assert bob("post", f"alert-channels/{made['id']}/rotate").status_code == 409


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:8080/admin/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://localhost./",
        "http://LOCALHOST/",
        "http://metadata.google.internal/",
        "http://user:password@hooks.example.com/",
        "ftp://hooks.example.com/",
        "file:///etc/passwd",
        "",
    ],
)
def test_no_channel_leads_inside(bob: Program, address: str):
    assert fields_of(bob("post", "alert-channels", name="x", kind="webhook", address=address)) == ["address"]
    made = bob.make("alert-channels", name="ops", kind="slack", address=HOOK)
    assert fields_of(bob("patch", f"alert-channels/{made['id']}", address=address)) == ["address"]
    assert AlertChannel.objects.get().address == HOOK


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "0"])
def test_what_only_turns_out_to_be_inside_is_not_called(bob: Program, host: str):
    made = bob.make("alert-channels", name="ops", kind="webhook", address=f"http://{host}:1/")
    told = bob("post", f"alert-channels/{made['id']}/test").json()
    assert told == {"delivered": False, "reason": "This name leads into a private network."}


def test_nobody_is_flooded_with_tests(bob: Program, charlie: Program):
    made = bob.make("alert-channels", name="ops", kind="webhook", address="http://127.1:1/")
    reasons = [bob("post", f"alert-channels/{made['id']}/test").json()["reason"] for _ in range(7)]
    assert "private network" in reasons[0]
    assert "wait a minute" in reasons[-1]
    his = charlie.make("alert-channels", name="ops", kind="webhook", address="http://127.1:1/")
    assert "private network" in charlie("post", f"alert-channels/{his['id']}/test").json()["reason"]


# --- Rules ---------------------------------------------------------------------------------------------------


def test_a_rule_is_made_changed_and_deleted(bob: Program, acme: Tenant):
    create_key(tenant=acme, name="ci")
    channel = bob.make("alert-channels", name="ops", emails=["ops@example.com"])
    rule = bob.make(
        "alert-rules", name="Errors", metric="error_rate", threshold="7.5", api_key="ci", channels=[channel["id"]]
    )
    assert (rule["tenant"], rule["api_key"], rule["state"], rule["channels"]) == ("acme", "ci", "new", [channel["id"]])
    assert "ops" in rule["description"]
    assert not {"provider", "deployment"} & set(rule)
    changed = bob("patch", f"alert-rules/{rule['id']}", enabled=False, api_key=None, channels=[]).json()
    assert (changed["state"], changed["api_key"], changed["channels"]) == ("off", None, [])
    assert bob("delete", f"alert-rules/{rule['id']}").status_code == 204
    assert not AlertRule.objects.exists()
    actions = AuditEvent.objects.filter(object_type="tenants.alertrule").values_list("action", flat=True)
    assert {"created", "changed", "deleted"} <= set(actions)


def test_a_rule_of_a_tenant_watches_that_tenant(bob: Program, charlie: Program, alice: Program):
    theirs = charlie.make("alert-channels", name="his", emails=["charlie@example.com"])
    operators = alice.make("alert-channels", name="on call", emails=["ops@example.com"])
    for wrong in (theirs["id"], operators["id"], 0):
        assert fields_of(bob("post", "alert-rules", name="x", channels=[wrong])) == ["channels[0]"]
    assert fields_of(bob("post", "alert-rules", name="x", tenant="charlies")) == ["tenant"]
    assert fields_of(bob("post", "alert-rules", name="x", watched_tenant="charlies")) == ["watched_tenant"]
    assert fields_of(bob("post", "alert-rules", name="x", provider="openai")) == ["provider"]
    assert fields_of(bob("post", "alert-rules", name="x", metric="ledger_lag")) == ["metric"]
    assert not AlertRule.objects.exists()


def test_an_operators_rule_watches_whom_it_says(alice: Program, bob: Program, acme: Tenant):
    create_key(tenant=acme, name="ci")
    rule = alice.make("alert-rules", name="Acme", watched_tenant="acme", api_key="ci", provider="openai")
    assert (rule["tenant"], rule["watched_tenant"], rule["provider"]) == (None, "acme", "openai")
    assert alice.make("alert-rules", name="Acme's own", tenant="acme")["tenant"] == "acme"
    assert [each["name"] for each in bob("get", "alert-rules").json()["items"]] == ["Acme's own"]
    assert bob("get", f"alert-rules/{rule['id']}").status_code == 404


# --- Silences and incidents ----------------------------------------------------------------------------------


def test_a_silence_is_made_and_ended(bob: Program):
    bob.make("alert-rules", name="Errors")
    until = (timezone.now() + timedelta(hours=1)).isoformat()
    silence = bob.make("alert-silences", reason="Upgrade", ends_at=until, rule="Errors")
    assert (silence["rule"], silence["is_on"], silence["created_by"]) == ("Errors", True, None)
    assert bob("post", f"alert-silences/{silence['id']}/end").json()["is_on"] is False
    assert not AlertSilence.objects.get().is_on(timezone.now())
    assert fields_of(bob("post", "alert-silences", reason="x", ends_at="2020-01-01T00:00:00Z")) == ["ends_at"]


def test_an_incident_is_acknowledged_once(bob: Program, acme: Tenant):
    incident = incident_of(AlertRule.objects.create(tenant=acme, name="Errors"))
    url = f"alert-incidents/{incident.pk}/acknowledge"
    first = bob("post", url).json()
    assert (first["name"], first["is_firing"], first["worst"]) == ("Errors", True, "9")
    assert bob("post", url).json()["acknowledged_at"] == first["acknowledged_at"]
    AlertIncident.objects.update(resolved_at=timezone.now())
    assert bob("post", url).status_code == 409
    assert bob("delete", f"alert-incidents/{incident.pk}").status_code == 405


def test_the_newest_incident_comes_first_and_pages_lead_on(bob: Program, acme: Tenant):
    made = [incident_of(AlertRule.objects.create(tenant=acme, name=f"{number}")) for number in range(3)]
    first = bob("get", "alert-incidents", limit=2).json()
    rest = bob("get", "alert-incidents", limit=2, after=first["next"]).json()
    found = [each["id"] for each in (*first["items"], *rest["items"])]
    assert found == [incident.pk for incident in reversed(made)]


# --- Who may -------------------------------------------------------------------------------------------------


def objects_of(acme: Tenant, bob: Program) -> dict[str, int]:
    """One of each kind."""
    bob.make("alert-channels", name="very-private", kind="webhook", address=HOOK)
    rule = AlertRule.objects.create(tenant=acme, name="very-private")
    now = timezone.now()
    silence = AlertSilence.objects.create(tenant=acme, reason="very-private", ends_at=now + timedelta(hours=1))
    return {
        "alert-channels": AlertChannel.objects.get().pk,
        "alert-rules": rule.pk,
        "alert-silences": silence.pk,
        "alert-incidents": incident_of(rule).pk,
    }


VERBS = {
    "alert-channels": ("test", "rotate"),
    "alert-silences": ("end",),
    "alert-incidents": ("acknowledge",),
}


def test_charlie_finds_and_changes_none_of_acme_s(acme: Tenant, bob: Program, charlie: Program):
    before = None
    for path, pk in objects_of(acme, bob).items():
        before = before or [list(model.objects.values()) for model in (AlertChannel, AlertRule, AlertSilence)]
        asked = [("get", f"{path}/{pk}"), ("patch", f"{path}/{pk}"), ("delete", f"{path}/{pk}")]
        asked += [("post", f"{path}/{pk}/{verb}") for verb in VERBS.get(path, ())]
        for method, url in asked:
            assert charlie(method, url).status_code in {404, 405}, (method, url)
        for query in ({}, {"tenant": "acme"}):
            assert charlie("get", path, **query).json()["items"] == []
    assert before == [list(model.objects.values()) for model in (AlertChannel, AlertRule, AlertSilence)]
    assert AlertIncident.objects.get().acknowledged_at is None


def test_a_token_needs_the_scope(acme: Tenant, bob: Program):
    objects = objects_of(acme, bob)
    reader, other = (Program(name=scope, tenant=acme, scopes=[scope]) for scope in ("alerts:read", "limits:write"))
    for path, pk in objects.items():
        assert other("get", path).status_code == 403
        assert reader("get", path).status_code == 200
        if path != "alert-incidents":
            refused = reader("delete", f"{path}/{pk}")
            assert (refused.status_code, "alerts:write" in refused.json()["error"]["message"]) == (403, True)
        for verb in VERBS.get(path, ()):
            assert reader("post", f"{path}/{pk}/{verb}").status_code == 403


@pytest.mark.parametrize("role", ["developer", "viewer"])
def test_members_who_are_no_owners_only_look(acme: Tenant, bob: Program, role: str):
    objects = objects_of(acme, bob)
    client = member_browser(acme, role, role)
    for path, pk in objects.items():
        assert client.get(f"{V1}/{path}/{pk}").status_code == 200
        if path != "alert-incidents":
            assert client.delete(f"{V1}/{path}/{pk}").status_code == 403
        for verb in VERBS.get(path, ()):
            assert client.post(f"{V1}/{path}/{pk}/{verb}").status_code == 403
