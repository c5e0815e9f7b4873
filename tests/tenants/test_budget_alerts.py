"""Alerts of budgets: each threshold once per period, by e-mail and by signed webhook, until it got through."""

from __future__ import annotations

import hmac
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils import timezone

from tenants.budget_alert_messages import deliver_alerts, payload, text_of
from tenants.budget_alerts import note_spend, thresholds_reached
from tenants.budgets import reset, standings, top_up
from tenants.ledger import write_records
from tenants.limits.periods import counter_name, slot_start
from tenants.models import Budget, BudgetAlert, BudgetSpend, Project, Tenant
from tenants.outbox import GIVE_UP_AFTER, pause_after
from tenants.usage_event import UsageEvent
from tenants.webhook_signature import signature
from tenants.webhooks import NotDelivered, post
from tests.providers.pem import identity
from tests.tenants.receivers import Mailbox, Receiver, running

pytestmark = pytest.mark.django_db

TODAY = datetime(2026, 11, 18, 12, tzinfo=UTC)
SECRET = "whsec_alice-s-very-own-secret"


def budget(tenant: Tenant, **values: Any) -> Budget:
    given: dict[str, Any] = {"amount": Decimal(100), "period": "month", "alert_at": [50, 80, 100]}
    return Budget.objects.create(tenant=tenant, **given | values)


def spend(budget: Budget, amount: str, *, at: datetime = TODAY, end_user: str = "") -> list[str]:
    """Book so much more on a budget, as the ledger does; returns the counters that were charged."""
    start = slot_start(budget.period, at.timestamp(), budget.tenant.timezone)
    name = counter_name(budget.pk, budget.resets, start, end_user)
    moment = datetime.fromtimestamp(start, UTC)
    row, _ = BudgetSpend.objects.get_or_create(counter=name, defaults={"budget_id": budget.pk, "starts_at": moment})
    row.spent += Decimal(amount)
    row.save()
    return [name]


def noted(tenant: Tenant) -> list[int]:
    """The thresholds that were noted for a tenant, oldest first."""
    return list(BudgetAlert.objects.for_tenant(tenant).order_by("pk").values_list("threshold", flat=True))


# --- Which are noted ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spent", "reached"), [("0", []), ("-1", []), ("49.999999999", []), ("50", [50]), ("100", [50, 100])]
)
def test_a_threshold_is_reached_to_the_last_digit(spent: str, reached: list[int]):
    assert thresholds_reached([50, 100], Decimal(spent), Decimal(100)) == reached


def test_a_budget_of_nothing_is_used_up_by_the_first_cent():
    assert thresholds_reached([50], Decimal(0), Decimal(0)) == []
    assert thresholds_reached([50], Decimal("0.01"), Decimal(0)) == [50]


def test_each_threshold_is_noted_once_per_period(alice: Tenant, charlie: Tenant):
    monthly, charlies = budget(alice), budget(charlie)
    assert note_spend([*spend(monthly, "49"), *spend(charlies, "1")]) == 0
    assert note_spend(spend(monthly, "31")) == 2
    for _ in range(3):
        assert note_spend(spend(monthly, "5")) == 0
    assert note_spend(spend(monthly, "50")) == 1
    assert noted(alice) == [50, 80, 100]
    assert noted(charlie) == []
    alert = BudgetAlert.objects.for_tenant(alice).first()
    assert alert is not None
    assert (alert.spent, alert.limit, alert.state) == (145, 100, "waiting")


def test_the_next_period_begins_anew(alice: Tenant):
    monthly = budget(alice, alert_at=[50])
    note_spend(spend(monthly, "60"))
    note_spend(spend(monthly, "60", at=TODAY + timedelta(days=30)))
    assert noted(alice) == [50, 50]


def test_soft_budgets_alert_as_well(alice: Tenant):
    note_spend(spend(budget(alice, is_hard=False, alert_at=[100, 200]), "250"))
    assert noted(alice) == [100, 200]


