"""How much a request can use and cost before it is asked: what admission reserves. Pure.

Of a prompt only its bytes are known: text has seldom more than a token in two of them, and a model reads no more than its
window. Of an answer the client says how long it may be, else the model does. Whoever uses more than was held is billed what
a hard budget has room for (`tenants/limits/settle.lua`).
"""

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache

from providers.canonical.estimate import BYTES_PER_TOKEN
from providers.canonical.inbound import Facts
from providers.canonical.usage import MAX_TOKENS
from providers.pricing import Ceiling, ceiling_of, floor_price
from routing.exchange import Exchange
from routing.policy.plan import USUAL_OUTPUT_TOKENS, Plan
from routing.snapshot import LiveDeployment
from tenants.principal import Principal

BYTES_PER_TOKEN_AT_LEAST = 2
MOST_OUTPUT_TOKENS = 32_768  # of models whose deployment does not say
NOTHING: Mapping[str, int] = {}


def likely_tokens(facts: Facts) -> int:
    """Return how many tokens a request will use, roughly: what limits of tokens are charged until it is settled."""
    output = min(facts.max_output_tokens or USUAL_OUTPUT_TOKENS, USUAL_OUTPUT_TOKENS)
    return 1 + facts.size // BYTES_PER_TOKEN + output * facts.choices


def most_money(plan: Plan, exchange: Exchange) -> Mapping[str, int]:
    """Return the most that the dearest of a plan's targets can cost, in nanos by currency; nothing without budgets."""
    principal, facts, operation = exchange.principal, exchange.facts, exchange.operation
    assert principal is not None
    assert facts is not None
    assert operation is not None
    if not principal.budgets or operation.is_free:
        return NOTHING
    money: dict[str, int] = {}
    for target in plan.targets:
        deployment = target.deployment
        prompt, answer = _most_tokens(facts, deployment, operation.kind)
        ceilings = deployment.ceilings(exchange.started_at)
        if principal.bills_floor and not deployment.is_priced_whole(exchange.started_at):
            ceilings += _floor(principal)
        for ceiling in ceilings:
            most = ceiling.of(input_tokens=prompt, output_tokens=answer)
            if most > money.get(ceiling.currency, -1):
                money[ceiling.currency] = most
    return money


def _floor(principal: Principal) -> tuple[Ceiling, ...]:
    return _floor_of(principal.floor_input, principal.floor_output, principal.floor_currency)


@lru_cache(maxsize=1000)
def _floor_of(prompt: Decimal | None, answer: Decimal | None, currency: str) -> tuple[Ceiling, ...]:
    return ceiling_of((floor_price(prompt, answer, currency),), 0.0)


def _most_tokens(facts: Facts, deployment: LiveDeployment, kind: str) -> tuple[int, int]:
    window, cap = deployment.facts.context_window, deployment.facts.max_output_tokens
    prompt = 1 + facts.size // BYTES_PER_TOKEN_AT_LEAST
    if window is not None and prompt > window:
        prompt = window
    if kind == "embedding":
        return prompt, 0
    answer = facts.max_output_tokens or cap or MOST_OUTPUT_TOKENS
    if cap is not None and answer > cap:
        answer = cap
    # Clients may name any number: what nobody is ever billed for need not be held, and must not overflow Valkey's counters.
    return prompt, min(answer * facts.choices, MAX_TOKENS)
