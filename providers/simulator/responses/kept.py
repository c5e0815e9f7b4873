"""Responses that were stored: the last ones, for as long as the simulator lives."""

from typing import TYPE_CHECKING

from providers.simulator.ask import Json
from providers.simulator.envelopes import ApiError
from providers.simulator.responses.writer import response_id, said_items
from providers.simulator.turn import Turn

if TYPE_CHECKING:
    from providers.simulator.responses.reader import ResponsesAsk

MOST_KEPT = 256


class Kept:
    """Asks and turns by the id of their response; they are only put into words when someone asks."""

    def __init__(self) -> None:
        self._responses: dict[str, tuple[ResponsesAsk, Turn]] = {}

    def add(self, ask: "ResponsesAsk", turn: Turn) -> None:
        """Keep a response, unless the request said not to; the oldest is forgotten."""
        if not ask.is_stored:
            return
        if len(self._responses) >= MOST_KEPT:
            del self._responses[next(iter(self._responses))]
        self._responses[response_id(turn)] = (ask, turn)

    def get(self, name: str) -> "tuple[ResponsesAsk, Turn]":
        """A response by its id."""
        if name not in self._responses:
            message = f"Response with id '{name}' not found."
            raise ApiError(404, message, code="previous_response_not_found")
        return self._responses[name]

    def remove(self, name: str) -> None:
        """Forget a response."""
        self.get(name)
        del self._responses[name]

    def conversation(self, name: str) -> list[Json]:
        """The items up to and with a response, for a request that goes on from there."""
        if name not in self._responses:
            message = f"Previous response with id '{name}' not found."
            raise ApiError(400, message, param="previous_response_id", code="previous_response_not_found")
        ask, turn = self._responses[name]
        return [*ask.items, *said_items(ask, turn)]

    def find(self, item_id: str) -> Json | None:
        """An item that some kept response said; None = there is none."""
        for ask, turn in reversed(self._responses.values()):
            for item in said_items(ask, turn):
                if item.get("id") == item_id:
                    return item
        return None

    def clear(self) -> None:
        """Forget everything."""
        self._responses.clear()
