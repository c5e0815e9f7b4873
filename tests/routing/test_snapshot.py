"""Names lead to routes, and a configuration survives storage byte for byte."""

import math
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from providers.dialects.openai_chat.wire import CHAT
from providers.pricing import Price
from routing.snapshot import (
    EMPTY,
    Alias,
    Deployment,
    LiveSnapshot,
    Provider,
    Route,
    Secrets,
    Snapshot,
    Target,
    Timeouts,
    decode,
    encode,
)

ALICE, BOB = 1, 2


def live(*aliases: tuple[str, str] | tuple[str, str, int]) -> LiveSnapshot:
    """A configuration of these aliases: name, route, and the tenant if they are a tenant's own."""
    named = tuple(Alias(name=name, route=route, tenant_id=(*tenant, None)[0]) for name, route, *tenant in aliases)
    routes = tuple(Route(name=name) for name in sorted({alias.route for alias in named}))
    return LiveSnapshot(Snapshot(number=7, routes=routes, aliases=named), {})


def led(snapshot: LiveSnapshot, alias: str, tenant_id: int = ALICE) -> str | None:
    route = snapshot.resolve(alias, tenant_id)
    return route.facts.name if route is not None else None


@pytest.mark.parametrize(
    ("alias", "tenant_id", "expected"),
    [
        ("fast", ALICE, "alices"),
        ("fast", BOB, "global"),
        ("only-alice", ALICE, "alices"),
        ("only-alice", BOB, None),
        ("everybody", ALICE, "global"),
        ("FAST", ALICE, None),
        ("fas", ALICE, None),
        ("", ALICE, None),
    ],
)
def test_a_tenants_own_names_come_before_the_global_ones(alias: str, tenant_id: int, expected: str | None):
    snapshot = live(
        ("fast", "global"), ("everybody", "global"), ("fast", "alices", ALICE), ("only-alice", "alices", ALICE)
    )
    assert led(snapshot, alias, tenant_id) == expected


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    ("alias", "expected"),
    [
        ("gpt-5", "exact"),
        ("gpt-5-mini", "longer"),
        ("gpt-5-", "longer"),
        ("gpt-4", "shorter"),
        ("gpt-", "shorter"),
        ("claude", "all"),
        ("", "all"),
    ],
)
def test_exact_names_come_before_patterns_and_longer_patterns_before_shorter(
    alias: str, expected: str, backwards: bool
):
    aliases = [("*", "all"), ("gpt-*", "shorter"), ("gpt-5-*", "longer"), ("gpt-5", "exact")]
    assert led(live(*(reversed(aliases) if backwards else aliases)), alias) == expected


def test_a_tenants_pattern_comes_before_a_global_name():
    snapshot = live(("gpt-5", "global"), ("gpt-*", "alices", ALICE))
    assert led(snapshot, "gpt-5") == "alices"
    assert led(snapshot, "gpt-5", BOB) == "global"


def test_a_star_stands_for_something_at_the_end_only():
    snapshot = live(("a*b", "odd"))
    assert led(snapshot, "axb") is None
    assert led(snapshot, "a*b") == "odd"


def test_names_are_listed_without_patterns_and_without_those_of_others():
    snapshot = live(
        ("b", "r"), ("a", "r"), ("p-*", "r"), ("b", "own", ALICE), ("z", "own", ALICE), ("q-*", "own", ALICE)
    )
    assert snapshot.names_for(ALICE) == ["a", "b", "z"]
    assert snapshot.names_for(BOB) == ["a", "b"]
    assert all(snapshot.resolve(name, ALICE) is not None for name in snapshot.names_for(ALICE))


def test_an_empty_configuration_knows_no_name():
    snapshot = LiveSnapshot(EMPTY, {})
    assert (snapshot.resolve("any", ALICE), snapshot.names_for(ALICE), snapshot.pools) == (None, [], set())


FULL = Snapshot(
    number=42,
    providers=(
        Provider(
            slug="p",
            adapter="anthropic",
            base_url="https://upstream",
            dialects=("anthropic_messages",),
            credential="encrypted",
            headers={"z": "1", "a": "é"},
            timeouts=Timeouts(connect=1.5, first_token=2.0, between_tokens=3.0, total=4.0),
            limits={"rpm": None, "tpm": 5},
            http2=True,
            proxy="encrypted-proxy",
            ca_certificate="-----BEGIN",
            client_certificate="-----BEGIN",
            client_key="encrypted-key",
            queue_size=0,
            queue_wait=0.5,
            catalogue=("claude", "claude-é"),
        ),
    ),
    deployments=(
        Deployment(
            slug="d",
            provider="p",
            model="claude",
            tags=("eu", "fast"),
            prices=(
                Price(
                    side="sell",
                    effective_from=1.25,
                    input=Decimal("3.10"),
                    output=Decimal("0.0000000001"),
                    tiers=({"above": 200_000, "input": "6"},),
                ),
            ),
        ),
    ),
    routes=(
        Route(
            name="r", hedge=True, targets=(Target(deployment="d", priority=2, weight=0, conditions={"b": 1, "a": [2]}),)
        ),
    ),
    aliases=(Alias(name="claude-*", route="r", tenant_id=ALICE), Alias(name="é", route="r")),
)


@pytest.mark.parametrize("snapshot", [EMPTY, FULL], ids=["empty", "full"])
def test_it_survives_storage_byte_for_byte(snapshot: Snapshot):
    blob = encode(snapshot)
    assert decode(blob) == snapshot
    assert encode(decode(blob)) == blob


def test_equal_configurations_have_equal_bytes():
    headers = dict(reversed(FULL.providers[0].headers.items()))
    same = msgspec.structs.replace(FULL, providers=(msgspec.structs.replace(FULL.providers[0], headers=headers),))
    assert encode(same) == encode(FULL)


