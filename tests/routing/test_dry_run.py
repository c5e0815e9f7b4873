"""Where a request would go, and why: decided by the hot path's code, and nothing is called, counted or charged.

Charlie's key is another tenant's: it is told what charlie would be told.
"""

import json
from time import time
from typing import Any

import msgspec
import pytest
import redis

from providers.health_feed import PROBES_KEY
from routing.dry_run import OPERATIONS, SMALLEST, TITLES, Question, Site, dry_run, load_site
from routing.health import HealthChange
from routing.health_sharing import STATES_KEY, field_of
from routing.report import WorkerReport
from routing.services import publish
from routing.snapshot import Alias, Deployment, Provider, Route, Snapshot, Target
from routing.snapshot_store import NUMBER_KEY
from tenants.principal import Principal
from tests.routing.catalogue import make_catalogue

ALICE, CHARLIE = 1, 2
WHATEVER = {"messages": [{"role": "user", "content": "Hello"}]}


def principal(tenant_id: int = ALICE, **values: Any) -> Principal:
    given = {"key_id": 1, "key_name": "ci", "key_prefix": "tg_alice", "tenant_id": tenant_id, "tenant": "acme"}
    return Principal(**given | values)


def snapshot(
    *targets: Target, strategy: str = "weighted", tenant_id: int | None = None, **deployments: Any
) -> Snapshot:
    """A configuration with the alias `smart`, and a provider for each dialect."""
    names = {"chat": "openai_chat", "claude": "anthropic_messages"}
    found = targets or (Target(deployment="chat"),)
    return Snapshot(
        number=7,
        providers=tuple(
            Provider(
                slug=slug,
                adapter="openai_compatible",
                base_url="https://upstream/v1",
                dialects=(dialect,),
                credential="x",
            )
            for slug, dialect in names.items()
        ),
        deployments=tuple(
            Deployment(**{"slug": slug, "provider": slug if slug in names else "chat", "model": f"{slug}-1"} | values)
            for slug, values in ({"chat": {}, "claude": {}, "spare": {}} | deployments).items()
        ),
        routes=(Route(name="smart-route", strategy=strategy, targets=found),),
        aliases=(Alias(name="smart", route="smart-route", tenant_id=tenant_id),),
    )


def ask(site: Site | Snapshot, *, who: Principal | None = None, body: Any = None, **values: Any) -> dict[str, Any]:
    site = Site(snapshot=site) if isinstance(site, Snapshot) else site
    given = {"operation": "chat", "model": "smart", "body": b"" if body is None else json.dumps(body).encode()}
    return dry_run(Question(principal=who or principal(), **given | values), site)


def order(answer: dict[str, Any]) -> list[str]:
    return [row["deployment"] for row in answer["candidates"] if row["reason"] is None]


def passed_over(answer: dict[str, Any]) -> dict[str, str]:
    return {row["deployment"]: row["reason"] for row in answer["candidates"] if row["reason"] is not None}


TWO = (Target(deployment="chat", priority=0), Target(deployment="spare", priority=1))


def test_it_says_where_a_request_goes():
    answer = ask(snapshot())
    assert (answer["route"], answer["strategy"], answer["revision"]) == ("smart-route", "weighted", 7)
    (row,) = answer["candidates"]
    assert (row["deployment"], row["model"], row["standing"]) == ("chat", "chat-1", "ready")
    assert (row["position"], row["first_percent"], row["is_translated"]) == (1, 100, False)
    assert answer["error"] is None


def test_its_answer_is_json():
    answer = ask(snapshot(*TWO))
    assert json.loads(json.dumps(answer)) == answer


def test_every_operation_has_a_title_and_a_smallest_request():
    assert OPERATIONS.keys() == TITLES.keys() == SMALLEST.keys()


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_the_smallest_request_of_every_operation_finds_its_way(operation: str):
    kind = "embedding" if operation == "embeddings" else "chat"
    answer = ask(snapshot(chat={"kind": kind}), operation=operation)
    assert (answer["error"], order(answer)) == (None, ["chat"])


def test_targets_stand_in_the_order_in_which_they_would_be_asked():
    answer = ask(snapshot(*reversed(TWO)))
    assert order(answer) == ["chat", "spare"]
    assert [row["position"] for row in answer["candidates"]] == [1, 2]


def test_it_says_how_often_lots_fall_on_each():
    targets = (Target(deployment="chat", weight=20), Target(deployment="spare", weight=80))
    answer = ask(snapshot(*targets))
    assert order(answer) == ["spare", "chat"]
    likely, unlikely = (row["first_percent"] for row in answer["candidates"])
    assert likely + unlikely == 100
    assert 60 < likely < 97


