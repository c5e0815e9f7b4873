"""The console's sidebar: what operators and members find where. A page is one line; who may not see it does not."""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import structlog
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse, reverse_lazy

from tenants.standing import Standing, standing_of

log = structlog.get_logger("tollgate.console")

type Item = dict[str, Any]
type Group = dict[str, Any]


def page(title: str, icon: str, name: str, *permissions: str) -> Item:
    """A page by the name of its URL, for whoever has all the permissions."""
    return _named(title, icon, name, lambda request: request.user.has_perms(permissions))


def objects(title: str, icon: str, name: str) -> Item:
    """The list of a model, for whoever may view it."""
    app, model = name.rsplit("_", 1)
    return page(title, icon, f"admin:{name}_changelist", f"{app}.view_{model}")


def _named(title: str, icon: str, name: str, permission: Callable[[HttpRequest], bool]) -> Item:
    return {**_item(title, icon, reverse_lazy(name), permission), "name": name}


def _item(title: str, icon: str, link: Any, permission: Callable[[HttpRequest], bool]) -> Item:
    return {"title": title, "icon": icon, "link": link, "permission": permission}


def _group(title: str, *items: Item, **more: Any) -> Group:
    return {"title": title, "items": list(items), **more}


HOME = page("Home", "home", "admin:index")
LIVE = page("Live", "sensors", "live", "tenants.view_usagerecord")
USAGE_REPORT = page("Usage report", "monitoring", "usage", "tenants.view_usageday")
CONNECT = page("Connect", "cable", "connect", "tenants.view_apikey")
PLAYGROUND = page("Playground", "science", "playground", "tenants.add_apikey")


def _needs_setup(request: HttpRequest) -> bool:
    from gateway_site.setup.facts import needs_setup  # with models, which are not there yet

    return needs_setup(request)


SETUP = _named("Setup guide", "rocket_launch", "setup", _needs_setup)  # until something real has answered

ALERTS = _group(
    "Alerts",
    objects("Incidents", "notifications_active", "tenants_alertincident"),
    objects("Alert rules", "rule", "tenants_alertrule"),
    objects("Channels", "campaign", "tenants_alertchannel"),
    objects("Silences", "notifications_paused", "tenants_alertsilence"),
    objects("Budget alerts", "notifications", "tenants_budgetalert"),
)

OPERATORS = (
    _group(
        "",
        HOME,
        SETUP,
        LIVE,
    ),
    _group(
        "Usage",
        USAGE_REPORT,
        objects("Requests", "receipt_long", "tenants_usagerecord"),
        objects("Hourly usage", "schedule", "tenants_usagehour"),
        objects("Daily usage", "calendar_month", "tenants_usageday"),
        objects("End users", "groups", "tenants_usageenduserday"),
        objects("Stored responses", "inventory_2", "routing_storedresponse"),
    ),
    _group(
        "Tenants",
        objects("Tenants", "apartment", "tenants_tenant"),
        objects("API keys", "key", "tenants_apikey"),
        CONNECT,
        PLAYGROUND,
        objects("Budgets", "savings", "tenants_budget"),
        objects("Rate limits", "speed", "tenants_ratelimit"),
        objects("Projects", "folder", "tenants_project"),
        objects("Members", "group", "tenants_member"),
        objects("Invitations", "mail", "tenants_invitation"),
    ),
    _group(
        "Upstreams",
        objects("Providers", "cloud", "providers_provider"),
        objects("Deployments", "deployed_code", "providers_deployment"),
        objects("Prices", "sell", "providers_modelprice"),
        page("Queues", "hourglass_top", "queue", "providers.view_provider"),
    ),
    ALERTS,
    _group(
        "Routing",
        objects("Routes", "alt_route", "routing_route"),
        objects("Model aliases", "label", "routing_modelalias"),
        objects("Revisions", "history", "routing_configrevision"),
        objects("Health events", "monitor_heart", "routing_healthevent"),
        page("Dry run", "conversion_path", "dry_run", "routing.view_route", "tenants.view_apikey"),
        page("Nodes", "dns", "nodes", "routing.view_configrevision"),
        page("YAML", "data_object", "configuration", "routing.view_route", "tenants.view_tenant"),
    ),
    _group(
        "System",
        objects("Audit trail", "manage_search", "tenants_auditevent"),
        objects("API tokens", "vpn_key", "tenants_apitoken"),
        objects("Users", "person", "tenants_user"),
        objects("Groups", "shield_person", "auth_group"),
        objects("Terms and privacy", "gavel", "tenants_legaldocument"),
        objects("Acceptances", "task_alt", "tenants_legalacceptance"),
    ),
)

MEMBERS = (
    _group(
        "",
        HOME,
        objects("API keys", "key", "tenants_apikey"),
        CONNECT,
        PLAYGROUND,
        LIVE,
    ),
    _group(
        "Usage",
        USAGE_REPORT,
        objects("Requests", "receipt_long", "tenants_usagerecord"),
        objects("End users", "groups", "tenants_usageenduserday"),
        objects("Stored responses", "inventory_2", "routing_storedresponse"),
    ),
    _group(
        "Budgets and limits",
        objects("Budgets", "savings", "tenants_budget"),
        objects("Rate limits", "speed", "tenants_ratelimit"),
    ),
    ALERTS,
    _group(
        "Tenant",
        objects("Projects", "folder", "tenants_project"),
        objects("Members", "group", "tenants_member"),
        objects("Invitations", "mail", "tenants_invitation"),
        objects("API tokens", "vpn_key", "tenants_apitoken"),
        objects("Audit trail", "manage_search", "tenants_auditevent"),
    ),
)


def navigation(request: HttpRequest) -> list[Group]:
    """What stands in the sidebar of whoever asks; unfold leaves out what their permissions do not cover."""
    standing = standing_of(request.user)
    if standing.tenant_id is None:
        return _reachable(OPERATORS)
    *others, tenant = MEMBERS
    own = {**tenant, "items": [_own_page(standing), *tenant["items"]]}
    return _reachable([*others, own])


def _reachable(groups: Iterable[Group]) -> list[Group]:
    """Leave out what leads nowhere: one wrong name is not to take every page of the console along."""
    return [{**group, "items": [item for item in group["items"] if _is_known(item.get("name"))]} for group in groups]


@cache
def _is_known(name: str | None) -> bool:
    """Whether a name is one of the console's URLs; asked, and complained about, once."""
    try:
        return name is None or bool(reverse(name))
    except NoReverseMatch:
        log.error("navigation_entry_left_out", name=name)
        return False


def _own_page(standing: Standing) -> Item:
    link = reverse("admin:tenants_tenant_change", args=[standing.tenant_id])
    item = _item("Settings", "settings", link, lambda request: request.user.has_perm("tenants.view_tenant"))
    return {**item, "name": "admin:tenants_tenant_changelist"}


def place_of(request: HttpRequest, name: str) -> tuple[str, Item] | None:
    """The group and the entry of a page in the sidebar of whoever asks, by the name of its URL."""
    places = ((group["title"], item) for group in navigation(request) for item in group["items"])
    return next((place for place in places if place[1].get("name") == name), None)


def whose_console(request: HttpRequest) -> str:
    """What stands below the name of the site: the tenant of who has one."""
    tenant = standing_of(request.user).tenant
    return "LLM gateway" if tenant is None else str(tenant)