def test_a_budget_without_thresholds_tells_nobody(alice: Tenant):
    assert note_spend(spend(budget(alice, alert_at=[]), "500")) == 0


def test_a_reset_begins_anew_and_what_it_left_behind_is_quiet(alice: Tenant):
    monthly = budget(alice, alert_at=[50])
    old = spend(monthly, "60")
    note_spend(old)
    fresh = reset(budget=monthly)
    assert note_spend(old) == 0  # a request that was under way
    assert note_spend(spend(fresh, "60")) == 1


def test_a_top_up_arms_the_alerts_of_credit_anew(alice: Tenant):
    credit = budget(alice, period="credit", alert_at=[80])
    note_spend(spend(credit, "90"))
    assert note_spend(spend(credit, "1")) == 0
    top_up(budget=credit, amount=Decimal(100))
    credit.refresh_from_db()
    assert note_spend(spend(credit, "1")) == 0
    assert note_spend(spend(credit, "70")) == 1
    assert noted(alice) == [80, 80]


def test_an_increase_moves_the_thresholds_while_it_lasts(alice: Tenant):
    monthly = budget(alice, alert_at=[100], increase=Decimal(50), increase_until=timezone.now() + timedelta(hours=1))
    assert note_spend(spend(monthly, "120")) == 0
    Budget.objects.update(increase_until=timezone.now() - timedelta(seconds=1))
    assert note_spend(spend(monthly, "1")) == 1


def test_end_users_with_a_budget_of_their_own_are_told_apart(alice: Tenant):
    each = budget(alice, per_end_user=True, alert_at=[50])
    assert note_spend([*spend(each, "60", end_user="ann"), *spend(each, "10", end_user="ben")]) == 1
    assert note_spend(spend(each, "50", end_user="ben")) == 1
    assert note_spend(spend(each, "50", end_user="ann")) == 0


def test_a_rolling_budget_adds_its_days_up_and_tells_once_per_window(alice: Tenant):
    weekly = budget(alice, period="rolling", rolling_days=7, alert_at=[50])
    note_spend(spend(weekly, "30", at=TODAY - timedelta(days=6)))
    assert note_spend(spend(weekly, "20")) == 1
    assert note_spend(spend(weekly, "20", at=TODAY + timedelta(days=1))) == 0  # only 40 in its last seven days
    assert note_spend(spend(weekly, "90", at=TODAY + timedelta(days=6))) == 0  # the alert is in the window still
    assert note_spend(spend(weekly, "1", at=TODAY + timedelta(days=7))) == 1


def test_what_is_no_counter_and_what_has_no_budget_any_more_is_left_out(alice: Tenant):
    gone = budget(alice)
    counters = spend(gone, "90")
    gone.delete()
    assert note_spend([*counters, "nonsense", "", "1.2:x"]) == 0
    assert note_spend([]) == 0


def test_an_alert_is_part_of_the_ledger_s_transaction(alice: Tenant):
    monthly = budget(alice)
    with transaction.atomic():
        assert note_spend(spend(monthly, "90")) == 2
        transaction.set_rollback(True)
    assert noted(alice) == []


def test_what_the_ledger_books_is_noted_and_shown(alice: Tenant, charlie: Tenant):
    monthly, charlies = budget(alice, alert_at=[50]), budget(charlie, alert_at=[50])
    start = slot_start("month", TODAY.timestamp(), "UTC")
    names = [counter_name(each.pk, 0, start) for each in (monthly, charlies)]
    costs = [Decimal("30.000000001"), Decimal("29.999999999"), Decimal("49.999999999")]
    owners = [(alice, names[0]), (alice, names[0]), (charlie, names[1])]
    events = [
        UsageEvent(
            request_id=uuid4().hex,
            started_at=TODAY.timestamp(),
            tenant_id=owner.pk,
            api_key_id=1,
            dialect="openai_chat",
            alias="smart",
            status=200,
            outcome="served",
            cost_status="exact",
            latency_ms=1,
            cost=cost,
            currency="USD",
            budgets=(name,),
        )
        for (owner, name), cost in zip(owners, costs, strict=True)
    ]
    with transaction.atomic():
        write_records(events)
        note_spend(names)
    assert (noted(alice), noted(charlie)) == ([50], [])
    found = standings([monthly, charlies], TODAY)
    assert [found[each.pk].spent for each in (monthly, charlies)] == [60, costs[2]]


