"""Alice operates, bob's token is of a tenant, charlie is of another tenant, with a token or as an owner in a browser."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from providers.models import Deployment, ModelPrice, Provider
from routing.models import ModelAlias, Route, RouteTarget
from tenants.api_tokens import create_token
from tenants.invitations import invite
from tenants.models import (
    AlertChannel,
    AlertIncident,
    AlertRule,
    AlertSilence,
    AuditEvent,
    Budget,
    Member,
    Project,
    RateLimit,
    Tenant,
    User,
)
from tenants.services import create_key
from tests.gateway_site.control_plane.asking import MARK, Api
from tests.gateway_site.people import member_browser
from tests.gateway_site.records import write_record


@pytest.fixture
def operator() -> User:
    return User.objects.create_superuser("alice", password="alice's long password")


@pytest.fixture
def alice(operator: User) -> Api:
    return Api(create_token(name="terraform", scopes=["*"], created_by=operator)[1])


@pytest.fixture
def acme() -> Tenant:
    return Tenant.objects.create(slug=f"{MARK}-acme", name=f"{MARK} Acme")


@pytest.fixture
def bob(acme: Tenant) -> Api:
    return Api(create_token(name="bobs", scopes=["*"], tenant=acme)[1])


@pytest.fixture
def charlies() -> Tenant:
    return Tenant.objects.create(slug="charlies", name="Charlie's")


@pytest.fixture(params=["token", "session"])
def charlie(request: pytest.FixtureRequest, charlies: Tenant) -> Api:
    if request.param == "token":
        return Api(create_token(name="charlies", scopes=["*"], tenant=charlies)[1])
    return Api(client=member_browser(charlies, "charlie"))


@pytest.fixture
def site(acme: Tenant) -> dict[str, Any]:
    """Something of every kind, and how the paths of the API call it."""
    project = Project.objects.create(tenant=acme, slug=f"{MARK}-web")
    key, _ = create_key(tenant=acme, name=f"{MARK}-ci", project=project)
    limit = RateLimit.objects.create(tenant=acme, kind="requests", amount=7777, per="minute", model=MARK)
    budget = Budget.objects.create(tenant=acme, amount=Decimal(10), model=MARK)
    member = Member.objects.create(tenant=acme, user=User.objects.create_user(f"{MARK}-dora"), role="developer")
    provider = Provider.objects.create(slug=f"{MARK}-openai", adapter="openai")
    deployment = Deployment.objects.create(slug=f"{MARK}-large", provider=provider, model="m")
    price = ModelPrice.objects.create(deployment=deployment, input=1)
    route = Route.objects.create(name=f"{MARK}-route")
    RouteTarget.objects.create(route=route, deployment=deployment)
    alias = ModelAlias.objects.create(name=f"{MARK}-smart", tenant=acme, route=route)
    rule = AlertRule.objects.create(tenant=acme, name=f"{MARK}-rule")
    now, number = timezone.now(), Decimal(7777)
    incident = {"title": MARK, "words": MARK, "severity": "warning", "metric": "error_rate", "began_at": now}
    return {
        "invitations": invite(tenant=acme, email=f"{MARK}@example.com", role="viewer", by=None).invitation,
        "api-tokens": create_token(name=f"{MARK}-token", scopes=["*"], tenant=acme)[0],
        "alert-channels": AlertChannel.objects.create(tenant=acme, name=f"{MARK}-ops", emails=[f"{MARK}@example.com"]),
        "alert-rules": rule,
        "alert-silences": AlertSilence.objects.create(tenant=acme, reason=MARK, ends_at=now + timedelta(hours=1)),
        "alert-incidents": AlertIncident.objects.create(
            tenant=acme, rule=rule, value=number, worst=number, last=number, **incident
        ),
        "tenants": acme,
        "projects": project,
        "members": member,
        "api-keys": key,
        "rate-limits": limit,
        "budgets": budget,
        "providers": provider,
        "deployments": deployment,
        "prices": price,
        "routes": route,
        "aliases": alias,
        "audit-events": AuditEvent.objects.filter(tenant=acme).latest("pk"),
        "usage-records": record_of(acme),
    }


def record_of(tenant: Tenant, **facts: Any) -> Any:
    values = {
        "api_key_id": tenant.pk,
        "end_user": MARK,
        "provider": "openai",
        "deployment": "large",
        "latency_ms": 1,
        "cost": Decimal("0.000000002"),
        "cost_price": Decimal("0.000000001"),
    }
    return write_record(tenant, **values | facts)
