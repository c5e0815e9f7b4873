"""Bringing the database to what a file declares."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
import yaml
from django.core.management import CommandError, call_command
from django.utils import timezone

from gateway_site.infra import secrets
from providers.models import Deployment, ModelPrice, Provider
from routing.models import ConfigRevision, ModelAlias, Route, RouteTarget
from tenants.budgets import top_up
from tenants.models import ApiKey, Budget, Project, RateLimit, Tenant, UsageDay
from tests.providers.pem import identity
from tests.routing.declaring import changes, declare, refusals

pytestmark = pytest.mark.django_db

EXAMPLE = Path(__file__).parents[2] / "gateway.example.yaml"

CATALOGUE = """\
providers:
  - {slug: openai, adapter: openai, credential: sk-first}
deployments:
  - {slug: mini, provider: openai, model: gpt-5-mini, prices: {input: 0.25, output: 2}}
  - {slug: large, provider: openai, model: gpt-5}
routes:
  - {alias: smart, retries: 1, targets: [{deployment: mini}, {deployment: large, priority: 1}]}
"""

TENANTS = """\
tenants:
  - slug: alice
    limits: [{requests: 600, per: minute, burst: 20}, {concurrency: 100}]
    budgets: [{amount: 500, per: month}]
    projects: [{slug: chatbot, budgets: [{amount: 100}]}]
    api_keys:
      - {name: production, project: chatbot, limits: [{tokens: 1000, per: day}]}
  - slug: charlie
    api_keys: [{name: production, secret: charlies-own-secret-key}]
