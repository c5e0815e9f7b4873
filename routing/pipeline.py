"""The story of one request, top to bottom: `serve` is its table of contents, ARCHITECTURE.md its map."""

import asyncio
import math
import random
from functools import partial
from time import time

from msgspec import structs

from providers.canonical.inbound import Facts, Inbound, Operation
from providers.canonical.losses import Loss, Weight
from providers.dialects.base import Dialect
from providers.dialects.fields import check_name, clean_name
from providers.registry import DIALECTS
from providers.wire.splice import MalformedJson, read_members
from routing.account import Account
from routing.call import Call, Response
from routing.continuation import Continuation, out_of_reach
from routing.headers import HeaderPairs, forwardable
from routing.hold import most_money
from routing.outbound import ClientRequest
from routing.policy.conditions import NO_WISHES, Wishes, read_wishes
from routing.policy.fair_queue import effective_priority
from routing.policy.plan import REASONS, Plan, Question, Translations, compile_plan
from routing.request import DataPlaneRequest
from routing.snapshot import LiveRoute, LiveSnapshot
from tenants.errors import (
    Forbidden,
    GatewayError,
    InvalidRequest,
    NotFound,
    RequestStopped,
    Unavailable,
)
from tenants.principal import Principal

NAMES_SHOWN = 20
SESSION_HEADER = b"x-claude-code-session-id"
END_USER_HEADER = b"x-user-id"  # whom limits and reports mean; what the body says comes second
RESTING = frozenset(REASONS.values())  # reasons that pass by themselves


async def serve(request: DataPlaneRequest, operation: Operation, *, model: str = "") -> Response:
    """Read, route, admit, ask upstreams until one answers, and settle; whoever calls is known by now.

    `model` is the alias where the path names it and not the body.
    """
    asked, plan, wishes = await read_and_plan(request, operation, model)
    if not plan.targets:
        raise nothing_fits(plan, asked.inbound.facts, operation)
    async with account_of(request, asked, plan) as account:
        try:
            return await call_of(request, asked, plan, wishes, account).answer()
        except asyncio.CancelledError:
            if not asked.exchange.is_stopped:
                raise
            raise await stopped(account) from None


async def read_and_plan(
    request: DataPlaneRequest, operation: Operation, model: str
) -> tuple[ClientRequest, Plan, Wishes]:
    """Read what is asked, with what it goes on from, and find whom to ask; raises what is wrong with it."""
    asked, route = read_and_route(request, operation, model)
    principal, pinned = request.principal, ""
    wishes = read_wishes(
        asked.exchange.headers, with_headers=route.has_conditions, caller=caller_of(asked.inbound.facts, principal)
    )
    asked.exchange.wants_trace = wishes.trace and principal.may_trace
    asked.priority = effective_priority(principal.priority, wishes.priority)
    if operation.continues_conversations:
        asked.continuation = Continuation(principal)
        asked.inbound = await asked.continuation.prepare(asked.inbound)
        pinned = asked.continuation.deployment
    plan = plan_for(asked, route, principal, wishes, pinned=pinned)
    if pinned and not plan.targets:
        raise out_of_reach()
    return asked, plan, wishes


def read_and_route(request: DataPlaneRequest, operation: Operation, model: str) -> tuple[ClientRequest, LiveRoute]:
    """Read what is asked and find where it leads; raises what is wrong with it."""
    runtime, exchange, principal = request.runtime, request.exchange, request.principal
    exchange.operation = operation
    dialect = DIALECTS[operation.dialect]
    inbound = read_inbound(request, dialect, operation, model)
    exchange.facts = inbound.facts
    asked = ClientRequest(inbound, dialect, exchange, partial(runtime.seal_box, principal.tenant_id))
    exchange.revision = runtime.snapshot.number
    exchange.route = find_route(runtime.snapshot, principal, inbound.facts.model)
    return asked, exchange.route