def test_many_counters_cost_few_queries(alice: Tenant, django_assert_max_num_queries: Callable[[int], Any]):
    each = budget(alice, per_end_user=True)
    counters = [name for number in range(50) for name in spend(each, "90", end_user=f"user-{number}")]
    with django_assert_max_num_queries(6):
        assert note_spend(counters) == 100


# --- E-mail and webhooks, for real -------------------------------------------------------------------------


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


@pytest.fixture
def told(alice: Tenant, mailbox: Mailbox, receiver: Receiver) -> Tenant:
    """Alice, who wants to be told both ways."""
    alice.alert_emails = ["alice@example.com", "finance@example.com"]
    alice.alert_webhook = receiver.url
    alice.full_clean()
    alice.save()
    alice.set_alert_secret(SECRET)
    return alice


def raised(tenant: Tenant, **values: Any) -> BudgetAlert:
    note_spend(spend(budget(tenant, alert_at=[80], **values), "81.5"))
    return BudgetAlert.objects.for_tenant(tenant).get()


def due_again(alert: BudgetAlert) -> None:
    BudgetAlert.objects.filter(pk=alert.pk).update(next_try_at=timezone.now())


def test_it_writes_to_the_tenant_and_calls_its_webhook(told: Tenant, mailbox: Mailbox, receiver: Receiver):
    alert = raised(told, project=Project.objects.create(tenant=told, slug="web"), model="smart")
    assert deliver_alerts() == 1

    [(recipients, message)] = mailbox.messages
    assert recipients == ["alice@example.com", "finance@example.com"]
    assert message["subject"] == "[Tollgate] Alice: 82% of 100 USD per month is spent"
    text = message.get_payload()
    for part in ("reached 80%", "Spent: 81.5 of 100 USD", "project web of Alice", "smart", "2026-11-01", "refused"):
        assert part in text

    [(path, headers, body)] = receiver.calls
    assert path == "/alerts?team=a"
    moment, _, digest = headers["x-tollgate-signature"].removeprefix("t=").partition(",v1=")
    expected = hmac.new(SECRET.encode(), f"{moment}.".encode() + body, "sha256").hexdigest()
    assert hmac.compare_digest(digest, expected)
    document = json.loads(body)
    assert document["id"] == alert.pk
    assert (document["tenant"], document["threshold"]) == ("alice", 80)
    assert (document["spent"], document["limit"], document["currency"]) == ("81.5", "100", "USD")
    assert document["budget"] | {"scope": "project", "name": "web", "model": "smart"} == document["budget"]
    assert (document["period_start"], document["period_end"]) == ("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z")

    alert.refresh_from_db()
    assert (alert.state, alert.tries, alert.error) == ("delivered", 1, "")
    assert deliver_alerts() == 0
    assert len(mailbox.messages) == len(receiver.calls) == 1


def test_charlie_is_told_nothing_of_alice_s_budgets(
    told: Tenant, charlie: Tenant, mailbox: Mailbox, receiver: Receiver
):
    charlie.alert_emails = ["charlie@example.com"]
    charlie.save()
    raised(told)
    deliver_alerts()
    assert all("charlie@example.com" not in recipients for recipients, _ in mailbox.messages)
    assert all(b"charlie" not in body for _, _, body in receiver.calls)
    assert noted(charlie) == []