def test_what_is_switched_off_is_passed_over_and_says_so():
    answer = ask(snapshot(*TWO, chat={"is_enabled": False}))
    assert (order(answer), passed_over(answer)) == (["spare"], {"chat": "disabled"})
    assert "switched off" in answer["candidates"][-1]["explanation"]


def test_an_open_breaker_and_a_cooldown_count_as_workers_would_count_them():
    now = time()
    opened = HealthChange(
        deployment="chat", provider="chat", kind="breaker_opened", old="closed", new="open", at=now, until=now + 60
    )
    cooled = HealthChange(
        deployment="spare", provider="chat", kind="cooled_down", old="ready", new="cooling", at=now, until=now + 90
    )
    site = Site(snapshot=snapshot(*TWO), states=(opened, cooled))
    answer = ask(site)
    assert passed_over(answer) == {"chat": "breaker_open", "spare": "cooling_down"}
    assert answer["error"]["code"] == "no_target_available"
    assert answer["error"]["status"] == 503


def test_a_deployment_that_probes_cannot_reach_comes_last():
    answer = ask(Site(snapshot=snapshot(*TWO), probes={"chat": "unreachable"}))
    assert order(answer) == ["spare", "chat"]
    assert {row["deployment"]: row["standing"] for row in answer["candidates"]} == {
        "spare": "ready",
        "chat": "doubtful",
    }


def test_latencies_are_those_of_an_average_worker():
    rows = [{"deployment": "chat", "latency_ms": 900.0}, {"deployment": "spare", "latency_ms": 100.0}]
    worker = WorkerReport(worker="a-1", host="a", pid=1, version="1", started_at=0, at=0, revision=7, deployments=rows)
    both = (Target(deployment="chat"), Target(deployment="spare"))
    answer = ask(Site(snapshot=snapshot(*both, strategy="lowest_latency"), workers=(worker,)))
    assert order(answer) == ["spare", "chat"]
    assert [row["first_percent"] for row in answer["candidates"]] == [100, 0]


def test_a_saturated_provider_is_what_every_worker_calls_so():
    def worker(name: str, is_saturated: bool) -> WorkerReport:
        gates = [{"provider": "chat", "is_saturated": is_saturated}]
        return WorkerReport(worker=name, host="a", pid=1, version="1", started_at=0, at=0, revision=7, gates=gates)

    def standing(*workers: WorkerReport) -> str:
        return str(ask(Site(snapshot=snapshot(), workers=workers))["candidates"][0]["standing"])

    assert standing(worker("a-1", True), worker("a-2", True)) == "saturated"
    assert standing(worker("a-1", True), worker("a-2", False)) == "ready"


def test_a_deployment_whose_vendor_has_nothing_left_comes_after_the_provider_s_others():
    def worker(name: str, *deployments: str) -> WorkerReport:
        gates = [{"provider": "chat", "deployment": slug, "is_saturated": True} for slug in deployments]
        return WorkerReport(worker=name, host="a", pid=1, version="1", started_at=0, at=0, revision=7, gates=gates)

    spent = Site(snapshot=snapshot(*TWO), workers=(worker("a-1", "chat"), worker("a-2", "chat", "spare")))
    assert order(ask(spent)) == ["spare", "chat"]
    known_to_one = Site(snapshot=snapshot(*TWO), workers=(worker("a-1", "chat"), worker("a-2")))
    assert order(ask(known_to_one)) == ["chat", "spare"]


def test_conditions_and_wishes_are_judged_with_the_headers_given():
    targets = (
        Target(deployment="chat", conditions={"header": {"x-team": "blue"}}),
        Target(deployment="spare", priority=1),
    )
    assert passed_over(ask(snapshot(*targets))) == {"chat": "condition:header"}
    assert order(ask(snapshot(*targets), headers={"X-Team": "blue"})) == ["chat", "spare"]
    answer = ask(snapshot(*TWO, chat={"region": "eu"}), headers={"x-tollgate-region": "eu"})
    assert (order(answer), passed_over(answer)) == (["chat"], {"spare": "region"})


def test_it_says_what_a_translation_would_lose():
    body = {**WHATEVER, "seed": 5}
    (row,) = ask(snapshot(Target(deployment="claude")), body=body)["candidates"]
    assert (row["is_translated"], row["dialect"]) == (True, "anthropic_messages")
    assert "seed" in {loss["path"] for loss in row["losses"]}


def test_it_says_which_loss_the_tenant_does_not_allow_and_what_the_client_is_told():
    careful = principal(translation_policy="no_degrading")
    answer = ask(snapshot(Target(deployment="claude")), who=careful, body={**WHATEVER, "seed": 5})
    assert passed_over(answer) == {"claude": "untranslatable"}
    assert "'seed'" in answer["candidates"][0]["explanation"]
    assert (answer["error"]["status"], answer["error"]["code"]) == (400, "not_translatable")
    assert answer["error"]["body"]["error"]["param"] == "seed"


