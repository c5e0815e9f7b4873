"""Django's requests: in whose name they do what they do."""

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.utils.decorators import sync_and_async_middleware

from gateway_site.infra.actor import NOBODY, Actor, acting_through


@sync_and_async_middleware
def name_actor(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Let whatever a signed-in person's request changes, by whatever way, know the person."""

    async def answer_async(request: HttpRequest) -> Any:
        with acting_through(lambda: _person(request)):
            return await get_response(request)

    def answer(request: HttpRequest) -> Any:
        with acting_through(lambda: _person(request)):
            return get_response(request)

    return answer_async if iscoroutinefunction(get_response) else answer


def _person(request: HttpRequest) -> Actor:
    # Not before somebody asks: the user is read from the database.
    user: Any = request.user
    return Actor(user.get_username(), user.pk) if user.is_authenticated else NOBODY
