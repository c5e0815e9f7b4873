"""What the REST API does beside making and changing: suspending, topping up, publishing, telling of single requests."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from routing.models import Route
from tenants.api import usage_records
from tenants.models import AuditEvent, Tenant, UsageRecord, User
from tests.gateway_site.control_plane.asking import MARK, Api, fields_of
from tests.gateway_site.control_plane.conftest import record_of

pytestmark = pytest.mark.django_db


def test_tenants_are_suspended_and_resumed(alice: Api, bob: Api, acme: Tenant) -> None:
    assert bob.post(f"/tenants/{acme.slug}/suspend", {}).status_code == 403
    shown = alice.post(f"/tenants/{acme.slug}/suspend", {"reason": "unpaid"}).json()
    assert (shown["suspended"], shown["suspended_reason"]) == (True, "unpaid")
    assert AuditEvent.objects.latest("pk").action == "suspended"
    assert alice.post(f"/tenants/{acme.slug}/resume").json()["suspended"] is False


def test_budgets_are_reset_topped_up_and_increased(alice: Api, acme: Tenant, site: dict[str, Any]) -> None:
    path = f"/budgets/{site['budgets'].pk}"
    assert alice.get(path).json()["standing"] == {"spent": "0", "left": "10", "limit": "10"} | {
        "resets_at": alice.get(path).json()["standing"]["resets_at"]
    }
    assert alice.post(f"{path}/reset").status_code == 200
    assert alice.post(f"{path}/top-up", {"amount": "5"}).status_code == 409
    assert fields_of(alice.post(f"{path}/increase", {"amount": "5", "until": "2001-01-01T00:00:00Z"})) == {"until"}
    raised = alice.post(f"{path}/increase", {"amount": "5", "until": "2990-01-01T00:00:00Z"})
    assert raised.json()["standing"]["limit"] == "15"
    credit = alice.post("/budgets", {"tenant": acme.slug, "amount": "1", "per": "credit"}).json()["id"]
    assert alice.post(f"/budgets/{credit}/top-up", {"amount": "2.50", "note": "paid"}).json()["amount"] == "3.5"


def test_revisions_are_published_and_rolled_back(alice: Api, site: dict[str, Any]) -> None:
    first = alice.post("/revisions", {"note": "first"}).json()
    assert first["is_new"]
    Route.objects.create(name="another")
    second = alice.post("/revisions", {}).json()["number"]
    shown = alice.get(f"/revisions/{second}").json()
    assert any("another" in line for line in shown["diff"])
    assert shown["is_served"]
    assert [each["number"] for each in alice.get("/revisions").json()["items"]] == [second, first["number"]]
    back = alice.post(f"/revisions/{first['number']}/roll-back").json()
    assert alice.get(f"/revisions/{back['number']}").json()["is_pinned"]
    assert alice.post(f"/revisions/{second}/publish").status_code == 409
    assert alice.get("/revisions/999").status_code == 404


def test_a_tokens_maker_does_not_approve_its_changes(
    alice: Api, operator: User, site: dict[str, Any], settings: Any
) -> None:
    settings.CONFIG_PUBLISHING = "four_eyes"
    assert alice.patch(f"/deployments/{MARK}-large", {"region": "eu"}).status_code == 200
    draft = alice.post("/revisions", {}).json()["draft"]
    assert alice.post(f"/revisions/{draft}/publish").status_code == 409
    client = Client()
    client.force_login(operator)
    refused = Api(client=client).post(f"/revisions/{draft}/publish")
    assert (refused.status_code, "changes of yours" in refused.content.decode()) == (409, True)


def test_single_requests_are_told(alice: Api, bob: Api, site: dict[str, Any]) -> None:
    record = site["usage-records"]
    [listed] = alice.get("/usage-records").json()["items"]
    assert (listed["cost"], listed["cost_price"]) == ("0.000000002", "0.000000001")
    assert "attempts" in alice.get(f"/usage-records/{record.pk}").json()
    own = bob.get(f"/usage-records/{record.pk}").json()
    assert not {"cost_price", "attempts", "trace", "worker"} & set(own)
    assert alice.get("/usage-records?status=500").json()["items"] == []


def test_rare_requests_are_looked_for_among_so_many_at_a_time(alice: Api, acme: Tenant, monkeypatch: Any) -> None:
    for name in ("MOST_READ", "MOST_SCATTERED", "MOST_RARE"):
        monkeypatch.setattr(usage_records, name, 2)
    records = [record_of(acme, alias="rare" if number == 0 else "smart") for number in range(5)]
    seen, pages, query = [], 0, f"tenant={acme.slug}&model=rare"
    while query:
        answer = alice.get(f"/usage-records?{query}")
        seen += [item["request_id"] for item in answer.json()["items"]]
        following = answer.json()["next"]
        assert (following is not None) == ("Link" in answer)
        query, pages = f"tenant={acme.slug}&model=rare&after={following}" if following else "", pages + 1
    assert seen == [str(records[0].pk)]
    assert pages == 3


def test_pages_of_what_is_common_are_full_though_reading_is_bounded(alice: Api, acme: Tenant, monkeypatch: Any) -> None:
    monkeypatch.setattr(usage_records, "MOST_SCATTERED", 4)
    records = [record_of(acme) for _ in range(6)]
    seen, after = [], ""
    while after is not None:
        answer = alice.get(f"/usage-records?tenant={acme.slug}&model=smart&limit=3&after={after}").json()
        seen += [item["request_id"] for item in answer["items"]]
        after = answer["next"]
    assert seen == [str(record.pk) for record in reversed(records)]


def test_requests_are_found_by_what_their_client_called_them(alice: Api, acme: Tenant) -> None:
    called, own = record_of(acme, correlation_id="order-66"), record_of(acme)
    UsageRecord.objects.filter(pk=own.pk).update(correlation_id=own.pk.hex)
    for name, record in (("order-66", called), (own.pk.hex, own)):
        [item] = alice.get(f"/usage-records?correlation_id={name}").json()["items"]
        assert item["request_id"] == str(record.pk)
    assert alice.get("/usage-records?correlation_id=order-67").json()["items"] == []


def test_charlie_uses_no_verb_on_what_is_not_theirs(charlie: Api, acme: Tenant, site: dict[str, Any]) -> None:
    for path in (f"/tenants/{acme.slug}/suspend", f"/budgets/{site['budgets'].pk}/top-up", "/revisions"):
        assert charlie.post(path, {"amount": "1"} if "top-up" in path else {}).status_code in {403, 404}, path
    assert charlie.get(f"/usage-records/{site['usage-records'].pk}").status_code == 404
    acme.refresh_from_db()
    assert acme.suspended_at is None
