"""Decides the answer to one request: no sockets, no clocks to wait for, only what is said and how."""

import hmac
import itertools
import time
from collections import Counter
from typing import Any

from providers.simulator import delivery
from providers.simulator.ask import Ask
from providers.simulator.behaviour import Behaviour, UnknownModel, markers, read_behaviour
from providers.simulator.chat_completions import CHAT_COMPLETIONS
from providers.simulator.counters import Counters
from providers.simulator.embeddings import EMBEDDINGS
from providers.simulator.endpoint import Endpoint
from providers.simulator.envelopes import ANTHROPIC, GEMINI, JSON, OPENAI, ApiError, Envelope
from providers.simulator.faults import injure
from providers.simulator.gemini import is_gemini, route_gemini
from providers.simulator.images import IMAGES
from providers.simulator.messages import COUNT_TOKENS, MESSAGES
from providers.simulator.models import ANTHROPIC_MODEL, ANTHROPIC_MODELS, OPENAI_MODEL, OPENAI_MODELS
from providers.simulator.outages import Outages
from providers.simulator.requests import Request
from providers.simulator.responses import Responses
from providers.simulator.script import Ending, Script
from providers.simulator.speech import SPEECH
from providers.simulator.turn import Turn, compose

ROUTES: dict[str, Endpoint[Any]] = {
    "/chat/completions": CHAT_COMPLETIONS,
    "/messages": MESSAGES,
    "/messages/count_tokens": COUNT_TOKENS,
    "/embeddings": EMBEDDINGS,
    "/images/generations": IMAGES,
    "/audio/speech": SPEECH,
}
LARGEST_KEPT_BYTES = 16 * 1024
MOST_KEPT_ASKS = 256
HTML = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
HTML_TYPE = b"content-type: text/html"


class Provider:
    """Knows its key, numbers its answers, and remembers how often each `fail_id` has failed."""

    def __init__(self, *, key: str | None, counters: Counters, outages: Outages) -> None:
        self._key = None if key is None else key.encode()
        self._outages = outages
        self._counters = counters
        self._numbers = itertools.count(1)
        self._failures: Counter[str] = Counter()
        self._asks: dict[tuple[str, str, bytes, bytes, bytes], Ask] = {}
        self._responses = Responses()

    def reset(self) -> None:
        self._failures.clear()
        self._responses.clear()

    def answer(self, request: Request) -> Script:
        """Every request has an answer; refusals are answers in the dialect of the path."""
        number = next(self._numbers)
        request_id = f"req_sim_{number:06d}"
        endpoint = self._route(request)
        envelope = _envelope(request) if endpoint is None else endpoint.envelope
        if request.method == "HEAD":
            # Nothing answers HEAD, and a body would be taken for the next answer.
            return delivery.whole(b"", headers=envelope.headers(request_id), status=404)
        try:
            if endpoint is None:
                raise ApiError(404, f"Invalid URL ({request.method} {request.path})", code="unknown_url")
            if request.method != endpoint.method:
                message = f"Not allowed to {request.method} on {request.path} (HINT: {endpoint.method})"
                raise ApiError(405, message, code="method_not_supported")
            self._check_credentials(request, envelope)
            ask = self._read(endpoint, request)
            behaviour = self._behaviour(ask, request)
            if behaviour.seals and ask.unsealed:
                raise ApiError(400, ask.unsealed)
        except ApiError as error:
            return _refusal(error, envelope, request_id)
        if script := _fault(behaviour, envelope, request_id):
            return script
        turn = compose(ask, behaviour, number=number, created=int(time.time()))
        return _perform(endpoint, ask, turn, behaviour, request_id)

    def _route(self, request: Request) -> Endpoint[Any] | None:
        """Every path stands under /v1 and bare; a trailing part of /models/ is a model's name."""
        if endpoint := route_gemini(request):
            return endpoint
        path = request.path.removeprefix("/v1")
        if endpoint := self._responses.route(path, request.method):
            return endpoint
        if path == "/models":
            return ANTHROPIC_MODELS if request.header(b"anthropic-version") else OPENAI_MODELS
        if path.startswith("/models/"):
            return ANTHROPIC_MODEL if request.header(b"anthropic-version") else OPENAI_MODEL
        return ROUTES.get(path)

    def _check_credentials(self, request: Request, envelope: Envelope) -> None:
        key = envelope.find_key(request)
        if not key:
            raise ApiError(envelope.no_credentials_status, envelope.no_credentials)
        if self._key is not None and not hmac.compare_digest(key, self._key):
            raise ApiError(envelope.wrong_credentials_status, code=envelope.wrong_credentials_code)

    def _read(self, endpoint: Endpoint[Any], request: Request) -> Ask:
        """What is asked for; a load generator's hundredth copy of a request is not checked again."""
        key = (
            request.path,
            request.query,
            request.body,
            request.header(b"content-type"),
            request.header(b"anthropic-version"),
        )
        ask = self._asks.get(key)
        if ask is None:
            ask = endpoint.read(request)
            if len(request.body) <= LARGEST_KEPT_BYTES and not ask.is_volatile:
                if len(self._asks) >= MOST_KEPT_ASKS:
                    self._asks.clear()
                self._asks[key] = ask
        return ask

    def _behaviour(self, ask: Ask, request: Request) -> Behaviour:
        if ask.model:
            self._counters.by_model[ask.model] += 1
            self._counters.seals += ask.seals
        try:
            behaviour = read_behaviour(ask.model, markers(ask.text, ask.model))
        except UnknownModel as error:
            raise ApiError(404, str(error.args[0]), param="model", code="model_not_found") from error
        except ValueError as error:
            raise ApiError(400, f"simulator: {error}") from error
        if behaviour.id:
            self._counters.by_id[behaviour.id][ask.model] += 1
        if behaviour.outage:
            is_down = self._outages.is_down(behaviour.outage)
            behaviour = behaviour.with_faults() if is_down else behaviour.without_faults()
        elif behaviour.fail or behaviour.fail_every:
            behaviour = self._failing(behaviour)
        if request.http_version == "1.0":
            return behaviour.on_http_1_0()
        return behaviour

    def _failing(self, behaviour: Behaviour) -> Behaviour:
        """The faults only where it is this request's turn to fail."""
        self._failures[behaviour.fail_id] += 1
        count = self._failures[behaviour.fail_id]
        fails = count <= behaviour.fail if behaviour.fail else count % behaviour.fail_every == 0
        return behaviour.with_faults() if fails else behaviour.without_faults()