def test_what_the_version_before_stored_can_be_read():
    blob = (
        b'{"providers":[{"slug":"p","adapter":"openai","base_url":"https://u","dialects":["openai_chat"]}],'
        b'"routes":[{"name":"r"}]}'
    )
    snapshot = decode(blob)
    [provider], [route] = snapshot.providers, snapshot.routes
    assert (provider.http2, provider.proxy, provider.ca_certificate, provider.client_key) == (False, "", "", "")
    assert (provider.queue_size, provider.queue_wait, provider.catalogue) == (100, 5.0, ())
    assert not route.hedge


def test_what_a_newer_version_stored_can_be_read():
    assert decode(b'{"number":3,"from_the_future":[1],"aliases":[{"name":"a","route":"r","new":1}]}').number == 3


@pytest.mark.parametrize("blob", [b"", b"{", b"[]", b'{"number":"x"}', b'{"routes":[{}]}'])
def test_what_is_no_configuration_is_refused(blob: bytes):
    with pytest.raises(msgspec.DecodeError):
        decode(blob)


def test_a_live_configuration_is_linked_and_prepared():
    snapshot = LiveSnapshot(FULL, {"p": Secrets(credential="sk-ours")})
    target = snapshot.routes["r"].targets[0]
    assert target.deployment is snapshot.deployments["d"]
    assert target.deployment.dialects == ("anthropic_messages",)
    assert target.deployment.fixed_headers[0] == ("x-api-key", "sk-ours")
    assert snapshot.revision_header == (b"x-tollgate-revision", b"42")
    assert {pool.provider for pool in snapshot.pools} == {"p"}


def test_deployments_of_one_provider_share_its_connections():
    one, other = (Deployment(slug=slug, provider="p", model="m") for slug in ("d", "e"))
    assert len(LiveSnapshot(Snapshot(providers=FULL.providers, deployments=(one, other)), {}).pools) == 1


def test_a_provider_without_a_readable_credential_is_called_without_one():
    assert LiveSnapshot(FULL, {}).deployments["d"].fixed_headers == (("z", "1"), ("a", "é"))


def test_targets_are_in_the_order_of_their_priority(make_route):
    route = make_route({"c": {"priority": 5}, "a": {"priority": 1}, "b": {"priority": 1}})
    assert [target.deployment.facts.slug for target in route.targets] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "https://upstream/v1/chat/completions"),
        ("beta=true&x=%2F", "https://upstream/v1/chat/completions?beta=true&x=%2F"),
    ],
)
def test_a_query_goes_on_as_it_came(make_deployment, query: str, expected: str):
    deployment = make_deployment()
    assert str(deployment.url(CHAT, query)) == expected
    assert str(deployment.url(CHAT, query)) == expected


def test_queries_of_clients_do_not_fill_the_memory(make_deployment):
    deployment = make_deployment()
    for number in range(1000):
        deployment.url(CHAT, f"n={number}")
    assert len(deployment.urls) < 100


@pytest.mark.parametrize(
    ("fields", "is_enabled"),
    [({}, True), ({"is_enabled": False}, False), ({"provider": {"is_enabled": False}}, False)],
)
def test_either_switch_turns_a_deployment_off(make_deployment, fields: dict[str, Any], is_enabled: bool):
    assert make_deployment(**fields).is_enabled is is_enabled


def test_what_a_request_may_cost_is_told_by_what_we_pay_else_by_what_is_sold(make_deployment):
    sold = (
        Price(side="sell", effective_from=100.0, input=Decimal(1), output=Decimal(2), per=1000),
        Price(side="sell", effective_from=5000.0, input=Decimal(3), output=Decimal(4), per=1000),
    )
    deployment = make_deployment(prices=sold)
    assert deployment.expected_cost(1000, 1000, 0.5) == math.inf
    assert deployment.expected_cost(1000, 1000, 200.0) == 3
    assert deployment.expected_cost(1000, 1000, 9000.0) == 7
    bought = (*sold, Price(side="cost", effective_from=100.0, input=Decimal(9), per=1000))
    assert make_deployment(prices=bought).expected_cost(1000, 1000, 9000.0) == 9


# --- Models that nobody mapped -------------------------------------------------------------------------------


def catalogued(*models: str, slug: str = "p") -> list[str]:
    """The deployments that serve these models, as records name them."""
    provider = Provider(slug=slug, adapter="groq", base_url="https://x", dialects=("openai_chat",), catalogue=models)
    snapshot = LiveSnapshot(Snapshot(providers=(provider,)), {})
    routes = [snapshot.catalogue_route(model) for model in models]
    return [route.targets[0].deployment.facts.slug for route in routes if route is not None]


def test_the_deployment_of_an_unmapped_model_is_named_after_provider_and_model():
    assert catalogued("vendor/model-1", "m" * 61) == ["p/vendor/model-1", f"p/{'m' * 61}"]


@pytest.mark.parametrize("slug", ["p", "p" * 63])
def test_two_unmapped_models_never_share_a_name_however_long(slug: str):
    long = "m" * 199
    models = (f"{long}1", f"{long}2", "modèle", "mod\u00e9le", "a~b", "a?b", "mod?le")
    found = catalogued(*models, slug=slug)
    assert len(set(found)) == len(models)
    assert all(len(name) <= 63 and name.isascii() for name in found)
    assert found == catalogued(*models, slug=slug)  # the same in every worker and every revision


def test_what_is_cut_cannot_be_made_by_hand():
    [cut] = catalogued("m" * 200)
    assert catalogued(cut.removeprefix("p/")) != [cut]
