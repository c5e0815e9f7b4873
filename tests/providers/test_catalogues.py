"""Providers are asked which models they have; what they list is kept, and published when it is new."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from io import StringIO
from typing import Any

import pytest
import redis
from cryptography.fernet import Fernet
from django.conf import settings as django_settings
from django.core.management import call_command

from gateway_site.celery import app
from gateway_site.infra.threads import run_query
from providers import catalogues
from providers.models import Provider
from providers.simulator import Simulator
from providers.simulator.models import MODELS
from providers.tasks import fetch_catalogues
from routing.compiler import compile_snapshot
from routing.models import ConfigRevision
from routing.tasks import publish_changes
from tenants.models import Tenant
from tests.providers.upstream import Upstream, serving

pytestmark = pytest.mark.django_db(transaction=True)

LISTED = {"object": "list", "data": [{"id": "gpt-5", "object": "model"}, {"id": "ada"}]}


@pytest.fixture
def queue(stores: tuple[str, str]) -> Iterator[redis.Redis]:
    """The workers' queue, emptied."""
    with redis.Redis.from_url(stores[1]) as client:
        client.flushall()
        yield client


@pytest.fixture(autouse=True)
def curious(db: None, queue: redis.Redis) -> Tenant:
    """A tenant that may use models without a route."""
    return Tenant.objects.create(slug="curious", name="Curious", allows_catalogue=True)


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serving(Upstream(LISTED)) as upstream:
        yield upstream


def asked_to_publish(queue: redis.Redis) -> int:
    """How often; the queue is empty afterwards."""
    length = queue.llen(django_settings.CELERY_TASK_DEFAULT_QUEUE)
    queue.flushall()
    return int(length)  # type: ignore[arg-type]


def make(url: str, slug: str = "vllm", **fields: Any) -> Provider:
    given = {"adapter": "openai_compatible", "allow_private_address": True, "base_url": url}
    provider = Provider(slug=slug, **given | fields)
    provider.set_credential("sk-ours")
    provider.save()
    return provider


async def fetch() -> None:
    await run_query(fetch_catalogues)


async def listed(provider: Provider) -> list[str]:
    await run_query(provider.refresh_from_db)
    return list(provider.catalogue)


def ids(*names: object, **more: object) -> bytes:
    return json.dumps({"data": [{"id": name} for name in names], **more}).encode()


# --- What is asked -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("adapter", "path"), [("openai_compatible", "/v1"), ("anthropic", ""), ("gemini", "/v1beta"), ("groq", "/v1")]
)
async def test_the_simulator_lists_its_models_in_every_shape(adapter: str, path: str):
    async with Simulator(port=0, key="sk-ours") as simulator:
        provider = await run_query(lambda: make(f"{simulator.url}{path}", adapter=adapter))
        await fetch()
    assert await listed(provider) == sorted(MODELS)
    assert provider.catalogue_at is not None


async def test_it_asks_as_the_provider_is_asked_for_everything_else(upstream):
    headers = {"X-Team": "ml", "Anthropic-Version": "2099-01-01"}
    await run_query(lambda: make(upstream.url, adapter="anthropic", headers=headers))
    await fetch()
    [(line, headers)] = upstream.asked
    assert line == "GET /v1/models?limit=1000 HTTP/1.1"
    assert (headers["x-api-key"], headers["x-team"]) == ("sk-ours", "ml")
    assert headers["anthropic-version"] == "2099-01-01"


async def test_the_first_dialect_says_how_it_is_asked(upstream):
    dialects = ["anthropic_messages", "openai_chat"]
    provider = await run_query(lambda: make(f"{upstream.url}/v1", dialects=dialects))
    await fetch()
    [(line, headers)] = upstream.asked
    assert line == "GET /v1/models?limit=1000 HTTP/1.1"
    assert headers["anthropic-version"] == "2023-06-01"
    assert await listed(provider) == ["ada", "gpt-5"]


async def test_it_goes_through_the_providers_proxy(upstream):
    def behind_a_proxy() -> Provider:
        provider = make("http://127.0.0.1:1/v1")
        provider.set_proxy(upstream.url)
        provider.save()
        return provider

    provider = await run_query(behind_a_proxy)
    await fetch()
    assert [line for line, _ in upstream.asked] == ["GET http://127.0.0.1:1/v1/models HTTP/1.1"]
    assert await listed(provider) == ["ada", "gpt-5"]


