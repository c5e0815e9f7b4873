"""The story of one request, top to bottom: `serve` is its table of contents, ARCHITECTURE.md its map."""

import asyncio
import random

from providers.canonical.inbound import Facts, Inbound, Operation
from providers.dialects.base import Dialect
from providers.registry import DIALECTS
from providers.wire.splice import MalformedJson, read_members
from routing.account import Account
from routing.call import Call, Response
from routing.headers import forwardable
from routing.policy.plan import Plan, compile_plan
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


async def serve(request: DataPlaneRequest, operation: Operation) -> Response:
    """Read, route, admit, ask upstreams until one answers, and settle; whoever calls is known by now."""
    runtime, exchange, principal = request.runtime, request.exchange, request.principal
    exchange.operation = operation
    dialect = DIALECTS[operation.dialect]

    inbound = read_inbound(request, dialect, operation)
    facts = exchange.facts = inbound.facts
    snapshot = runtime.snapshot
    route = exchange.route = find_route(snapshot, principal, facts.model)
    exchange.revision = snapshot.number
    plan = compile_plan(
        route,
        operation,
        random=random.random,
        moment=exchange.started_at,
        refuses_unpriced=principal.refuses_unpriced,
    )
    if not plan.targets:
        raise nothing_fits(plan, facts, operation)

    reservation = await runtime.admission.reserve(
        principal, exchange.request_id, alias=facts.model, end_user=facts.end_user
    )
    account = Account(runtime.admission, exchange, reservation, runtime.worker)
    call = Call(inbound, dialect, exchange, account, runtime.transport)
    headers = (*reservation.headers, snapshot.revision_header, route.header)
    try:
        return await call.answer(plan, headers)
    except GatewayError as error:
        await account.settle("upstream_failed", status=error.status, error_code=error.code)
        raise
    except asyncio.CancelledError:
        outcome = "client_gone" if exchange.is_client_gone else "shutdown"
        await account.settle(outcome, status=499 if exchange.is_client_gone else 503)
        raise
    except Exception:
        await account.settle("gateway_failed", status=500, error_code="internal_error")
        raise


def read_inbound(request: DataPlaneRequest, dialect: Dialect, operation: Operation) -> Inbound:
    """Read the facts of a request in one shallow parse; raises InvalidRequest naming what is wrong."""
    try:
        members = read_members(request.body)
    except MalformedJson as error:
        raise InvalidRequest(str(error), code="invalid_json") from None
    return Inbound(
        operation=operation,
        members=members,
        facts=dialect.read_facts(members, operation),
        headers=forwardable(request.header_pairs),
        query=request.scope.get("query_string", b""),
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
    if reasons == {"wrong_dialect"}:
        spoken = sorted({target.deployment.dialect for target in plan.route.targets})
        return InvalidRequest(
            f"Model {facts.model!r} is served in {' and '.join(spoken)}, and requests in {operation.dialect} are not "
            "translated to that yet. Call the endpoint of that format.",
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
