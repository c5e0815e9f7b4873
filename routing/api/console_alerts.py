"""The REST API's alert rules, channels, silences and incidents: a tenant's for its tokens, all of them for operators'."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Prefetch
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Router, Schema

from gateway_site.infra import secrets
from routing.api.console_tenants import of_some_tenant
from tenants.alert_messages import try_out
from tenants.api.access import name_of, permit, person_in
from tenants.api.errors import conflict, invalid
from tenants.api.resource import Extra, Reference, Resource
from tenants.api.routes import add_routes, verb_options
from tenants.api.schema import Leaf, Text, Whole
from tenants.models import AlertChannel, AlertIncident, AlertMessage, AlertRule, AlertSilence, ApiKey, Tenant
from tenants.webhook_signature import make_secret
from tenants.webhooks import NotDelivered

router = Router()

OWNER = of_some_tenant("Whose it is: a tenant's, whose owners may change it; null: the operators'.")


def _watched(description: str) -> Reference:
    return Reference(
        field="watched_tenant",
        model=Tenant,
        noun="tenant",
        tenant_path="pk",
        is_required=False,
        description=description,
    )


def _made_at() -> Extra:
    return Extra(annotation=datetime, description="", show=lambda item: item.created_at)


# --- Channels ------------------------------------------------------------------------------------------------


def _keep_address(channel: AlertChannel, url: str | None) -> Iterable[str]:
    """An address is written, and never read: it may be a secret, as Slack's are."""
    if channel.kind == AlertChannel.Kind.EMAIL:
        raise invalid([("address", "An e-mail channel has addresses in `emails`.")])
    try:
        channel.take_address((url or "").strip())
    except ValidationError as error:
        raise invalid([("address", " ".join(error.messages))]) from None
    return ["address_encrypted", "address_hint"]


def _check_channel(request: HttpRequest, channel: AlertChannel, body: Mapping[str, Any] | None) -> None:
    """What is left reaches somebody."""
    if body is not None and channel.kind == AlertChannel.Kind.EMAIL and not body.get("emails", channel.emails):
        raise invalid([("emails", "Say who is written to.")])


def _make_channel(request: HttpRequest, channel: AlertChannel) -> dict[str, Any]:
    """Save a new channel; the secret that a webhook's calls are signed with is in this answer and nowhere else."""
    _check_channel(request, channel, {})
    if channel.kind != AlertChannel.Kind.EMAIL and not channel.address_encrypted:
        raise invalid([("address", "Say where messages are posted to.")])
    secret = make_secret() if channel.kind == AlertChannel.Kind.WEBHOOK else None
    if secret is not None:
        channel.secret_encrypted = secrets.encrypt(secret)
    channel.full_clean()
    channel.save()
    return {} if secret is None else {"secret": secret}


CHANNELS = Resource(
    path="alert-channels",
    noun="alert channel",
    model=AlertChannel,
    rows=lambda: AlertChannel.objects.select_related("tenant"),
    paths={"name": "name", "kind": "kind", "emails": "emails"},
    refs={"tenant": OWNER},
    filters={"tenant": "tenant__slug", "kind": "kind", "name": "name"},
    fixed=frozenset({"kind"}),
    extras={
        "address": Extra(
            annotation=None,
            description="Where a webhook's or Slack's messages are posted to; stored encrypted and never shown.",
            accepts=Text,
            set=_keep_address,
            is_kept=True,
        ),
        "leads_to": Extra(
            annotation=str, description="The host of its address.", show=lambda channel: channel.address_hint
        ),
        "has_secret": Extra(
            annotation=bool,
            description="Whether its calls are signed.",
            show=lambda channel: bool(channel.secret_encrypted),
        ),
        "created_at": _made_at(),
    },
    make=_make_channel,
    made={
        "secret": Leaf(
            annotation=str,
            description="What a webhook's calls are signed with, shown this once.",
            examples=("whsec_…",),
        )
    },
    check=_check_channel,
    example={"tenant": "acme", "name": "ops", "kind": "webhook", "address": "https://hooks.acme.example/tollgate"},
)
add_routes(router, CHANNELS)
NewSecret: Any = CHANNELS.answer("Signed", CHANNELS.made)


class Delivery(Schema):
    """What came of a test."""

    delivered: bool
    reason: str


