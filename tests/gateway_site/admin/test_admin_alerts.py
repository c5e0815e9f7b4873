"""Alert rules, channels, incidents and silences in the console: made, tried out, acknowledged; and not by Charlie."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tenants.alert_rules import judge_rules
from tenants.alerting import Gauges
from tenants.models import (
    AlertChannel,
    AlertIncident,
    AlertMessage,
    AlertRule,
    AlertSilence,
    AuditEvent,
    Tenant,
    User,
)
from tests.gateway_site.admin.browsing import Console, change, member_console
from tests.tenants.receivers import Receiver, running

pytestmark = pytest.mark.django_db

RULES, CHANNELS = "/admin/tenants/alertrule/", "/admin/tenants/alertchannel/"
INCIDENTS, SILENCES = "/admin/tenants/alertincident/", "/admin/tenants/alertsilence/"
ALL = (RULES, CHANNELS, INCIDENTS, SILENCES)
SECRET = re.compile(r"whsec_[A-Za-z0-9_-]{43}")


def action(name: str, item: Any) -> str:
    return reverse(f"admin:tenants_{item._meta.model_name}_{name}", args=[item.pk])


@pytest.fixture
def charlie(charlie: Client) -> Console:
    return Console(charlie)


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    settings.ALERT_WEBHOOKS_MAY_BE_PRIVATE = True
    with running(Receiver()) as server:
        yield server


def fire(tenant: Tenant | None = None) -> AlertIncident:
    """Let a rule about the gateway, or about a quiet tenant, fire."""
    values = {"name": "Quiet", "metric": "requests_per_minute", "comparison": "below", "sustained": 0}
    AlertRule.objects.create(tenant=tenant, threshold=Decimal(1), **values)
    judge_rules(timezone.now(), Gauges())
    return AlertIncident.objects.get(tenant=tenant)


# --- Rules -------------------------------------------------------------------------------------------------


def test_a_rule_is_made_and_says_what_it_does(console: Console, tenant: Tenant):
    ops = AlertChannel.objects.create(name="Ops", emails=["ops@example.com"])
    response = console.submit(
        f"{RULES}add/",
        name="Errors of smart",
        model="smart",
        threshold="2.5",
        channels=[ops.pk],
        watched_tenant=tenant.pk,
    )
    assert response.status_code == 302
    made = AlertRule.objects.get()
    assert (made.tenant, made.threshold, made.watched_tenant, [*made.channels.all()]) == (
        None,
        Decimal("2.5"),
        tenant,
        [ops],
    )
    for page in (RULES, change(made)):
        text = " ".join(console.get(page).content.decode().split())
        assert "When the error rate of tenant Acme, model smart is above 2.5% over 10 minutes" in text
        assert "tell Ops, and again every hour" in text


def test_a_form_is_previewed_without_being_kept(console: Console):
    fields = {**console.fields(f"{RULES}add/"), "name": "x", "metric": "requests_per_minute", "comparison": "below"}
    fields["channels"] = []
    answer = console.client.post(f"{RULES}preview/", fields).json()
    assert answer["words"].startswith("When the number of requests per minute is below 5 over 10 minutes")
    assert (answer["value"], answer["is_beyond"]) == ("0 (0 requests)", True)
    assert "problem" in console.client.post(f"{RULES}preview/", {**fields, "threshold": "much"}).json()
    assert console.client.get(f"{RULES}preview/").status_code == 405
    assert not AlertRule.objects.exists()


def test_a_stored_rule_is_previewed_as_it_is_typed(console: Console):
    rule = AlertRule.objects.create(name="x", threshold=Decimal(5))
    fields = {**console.fields(change(rule)), "threshold": "7", "_rule": rule.pk, "channels": []}
    assert "above 7%" in console.client.post(f"{RULES}preview/", fields).json()["words"]
    rule.refresh_from_db()
    assert rule.threshold == 5


def test_a_rule_tells_channels_of_its_owner_only(console: Console, tenant: Tenant, errors: Callable[[Any], Any]):
    acmes = AlertChannel.objects.create(tenant=tenant, name="Acme's", emails=["a@example.com"])
    refused = console.submit(f"{RULES}add/", name="x", channels=[acmes.pk])
    assert set(errors(refused)) == {"channels"}
    assert console.submit(f"{RULES}add/", name="x", tenant=tenant.pk, channels=[acmes.pk]).status_code == 302


def test_saving_a_rule_does_not_lose_what_was_remembered_of_it(console: Console):
    incident = fire()
    assert console.submit(change(incident.rule), name="Renamed", channels=[]).status_code == 302
    judge_rules(timezone.now(), Gauges())
    assert [*AlertIncident.objects.values_list("pk", "resolved_at")] == [(incident.pk, None)]


def test_changes_are_in_the_audit_trail(console: Console):
    console.submit(f"{RULES}add/", name="Errors", channels=[])
    assert AuditEvent.objects.filter(action="created", object_type__icontains="alert").exists()


# --- Channels ----------------------------------------------------------------------------------------------


def test_a_webhook_s_secret_is_shown_once_and_its_address_never(console: Console, receiver: Receiver):
    response = console.submit(f"{CHANNELS}add/", name="Hook", kind="webhook", address=receiver.url)
    [secret] = set(SECRET.findall(response.content.decode()))
    made = AlertChannel.objects.get()
    assert (made.secret, made.address) == (secret, receiver.url)
    assert "no-store" in response["Cache-Control"]
    page = console.get(change(made)).content.decode()
    assert "team=a" not in page
    assert not SECRET.search(page)
    [newer] = set(SECRET.findall(console.client.post(action("new_secret", made)).content.decode()))
    made.refresh_from_db()
    assert made.secret == newer != secret
    assert console.submit(change(made), name="Renamed").status_code == 302
    made.refresh_from_db()
    assert (made.name, made.address, made.secret) == ("Renamed", receiver.url, newer)


def test_a_test_button_says_what_came_of_it(console: Console, receiver: Receiver):
    console.submit(f"{CHANNELS}add/", name="Chat", kind="slack", address=receiver.url)
    made = AlertChannel.objects.get()
    for status, words in ((200, "was delivered to Chat"), (500, "was not delivered to Chat. It answered 500.")):
        receiver.status = status
        console.confirm(action("send_test", made))
        assert words in console.get(CHANNELS).content.decode()
    assert len(receiver.calls) == 2
    assert console.get(action("new_secret", made)).status_code == 403  # Slack's address is its secret


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"kind": "email"}, "emails"),
        ({"kind": "email", "emails": "nobody"}, "emails"),
        ({"kind": "webhook"}, "address"),
        ({"kind": "slack", "address": "http://10.0.0.7/"}, "address"),
        ({"kind": "slack", "address": "nonsense"}, "address"),
    ],
)
def test_a_channel_leads_somewhere(console: Console, errors: Callable[[Any], Any], values: dict[str, str], field: str):
    assert set(errors(console.submit(f"{CHANNELS}add/", name="x", **values))) == {field}


# --- Incidents and silences --------------------------------------------------------------------------------


def test_an_incident_is_acknowledged_by_name(console: Console, alice: User):
    incident = fire()
    assert "Firing" in console.get(INCIDENTS).content.decode()
    console.confirm(action("acknowledge", incident))
    incident.refresh_from_db()
    assert incident.acknowledged_by == alice
    page = console.get(change(incident)).content.decode()
    assert "alice" in page
    assert "Nobody: its rule had no channels." in page


def test_incidents_that_fire_come_first_and_say_who_was_told(console: Console):
    incident = fire()
    values = {"metric": "error_rate", "severity": "notice", "value": 1, "worst": 1, "last": 1, "words": "w"}
    now = timezone.now()
    AlertIncident.objects.create(title="Over", began_at=now, resolved_at=now, **values)
    AlertMessage.objects.create(
        incident=incident, channel_name="Ops", kind="firing", value=Decimal(0), error="It answered 500."
    )
    text = console.get(INCIDENTS).content.decode()
    assert text.index(">Quiet<") < text.index(">Over<")
    page = console.get(change(incident)).content.decode()
    assert "It answered 500." in page
    assert "Over" not in console.get(INCIDENTS, state="firing").content.decode().split("result_list")[1]


def test_what_fires_needs_attention_on_the_first_page(console: Console):
    assert "alert fires" not in console.get("/admin/").content.decode()
    fire()
    assert "1 alert fires: Quiet." in console.get("/admin/").content.decode()


def test_an_incident_is_silenced_in_two_clicks(console: Console, alice: User):
    incident = fire()
    form = console.get(action("silence_rule", incident)).url
    fields = console.fields(form)
    assert fields["rule"] == str(incident.rule_id)
    response = console.client.post(form, {**fields, "reason": "upgrade", "_save": "Save"})
    assert response.status_code == 302
    made = AlertSilence.objects.get()
    assert (made.rule, made.created_by, made.tenant) == (incident.rule, alice, None)
    assert timedelta(minutes=50) < made.ends_at - timezone.now() < timedelta(minutes=61)
    console.confirm(action("end_now", made))
    made.refresh_from_db()
    assert not made.is_on(timezone.now())


# --- Tenants -----------------------------------------------------------------------------------------------


def test_owners_have_rules_of_their_own_without_the_operators_parts(tenant: Tenant):
    owner = member_console(tenant, "owner", "owner")
    fields = owner.fields(f"{RULES}add/")
    assert not {"tenant", "watched_tenant", "provider", "deployment"} & set(fields)
    assert "Ledger lag" not in owner.get(f"{RULES}add/").content.decode()
    assert owner.submit(f"{CHANNELS}add/", name="Us", emails="a@example.com").status_code == 302
    us = AlertChannel.objects.get()
    assert owner.submit(f"{RULES}add/", name="Errors", channels=[us.pk]).status_code == 302
    assert owner.submit(f"{SILENCES}add/", reason="upgrade").status_code == 302
    assert {us.tenant, AlertRule.objects.get().tenant, AlertSilence.objects.get().tenant} == {tenant}
    fire(tenant)
    assert "1 alert fires: Quiet." in owner.get("/admin/").content.decode()
    owner.client.post(f"{RULES}add/", {**fields, "name": "x", "metric": "ledger_lag", "_save": "Save"})
    assert not AlertRule.objects.filter(metric="ledger_lag").exists()


@pytest.mark.parametrize("role", ["developer", "viewer"])
def test_others_look(tenant: Tenant, role: str):
    incident = fire(tenant)
    someone = member_console(tenant, role, role)
    for page in ALL:
        assert someone.get(page).status_code == 200
        assert someone.get(f"{page}add/").status_code == 403
    text = someone.get(change(incident.rule)).content.decode()
    assert "Quiet" in text
    assert ">Threshold<" in text
    assert ">Currency<" not in text  # of costs only
    assert someone.client.post(f"{RULES}preview/", {"name": "x"}).status_code == 403
    assert someone.client.post(action("acknowledge", incident), {"_form_submitted": "True"}).status_code == 403
    incident.refresh_from_db()
    assert incident.acknowledged_at is None


def test_charlie_sees_and_changes_nothing(tenant: Tenant, charlie: Console, receiver: Receiver):
    channel = AlertChannel(tenant=tenant, name="Acme's chat", kind="slack")
    channel.take_address(receiver.url)
    channel.save()
    incident = fire(tenant)
    operators = fire()
    silence = AlertSilence.objects.create(tenant=tenant, reason="Acme's upgrade", ends_at=timezone.now())
    for page in (*ALL, "/admin/"):
        text = charlie.get(page).content.decode()
        assert not [word for word in ("Quiet", "Acme", receiver.url) if word in text], page
    for item in (channel, incident, incident.rule, silence, operators, operators.rule):
        assert charlie.get(change(item)).status_code in (302, 404)
    for name, item in (
        ("send_test", channel),
        ("new_secret", channel),
        ("acknowledge", incident),
        ("silence_rule", incident),
        ("silence", incident.rule),
        ("end_now", silence),
    ):
        answer = charlie.client.post(action(name, item), {"_form_submitted": "True"})
        assert answer.status_code in (302, 403, 404), name
        assert "rule=" not in answer.headers.get("Location", "")
    fields = charlie.fields(f"{RULES}add/")
    forged = {**fields, "name": "x", "channels": [channel.pk], "tenant": tenant.pk, "watched_tenant": tenant.pk}
    assert charlie.client.post(f"{RULES}add/", {**forged, "_save": "Save"}).status_code == 200
    assert "problem" in charlie.client.post(f"{RULES}preview/", forged).json()
    assert "When" not in str(charlie.client.post(f"{RULES}preview/", {**forged, "_rule": incident.rule_id}).json())
    assert receiver.calls == []
    incident.refresh_from_db()
    assert incident.acknowledged_at is None
    assert AlertRule.objects.count() == 2


def test_empty_lists_say_what_would_be_there(console: Console):
    for page, words in zip(
        ALL, ("A rule watches", "A channel writes", "What alert rules find", "While a silence holds"), strict=True
    ):
        assert words in console.get(page).content.decode()


def test_the_pages_ask_few_questions(console: Console, django_assert_max_num_queries: Callable[[int], Any]):
    channel = AlertChannel.objects.create(name="Ops", emails=["ops@example.com"])
    for number in range(20):
        made = AlertRule.objects.create(
            name=f"{number}", threshold=Decimal(1), metric="requests_per_minute", sustained=0
        )
        made.comparison = "below"
        made.save()
        made.channels.add(channel)
    judge_rules(timezone.now(), Gauges())
    for page in (*ALL, change(AlertRule.objects.all()[0]), change(AlertIncident.objects.all()[0])):
        with django_assert_max_num_queries(20):
            assert console.get(page).status_code == 200