def test_what_got_through_is_not_sent_again(told: Tenant, mailbox: Mailbox, receiver: Receiver):
    alert = raised(told)
    receiver.status = 503
    assert deliver_alerts() == 0
    alert.refresh_from_db()
    assert (alert.state, alert.error) == ("waiting", "Webhook: It answered 503.")
    assert alert.next_try_at > timezone.now()
    assert deliver_alerts() == 0  # not before its time
    assert len(receiver.calls) == 1
    receiver.status = 200
    due_again(alert)
    assert deliver_alerts() == 1
    assert (len(mailbox.messages), len(receiver.calls)) == (1, 2)
    alert.refresh_from_db()
    assert (alert.state, alert.tries, alert.error) == ("delivered", 2, "")


def test_it_waits_longer_each_time():
    pauses = [pause_after(tries).total_seconds() for tries in range(1, 12)]
    assert pauses[:3] == [30, 60, 120]
    assert pauses == sorted(pauses)
    assert pauses[-1] == pause_after(60_000).total_seconds() == 3600


def test_it_gives_up_after_a_day_and_says_why(told: Tenant, mailbox: Mailbox, receiver: Receiver):
    alert = raised(told)
    receiver.status, mailbox.refuses = 500, True
    BudgetAlert.objects.update(waits_since=timezone.now() - GIVE_UP_AFTER - timedelta(seconds=1))
    deliver_alerts()
    alert.refresh_from_db()
    assert alert.state == "given_up"
    assert "E-mail: The mail server did not take it" in alert.error
    assert "Webhook: It answered 500." in alert.error
    due_again(alert)
    assert deliver_alerts() == 0
    receiver.status, mailbox.refuses = 200, False
    alert.try_again()
    assert deliver_alerts() == 1


def test_without_a_mail_server_the_alert_says_so(told: Tenant, receiver: Receiver, settings: Any):
    settings.EMAIL_HOST = ""
    alert = raised(told)
    assert deliver_alerts() == 0
    alert.refresh_from_db()
    assert "until an operator sets EMAIL_HOST" in alert.error
    assert len(receiver.calls) == 1


def test_a_tenant_without_addresses_is_told_nothing_and_the_alert_says_so(alice: Tenant):
    alert = raised(alice)
    assert deliver_alerts() == 0
    alert.refresh_from_db()
    assert (alert.state, alert.error) == (
        "given_up",
        "The tenant has neither an e-mail address nor a webhook for alerts.",
    )


def test_a_webhook_without_a_secret_is_not_called(told: Tenant, receiver: Receiver):
    told.alert_secret_encrypted = ""
    told.save()
    alert = raised(told)
    deliver_alerts()
    alert.refresh_from_db()
    assert "no secret to sign with" in alert.error
    assert receiver.calls == []


def test_a_redirect_is_not_followed(told: Tenant, receiver: Receiver):
    alert = raised(told)
    receiver.status = 307
    deliver_alerts()
    alert.refresh_from_db()
    assert alert.error == "Webhook: It answered 307."
    assert len(receiver.calls) == 1


def test_line_breaks_in_a_name_make_no_headers(told: Tenant, mailbox: Mailbox):
    Tenant.objects.filter(pk=told.pk).update(name="Alice\r\nBcc: eve@example.com")
    raised(told)
    deliver_alerts()
    [(recipients, message)] = mailbox.messages
    assert "eve@example.com" not in recipients
    assert message["bcc"] is None


def test_an_alert_that_somebody_sends_is_left_alone(told: Tenant, mailbox: Mailbox):
    alert = raised(told)
    BudgetAlert.objects.filter(pk=alert.pk).update(next_try_at=timezone.now() + timedelta(minutes=1))
    assert deliver_alerts() == 0
    assert mailbox.messages == []


def test_the_secret_is_stored_encrypted(told: Tenant):
    with connection.cursor() as cursor:
        cursor.execute("SELECT alert_secret_encrypted FROM tenants_tenant WHERE id = %s", [told.pk])
        [(stored,)] = cursor.fetchall()
    assert SECRET not in stored
    assert Tenant.objects.get(pk=told.pk).alert_secret == SECRET