def _envelope(request: Request) -> Envelope:
    """Whose error to answer where no path says it."""
    if is_gemini(request):
        return GEMINI
    return ANTHROPIC if request.header(b"anthropic-version") else OPENAI


def _refusal(error: ApiError, envelope: Envelope, request_id: str, behaviour: Behaviour = delivery.HEALTHY) -> Script:
    headers = envelope.headers(request_id, spent=error.status == 429)
    error.retry_after = behaviour.retry_after
    headers += [
        b"%b: %b" % (name, value.encode())
        for name, value in (
            (b"retry-after", behaviour.retry_after),
            (b"retry-after-ms", behaviour.retry_after_ms),
            (b"x-should-retry", behaviour.should_retry),
        )
        if value is not None and not envelope.retries_in_body
    ]
    return delivery.whole(
        envelope.body(error, request_id),
        headers=headers,
        status=error.status,
        behaviour=behaviour,
        seconds=behaviour.first,
    )


def _fault(behaviour: Behaviour, envelope: Envelope, request_id: str) -> Script | None:
    """The answer of a provider that fails before it says anything."""
    if behaviour.drop:
        return delivery.silence(Ending.CUT)
    if behaviour.hang:
        return delivery.silence(Ending.STALL)
    if behaviour.empty:
        return delivery.whole(b"", headers=envelope.headers(request_id), behaviour=behaviour)
    if behaviour.html:
        headers = envelope.headers(request_id, content_type=HTML_TYPE)
        return delivery.whole(HTML, headers=headers, status=behaviour.status or 502, behaviour=behaviour)
    if behaviour.status is not None and behaviour.error_event is None and behaviour.failed is None:
        error = ApiError(behaviour.status, code=behaviour.code)
        return _refusal(error, envelope, request_id, behaviour)
    return None


def _is_swapped(ask: Ask, behaviour: Behaviour) -> bool:
    """Whether a stream is answered with JSON, or the other way round."""
    return behaviour.json_for_stream if ask.stream else behaviour.stream_for_json


def _perform(endpoint: Endpoint[Any], ask: Ask, turn: Turn, behaviour: Behaviour, request_id: str) -> Script:
    envelope = endpoint.envelope
    write = endpoint.frames if ask.stream != _is_swapped(ask, behaviour) else None
    failure = None if write is not None else _failure(endpoint, ask, turn, behaviour, request_id)
    content_type = _content_type(endpoint, ask, is_stream=write is not None, is_failure=failure is not None)
    headers = envelope.headers(request_id, content_type=content_type)
    if behaviour.no_type:
        headers.remove(content_type)
    if endpoint.keep is not None:
        endpoint.keep(ask, turn)
    if write is not None:
        frames = injure(write(ask, turn), behaviour, envelope)
        return delivery.stream(frames, headers=headers, behaviour=behaviour, envelope=envelope)
    body = failure or endpoint.whole(ask, turn)
    # As long as the stream would have taken.
    seconds = behaviour.first + behaviour.interval * max(0, turn.tokens - 1)
    return delivery.whole(body, headers=headers, behaviour=behaviour, seconds=seconds)


def _content_type(endpoint: Endpoint[Any], ask: Ask, *, is_stream: bool, is_failure: bool) -> bytes:
    if is_stream:
        return endpoint.stream_type
    return JSON if is_failure or endpoint.type_of is None else endpoint.type_of(ask)


def _failure(endpoint: Endpoint[Any], ask: Ask, turn: Turn, behaviour: Behaviour, request_id: str) -> bytes | None:
    """What a stream says half-way, a whole answer says in its body, with a 200 all the same."""
    error = ApiError(behaviour.status or 529, code=behaviour.code)
    if behaviour.failed is not None and endpoint.failed is not None:
        return endpoint.failed(endpoint.whole(ask, turn), error, endpoint.envelope.usual(error))
    if behaviour.error_event is not None or behaviour.failed is not None:
        return endpoint.envelope.body(error, request_id)
    return None
