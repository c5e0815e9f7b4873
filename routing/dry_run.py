"""Where a request would go, and why, without asking anybody: the hot path's own code, up to the point where it would call.

The configuration is the one that is served; deployments stand as the workers' health and reports in Valkey say. Nothing
is called upstream, counted or charged. Limits are not looked at: they are another question.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import mean
from time import time
from types import SimpleNamespace
from typing import Any

import msgspec
from django.conf import settings

from gateway_site.infra import valkey
from gateway_site.infra.valkey import StoreUnavailable
from providers.canonical.inbound import Operation
from providers.canonical.losses import Loss
from providers.canonical.seals import SealBox
from providers.dialects.anthropic_messages import wire as anthropic_messages
from providers.dialects.gemini import wire as gemini
from providers.dialects.openai_chat import wire as openai_chat
from providers.dialects.openai_responses import wire as openai_responses
from providers.health_feed import PROBES_KEY
from providers.registry import DIALECTS
from providers.wire.json import read_json, write_json
from routing import snapshot_store
from routing.exchange import Exchange
from routing.health import HealthBoard, HealthChange
from routing.health_sharing import STATES_KEY
from routing.outbound import ClientRequest
from routing.pipeline import nothing_fits, plan_for, read_and_plan
from routing.policy.plan import Dropped, Plan, standing_of
from routing.report import WorkerReport, read_reports
from routing.request import DataPlaneRequest
from routing.snapshot import EMPTY, LiveDeployment, LiveSnapshot, LiveTarget, Snapshot
from routing.trace import describe_plan
from tenants.auth import refusal_of
from tenants.errors import GatewayError, InvalidRequest
from tenants.principal import Principal

DRAWS = 200  # plans that are drawn to see how often a target comes first
MOST_STORED = 50  # losses shown per deployment

OPERATIONS: dict[str, Operation] = {
    "chat": openai_chat.CHAT,
    "messages": anthropic_messages.CHAT,
    "responses": openai_responses.CHAT,
    "gemini": gemini.CHAT,
    "gemini_stream": gemini.STREAM,
    "embeddings": openai_chat.EMBEDDINGS,
}
TITLES = {
    "chat": "OpenAI chat completions: /v1/chat/completions",
    "messages": "Anthropic messages: /v1/messages",
    "responses": "OpenAI responses: /v1/responses",
    "gemini": "Gemini: generateContent",
    "gemini_stream": "Gemini: streamGenerateContent",
    "embeddings": "OpenAI embeddings: /v1/embeddings",
}
HELLO = [{"role": "user", "content": "Hello"}]
SMALLEST: dict[str, dict[str, Any]] = {
    "chat": {"messages": HELLO},
    "messages": {"max_tokens": 100, "messages": HELLO},
    "responses": {"input": "Hello", "store": False},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]},
    "gemini_stream": {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]},
    "embeddings": {"input": "Hello"},
}
EXPLANATIONS = {
    "disabled": "It, or its provider, is switched off.",
    "wrong_kind": "It serves another kind of request.",
    "wrong_dialect": "It speaks another format, and such requests are not translated.",
    "translation_forbidden": "It speaks another format, and the tenant forbids translation.",
    "unpriced": "It has no price, and the tenant is not served without one.",
    "region": "It is in another region than the request asks for.",
    "tag": "It lacks a tag that the request asks for.",
    "not_the_keeper": "It does not keep the response that the request goes on from.",
    "cooling_down": "Its provider asked to be left alone.",
    "breaker_open": "Its breaker is open.",
    "breaker_half_open": "Its breaker is half-open, and another request tries it at the moment.",
}

_read_change = msgspec.json.Decoder(HealthChange).decode


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A request that somebody might send."""

    principal: Principal
    operation: str  # one of OPERATIONS
    model: str = ""  # empty: the body names it
    body: bytes = b""  # empty: the smallest request there is
    headers: Mapping[str, str] = {}


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker would know."""

    snapshot: Snapshot
    states: tuple[HealthChange, ...] = ()
    probes: Mapping[str, str] = {}
    workers: tuple[WorkerReport, ...] = ()
    is_alone: bool = False  # Valkey is away: nobody knows how deployments stand


# --- What is known -------------------------------------------------------------------------------------------


def load_site() -> Site:
    """Return the configuration that is served and how deployments stand: from Valkey, else the newest from Postgres."""
    try:
        with valkey.connect(settings.VALKEY_URL) as client:
            replies: Any = [
                client.get(snapshot_store.SNAPSHOT_KEY),
                client.hvals(STATES_KEY),
                client.hgetall(PROBES_KEY),
            ]
            workers = read_reports(client)
    except StoreUnavailable:
        return Site(snapshot=_decoded(snapshot_store.newest_blob()), is_alone=True)
    blob, states, probes = replies
    return Site(
        snapshot=_decoded(blob or snapshot_store.newest_blob()),
        states=tuple(change for change in map(_change, states) if change is not None),
        probes={slug.decode(): found.decode() for slug, found in probes.items()},
        workers=tuple(workers),
    )


def _decoded(blob: bytes | None) -> Snapshot:
    return snapshot_store.decode(blob) if blob is not None else EMPTY


def _change(blob: bytes) -> HealthChange | None:
    try:
        return _read_change(blob)
    except msgspec.DecodeError:  # of another version
        return None


def live_snapshot(site: Site) -> LiveSnapshot:
    """Return the configuration with deployments that stand as they do; it has no credentials, for it calls nobody."""
    board = HealthBoard("dry run")
    saturated = _saturated(site.workers)

    def equip(deployment: LiveDeployment) -> None:
        provider = deployment.provider
        deployment.health = board.of(deployment.facts.slug, provider.slug)
        deployment.health.configure(provider.breaker, provider.cooldown)
        deployment.gates = _Gates(saturated)  # type: ignore[assignment]

    live = LiveSnapshot(site.snapshot, {}, equip)
    for change in sorted(site.states, key=lambda change: change.at):
        board.adopt(change)
    for entry in board.all():
        entry.probe = site.probes.get(entry.deployment, "")
        rows = [row for report in site.workers for row in report.deployments if row["deployment"] == entry.deployment]
        entry.active = round(_mean(rows, "active") or 0)
        for name, latency in (("latency_ms", entry.whole), ("first_token_ms", entry.first_token)):
            if (milliseconds := _mean(rows, name)) is not None:
                latency.add(milliseconds / 1000)
    return live


def _mean(rows: Iterable[Mapping[str, Any]], name: str) -> float | None:
    """Return what an average worker knows; None when none does."""
    values = [row[name] for row in rows if row.get(name) is not None]
    return mean(values) if values else None


class _Gates:
    """Stands for a worker's gates: those at which every worker finds no room."""

    def __init__(self, saturated: frozenset[tuple[str, str]]) -> None:
        self._limits = {provider for provider, deployment in saturated if not deployment}
        self._learned = {deployment: provider for provider, deployment in saturated if deployment}

    def of(self, provider: Any) -> SimpleNamespace:
        return SimpleNamespace(provider=provider.slug, is_saturated=provider.slug in self._limits)

    def learned(self, deployment: str) -> SimpleNamespace | None:
        provider = self._learned.get(deployment)
        return SimpleNamespace(provider=provider, is_saturated=True) if provider is not None else None


