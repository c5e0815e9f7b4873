"""Who does what is being done: a person at the console, a command. For what happens far below and wants a name."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True, eq=False)
class Actor:
    """Somebody at one thing: of two things that the same user does, each has an actor of its own."""

    name: str  # empty: nobody said one
    user_id: int | None = None  # None: no user, but a command or an API token
    via: str = "command"  # console, api_token or command
    acting_for: int | None = None  # the tenant in whose owner's place an operator acts, by its id
    correlation_id: str = ""  # of the request, where its sender gave one
    remote_address: str | None = None


NOBODY = Actor("")
_find: ContextVar[Callable[[], Actor]] = ContextVar("actor", default=lambda: NOBODY)


def actor() -> Actor:
    """Return who it is."""
    return _find.get()()


@contextmanager
def acting_as(name: str, user_id: int | None = None) -> Iterator[None]:
    """Do something in somebody's name."""
    found = Actor(name, user_id)
    with acting_through(lambda: found):
        yield


@contextmanager
def acting_through(find: Callable[[], Actor]) -> Iterator[None]:
    """Do something in the name of whom `find` returns; it is called when somebody wants to know, and once."""
    token = _find.set(cache(find))
    try:
        yield
    finally:
        _find.reset(token)
