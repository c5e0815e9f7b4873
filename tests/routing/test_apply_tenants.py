"""Tenants as a file declares them: limits, budgets, projects and API keys. Alice's change nothing of charlie's."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from tenants.budgets import top_up
from tenants.models import ApiKey, Budget, RateLimit, Tenant
from tests.routing.declaring import TENANTS, changes, declare, refusals

pytestmark = pytest.mark.django_db


# --- Tenants -----------------------------------------------------------------------------------------------


def test_limits_and_budgets_keep_their_rows_where_only_an_amount_changes():
    declare(TENANTS)
    ids = (
        set(RateLimit.objects.values_list("pk", flat=True)),
        set(Budget.objects.values_list("pk", flat=True)),
    )
    text = TENANTS.replace("requests: 600", "requests: 900").replace("amount: 500", "amount: 750, alert_at: [80]")
    assert changes(text) == [
        "~ limit alice (600 requests per minute, burst 20): amount 600 → 900",
        "~ budget alice (500 USD per month): amount 500 → 750, alert_at [] → [80]",
    ]
    assert ids == (
        set(RateLimit.objects.values_list("pk", flat=True)),
        set(Budget.objects.values_list("pk", flat=True)),
    )


ROLLING = """
tenants:
  - slug: alice
    budgets:
      - {amount: 10, per: rolling, days: 7}
      - {amount: 20, per: rolling, days: 30}
      - {amount: 30, per: credit, currency: EUR}
      - {amount: 40, per: month, model: smart, per_end_user: true, increase: {amount: "5", until: 2026-12-01}}
  - slug: charlie
    budgets: [{amount: 10, per: rolling, days: 7}]
"""


def test_budgets_are_found_again_by_what_they_count_wherever_they_stand_in_the_file():
    assert changes(ROLLING)[1:5] == [
        "+ budget alice (10 USD in 7 days)",
        "+ budget alice (20 USD in 30 days)",
        "+ budget alice (30 EUR of prepaid credit)",
        "+ budget alice (40 USD per month, model smart, per end user)",
    ]
    ids = dict(Budget.objects.values_list("amount", "pk"))
    Budget.objects.update(resets=3)
    swapped = """
    tenants:
      - slug: alice
        budgets:
          - {amount: 41, per: month, model: smart, per_end_user: true}
          - {amount: 31, per: credit, currency: EUR}
          - {amount: 21, per: rolling, days: 30}
          - {amount: 11, per: rolling, days: 7}
    """
    assert all(change.startswith("~ budget alice") for change in changes(swapped))
    alice = Budget.objects.for_tenant(Tenant.objects.get(slug="alice"))
    assert dict(alice.values_list("amount", "pk")) == {amount + 1: ids[amount] for amount in (20, 30, 40)} | {
        Decimal(11): alice.get(rolling_days=7).pk
    }
    assert set(Budget.objects.values_list("resets", flat=True)) == {3}  # nothing that was spent is forgotten
    assert Budget.objects.for_tenant(Tenant.objects.get(slug="charlie")).get().amount == 10


def test_an_increase_that_the_file_does_not_name_stays():
    declare(ROLLING)
    lifted = Budget.objects.get(model="smart")
    assert (lifted.increase, lifted.increase_until) == (5, datetime(2026, 12, 1, 23, 59, 59, 999999, tzinfo=UTC))
    without = ROLLING.replace(', increase: {amount: "5", until: 2026-12-01}', "")
    assert without != ROLLING
    assert changes(without) == []
    assert changes(without.replace("per_end_user: true", "per_end_user: true, increase: {amount: 0}")) == [
        "~ budget alice (40 USD per month, model smart, per end user): increase.amount 5 → 0"
    ]


def test_the_amount_of_credit_that_was_topped_up_stays():
    declare(ROLLING)
    credit = Budget.objects.get(period="credit")
    assert changes(ROLLING.replace("amount: 30", "amount: 35")) == [
        "~ budget alice (30 EUR of prepaid credit): amount 30 → 35"
    ]
    top_up(budget=credit, amount=Decimal(10))
    outcome = declare(ROLLING)
    assert outcome.changes == ()
    assert outcome.notes == (
        "budget alice (45 EUR of prepaid credit) was topped up; the amount in the file is not applied.",
    )
    assert changes(ROLLING.replace("currency: EUR", "currency: EUR, alert_at: [80]")) == [
        "~ budget alice (45 EUR of prepaid credit): alert_at [] → [80]"
    ]


def test_budgets_that_overlap_are_refused_with_both_lines():
    text = """\