async def test_anthropics_pages_are_turned(upstream):
    upstream.pages = {
        "/v1/models?limit=1000": ids("c", "b", has_more=True, last_id="b"),
        "/v1/models?limit=1000&after_id=b": ids("a", has_more=False, last_id="a"),
    }
    provider = await run_query(lambda: make(upstream.url, adapter="anthropic"))
    await fetch()
    assert await listed(provider) == ["a", "b", "c"]


async def test_geminis_pages_are_turned_and_only_what_generates_is_listed(upstream):
    def page(*models: Any, **more: str) -> bytes:
        return json.dumps({"models": models, **more}).encode()

    upstream.pages = {
        "/v1beta/models?pageSize=1000": page(
            {"name": "models/gemini-3", "supportedGenerationMethods": ["generateContent", "countTokens"]},
            {"name": "models/embedding", "supportedGenerationMethods": ["embedContent"]},
            {"name": "tunedModels/mine"},
            nextPageToken="x/+=",
        ),
        "/v1beta/models?pageSize=1000&pageToken=x%2F%2B%3D": page({"name": "models/gemini-2"}, nextPageToken=""),
    }
    provider = await run_query(lambda: make(f"{upstream.url}/v1beta", adapter="gemini"))
    await fetch()
    assert await listed(provider) == ["gemini-2", "gemini-3"]


async def test_five_pages_and_two_thousand_names_are_enough(upstream):
    names = [f"model-{number:04}" for number in range(2100)]
    upstream.answers(ids(*reversed(names), has_more=True, last_id="for-ever"))
    provider = await run_query(lambda: make(upstream.url, adapter="anthropic"))
    await fetch()
    assert len(upstream.asked) == 5
    assert await listed(provider) == names[:2000]


async def test_what_nobody_could_send_as_a_name_is_left_out(upstream):
    upstream.answers(
        ids("", "a\nb", "\0", "\ud800", " a", "x" * 201, 7, None, ["m"], "x" * 200, "modèle", "a b", "a b")
    )
    provider = await run_query(make, upstream.url)
    await fetch()
    assert await listed(provider) == ["a b", "modèle", "x" * 200]


async def test_nobody_is_asked_until_a_tenant_may_use_what_is_listed(upstream, curious):
    await run_query(make, upstream.url)
    await run_query(lambda: Tenant.objects.update(allows_catalogue=False))
    await fetch()
    assert upstream.asked == []
    await run_query(lambda: Tenant.objects.update(allows_catalogue=True))
    await fetch()
    assert len(upstream.asked) == 1


async def test_a_provider_that_is_switched_off_is_not_asked(upstream):
    provider = await run_query(lambda: make(upstream.url, is_enabled=False, catalogue=["old"]))
    await fetch()
    assert (upstream.asked, await listed(provider)) == ([], ["old"])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1"])
async def test_a_private_address_is_asked_only_where_that_is_allowed(upstream, host):
    url = upstream.url.replace("127.0.0.1", host)
    provider = await run_query(lambda: make(url, allow_private_address=False))
    await fetch()
    assert (upstream.asked, await listed(provider)) == ([], [])


def test_celery_asks_every_hour():
    entries = [entry for entry in app.conf.beat_schedule.values() if entry["task"] == fetch_catalogues.name]
    (schedule,) = [entry["schedule"] for entry in entries]
    assert (schedule.hour, len(schedule.minute)) == (set(range(24)), 1)


# --- What is kept --------------------------------------------------------------------------------------------


async def test_what_is_new_is_published_and_what_is_known_is_not(upstream, queue):
    provider = await run_query(make, upstream.url)
    await run_query(publish_changes)
    queue.flushall()
    await fetch()
    assert asked_to_publish(queue) == 1
    await run_query(publish_changes)
    newest = await run_query(ConfigRevision.objects.first)
    assert (newest.number, newest.diff) == (2, ["~ provider vllm: catalogue (set)"])
    assert (await run_query(compile_snapshot)).providers[0].catalogue == ("ada", "gpt-5")

    await run_query(provider.refresh_from_db)
    asked_at = provider.catalogue_at
    upstream.answers(ids("gpt-5", "ada"))  # in another order
    await fetch()
    assert asked_to_publish(queue) == 0
    await run_query(provider.refresh_from_db)
    assert provider.catalogue_at > asked_at

    upstream.answers(ids())
    await fetch()
    assert asked_to_publish(queue) == 1
    assert await listed(provider) == []