@router.post(**verb_options(CHANNELS, "test", "Tell a channel that it works", Delivery))
def test_channel(request: HttpRequest, ref: str) -> Any:
    """It says that nothing has happened."""
    CHANNELS.permit(request, "change")
    try:
        try_out(CHANNELS.find(request, ref), timezone.now())
    except NotDelivered as error:
        return {"delivered": False, "reason": str(error)}
    return {"delivered": True, "reason": ""}


@router.post(**verb_options(CHANNELS, "rotate", "Give a webhook another secret to sign with", NewSecret))
def rotate_secret(request: HttpRequest, response: HttpResponse, ref: str) -> Any:
    """From now on its calls are signed with this one. It is in this answer and nowhere else."""
    CHANNELS.permit(request, "change")
    with transaction.atomic():
        channel = CHANNELS.find(request, ref, locked=True)
        if channel.kind != AlertChannel.Kind.WEBHOOK:
            raise conflict("Only webhooks are signed.")
        secret = make_secret()
        channel.set_secret(secret)
    response["Cache-Control"] = "no-store"
    return CHANNELS.show(request, [channel], secret=secret)[0]


# --- Rules ---------------------------------------------------------------------------------------------------


def _write_channels(rule: AlertRule, ids: list[int]) -> None:
    """Make a rule's channels those of the body; they belong to whoever the rule belongs to."""
    found = {channel.pk: channel for channel in AlertChannel.objects.filter(pk__in=ids, tenant=rule.tenant_id)}
    wrong = [number for number, key in enumerate(ids) if key not in found]
    if wrong:
        raise invalid([(f"channels[{number}]", f"There is no alert channel {ids[number]}.") for number in wrong])
    rule.channels.set(found.values())


def _state_of(rule: Any) -> str:
    state = getattr(rule, "state", None)
    if not rule.is_enabled:
        return "off"
    if state is None:
        return "new"
    if state.fires_since is not None:
        return "firing"
    if state.no_data_since is not None:
        return "no_data"
    return "pending" if state.holds_since is not None else "ok"


def _value_of(rule: Any) -> str | None:
    value = getattr(getattr(rule, "state", None), "value", None)
    return None if value is None else f"{value.normalize():f}"


RULE_FIELDS = (
    *("name", "severity", "metric", "comparison", "threshold", "currency", "window", "sustained", "cooldown"),
    *("minimum_requests", "model", "provider", "deployment"),
)

RULES = Resource(
    path="alert-rules",
    noun="alert rule",
    model=AlertRule,
    rows=lambda: AlertRule.objects.select_related("tenant", "watched_tenant", "api_key", "state").prefetch_related(
        "channels"
    ),
    paths={name: name for name in RULE_FIELDS} | {"is_enabled": "enabled"},
    refs={
        "tenant": OWNER,
        "watched_tenant": _watched("Of an operators' rule: only what this tenant does; null: all tenants."),
        "api_key": Reference(
            field="api_key",
            model=ApiKey,
            by="name",
            noun="API key",
            within="tenant",
            whose="watched_id",
            is_required=False,
            description="Only what this key of the tenant does: its name or its id.",
        ),
    },
    filters={
        "tenant": "tenant__slug",
        "watched_tenant": "watched_tenant__slug",
        "metric": "metric",
        "severity": "severity",
        "name": "name",
    },
    extras={
        "channels": Extra(
            annotation=list[int],
            description="The ids of the channels that are told; given, they replace those that there are.",
            show=lambda rule: sorted(channel.pk for channel in rule.channels.all()),
            accepts=list[Whole],
            write=_write_channels,
        ),
        "state": Extra(annotation=str, description="off, new, ok, pending, firing or no_data.", show=_state_of),
        "value": Extra(annotation=str | None, description="What was measured last.", show=_value_of),
        "description": Extra(
            annotation=str,
            description="What it does, in words.",
            show=lambda rule: rule.in_words([channel.name for channel in rule.channels.all()]),
        ),
        "created_at": _made_at(),
    },
    example={
        "tenant": "acme",
        "name": "Errors",
        "metric": "error_rate",
        "threshold": "5",
        "window": 10,
        "channels": [1],
    },
)
add_routes(router, RULES)


# --- Silences ------------------------------------------------------------------------------------------------


def _make_silence(request: HttpRequest, silence: AlertSilence) -> dict[str, Any]:
    """Save a new silence, with who made it."""
    silence.created_by = person_in(request)
    silence.full_clean()
    silence.save()
    return {}