tenants:
  - slug: alice
    budgets:
      - {amount: 1, per: day}
      - {amount: 2, per: day, model: smart}
      - {amount: 3, per: day}
    projects:
      - {slug: web, budgets: [{amount: 1, per: day}]}
  - slug: charlie
    budgets: [{amount: 1, per: day}]
"""
    assert refusals(text) == [
        "f:6: tenants[0].budgets[2].per: a budget with this period, model and currency is already in line 4"
    ]


def test_a_budget_beyond_what_can_be_counted_is_refused_at_its_amount():
    text = "tenants: [{slug: alice, budgets: [{amount: 9000000001}]}]"
    [problem] = refusals(text)
    assert problem.startswith("f:1: tenants[0].budgets[0].amount: ")


def test_it_sets_who_is_told_of_alerts_and_leaves_the_secret_alone():
    declare("tenants: [{slug: alice}, {slug: charlie}]")
    Tenant.objects.get(slug="alice").set_alert_secret("whsec_1")
    text = "tenants: [{slug: alice, alerts: {emails: [a@example.com], webhook: https://example.com/x}}]"
    assert changes(text) == [
        "~ tenant alice: alerts.emails [] → [a@example.com], alerts.webhook none → https://example.com/x"
    ]
    assert changes(text) == []
    assert [tenant.alert_emails for tenant in Tenant.objects.order_by("slug")] == [["a@example.com"], []]
    assert Tenant.objects.get(slug="alice").alert_secret == "whsec_1"
    [problem] = refusals("tenants: [{slug: alice, alerts: {webhook: 'http://127.0.0.1/'}}]")
    assert problem.startswith("f:1: tenants[0].alerts.webhook: This address is in a private network")


def test_limits_are_replaced_where_they_are_listed_and_left_alone_where_not():
    declare(TENANTS)
    assert changes("tenants: [{slug: alice}]") == []
    assert changes("tenants: [{slug: alice, limits: [{concurrency: 5}], budgets: []}]") == [
        "~ limit alice (100 requests at once): amount 100 → 5",
        "- limit alice (600 requests per minute, burst 20)",
        "- budget alice (500 USD per month)",
    ]
    assert RateLimit.objects.filter(api_key__name="production").count() == 1
    assert Budget.objects.filter(project__slug="chatbot").count() == 1


def test_every_scope_has_limits_of_its_own():
    declare(TENANTS)
    alice = Tenant.objects.get(slug="alice")
    assert sorted(limit.scope for limit in RateLimit.objects.for_tenant(alice)) == [
        "api_key",
        "tenant",
        "tenant",
    ]
    assert sorted(budget.scope for budget in Budget.objects.for_tenant(alice)) == ["project", "tenant"]
    assert not RateLimit.objects.for_tenant(Tenant.objects.get(slug="charlie")).exists()


def test_it_sets_how_long_a_tenants_responses_are_stored():
    declare("tenants: [{slug: alice}]")
    text = "tenants: [{slug: alice, stores_responses: false, response_retention_days: 7}]"
    assert changes(text) == [
        "~ tenant alice: stores_responses true → false, response_retention_days 30 → 7",
    ]
    assert changes(text) == []
    declare("tenants: [{slug: alice}]")
    alice = Tenant.objects.get()
    assert (alice.stores_responses, alice.response_retention_days) == (True, 30)
    for days in (0, 366):
        assert refusals(f"tenants: [{{slug: alice, response_retention_days: {days}}}]") == [
            "f:1: tenants[0].response_retention_days: must be a whole number, from 1 to 365"
        ]


def test_it_sets_which_bodies_a_tenant_keeps():
    charlie = Tenant.objects.create(slug="charlie")
    declare("tenants: [{slug: alice, bodies: {policy: errors, retention_days: 3, redact_media: false}}]")
    alice = Tenant.objects.get(slug="alice")
    assert (alice.audit_policy, alice.audit_retention_days) == ("errors", 3)
    assert (alice.audit_redacts_personal, alice.audit_redacts_media) == (True, False)
    charlie.refresh_from_db()
    assert charlie.audit_policy == "none"


def test_it_sets_what_a_tenant_gets_without_valkey_and_without_a_route():
    declare("tenants: [{slug: alice}, {slug: charlie}]")
    text = "tenants: [{slug: alice, without_valkey: refuse, unmapped_models: true}]"
    assert changes(text) == ["~ tenant alice: without_valkey local → refuse, unmapped_models false → true"]
    assert changes(text) == []
    charlie = Tenant.objects.get(slug="charlie")
    assert (charlie.without_valkey, charlie.allows_catalogue) == ("local", False)


def test_it_sets_a_keys_priority_and_whether_it_may_trace():
    declare("tenants: [{slug: alice, api_keys: [{name: ci}]}, {slug: charlie, api_keys: [{name: ci}]}]")
    text = "tenants: [{slug: alice, api_keys: [{name: ci, priority: high, trace: true}, {name: new, priority: low}]}]"
    assert changes(text) == ["~ API key alice/ci: priority normal → high, trace false → true", "+ API key alice/new"]
    assert changes(text) == []
    keys = ApiKey.objects.order_by("pk").values_list("tenant__slug", "priority", "may_trace")
    assert list(keys) == [("alice", "high", True), ("charlie", "normal", False), ("alice", "low", False)]


def test_a_tenant_is_called_by_its_slug_until_it_has_a_name():
    declare(TENANTS)
    assert Tenant.objects.get(slug="alice").name == "alice"
    assert changes("tenants: [{slug: alice, name: Alice & Co}]") == ["~ tenant alice: name alice → Alice & Co"]


# --- API keys ----------------------------------------------------------------------------------------------


def test_a_generated_key_is_handed_out_once():
    [key] = declare(TENANTS).new_keys
    assert key.label == "alice/production"
    assert key.secret.startswith("tg_")
    assert ApiKey.objects.get(tenant__slug="alice").last_four == key.secret[-4:]
    assert declare(TENANTS).new_keys == ()


def test_a_key_that_is_brought_is_compared_whichever_pepper_it_was_hashed_with(settings):
    declare(TENANTS)
    settings.TOLLGATE_KEY_PEPPERS = ["a-newer-pepper", *settings.TOLLGATE_KEY_PEPPERS]
    assert changes(TENANTS) == []
    assert changes(TENANTS.replace("charlies-own", "charlies-new")) == [
        "~ API key charlie/production: secret (changed)"
    ]


def test_a_key_cannot_be_brought_twice_and_its_owner_is_not_told():
    declare(TENANTS)
    text = "tenants: [{slug: alice, api_keys: [{name: mine, secret: charlies-own-secret-key}]}]"
    assert refusals(text) == ["f:1: tenants[0].api_keys[0].secret: Another key has this secret."]
    text = "tenants: [{slug: alice, api_keys: [{name: production, secret: charlies-own-secret-key}]}]"
    assert refusals(text) == ["f:1: tenants[0].api_keys[0].secret: Another key has this secret."]


def test_the_same_secret_twice_in_one_file_is_refused():
    text = """\
    tenants:
      - slug: alice
        api_keys:
          - {name: one, secret: the-very-same-secret-key}
          - {name: two, secret: the-very-same-secret-key}
    """
    assert refusals(text) == ["f:5: tenants[0].api_keys[1].secret: Another key has this secret."]


def test_keys_of_a_tenant_cannot_be_put_into_another_tenants_project():
    declare(TENANTS)
    text = "tenants: [{slug: charlie, api_keys: [{name: production, project: chatbot}]}]"
    assert refusals(text) == ['f:1: tenants[0].api_keys[0].project: there is no project "chatbot"']


def test_a_key_is_revoked_and_stays_so():
    declare(TENANTS)
    text = "tenants: [{slug: alice, api_keys: [{name: production, project: chatbot, revoked: %s}]}]"
    assert changes(text % "true") == ["~ API key alice/production: revoked"]
    assert changes(text % "true") == []
    assert ApiKey.objects.get(tenant__slug="alice").status == "revoked"
    outcome = declare(TENANTS)
    assert outcome.changes == ()
    assert outcome.notes == ("API key alice/production is revoked, and stays so.",)
    assert refusals(text % "false") == [
        "f:1: tenants[0].api_keys[0].revoked: a revoked key stays revoked; give the new one another name"
    ]


def test_a_key_cannot_be_made_expired_but_may_have_become_it():
    text = "tenants: [{slug: alice, api_keys: [{name: k, expires_at: %s}]}]"
    assert refusals(text % "2020-01-01") == ["f:1: tenants[0].api_keys[0].expires_at: is in the past"]
    declare(text % "2099-01-01")
    ApiKey.objects.update(expires_at=datetime(2020, 1, 1, 23, 59, 59, 999_999, UTC))
    assert changes(text % "2020-01-01") == []
