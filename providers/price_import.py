"""Reads prices in the public format of `model_prices_and_context_window.json`, and says what they would change. Pure.

The file is LiteLLM's: a mapping of model names, many as "provider/model", to what one token, image, second or character
costs in US dollars (https://github.com/BerriAI/litellm/blob/main/model_prices_and_context_window.json). It is read
as a whole or not at all: a file that is wrong in one place is not to be trusted in the others.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from gateway_site.infra.words import plain
from providers.pricing import MILLION, UNITS, Price

SEED = Path(__file__).with_name("seed_prices.json")  # well known models; it comes along
CURRENCY = "USD"
MOST_BYTES = 32 * 1024 * 1024
DESCRIPTION = "sample_spec"  # an entry that explains the fields
MOST_DOLLARS = 1_000  # for one of anything: more is a mistake in the file
PLACES = Decimal("0.0000000001")  # as the column has them
SINGLE = frozenset({"image", "second", "per_request"})  # priced one by one

TOKEN_FIELDS = {
    "input_cost_per_token": "input",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write_5m",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "output_cost_per_token": "output",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_audio_token": "audio_input",
    "output_cost_per_audio_token": "audio_output",
}
# Of fields that say the same, the first counts; those of images and sound mean what they say in these modes only.
OTHER_FIELDS = {
    "image_generation": {
        "output_cost_per_image_token": "output",
        "output_cost_per_image": "image",
        "input_cost_per_image": "image",
    },
    "audio_speech": {
        "input_cost_per_character": "character",
        "output_cost_per_character": "character",
        "output_cost_per_second": "second",
    },
    "audio_transcription": {"input_cost_per_second": "second", "output_cost_per_second": "second"},
    "rerank": {"input_cost_per_query": "per_request"},
}
SERVICE_TIERS = {"batches": "batch", "flex": "flex", "priority": "priority"}  # as the file's fields end, and our name
ABOVE = re.compile(r"(?P<field>.+)_above_(?P<thousands>\d{1,6})k_tokens")
PRICE_FIELD = re.compile(r"(input|output|cache_read|cache_creation)_(\w*_)?(cost|token_cost)(_\w+)?")


class Malformed(ValueError):
    """The file cannot be trusted; `problems` has a sentence for each place that is wrong."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__(" ".join(self.problems))


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What the file says of one name: dollars per million tokens or characters, and for one of anything else."""

    name: str
    units: dict[str, Decimal]
    tiers: tuple[dict[str, str | int], ...] = ()  # as Price has them
    multipliers: dict[str, str] = {}
    notes: tuple[str, ...] = ()  # what could not be taken over

    def as_price(self, *, side: str, effective_from: float, margin: Decimal = Decimal(0)) -> Price:
        """Return it as a price, with a margin in per cent on everything."""
        factor = 1 + margin / 100
        return Price(
            side=side,  # type: ignore[arg-type]
            effective_from=effective_from,
            currency=CURRENCY,
            per=MILLION,
            tiers=tuple(_raised(tier, factor) for tier in self.tiers),
            multipliers=dict(self.multipliers),
            **{unit: _rounded(amount * factor) for unit, amount in self.units.items()},
        )


def read_offers(text: str) -> dict[str, Offer]:
    """Return what a file offers, by name; raises Malformed with all that is wrong with it."""
    entries = _parse(text)
    problems = [problem for name, entry in entries.items() for problem in _problems(name, entry)]
    if problems:
        raise Malformed(problems)
    offers = {name: _offer(name, entry) for name, entry in entries.items()}
    priced = {name: offer for name, offer in offers.items() if offer.units}
    if not priced:
        raise Malformed(["The file has no prices."])
    return priced


def find_offers(offers: Mapping[str, Offer], *, provider: str, model: str) -> list[Offer]:
    """Return what a file offers for a provider's model: one, none, or several that differ and of which none is better.

    The provider's own entry comes before the bare name, that before the name without its first part ("openai/gpt-5"), and
    last come entries of other providers.
    """
    bare = model.partition("/")[2]
    for name in (f"{provider}/{model}", model, bare):
        if name and name in offers:
            return [offers[name]]
    others = [offer for name, offer in offers.items() if name.partition("/")[2] == model]
    return others[:1] if all(_same(others[0], offer) for offer in others) else others


def differences(before: Price | None, after: Price) -> list[str]:
    """Return what would change, a unit in each line: `input 3 → 2.5`; nothing when both say the same."""
    old, new = _facts(before) if before is not None else {}, _facts(after)
    names = [*new, *(name for name in old if name not in new)]
    return [
        f"{name} {_shown(old.get(name))} → {_shown(new.get(name))}" for name in names if old.get(name) != new.get(name)
    ]


# --- Reading -------------------------------------------------------------------------------------------------


def _parse(text: str) -> dict[str, Any]:
    contradicted: set[str] = set()

    def mapping(members: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in members:
            is_price = isinstance(value, dict) or PRICE_FIELD.fullmatch(name) is not None
            if is_price and found.setdefault(name, value) != value:
                contradicted.add(name)
            found[name] = value
        return found

    try:
        entries = json.loads(text, parse_float=Decimal, parse_constant=_no_number, object_pairs_hook=mapping)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise Malformed([f"The file is not JSON: {error}."]) from None
    if not isinstance(entries, dict):
        raise Malformed(["The file is not a mapping of model names to prices."])
    if contradicted:
        raise Malformed(f"{name} stands twice, with different prices." for name in sorted(contradicted))
    return {name: entry for name, entry in entries.items() if name != DESCRIPTION}


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a number")


def _problems(name: str, entry: Any) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield f"{name}: must be a mapping of fields to prices."
        return
    for field, value in entry.items():
        if not PRICE_FIELD.fullmatch(field) or value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            yield f"{name}: {field}: {_quoted(value)} is not a number."
        elif value < 0:
            yield f"{name}: {field}: {value} is negative."
        elif value > MOST_DOLLARS:
            yield f"{name}: {field}: {value} dollars for one is too much to be true."


def _quoted(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _offer(name: str, entry: Mapping[str, Any]) -> Offer:
    multipliers, notes = _multipliers(entry)
    tiers = {int(match["thousands"]) for field in entry if (match := ABOVE.fullmatch(field))}
    found = [_tier(entry, thousands) for thousands in sorted(tiers)]
    return Offer(
        name=name,
        units=_units(entry),
        tiers=tuple(tier for tier in found if len(tier) > 1),
        multipliers=multipliers,
        notes=tuple(notes),
    )


def _units(entry: Mapping[str, Any]) -> dict[str, Decimal]:
    units: dict[str, Decimal] = {}
    for field, unit in (TOKEN_FIELDS | OTHER_FIELDS.get(str(entry.get("mode")), {})).items():
        value = entry.get(field)
        # Where one field of two is 0, it is the other that is charged.
        if value is not None and not units.get(unit):
            units[unit] = _per_unit(value, unit)
    return {unit: units[unit] for unit in UNITS if unit in units}


def _tier(entry: Mapping[str, Any], thousands: int) -> dict[str, str | int]:
    tier: dict[str, str | int] = {"above": thousands * 1000}
    for field, unit in TOKEN_FIELDS.items():
        value = entry.get(f"{field}_above_{thousands}k_tokens")
        if value is not None:
            tier[unit] = plain(_per_unit(value, unit))
    return tier


def _multipliers(entry: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Return what service tiers cost, as multiples of the usual prices, and a note where they are none.

    Input and output tell; the file rounds the prices of caches.
    """
    multipliers, notes = {}, []
    usual = {field: entry.get(field) for field in ("input_cost_per_token", "output_cost_per_token")}
    for suffix, name in SERVICE_TIERS.items():
        prices = [(value, entry.get(f"{field}_{suffix}")) for field, value in usual.items() if value]
        if all(changed is None for _, changed in prices):
            continue
        ratios = {_rounded(Decimal(changed) / value) for value, changed in prices if changed is not None}
        if len(ratios) == 1 and all(changed is not None for _, changed in prices):
            multipliers[name] = plain(ratios.pop())
        else:
            notes.append(f"its prices for {name} are no multiple of the usual ones and were left out")
    return multipliers, notes


