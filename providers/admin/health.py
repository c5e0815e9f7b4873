"""How a deployment does, for its list and its page: what workers share in Valkey, and what the last probe found."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from time import time
from typing import Any

import msgspec
from django.conf import settings
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from gateway_site.infra import valkey
from gateway_site.infra.admin import badge
from gateway_site.infra.valkey import StoreUnavailable
from providers.health_feed import STATES_KEY, Note, decode_note, field_of
from providers.models import Deployment

RESULT_COLOURS = {"ok": "success", "cannot_probe": "info", "unreachable": "danger", "rejected": "danger"}


class States(msgspec.Struct, frozen=True, kw_only=True):
    """What workers hold of a deployment; None = nothing was ever told."""

    breaker: Note | None = None
    cooldown: Note | None = None


def read_states(slugs: Iterable[str]) -> dict[str, States] | None:
    """Return what holds of each deployment, in one call; None when Valkey cannot be asked."""
    asked = list(slugs)
    if not asked:
        return {}
    fields = [field_of(slug, is_cooldown=is_cooldown) for slug in asked for is_cooldown in (False, True)]
    try:
        with valkey.connect(settings.VALKEY_URL) as client:
            found: Any = client.hmget(STATES_KEY, fields)
    except StoreUnavailable:
        return None
    notes = [_note(held) for held in found]
    pairs = zip(notes[::2], notes[1::2], strict=True)
    return {
        slug: States(breaker=breaker, cooldown=cooldown) for slug, (breaker, cooldown) in zip(asked, pairs, strict=True)
    }


def attach_states(deployments: Iterable[Any]) -> None:
    """Read the states of a page's rows at once."""
    rows = list(deployments)
    states = read_states(row.slug for row in rows)
    for row in rows:
        row.states = states.get(row.slug) if states is not None else None


def states_of(deployment: Any) -> States | None:
    """Return a deployment's states, read once; None when Valkey cannot be asked."""
    if "states" not in deployment.__dict__:
        attach_states([deployment])
    return deployment.states


def _note(held: bytes | None) -> Note | None:
    if held is None:
        return None
    try:
        return decode_note(held)
    except msgspec.DecodeError:  # of another version
        return None


def show_switch(deployment: Deployment) -> SafeString:
    """Its own switch, and its provider's where that one is off."""
    own = badge("Enabled", "success") if deployment.is_enabled else badge("Disabled", "danger")
    return own if deployment.provider.is_enabled else _with_words(own, "its provider is disabled")


def show_breaker(states: States | None) -> SafeString:
    """Closed, open until when and why, or half-open."""
    if states is None:
        return badge("Unknown")
    note = states.breaker
    if note is None or note.kind == "breaker_closed":
        return badge("Closed", "success")
    if note.kind == "breaker_half_open" or (note.until or 0) <= time():
        return _with_words(badge("Half-open", "warning"), "one request at a time may try")
    return _with_words(badge("Open", "danger"), f"until {_clock(note.until)}: {note.reason}")


def show_cooldown(states: States | None) -> SafeString:
    """Until when it is left alone, and why."""
    if states is None:
        return badge("Unknown")
    note = states.cooldown
    if note is None or (note.until or 0) <= time():
        return badge("None", "success")
    return _with_words(badge("Cools down", "warning"), f"until {_clock(note.until)}: {note.reason}")


def show_probe(deployment: Deployment) -> SafeString:
    """What the last probe found, why, and how long ago."""
    if deployment.probed_at is None:
        return badge("Never probed")
    label = badge(deployment.get_probe_result_display(), RESULT_COLOURS.get(deployment.probe_result, ""))
    is_fresh = timezone.now() - deployment.probed_at < timedelta(minutes=1)
    age = "just now" if is_fresh else f"{timesince(deployment.probed_at, depth=1)} ago"
    return _with_words(label, f"{age}: {deployment.probe_reason}" if deployment.probe_reason else age)


def _with_words(label: SafeString, words: str) -> SafeString:
    """A label and why; lists cut long words short, and their title has them whole."""
    return format_html('{} <span class="health-words text-xs" title="{}">{}</span>', label, words, words)


def _clock(moment: float | None) -> str:
    return f"{datetime.fromtimestamp(moment or 0, UTC):%H:%M:%S} UTC"
