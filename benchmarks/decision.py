"""What it takes to decide whom to ask: the plan over twenty targets, and what the breaker is told afterwards."""

import random
import time
from decimal import Decimal

from providers.canonical.inbound import Facts
from providers.dialects.openai_chat.wire import CHAT
from providers.pricing import Price
from routing.health import HealthBoard
from routing.policy.plan import STRATEGIES, Question, compile_plan
from routing.snapshot import Deployment, LiveDeployment, LiveRoute, LiveTarget, Provider, Route, Secrets, Target

TARGETS = 20
NOW = 1_700_000_000.0
BY_SESSION = "session"
WAYS = (*STRATEGIES, BY_SESSION)


def microseconds(way: str, *, rounds: int) -> float:
    """Return the CPU time of one decision, by a strategy or for a session."""
    board = HealthBoard("benchmark")
    route = _route("weighted" if way == BY_SESSION else way, board)
    facts = Facts(model="m", size=1024, session="a-session" if way == BY_SESSION else "")
    question = Question(operation=CHAT, facts=facts)
    started = time.process_time()
    for _ in range(rounds):
        plan = compile_plan(route, question, random=random.random, now=NOW)
        board.record(plan.targets[0].deployment.health, NOW, is_ok=True, is_trial=False)
    return (time.process_time() - started) / rounds * 1e6


def _route(strategy: str, board: HealthBoard) -> LiveRoute:
    targets = [_target(number, board) for number in range(TARGETS)]
    return LiveRoute(Route(name="r", strategy=strategy, targets=tuple(target.facts for target in targets)), targets)


def _target(number: int, board: HealthBoard) -> LiveTarget:
    slug = f"deployment-{number}"
    provider = Provider(
        slug=f"provider-{number}",
        adapter="openai_compatible",
        base_url="http://127.0.0.1/v1",
        dialects=("openai_chat",),
    )
    price = Price(side="sell", effective_from=0.0, input=Decimal(number), output=Decimal(number))
    facts = Deployment(slug=slug, provider=provider.slug, model="m", prices=(price,))
    deployment = LiveDeployment(facts, provider, Secrets(credential="none"))
    deployment.health = board.of(slug, provider.slug)
    return LiveTarget(Target(deployment=slug, priority=number // 10, weight=10 + number), deployment)
