"""Alert rules against a real ledger: what they measure, what fires once, and who is told of it, by real servers."""

from __future__ import annotations

import hmac
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, OperationalError, connection, transaction
from django.utils import timezone

from tenants.alert_messages import deliver_messages, send_test
from tenants.alert_readings import read_all
from tenants.alert_rules import LOCK, judge_rules, present_value
from tenants.alerting import Gauges, Reading
from tenants.models import AlertChannel, AlertIncident, AlertMessage, AlertRule, AlertSilence, ApiKey, Tenant, User
from tenants.webhooks import NotDelivered
from tests.tenants.ledger_events import event, write
from tests.tenants.receivers import Mailbox, Receiver, running

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 18, 12, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
UNKNOWN = Gauges()
SECRET = "whsec_the-operators-own-secret"


def use(tenant: Tenant, ago: int = 1, count: int = 1, **facts: Any) -> None:
    """Book requests that began so many minutes ago."""
    values = {
        "tenant_id": tenant.pk,
        "api_key_id": 999_999,
        "provider": "anthropic",
        "deployment": "claude",
        "latency_ms": 1_000,
        "first_token_ms": 100,
        "input_tokens": 60,
        "cache_read_tokens": 40,
        "output_tokens": 20,
        "cost": Decimal("0.5"),
    }
    write(*(event(NOW - ago * MINUTE, **values | facts) for _ in range(count)))


def rule(tenant: Tenant | None = None, channels: tuple[AlertChannel, ...] = (), **values: Any) -> AlertRule:
    given = {"name": "Errors", "sustained": 0, "minimum_requests": 1, "threshold": Decimal(5)}
    made = AlertRule(tenant=tenant, **given | values)
    made.full_clean()
    made.save()
    made.channels.set(channels)
    return made


def measured(made: AlertRule, gauges: Gauges = UNKNOWN, now: datetime = NOW) -> float | None:
    value = read_all([made], now, gauges, patience=5)[made.pk].value
    return None if value is None else float(value)


def approx(value: float) -> Any:
    return pytest.approx(value, abs=1e-5)  # values have six digits


def failing(tenant: Tenant, count: int = 1, **facts: Any) -> None:
    use(tenant, count=count, status=502, outcome="upstream_failed", **facts)


def judged(now: datetime = NOW, gauges: Gauges = UNKNOWN) -> int:
    return judge_rules(now, gauges)


# --- What is measured --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("error_rate", 25),
        ("requests_per_minute", 0.8),
        ("tokens_per_minute", 96),
        ("cost_per_hour", 24),
        ("cost_per_day", 576),
        ("cache_hit_rate", 40),
    ],
)
@pytest.mark.parametrize("window", [10, 180], ids=["records", "hours"])
def test_it_measures_usage(alice: Tenant, metric: str, value: float, window: int):
    scale = 1 if metric in {"error_rate", "cache_hit_rate"} else 10 / window
    use(alice, count=6)
    failing(alice, count=2)
    assert measured(rule(metric=metric, window=window)) == approx(value * scale)


@pytest.mark.parametrize("window", [10, 180], ids=["records", "hours"])
def test_it_measures_how_long_the_slowest_took(alice: Tenant, window: int):
    use(alice, count=90)
    use(alice, count=10, latency_ms=9_000, first_token_ms=3_000)
    assert measured(rule(metric="latency_p95", window=window)) == pytest.approx(9_000, rel=0.1)
    assert measured(rule(metric="first_token_p95", window=window)) == pytest.approx(3_000, rel=0.1)


@pytest.mark.parametrize("window", [10, 180], ids=["records", "hours"])
@pytest.mark.parametrize("named", ["model", "provider", "deployment"])
def test_it_measures_only_what_it_names(alice: Tenant, named: str, window: int):
    other = {"model": "alias"}.get(named, named)
    use(alice, count=3, **{other: "other"})
    use(alice, count=1)
    made = rule(metric="requests_per_minute", window=window, **{named: "other"})
    assert measured(made) == approx(3 / window)
    assert measured(rule(metric="requests_per_minute", window=window, **{named: "unheard-of"})) == 0


