"""Probes ask each deployment as its kind wants to be asked, and tell who answers, who refuses, and who cannot be asked."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from time import perf_counter
from typing import Any

import pytest
import redis
from cryptography.fernet import Fernet
from django.db import connection
from django.utils import timezone

from gateway_site.infra.threads import run_query
from providers import probes
from providers.dialects.base import Destination
from providers.health_feed import CHANNEL, EVENTS_STREAM, PROBES_KEY, decode_note
from providers.models import Deployment, Provider
from providers.probe_requests import CannotProbe, probe_request
from providers.registry import ADAPTERS
from providers.simulator import Simulator
from providers.tasks import probe_deployments
from providers.transport import Transport

KEY = "sk-ours-and-nobody-elses"
OPENAI_DIALECTS = ["openai_chat", "openai_responses", "anthropic_messages"]


@pytest.fixture
def client(stores: tuple[str, str]) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(stores[1]) as client:
        client.flushall()
        yield client


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(port=0, key=KEY) as simulator:
        yield simulator


def make(url: str, slug: str = "d", *, provider: dict[str, Any] | None = None, **fields: Any) -> Deployment:
    given = {
        "slug": f"{slug}-provider",
        "adapter": "openai_compatible",
        "dialects": OPENAI_DIALECTS,
        "base_url": url,
        "allow_private_address": True,
    }
    owner = Provider(**given | (provider or {}))
    owner.set_credential(KEY)
    owner.save()
    return Deployment.objects.create(
        **{"slug": slug, "provider": owner, "model": "sim-fast", "probe_every": 10, **fields}
    )


def events(client: redis.Redis) -> list[Any]:
    return [decode_note(fields[b"event"]) for _, fields in client.xrange(EVENTS_STREAM)]  # type: ignore[union-attr]


async def probe(deployment: Deployment | None = None) -> Deployment | None:
    """Let the task run, as if the last one was long ago; returns the deployment as it is then."""
    await run_query(lambda: Deployment.objects.update(probed_at=None))
    await run_query(probe_deployments)
    if deployment is not None:
        await run_query(deployment.refresh_from_db)
    return deployment


# --- The request ---------------------------------------------------------------------------------------------


def request_for(kind: str, *dialects: str, model: str = "some-model", adapter: str = "openai_compatible") -> Any:
    destination = Destination(model=model, origin="p/m", quirks=ADAPTERS[adapter].quirks)
    return probe_request(kind, dialects or ("openai_chat",), destination)


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("openai_chat", {"model": "m", "messages": [{"role": "user", "content": "ping"}], "max_completion_tokens": 16}),
        ("anthropic_messages", {"model": "m", "max_tokens": 16, "messages": [{"role": "user", "content": "ping"}]}),
        (
            "gemini",
            {"contents": [{"role": "user", "parts": [{"text": "ping"}]}], "generationConfig": {"maxOutputTokens": 16}},
        ),
    ],
)
def test_chat_is_asked_in_its_own_words_for_as_little_as_can_be(dialect, body):
    assert json.loads(request_for("chat", dialect, model="m", adapter="openai").body) == body


def test_responses_are_not_stored_and_get_the_least_that_is_taken():
    body = json.loads(request_for("chat", "openai_responses").body)
    assert (body["max_output_tokens"], body["store"]) == (16, False)
    assert "stream" not in body


def test_chat_is_asked_as_its_vendor_spells_it():
    assert "max_tokens" in json.loads(request_for("chat", adapter="deepseek").body)


@pytest.mark.parametrize(
    ("kind", "path", "fields"),
    [
        ("embedding", "/embeddings", {"input": "ping"}),
        ("moderation", "/moderations", {"input": "ping"}),
        ("rerank", "/rerank", {"query": "ping", "documents": ["ping"], "top_n": 1}),
        ("image", "/images/generations", {"prompt": "a dot", "n": 1}),
        ("speech", "/audio/speech", {"input": "One.", "voice": "alloy"}),
    ],
)
def test_every_other_kind_has_a_request_of_its_own(kind, path, fields):
    request = request_for(kind)
    assert request.operation.path == path
    assert json.loads(request.body) == {"model": "some-model", **fields}


@pytest.mark.parametrize(
    ("model", "size"), [("dall-e-2", "256x256"), ("openai/gpt-image-1", "1024x1024"), ("flux", None)]
)
def test_a_picture_is_as_small_as_the_model_is_known_to_draw(model, size):
    assert json.loads(request_for("image", model=model).body).get("size") == size


@pytest.mark.parametrize(
    ("kind", "dialect", "words"),
    [
        ("transcription", "openai_chat", "needs a recording"),
        ("embedding", "gemini", "no probe for the kind 'embedding' in the format gemini"),
        ("chat", "telepathy", "no probe in the format telepathy"),
        ("telepathy", "openai_chat", "no probe for the kind 'telepathy'"),
    ],
)
def test_what_cannot_be_asked_says_why(kind, dialect, words):
    with pytest.raises(CannotProbe, match=words):
        request_for(kind, dialect)


# --- What comes of it ----------------------------------------------------------------------------------------

KINDS = [
    {"dialect": "openai_chat"},
    {"dialect": "openai_responses"},
    {"dialect": "anthropic_messages"},
    {"dialect": "gemini", "provider": {"dialects": ["gemini"], "adapter": "gemini"}},
    {"kind": "embedding", "model": "sim-embedding"},
    {"kind": "image", "model": "sim-image"},
    {"kind": "speech", "model": "sim-speech"},
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("fields", KINDS, ids=lambda fields: fields.get("kind") or fields["dialect"])
async def test_a_deployment_that_answers_is_ok(client, simulator, fields):
    version = "v1beta" if fields.get("dialect") == "gemini" else "v1"
    deployment = await run_query(lambda: make(f"{simulator.url}/{version}", **fields))
    await probe(deployment)
    assert (deployment.probe_result, deployment.probe_reason) == ("ok", "")
    assert client.hgetall(PROBES_KEY) == {b"d": b"ok"}
    assert events(client) == []  # nothing has changed for the worse or the better
    assert len(simulator.requests) == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("model", "result", "words"),
    [
        ("sim-unauthorized", "rejected", "refuses our credential (401)"),
        ("sim-out-of-credit", "rejected", "account there is used up (429)"),
        ("sim-rate-limited", "rejected", "rate limit (429)"),
        ("sim-nowhere", "rejected", "does not know the model or the path (404)"),
        ("sim-too-long", "rejected", "refuses (400)"),
        ("sim-down", "unreachable", "failed with status 500"),
        ("sim-overloaded", "unreachable", "failed with status 529"),
        ("sim-cut", "unreachable", "broke off"),
    ],
)
async def test_refusals_and_failures_are_told_apart(client, simulator, caplog, model, result, words):
    deployment = await run_query(lambda: make(f"{simulator.url}/v1", model=model))
    await probe(deployment)
    assert deployment.probe_result == result
    assert words in deployment.probe_reason
    [event] = events(client)
    assert (event.deployment, event.provider, event.kind) == ("d", "d-provider", "probe_failed")
    assert (event.old, event.new, event.reason) == ("", result, deployment.probe_reason)
    assert "probe_failed" in caplog.text


@pytest.mark.django_db(transaction=True)
async def test_nobody_there_is_unreachable_and_no_address_is_named(client, caplog):
    deployment = await run_query(make, "http://127.0.0.1:1/v1")
    await probe(deployment)
    assert (deployment.probe_result, deployment.probe_reason) == ("unreachable", "No connection could be made.")
    assert "127.0.0.1" not in caplog.text


@pytest.mark.django_db(transaction=True)
async def test_one_that_stays_silent_is_unreachable_and_the_others_are_asked(client, simulator):
    await run_query(lambda: make(f"{simulator.url}/v1", "hangs", model="sim-hang"))
    await run_query(lambda: make(f"{simulator.url}/v1", "answers"))
    asked = await run_query(lambda: [probes.prepare(row) for row in probes.due(timezone.now())])
    findings = await probes.ask_all(asked, seconds=3)
    assert [(row.slug, found.result) for row, found in findings] == [("answers", "ok")]  # the other one waits


@pytest.mark.django_db(transaction=True)
async def test_what_cannot_be_probed_is_not_asked_and_is_no_alarm(client, simulator):
    deployment = await run_query(lambda: make(f"{simulator.url}/v1", kind="transcription"))
    await probe(deployment)
    assert deployment.probe_result == "cannot_probe"
    assert "needs a recording" in deployment.probe_reason
    assert events(client) == []
    assert len(simulator.requests) == 0


@pytest.mark.django_db(transaction=True)
async def test_a_credential_that_no_key_opens_cannot_be_probed(client, simulator, settings):
    deployment = await run_query(make, f"{simulator.url}/v1")
    settings.TOLLGATE_SECRETS_KEYS = [Fernet.generate_key().decode()]
    await probe(deployment)
    assert deployment.probe_result == "cannot_probe"
    assert "TOLLGATE_SECRETS_KEY" in deployment.probe_reason


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_private_address_is_asked_only_where_that_is_allowed(client, simulator, host):
    url = f"{simulator.url}/v1".replace("127.0.0.1", host)
    deployment = await run_query(lambda: make(url, provider={"allow_private_address": False}))
    await probe(deployment)
    assert deployment.probe_result in {"cannot_probe", "unreachable"}
    assert host not in deployment.probe_reason
    assert len(simulator.requests) == 0


@pytest.mark.django_db(transaction=True)
async def test_it_tells_of_changes_once_and_switches_nothing(client, simulator):
    deployment = await run_query(lambda: make(f"{simulator.url}/v1", model="sim-down"))
    await probe(deployment)
    await probe(deployment)
    await run_query(lambda: Deployment.objects.update(model="sim-unauthorized"))
    await probe(deployment)
    await run_query(lambda: Deployment.objects.update(model="sim-fast"))
    await probe(deployment)
    told = [(event.kind, event.old, event.new) for event in events(client)]
    assert told == [
        ("probe_failed", "", "unreachable"),
        ("probe_failed", "unreachable", "rejected"),
        ("probe_recovered", "rejected", "ok"),
    ]
    assert deployment.is_enabled


@pytest.mark.django_db(transaction=True)
async def test_workers_are_told_what_was_found(client, simulator):
    await run_query(lambda: make(f"{simulator.url}/v1", model="sim-down"))
    listener = client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe(CHANNEL)
    listener.get_message(timeout=1)
    await probe()
    message = await asyncio.to_thread(lambda: listener.get_message(timeout=2))
    listener.close()
    assert json.loads(message["data"]) == {"probes": {"d": "unreachable"}, "worker": "probes"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "changes", [{"is_enabled": False}, {"probe_every": None}, {"provider": {"is_enabled": False}}], ids=str
)
async def test_nobody_is_asked_who_is_off_or_has_no_probes(client, simulator, changes):
    await run_query(lambda: make(f"{simulator.url}/v1", **changes))
    await probe()
    assert len(simulator.requests) == 0


@pytest.mark.django_db(transaction=True)
async def test_a_probe_comes_when_its_time_has_come(client, simulator):
    await run_query(lambda: make(f"{simulator.url}/v1", probe_every=60))
    for seconds, count in ((None, 1), (30, 1), (60, 2)):
        if seconds is not None:
            before = timezone.now() - timedelta(seconds=seconds)
            await run_query(lambda before=before: Deployment.objects.update(probed_at=before))
        await run_query(probe_deployments)
        assert len(simulator.requests) == count


@pytest.mark.django_db(transaction=True)
async def test_one_run_at_a_time(client, simulator):
    await run_query(make, f"{simulator.url}/v1")
    client.set(probes.LOCK_KEY, "another", ex=60)
    await run_query(probe_deployments)
    assert len(simulator.requests) == 0
    client.delete(probes.LOCK_KEY)
    await run_query(probe_deployments)
    assert len(simulator.requests) == 1
    assert not client.exists(probes.LOCK_KEY)


@pytest.mark.django_db(transaction=True)
async def test_what_an_operator_changes_meanwhile_is_not_judged_by_the_old_answer(client, simulator):
    deployment = await run_query(lambda: make(f"{simulator.url}/v1", model="sim-down"))
    stale = await run_query(lambda: Deployment.objects.select_related("provider").get())
    await run_query(lambda: Deployment.objects.update(model="sim-fast", region="eu"))
    assert await run_query(probes.keep, stale, probes.Finding(result="unreachable", reason="x")) is None
    await run_query(deployment.refresh_from_db)
    assert (deployment.probe_result, deployment.region) == ("", "eu")


@pytest.mark.django_db(transaction=True)
async def test_a_run_that_took_too_long_leaves_the_next_ones_lock_alone(client, simulator):
    deployment = await run_query(lambda: make(f"{simulator.url}/v1", model="sim-hang"))
    asking = asyncio.create_task(run_query(probe_deployments))
    while not simulator.requests:
        await asyncio.sleep(0.01)
    client.set(probes.LOCK_KEY, "another", ex=60)
    await simulator.stop()
    await asking
    await run_query(deployment.refresh_from_db)
    assert deployment.probe_result == "unreachable"
    assert client.get(probes.LOCK_KEY) == b"another"


# --- Defects, ours and theirs --------------------------------------------------------------------------------


@pytest.fixture
async def refusing() -> AsyncIterator[Callable[[str], Awaitable[str]]]:
    """Start servers that answer 400 with a message; returns the address of each."""
    servers: list[asyncio.Server] = []

    async def start(message: str) -> str:
        body = json.dumps({"error": {"message": message}}).encode()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            head = f"HTTP/1.1 400 X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
            writer.close()

        servers.append(await asyncio.start_server(serve, "127.0.0.1", 0))
        return f"http://127.0.0.1:{servers[-1].sockets[0].getsockname()[1]}/v1"

    yield start
    for server in servers:
        server.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("message", ["bad\x00 thing", "bad\ud800 thing", "b\x1b[2Jad thing\u202e"], ids=ascii)
async def test_what_cannot_be_stored_or_printed_is_left_out_of_a_reason(client, refusing, message):
    url = await refusing(message)
    deployment = await run_query(make, url)
    await run_query(make, "http://127.0.0.1:1/v1", "other")
    await probe(deployment)
    assert deployment.probe_reason.removeprefix("It refuses (400): ").replace("[2J", "") == "bad thing"
    assert client.hgetall(PROBES_KEY) == {b"d": b"rejected", b"other": b"unreachable"}


@pytest.mark.parametrize("told", ["sk-ou\x00rs is bad", "sk-ou\u200brs is bad", "sk-ours is bad"], ids=ascii)
def test_a_secret_does_not_hide_behind_what_is_left_out(told):
    assert probes.clean(told, ("sk-ours",)) == "… is bad"


def test_a_long_word_is_not_searched_for_minutes():
    began = perf_counter()
    assert len(probes.clean("a." * 20_000)) <= probes.REASON_CHARACTERS
    assert perf_counter() - began < 5  # it would take half a minute


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "broken", [{"headers": ["x-team"]}, {"base_url": "http://[::1/v1"}], ids=["preparing", "asking"]
)
async def test_what_breaks_one_probe_keeps_no_other_from_being_asked_and_told(client, simulator, caplog, broken):
    url = f"{simulator.url}/v1"
    ours = await run_query(lambda: make(url, "broken", provider=broken))
    await run_query(lambda: make(url, "down", model="sim-down"))
    await probe(ours)
    assert (ours.probe_result, ours.probe_reason) == ("cannot_probe", probes.OUR_FAULT.reason)
    assert client.hgetall(PROBES_KEY) == {b"broken": b"cannot_probe", b"down": b"unreachable"}
    assert [event.deployment for event in events(client)] == ["down"]
    assert "probe_broken" in caplog.text


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("lasts", [1, 2], ids=["the reason", "the row"])
async def test_a_finding_that_cannot_be_stored_keeps_no_other_from_being_told(client, simulator, caplog, lasts):
    failing = await run_query(lambda: make(f"{simulator.url}/v1"))
    await run_query(make, "http://127.0.0.1:1/v1", "other")
    condition = "NEW.slug = 'd'" + (" AND NEW.probe_result = 'ok'" if lasts == 1 else "")
    await run_query(refuse_updates, condition)
    try:
        await probe_again(failing)
    finally:
        await run_query(refuse_updates, None)
    assert failing.probe_result == ("cannot_probe" if lasts == 1 else "")
    assert client.hgetall(PROBES_KEY)[b"other"] == b"unreachable"
    assert ("probe_not_kept" in caplog.text) == (lasts == 2)


async def probe_again(deployment: Deployment) -> None:
    await run_query(probe_deployments)
    await run_query(deployment.refresh_from_db)


def refuse_updates(condition: str | None) -> None:
    """Let the database refuse some updates of deployments, or none any more."""
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION IF EXISTS refuse CASCADE")
        if condition is None:
            return
        cursor.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE data_exception; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER refused BEFORE UPDATE ON providers_deployment"
            f" FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION refuse()"
        )


def test_a_probe_does_not_show_its_secrets():
    owner = Provider(slug="p", adapter="openai", headers={"x-team": "hush"})
    owner.set_credential(KEY)
    shown = repr(probes.prepare(Deployment(slug="d", provider=owner, model="m")))
    assert KEY not in shown
    assert "hush" not in shown


# --- Odd upstreams -------------------------------------------------------------------------------------------


@pytest.fixture
async def answering() -> AsyncIterator[Callable[..., Any]]:
    """Probe a server that answers like this; returns what is found."""
    servers: list[asyncio.Server] = []

    async def probe_it(
        status: int, body: bytes, content_type: str = "application/json", **fields: Any
    ) -> probes.Finding:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nConnection: close\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        servers.append(server)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        owner = Provider(
            slug="p", adapter="openai_compatible", base_url=url, allow_private_address=True, headers={"x-team": "hush"}
        )
        owner.set_credential(KEY)
        asked = probes.prepare(Deployment(**{"slug": "d", "provider": owner, "model": "m", **fields}))
        transport = Transport()
        try:
            return await probes.ask(transport, asked)
        finally:
            await transport.aclose()

    yield probe_it
    for server in servers:
        server.close()


@pytest.mark.parametrize(
    ("status", "body", "result"),
    [
        (200, b"<html>welcome</html>", "unreachable"),
        (200, b"", "unreachable"),
        (200, b"{}", "unreachable"),
        (200, b'{"error": {"message": "broken"}}', "unreachable"),
        (204, b"", "unreachable"),
        (302, b"", "unreachable"),
        (408, b"", "unreachable"),
        (402, b"{}", "rejected"),
        (403, b"{}", "rejected"),
        (404, b"<html>", "rejected"),
        (422, b'{"detail": [{"loc": ["body"], "msg": "no"}]}', "rejected"),
        (200, b'{"choices": [{"message": {"role": "assistant", "content": ""}, "finish_reason": "length"}]}', "ok"),
        (400, b'{"error": {"message": "Could not finish: max_tokens or model output limit was reached."}}', "ok"),
    ],
    ids=str,
)
async def test_whatever_it_answers_is_one_of_the_answers(answering, status, body, result):
    assert (await answering(status, body)).result == result


async def test_a_guess_that_is_wrong_is_no_rejection(answering):
    body = json.dumps({"error": {"message": "Voice 'alloy' is not known.", "param": "voice"}}).encode()
    found = await answering(400, body, kind="speech")
    assert (found.result, found.reason) == (
        "cannot_probe",
        "It does not take what a probe has to guess: Voice 'alloy' is not known.",
    )


async def test_sound_is_an_answer_and_json_is_none(answering):
    assert (await answering(200, b"RIFF", "audio/wav", kind="speech")).result == "ok"
    assert (await answering(200, b'{"ok": true}', kind="speech")).result == "unreachable"


async def test_reasons_carry_no_credential_and_no_address(answering):
    told = (
        f"Key {KEY} of hush is bad, so is sk-an********here and AbCdEfGhIjKlMnOpQrStUvWxYz123456; see "
        "http://10.0.0.7:8000/v1?x=1, 10.0.0.7:8000, gpu-7.cluster.local, gpu-7:8000, [fe80::1]:80 and ops@example.com.\n"
        "The model is gone."
    )
    found = await answering(404, json.dumps({"error": {"message": told}}).encode())
    assert found.result == "rejected"
    for secret in (KEY, "hush", "sk-", "AbCd", "10.0", "8000", "gpu-7", "fe80", "ops@", "\n"):
        assert secret not in found.reason
    assert found.reason.endswith("The model is gone.")
    assert len((await answering(404, json.dumps({"error": {"message": "word " * 500}}).encode())).reason) < 500
