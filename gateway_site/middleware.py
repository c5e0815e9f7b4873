"""Django's requests: in whose name they do what they do."""

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.utils.decorators import sync_and_async_middleware

from gateway_site.infra.actor import Actor, acting_through


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
    correlation_id = request.headers.get("x-correlation-id") or request.headers.get("x-request-id") or ""
    standing = getattr(user, "standing", None)
    return Actor(
        user.get_username() if user.is_authenticated else "",
        getattr(user, "maker_id", user.pk),  # a token's changes are its maker's, who cannot approve them, too
        via=getattr(user, "via", "console"),  # users of the API's tokens say so
        acting_for=standing.tenant_id if standing is not None and standing.is_acting else None,
        correlation_id=correlation_id[:128],
        remote_address=request.META.get("REMOTE_ADDR") or None,
    )
