"""The database as a file: applied again, it finds nothing to change."""

from datetime import timedelta
from io import StringIO
from pathlib import Path
from textwrap import dedent

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from providers.models import Provider
from routing.declaration.export import export
from routing.models import ModelAlias, Route
from tenants.models import ApiKey, Tenant
from tests.providers.pem import identity
from tests.routing.declaring import changes, declare

pytestmark = pytest.mark.django_db

EXAMPLE = (Path(__file__).parents[2] / "gateway.example.yaml").read_text()

ALICE_AND_CHARLIE = """\
providers:
  - {slug: openai, adapter: openai, credential: sk-hush}
deployments:
  - {slug: mini, provider: openai, model: gpt-5-mini}
routes:
  - {alias: smart, targets: [{deployment: mini}]}
  - {alias: alices, tenant: alice, targets: [{deployment: mini}]}
  - {alias: charlies, tenant: charlie, targets: [{deployment: mini}]}
tenants:
  - slug: alice
    projects: [{slug: alices-project}]
    api_keys: [{name: alices-key, secret: alices-very-secret-key, limits: [{tokens: 5, per: day}]}]
  - slug: charlie
    name: Charlie & Sons
    projects: [{slug: charlies-project}]
    api_keys: [{name: charlies-key, secret: charlies-very-secret-key, budgets: [{amount: 7}]}]
"""


def test_what_is_exported_changes_nothing_when_it_is_applied():
    variables = {"OPENAI_API_KEY": "sk-1", "ANTHROPIC_API_KEY": "sk-2"}
    declare(EXAMPLE, variables=variables)
    assert changes(export(), variables=variables, prune_unnamed=True) == []


def test_what_is_exported_builds_the_same_again():
    variables = {"OPENAI_API_KEY": "sk-1", "ANTHROPIC_API_KEY": "sk-2"}
    declare(EXAMPLE, variables=variables)
    exported = export()
    declare("tenants: []", prune_unnamed=True)
    assert export() == "{}\n"
    declare(exported, variables=variables)
    assert export() == exported


def test_it_is_readable():
    text = """\
    providers:
      - slug: openai
        adapter: openai
        base_url: https://eu.example.com/v1
        timeouts: {connect: 2.5, total: 300}
        credential: ${OPENAI_API_KEY}
    deployments:
      - slug: mini
        provider: openai
        model: gpt-5-mini
        tags: [fast, '1.0']
        prices: {input: "0.25", currency: USD, per: 1000000}
    routes:
      - alias: smart
        aliases: [gpt-*]
        cache: {ttl: 60}
        targets:
          - {deployment: mini, priority: 0, weight: 100, conditions: {region: eu}}
    tenants:
      - slug: acme
        name: Acme GmbH
        models: [smart, gpt-*]
        stores_responses: false
        response_retention_days: 7
        limits:
          - {requests: 600, per: minute, burst: 20}
        api_keys:
          - name: laptops
            expires_at: '2099-12-31'
            budgets:
              - {amount: "20", currency: USD, per: week, hard: false}
    """
    declare(text, variables={"OPENAI_API_KEY": "sk-1"})
    expected = "\n".join(line.removeprefix("    ") for line in text.splitlines())
    assert export().strip() == expected.strip()


def test_every_kind_of_budget_and_who_is_told_is_exported_and_applied_again():
    text = """\
    tenants:
      - slug: alice
        alerts: {emails: [a@example.com], webhook: 'https://example.com/x'}
        budgets:
          - {amount: "10", currency: USD, per: rolling, days: 7, per_end_user: true}
          - {amount: "30", currency: EUR, per: credit, hard: false, alert_at: [80, 100]}
          - {amount: "40", currency: USD, per: month, increase: {amount: "5", until: '2099-12-01'}, model: smart}
    """
    declare(text)
    exported = export()
    for line in dedent(text).splitlines()[-3:]:
        assert line.strip() in exported
    assert changes(exported) == []
    Tenant.objects.all().delete()
    declare(exported)
    assert export() == exported


def test_an_increase_that_has_ended_is_not_exported():
    declare("tenants: [{slug: alice, budgets: [{amount: 1, increase: {amount: 5, until: 2020-12-01}}]}]")
    exported = export()
    assert "increase" not in exported
    assert changes(exported) == []


def test_secrets_are_never_exported():
    declare(ALICE_AND_CHARLIE)
    Provider.objects.update(headers={"x-api-key": "hush-hush", "x-team": "ml"})
    exported = export()
    assert "hush" not in exported
    assert "very-secret-key" not in exported
    assert not any(key.digest in exported for key in ApiKey.objects.all())
    assert "credential: ${OPENAI_API_KEY}" in exported
    assert "x-api-key: ${OPENAI_X_API_KEY}" in exported
    assert "x-team: ml" in exported