def test_the_texts_name_the_end_user_and_soft_budgets(alice: Tenant):
    each = budget(alice, per_end_user=True, is_hard=False, period="total", alert_at=[50])
    note_spend(spend(each, "60", end_user="ann"))
    alert = BudgetAlert.objects.get()
    assert "End user: ann" in text_of(alert)
    assert "nothing is refused" in text_of(alert)
    document = json.loads(payload(alert))
    assert (document["end_user"], document["period_start"], document["period_end"]) == ("ann", None, None)


# --- Where webhooks may lead -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "example.com",
        "https://",
        "http://[::1",
        "https://user:password@example.com/",
        "https://example.com/ a",
        "https://example.com/#x",
        "http://127.0.0.1:9000/",
        "http://localhost/",
        "http://10.0.0.7/",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://169.254.169.254/latest/meta-data",
        "http://metadata.google.internal/",
    ],
)
def test_a_webhook_s_address_is_checked_when_it_is_typed_in(alice: Tenant, url: str):
    alice.alert_webhook = url
    with pytest.raises(ValidationError) as refused:
        alice.full_clean()
    assert set(refused.value.message_dict) == {"alert_webhook"}


def test_addresses_of_e_mails_are_checked(alice: Tenant):
    alice.alert_emails = ["alice@example.com", "nobody"]
    with pytest.raises(ValidationError) as refused:
        alice.full_clean()
    assert set(refused.value.message_dict) == {"alert_emails"}


def test_an_address_is_checked_once_more_when_it_is_called(receiver: Receiver):
    port = receiver.server_address[1]
    for host in ("127.0.0.1", "localhost", "ip6-localhost", "2130706433", "0x7f000001"):  # two are spelled strangely
        with pytest.raises(NotDelivered):
            post(f"http://{host}:{port}/", b"{}", secret=SECRET, allow_private=False)
    assert receiver.calls == []


def test_a_name_is_looked_up_and_called_under_its_own_name(receiver: Receiver):
    post(f"http://localhost:{receiver.server_address[1]}/x", b"{}", secret=SECRET, allow_private=True)
    [(path, headers, body)] = receiver.calls
    assert (path, headers["host"], body) == ("/x", f"localhost:{receiver.server_address[1]}", b"{}")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "https://127.0.0.1:1/", "http://no-such-host.invalid/"])
def test_what_cannot_be_reached_is_said(url: str):
    with pytest.raises(NotDelivered, match="cannot be reached"):
        post(url, b"{}", secret=SECRET, allow_private=True)


def test_who_never_answers_is_not_waited_for():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/"
        with pytest.raises(NotDelivered, match="did not answer in time"):
            post(url, b"{}", secret=SECRET, allow_private=True, patience=0.2)


def test_a_certificate_must_be_of_the_name_and_not_of_the_address(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    certificate, key = identity("localhost")
    (tmp_path / "certificate.pem").write_text(certificate)
    (tmp_path / "key.pem").write_text(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
    receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
    port = receiver.server_address[1]
    with pytest.raises(NotDelivered, match="CERTIFICATE_VERIFY_FAILED"):
        post(f"https://localhost:{port}/", b"{}", secret=SECRET, allow_private=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    post(f"https://localhost:{port}/", b"{}", secret=SECRET, allow_private=True)
    with pytest.raises(NotDelivered, match="CERTIFICATE_VERIFY_FAILED"):
        post(f"https://127.0.0.1:{port}/", b"{}", secret=SECRET, allow_private=True)
    assert len(receiver.calls) == 1


def test_a_signature_is_of_the_time_and_the_body():
    first = signature(SECRET, b"{}", 1_700_000_000)
    assert first.startswith("t=1700000000,v1=")
    assert first != signature(SECRET, b"{ }", 1_700_000_000)
    assert first.split("v1=")[1] != signature(SECRET, b"{}", 1_700_000_001).split("v1=")[1]
