"""What the setup guide knows of this installation: a few rows of each kind, and rollups."""

from __future__ import annotations

from typing import Any

from django.db.models import F
from django.http import HttpRequest

from gateway_site.management.commands.seed_demo import SIMULATOR, SIMULATOR_ADDRESS
from gateway_site.setup.steps import Facts
from providers.models import Provider
from routing.models import ModelAlias
from tenants.models import ApiKey, Tenant, UsageOverviewDay
from tenants.models.ledger import ALL_TENANTS
from tenants.standing import standing_of

SHOWN = 3  # names of each kind; more than two are "and more"

# What it takes to go through all steps.
RIGHTS = (
    "providers.add_provider",
    "providers.add_deployment",
    "providers.add_modelprice",
    "routing.add_route",
    "routing.add_routetarget",
    "routing.add_modelalias",
    "tenants.add_tenant",
    "tenants.add_apikey",
)


def may_set_up(user: Any) -> bool:
    """Whether somebody is an operator who may make all that the guide makes."""
    return standing_of(user).is_operator and user.has_perms(RIGHTS)


def is_simulator(provider: Provider) -> bool:
    """Whether it is the simulator of `manage.py up`, and no vendor's."""
    return provider.slug == SIMULATOR and SIMULATOR_ADDRESS.fullmatch(provider.base_url) is not None


def is_in_use() -> bool:
    """Whether something that is not the simulator has ever answered."""
    return _answered().exclude(provider__in=("", SIMULATOR)).exists()


def _answered() -> Any:
    return UsageOverviewDay.objects.filter(tenant_id=ALL_TENANTS, requests__gt=F("errors"))


def needs_setup(request: HttpRequest) -> bool:
    """Whether the guide is of use to whoever asks: nothing real was answered yet."""
    found: bool | None = getattr(request, "needs_setup", None)  # asked for once by the menu, and once by the first page
    if found is None:
        found = may_set_up(request.user) and not is_in_use()
        request.needs_setup = found  # type: ignore[attr-defined]
    return found


def find_facts() -> Facts:
    """Look what there is."""
    enabled = list(
        Provider.objects.filter(is_enabled=True).only("slug", "name", "base_url").order_by("-pk")[: SHOWN + 1]
    )
    leading = ModelAlias.objects.filter(
        route__targets__deployment__is_enabled=True, route__targets__deployment__provider__is_enabled=True
    )
    return Facts(
        providers=tuple(str(each) for each in enabled if not is_simulator(each))[:SHOWN],
        has_simulator=any(is_simulator(each) for each in enabled),
        models=tuple(leading.order_by("-pk").values_list("name", flat=True).distinct()[:SHOWN]),
        tenants=tuple(str(each) for each in Tenant.objects.filter(suspended_at=None).order_by("-pk")[:SHOWN]),
        keys=tuple(each.name for each in usable_keys()[:SHOWN]),
        is_answered=_answered().exists(),
        is_in_use=is_in_use(),
    )


def usable_keys() -> Any:
    """The keys that programs may use now, newest first."""
    return ApiKey.objects.of_programs().active().select_related("tenant").order_by("-pk")