def _saturated(workers: Iterable[WorkerReport]) -> frozenset[tuple[str, str]]:
    """Return the gates, by provider and deployment, that are saturated in every worker; one without it has room."""
    found = [
        {(gate.get("provider", ""), gate.get("deployment", "")) for gate in report.gates if gate.get("is_saturated")}
        for report in workers
    ]
    return frozenset(set.intersection(*found)) if found else frozenset()


# --- What would happen ---------------------------------------------------------------------------------------


def dry_run(question: Question, site: Site) -> dict[str, Any]:
    """Return where a request would go, in order, who is passed over and why, and what the client would be told instead.

    Blocks, and has an event loop of its own: for threads that have none.
    """
    return asyncio.run(_dry_run(question, site))


async def _dry_run(question: Question, site: Site) -> dict[str, Any]:
    operation = OPERATIONS[question.operation]
    body = body_of(question)
    answer: dict[str, Any] = {
        "revision": site.snapshot.number,
        "key": question.principal.key_prefix,
        "tenant": question.principal.tenant,
        "operation": question.operation,
        "dialect": operation.dialect,
        "model": question.model,
        "route": None,
        "strategy": None,
        "session": False,
        "candidates": [],
        "error": None,
        "notes": notes_of(site),
    }
    request = _request(question, site, operation, body)
    try:
        refusal = refusal_of(question.principal, time())
        if refusal is not None:
            raise refusal
        model = question.model if operation.dialect == "gemini" else ""
        asked, plan, wishes = await read_and_plan(request, operation, model)
        pinned = asked.continuation.deployment if asked.continuation is not None else ""

        def draw() -> Plan:
            return plan_for(asked, plan.route, question.principal, wishes, pinned=pinned)

        answer |= {"model": asked.inbound.facts.model, **_explain(asked, _likeliest(plan, draw), draw)}
        if not any(row["reason"] is None for row in answer["candidates"]):
            raise nothing_fits(plan, asked.inbound.facts, operation)
    except GatewayError as error:
        answer["error"] = _as_the_client_sees_it(error, request.exchange)
    return answer


def body_of(question: Question) -> bytes:
    """Return the body that would be sent: the one given, or the smallest, with the model where the body names it.

    What is no object is sent as it is, so that the client's error is seen.
    """
    raw = question.body.strip() or write_json(SMALLEST[question.operation])
    if not question.model or OPERATIONS[question.operation].dialect == "gemini":
        return raw
    try:
        found = read_json(raw)
    except ValueError:
        return raw
    return write_json({**found, "model": question.model}) if isinstance(found, dict) else raw


