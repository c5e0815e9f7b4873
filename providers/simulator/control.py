"""What tests and demos ask the simulator about itself, under ``/_simulator``; no key is needed."""

from collections.abc import Callable
from typing import Annotated
from urllib.parse import parse_qs

import msgspec
import orjson

from providers.simulator import delivery
from providers.simulator.counters import Counters
from providers.simulator.envelopes import JSON
from providers.simulator.outages import Outages
from providers.simulator.requests import Request, RequestLog
from providers.simulator.script import Script

DEFAULT_LIMIT = 50

type Seconds = Annotated[float, msgspec.Meta(ge=0)]


class Switch(msgspec.Struct, frozen=True, kw_only=True):
    """An outage to begin now, in place of an earlier one of that name."""

    id: str
    seconds: Seconds | list[Seconds]  # down, up, down, up, …


class Control:
    def __init__(
        self, *, counters: Counters, requests: RequestLog, outages: Outages, reset: Callable[[], None]
    ) -> None:
        self._counters = counters
        self._outages = outages
        self._requests = requests
        self._reset = reset

    def answer(self, request: Request) -> Script:
        match request.method, request.path:
            case "GET", "/_simulator/counters":
                return _json(self._counters.render())
            case "GET", "/_simulator/requests":
                return _json(self._last_requests(request.query))
            case "POST", "/_simulator/outage":
                return self._begin_outage(request.body)
            case "POST", "/_simulator/reset":
                self._reset()
                return _json({"reset": True})
        return _json({"error": f"No such control: {request.method} {request.path}"}, status=404)

    def _begin_outage(self, body: bytes) -> Script:
        try:
            switch = msgspec.json.decode(body, type=Switch)
        except msgspec.DecodeError as error:
            return _json({"error": str(error)}, status=400)
        seconds = switch.seconds if isinstance(switch.seconds, list) else [switch.seconds]
        self._outages.begin(switch.id, seconds)
        return _json({"id": switch.id, "seconds": seconds})

    def _last_requests(self, query: str) -> list[dict[str, object]]:
        """The newest `limit`, oldest first."""
        [limit] = parse_qs(query).get("limit", [str(DEFAULT_LIMIT)])[:1]
        count = int(limit) if limit.isdecimal() else DEFAULT_LIMIT
        return [request.render() for request in list(self._requests)[-count:] if count]


def _json(body: object, status: int = 200) -> Script:
    return delivery.whole(orjson.dumps(body), headers=[JSON], status=status)
