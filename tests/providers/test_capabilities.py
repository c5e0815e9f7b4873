"""Upstreams are asked what their models can do; what they say is kept, and published when it is new."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis
from cryptography.fernet import Fernet
from django.conf import settings as django_settings
from django.utils import timezone

from gateway_site.infra.threads import run_query
from providers import capabilities
from providers.models import Deployment, Provider
from providers.profiles import profile_of
from providers.simulator import Simulator
from providers.tasks import fetch_capabilities
from routing.compiler import compile_snapshot
from routing.models import ConfigRevision
from routing.tasks import publish_changes
from tests.providers.upstream import Upstream, serving

pytestmark = pytest.mark.django_db(transaction=True)

SONNET = {
    "type": "model",
    "id": "claude-sonnet-5",
    "max_tokens": 64_000,
    "capabilities": {"image_input": {"supported": False}, "thinking": {"types": {"adaptive": {"supported": True}}}},
}


@pytest.fixture
def queue(stores: tuple[str, str]) -> Iterator[redis.Redis]:
    """The workers' queue, emptied."""
    with redis.Redis.from_url(stores[1]) as client:
        client.flushall()
        yield client


def asked_to_publish(queue: redis.Redis) -> int:
    """How often; the queue is empty afterwards."""
    length = queue.llen(django_settings.CELERY_TASK_DEFAULT_QUEUE)
    queue.flushall()
    return int(length)  # type: ignore[arg-type]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serving(Upstream(SONNET)) as upstream:
        yield upstream


def make(url: str, slug: str = "sonnet", *, provider: dict[str, Any] | None = None, **fields: Any) -> Deployment:
    given = {"slug": f"{slug}-provider", "adapter": "anthropic", "base_url": url, "allow_private_address": True}
    owner = Provider(**given | (provider or {}))
    owner.set_credential("sk-ours")
    owner.save()
    return Deployment.objects.create(**{"slug": slug, "provider": owner, "model": "claude-sonnet-5", **fields})


async def fetch() -> None:
    await run_query(fetch_capabilities)


async def reread(deployment: Deployment) -> Deployment:
    await run_query(deployment.refresh_from_db)
    return deployment


# --- What is asked -------------------------------------------------------------------------------------------


async def test_the_simulator_says_what_its_model_can_do(queue):
    async with Simulator(port=0, key="sk-ours") as simulator:
        openai_too = {"adapter": "openai_compatible", "dialects": ["openai_chat", "anthropic_messages"]}
        deployment = await run_query(make, f"{simulator.url}/v1", provider=openai_too, model="sim-steady")
        await fetch()
    told = (await reread(deployment)).told_capabilities
    assert (told["id"], told["max_tokens"]) == ("sim-steady", 64_000)
    assert profile_of("sim-steady", told).max_output_tokens == 64_000


async def test_it_asks_as_the_provider_is_asked_for_everything_else(upstream, queue):
    own = {"headers": {"X-Team": "ml", "Anthropic-Version": "2099-01-01"}}
    await run_query(make, upstream.url, provider=own, model="vendor/claude sonnet")
    await fetch()
    [(line, headers)] = upstream.asked
    assert line == "GET /v1/models/vendor%2Fclaude%20sonnet HTTP/1.1"
    assert headers["x-api-key"] == "sk-ours"
    assert headers["x-team"] == "ml"
    assert headers["anthropic-version"] == "2099-01-01"


async def test_two_deployments_of_one_model_are_one_question(upstream, queue):
    first = await run_query(make, upstream.url)
    second = await run_query(
        lambda: Deployment.objects.create(slug="twin", provider=first.provider, model="claude-sonnet-5")
    )
    await fetch()
    assert len(upstream.asked) == 1
    assert (await reread(first)).told_capabilities == (await reread(second)).told_capabilities == SONNET


@pytest.mark.parametrize(
    "changes",
    [
        {"is_enabled": False},
        {"kind": "embedding"},
        {"provider": {"is_enabled": False}},
        {"provider": {"adapter": "openai_compatible", "dialects": ["openai_chat"]}},
        {"provider": {"dialects": ["openai_chat", "anthropic_messages"]}, "dialect": "openai_chat"},
    ],
    ids=str,
)
async def test_nobody_is_asked_about_what_is_off_or_speaks_another_dialect(upstream, queue, changes):
    await run_query(lambda: make(upstream.url, **changes))
    await fetch()
    assert upstream.asked == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1"])
async def test_a_private_address_is_asked_only_where_that_is_allowed(upstream, queue, host):
    """Written as such, under a local name, and under a name that does not look private and leads there."""
    url = upstream.url.replace("127.0.0.1", host)
    deployment = await run_query(lambda: make(url, provider={"allow_private_address": False}))
    await fetch()
    assert upstream.asked == []
    await run_query(lambda: Provider.objects.update(allow_private_address=True))
    await fetch()
    assert (await reread(deployment)).told_capabilities == SONNET


async def test_a_redirect_is_not_followed(upstream, queue):
    upstream.answers(SONNET, status=302)
    await run_query(make, upstream.url)
    await fetch()
    assert len(upstream.asked) == 1


# --- What is kept --------------------------------------------------------------------------------------------