def _per_unit(value: int | Decimal, unit: str) -> Decimal:
    return _rounded(Decimal(value) * (1 if unit in SINGLE else MILLION))


# --- Comparing -----------------------------------------------------------------------------------------------


def _facts(price: Price) -> dict[str, Any]:
    """Return what a price says, per million whatever it is stored for."""
    facts: dict[str, Any] = {"currency": price.currency}
    for unit in UNITS:
        amount = getattr(price, unit)
        if amount is not None:
            facts[unit] = _rounded(amount if unit in SINGLE else amount * MILLION / price.per)
    for tier in sorted(price.tiers, key=lambda tier: int(tier["above"])):
        for unit in UNITS:
            if unit in tier:
                amount = Decimal(str(tier[unit]))
                scaled = amount if unit in SINGLE else amount * MILLION / price.per
                facts[f"{unit} above {tier['above']} tokens"] = _rounded(scaled)
    for name in sorted(price.multipliers):
        facts[f"{name} times"] = Decimal(str(price.multipliers[name]))
    return facts


def _same(one: Offer, other: Offer) -> bool:
    return (one.units, one.tiers, one.multipliers) == (other.units, other.tiers, other.multipliers)


def _raised(tier: Mapping[str, str | int], factor: Decimal) -> dict[str, str | int | float]:
    return {
        unit: value if unit == "above" else plain(_rounded(Decimal(str(value)) * factor))
        for unit, value in tier.items()
    }


def _rounded(amount: Decimal) -> Decimal:
    return amount.quantize(PLACES, rounding=ROUND_HALF_EVEN)


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return plain(value) if isinstance(value, Decimal) else str(value)