def notes_of(site: Site) -> list[str]:
    """Return what the answer leaves open."""
    notes = ["Rate limits were neither looked at nor charged."]
    if site.is_alone:
        notes.append("Valkey is away: nobody knows which breakers are open, so every deployment counts as healthy.")
    elif not site.workers:
        notes.append("No web worker has reported lately: latencies and requests in flight are not known.")
    if not site.snapshot.number:
        notes.append("Nothing was published yet.")
    return notes


def _request(question: Question, site: Site, operation: Operation, body: bytes) -> DataPlaneRequest:
    """Return the request as the data plane would have it, of a worker that has a configuration and nothing else."""
    live = live_snapshot(site)
    secrets = [secret.encode() for secret in settings.TOLLGATE_SECRETS_KEYS]
    runtime: Any = SimpleNamespace(snapshot=live, seal_box=lambda tenant_id: SealBox(secrets, tenant_id))
    path = "/v1" + operation.path.replace("{model}", question.model)
    pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in question.headers.items()]
    exchange = Exchange("POST", path, pairs)
    exchange.principal = question.principal
    scope = {"method": "POST", "path": path, "headers": pairs, "query_string": b""}
    return DataPlaneRequest(scope, body, exchange, runtime)


def _likeliest(plan: Plan, draw: Callable[[], Plan]) -> Plan:
    """Return the order that comes out most often."""
    if len(plan.targets) < 2:
        return plan
    drawn = [draw() for _ in range(DRAWS)]
    orders = Counter(_order(each) for each in drawn)
    (likeliest, _), *_ = orders.most_common(1)
    return next(each for each in drawn if _order(each) == likeliest)


def _order(plan: Plan) -> tuple[str, ...]:
    return tuple(target.facts.deployment for target in plan.targets)


def _explain(asked: ClientRequest, plan: Plan, draw: Callable[[], Plan]) -> dict[str, Any]:
    """Return the plan as its trace describes it, with what can be told of each candidate beforehand."""
    described = describe_plan(plan, has_session=bool(asked.inbound.facts.session))
    targets = {target.facts.deployment: target for target in plan.route.targets}
    dropped = {drop.deployment: drop for drop in plan.dropped}
    firsts = Counter(_order(draw())[:1] for _ in range(DRAWS)) if len(plan.targets) > 1 else {_order(plan)[:1]: DRAWS}
    rows, position = [], 0
    for row in described["candidates"]:
        slug = row["deployment"]
        target = targets[slug]
        drop = dropped.get(slug) or plan.judge(target)
        position += drop is None
        rows.append(
            {
                **row,
                **_details(asked, target, drop),
                "position": position if drop is None else None,
                "first_percent": round(100 * firsts.get((slug,), 0) / DRAWS),
            }
        )
    return {**described, "candidates": sorted(rows, key=lambda row: row["position"] is None)}


def _details(asked: ClientRequest, target: LiveTarget, drop: Dropped | None) -> dict[str, Any]:
    deployment = target.deployment
    spoken = deployment.dialect_for(asked.dialect.name)
    return {
        "model": deployment.facts.model,
        "standing": standing_of(deployment, time()).word,
        "dialect": spoken,
        "is_translated": spoken != asked.dialect.name,
        "losses": [_loss(loss) for loss in _losses(asked, deployment, drop)[:MOST_STORED]],
        "reason": drop.reason if drop is not None else None,
        "explanation": explanation(drop) if drop is not None else "",
    }


def _losses(asked: ClientRequest, deployment: LiveDeployment, drop: Dropped | None) -> Sequence[Loss]:
    """Return what would not get across, heaviest first; nothing where it would not be translated at all."""
    is_weighed = drop is None or drop.loss is not None
    if asked.weigh is None or not is_weighed:
        return ()
    try:
        return sorted(asked.weigh(deployment), key=lambda loss: -loss.weight)
    except InvalidRequest:
        return ()


def _loss(loss: Loss) -> dict[str, str]:
    return {"path": loss.path, "weight": loss.weight.word, "why": loss.why}


def explanation(drop: Dropped) -> str:
    """Say in words why a target is passed over."""
    if drop.error is not None:
        return drop.error.message
    if drop.loss is not None:
        return f"'{drop.loss.path}' would be lost, and may not be: {drop.loss.why}."
    if drop.reason.startswith("condition:"):
        return f"The request does not meet its condition {drop.reason.removeprefix('condition:')!r}."
    return EXPLANATIONS.get(drop.reason, drop.reason.replace("_", " ").capitalize() + ".")


def _as_the_client_sees_it(error: GatewayError, exchange: Exchange) -> dict[str, Any]:
    dialect = DIALECTS[exchange.dialect]
    return {
        "status": error.status,
        "code": error.code,
        "message": error.message,
        "body": read_json(dialect.write_error(error, exchange.request_id)),
    }