@pytest.mark.parametrize("window", [10, 180], ids=["records", "hours"])
def test_charlie_s_requests_are_not_alice_s(alice: Tenant, charlie: Tenant, window: int):
    failing(charlie, count=3)
    use(alice)
    assert measured(rule(alice, window=window)) == 0
    assert measured(rule(charlie, window=window)) == 100
    assert measured(rule(window=window)) == 75
    assert measured(rule(watched_tenant=alice, window=window)) == 0
    key = ApiKey.objects.create(tenant=charlie, name="c", prefix="sk-tg-c", last_four="xxxx", digest="d", pepper_id="1")
    use(charlie, count=4, api_key_id=key.pk)
    assert measured(rule(charlie, metric="requests_per_minute", api_key=key, window=window)) == approx(4 / window)


def test_a_window_ends_where_it_begins(alice: Tenant):
    use(alice, ago=20, count=5)
    use(alice, ago=3, count=2)
    for window, count in ((5, 2), (10, 2), (30, 7), (60, 7)):
        assert measured(rule(metric="requests_per_minute", window=window)) == approx(count / window)


def test_who_was_waited_for_in_vain_counts_when_that_came_out(alice: Tenant):
    failing(alice, ago=11, latency_ms=600_000)
    assert measured(rule(window=5)) == 100


def test_of_the_first_hour_counts_what_is_in_the_window(alice: Tenant):
    use(alice, ago=185, count=8)  # in the hour from 9 to 10, half of which is in the window from 9:30
    assert measured(rule(metric="requests_per_minute", window=180)) == approx(4 / 180)


def test_currencies_are_not_added_up(alice: Tenant):
    use(alice, cost=Decimal(3), currency="EUR")
    use(alice, cost=Decimal(2))
    assert measured(rule(metric="cost_per_hour", window=60)) == 2
    assert measured(rule(metric="cost_per_hour", window=60, currency="EUR")) == 3


def test_without_requests_there_is_nothing_to_measure(alice: Tenant):
    for metric in ("error_rate", "latency_p95", "first_token_p95", "cache_hit_rate"):
        for window in (10, 180):
            assert measured(rule(metric=metric, window=window)) is None


def test_while_usage_waits_outside_of_the_ledger_it_is_not_measured(alice: Tenant):
    use(alice)
    quiet = rule(metric="requests_per_minute", comparison="below", threshold=Decimal(100))
    assert measured(quiet, Gauges(ledger_lag=300.0)) is None
    assert measured(rule(metric="ledger_lag"), Gauges(ledger_lag=300.0)) == 300


def test_it_measures_the_gateway():
    gauges = Gauges(
        open_breakers=[("anthropic", "claude"), ("openai", "gpt")],
        failing_probes=[("openai", "gpt")],
        ledger_lag=2.5,
        lagging_workers=1,
    )
    for metric, value in (("breaker_open", 2), ("probe_failing", 1), ("ledger_lag", 2.5), ("worker_lag", 1)):
        assert measured(rule(metric=metric), gauges) == value
        assert measured(rule(metric=metric)) is None
    assert measured(rule(metric="breaker_open", provider="openai"), gauges) == 1
    assert measured(rule(metric="breaker_open", deployment="other"), gauges) == 0


def test_all_rules_are_read_with_few_questions(alice: Tenant, django_assert_max_num_queries: Callable[[int], Any]):
    use(alice, count=3)
    made = [
        rule(metric=metric, window=window, model=model, watched_tenant=tenant)
        for metric in ("error_rate", "latency_p95", "cost_per_hour")
        for window in (5, 10, 60, 180, 1440)
        for model in ("", "smart", "other")
        for tenant in (None, alice)
    ]
    with django_assert_max_num_queries(8):  # four questions, a savepoint and its end, two settings
        readings = read_all(made, NOW, Gauges(), patience=5)
    assert len(readings) == len(made)
    assert readings[made[0].pk].requests == 3


