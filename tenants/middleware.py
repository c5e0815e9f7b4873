"""Django's requests: what their user is."""

from collections.abc import Callable
from functools import partial
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.utils.decorators import sync_and_async_middleware
from django.utils.functional import SimpleLazyObject

from tenants.standing import find_standing


@sync_and_async_middleware
def give_standing(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Give the user of a request their standing, when somebody asks for the user."""

    async def answer_async(request: HttpRequest) -> Any:
        _dress(request)
        return await get_response(request)

    def answer(request: HttpRequest) -> Any:
        _dress(request)
        return get_response(request)

    return answer_async if iscoroutinefunction(get_response) else answer


def _dress(request: Any) -> None:
    request.user = SimpleLazyObject(partial(_with_standing, request.user, request))


def _with_standing(user: Any, request: Any) -> Any:
    if user.is_authenticated:
        user.standing = find_standing(user, request.session)
    return user