SILENCES = Resource(
    path="alert-silences",
    noun="alert silence",
    model=AlertSilence,
    rows=lambda: AlertSilence.objects.select_related("tenant", "rule", "watched_tenant", "created_by"),
    paths={name: name for name in ("reason", "starts_at", "ends_at", "severity", "provider")},
    refs={
        "tenant": OWNER,
        "rule": Reference(
            field="rule", model=AlertRule, by="name", noun="alert rule", within="tenant", is_required=False
        ),
        "watched_tenant": _watched("Of the operators': only rules that watch this tenant; null: any."),
    },
    filters={"tenant": "tenant__slug", "rule": "rule_id"},
    extras={
        "is_on": Extra(annotation=bool, description="", show=lambda silence: silence.is_on(timezone.now())),
        "created_by": Extra(
            annotation=str | None,
            description="The user who made it.",
            show=lambda silence: None if silence.created_by is None else silence.created_by.get_username(),
        ),
        "created_at": _made_at(),
    },
    make=_make_silence,
    example={"tenant": "acme", "reason": "Upgrade", "ends_at": "2027-12-31T18:00:00Z", "rule": "Errors"},
)
add_routes(router, SILENCES)
SilenceAnswer: Any = SILENCES.answer()


@router.post(**verb_options(SILENCES, "end", "Let a silence be over now", SilenceAnswer))
def end_silence(request: HttpRequest, ref: str) -> Any:
    """What fires is told within a minute."""
    SILENCES.permit(request, "change")
    with transaction.atomic():
        silence = SILENCES.find(request, ref, locked=True)
        if silence.ends_at > timezone.now():
            silence.end()
    return SILENCES.show(request, [silence])[0]


# --- Incidents -----------------------------------------------------------------------------------------------


class Told(Schema):
    """What one channel was told, and what became of that."""

    channel: str
    kind: str
    state: str
    created_at: datetime
    delivered_at: datetime | None
    error: str


def _told(incident: AlertIncident) -> list[dict[str, Any]]:
    return [
        {
            "channel": message.channel_name,
            "kind": message.kind,
            "state": str(message.state),
            "created_at": message.created_at,
            "delivered_at": message.delivered_at,
            "error": message.error,
        }
        for message in incident.messages.all()
    ]


INCIDENT_FIELDS = ("severity", "metric", "currency", "began_at", "resolved_at", "value", "worst", "last")

INCIDENTS = Resource(
    path="alert-incidents",
    noun="alert incident",
    model=AlertIncident,
    rows=lambda: AlertIncident.objects.select_related("tenant", "rule", "acknowledged_by").prefetch_related(
        Prefetch("messages", AlertMessage.objects.order_by("pk"))
    ),
    paths={"title": "name", "words": "description"} | {name: name for name in INCIDENT_FIELDS},
    refs={"tenant": OWNER, "rule": Reference(field="rule", model=AlertRule, by="name", noun="alert rule")},
    verbs=("list", "get"),
    order=("-pk",),
    filters={"tenant": "tenant__slug", "rule": "rule_id", "severity": "severity"},
    extras={
        "is_firing": Extra(
            annotation=bool, description="Whether it goes on.", show=lambda incident: incident.is_firing
        ),
        "acknowledged_at": Extra(
            annotation=datetime | None, description="", show=lambda incident: incident.acknowledged_at
        ),
        "acknowledged_by": Extra(
            annotation=str | None, description="", show=lambda incident: name_of(incident.acknowledged_by)
        ),
        "told": Extra(annotation=list[Told], description="Who was told of it.", show=_told),
    },
)
add_routes(router, INCIDENTS)
IncidentAnswer: Any = INCIDENTS.answer()


@router.post(**verb_options(INCIDENTS, "acknowledge", "Take care of an incident: it is not repeated", IncidentAnswer))
def acknowledge(request: HttpRequest, ref: str) -> Any:
    """That it is over is told still. Doing it again changes nothing."""
    permit(request, "tenants.change_alertincident")
    with transaction.atomic():
        incident = INCIDENTS.find(request, ref, locked=True)
        if not incident.is_firing:
            raise conflict("It is over already.")
        if incident.acknowledged_at is None:
            incident.acknowledge(person_in(request))
    return INCIDENTS.show(request, [INCIDENTS.find(request, str(incident.pk))])[0]
