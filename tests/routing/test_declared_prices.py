"""Prices and floors in the file: every unit, and nothing that could not be billed by."""

from decimal import Decimal
from textwrap import indent

import pytest

from providers.models import ModelPrice
from providers.pricing import Price
from routing.compiler import compile_snapshot, find_errors
from routing.declaration.export import export
from tenants.models import Tenant
from tests.routing.declaring import changes, declare, refusals

pytestmark = pytest.mark.django_db

EVERYTHING = (
    "{input: 1, cache_read: 0.1, cache_write_5m: 1.25, cache_write_1h: 2, output: 4, reasoning: 5, audio_input: 6,"
    " audio_output: 7, image: 0.04, character: 15, second: 0.0001, per_request: 0.5,"
    " tiers: [{above: 200000, input: 2, second: 0.0002}], multipliers: {batch: 0.5, priority: 1.75}}"
)


def priced(prices: str) -> str:
    return f"""\
providers:
  - {{slug: openai, adapter: openai}}
deployments:
  - slug: mini
    provider: openai
    model: gpt-5-mini
    prices: {prices}
"""


def tenants(*fields: str) -> str:
    return "tenants:\n  - slug: alice\n" + indent("\n".join(fields), "    ") + "\n  - slug: charlie\n"


def test_every_unit_stands_in_the_file_and_is_billed_by():
    declare(priced(EVERYTHING))
    (price,) = compile_snapshot().deployments[0].prices
    assert isinstance(price, Price)
    assert (price.character, price.second, price.audio_output) == (15, Decimal("0.0001"), 7)
    assert price.multipliers == {"batch": "0.5", "priority": "1.75"}
    assert price.tiers == ({"above": 200000, "input": "2", "second": "0.0002"},)
    assert changes(priced(EVERYTHING.replace("0.5, priority: 1.75", "0.50, priority: 1.750"))) == []


def test_a_changed_multiplier_is_a_new_price():
    declare(priced(EVERYTHING))
    assert len(changes(priced(EVERYTHING.replace("1.75", "2")))) == 1
    assert ModelPrice.objects.count() == 2


def test_what_is_exported_changes_nothing_when_it_is_applied():
    declare(priced(EVERYTHING) + tenants("unpriced_policy: floor", "floor: {input: 3, output: 9, currency: EUR}"))
    assert changes(export(), prune_unnamed=True) == []


@pytest.mark.parametrize(
    ("prices", "problem"),
    [
        ("{second: -1}", "prices.second: must not be negative"),
        ("{character: .nan}", "prices.character: must be an amount, such as 2.50"),
        ("{input: .inf}", "prices.input: must be an amount, such as 2.50"),
        ("{input: 1, currency: XYZ}", 'prices.currency: "XYZ" is not a currency'),
        ("{input: 1e30}", "prices.input: "),
        ("{input: 1, multipliers: {batch: -1}}", "prices.multipliers.batch: must not be negative"),
        ("{input: 1, multipliers: {batch: half}}", "prices.multipliers.batch: must be an amount"),
        ("{input: 1, multipliers: {batch: 5000}}", "prices.multipliers: batch: '5000' is not below"),
        ("{input: 1, multipliers: {default: 2}}", "prices.multipliers: 'default' is not a service tier"),
        ("{input: 1, multipliers: [batch]}", "prices.multipliers: must be a mapping"),
        ("{input: 1, tiers: [{above: 9, input: 1}, {above: 9, input: 2}]}", "prices.tiers: Two tiers begin above"),
        (
            "[{input: 1, effective_from: 2999-01-01}, {input: 2, effective_from: 2999-01-01}]",
            "prices: has two prices that begin at the same time",
        ),
    ],
)
def test_a_price_that_cannot_be_is_refused_with_its_field_named(prices: str, problem: str):
    (refusal,) = refusals(priced(prices))
    assert problem in refusal
    assert not ModelPrice.objects.exists()


def test_a_tenants_floor_is_the_tenants_own():
    declare(tenants("unpriced_policy: floor", 'floor: {input: "3", output: 9.5, currency: EUR}'))
    alice, charlie = Tenant.objects.order_by("slug")
    assert (alice.floor_input, alice.floor_output, alice.floor_currency) == (3, Decimal("9.5"), "EUR")
    assert (charlie.floor_input, charlie.floor_output, charlie.unpriced_policy) == (None, None, "allow")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (("unpriced_policy: floor", "floor: {input: 1}"), "floor.output: Models without a price are billed"),
        (("floor: {input: -1}",), "floor.input: must not be negative"),
        (("floor: {input: 1, output: 1, currency: DM}",), 'floor.currency: "DM" is not a currency'),
    ],
)
def test_a_floor_that_cannot_be_is_refused_with_its_field_named(fields: tuple[str, ...], problem: str):
    (refusal,) = refusals(tenants(*fields))
    assert f"tenants[0].{problem}" in refusal


@pytest.mark.parametrize(
    "fields", [{"tiers": [{"above": 1, "input": "NaN"}]}, {"tiers": [{"input": "1"}]}, {"multipliers": {"batch": "x"}}]
)
def test_a_price_that_came_past_the_forms_is_not_published(fields: dict[str, object]):
    declare(priced("{input: 1}"))
    assert find_errors(compile_snapshot()) == []
    ModelPrice.objects.update(**fields)
    assert find_errors(compile_snapshot()) == ["Deployment 'mini' has a sell price that cannot be read."]
