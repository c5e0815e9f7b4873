"""Providers, deployments, prices and routes as a file declares them."""

from datetime import timedelta
from decimal import Decimal

import pytest
import yaml
from django.utils import timezone

from gateway_site.infra import secrets
from providers.models import Deployment, ModelPrice, Provider
from routing.models import ModelAlias, RouteTarget
from tenants.models import Tenant
from tests.providers.pem import identity
from tests.routing.declaring import CATALOGUE, TENANTS, changes, declare, refusals

pytestmark = pytest.mark.django_db


def with_tls(**tls: str) -> str:
    """A provider with certificates."""
    provider = {"slug": "a", "adapter": "openai", "tls": tls}
    return yaml.safe_dump({"providers": [provider]})


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