def test_a_later_target_that_cannot_be_translated_to_is_judged_beforehand():
    careful = principal(translation_policy="no_degrading")
    targets = (Target(deployment="chat"), Target(deployment="claude", priority=1))
    answer = ask(snapshot(*targets), who=careful, body={**WHATEVER, "seed": 5})
    assert (order(answer), passed_over(answer)) == (["chat"], {"claude": "untranslatable"})


@pytest.mark.parametrize(
    ("values", "status", "error"),
    [
        ({"model": "no-such"}, 404, "model_not_found"),
        ({"body": b"{nonsense"}, 400, "invalid_json"),
        ({"body": b"[]"}, 400, "invalid_json"),
        ({"headers": {"x-tollgate-timeout": "soon"}}, 400, "invalid_request"),
        ({"operation": "embeddings"}, 400, "wrong_kind_of_model"),
    ],
)
def test_errors_are_those_that_the_client_would_see(values: dict[str, Any], status: int, error: str):
    given = {"operation": "chat", "model": "smart"} | values
    answer = dry_run(Question(principal=principal(), **given), Site(snapshot=snapshot()))
    assert (answer["error"]["status"], answer["error"]["code"]) == (status, error)
    assert answer["error"]["body"]["error"]["message"] == answer["error"]["message"]


def test_an_error_is_written_in_the_callers_dialect():
    answer = ask(snapshot(), operation="messages", model="no-such")
    assert answer["error"]["body"]["type"] == "error"
    assert "code" in ask(snapshot(), operation="gemini", model="no-such")["error"]["body"]["error"]


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"is_revoked": True}, "revoked_api_key"),
        ({"is_suspended": True}, "tenant_suspended"),
        ({"expires_at": 1.0}, "expired_api_key"),
        ({"key_models": ("other",)}, "model_not_allowed"),
    ],
)
def test_a_key_that_may_not_call_is_refused_as_it_would_be(values: dict[str, Any], error: str):
    assert ask(snapshot(), who=principal(**values))["error"]["code"] == error


def test_charlie_is_told_what_charlie_would_be_told():
    answer = ask(snapshot(tenant_id=ALICE), who=principal(CHARLIE, tenant="globex"))
    assert answer["error"]["code"] == "model_not_found"
    assert answer["candidates"] == []
    assert "smart-route" not in json.dumps(answer)


def test_it_says_what_it_leaves_open():
    assert any("limits" in note for note in ask(snapshot())["notes"])
    assert any("Valkey is away" in note for note in ask(Site(snapshot=snapshot(), is_alone=True))["notes"])


# --- With real stores ----------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_it_asks_the_configuration_that_is_served(stores: tuple[str, str]):
    make_catalogue()
    publish()
    now = time()
    change = HealthChange(
        deployment="openai-large",
        provider="openai",
        kind="breaker_opened",
        old="closed",
        new="open",
        at=now,
        until=now + 9,
    )
    with redis.Redis.from_url(stores[1]) as client:
        client.hset(STATES_KEY, field_of("openai-large", is_cooldown=False), msgspec.json.encode(change))
        client.hset(STATES_KEY, "other/breaker", b"of another version")
        client.hset(PROBES_KEY, "openai-large", "unreachable")
        before = sorted(client.keys())
        site = load_site()
        answer = ask(site)
        assert sorted(client.keys()) == before
    assert (answer["revision"], passed_over(answer)) == (1, {"openai-large": "breaker_open"})
    assert site.probes == {"openai-large": "unreachable"}


@pytest.mark.django_db(transaction=True)
def test_without_valkey_it_takes_the_newest_revision_from_the_database(settings: Any):
    make_catalogue()
    publish()
    settings.VALKEY_URL = "redis://127.0.0.1:1/0"
    site = load_site()
    assert site.is_alone
    assert order(ask(site)) == ["openai-large"]


@pytest.mark.django_db(transaction=True)
def test_before_anything_is_published_every_model_is_unknown(stores: tuple[str, str]):
    with redis.Redis.from_url(stores[1]) as client:
        assert client.get(NUMBER_KEY) is None
    answer = ask(load_site())
    assert answer["error"]["code"] == "model_not_found"
    assert "Nothing was published yet." in answer["notes"]


@pytest.mark.django_db(transaction=True)
def test_a_conversation_that_nobody_stored_is_told_as_the_client_would_be():
    body = {"model": "smart", "input": "go on", "previous_response_id": "resp_unknown"}
    answer = ask(snapshot(), operation="responses", body=body)
    assert answer["error"]["code"] == "previous_response_not_found"