async def test_what_an_operator_changes_meanwhile_is_not_undone(upstream):
    provider = await run_query(make, upstream.url)
    stale = await run_query(lambda: Provider.objects.get(pk=provider.pk))
    await run_query(lambda: Provider.objects.update(is_enabled=False, max_connections=7))
    assert await run_query(catalogues.keep, stale, ["a"])
    assert (await listed(provider), provider.is_enabled, provider.max_connections) == (["a"], False, 7)
    await run_query(lambda: Provider.objects.update(base_url="https://elsewhere.example.com"))
    assert not await run_query(catalogues.keep, stale, ["b"])
    assert await listed(provider) == ["a"]
    await run_query(Provider.objects.all().delete)
    assert not await run_query(catalogues.keep, stale, ["b"])


# --- What goes wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", ["openai_compatible", "anthropic", "gemini"])
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"not json"),
        (200, b"[" * 100_000),
        (200, []),
        (200, None),
        (200, {"data": None, "models": None}),
        (200, {"data": {"id": "x"}, "models": {"name": "x"}}),
        (200, {"data": ["x"], "models": ["x"]}),
        (200, b'{"data": [], "models": [], "x": "' + b"x" * 5_000_000 + b'"}'),
        (301, LISTED),
        (401, LISTED),
        (404, LISTED),
        (500, LISTED),
    ],
    ids=lambda value: str(value)[:24],
)
async def test_whatever_else_it_answers_what_was_known_stays(upstream, queue, status, body, adapter):
    provider = await run_query(lambda: make(upstream.url, catalogue=["old"], adapter=adapter))
    asked_to_publish(queue)
    upstream.answers(body, status=status)
    await fetch()
    assert (await listed(provider), provider.catalogue_at) == (["old"], None)
    assert asked_to_publish(queue) == 0


async def test_half_a_list_is_none(upstream):
    upstream.pages = {"/v1/models?limit=1000": ids("a", has_more=True, last_id="a")}
    upstream.answers(b"not json")
    provider = await run_query(lambda: make(upstream.url, adapter="anthropic", catalogue=["old"]))
    await fetch()
    assert len(upstream.asked) == 2
    assert await listed(provider) == ["old"]


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The providers that a warning names; it names nothing else of them."""
    assert not any(secret in caplog.text for secret in ("sk-ours", "127.0.0.1", "http"))
    return sorted(record.msg["provider"] for record in caplog.records if record.levelname == "WARNING")  # type: ignore[index]


async def test_one_that_cannot_be_asked_keeps_no_other_from_being_asked(upstream, settings, caplog):
    await run_query(make, upstream.url, "locked")
    settings.TOLLGATE_SECRETS_KEYS = [Fernet.generate_key().decode()]
    await run_query(make, "http://127.0.0.1:1", "away")
    await run_query(lambda: make(upstream.url, "unknown", adapter="of-tomorrow"))
    provider = await run_query(make, upstream.url, "zealous")
    await fetch()
    assert await listed(provider) == ["ada", "gpt-5"]
    assert warned(caplog) == ["away", "locked", "unknown"]


async def test_nobody_waits_for_one_that_is_silent(upstream):
    async with serving(Upstream(LISTED)) as silent:
        silent.is_silent = True
        await run_query(make, silent.url, "mute")
        await run_query(make, upstream.url, "zealous")
        questions, _ = await run_query(catalogues.prepare)
        async with asyncio.timeout(6):
            answers = await catalogues.ask(questions, patience=1.5)
    assert [(question.provider.slug, names) for question, names in answers.given] == [("zealous", ["ada", "gpt-5"])]
    assert [question.provider.slug for question in answers.failed] == ["mute"]


# --- The command ---------------------------------------------------------------------------------------------


async def test_the_command_says_what_came_of_it(upstream, curious):
    def run() -> tuple[str, str]:
        out, err = StringIO(), StringIO()
        call_command("fetch_catalogues", stdout=out, stderr=err)
        return out.getvalue(), err.getvalue()

    await run_query(make, upstream.url)
    await run_query(make, "http://127.0.0.1:1", "away")
    assert await run_query(run) == (
        "Changed: vllm. As before: none.\n",
        "Not to be had: away; what was known stays.\n",
    )
    assert (await run_query(run))[0] == "Changed: none. As before: vllm.\n"
    await run_query(curious.delete)
    said, _ = await run_query(run)
    assert said == "Nobody was asked: no tenant may use models without a route (unmapped_models).\n"
