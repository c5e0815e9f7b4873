"""Prices from a public file: what it offers, what that would change, and only that is changed."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.canonical.usage import Usage
from providers.models import Deployment, ModelPrice, Provider
from providers.models.price import UNIT_FIELDS
from providers.price_import import SEED, Malformed, Offer, differences, find_offers, read_offers
from providers.pricing import UNITS, Price, cost
from tenants.models import Tenant

GPT = {
    "litellm_provider": "openai",
    "mode": "chat",
    "max_tokens": 128000,
    "input_cost_per_token": Decimal("2.5e-06"),
    "output_cost_per_token": Decimal("1e-05"),
    "cache_read_input_token_cost": Decimal("1.25e-06"),
    "search_context_cost_per_query": {"search_context_size_low": 0.03},
    "supports_vision": True,
}


def written(entries: Any) -> str:
    """JSON with its decimals as numbers."""
    return json.dumps(entries, default=float)


def offer_of(**fields: Any) -> Offer:
    return read_offers(written({"m": {"mode": "chat", "input_cost_per_token": 0.0, **fields}}))["m"]


def test_dollars_per_token_become_dollars_per_million_exactly():
    offer = read_offers('{"m": {"input_cost_per_token": 1.1e-07, "output_cost_per_token": 0.00000033}}')["m"]
    assert offer.units == {"input": Decimal("0.11"), "output": Decimal("0.33")}


def test_it_knows_every_unit_that_has_a_price_here():
    tokens = offer_of(
        cache_read_input_token_cost=1e-6,
        cache_creation_input_token_cost=2e-6,
        cache_creation_input_token_cost_above_1hr=3e-6,
        output_cost_per_token=4e-6,
        output_cost_per_reasoning_token=5e-6,
        input_cost_per_audio_token=6e-6,
        output_cost_per_audio_token=7e-6,
    )
    assert tokens.units == dict(
        zip(
            ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning"),
            range(6),
            strict=True,
        ),
        audio_input=6,
        audio_output=7,
    )
    assert offer_of(mode="image_generation", output_cost_per_image=0.04).units["image"] == Decimal("0.04")
    assert offer_of(mode="image_generation", input_cost_per_image=0.04).units["image"] == Decimal("0.04")
    assert offer_of(mode="image_generation", output_cost_per_image_token=4e-5).units["output"] == 40
    assert offer_of(mode="audio_speech", input_cost_per_character=1.5e-5).units["character"] == 15
    heard = offer_of(mode="audio_transcription", input_cost_per_second=1e-4, output_cost_per_second=1e-4)
    assert heard.units["second"] == Decimal("0.0001")
    assert offer_of(mode="rerank", input_cost_per_query=0.002).units["per_request"] == Decimal("0.002")


def test_what_a_picture_in_the_prompt_costs_is_no_price_of_pictures_made():
    assert "image" not in offer_of(input_cost_per_image=5e-6).units


def test_of_two_fields_that_say_the_same_the_one_that_is_charged_counts():
    assert offer_of(mode="audio_transcription", input_cost_per_second=0, output_cost_per_second=1e-4).units[
        "second"
    ] == Decimal("0.0001")


def test_prices_above_a_size_of_the_prompt_become_tiers():
    offer = offer_of(
        input_cost_per_token=1e-6,
        output_cost_per_token=2e-6,
        input_cost_per_token_above_200k_tokens=3e-6,
        cache_creation_input_token_cost_above_1hr_above_200k_tokens=4e-6,
        output_cost_per_token_above_1000k_tokens=5e-6,
    )
    assert offer.tiers == (
        {"above": 200_000, "input": "3", "cache_write_1h": "4"},
        {"above": 1_000_000, "output": "5"},
    )


def test_service_tiers_become_multipliers_where_they_are_that():
    usual = {"input_cost_per_token": 2.5e-6, "output_cost_per_token": 1e-5, "cache_read_input_token_cost": 2.5e-7}
    half = {"input_cost_per_token_flex": 1.25e-6, "output_cost_per_token_flex": 5e-6}
    offer = offer_of(**usual, **half, cache_read_input_token_cost_flex=1.3e-7, input_cost_per_token_priority=5e-6)
    assert offer.multipliers == {"flex": "0.5"}
    assert offer.notes == ("its prices for priority are no multiple of the usual ones and were left out",)
    batched = offer_of(**usual, input_cost_per_token_batches=1.25e-6, output_cost_per_token_batches=5e-6)
    assert batched.multipliers == {"batch": "0.5"}


def test_what_has_no_price_is_offered_to_nobody():
    text = written({"sample_spec": {"input_cost_per_token": 0.0}, "free-text": {"mode": "chat"}, "gpt": GPT})
    assert list(read_offers(text)) == ["gpt"]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["The file is not JSON: Expecting value: line 1 column 1 (char 0)."]),
        ("[1]", ["The file is not a mapping of model names to prices."]),
        ("{}", ["The file has no prices."]),
        ('{"m": {"mode": "chat"}}', ["The file has no prices."]),
        ('{"m": 3}', ["m: must be a mapping of fields to prices."]),
        ('{"m": {"input_cost_per_token": NaN}}', ["The file is not JSON: NaN is not a number."]),
        ('{"m": {"input_cost_per_token": -Infinity}}', ["The file is not JSON: -Infinity is not a number."]),
        ('{"m": {"input_cost_per_token": -1e-6}}', ["m: input_cost_per_token: -0.000001 is negative."]),
        ('{"m": {"input_cost_per_token": "1e-6"}}', ['m: input_cost_per_token: "1e-6" is not a number.']),
        ('{"m": {"input_cost_per_token": true}}', ["m: input_cost_per_token: true is not a number."]),
        (
            '{"m": {"input_cost_per_token": 2.5e9}}',
            ["m: input_cost_per_token: 2.5E+9 dollars for one is too much to be true."],
        ),
        (
            '{"m": {"input_cost_per_token": 1e99999999999999999999}}',
            ["The file is not JSON: [<class 'decimal.ConversionSyntax'>]."],
        ),
        (
            '{"m": {"output_cost_per_token": -1, "cache_read_input_token_cost": []}, "n": 1, "o": {}}',
            [
                "m: output_cost_per_token: -1 is negative.",
                "m: cache_read_input_token_cost: [] is not a number.",
                "n: must be a mapping of fields to prices.",
            ],
        ),
        (
            '{"m": {"input_cost_per_token": 1e-6}, "m": {"input_cost_per_token": 2e-6}}',
            ["m stands twice, with different prices."],
        ),
        ("[" * 100_000, None),
    ],
)
def test_a_malformed_file_is_refused_with_an_error_for_each_problem(text: str, problems: list[str] | None):
    with pytest.raises(Malformed) as refused:
        read_offers(text)
    if problems is not None and "ConversionSyntax" not in problems[0]:
        assert refused.value.problems == problems


def test_what_stands_twice_and_says_the_same_is_no_problem():
    assert read_offers('{"m": {"input_cost_per_token": 1}, "m": {"input_cost_per_token": 1}}')["m"].units["input"]


def test_a_models_own_entry_comes_first():
    names = ("groq/llama", "llama", "openrouter/llama", "meta/llama-3", "gpt-5", "azure/o9", "openai/o9")
    offers = {name: Offer(name=name, units={"input": Decimal(place)}) for place, name in enumerate(names)}

    def found(provider: str, model: str) -> list[str]:
        return [offer.name for offer in find_offers(offers, provider=provider, model=model)]

    assert found("groq", "llama") == ["groq/llama"]
    assert found("openai_compatible", "llama") == ["llama"]
    assert found("openrouter", "openai/gpt-5") == ["gpt-5"]
    assert found("openai_compatible", "llama-3") == ["meta/llama-3"]
    assert found("openai_compatible", "o9") == ["azure/o9", "openai/o9"]
    assert found("openai", "unheard-of") == []
    offers["azure/o9"] = Offer(name="azure/o9", units=offers["openai/o9"].units)
    assert found("openai_compatible", "o9") == ["azure/o9"]


def test_differences_tell_old_and_new_per_million():
    offer = offer_of(input_cost_per_token=2e-6, output_cost_per_token=4e-6, input_cost_per_token_above_200k_tokens=3e-6)
    after = offer.as_price(side="cost", effective_from=1.0)
    before = Price(
        side="cost",
        effective_from=0.0,
        per=1000,
        input=Decimal("0.002"),
        reasoning=Decimal("0.001"),
        multipliers={"batch": "0.50"},
    )
    assert differences(before, after) == [
        "output none → 4",
        "input above 200000 tokens none → 3",
        "reasoning 1 → none",
        "batch times 0.5 → none",
    ]
    assert differences(after, after) == []
    assert "currency none → USD" in differences(None, after)


def test_a_margin_is_on_top_of_everything():
    offer = offer_of(input_cost_per_token=2e-6, input_cost_per_token_above_200k_tokens=3e-6, output_cost_per_token=1e-5)
    sold = offer.as_price(side="sell", effective_from=0.0, margin=Decimal("12.5"))
    assert (sold.input, sold.output, sold.tiers) == (
        Decimal("2.25"),
        Decimal("11.25"),
        ({"above": 200_000, "input": "3.375"},),
    )


@settings(deadline=None)
@given(st.decimals(0, 100, places=12), st.integers(0, 10**6))
def test_a_million_tokens_cost_what_the_file_says(dollars: Decimal, tokens: int):
    offer = read_offers(f'{{"m": {{"input_cost_per_token": {dollars:f}}}}}')["m"]
    billed = cost(Usage(input=tokens), offer.as_price(side="cost", effective_from=0.0))
    assert billed is not None
    assert abs(billed - dollars * tokens) <= Decimal("0.0000000005") + Decimal(tokens) / 10**16


def test_the_prices_that_come_along_are_sound_and_dated():
    text = SEED.read_text()
    assert len(read_offers(text)) >= 12
    entries = json.loads(text)
    assert all(entry["as_of"] and entry["source"].startswith("https://") for entry in entries.values())
    assert not any(offer.notes for offer in read_offers(text).values())


# --- In the database -----------------------------------------------------------------------------------------


@pytest.fixture
def provider(db: None) -> Provider:
    return Provider.objects.create(slug="p", adapter="openai")


@pytest.fixture
def gpt(provider: Provider) -> Deployment:
    return Deployment.objects.create(slug="gpt", provider=provider, model="gpt-4o")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "prices.json"
    path.write_text(written({"gpt-4o": GPT, "other": GPT}))
    return path


def run(*arguments: object) -> str:
    said = StringIO()
    call_command("import_prices", *map(str, arguments), stdout=said, stderr=said)
    return said.getvalue()


def prices() -> list[tuple[str, str, Decimal | None, Decimal | None]]:
    rows = ModelPrice.objects.order_by("deployment__slug", "side", "effective_from")
    return [(row.deployment.slug, row.side, row.input, row.output) for row in rows]


def test_it_shows_what_would_change_and_changes_nothing(gpt: Deployment, file: Path):
    said = run(file)
    assert "+ gpt, what we pay (gpt-4o): currency none → USD, input none → 2.5, cache_read none → 1.25" in said
    assert "+ gpt, what tenants pay (gpt-4o)" in said
    assert "Nothing was changed" in said
    assert prices() == []


def test_applied_it_is_in_force_from_now_on(gpt: Deployment, file: Path):
    begun = timezone.now()
    assert "2 prices were written" in run(file, "--apply")
    assert prices() == [("gpt", "cost", Decimal("2.5"), 10), ("gpt", "sell", Decimal("2.5"), 10)]
    assert all(begun <= row.effective_from <= timezone.now() for row in ModelPrice.objects.all())
    assert "0 new prices; 1 deployments have the file's prices already" in run(file, "--apply")
    assert len(prices()) == 2


def test_what_tenants_pay_is_left_alone_unless_a_margin_is_named(gpt: Deployment, file: Path):
    ModelPrice.objects.create(
        deployment=gpt, side="sell", input=Decimal(9), effective_from=datetime(2026, 1, 1, tzinfo=UTC)
    )
    run(file, "--apply")
    assert [row[1] for row in prices()] == ["cost", "sell"]
    said = run(file, "--apply", "--margin", "20")
    assert "~ gpt, what tenants pay (gpt-4o): input 9 → 3" in said
    assert prices()[1:] == [("gpt", "sell", 9, None), ("gpt", "sell", 3, 12)]


def test_only_what_was_accepted_is_applied(gpt: Deployment, provider: Provider, file: Path):
    Deployment.objects.create(slug="second", provider=provider, model="other")
    run(file, "--apply", "--model", "other")
    assert {row[0] for row in prices()} == {"second"}
    run(file, "--apply", "--model", "gpt", "--model", "nothing-like-it")
    assert {row[0] for row in prices()} == {"gpt", "second"}


def test_prices_in_another_currency_are_left_as_they_are(gpt: Deployment, file: Path):
    since = datetime(2026, 1, 1, tzinfo=UTC)
    for side in ("sell", "cost"):
        ModelPrice.objects.create(deployment=gpt, side=side, input=9, currency="EUR", effective_from=since)
    said = run(file, "--apply", "--margin", "5")
    assert "gpt: what tenants pay is in EUR and was left as it is." in said
    assert len(prices()) == 2


def test_it_tells_of_prices_that_will_take_over_later(gpt: Deployment, file: Path):
    later = timezone.now() + timedelta(days=3)
    ModelPrice.objects.create(deployment=gpt, side="cost", input=9, effective_from=later)
    assert f"gpt: what we pay is another price from {later:%Y-%m-%d} on." in run(file, "--apply")


def test_of_prices_that_differ_none_is_chosen(provider: Provider, tmp_path: Path):
    Deployment.objects.create(slug="o9", provider=provider, model="o9")
    path = tmp_path / "two.json"
    path.write_text(written({"azure/o9": GPT, "groq/o9": {**GPT, "input_cost_per_token": 1e-6}}))
    assert "o9: the file has different prices for azure/o9, groq/o9; name one of them." in run(path, "--apply")
    assert prices() == []
    run(path, "--apply", "--model", "groq/o9")
    assert {row[2] for row in prices()} == {1}


def test_a_malformed_file_changes_nothing(gpt: Deployment, tmp_path: Path):
    path = tmp_path / "bad.json"
    path.write_text(written({"gpt-4o": GPT, "x": {"input_cost_per_token": -1}, "y": {"output_cost_per_token": "?"}}))
    said = StringIO()
    with pytest.raises(CommandError, match="nothing was changed"):
        call_command("import_prices", str(path), "--apply", stdout=said, stderr=said)
    assert said.getvalue().splitlines() == [
        f"{path}: x: input_cost_per_token: -1 is negative.",
        f'{path}: y: output_cost_per_token: "?" is not a number.',
    ]
    assert prices() == []


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"\x00"])
def test_a_file_that_cannot_be_read_is_refused_in_a_sentence(db: None, tmp_path: Path, content: bytes | None):
    path = tmp_path / "file.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CommandError):
        run(path, "--apply")


@pytest.mark.parametrize("margin", ["-1", "nan", "a lot", "inf"])
def test_a_margin_is_a_number_of_per_cent(file: Path, margin: str):
    with pytest.raises(CommandError):
        run(file, f"--margin={margin}")


def test_the_prices_that_come_along_can_be_applied(gpt: Deployment):
    run("--seed", "--apply", "--margin", "10")
    row = ModelPrice.objects.get(side="sell")
    assert (row.input, row.output, row.multipliers) == (Decimal("2.75"), 11, {"batch": "0.5", "priority": "1.7"})


# --- What a price cannot be ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"input": "-1"}, "input"),
        ({"input": "NaN"}, "input"),
        ({"input": "Infinity"}, "input"),
        ({"input": "x"}, "input"),
        ({"input": "99999999999"}, "input"),
        ({"input": "0.00000000001"}, "input"),
        ({}, "input"),
        ({"second": "-0.5"}, "second"),
        ({"input": "1", "currency": "XYZ"}, "currency"),
        ({"input": "1", "currency": "usd"}, "currency"),
        ({"input": "1", "per": 0}, "per"),
        ({"input": "1", "tiers": {"above": 1}}, "tiers"),
        ({"input": "1", "tiers": [{"above": 10}]}, "tiers"),
        ({"input": "1", "tiers": [{"above": True, "input": 1}]}, "tiers"),
        ({"input": "1", "tiers": [{"above": -1, "input": 1}]}, "tiers"),
        ({"input": "1", "tiers": [{"input": 1}]}, "tiers"),
        ({"input": "1", "tiers": [{"above": 10, "input": -1}]}, "tiers"),
        ({"input": "1", "tiers": [{"above": 10, "input": "NaN"}]}, "tiers"),
        ({"input": "1", "tiers": [{"above": 10, "input": "Infinity"}]}, "tiers"),
        ({"input": "1", "tiers": [{"above": 10, "input": True}]}, "tiers"),
        ({"input": "1", "tiers": [{"above": 10, "input": "1e30"}]}, "tiers"),
        ({"input": "1", "tiers": [{"above": 10, "currency": "EUR"}]}, "tiers"),
        ({"input": "1", "tiers": [{"above": 10, "input": 1}, {"above": 10, "input": 2}]}, "tiers"),
        ({"input": "1", "multipliers": ["batch"]}, "multipliers"),
        ({"input": "1", "multipliers": {"batch": -0.5}}, "multipliers"),
        ({"input": "1", "multipliers": {"batch": "NaN"}}, "multipliers"),
        ({"input": "1", "multipliers": {"batch": 1000}}, "multipliers"),
        ({"input": "1", "multipliers": {"batch": None}}, "multipliers"),
        ({"input": "1", "multipliers": {"": 1}}, "multipliers"),
        ({"input": "1", "multipliers": {"default": 1}}, "multipliers"),
        ({"input": "1", "multipliers": {"Batch": 1}}, "multipliers"),
    ],
)
def test_a_price_that_cannot_be_is_refused_with_its_field_named(gpt: Deployment, fields: dict[str, Any], named: str):
    with pytest.raises(ValidationError) as refused:
        ModelPrice(deployment=gpt, **fields).full_clean()
    assert list(refused.value.message_dict) == [named]


def test_two_prices_of_a_side_cannot_begin_at_once(gpt: Deployment):
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    first = ModelPrice.objects.create(deployment=gpt, input=1, effective_from=moment)
    with pytest.raises(ValidationError) as refused:
        ModelPrice(deployment=gpt, input=2, effective_from=moment).full_clean()
    assert list(refused.value.message_dict) == ["effective_from"]
    first.full_clean()
    ModelPrice(deployment=gpt, input=2, effective_from=moment, side="cost").full_clean()


def test_amounts_in_tiers_and_multipliers_never_stay_floats(gpt: Deployment):
    price = ModelPrice(deployment=gpt, input=1, tiers=[{"above": 5, "input": 0.1}], multipliers={"batch": 0.5})
    price.full_clean()
    assert (price.tiers, price.multipliers) == ([{"above": 5, "input": "0.1"}], {"batch": "0.5"})
    assert cost(Usage(input=10, service_tier="batch"), price.as_price()) == Decimal("0.0000005")


def test_the_tables_units_are_those_of_the_bill():
    assert set(UNIT_FIELDS) == set(UNITS)


@pytest.mark.parametrize("code", ["XYZ", "usd", "US", ""])
def test_a_tenants_floor_is_in_a_currency_that_exists(db: None, code: str):
    charlie = Tenant(slug="charlie", floor_currency=code)
    with pytest.raises(ValidationError) as refused:
        charlie.full_clean()
    assert "floor_currency" in refused.value.message_dict


def test_who_is_billed_at_a_floor_must_have_one(db: None):
    charlie = Tenant(slug="charlie", name="Charlie", unpriced_policy=Tenant.UnpricedPolicy.FLOOR, floor_input=1)
    with pytest.raises(ValidationError) as refused:
        charlie.full_clean()
    assert list(refused.value.message_dict) == ["floor_output"]
    charlie.floor_output = Decimal(0)
    charlie.full_clean()
