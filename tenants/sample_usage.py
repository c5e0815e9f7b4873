"""Usage that never was, for measuring the ledger and its pages: like a real one in its size and in what is common in it."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate
from uuid import UUID

from tenants.usage_event import LossRecord, UsageEvent

OUTCOMES = ("served",) * 94 + ("client_gone",) * 3 + ("upstream_failed",) * 2 + ("cut",)
STATUSES = {"served": 200, "client_gone": 499, "upstream_failed": 502, "cut": 200}
MODELS = (
    ("smart", "anthropic", "claude", Decimal("0.000015")),
    ("fast", "openai", "mini", Decimal("0.0000006")),
    ("cheap", "groq", "llama", Decimal("0.0000001")),
    ("smart", "bedrock", "claude-eu", Decimal("0.000015")),
    ("embed", "openai", "embedding", Decimal("0.00000002")),
)
MODEL_WEIGHTS = (8, 6, 3, 1, 2)
DAY_SECONDS = 86_400
TRIED_AGAIN, LOSSY, SLOW = 0.02, 0.01, 0.0005  # shares of all requests
LOSSES = [LossRecord(path="thinking", weight="degrades", why="The upstream has no such thing.")]

type Model = tuple[str, str, str, Decimal]  # alias, provider, deployment, price of a token


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An API key whose usage is made up."""

    tenant_id: int
    api_key_id: int
    project: str = ""
    end_users: int = 100  # how many it serves; 0 = it names none
    currency: str = "USD"
    weight: float = 1.0  # how much it asks for, compared with others
    models: tuple[Model, ...] = MODELS  # those it asks for most first


def sample_models(count: int) -> list[Model]:
    """Return so many models: the usual ones, and others after their like."""
    models = list(MODELS[:count])
    for number in range(len(models), count):
        *names, price = MODELS[number % len(MODELS)]
        alias, provider, deployment = (f"{name}-{number + 1}" for name in names)
        models.append((alias, provider, deployment, price))
    return models


def sample_events(callers: list[Caller], *, day: int, count: int, seed: int) -> Iterator[UsageEvent]:
    """Yield events of one day (as days since 1970) in the order of time; the same for the same seed."""
    dice = random.Random(f"{seed}.{day}")
    start, step = day * DAY_SECONDS, DAY_SECONDS / max(count, 1)
    weights = list(accumulate(caller.weight for caller in callers))
    for number in range(count):
        [caller] = dice.choices(callers, cum_weights=weights)
        yield _event(dice, caller, start + number * step)


def _event(dice: random.Random, caller: Caller, started_at: float) -> UsageEvent:
    [model] = dice.choices(caller.models, MODEL_WEIGHTS[: len(caller.models)])
    alias, provider, deployment, price = model
    outcome = dice.choice(OUTCOMES)
    input_tokens, output_tokens = dice.randrange(20, 8_000), dice.randrange(1, 1_200)
    cost = Decimal(0) if outcome == "upstream_failed" else (input_tokens + 4 * output_tokens) * price
    latency_ms = 150 + 9 * output_tokens
    oddity = dice.random()
    if oddity < SLOW:
        latency_ms += 60_000
    attempts = [{"deployment": deployment, "status": STATUSES[outcome], "verdict": "final", "ms": latency_ms}]
    if oddity > 1 - TRIED_AGAIN:
        attempts.insert(0, {"deployment": f"{deployment}-before", "status": 503, "verdict": "elsewhere", "ms": 90})
    is_lossy = TRIED_AGAIN < oddity < TRIED_AGAIN + LOSSY
    # Few of many end users ask for most.
    end_user = f"user-{int(caller.end_users * dice.random() ** 3)}" if caller.end_users and dice.random() < 0.7 else ""
    day = int(started_at) // DAY_SECONDS * DAY_SECONDS
    request_id = UUID(int=dice.getrandbits(128), version=4).hex
    return UsageEvent(
        request_id=request_id,
        started_at=started_at,
        tenant_id=caller.tenant_id,
        api_key_id=caller.api_key_id,
        project=caller.project,
        end_user=end_user,
        correlation_id=request_id,
        dialect="openai_chat",
        dialect_upstream="anthropic_messages" if is_lossy else "openai_chat",
        alias=alias,
        route=alias,
        provider=provider,
        deployment=deployment,
        model=deployment,
        is_streamed=dice.random() < 0.6,
        status=STATUSES[outcome],
        outcome=outcome,
        error_code="" if outcome != "upstream_failed" else "upstream_error",
        attempts=attempts,
        losses=LOSSES if is_lossy else [],
        trace={"attempts": attempts} if len(attempts) > 1 else None,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=input_tokens // 3 if dice.random() < 0.3 else 0,
        cost=cost,
        cost_price=cost * 4 / 5,
        currency=caller.currency,
        cost_status="exact" if outcome == "served" else "estimated",
        budgets=[f"{caller.tenant_id}.0:{day}", f"{1_000_000 + caller.api_key_id}.0:0"],
        latency_ms=latency_ms,
        first_token_ms=latency_ms // 4,
        overhead_us=dice.randrange(200, 900),
        revision=1,
        worker="sample",
    )
