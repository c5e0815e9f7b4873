"""Aliases in the console: who asks for one, and many that are led elsewhere at once. Charlie leads none anywhere."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from providers.models import Deployment
from routing.models import ModelAlias, Route, RouteTarget
from tenants.models import UsageDay
from tenants.services import create_key

ALIASES = "/admin/routing/modelalias/"


@pytest.fixture
def old(deployment: Deployment) -> Route:
    route = Route.objects.create(name="old")
    RouteTarget.objects.create(route=route, deployment=deployment)
    return route


@pytest.fixture
def aliases(old: Route) -> list[ModelAlias]:
    return [ModelAlias.objects.create(name=name, route=old) for name in ("fast", "smart", "other")]


def led(aliases: list[ModelAlias]) -> list[str]:
    return [ModelAlias.objects.get(pk=alias.pk).route.name for alias in aliases]


def chosen(aliases: list[ModelAlias], **more: Any) -> dict[str, Any]:
    return {"action": "lead_elsewhere", "_selected_action": [str(alias.pk) for alias in aliases], **more}


def test_many_are_led_to_another_route_at_once(console, aliases):
    new = Route.objects.create(name="new")
    asked = console.client.post(ALIASES, chosen(aliases[:2])).content.decode()
    assert "Lead aliases to another route" in asked
    assert led(aliases) == ["old"] * 3
    console.client.post(ALIASES, chosen(aliases[:2], route=str(new.pk)))
    assert led(aliases) == ["new", "new", "old"]


def test_without_a_route_none_is_led_anywhere(console, aliases):
    for route in ("", "999999"):
        assert console.client.post(ALIASES, chosen(aliases, route=route)).status_code == 200
    assert led(aliases) == ["old"] * 3


def test_charlie_leads_none_anywhere(charlie, aliases):
    new = Route.objects.create(name="new")
    assert charlie.post(ALIASES, chosen(aliases, route=str(new.pk))).status_code == 403
    assert led(aliases) == ["old"] * 3


def test_it_tells_who_has_asked_for_one_lately(console, tenant, aliases):
    key, _ = create_key(tenant=tenant, name="ci")
    UsageDay.objects.create(
        tenant=tenant,
        api_key=key,
        alias="smart",
        outcome="served",
        cost_status="exact",
        starts_at=timezone.now().replace(hour=0, minute=0, second=0, microsecond=0),
        requests=1_234,
    )
    text = console.get(f"{ALIASES}{aliases[1].pk}/change/").content.decode()
    for part in ("Acme", "ci", "1,234"):
        assert part in text, part
    assert "Nobody has asked for it." in console.get(f"{ALIASES}{aliases[0].pk}/change/").content.decode()