def account_of(request: DataPlaneRequest, asked: ClientRequest, plan: Plan) -> Account:
    """Return the account that admits a request and settles it, however it ends."""
    return Account(
        request.runtime.admission,
        asked.exchange,
        request.runtime.worker,
        money=most_money(plan, asked.exchange),
        meanwhile=asked.outbound(plan.targets[0].deployment).prepare if plan.targets else None,
    )


def call_of(request: DataPlaneRequest, asked: ClientRequest, plan: Plan, wishes: Wishes, account: Account) -> Call:
    """Return the way of an admitted request through its plan."""
    runtime = request.runtime
    return Call(
        request=asked,
        account=account,
        upstreams=runtime,
        plan=plan,
        headers=(*account.headers, runtime.snapshot.revision_header, plan.route.header),
        timeout=wishes.timeout,
    )


async def stopped(account: Account) -> RequestStopped:
    """Settle a request that was stopped before its answer began; returns what its client is told."""
    task, error = asyncio.current_task(), RequestStopped()
    if task is not None:
        task.uncancel()
    await account.settle("gateway_failed", status=error.status, error_code=error.code)
    return error


def caller_of(facts: Facts, principal: Principal) -> str:
    """Return whom A/B percentages are counted by: the end user, else the session, else the key."""
    return facts.end_user or facts.session or f"key {principal.key_id}"


def read_inbound(request: DataPlaneRequest, dialect: Dialect, operation: Operation, model: str = "") -> Inbound:
    """Read the facts of a request in one shallow parse; raises InvalidRequest naming what is wrong."""
    try:
        members = read_members(request.body)
    except MalformedJson as error:
        raise InvalidRequest(str(error), code="invalid_json") from None
    facts = dialect.read_facts(members, operation)
    if model:
        facts = structs.replace(facts, model=check_name(model, "model"))
    if SESSION_HEADER in request.exchange.headers and not facts.session:
        facts = structs.replace(facts, session=next(iter(names_in(request.header_pairs, SESSION_HEADER)), ""))
    if END_USER_HEADER in request.exchange.headers:
        facts = structs.replace(facts, end_user=end_user_in(request.header_pairs) or facts.end_user)
    return Inbound(
        operation=operation,
        members=members,
        facts=facts,
        headers=forwardable(request.header_pairs),
        query=request.scope.get("query_string", b""),
    )


def end_user_in(headers: HeaderPairs) -> str:
    """Return whom the header names, by the last that can be used: one that cannot must not undo one before it."""
    return next(reversed(names_in(headers, END_USER_HEADER)), "")


def names_in(headers: HeaderPairs, wanted: bytes) -> list[str]:
    """Return the values of a header that can be stored and logged."""
    return [named for name, value in headers if name == wanted and (named := clean_name(value.decode("latin-1")))]


def plan_for(
    asked: ClientRequest, route: LiveRoute, principal: Principal, wishes: Wishes = NO_WISHES, *, pinned: str = ""
) -> Plan:
    """Return which targets to try."""
    question = Question(
        operation=asked.inbound.operation,
        facts=asked.inbound.facts,
        wishes=wishes,
        tenant_id=principal.tenant_id,
        refuses_unpriced=principal.refuses_unpriced,
        translation=Translations(policy=principal.translation_policy, losses=asked.weigh),
        pinned=pinned,
        seal_origins=asked.seal_origins,
    )
    return compile_plan(route, question, random=random.random, now=asked.exchange.started_at)


def find_route(snapshot: LiveSnapshot, principal: Principal, alias: str) -> LiveRoute:
    """Return where an alias leads; raises NotFound or Forbidden with the names that the key may use.

    A name that nobody mapped leads to the providers whose catalogue lists it, where the tenant wants that.
    """
    route = snapshot.resolve(alias, principal.tenant_id)
    if route is None and principal.allows_catalogue:
        route = snapshot.catalogue_route(alias)
    if route is None:
        raise NotFound(
            f"There is no model {alias!r}. {_usable(snapshot, principal)}",
            code="model_not_found",
            param="model",
        )
    if not principal.may_use(alias):
        raise Forbidden(
            f"This API key may not use model {alias!r}. {_usable(snapshot, principal)}",
            code="model_not_allowed",
            param="model",
        )
    return route