def test_all_that_makes_routes_reliable_is_exported_and_applied_again():
    (ca, _), (certificate, key) = identity("ca.test"), identity()
    text = """\
    providers:
      - slug: openai
        adapter: openai
        http2: true
        queue: {size: 10, wait: 0.5}
        proxy: ${OPENAI_PROXY}
        tls: {ca: "${CA}", certificate: "${CERTIFICATE}", key: "${OPENAI_CLIENT_KEY}"}
    deployments:
      - {slug: mini, provider: openai, model: gpt-5-mini, probe_every: 60}
    routes:
      - {alias: smart, hedge: true, targets: [{deployment: mini}]}
    tenants:
      - slug: alice
        without_valkey: refuse
        unmapped_models: true
        api_keys: [{name: ci, priority: high, trace: true}]
    """
    variables = {"OPENAI_PROXY": "http://us:hush@proxy.test", "OPENAI_CLIENT_KEY": key}
    declare(text, variables=variables | {"CA": ca, "CERTIFICATE": certificate})
    exported = export()
    assert changes(exported, variables=variables, prune_unnamed=True) == []
    declare("tenants: []", prune_unnamed=True)
    declare(exported, variables=variables)
    assert export() == exported
    assert "hush" not in exported
    assert "PRIVATE KEY" not in exported
    assert "    tls:\n      ca: |-\n        -----BEGIN CERTIFICATE-----\n" in exported
    assert "      key: ${OPENAI_CLIENT_KEY}\n" in exported
    assert "    queue: {size: 10, wait: 0.5}\n" in exported


def test_two_providers_of_one_vendor_have_a_variable_each():
    declare(
        "providers: [{slug: openai-eu, adapter: openai, credential: a}, {slug: 2nd, adapter: openai, credential: b}]"
    )
    exported = export()
    assert "${OPENAI_EU_API_KEY}" in exported
    assert "${_2ND_API_KEY}" in exported
    assert changes(exported, variables={"OPENAI_EU_API_KEY": "a", "_2ND_API_KEY": "b"}) == []


def test_what_looks_like_a_variable_is_kept_as_text():
    declare("tenants: [{slug: a, name: 'costs $${MORE} than $5'}]")
    assert Tenant.objects.get().name == "costs ${MORE} than $5"
    assert changes(export()) == []


def test_switches_that_are_off_are_exported():
    declare(ALICE_AND_CHARLIE)
    Provider.objects.update(is_enabled=False)
    Tenant.objects.get(slug="alice").suspend("Late")
    ApiKey.objects.get(name="alices-key").revoke()
    exported = export()
    for line in ("enabled: false", "suspended: true", "revoked: true"):
        assert line in exported
    assert changes(exported, variables={"OPENAI_API_KEY": "sk-hush"}) == []


def test_prices_to_come_are_exported_with_their_dates():
    day = (timezone.now() + timedelta(days=10)).date()
    text = "deployments: [{slug: mini, provider: openai, model: m, prices: %s}]"
    declare("providers: [{slug: openai, adapter: openai}]")
    declare(text % f"[{{input: 1}}, {{input: 2, effective_from: {day}}}]")
    declare(text % "{input: 3}")
    exported = export()
    assert 'input: "1"' not in exported
    assert f"effective_from: '{day}T00:00:00Z'" in exported
    assert changes(exported) == []


def test_a_route_with_aliases_of_several_owners_is_exported_whole():
    declare(ALICE_AND_CHARLIE)
    route = Route.objects.get(name="smart")
    ModelAlias.objects.create(name="best", tenant=Tenant.objects.get(slug="alice"), route=route)
    ModelAlias.objects.filter(name="charlies").update(route=route)
    Route.objects.create(name="not named by anybody")
    exported = export()
    assert "{alias: best, tenant: alice}" in exported
    assert changes(exported, variables={"OPENAI_API_KEY": "sk-hush"}, prune_unnamed=True) == []


def test_a_tenant_that_may_use_nothing_is_told_from_one_that_may_use_all():
    declare("tenants: [{slug: a, models: []}, {slug: b}]")
    exported = export()
    assert exported.count("models:") == 1
    assert changes(exported) == []


def test_the_export_of_a_tenant_shows_nothing_of_others():
    declare(ALICE_AND_CHARLIE)
    out = StringIO()
    call_command("export", tenant="alice", stdout=out)
    exported = out.getvalue()
    assert "alices-key" in exported
    assert "alias: alices" in exported
    assert "charlie" not in exported.lower()
    assert "providers" not in exported
    assert changes(exported) == []


def test_a_tenants_export_hides_what_others_call_the_same_route():
    declare(ALICE_AND_CHARLIE)
    ModelAlias.objects.filter(name="charlies").update(route=Route.objects.get(name="alice/alices"))
    Route.objects.filter(name="charlie/charlies").delete()
    assert "charlie" not in export(Tenant.objects.get(slug="alice")).lower()


def test_the_command_refuses_a_tenant_that_is_not_there():
    with pytest.raises(CommandError, match="no tenant 'zoe'"):
        call_command("export", tenant="zoe")
