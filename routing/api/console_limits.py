"""The REST API's rate limits and budgets. Fields are called as in the configuration's YAML."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from ninja import Router
from pydantic import Field

from routing.api.console_tenants import OF_TENANT
from routing.declaration import fields
from tenants import budgets
from tenants.api.access import permit, person_in
from tenants.api.errors import conflict, from_model, invalid
from tenants.api.resource import Extra, Reference, Resource
from tenants.api.routes import add_routes, verb_options
from tenants.api.schema import Instant, Money, Strict, Text
from tenants.models import ApiKey, Budget, Project, RateLimit

router = Router()

SCOPE = {
    "tenant": OF_TENANT,
    "project": Reference(
        field="project", model=Project, noun="project", within="tenant", is_required=False, is_fixed=True
    ),
    "api_key": Reference(
        field="api_key",
        model=ApiKey,
        by="name",
        noun="API key",
        within="tenant",
        is_required=False,
        is_fixed=True,
    ),
}
FILTERS = {"tenant": "tenant__slug", "project": "project__slug", "api_key": "api_key_id", "model": "model"}


def _of_scope(name: str) -> Extra:
    return Extra(annotation=str, description=f"Whose {name}: tenant, project or api_key.", show=lambda rule: rule.scope)


add_routes(
    router,
    Resource(
        path="rate-limits",
        noun="rate limit",
        model=RateLimit,
        rows=lambda: RateLimit.objects.select_related("tenant", "project", "api_key"),
        paths=fields.LIMIT.paths,
        refs=SCOPE,
        filters=FILTERS,
        extras={"scope": _of_scope("limit")},
        example={"tenant": "acme", "kind": "requests", "amount": 600, "per": "minute"},
    ),
)

# --- Budgets -------------------------------------------------------------------------------------------------


class Standing(Strict):
    """How a budget stands; the newest requests may still be on their way to the ledger."""

    spent: str
    left: str
    limit: str
    resets_at: datetime | None = Field(description="null: nothing begins anew by itself.")


def _stand(instances: list[Budget]) -> None:
    """Look up in one query what was spent of all of them."""
    found = budgets.standings(instances, timezone.now())
    for budget in instances:
        budget.standing = found[budget.pk]  # type: ignore[attr-defined]


def _standing(budget: Any) -> dict[str, Any]:
    found = budget.standing
    amounts = {name: f"{getattr(found, name).normalize():f}" for name in ("spent", "left", "limit")}
    return {**amounts, "resets_at": found.resets_at}


BUDGETS = Resource(
    path="budgets",
    noun="budget",
    model=Budget,
    rows=lambda: Budget.objects.select_related("tenant", "project", "api_key"),
    paths=fields.BUDGET.paths,
    refs=SCOPE,
    filters=FILTERS,
    kept=fields.BUDGET.kept,
    extras={
        "scope": _of_scope("budget"),
        "standing": Extra(annotation=Standing, description="What is spent, and what is left.", show=_standing),
    },
    dress=_stand,
    example={"tenant": "acme", "amount": "500", "currency": "USD", "per": "month", "alert_at": [50, 90]},
)
add_routes(router, BUDGETS)
Answer: Any = BUDGETS.answer()


@router.post(**verb_options(BUDGETS, "reset", "Begin at nothing spent again", Answer))
def reset(request: HttpRequest, ref: str) -> Any:
    """Requests under way are still charged to what was. Prepaid credit is topped up, not reset."""
    return _do(request, ref, lambda budget: budgets.reset(budget=budget))


class TopUp(Strict):
    """What was paid."""

    amount: Money = Field(examples=["100"])
    note: Text = Field("", max_length=200, examples=["Invoice 1234"])


@router.post(**verb_options(BUDGETS, "top-up", "Pay into a prepaid credit", Answer))
def top_up(request: HttpRequest, ref: str, body: TopUp) -> Any:
    permit(request, "tenants.add_credittopup")
    by = person_in(request)
    return _do(request, ref, lambda budget: budgets.top_up(budget=budget, amount=body.amount, note=body.note, by=by))


class Increase(Strict):
    """How much more, and until when."""

    amount: Money = Field(examples=["50"])
    until: Instant = Field(examples=["2027-12-31T18:00:00Z"])


@router.post(**verb_options(BUDGETS, "increase", "Allow more until a moment", Answer))
def increase(request: HttpRequest, ref: str, body: Increase) -> Any:
    """In place of an increase that there may be."""
    if body.until.tzinfo is None:
        raise invalid([("until", "Say the time zone, such as 2027-12-31T18:00:00Z.")])
    return _do(request, ref, lambda budget: budgets.increase(budget=budget, amount=body.amount, until=body.until))


def _do(request: HttpRequest, ref: str, verb: Callable[[Budget], Any]) -> dict[str, Any]:
    BUDGETS.permit(request, "change")
    with transaction.atomic():
        budget = BUDGETS.find(request, ref, locked=True)
        try:
            verb(budget)
        except ValidationError as error:
            refused = from_model(error, {})
            raise (conflict(refused.message) if not hasattr(error, "error_dict") else refused) from None
    return BUDGETS.show(request, [BUDGETS.find(request, str(budget.pk))])[0]