def patience() -> str:
    """How long PostgreSQL lets this connection's questions take."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('statement_timeout')")
        return str(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True)
def test_what_takes_too_long_is_given_up_and_nothing_is_decided(alice: Tenant):
    failing(alice)
    made, before = rule(), patience()
    judged()
    other = connection.copy()
    other.set_autocommit(False)
    try:
        with other.cursor() as cursor:
            cursor.execute("LOCK TABLE tenants_usagerecord IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(OperationalError):
            read_all([made], NOW, UNKNOWN, patience=0.05)
        assert judge_rules(NOW + MINUTE, UNKNOWN, patience=0.05) == 0
        assert present_value(made, NOW, patience=0.05) == (Reading(), False)
    finally:
        other.rollback()
        other.close()
    made.refresh_from_db()
    assert made.state.no_data_since == NOW + MINUTE
    assert AlertIncident.objects.get().is_firing
    assert patience() == before


# --- What is kept ------------------------------------------------------------------------------------------


def test_a_rule_fires_goes_on_and_resolves(alice: Tenant, charlie: Tenant):
    failing(alice, count=10)
    made = rule(alice, sustained=2, cooldown=10)
    rule(charlie)
    for minute in range(3):
        judged(NOW + minute * MINUTE)
    incident = AlertIncident.objects.get()
    assert (incident.tenant, incident.rule, incident.began_at) == (alice, made, NOW + 2 * MINUTE)
    assert (incident.value, incident.is_firing) == (100, True)
    use(alice, ago=-3, count=990)
    judged(NOW + 5 * MINUTE)
    incident.refresh_from_db()
    assert (incident.worst, incident.last, incident.resolved_at) == (100, 1, NOW + 5 * MINUTE)
    assert AlertIncident.objects.count() == 1


def test_without_data_an_incident_goes_on(alice: Tenant):
    failing(alice)
    made = rule(window=5)
    judged()
    judged(NOW + 30 * MINUTE)
    assert AlertIncident.objects.get().is_firing
    made.refresh_from_db()
    assert made.state.no_data_since == NOW + 30 * MINUTE


def test_a_rule_that_is_switched_off_or_deleted_ends_quietly(alice: Tenant):
    failing(alice)
    first, second = rule(), rule(name="Other")
    judged()
    AlertRule.objects.filter(pk=first.pk).update(is_enabled=False)
    second.delete()
    judged(NOW + MINUTE)
    assert not AlertIncident.objects.firing().exists()
    assert sorted(AlertIncident.objects.values_list("title", flat=True)) == ["Errors", "Other"]


def test_a_rule_has_one_incident_at_a_time(alice: Tenant):
    failing(alice)
    made = rule()
    judged()
    again = AlertIncident.objects.get()
    again.pk = None
    with pytest.raises(IntegrityError), transaction.atomic():
        again.save(force_insert=True)
    assert made.incidents.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_workers_do_not_fire_twice(alice: Tenant):
    failing(alice)
    rule(channels=(AlertChannel.objects.create(name="Ops", emails=["ops@example.com"]),))
    told: list[int] = []

    def work() -> None:
        try:
            told.append(judged())
        finally:
            connection.close()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sum(told) == 1
    assert AlertIncident.objects.count() == AlertMessage.objects.count() == 1
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
    assert told[-1] == 0


def test_a_preview_says_what_would_be_measured(alice: Tenant):
    failing(alice)
    reading, is_known = present_value(AlertRule(tenant=alice, window=10), NOW)
    assert (reading.value, reading.requests, is_known) == (100, 1, True)
    assert present_value(AlertRule(metric="breaker_open"), NOW)[0].value is None


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"metric": "latency_p95", "deployment": "d", "window": 180}, "window"),
        ({"metric": "nonsense"}, "metric"),
        ({"window": 7}, "window"),
        ({"cooldown": 0}, "cooldown"),
        ({"threshold": Decimal("NaN")}, "threshold"),
        ({"currency": "XXX"}, "currency"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(values: dict[str, Any], field: str):
    with pytest.raises(ValidationError) as refused:
        AlertRule(name="x", **values).full_clean()
    assert set(refused.value.message_dict) == {field}


def test_a_tenant_does_not_watch_the_gateway_nor_another_s_key(alice: Tenant, charlie: Tenant):
    key = ApiKey.objects.create(tenant=charlie, name="c", prefix="sk-tg-c", last_four="xxxx", digest="d", pepper_id="1")
    for values, field in (
        ({"metric": "ledger_lag"}, "metric"),
        ({"api_key": key}, "api_key"),
        ({"watched_tenant": charlie}, "watched_tenant"),
        ({"provider": "openai"}, "provider"),
        ({"deployment": "gpt"}, "deployment"),
    ):
        with pytest.raises(ValidationError) as refused:
            AlertRule(name="x", tenant=alice, **values).full_clean()
        assert set(refused.value.message_dict) == {field}


# --- Silences ----------------------------------------------------------------------------------------------


def silence(tenant: Tenant | None = None, minutes: int = 10, **values: Any) -> AlertSilence:
    made = AlertSilence(tenant=tenant, starts_at=NOW, ends_at=NOW + minutes * MINUTE, reason="upgrade", **values)
    made.full_clean()
    made.save()
    return made


def test_what_is_silenced_is_recorded_and_told_when_the_silence_ends(alice: Tenant):
    failing(alice, ago=0)
    rule(alice, channels=(AlertChannel.objects.create(tenant=alice, name="A", emails=["a@example.com"]),), window=60)
    quiet = silence(alice)
    judged()
    assert AlertIncident.objects.get().silence == quiet
    assert not AlertMessage.objects.exists()
    judged(NOW + 10 * MINUTE)
    assert [message.kind for message in AlertMessage.objects.all()] == ["firing"]


def test_charlie_s_silence_leaves_alice_s_alerts_alone(alice: Tenant, charlie: Tenant):
    failing(alice)
    rule(alice, channels=(AlertChannel.objects.create(tenant=alice, name="A", emails=["a@example.com"]),))
    silence(charlie)
    assert judged() == 1
    with pytest.raises(ValidationError):
        silence(charlie, rule=AlertRule.objects.get())


def test_a_silence_ends_after_it_begins():
    with pytest.raises(ValidationError):
        silence(minutes=0)


# --- Who is told, for real ---------------------------------------------------------------------------------


@pytest.fixture
def mailbox(settings: Any) -> Iterator[Mailbox]:
    with running(Mailbox()) as server:
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.server_address[1]
        yield server


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    settings.ALERT_WEBHOOKS_MAY_BE_PRIVATE = True
    with running(Receiver()) as server:
        yield server


def channel(kind: str, receiver: Receiver, tenant: Tenant | None = None) -> AlertChannel:
    made = AlertChannel(tenant=tenant, name=kind.title(), kind=kind)
    made.take_address(receiver.url)
    made.save()
    if kind == "webhook":
        made.set_secret(SECRET)
    return made


def test_it_writes_an_e_mail(alice: Tenant, charlie: Tenant, mailbox: Mailbox):
    failing(alice)
    AlertChannel.objects.create(tenant=charlie, name="C", emails=["charlie@example.com"])
    rule(alice, channels=(AlertChannel.objects.create(tenant=alice, name="A", emails=["a@example.com"]),))
    judged()
    assert deliver_messages() == 1
    [(recipients, message)] = mailbox.messages
    assert recipients == ["a@example.com"]
    assert message["subject"] == "[Tollgate] Firing: Errors (100%)"
    text = message.get_payload()
    for part in ("When the error rate of all requests is above 5%", "Severity: Warning", "2026-11-18 12:30", "Alice"):
        assert part in text
    assert deliver_messages() == 0


def test_it_calls_a_signed_webhook(alice: Tenant, receiver: Receiver):
    failing(alice)
    made = rule(channels=(channel("webhook", receiver),), severity="critical")
    judged()
    assert deliver_messages() == 1
    [(_, headers, body)] = receiver.calls
    moment, _, digest = headers["x-tollgate-signature"].removeprefix("t=").partition(",v1=")
    expected = hmac.new(SECRET.encode(), f"{moment}.".encode() + body, "sha256").hexdigest()
    assert hmac.compare_digest(digest, expected)
    document = json.loads(body)
    assert (document["type"], document["tenant"], document["severity"]) == ("alert.firing", None, "critical")
    assert (document["rule"]["id"], document["value"], document["worst"]) == (made.pk, "100", "100")
    assert (document["began_at"], document["resolved_at"]) == ("2026-11-18T12:30:00Z", None)


def test_it_tells_slack_without_mentioning_anybody(alice: Tenant, receiver: Receiver):
    failing(alice)
    rule(channels=(channel("slack", receiver),), name="<!channel> & co")
    judged()
    use(alice, ago=-1, count=999)
    judged(NOW + 2 * MINUTE)
    assert deliver_messages() == 2
    first, second = (json.loads(body) for _, _, body in receiver.calls)
    assert all("x-tollgate-signature" not in headers for _, headers, _ in receiver.calls)
    assert first["text"] == "Firing: &lt;!channel&gt; &amp; co (100%)"
    assert second["text"].startswith("Resolved: ")
    assert {first["attachments"][0]["color"], second["attachments"][0]["color"]} == {"#d97706", "#16a34a"}


def test_what_did_not_get_through_is_sent_again_and_given_up_after_a_day(alice: Tenant, receiver: Receiver):
    failing(alice)
    rule(channels=(channel("slack", receiver),))
    judge_rules(NOW, Gauges())
    AlertMessage.objects.update(created_at=timezone.now(), next_try_at=timezone.now())
    receiver.status = 403
    assert deliver_messages() == 0
    message = AlertMessage.objects.get()
    assert (message.state, message.error, message.tries) == ("waiting", "It answered 403.", 1)
    assert message.next_try_at > timezone.now()
    AlertMessage.objects.update(created_at=timezone.now() - timedelta(days=2), next_try_at=timezone.now())
    deliver_messages()
    message.refresh_from_db()
    assert message.state == "given_up"


def test_a_channel_that_is_deleted_is_not_told(alice: Tenant, receiver: Receiver):
    failing(alice)
    gone = channel("slack", receiver)
    rule(channels=(gone,))
    judged()
    gone.delete()
    assert deliver_messages() == 0
    message = AlertMessage.objects.get()
    assert (message.state, message.channel_name, message.error) == ("given_up", "Slack", "The channel was deleted.")
    assert receiver.calls == []


@pytest.mark.parametrize("kind", ["webhook", "slack"])
def test_a_test_says_what_came_of_it(receiver: Receiver, kind: str):
    made = channel(kind, receiver)
    send_test(made, NOW)
    assert "test" in receiver.calls[0][2].decode()
    receiver.status = 404
    with pytest.raises(NotDelivered, match="answered 404"):
        send_test(made, NOW)
    made.take_address("http://127.0.0.1:9/")
    with pytest.raises(NotDelivered, match="cannot be reached"):
        send_test(made, NOW)


def test_private_addresses_are_refused_unless_they_are_allowed(receiver: Receiver, settings: Any):
    made = channel("slack", receiver)
    settings.ALERT_WEBHOOKS_MAY_BE_PRIVATE = False
    with pytest.raises(NotDelivered, match="private"):
        send_test(made, NOW)
    with pytest.raises(ValidationError):
        made.take_address(receiver.url)
    assert receiver.calls == []


def test_addresses_are_stored_encrypted_and_shown_in_part(receiver: Receiver):
    made = channel("slack", receiver)
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM tenants_alertchannel WHERE id = %s", [made.pk])
        stored = str(cursor.fetchone())
    assert "team=a" not in stored
    assert AlertChannel.objects.get().address == receiver.url
    assert made.target == f"http://127.0.0.1:{receiver.server_address[1]}/…"


def test_a_channel_without_an_address_says_so():
    with pytest.raises(NotDelivered, match="no address"):
        send_test(AlertChannel(name="x", kind="slack"), NOW)
    with pytest.raises(NotDelivered, match="no addresses"):
        send_test(AlertChannel(name="x"), NOW)


def test_who_takes_care_of_it_hears_no_repeats(alice: Tenant, bob: User):
    failing(alice)
    made = AlertChannel.objects.create(tenant=alice, name="A", emails=["a@example.com"])
    rule(alice, channels=(made,), cooldown=1, window=60)
    judged()
    AlertIncident.objects.get().acknowledge(bob)
    judged(NOW + 5 * MINUTE)
    assert AlertMessage.objects.count() == 1
