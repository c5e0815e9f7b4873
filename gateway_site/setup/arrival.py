"""The last step of /admin/setup/: what tools need, and what has become of the key's first request, asked every second."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from gateway_site.console.attention import link
from gateway_site.infra.words import plain
from gateway_site.management.commands.seed_demo import SIMULATOR
from gateway_site.setup.facts import may_set_up
from routing.admin.connect import chat_models, setup_for
from routing.connect import Tool, tools
from routing.services import waiting_draft
from routing.usable import UsableModel, usable_models
from routing.workers import running_workers
from tenants.error_words import EXPLANATIONS
from tenants.models import ApiKey, UsageRecord

LOOKS_BACK = timedelta(days=7)  # few partitions are asked
SKEW = timedelta(seconds=60)  # between the clocks of two workers
FIRST_TOOLS = ("curl", "claude-code", "openai", "anthropic", "codex")


def check_may(request: HttpRequest) -> None:
    """Refuse who may not set up."""
    if not may_set_up(request.user):
        raise PermissionDenied


def number_in(request: HttpRequest, name: str) -> int | None:
    """A number that an address has; None for anything else."""
    given = request.GET.get(name)
    return int(given) if given and given.isdecimal() and len(given) < 19 else None


def kept(request: HttpRequest) -> str:
    """What the next step's address has of this one's: which model is meant."""
    alias = request.GET.get("alias", "")[:200]
    return f"&{urlencode({'alias': alias})}" if alias else ""


def last_step(request: HttpRequest, key: ApiKey, secret: str = "") -> dict[str, Any]:
    """What the last step shows: the settings of tools with the key in them, and what has become of its first request."""
    models = chat_models(key.tenant, key)
    wanted = request.GET.get("alias", "")
    model = next((each for each in models if each.name == wanted), models[0] if models and not wanted else None)
    shown = secret or key.hint.partition("…")[0] + "…"
    setup = setup_for(request, model, key=shown, has_secret=bool(secret))
    if model is None and wanted:  # it is on its way to the workers
        setup = replace(setup, model=wanted)
    since = key.created_at if secret or not request.GET.get("after") else timezone.now()
    return {
        "key": key,
        "secret": secret,
        "model": setup.model,
        "has_model": bool(models or wanted),
        "tools": _ordered(tools(setup)),
        "again": f"{reverse('setup')}?{urlencode({'step': 'request', 'key': key.pk})}{kept(request)}",
        "new_key": f"{reverse('setup')}?{urlencode({'step': 'key', 'tenant': key.tenant_id})}{kept(request)}",
        "explanations": {code: " ".join(said) for code, said in EXPLANATIONS.items()},
        **_arrival(key, since=since, wanted=wanted),
    }


def _ordered(found: Iterable[Tool]) -> list[Tool]:
    """Those that are tried first come first."""
    places = {slug: place for place, slug in enumerate(FIRST_TOOLS)}
    return sorted(found, key=lambda tool: places.get(tool.slug, len(places)))


@require_safe
def setup_arrival(request: HttpRequest) -> HttpResponse:
    """Say what has become of a key's first request; 204 as long as it is what the page says already."""
    check_may(request)
    number, since = number_in(request, "key"), number_in(request, "since")
    key = ApiKey.objects.select_related("tenant").filter(pk=number).first() if number is not None else None
    if key is None:
        return HttpResponse(status=204)
    since = min(since or 0, 10**11)
    context = _arrival(key, since=datetime.fromtimestamp(since, UTC), wanted=request.GET.get("alias", "")[:200])
    if context["seen"] == request.GET.get("seen"):
        return HttpResponse(status=204)
    return TemplateResponse(request, "admin/setup/arrival.html", context)


def _arrival(key: ApiKey, *, since: datetime, wanted: str) -> dict[str, Any]:
    """What the page says: the newest request of the key, else whether one would be answered."""
    since = max(since, timezone.now() - LOOKS_BACK)
    record = UsageRecord.objects.filter(api_key=key.pk, started_at__gte=since - SKEW).order_by("-started_at").first()
    checks = [] if record is not None else _checks(key, wanted)
    seen = record.request_id.hex if record is not None else "".join("1" if is_so else "0" for is_so, *_ in checks)
    query = {"key": key.pk, "since": int(since.timestamp()), "seen": seen, "alias": wanted}
    return {
        "record": _told(record) if record is not None else None,
        "checks": checks,
        "is_ready": all(is_so for is_so, *_ in checks),
        "seen": seen,
        "ask": f"{reverse('setup_arrival')}?{urlencode(query)}",
        "tenant": key.tenant,
        "key": key,
        "next_steps": _next_steps(key) if record is not None and record.outcome == "served" else [],
    }


