"""The steps of the setup guide: which is done, and which comes next. Pure: facts in, steps out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

TITLES = {"provider": "Provider", "model": "Model", "tenant": "Tenant", "key": "API key", "request": "First request"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What there is; names of the newest first, a few at the most."""

    providers: tuple[str, ...] = ()  # that are switched on, without the simulator
    has_simulator: bool = False
    models: tuple[str, ...] = ()  # names that lead to something that is switched on
    tenants: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()  # that programs may use now
    is_answered: bool = False  # a request was, by whomever
    is_in_use: bool = False  # a request was, by something that is not the simulator


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One of the guide's five steps, and how far it is."""

    slug: str
    number: int
    title: str
    is_done: bool
    told: str  # what is there already; empty: nothing


def steps_of(facts: Facts) -> tuple[Step, ...]:
    """Return the five steps, in their order."""
    simulator = ("Local simulator",) if facts.has_simulator else ()
    found = {
        "provider": (*facts.providers, *simulator),
        "model": facts.models,
        "tenant": facts.tenants,
        "key": facts.keys,
        "request": ("It was answered",) if facts.is_answered else (),
    }
    return tuple(
        Step(slug=slug, number=number, title=title, is_done=bool(found[slug]), told=told(found[slug]))
        for number, (slug, title) in enumerate(TITLES.items(), 1)
    )


def told(names: Sequence[str], most: int = 2) -> str:
    """Name a few, and say that there are more."""
    shown = ", ".join(names[:most])
    return f"{shown} and more" if len(names) > most else shown


def next_step(facts: Facts, after: str = "") -> str:
    """Return the first step (of those after one) that is not done; the last one when all are."""
    steps = steps_of(facts)
    begin = next((step.number for step in steps if step.slug == after), 0)
    return next((step.slug for step in steps[begin:] if not step.is_done), steps[-1].slug)
