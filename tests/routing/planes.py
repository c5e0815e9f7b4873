"""Data planes without handler and stores: upstreams that are functions, and an admission that keeps what it is told."""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from math import inf
from time import time
from types import SimpleNamespace
from typing import Any

from gateway_site.data_plane import DataPlaneHandler, warm_up
from gateway_site.infra.alarms import Alarms
from gateway_site.infra.logging import AccessLog
from providers.canonical.inbound import Operation
from providers.canonical.seals import SealBox
from providers.transport import UpstreamBroken
from routing.counting import count
from routing.exchange import Exchange
from routing.gate import Gate, Gates
from routing.health import DeploymentHealth, HealthBoard
from routing.pipeline import serve
from routing.request import DataPlaneRequest
from routing.snapshot import LiveDeployment, LiveRoute
from tenants.limits.admission import Request, Reservation
from tenants.principal import Principal
from tenants.usage_event import UsageEvent, encode
from tenants.usage_event import decode as read_event

JSON, EVENTS = ((b"content-type", b"application/json"),), ((b"content-type", b"text/event-stream"),)
ASKED: dict[str, Any] = {"model": "alias", "messages": [{"role": "user", "content": "hi"}]}
SAID = "Hello there."
ANSWERS: dict[str, dict[str, Any]] = {
    "openai_chat": {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": SAID}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    },
    "anthropic_messages": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": SAID}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 3},
    },
    "gemini": {
        "candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": SAID}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 3, "totalTokenCount": 10},
        "modelVersion": "m",
        "responseId": "r1",
    },
    "openai_responses": {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "status": "completed",
        "output": [
            {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": SAID, "annotations": []}],
            }
        ],
        "usage": {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10},
    },
}


class FakeUpstream:
    """An upstream's answer in pieces; an exception among them is raised when its turn comes, a float is a silence."""

    def __init__(
        self, status: int, headers: tuple[tuple[bytes, bytes], ...], *pieces: bytes | float | Exception
    ) -> None:
        self.status, self.headers = status, headers
        self.content_type = dict(headers).get(b"content-type", b"").decode()
        self.pieces = list(pieces)
        self.finished: list[bool] = []
        self.head_after: float | None = None  # seconds; None: it is there at once
        self._aborted = asyncio.Event()

    async def read_chunk(self) -> bytes:
        piece = self.pieces.pop(0) if self.pieces else b""
        while isinstance(piece, float):
            await self._pause(piece)
            piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def read(self) -> bytes:
        found = b""
        while piece := await self.read_chunk():
            found += piece
        return found

    def finish(self, *, is_answered: bool) -> None:
        self.finished.append(is_answered)

    def abort(self) -> None:
        self._aborted.set()

    async def _pause(self, seconds: float) -> None:
        """Say nothing, unless somebody breaks the connection meanwhile."""
        if not seconds:
            await asyncio.sleep(0)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._aborted.wait()
            raise UpstreamBroken("aborted")


def whole(dialect: str) -> FakeUpstream:
    return FakeUpstream(200, JSON, json.dumps(ANSWERS[dialect]).encode())


def chunk(text: str = "", *, usage: tuple[int, int] | None = None, finish: str | None = None) -> bytes:
    """A frame of a stream of OpenAI's; its usage is of input and output."""
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    frame = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    if usage is not None:
        counts = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
        frame |= {"choices": [], "usage": counts}
    return b"data: %b\n\n" % json.dumps(frame).encode()


def stream(*between: bytes | float | Exception, before: float = 0.0) -> FakeUpstream:
    """A stream of OpenAI's that says how it goes on and reports 7 and 3 tokens; the first word comes after a while."""
    end = (chunk(finish="stop"), chunk(usage=(7, 3)), b"data: [DONE]\n\n")
    return FakeUpstream(200, EVENTS, before, chunk("Hello"), *between, *end)


def refusal(status: int, message: str = "Not today.") -> FakeUpstream:
    """An error that every dialect can read."""
    return FakeUpstream(status, JSON, json.dumps({"error": {"message": message, "code": "odd"}}).encode())


class FakeTransport:
    """Upstreams by deployment: a list of answers each, given in turn; what was sent is kept."""

    def __init__(self, answers: Mapping[str, list[FakeUpstream | Exception]]) -> None:
        self.answers = {slug: list(found) for slug, found in answers.items()}
        self.sent: list[tuple[str, bytes]] = []

    async def open(self, pool: Any, url: Any, *, headers: Any, body: bytes, method: str = "POST") -> FakeUpstream:
        self.sent.append((pool.provider, body))
        answer = self.answers[pool.provider].pop(0)
        if isinstance(answer, Exception):
            raise answer
        if answer.head_after is not None:
            await asyncio.sleep(answer.head_after)
        return answer

    @property
    def asked(self) -> list[str]:
        """Who was asked, in order."""
        return [slug for slug, _ in self.sent]


class FakeAdmission:
    """Counts what is held, and keeps what is settled."""

    def __init__(self) -> None:
        self.held = 0
        self.requests: list[Request] = []
        self.events: list[UsageEvent] = []
        self.tokens: list[int] = []  # that were settled

    async def reserve(
        self, principal: Principal, request: Request, *, meanwhile: Callable[[], object] | None = None
    ) -> Reservation:
        if meanwhile is not None:
            meanwhile()
        self.held += 1
        self.requests.append(request)
        return Reservation(request_id=request.request_id)

    async def settle_soon(self, reservation: Reservation, event: UsageEvent, *, tokens: int) -> UsageEvent:
        self.held -= 1
        assert isinstance(event.cost, Decimal)
        self.events.append(read_event(encode(event)))  # as the ledger gets it
        self.tokens.append(tokens)
        return event


