"""The story of one request, top to bottom: `serve` is its table of contents, ARCHITECTURE.md its map."""

import random
from functools import partial

from msgspec import structs

from providers.canonical.inbound import Facts, Inbound, Operation
from providers.canonical.losses import Loss, Weight
from providers.dialects.base import Dialect
from providers.dialects.fields import check_name
from providers.registry import DIALECTS
from providers.wire.splice import MalformedJson, read_members
from routing.account import Account
from routing.call import Call, Response
from routing.continuation import Continuation
from routing.headers import forwardable
from routing.outbound import ClientRequest
from routing.policy.plan import Plan, Translations, compile_plan
from routing.request import DataPlaneRequest
from routing.snapshot import LiveRoute, LiveSnapshot
from tenants.errors import (
    Forbidden,
    GatewayError,
    InvalidRequest,
    NotFound,
    Unavailable,
)
from tenants.principal import Principal

NAMES_SHOWN = 20


async def serve(request: DataPlaneRequest, operation: Operation, *, model: str = "") -> Response:
    """Read, route, admit, ask upstreams until one answers, and settle; whoever calls is known by now.

    `model` is the alias where the path names it and not the body.
    """
    asked, plan = await read_and_plan(request, operation, model)
    if not plan.targets:
        raise nothing_fits(plan, asked.inbound.facts, operation)
    return await carry_out(request, asked, plan)


async def read_and_plan(request: DataPlaneRequest, operation: Operation, model: str) -> tuple[ClientRequest, Plan]:
    """Read what is asked, with what it goes on from, and find whom to ask; raises what is wrong with it."""
    asked, route = read_and_route(request, operation, model)
    if not operation.continues_conversations:
        return asked, plan_for(asked, route, request.principal)
    asked.continuation = Continuation(request.principal)
    asked.inbound = await asked.continuation.prepare(asked.inbound)
    plan = plan_for(asked, route, request.principal)
    return asked, asked.continuation.pin(plan) if plan.targets else plan


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


async def carry_out(request: DataPlaneRequest, asked: ClientRequest, plan: Plan) -> Response:
    """Admit, ask upstreams until one answers, and settle, however it ends."""
    runtime = request.runtime
    async with Account(runtime.admission, asked.exchange, runtime.worker) as account:
        headers = (*account.headers, runtime.snapshot.revision_header, plan.route.header)
        return await Call(asked, account, runtime.transport).answer(plan, headers)


def read_inbound(request: DataPlaneRequest, dialect: Dialect, operation: Operation, model: str = "") -> Inbound:
    """Read the facts of a request in one shallow parse; raises InvalidRequest naming what is wrong."""
    try:
        members = read_members(request.body)
    except MalformedJson as error:
        raise InvalidRequest(str(error), code="invalid_json") from None
    facts = dialect.read_facts(members, operation)
    return Inbound(
        operation=operation,
        members=members,
        facts=structs.replace(facts, model=check_name(model, "model")) if model else facts,
        headers=forwardable(request.header_pairs),
        query=request.scope.get("query_string", b""),
    )


def plan_for(asked: ClientRequest, route: LiveRoute, principal: Principal) -> Plan:
    """Return which targets to try."""
    return compile_plan(
        route,
        asked.inbound.operation,
        random=random.random,
        moment=asked.exchange.started_at,
        refuses_unpriced=principal.refuses_unpriced,
        translation=Translations(policy=principal.translation_policy, losses=asked.weigh),
    )


def find_route(snapshot: LiveSnapshot, principal: Principal, alias: str) -> LiveRoute:
    """Return where an alias leads; raises NotFound or Forbidden with the names that the key may use."""
    route = snapshot.resolve(alias, principal.tenant_id)
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
    return [name for name in snapshot.names_for(principal.tenant_id) if principal.may_use(name)]


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


def _cannot_be_translated(facts: Facts, loss: Loss) -> InvalidRequest:
    forbids = "" if loss.weight is Weight.CHANGES_ANSWER else " This tenant allows no translation that degrades."
    return InvalidRequest(
        f"'{loss.path}' cannot be sent to model {facts.model!r}: {loss.why}.{forbids}",
        code="not_translatable",
        param=loss.path,
    )
