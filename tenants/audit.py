"""Writes the audit trail: what is saved and deleted, in the transaction of the change; and verbs that no save shows.

Each app's `signals.py` names the models that are watched. Secrets never get here: of fields whose names say that they hold
one, and of those that are named as such, the trail tells only that they were set, changed or removed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db.models import Model
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete, pre_save

from gateway_site.infra.actor import Actor, actor
from tenants.models import AuditEvent, Tenant, User

CREATED, CHANGED, DELETED = "created", "changed", "deleted"
SECRET = re.compile(r"digest|pepper|password|secret|encrypted|credential|(^|_)token(_hash)?$")
NOTHING: tuple[Any, ...] = (None, "", [], {})
LONGEST_TEXT = 500

type Changes = dict[str, list[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What is noted of a model's objects, and how."""

    secret: frozenset[str]  # fields of which only is told that they changed, beside those whose names say so
    ignored: frozenset[str]  # fields that no person sets
    verbs: Mapping[str, str | tuple[str, str]]  # fields whose change is what happened; two: set, and set to nothing

    def fields(self, model: type[Model], only: Iterable[str] | None) -> list[Any]:
        """The fields that are compared."""
        found = [field for field in model._meta.concrete_fields if not self._is_ignored(field)]
        return found if only is None else [each for each in found if {each.name, each.attname} & set(only)]

    def is_secret(self, name: str) -> bool:
        return name in self.secret or SECRET.search(name) is not None

    def verb(self, changes: Changes) -> str:
        """What a change is called."""
        for name, verb in self.verbs.items():
            if name in changes:
                _, after = changes[name]
                return verb if isinstance(verb, str) else verb[0 if after else 1]
        return CHANGED

    def _is_ignored(self, field: Any) -> bool:
        is_automatic = getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False)
        return field.primary_key or is_automatic or field.name in self.ignored


_watched: dict[type[Model], Watched] = {}
_together: ContextVar[list[AuditEvent] | None] = ContextVar("audit_together", default=None)


def watch(
    model: type[Model],
    *,
    secret: Iterable[str] = (),
    ignored: Iterable[str] = (),
    verbs: Mapping[str, str | tuple[str, str]] | None = None,
) -> None:
    """Note whatever is saved or deleted of a model, many-to-many fields included."""
    _watched[model] = Watched(secret=frozenset(secret), ignored=frozenset(ignored), verbs=verbs or {})
    for signal, receiver in (
        (pre_save, _remember),
        (post_save, _compare),
        (pre_delete, _note_deletion),
        (post_delete, _write_deletions),
    ):
        signal.connect(receiver, sender=model, dispatch_uid=f"audit-{receiver.__name__}-{model._meta.label}")
    for field in model._meta.local_many_to_many:
        through: Any = field.remote_field.through
        m2m_changed.connect(_compare_sets, sender=through, dispatch_uid=f"audit-sets-{through._meta.label}")


def watched_models() -> frozenset[type[Model]]:
    """Return what is watched."""
    return frozenset(_watched)


def audit(action: str, about: Model | None, *, by: Actor | None = None, **detail: Any) -> None:
    """Note a verb that no save shows, such as `acted_as_owner` or `body_opened`, in the transaction that is open."""
    _write([_event(action, about, by=by, detail={name: _plain(value) for name, value in detail.items()})])


@contextmanager
def written_together() -> Iterator[None]:
    """Write the events of a block at its end, at once; the block is one transaction."""
    events: list[AuditEvent] = []
    token = _together.set(events)
    try:
        yield
    finally:
        _together.reset(token)
    _write(events)


# --- What is saved -----------------------------------------------------------------------------------------


def _remember(
    sender: type[Model], instance: Any, raw: bool, using: str, update_fields: Iterable[str] | None, **_: Any
) -> None:
    """Read the row as it is, if there is one and anything of it may change."""
    instance._audit_before = None  # new
    if raw or instance._state.adding or instance.pk is None:
        return
    names = [field.attname for field in _watched[sender].fields(sender, update_fields)]
    rows = sender._base_manager.using(using).filter(pk=instance.pk)
    instance._audit_before = (rows.values(*names).first() if names else {}) or {}