def usable_names(snapshot: LiveSnapshot, principal: Principal) -> list[str]:
    """Return the aliases that a key can send, for /v1/models and error messages alike."""
    names = snapshot.names_for(principal.tenant_id)
    if principal.allows_catalogue:
        names = sorted({*names, *snapshot.catalogue_names})
    return [name for name in names if principal.may_use(name)]


def _usable(snapshot: LiveSnapshot, principal: Principal) -> str:
    names = usable_names(snapshot, principal)
    if not names:
        return "There is no model that it may use."
    more = f" and {len(names) - NAMES_SHOWN} more, see /v1/models" if len(names) > NAMES_SHOWN else ""
    return f"It may use: {', '.join(names[:NAMES_SHOWN])}{more}."


def nothing_fits(plan: Plan, facts: Facts, operation: Operation) -> GatewayError:
    """Say why no target of a route can serve a request."""
    reasons = {dropped.reason for dropped in plan.dropped}
    unreadable = next((dropped.error for dropped in plan.dropped if dropped.error is not None), None)
    if unreadable is not None:
        return unreadable
    untranslatable = next((dropped.loss for dropped in plan.dropped if dropped.loss is not None), None)
    if untranslatable is not None:
        return _cannot_be_translated(facts, untranslatable)
    if "translation_forbidden" in reasons or reasons == {"wrong_dialect"}:
        spoken = sorted({name for target in plan.route.targets for name in target.deployment.dialects})
        why = "this tenant forbids translation" if "translation_forbidden" in reasons else "this is not translated"
        return InvalidRequest(
            f"Model {facts.model!r} is served in {' and '.join(spoken)}, and {why}. Call the endpoint of that format.",
            code="dialect_not_served",
            param="model",
        )
    if not reasons.isdisjoint(RESTING):
        return _resting(plan, facts)
    wishes = sorted(reason for reason in reasons if reason in {"region", "tag"} or reason.startswith("condition:"))
    if wishes:
        names = " and ".join(reason.removeprefix("condition:") for reason in wishes)
        return InvalidRequest(
            f"No deployment of model {facts.model!r} serves this request: none fits by {names}.",
            code="no_target_fits",
            param="model",
        )
    if "disabled" in reasons:
        return Unavailable(f"Every deployment of model {facts.model!r} is switched off.", code="no_target_available")
    if "unpriced" in reasons:
        return Forbidden(
            f"Model {facts.model!r} has no price, and this tenant is not served without one.",
            code="model_unpriced",
            param="model",
        )
    return InvalidRequest(
        f"Model {facts.model!r} cannot be used for {operation.name}.",
        code="wrong_kind_of_model",
        param="model",
    )


def _resting(plan: Plan, facts: Facts) -> Unavailable:
    """Say that every deployment is left alone for the moment, and when the first may be asked again."""
    now = time()
    resting = {dropped.deployment for dropped in plan.dropped if dropped.reason in RESTING}
    times = [
        max(target.deployment.health.cooldown_until, target.deployment.health.breaker.open_until) - now
        for target in plan.route.targets
        if target.facts.deployment in resting
    ]
    seconds = max(1, math.ceil(min(times, default=1.0)))
    return Unavailable(
        f"Every deployment of model {facts.model!r} is left alone for the moment, after failures or because its "
        f"provider asked for it. Try again in {seconds} s.",
        code="no_target_available",
        headers={"retry-after": str(seconds), "retry-after-ms": str(seconds * 1000)},
        retry_after_seconds=seconds,
    )


def _cannot_be_translated(facts: Facts, loss: Loss) -> InvalidRequest:
    forbids = "" if loss.weight is Weight.CHANGES_ANSWER else " This tenant allows no translation that degrades."
    return InvalidRequest(
        f"'{loss.path}' cannot be sent to model {facts.model!r}: {loss.why}.{forbids}",
        code="not_translatable",
        param=loss.path,
    )
