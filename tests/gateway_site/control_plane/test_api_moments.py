"""Moments in bodies: without a time zone they are UTC, and what no clock of ours can tell is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client

from tenants.api_tokens import create_token
from tenants.models import ApiKey, Budget, Tenant, User
from tenants.services import create_key

pytestmark = pytest.mark.django_db

BEYOND = "9999-12-31T23:59:59-01:00"


@pytest.fixture
def acme(db: None) -> Tenant:
    return Tenant.objects.create(slug="acme", name="Acme")


@pytest.fixture
def ask(acme: Tenant) -> Any:
    operator = User.objects.create_superuser("alice")
    _, secret = create_token(name="ci", scopes=["*"], created_by=operator)
    client = Client(headers={"authorization": f"Bearer {secret}"})

    def post(path: str, **body: Any) -> Any:
        return client.post(f"/api/v1/{path}", json.dumps(body), content_type="application/json")

    return post


def test_a_moment_without_a_time_zone_is_in_utc(ask: Any):
    made = ask("api-keys", tenant="acme", name="ci", expires_at="2031-05-06T07:08:09")
    assert made.status_code == 201
    assert ApiKey.objects.get().expires_at == datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
    assert ask("api-keys", tenant="acme", name="x", expires_at="2021-05-06T07:08:09").status_code == 422


@pytest.mark.parametrize("moment", [BEYOND, "0001-01-01T00:00:00+14:00"])
def test_a_moment_that_nobody_could_read_again_is_refused(ask: Any, acme: Tenant, moment: str):
    key, _ = create_key(tenant=acme, name="ci")
    budget = Budget.objects.create(tenant=acme, amount=10)
    for answer, field in (
        (ask("api-keys", tenant="acme", name="x", expires_at=moment), "expires_at"),
        (ask(f"api-keys/{key.pk}/rotate", until=moment), "until"),
        (ask(f"budgets/{budget.pk}/increase", amount="5", until=moment), "until"),
        (ask("alert-silences", reason="x", ends_at=moment), "ends_at"),
    ):
        assert answer.status_code == 422, field
        assert [each["field"] for each in answer.json()["error"]["fields"]] == [field]