def _compare(sender: type[Model], instance: Any, raw: bool, created: bool, using: str, **_: Any) -> None:
    before = instance.__dict__.pop("_audit_before", None)
    if raw:
        return
    watched = _watched[sender]
    if created:
        _write([_event(CREATED, instance, changes=_values(watched, sender, instance, is_new=True))])
    elif before:
        changes = _differences(watched, sender, instance, before, using)
        if changes:
            _write([_event(watched.verb(changes), instance, changes=changes)])


def _differences(
    watched: Watched, model: type[Model], instance: Model, before: Mapping[str, Any], using: str
) -> Changes:
    changes: Changes = {}
    for field in watched.fields(model, before):
        old, new = before[field.attname], _current(field, instance, using)
        if old != new:
            changes[field.name] = _pair(watched, field, instance, old, new)
    return changes


def _current(field: Any, instance: Any, using: str) -> Any:
    """A field's value as the database has it now."""
    value = getattr(instance, field.attname)
    if hasattr(value, "resolve_expression"):  # the database has computed it
        rows = type(instance)._base_manager.using(using).filter(pk=instance.pk)
        return rows.values_list(field.attname, flat=True).first()
    return value if value is None else field.to_python(value)


def _values(watched: Watched, model: type[Model], instance: Any, *, is_new: bool) -> Changes:
    """All that an object says beside defaults: after it was made, or before it is gone."""
    changes: Changes = {}
    for field in watched.fields(model, None):
        value = getattr(instance, field.attname)
        if value in NOTHING or hasattr(value, "resolve_expression") or value == field.get_default():
            continue
        before, after = (None, value) if is_new else (value, None)
        changes[field.name] = _pair(watched, field, instance, before, after)
    return changes


def _pair(watched: Watched, field: Any, instance: Model, before: Any, after: Any) -> list[Any]:
    if not watched.is_secret(field.name):
        return [_shown(field, instance, before), _shown(field, instance, after)]
    if before in NOTHING or after in NOTHING:
        return [None if value in NOTHING else "set" for value in (before, after)]
    return ["set", "changed"]


def _shown(field: Any, instance: Model, value: Any) -> Any:
    """A value for the trail; of what it refers to, the name."""
    related: Any = field.related_model
    if value is None or related is None:
        return _plain(value)
    loaded = field.get_cached_value(instance, default=None)  # most often: whoever saves has it
    is_it = loaded is not None and loaded.pk == value
    found = loaded if is_it else related._base_manager.filter(pk=value).first()
    return str(value) if found is None else str(getattr(found, "slug", "") or found)


def _plain(value: Any) -> Any:
    """A value as JSON has it, and not too long."""
    match value:
        case None | bool() | int() | float():
            return value
        case Decimal():
            return f"{value.normalize():f}" if value.is_finite() else str(value)
        case date():
            return value.isoformat()
        case str():
            return value if len(value) <= LONGEST_TEXT else f"{value[:LONGEST_TEXT]}…"
        case Mapping():
            return {str(name): _plain(each) for name, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(each) for each in value]
        case bytes() | memoryview():
            return f"{len(bytes(value))} bytes"
        case UUID():
            return str(value)
    return _plain(str(value))


# --- What is deleted ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Deletion:
    """What one call deletes, cascades included: noted before the first row goes, written when the last one is gone."""

    events: list[AuditEvent]
    waiting: int = 0


def _note_deletion(sender: type[Model], instance: Model, origin: Any = None, **_: Any) -> None:
    changes = _values(_watched[sender], sender, instance, is_new=False)
    deletion = origin.__dict__.setdefault("_audit_deletion", _Deletion([]))
    deletion.events.append(_event(DELETED, instance, changes=changes))
    deletion.waiting += 1


def _write_deletions(sender: type[Model], instance: Model, origin: Any = None, **_: Any) -> None:
    deletion: _Deletion = origin.__dict__["_audit_deletion"]
    deletion.waiting -= 1
    if not deletion.waiting:
        del origin.__dict__["_audit_deletion"]
        _write(deletion.events)


# --- Many-to-many ------------------------------------------------------------------------------------------


def _compare_sets(sender: type[Model], instance: Any, action: str, reverse: bool, pk_set: Any, **_: Any) -> None:
    """Note groups and permissions as they are before and after; from the other side, too."""
    when = action.partition("_")[0]
    name = _accessor(sender, instance, reverse)
    if when == "pre":
        instance._audit_sets = {**instance.__dict__.get("_audit_sets", {}), name: _names(instance, name)}
        return
    before = instance.__dict__.get("_audit_sets", {}).pop(name, [])
    after = _names(instance, name)
    if before != after:
        _write([_event(CHANGED, instance, changes={name: [before, after]})])