"""


def with_tls(**tls: str) -> str:
    """A provider with certificates."""
    provider = {"slug": "a", "adapter": "openai", "tls": tls}
    return yaml.safe_dump({"providers": [provider]})


def use(key: ApiKey) -> None:
    """Note in the ledger that a key was used."""
    UsageDay.objects.create(
        starts_at=timezone.now(),
        tenant=key.tenant,
        api_key=key,
        alias="smart",
        outcome="served",
        cost_status="exact",
    )


# --- The whole ---------------------------------------------------------------------------------------------


def test_it_creates_all_that_is_named_and_finds_nothing_to_change_the_second_time():
    text = EXAMPLE.read_text()
    assert "+ provider openai" in changes(text)
    assert Provider.objects.count() == 3
    assert Deployment.objects.count() == 4
    assert Route.objects.count() == 3
    assert ModelAlias.objects.count() == 5
    assert ApiKey.objects.count() == 2
    assert changes(text) == []


def test_a_dry_run_tells_the_same_and_writes_nothing():
    told = changes(CATALOGUE + TENANTS, dry_run=True)
    assert not Provider.objects.exists()
    assert not Tenant.objects.exists()
    assert told == changes(CATALOGUE + TENANTS)


def test_one_error_refuses_the_whole_file():
    assert refusals(CATALOGUE + "  - {alias: other, targets: [{deployment: nothing}]}\n") == [
        'f:8: routes[1].targets[0].deployment: there is no deployment "nothing"'
    ]
    assert not Provider.objects.exists()


def test_it_tells_what_the_models_refuse_where_it_stands_in_the_file():
    text = """\
    providers:
      - slug: inside
        adapter: openai_compatible
        base_url: http://10.0.0.1/v1
      - {slug: nowhere, adapter: openai_compatible}
    deployments:
      - slug: mini
        provider: openai
        model: m
        dialect: gemini
        prices:
          input: 0.00000000001
    """
    declare(CATALOGUE)
    assert refusals(text) == [
        "f:4: providers[0].base_url: This address is in a private network; set 'allow_private_address' to use it.",
        "f:5: providers[1].base_url: This adapter has no address of its own; give one.",
        "f:10: deployments[0].dialect: Provider 'openai' speaks openai_chat, openai_responses.",
    ]


def test_it_places_what_is_wrong_with_a_price():
    text = CATALOGUE.replace("input: 0.25", "input: 0.00000000001")
    assert refusals(text) == ["f:4: deployments[0].prices.input: Ensure that there are no more than 10 decimal places."]


def test_it_lists_problems_of_every_sort_together():
    text = """\
    providers:
      - {slug: a, adapter: nothing}
      - {slug: b, adapter: openai_compatible}
    deployments:
      - {slug: c, provider: d, model: m}
      - {slug: c, provider: a, model: m}
    """
    assert [line.split(":")[1] for line in refusals(text)] == ["2", "3", "5", "6"]


def test_it_leaves_alone_what_is_not_named():
    declare(CATALOGUE + TENANTS)
    assert changes("providers: [{slug: groq, adapter: groq}]") == ["+ provider groq"]
    assert Provider.objects.count() == 2
    assert ApiKey.objects.count() == 2


# --- Providers ---------------------------------------------------------------------------------------------


def test_it_keeps_credentials_encrypted_and_says_only_that_one_changed():
    declare(CATALOGUE)
    provider = Provider.objects.get()
    assert secrets.decrypt(provider.credential_encrypted) == "sk-first"
    assert changes(CATALOGUE.replace("sk-first", "sk-second")) == ["~ provider openai: credential (changed)"]
    provider.refresh_from_db()
    assert secrets.decrypt(provider.credential_encrypted) == "sk-second"


def test_a_credential_that_no_key_opens_any_more_is_set_anew():
    declare(CATALOGUE)
    Provider.objects.update(credential_encrypted="gAAAA-of-another-installation")
    assert changes(CATALOGUE) == ["~ provider openai: credential (changed)"]


def test_a_credential_that_is_not_mentioned_stays_and_an_empty_one_removes_it():
    declare(CATALOGUE)
    assert changes("providers: [{slug: openai, adapter: openai}]") == []
    assert changes("providers: [{slug: openai, adapter: openai, credential: ''}]") == [
        "~ provider openai: credential (changed)"
    ]
    assert not Provider.objects.get().has_credential


def test_it_sets_how_a_provider_is_reached():
    declare("providers: [{slug: a, adapter: openai}]")
    text = "providers: [{slug: a, adapter: openai, http2: true, queue: {size: 0, wait: 0.5}, limits: {max_concurrency: 3}}]"
    assert changes(text) == [
        "~ provider a: limits.max_concurrency none → 3, http2 false → true, queue.size 100 → 0, queue.wait 5 → 0.5"
    ]
    assert changes(text) == []
    provider = Provider.objects.get()
    assert (provider.http2, provider.queue_size, provider.queue_wait) == (True, 0, 0.5)


def test_a_proxy_is_kept_encrypted_and_never_shown():
    text = "providers: [{slug: a, adapter: openai, proxy: 'http://us:%s@proxy.test:3128'}]"
    declare(text % "hush")
    provider = Provider.objects.get()
    assert "hush" not in provider.proxy_encrypted
    assert secrets.decrypt(provider.proxy_encrypted) == "http://us:hush@proxy.test:3128"
    assert changes(text % "hush") == []
    assert changes(text % "hush-hush") == ["~ provider a: proxy (changed)"]
    assert changes("providers: [{slug: a, adapter: openai}]") == []
    assert changes("providers: [{slug: a, adapter: openai, proxy: ''}]") == ["~ provider a: proxy (changed)"]
    assert not Provider.objects.get().has_proxy


def test_certificates_are_stored_and_the_key_only_encrypted():
    (ca, _), (certificate, key) = identity("ca.test"), identity()
    tls = {"ca": ca, "certificate": certificate, "key": key}
    assert changes(with_tls(**tls)) == ["+ provider a"]
    assert changes(with_tls(**tls)) == []
    provider = Provider.objects.get()
    assert (provider.ca_certificate, provider.client_certificate) == (ca, certificate)
    assert secrets.decrypt(provider.client_key_encrypted) == key
    newer, its_key = identity("newer.test")
    assert changes(with_tls(ca=newer, certificate=newer, key=its_key)) == [
        "~ provider a: tls.ca (changed), tls.certificate (changed), tls.key (changed)"
    ]


def test_a_client_key_stays_with_its_certificate_and_goes_with_it():
    certificate, key = identity()
    declare(with_tls(certificate=certificate, key=key))
    assert changes(with_tls(certificate=certificate)) == []
    assert changes("providers: [{slug: a, adapter: openai}]") == [
        "~ provider a: tls.certificate (changed), tls.key (changed)"
    ]
    assert not Provider.objects.get().has_client_key


def test_a_chain_may_have_words_between_its_certificates():
    (ca, _), (certificate, key) = identity("ca.test"), identity()
    chain = f"subject=CN = gateway.test\n{certificate}\n# who vouches for it\n{ca}"
    assert changes(with_tls(ca=chain, certificate=chain, key=key)) == ["+ provider a"]


@pytest.mark.parametrize(
    ("tls", "problem"),
    [
        ({"ca": "hush"}, "tls.ca: This is not a certificate in PEM format."),
        ({"certificate": "hush", "key": identity()[1]}, "tls.certificate: This is not a certificate in PEM format."),
        ({"certificate": identity()[0]}, "tls.key: A client certificate needs its key."),
        ({"key": identity()[1]}, "tls.certificate: A client key needs its certificate."),
        ({"certificate": identity()[0], "key": "hush"}, "tls.key: This is not a private key in PEM format."),
        (
            {"certificate": identity()[0], "key": identity("another")[1]},
            "tls.key: This key is not the client certificate's.",
        ),
        (
            {"certificate": identity()[0], "key": identity(passphrase="hush")[1]},
            "tls.key: This key has a passphrase; give one without.",
        ),
        (
            {"certificate": "\n".join(identity()), "key": identity()[1]},
            "tls.certificate: There is a private key in it: put the key into its own field.",
        ),
        (
            {"ca": "\n".join(reversed(identity()))},
            "tls.ca: There is a private key in it: put the key into its own field.",
        ),
        (
            {"ca": f"{identity(passphrase='hush')[1]}\n{identity()[0]}"},
            "tls.ca: There is a private key in it: put the key into its own field.",
        ),
        (
            {"ca": f"{identity()[0]}\n-----BEGIN DH PARAMETERS-----\nMAA=\n-----END DH PARAMETERS-----"},
            "tls.ca: Only blocks BEGIN CERTIFICATE belong here, not BEGIN DH PARAMETERS.",
        ),
    ],
)
def test_certificates_and_keys_that_cannot_be_used_are_refused(tls: dict[str, str], problem: str):
    [message] = refusals(with_tls(**tls))
    assert message.partition(": providers[0].")[2] == problem
    assert "hush" not in message


@pytest.mark.parametrize(
    "proxy",
    [
        "proxy.test:3128",
        "socks5://hush@proxy.test",
        "http://",
        "http://:hush@",
        "http://proxy.test:hush",
        "http://proxy.test:0",
        "http://[hush",
        "http://proxy.test/hush",
        "http://proxy.test?hush",
    ],
)
def test_a_proxy_that_is_none_is_refused_without_being_shown(proxy: str):
    [message] = refusals(f"providers:\n  - slug: a\n    adapter: openai\n    proxy: '{proxy}'\n")
    assert message.startswith("f:4: providers[0].proxy: Give a proxy as http://host:port")
    assert "hush" not in message


@pytest.mark.parametrize(
    ("wait", "bound"), [("0.01", "greater than or equal to 0.05"), ("301", "less than or equal to 300")]
)
def test_a_wait_in_a_queue_has_bounds(wait: str, bound: str):
    assert refusals(f"providers: [{{slug: a, adapter: openai, queue: {{wait: {wait}}}}}]") == [
        f"f:1: providers[0].queue.wait: Ensure this value is {bound}."
    ]


def test_it_sets_how_often_a_deployment_is_probed():
    text = "{providers: [{slug: a, adapter: openai}], deployments: [{slug: d, provider: a, model: m%s}]}"
    declare(text % "")
    assert changes(text % ", probe_every: 60") == ["~ deployment d: probe_every none → 60"]
    assert changes(text % ", probe_every: 60") == []
    assert refusals(text % ", probe_every: 9") == [
        "f:1: deployments[0].probe_every: Ensure this value is greater than or equal to 10."
    ]
    assert changes(text % "") == ["~ deployment d: probe_every 60 → none"]


@pytest.mark.parametrize("kind", ["image", "speech", "transcription"])
def test_what_costs_much_is_probed_seldom(kind: str):
    text = "{providers: [{slug: a, adapter: openai}], deployments: [{slug: d, provider: a, model: m, kind: KIND%s}]}"
    text = text.replace("KIND", kind)
    assert refusals(text % ", probe_every: 299") == [
        f"f:1: deployments[0].probe_every: At least 300 for the kind {kind}, whose probes cost more."
    ]
    assert len(refusals(text % ", probe_every: 9")) == 1
    assert changes(text % ", probe_every: 300")
    assert changes(text % "") == ["~ deployment d: probe_every 300 → none"]


def test_it_sets_whether_a_route_hedges():
    declare(CATALOGUE)
    text = CATALOGUE.replace("alias: smart", "alias: smart, hedge: true")
    assert changes(text) == ["~ route smart: hedge false → true"]
    assert changes(text) == []


def test_what_is_left_out_goes_back_to_its_default():
    declare("providers: [{slug: a, adapter: openai, timeouts: {connect: 2.5}, limits: {max_concurrency: 3}}]")
    assert changes("providers: [{slug: a, adapter: openai}]") == [
        "~ provider a: timeouts.connect 2.5 → 5, limits.max_concurrency 3 → none"
    ]


def test_it_does_not_turn_on_what_was_turned_off_by_hand():
    declare(CATALOGUE + TENANTS)
    Provider.objects.update(is_enabled=False)
    Deployment.objects.update(is_enabled=False)
    Tenant.objects.get(slug="alice").suspend("They did not pay.")
    assert changes(CATALOGUE + TENANTS) == []
    assert changes(CATALOGUE.replace("credential:", "enabled: true, credential:")) == [
        "~ provider openai: enabled false → true"
    ]
    assert changes("tenants: [{slug: alice, suspended: false}]") == ["~ tenant alice: suspended true → false"]
    assert Tenant.objects.get(slug="alice").suspended_reason == ""


def test_it_does_not_show_headers_which_may_be_secrets():
    told = changes("providers: [{slug: a, adapter: openai}]") + changes(
        "providers: [{slug: a, adapter: openai, headers: {x-auth: hush}}]"
    )
    assert told == ["+ provider a", "~ provider a: headers (changed)"]


def test_a_dialect_that_is_not_served_yet_can_be_configured():
    declare(CATALOGUE.replace("model: gpt-5}", "model: gpt-5, dialect: openai_responses}"))
    assert Deployment.objects.get(slug="large").dialect == "openai_responses"


def test_a_provider_cannot_stop_speaking_what_its_deployments_speak():
    declare(CATALOGUE.replace("model: gpt-5}", "model: gpt-5, dialect: openai_responses}"))
    text = CATALOGUE.replace("model: gpt-5}", "model: gpt-5, dialect: openai_responses}")
    assert refusals(text.replace("adapter: openai,", "adapter: openai, dialects: [openai_chat],")) == [
        "f:5: deployments[1].dialect: Provider 'openai' speaks openai_chat."
    ]


# --- Prices ------------------------------------------------------------------------------------------------


def test_a_changed_price_is_a_new_one_from_now_on():
    declare(CATALOGUE)
    first = ModelPrice.objects.get()
    assert changes(CATALOGUE.replace("0.25", '"0.30"')) == ["+ price mini: input 0.25 → 0.3"]
    second = ModelPrice.objects.exclude(pk=first.pk).get()
    first.refresh_from_db()
    assert (first.input, second.input, second.output) == (Decimal("0.25"), Decimal("0.3"), Decimal(2))
    assert first.effective_from < second.effective_from <= timezone.now()
    assert changes(CATALOGUE.replace("0.25", "0.300")) == []


def test_what_we_pay_is_apart_from_what_tenants_pay():
    declare(CATALOGUE)
    text = CATALOGUE.replace("prices: {", "cost_prices: {input: 0.2}, prices: {")
    assert changes(text) == ["+ cost price mini: currency USD, per 1000000, input 0.2"]
    assert changes(text) == []
    assert ModelPrice.objects.get(side="cost").input == Decimal("0.2")


def test_tiers_are_compared_as_numbers():
    def tiered(price: str) -> str:
        return CATALOGUE.replace("output: 2}", f"output: 2, tiers: [{{above: 200000, input: {price}}}]}}")

    declare(tiered("6"))
    assert ModelPrice.objects.get().tiers == [{"above": 200000, "input": "6"}]
    assert changes(tiered('"6.00"')) == []
    assert len(changes(tiered("6.5"))) == 1


def test_a_dated_price_begins_at_its_date():
    day = (timezone.now() + timedelta(days=30)).date()
    later = f"[{{input: 0.25, output: 2}}, {{input: 1, effective_from: {day}}}]"
    text = CATALOGUE.replace("{input: 0.25, output: 2}", later)
    declare(CATALOGUE)
    assert changes(text) == [f"+ price mini from {day} 00:00:00 UTC: input 0.25 → 1, output 2 → none"]
    assert changes(text) == []
    assert changes(text.replace("input: 1,", "input: 3,")) == [f"~ price mini from {day} 00:00:00 UTC: input 1 → 3"]
    assert changes(CATALOGUE) == []


def test_history_is_never_edited():
    text = CATALOGUE.replace("output: 2}", "output: 2, effective_from: 2024-01-01}")
    declare(text)
    assert changes(text) == []
    assert refusals(text.replace("0.25", "0.5")) == [
        "f:4: deployments[0].prices: a price that has been in force is not edited; "
        "leave effective_from out or set a later one"
    ]
    assert ModelPrice.objects.get().input == Decimal("0.25")


# --- Routes ------------------------------------------------------------------------------------------------


def test_it_shows_what_changes_in_a_route():
    declare(CATALOGUE)
    assert changes(CATALOGUE.replace("retries: 1", "retries: 2, cache: {exact: true}")) == [
        "~ route smart: retries 1 → 2, cache.exact false → true"
    ]


def test_the_listed_targets_replace_the_routes():
    declare(CATALOGUE)
    kept = RouteTarget.objects.get(deployment__slug="mini")
    text = CATALOGUE.replace("{deployment: mini}, {deployment: large, priority: 1}", "{deployment: mini, weight: 5}")
    assert changes(text) == ["~ target smart → mini: weight 100 → 5", "- target smart → large"]
    assert [target.pk for target in RouteTarget.objects.all()] == [kept.pk]


def test_conditions_are_stored_as_the_router_reads_them():
    conditions = "{needs: [images], region: eu, header: {x-class: a}, end_user_percent: 12.5}"
    text = CATALOGUE.replace("{deployment: mini}", f"{{deployment: mini, conditions: {conditions}}}")
    declare(text)
    assert RouteTarget.objects.get(deployment__slug="mini").conditions == {
        "needs": ["images"],
        "region": "eu",
        "header": {"x-class": "a"},
        "end_user_percent": 12.5,
    }
    assert changes(text) == []


def test_an_alias_moves_and_other_names_of_the_route_stay():
    declare(CATALOGUE)
    other = "routes: [{alias: clever, aliases: [smart], targets: [{deployment: mini}]}]"
    assert "~ alias smart: route smart → clever" in changes(other)
    assert ModelAlias.objects.get(name="smart").route.name == "clever"
    assert changes("routes: [{alias: clever, targets: [{deployment: mini}]}]") == []


def test_a_tenant_can_have_a_route_of_its_own_under_the_same_alias():
    declare(CATALOGUE + TENANTS)
    assert changes("routes: [{alias: smart, tenant: alice, targets: [{deployment: mini}]}]") == [
        "+ route alice/smart",
        "+ target alice/smart → mini",
        "+ alias alice/smart",
    ]
    assert ModelAlias.objects.get(tenant=None).route.name == "smart"


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


# --- Pruning -----------------------------------------------------------------------------------------------


def test_pruning_deletes_what_is_not_named():
    declare(CATALOGUE + TENANTS)
    declare("providers: [{slug: groq, adapter: groq}]")
    text = CATALOGUE + "tenants: [{slug: charlie, api_keys: [{name: production}]}]"
    assert changes(text, prune_unnamed=True) == [
        "- provider groq",
        "- API key alice/production",
        "- project alice/chatbot",
        "- tenant alice",
    ]
    assert ApiKey.objects.get().tenant.slug == "charlie"
    assert changes(text, prune_unnamed=True) == []


def test_pruning_goes_in_the_order_of_dependencies():
    declare(CATALOGUE + TENANTS)
    assert changes("tenants: []", prune_unnamed=True) == [
        "- alias smart",
        "- route smart",
        "- deployment large",
        "- deployment mini",
        "- provider openai",
        "- API key alice/production",
        "- API key charlie/production",
        "- project alice/chatbot",
        "- tenant alice",
        "- tenant charlie",
    ]


def test_pruning_keeps_what_the_ledger_names():
    declare(TENANTS)
    use(ApiKey.objects.get(tenant__slug="alice"))
    assert changes("tenants: []", prune_unnamed=True) == [
        "~ API key alice/production: revoked; it has been used",
        "- API key charlie/production",
        "~ tenant alice: suspended; it has usage",
        "- tenant charlie",
    ]
    assert Project.objects.get().slug == "chatbot"
    assert changes("tenants: []", prune_unnamed=True) == []


def test_pruning_refuses_a_file_that_needs_what_it_would_delete():
    declare(CATALOGUE)
    text = "routes: [{alias: smart, targets: [{deployment: mini}]}]"
    assert refusals(text, prune_unnamed=True) == ['f:1: routes[0].targets[0].deployment: there is no deployment "mini"']
    assert changes(text) == ["- target smart → large"]


# --- The command -------------------------------------------------------------------------------------------


def run(file: Path, *options: str) -> str:
    out = StringIO()
    call_command("apply", str(file), *options, stdout=out)
    return out.getvalue()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(CATALOGUE + TENANTS)
    return path


def test_the_command_prints_changes_new_keys_and_the_revision(file: Path):
    printed = run(file)
    assert printed.startswith("+ provider openai\n")
    assert "\nAPI key alice/production: tg_" in printed
    assert printed.endswith("Published revision 1.\n")
    assert ConfigRevision.objects.get().note == "apply gateway.yaml"
    assert run(file) == "Nothing to change.\n"
    assert "sk-first" not in printed


def test_the_command_stops_before_publishing_when_told_so(file: Path):
    assert "Published" not in run(file, "--no-publish")
    assert Provider.objects.exists()
    assert not ConfigRevision.objects.exists()


def test_a_dry_run_publishes_nothing_and_makes_no_keys(file: Path):
    printed = run(file, "--dry-run")
    assert printed.endswith("This was a dry run: nothing was changed.\n")
    assert "tg_" not in printed
    assert not Provider.objects.exists()
    assert not ConfigRevision.objects.exists()


def test_the_command_lists_the_errors_and_fails(file: Path):
    file.write_text("providers:\n  - slug: a\n    adapter: opnai\n    retries: 1\n")
    err = StringIO()
    with pytest.raises(CommandError, match="nothing was changed") as raised:
        call_command("apply", str(file), stderr=err)
    assert raised.value.returncode == 1
    assert err.getvalue().splitlines() == [
        f'{file}:3: providers[0].adapter: "opnai" is not an adapter; did you mean "openai"?',
        f"{file}:4: providers[0].retries: is not a field; there are slug, name, adapter, dialects, base_url, "
        "allow_private_address, credential, headers, enabled, max_connections, timeouts, limits, breaker, cooldown, queue, "
        "http2, proxy, tls",
    ]


def test_the_command_keeps_the_database_when_valkey_is_away(file: Path, settings):
    settings.VALKEY_URL = "redis://127.0.0.1:1"
    with pytest.raises(CommandError, match="stored and not published"):
        run(file)
    assert Provider.objects.exists()


def test_the_command_says_when_a_file_cannot_be_read(tmp_path: Path):
    with pytest.raises(CommandError, match="No such file"):
        run(tmp_path / "nothing.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9")
    with pytest.raises(CommandError, match="not UTF-8"):
        run(tmp_path / "latin.yaml")


def test_the_example_is_accepted_with_no_variable_set():
    assert "This was a dry run" in run(EXAMPLE, "--dry-run")