async def test_what_is_new_is_published_and_what_is_known_is_not(upstream, queue):
    deployment = await run_query(make, upstream.url)
    await run_query(publish_changes)
    queue.flushall()
    await fetch()
    assert asked_to_publish(queue) == 1
    await run_query(publish_changes)
    newest = await run_query(ConfigRevision.objects.first)
    assert newest.number == 2
    assert newest.diff == [
        "~ deployment sonnet: upstream tells takes_images True → False, "
        'thinking ["adaptive", "disabled"] → ["adaptive"], max_output_tokens none → 64000'
    ]
    snapshot = await run_query(compile_snapshot)
    assert profile_of("claude-sonnet-5", snapshot.deployments[0].capabilities).takes_images is False

    asked_at = (await reread(deployment)).capabilities_at
    await fetch()
    assert asked_to_publish(queue) == 0
    await run_query(publish_changes)
    assert await run_query(ConfigRevision.objects.count) == 2
    assert (await reread(deployment)).capabilities_at > asked_at

    upstream.answers(SONNET | {"max_tokens": 128_000})
    await fetch()
    assert asked_to_publish(queue) == 1


async def test_what_was_said_of_another_model_does_not_count(upstream, queue):
    deployment = await run_query(make, upstream.url)
    await fetch()
    deployment = await reread(deployment)
    deployment.model = "claude-opus-4-8"
    await run_query(lambda: deployment.save(update_fields=["model"]))
    assert (await reread(deployment)).told_capabilities == {}
    assert (await run_query(compile_snapshot)).deployments[0].capabilities == {}
    await fetch()
    assert (await reread(deployment)).told_capabilities == SONNET


async def test_what_an_operator_changes_meanwhile_is_not_undone(upstream, queue):
    deployment = await run_query(make, upstream.url)
    stale = await run_query(lambda: Deployment.objects.get(pk=deployment.pk))
    await run_query(lambda: Deployment.objects.update(is_enabled=False, region="eu"))
    assert await run_query(capabilities._keep, stale, "claude-sonnet-5", SONNET)
    assert ((await reread(deployment)).is_enabled, deployment.region) == (False, "eu")
    assert not await run_query(capabilities._keep, stale, "claude-of-yesterday", SONNET)
    await run_query(Deployment.objects.all().delete)
    assert not await run_query(capabilities._keep, stale, "claude-sonnet-5", SONNET)


# --- What goes wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"not json"),
        (200, b"["),
        (200, b"[" * 100_000),
        (200, b'{"capabilities": "\\ud800"}'),
        (200, b'{"capabilities": "\\u0000"}'),
        (200, b'{"capabilities": "' + b"x" * 300_000 + b'"}'),
        (200, b'{"capabilities": 1e999}'),
        (200, []),
        (200, None),
        (200, {"object": "model", "id": "claude-sonnet-5"}),
        (204, b""),
        (301, SONNET),
        (401, SONNET),
        (404, SONNET),
        (429, SONNET),
        (500, SONNET),
    ],
    ids=lambda value: str(value)[:24],
)
async def test_whatever_else_it_answers_what_was_known_stays(upstream, queue, status, body):
    deployment = await run_query(make, upstream.url, capabilities=SONNET, capabilities_of="claude-sonnet-5")
    asked_to_publish(queue)
    upstream.answers(body, status=status)
    await fetch()
    assert (await reread(deployment)).told_capabilities == SONNET
    assert deployment.capabilities_at is None
    assert asked_to_publish(queue) == 0


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The deployments that a warning names; it names nothing else of them."""
    assert not any(secret in caplog.text for secret in ("sk-ours", "127.0.0.1", "http"))
    return sorted(record.msg["deployment"] for record in caplog.records if record.levelname == "WARNING")  # type: ignore[index]


async def test_an_upstream_that_is_away_or_silent_keeps_no_other_from_being_asked(upstream, queue, caplog):
    async with serving(Upstream(SONNET)) as silent:
        silent.is_silent = True
        await run_query(make, "http://127.0.0.1:1", "away")
        mute = await run_query(make, silent.url, "mute", model="a")
        await run_query(lambda: Deployment.objects.create(slug="mute-too", provider=mute.provider, model="b"))
        last = await run_query(make, upstream.url, "zealous")
        questions = await run_query(lambda: list(capabilities.questions()))
        async with asyncio.timeout(6):
            [(question, answer)] = await capabilities._ask_all(questions, patience=1.5)
    assert (question.deployments, answer) == ((last,), SONNET)
    assert len(silent.asked) == 1  # nobody waits for it twice
    assert warned(caplog) == ["away", "mute"]


async def test_a_credential_that_no_key_opens_keeps_no_other_from_being_asked(upstream, queue, settings, caplog):
    await run_query(make, upstream.url, "locked")
    settings.TOLLGATE_SECRETS_KEYS = [Fernet.generate_key().decode()]
    deployment = await run_query(make, upstream.url, "open")
    await fetch()
    assert (await reread(deployment)).told_capabilities == SONNET
    assert warned(caplog) == ["locked"]


async def test_a_model_that_was_never_described_is_described_by_its_name(queue):
    deployment = await run_query(make, "http://127.0.0.1:1")
    await fetch()
    assert (await reread(deployment)).told_capabilities == {}
    assert deployment.capabilities_at is None
    await run_query(lambda: Deployment.objects.update(capabilities_at=timezone.now(), capabilities=None))
    assert (await reread(deployment)).told_capabilities == {}