def _accessor(through: type[Model], instance: Any, reverse: bool) -> str:
    fields = instance._meta.related_objects if reverse else instance._meta.many_to_many
    for field in fields:
        if reverse and field.many_to_many and field.through is through:
            return str(field.get_accessor_name())
        if not reverse and field.remote_field.through is through:
            return str(field.name)
    raise LookupError(f"{through._meta.label} is of no field of {instance._meta.label}")


def _names(instance: Any, name: str) -> list[str]:
    return sorted(str(each) for each in getattr(instance, name).all())


# --- Who -----------------------------------------------------------------------------------------------------


def _event(
    action: str,
    about: Model | None,
    *,
    by: Actor | None = None,
    tenant_id: int | None = None,
    changes: Changes | None = None,
    detail: Mapping[str, Any] | None = None,
) -> AuditEvent:
    who = by or actor()
    who = who if who.name or who.via != "command" else _unnamed()
    return AuditEvent(
        actor=who.name[:150],
        user_id=who.user_id,
        via=who.via,
        acting_for_id=who.acting_for,
        tenant_id=_tenant_id(about) if tenant_id is None else tenant_id,
        action=action,
        object_type="" if about is None else about._meta.label_lower,
        object_id="" if about is None else str(about.pk),
        object_repr="" if about is None else _name_of(about),
        changes=changes or {},
        detail=dict(detail or {}),
        correlation_id=who.correlation_id,
        remote_address=(who.remote_address or "")[:64],
    )


def _name_of(about: Model) -> str:
    """What an object calls itself; one that was just made may hold values that the database would have turned."""
    try:
        return str(about)[:200]
    except (AttributeError, TypeError, ValueError):
        return f"{about._meta.verbose_name} {about.pk}"


def _tenant_id(about: Any) -> int | None:
    return about.pk if isinstance(about, Tenant) else getattr(about, "tenant_id", None)


def _unnamed() -> Actor:
    """Nobody has said a name: a task, or a command, which the process' own arguments tell apart."""
    program, command = Path(sys.argv[0]), sys.argv[1:2]
    if program.name == "manage.py" and command:
        return Actor(f"manage.py {command[0]}")
    if "celery" in (program.name, program.parent.name):
        return Actor("Celery", via="task")
    return Actor(program.name)


def _write(events: list[AuditEvent]) -> None:
    waiting = _together.get()
    if waiting is not None:
        waiting.extend(events)
    else:
        AuditEvent.objects.bulk_create(events, batch_size=500)


# --- Sign-ins ------------------------------------------------------------------------------------------------


def note_sign_in(sender: Any, request: Any, user: Any, **_: Any) -> None:
    """Somebody signed in."""
    _note_session("signed_in", request, user)


def note_sign_out(sender: Any, request: Any, user: Any, **_: Any) -> None:
    """Somebody signed out."""
    if user is not None:
        _note_session("signed_out", request, user)


def note_failed_sign_in(sender: Any, credentials: Mapping[str, Any], request: Any = None, **_: Any) -> None:
    """Somebody failed to; a name that nobody has is not kept, for it may well be a password."""
    given = next((str(credentials[name]) for name in ("username", "email", "login") if credentials.get(name)), "")
    user = None
    if given and "\0" not in given:
        user = User.objects.filter(email__iexact=given).first() if "@" in given else None
        user = user or User.objects.filter(username=given).first()
    _note_session("sign_in_failed", request, user)


def _note_session(action: str, request: Any, user: Any) -> None:
    """Once for each tenant that the person belongs to, so that its owners see it."""
    who = replace(actor(), name="", user_id=None, via="console", acting_for=None)
    if request is not None:
        who = replace(who, remote_address=request.META.get("REMOTE_ADDR") or None)
    if user is not None and action != "sign_in_failed":
        who = replace(who, name=user.get_username(), user_id=user.pk)
    tenants = list(user.memberships.order_by("pk").values_list("tenant_id", flat=True)) if user is not None else []
    _write([_event(action, user, by=who, tenant_id=tenant_id) for tenant_id in tenants or [None]])
