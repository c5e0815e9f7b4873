"""What a client is told of its limits: why it is refused, whose limit that is, and when to come again. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from time import time
from typing import NamedTuple

from tenants.errors import BudgetExhausted, Forbidden, RateLimited, Unavailable
from tenants.limits.money import show
from tenants.limits.periods import ENDLESS, slot_end
from tenants.limits.windows import window_name
from tenants.principal import BudgetRule, Rule

SCOPE_WORDS = {"tenant": "tenant", "project": "project", "api_key": "API key"}
PERIOD_WORDS = {"day": "a day", "week": "a week", "month": "a month", "quarter": "a quarter", "total": "in total"}
ANTHROPIC = "anthropic_messages"
RETRY_SECONDS = 2
KINDS, TOLD = (b"requests", b"tokens", b"concurrency"), (b"limit", b"remaining", b"reset")
OPENAI_NAMES = {kind.decode(): tuple(b"x-ratelimit-%b-%b" % (what, kind) for what in TOLD) for kind in KINDS}
ANTHROPIC_NAMES = {kind.decode(): tuple(b"anthropic-ratelimit-%b-%b" % (kind, what) for what in TOLD) for kind in KINDS}

type Headers = tuple[tuple[bytes, bytes], ...]


class Tightest(NamedTuple):
    """The rate with the least room left."""

    rule: Rule
    remaining: int
    reset_ms: int


def limit_headers(dialect: str, rates: Sequence[Tightest]) -> Headers:
    """Return the tightest rates in the names that the dialect's SDKs read."""
    of_rate = _anthropic if dialect == ANTHROPIC else _openai
    return tuple([pair for rate in rates for pair in of_rate(rate)])


def _openai(rate: Tightest) -> Headers:
    rule, remaining, reset_ms = rate
    limit, left, reset = OPENAI_NAMES[rule.kind]
    return (
        (limit, b"%d" % rule.amount),
        (left, b"%d" % (remaining if remaining > 0 else 0)),
        (reset, b"%ds" % -(-reset_ms // 1000)),
    )


def _anthropic(rate: Tightest) -> Headers:
    rule, remaining, reset_ms = rate
    limit, left, reset = ANTHROPIC_NAMES[rule.kind]
    return (
        (limit, b"%d" % rule.amount),
        (left, b"%d" % (remaining if remaining > 0 else 0)),
        (reset, _moment(int(time() + -(-reset_ms // 1000)))),
    )


@lru_cache(maxsize=1024)
def _moment(seconds: int) -> bytes:
    """Return a second since 1970 as RFC 3339 has it; most requests of a second are told the same few."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z").encode()


def rate_refusal(rule: Rule, retry_after_ms: int, *, dialect: str, tokens: int) -> RateLimited:
    """Return the refusal by a rate, or by requests at once."""
    whose = f"{SCOPE_WORDS[rule.scope]} {rule.scope_name!r}{_narrowed(rule)}"
    if rule.kind == "tokens" and tokens > rule.amount:
        return RateLimited(
            f"This request needs about {tokens} tokens, and the limit of {whose} is {rule.amount} tokens per "
            f"{window_name(rule.window_ms)}. Send a shorter one, or ask for fewer output tokens.",
            code="request_exceeds_limit",
            headers={"x-should-retry": "false"},
            retryable=False,
        )
    headers = {"retry-after": str(max(1, -(-retry_after_ms // 1000))), "retry-after-ms": str(retry_after_ms)}
    if rule.kind == "concurrency":
        return RateLimited(
            f"The limit of {rule.amount} requests at once of {whose} is reached. Try again when one has ended.",
            code="too_many_requests_at_once",
            headers=headers,
            retry_after_seconds=retry_after_ms / 1000,
        )
    told = limit_headers(dialect, [Tightest(rule, 0, retry_after_ms)])
    return RateLimited(
        f"The limit of {rule.amount} {rule.kind} per {window_name(rule.window_ms)} of {whose} is reached. "
        f"Try again in {headers['retry-after']} s.",
        headers=headers | {name.decode(): value.decode() for name, value in told},
        retry_after_seconds=retry_after_ms / 1000,
    )


def budget_refusal(rule: BudgetRule, left: int, hold: int, *, now: float) -> BudgetExhausted:
    """Return the refusal by a budget: how much there was, whose it is, when there will be more."""
    limit = show(rule.limit(now), rule.currency)
    whose = f"{SCOPE_WORDS[rule.scope]} {rule.scope_name!r}{_narrowed(rule)}"
    if left > 0:
        problem = (
            f"This request may cost up to {show(hold, rule.currency)}, and {show(left, rule.currency)} is left of the "
            f"{_budget(rule, limit)} of {whose}. Ask for fewer output tokens, or wait: {_resets(rule, now)}"
        )
    else:
        resets = _resets(rule, now)
        problem = f"The {_budget(rule, limit)} of {whose} is used up. {resets[0].upper()}{resets[1:]}"
    return BudgetExhausted(problem, headers={"x-should-retry": "false"})


def _budget(rule: BudgetRule, limit: str) -> str:
    if rule.period == "credit":
        return f"credit of {limit}"
    if rule.period == "rolling":
        return f"budget of {limit} in {rule.rolling_days} days"
    return f"budget of {limit} {PERIOD_WORDS[rule.period]}"


def _resets(rule: BudgetRule, now: float) -> str:
    if rule.period in ENDLESS:
        return "it does not reset; ask whoever runs this gateway."
    when = datetime.fromtimestamp(slot_end(rule.period, now, rule.timezone), UTC)
    verb = "the oldest day leaves it at" if rule.period == "rolling" else "it resets at"
    return f"{verb} {when:%Y-%m-%d %H:%M} UTC."


def _narrowed(rule: Rule | BudgetRule) -> str:
    model = f" for model {rule.model!r}" if rule.model else ""
    return f"{model} for each end user" if rule.per_end_user else model


def foreign_currency(rule: BudgetRule, currencies: Sequence[str]) -> Forbidden:
    """Return the refusal of a model that is sold in another currency than a hard budget is in."""
    whose = f"{SCOPE_WORDS[rule.scope]} {rule.scope_name!r}"
    return Forbidden(
        f"The budget of {whose} is in {rule.currency}, and this model is sold in {' and '.join(sorted(currencies))}: "
        "nobody can tell whether it fits. Ask whoever runs this gateway to give the model a price in the budget's currency.",
        code="budget_currency",
    )


def unknown_limits(reason: str) -> Unavailable:
    """Return the refusal where limits or budgets cannot be checked."""
    return Unavailable(
        f"{reason} cannot be checked right now. Try again in a moment.",
        code="limits_unavailable",
        headers={"retry-after": str(RETRY_SECONDS)},
        retry_after_seconds=RETRY_SECONDS,
    )
