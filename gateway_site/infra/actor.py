"""Who does what is being done: a person at the console, a command. For what happens far below and wants a name."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_actor: ContextVar[str] = ContextVar("actor", default="")


def actor() -> str:
    """Return the name; empty when nobody said one."""
    return _actor.get()


@contextmanager
def acting_as(name: str) -> Iterator[None]:
    """Do something in somebody's name."""
    token = _actor.set(name)
    try:
        yield
    finally:
        _actor.reset(token)
