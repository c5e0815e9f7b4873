"""The REST API's routes with their targets, and model aliases, for operators. Fields are called as in the YAML."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Prefetch
from ninja import Router, Schema
from pydantic import Field

from providers.models import Deployment
from routing.api.console_tenants import of_some_tenant
from routing.declaration import fields
from routing.models import ModelAlias, Route, RouteTarget
from tenants.api.errors import from_model, invalid
from tenants.api.resource import Extra, Reference, Resource, named
from tenants.api.routes import add_routes
from tenants.api.schema import Json, Ref, Strict, Whole

router = Router()


class Target(Strict):
    """A deployment that serves a route."""

    deployment: Ref = Field(description="Its slug or its id.", examples=["gpt-large"])
    priority: Whole = Field(0, description="0 is tried first.")
    weight: Whole = Field(100, description="Share within its priority; 0: only when no other is left.")
    conditions: dict[str, Json] = Field({}, examples=[{"needs": ["images"], "region": "eu"}])


class TargetAnswer(Schema):
    """A deployment that serves a route."""

    deployment: str
    priority: int
    weight: int
    conditions: dict[str, Any]


class AliasAnswer(Schema):
    """A name that leads to a route."""

    id: int
    alias: str
    tenant: str | None


def _show_targets(route: Route) -> list[dict[str, Any]]:
    return [
        {
            "deployment": target.deployment.slug,
            "priority": target.priority,
            "weight": target.weight,
            "conditions": target.conditions,
        }
        for target in route.targets.all()
    ]


def _show_aliases(route: Any) -> list[dict[str, Any]]:
    return [
        {"id": alias.pk, "alias": alias.name, "tenant": alias.tenant.slug if alias.tenant else None}
        for alias in route.aliases.all()
    ]


def _write_targets(route: Route, targets: list[Target]) -> None:
    """Make a route's targets those of the body; unchanged ones keep their rows."""
    stored = {target.deployment_id: target for target in RouteTarget.objects.filter(route=route)}
    for number, each in enumerate(targets):
        deployment = named(Deployment.objects.all(), "slug", each.deployment)
        place = f"targets[{number}]"
        if deployment is None:
            raise invalid([(f"{place}.deployment", f"There is no deployment {each.deployment!r}.")])
        if any(other.deployment in {deployment.slug, deployment.pk} for other in targets[:number]):
            raise invalid([(f"{place}.deployment", "This deployment is there twice.")])
        target = stored.pop(deployment.pk, None) or RouteTarget(route=route, deployment=deployment)
        _write_target(target, each, place)
    for target in stored.values():
        target.delete()


def _write_target(target: RouteTarget, said: Target, place: str) -> None:
    values = {"priority": said.priority, "weight": said.weight, "conditions": said.conditions}
    if target.pk is not None and all(getattr(target, name) == value for name, value in values.items()):
        return
    for name, value in values.items():
        setattr(target, name, value)
    try:
        target.full_clean()
    except ValidationError as error:
        raise from_model(error, {name: f"{place}.{name}" for name in (*values, "deployment")}) from None
    target.save()


def _rows() -> Any:
    targets = RouteTarget.objects.select_related("deployment").order_by("priority", "pk")
    aliases = ModelAlias.objects.select_related("tenant")
    return Route.objects.prefetch_related(Prefetch("targets", targets), Prefetch("aliases", aliases))


add_routes(
    router,
    Resource(
        path="routes",
        noun="route",
        model=Route,
        rows=_rows,
        paths={"name": "name"} | fields.ROUTE.paths,
        lookup="name",
        tenant_path=None,
        verbs=("list", "create", "get", "put", "change", "delete"),
        filters={"name": "name", "deployment": "targets__deployment__slug"},
        extras={
            "targets": Extra(
                annotation=list[TargetAnswer],
                description="The deployments that serve it; given, they replace those that there are.",
                show=_show_targets,
                accepts=list[Target],
                write=_write_targets,
            ),
            "aliases": Extra(
                annotation=list[AliasAnswer], description="The names that lead to it.", show=_show_aliases
            ),
            "warnings": Extra(
                annotation=list[str],
                description="What is switched on and has no effect in this version, a sentence each.",
                show=fields.without_effect,
            ),
        },
        example={
            "name": "smart",
            "strategy": "weighted",
            "targets": [{"deployment": "gpt-large"}, {"deployment": "claude-eu", "priority": 1}],
        },
    ),
)

add_routes(
    router,
    Resource(
        path="aliases",
        noun="alias",
        model=ModelAlias,
        rows=lambda: ModelAlias.objects.select_related("tenant", "route"),
        paths={"name": "alias"},
        refs={
            "tenant": of_some_tenant("Whose alias it is; null: everybody's."),
            "route": Reference(field="route", model=Route, by="name", noun="route", tenant_path=None),
        },
        filters={"alias": "name", "tenant": "tenant__slug", "route": "route__name"},
        tenant_path="tenant",
        example={"alias": "claude-*", "tenant": None, "route": "smart"},
    ),
)