def _told(record: UsageRecord) -> dict[str, Any]:
    meaning, advice = EXPLANATIONS.get(record.error_code, ("", ""))
    return {
        "is_served": record.outcome == "served",
        "status": record.status,
        "outcome": record.get_outcome_display(),
        "code": record.error_code,
        "meaning": meaning,
        "advice": advice,
        "alias": record.alias,
        "answered_by": " / ".join(each for each in (record.provider, record.model) if each),
        "input": _tokens(record.input_tokens, record.cache_read_tokens),
        "output": _tokens(record.output_tokens),
        "cost": "no price yet" if record.cost_status == "unpriced" else f"{plain(record.cost)} {record.currency}",
        "milliseconds": f"{record.latency_ms:,}",
        "first_token": f"{record.first_token_ms:,}" if record.first_token_ms is not None else "",
        "url": link("admin:tenants_usagerecord_change", record.request_id),
        "is_simulated": record.provider == SIMULATOR,
    }


def _tokens(*counts: int | None) -> str:
    told = [count for count in counts if count is not None]
    return f"{sum(told):,}" if told else "not told"


def _checks(key: ApiKey, wanted: str) -> list[tuple[bool, str, str, str]]:
    """What a request needs: whether it is there, in words, and where to do something about it."""
    models = usable_models(key.tenant, key)
    return [_key_check(key), _model_check(models, wanted), _worker_check()]


def _key_check(key: ApiKey) -> tuple[bool, str, str, str]:
    page = link("admin:tenants_apikey_change", key.pk)
    if key.tenant.is_suspended:
        return False, f"{key.tenant} is suspended: its keys are refused with 403.", page, "Open the key"
    if key.status != "active":
        return False, f"The key {key.name} is {key.status}: it is refused with 401.", page, "Open the key"
    return True, f"The key {key.name} of {key.tenant} is valid.", "", ""


def _model_check(models: list[UsableModel], wanted: str) -> tuple[bool, str, str, str]:
    if models and (not wanted or any(each.name == wanted for each in models)):
        return True, f"It may use {wanted or models[0].name}.", "", ""
    draft = waiting_draft()
    if draft is not None:
        page = link("admin:routing_configrevision_change", draft.pk)
        return False, f"The model waits in a draft, {draft}: somebody has to publish it.", page, "Open the draft"
    if wanted:
        return (
            False,
            f"{wanted} is not published yet.",
            link("admin:routing_configrevision_changelist"),
            "Open revisions",
        )
    return False, "No model is published that it may use.", f"{reverse('setup')}?step=model", "Add a model"


def _worker_check() -> tuple[bool, str, str, str]:
    workers = running_workers()
    nodes = link("nodes")
    if not workers:
        return False, "No worker has reported yet.", nodes, "Open nodes"
    late = sum(worker.lag is not None for worker in workers)
    if late:
        return False, f"{late} of {len(workers)} workers still load the newest revision.", nodes, "Open nodes"
    revision = max(worker.report.revision for worker in workers)
    return True, f"Revision {revision} is live in every worker ({len(workers)}).", "", ""


def _next_steps(key: ApiKey) -> list[tuple[str, str, str, str]]:
    """Where to go from here: address, icon, title, why; pages that there are."""
    tenant = link("admin:tenants_tenant_change", key.tenant_id)
    found = (
        (tenant, "savings", "Limits and budgets", f"How much {key.tenant} may ask for, and spend."),
        (
            link("admin:tenants_invitation_add", tenant=key.tenant_id),
            "mail",
            "Invite people",
            "They see their own usage.",
        ),
        (
            _first("admin:tenants_alertrule_changelist", "admin:tenants_budgetalert_changelist"),
            "notifications",
            "Alerts",
            "Hear of it in time.",
        ),
        (link("dry_run"), "conversion_path", "Dry run", "Which target a request would get, and why."),
    )
    return [each for each in found if each[0]]


def _first(*names: str) -> str:
    return next((found for name in names if (found := link(name))), "")
