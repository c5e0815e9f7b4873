"""What usage reports of all dialects have in common. Pure.

Reports of one stream are cumulative: the newest of each field counts, and they are never added. They are put together as
they came and made disjoint afterwards: of two reports that were made disjoint first, one with cached tokens and one
without, the cached ones would count twice.
"""

from decimal import Decimal
from typing import Any

import msgspec

from providers.canonical.usage import MAX_TOKENS, money
from providers.dialects.fields import read_object

TICKS_PER_DOLLAR = 10_000_000_000  # of xAI's
LARGEST_NUMBER = 10**18


class _Answer(msgspec.Struct):
    """The members of a whole answer that are read; the rest is skipped without being built."""

    usage: Any = None
    service_tier: Any = None


_decode_answer = msgspec.json.Decoder(_Answer).decode


def read_report(body: bytes) -> dict[str, Any] | None:
    """Return a whole answer's usage, and in it the tier that served it; None where there is none."""
    try:
        answer = _decode_answer(body)
        usage, tier = answer.usage, answer.service_tier
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Lone surrogates, which models write, and numbers that no double holds.
        found = read_object(body)
        if found is None:
            return None
        usage, tier = found.get("usage"), found.get("service_tier")
    return with_tier(usage, tier) if isinstance(usage, dict) and usage else None


def with_tier(usage: dict[str, Any], tier: Any) -> dict[str, Any]:
    """Return a report with the tier that the answer around it names, unless it names one itself."""
    return {"service_tier": tier, **usage} if isinstance(tier, str) else usage


def take_report(reported: dict[str, Any], later: Any) -> None:
    """Take a later report into what was reported so far, and nonsense takes nothing away.

    Nor does a zero: counts only grow, and imitations repeat fields that they do not know as nothing.
    """
    if not isinstance(later, dict):
        return
    for name, value in later.items():
        if isinstance(value, dict):
            known = reported.get(name)
            known = known if isinstance(known, dict) else {}
            reported[name] = known | {key: each for key, each in value.items() if _says_more(each, known.get(key))}
        elif _says_more(value, reported.get(name)):
            reported[name] = value


def _says_more(value: Any, known: Any) -> bool:
    """Whether a field's later value replaces what is known of it."""
    is_counted = isinstance(known, int | float) and not isinstance(known, bool)
    if isinstance(value, bool):
        return not is_counted
    if not isinstance(value, int | float):
        return isinstance(value, str | list | dict) and not is_counted
    if is_counted:
        return 0 < value <= MAX_TOKENS or value == known
    return 0 <= value <= LARGEST_NUMBER  # NaN is not between them


def details(usage: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an object inside a report; an empty one where there is none."""
    value = usage.get(name)
    return value if isinstance(value, dict) else {}


def reported_cost(usage: dict[str, Any]) -> Decimal | None:
    """Return what the provider says that it charges, in US dollars; None where it says nothing.

    OpenRouter: https://openrouter.ai/docs/use-cases/usage-accounting. With a key of one's own its cost is only the fee, and
    what the vendor takes comes on top. xAI: https://docs.x.ai/developers/cost-tracking.
    """
    cost = usage.get("cost")
    if cost is None:
        ticks = usage.get("cost_in_usd_ticks")
        if not isinstance(ticks, int) or isinstance(ticks, bool):
            return None
        return money(Decimal(ticks) / TICKS_PER_DOLLAR)
    fee = money(cost.get("total_cost") if isinstance(cost, dict) else cost)  # an object: Perplexity
    if fee is None or usage.get("is_byok") is not True:
        return fee
    return fee + (money(details(usage, "cost_details").get("upstream_inference_cost")) or 0)


def is_outside(reasoning: int | None, prompt: int | None, completion: int | None, total: int | None) -> bool:
    """Whether tokens of reasoning are not among those of the completion, which the total tells.

    So it is at xAI, and where Gemini's counts are translated word for word:
    https://docs.x.ai/docs/key-information/consumption-and-rate-limits
    """
    return bool(reasoning) and total is not None and total == (prompt or 0) + (completion or 0) + (reasoning or 0)
