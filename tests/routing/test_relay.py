"""Streams whose readers stop, whose clients leave, and whose usage nobody can take down."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway_site.infra.valkey import HotValkey
from gateway_site.serving import departure
from providers.dialects.openai_chat.wire import CHAT
from tenants.limits.admission import Admission
from tenants.limits.spool import Spool
from tests.gateway_site.infra.own_valkey import OwnValkey, eventually
from tests.routing.planes import ASKED, Client, FakeUpstream, Plane, chunk, handle, in_line, stream, whole

STREAMED = {**ASKED, "stream": True, "stream_options": {"include_usage": True}}
NARROW = {"limits": {"max_concurrency": 1}}
SOON = 0.05  # seconds


def words(number: int, *, pause: float = 0.01) -> list[Any]:
    return [piece for _ in range(number) for piece in (pause, chunk("word "))]


@pytest.fixture
def make_plane(make_route) -> Callable[..., Plane]:
    return partial(in_line, make_route, provider=NARROW)


@pytest.fixture
def _watched_early(monkeypatch) -> None:
    """Whether a client has left is noticed at once."""
    monkeypatch.setattr(departure, "WATCH_AFTER_SECONDS", 0.005)


def is_free(plane: Plane) -> bool:
    """Whether nothing is held at the deployment and its provider."""
    return (plane.active, plane.gate("a").in_use) == (0, 0)


# --- Readers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("takes", [0, 1, 3])
async def test_a_client_that_stops_reading_is_given_up_when_the_requests_time_is_over(make_plane, takes: int):
    upstream = stream(*words(100))
    plane = make_plane({"a": [upstream]}, total_timeout=1.0)
    client = Client(STREAMED, takes=takes)
    async with asyncio.timeout(5):
        await handle(plane, client)
    assert len(client.messages) == takes
    assert is_free(plane)
    assert upstream.finished == [False]
    assert (plane.record.outcome, plane.health("a").failures) == ("client_gone", 0)


async def test_a_client_that_takes_its_time_is_no_stall_of_the_upstream(make_plane):
    class Slow(Client):
        async def send(self, message: dict[str, Any]) -> None:
            await asyncio.sleep(0.03)
            await super().send(message)

    plane = make_plane({"a": [stream(chunk("word "))]}, between_tokens_timeout=0.02)
    client = Slow(STREAMED)
    await handle(plane, client)
    assert client.body.endswith(b"data: [DONE]\n\n")
    assert (plane.record.outcome, plane.record.output_tokens, is_free(plane)) == ("served", 3, True)


# --- Clients that leave --------------------------------------------------------------------------------------


async def leave_early(plane: Plane, body: dict[str, Any]) -> None:
    """Go away while the upstream works on the answer."""
    client = Client(body)
    serving = asyncio.create_task(handle(plane, client))
    await eventually(lambda: plane.active)
    client.leave()
    async with asyncio.timeout(5):
        await serving


@pytest.mark.usefixtures("_watched_early")
async def test_a_client_that_leaves_is_charged_what_it_got(make_plane):
    upstream = stream(*words(10), 60.0)
    plane = make_plane({"a": [upstream]})
    await leave_early(plane, STREAMED)
    assert (upstream.finished, is_free(plane)) == ([False], True)
    assert (plane.record.outcome, plane.record.output_tokens > 0) == ("client_gone", True)


@pytest.mark.usefixtures("_watched_early")
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
async def test_where_the_route_drains_the_upstreams_own_usage_is_known_in_the_end(make_plane, is_stream: bool):
    upstream = stream(SOON) if is_stream else whole("openai_chat")
    upstream.pieces.insert(0, 0.6)
    plane = make_plane({"a": [upstream]}, on_disconnect="drain")
    await leave_early(plane, STREAMED if is_stream else ASKED)
    record = plane.record
    assert (record.outcome, record.input_tokens, record.output_tokens) == ("client_gone", 7, 3)
    assert is_free(plane)


@pytest.mark.usefixtures("_watched_early")
async def test_what_is_drained_for_too_long_is_let_go(make_plane, monkeypatch):
    monkeypatch.setattr(departure, "DRAIN_SECONDS", SOON)
    upstream = stream(*words(10), 60.0)
    plane = make_plane({"a": [upstream]}, on_disconnect="drain")
    await leave_early(plane, STREAMED)
    assert (upstream.finished, plane.record.outcome, is_free(plane)) == ([False], "client_gone", True)


# --- Usage that nobody can take down -------------------------------------------------------------------------


@pytest.fixture
async def nowhere(tmp_path: Path) -> AsyncIterator[Admission]:
    """An admission whose Valkey is away and whose disk is full."""
    folder = tmp_path / "spool"
    folder.mkdir()
    (folder / "w.jsonl").symlink_to("/dev/full")
    valkey = HotValkey(OwnValkey(tmp_path / "nowhere").url, scripts=())
    await valkey.open()
    yield Admission(valkey, Spool(folder, "w"))
    await valkey.aclose()


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
async def test_an_answer_arrives_though_the_disk_is_full_and_its_record_is_in_the_log(
    make_plane, nowhere: Admission, caplog, is_stream: bool
):
    answer: FakeUpstream = stream() if is_stream else whole("openai_chat")
    plane = make_plane({"a": [answer]})
    plane.runtime.admission = nowhere
    if is_stream:
        assert (await plane.read(CHAT, STREAMED)).endswith(b"data: [DONE]\n\n")
    else:
        assert (await plane.ask(CHAT, ASKED)).status_code == 200
    [line] = [record.msg for record in caplog.records if "usage_not_kept" in str(record.msg)]
    assert isinstance(line, dict)
    assert (line["request_id"], "No space left" in line["reason"]) == (plane.exchange.request_id, True)
    assert '"output_tokens":3' in line["usage"]
    assert (is_free(plane), nowhere.active) == (True, {})