class Plane:
    """What is left of a data plane without its handler and its stores."""

    def __init__(
        self, route: LiveRoute, answers: Mapping[str, list[FakeUpstream | Exception]], **principal: Any
    ) -> None:
        self.route = route
        self.transport, self.admission = FakeTransport(answers), FakeAdmission()
        snapshot = SimpleNamespace(
            number=1, revision_header=(b"x-tollgate-revision", b"1"), resolve=lambda alias, tenant_id: route
        )
        self.runtime = SimpleNamespace(
            snapshot=snapshot,
            transport=self.transport,
            admission=self.admission,
            worker="w",
            health=HealthBoard("w"),
            gates=Gates(),
            alarms=Alarms(),
            seal_box=lambda tenant_id: SealBox([b"secret"], tenant_id),
            take_slot=self._take_slot,
            give_back_slot=lambda deployment: deployment.health.breaker.give_back_slot(),
        )
        self._equip()
        self.principal = Principal(
            **{"key_id": 1, "key_name": "k", "key_prefix": "tg_", "tenant_id": 1, "tenant": "alice", **principal}
        )

    @property
    def record(self) -> UsageEvent:
        """What the ledger gets of the one request; fails unless nothing is held any more."""
        assert self.admission.held == 0
        (event,) = self.admission.events
        return event

    def health(self, slug: str) -> DeploymentHealth:
        """How a deployment does."""
        found: DeploymentHealth = self.runtime.health.find(slug)
        return found

    def gate(self, slug: str) -> Gate:
        """The gate of a deployment's provider, which has limits."""
        gate = self.runtime.gates.of(self._deployment(slug).provider)
        assert gate is not None
        return gate

    @property
    def active(self) -> int:
        """How many calls are in flight, at all deployments."""
        return sum(entry.active for entry in self.runtime.health.all())

    async def ask(self, operation: Operation, body: object, *headers: tuple[bytes, bytes]) -> Any:
        """Return the answer; its headers are `pairs`."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        scope: dict[str, Any] = {"method": "POST", "path": "/v1/x", "headers": [*headers], "query_string": b""}
        self.exchange = Exchange("POST", "/v1/x", headers)
        self.exchange.principal = self.principal
        request = DataPlaneRequest(scope, content, self.exchange, self.runtime)  # type: ignore[arg-type]
        answer = count if operation.name == "count_tokens" else serve
        return await answer(request, operation, model="alias" if operation.dialect == "gemini" else "")

    async def read(self, operation: Operation, body: dict[str, Any], *headers: tuple[bytes, bytes]) -> bytes:
        """Ask for a stream, and return all of it."""
        answer = await self.ask(operation, {**body, "stream": True}, *headers)
        return b"".join([data async for data in answer.body])

    def _equip(self) -> None:
        """Give the deployments what a worker knows of them."""
        for target in self.route.targets:
            deployment = target.deployment
            deployment.health = self.runtime.health.of(deployment.facts.slug, deployment.provider.slug)
            deployment.health.configure(deployment.provider.breaker, deployment.provider.cooldown)
            deployment.gates = self.runtime.gates
        self.runtime.gates.keep([target.deployment.provider for target in self.route.targets], peers=1)

    def _deployment(self, slug: str) -> LiveDeployment:
        return next(target.deployment for target in self.route.targets if target.facts.deployment == slug)

    async def _take_slot(self, deployment: LiveDeployment) -> bool:
        is_taken: bool = self.runtime.health.take_slot(deployment.health, time())
        try:
            await asyncio.sleep(0)  # the other workers are asked
        except asyncio.CancelledError:
            self.runtime.give_back_slot(deployment)
            raise
        return is_taken


def in_line(
    make_route: Callable[..., LiveRoute],
    answers: Mapping[str, list[Any]],
    *,
    provider: dict[str, Any] | None = None,
    deployment: dict[str, Any] | None = None,
    **route: Any,
) -> Plane:
    """Make a plane whose deployments speak OpenAI's dialect and are asked one after the other; charlie asks."""
    details = {
        slug: {
            **(deployment or {}),
            "priority": number,
            "provider": {"slug": slug, "base_url": f"https://{slug}/v1", **(provider or {})},
        }
        for number, slug in enumerate(answers)
    }
    return Plane(make_route(details, **{"retries": 0, **route}), answers, tenant="charlie")


class Client:
    """A client of the handler: it sends its question, and keeps what it gets as long as it reads."""

    def __init__(self, body: dict[str, Any], *, takes: float = inf) -> None:
        self.messages: list[dict[str, Any]] = []
        self._question = [{"type": "http.request", "body": json.dumps(body).encode()}]
        self._takes = takes  # messages, until it stops reading
        self._left = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        if self._question:
            return self._question.pop()
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if len(self.messages) >= self._takes:
            await asyncio.Event().wait()
        self.messages.append(message)

    def leave(self) -> None:
        """Close the connection."""
        self._left.set()

    @property
    def body(self) -> bytes:
        """What has come of the answer."""
        return b"".join(message.get("body", b"") for message in self.messages)


async def handle(plane: Plane, client: Client) -> None:
    """Serve a client as a worker does, from its key to its last byte."""

    async def authenticate(headers: object) -> Principal:
        return plane.principal

    warm_up()
    plane.runtime.authenticator = SimpleNamespace(authenticate=authenticate)
    access_log = AccessLog("json", write=lambda lines: None)
    runtime: Any = plane.runtime
    handler = DataPlaneHandler(runtime, access_log=access_log, max_body_bytes=1_000_000, body_timeout=5)
    scope = {"method": "POST", "path": "/v1/chat/completions", "headers": [], "query_string": b""}
    await handler(scope, client.receive, client.send)
