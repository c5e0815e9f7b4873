"""The page /admin/setup/: from nothing to the first request, for operators. Provider, model, tenant, key, and it arrives.

What is there already is not asked for again. Each step makes its objects in one transaction, which is published as
any change is. A key's secret is in the answer to the form that made it, with the last step; a page that is opened again
has only its beginning. The last step asks every second what has become of the key's first request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from gateway_site.attention import link
from gateway_site.infra.admin import badge, plain
from gateway_site.management.commands.seed_demo import SIMULATOR, simulator_address
from gateway_site.setup_facts import find_facts, may_set_up, usable_keys
from gateway_site.setup_forms import KeyStep, ModelStep, ProviderStep, TenantStep, simulator_runs
from gateway_site.setup_steps import TITLES, Facts, next_step, steps_of
from providers.admin.provider import VERDICTS
from providers.connection_check import check
from providers.models import Provider
from providers.offered import Offered
from providers.price_import import SEED, find_offers, read_offers
from providers.registry import ADAPTERS
from routing.admin.connect import chat_models, setup_for
from routing.admin.progress import newest_number, watch
from routing.admin.provider import offered_by
from routing.connect import Tool, tools
from routing.services import waiting_draft
from routing.usable import UsableModel, usable_models
from routing.workers import running_workers
from tenants.audit import audit
from tenants.error_words import EXPLANATIONS
from tenants.models import ApiKey, UsageRecord
from tenants.services import create_key

LOOKS_BACK = timedelta(days=7)  # few partitions are asked
SKEW = timedelta(seconds=60)  # between the clocks of two workers
MOST_MODELS = 400
FIRST_TOOLS = ("curl", "claude-code", "openai", "anthropic", "codex")


def setup_page(request: HttpRequest) -> HttpResponse:
    """Show a step, or do it."""
    _check(request)
    if request.method == "POST":
        return _act(request)
    facts = find_facts()
    slug = request.GET.get("step", "")
    return _show(request, facts, slug if slug in TITLES else next_step(facts))


def _check(request: HttpRequest) -> None:
    if not may_set_up(request.user):
        raise PermissionDenied


def _number(given: str | None) -> int | None:
    return int(given) if given and given.isdecimal() and len(given) < 19 else None


# --- Showing a step ------------------------------------------------------------------------------------------


def _show(request: HttpRequest, facts: Facts, slug: str, form: Any = None, **more: Any) -> HttpResponse:
    steps = steps_of(facts)
    step = next(each for each in steps if each.slug == slug)
    context = {
        **admin.site.each_context(request),
        "title": "Setup guide",
        "steps": steps,
        "step": step,
        "facts": facts,
        "next": f"{reverse('setup')}?step={next_step(facts, slug)}" if step.number < len(steps) else "",
        "progress": _progress(request),
        "full_form": _full_form(slug),
        **_SHOWN[slug](request, form),
        **more,
    }
    return TemplateResponse(request, "admin/setup.html", context)


def _progress(request: HttpRequest) -> Any:
    """What becomes of the step before, where it made something that is published."""
    after = _number(request.GET.get("after"))
    if after is None or after >= 10**9 or not request.user.has_perm("routing.view_configrevision"):
        return ""
    return watch(after)


def _full_form(slug: str) -> str:
    names = {"provider": "providers_provider", "model": "providers_deployment"}
    names |= {"tenant": "tenants_tenant", "key": "tenants_apikey"}
    return link(f"admin:{names[slug]}_add") if slug in names else ""


def _provider_step(request: HttpRequest, form: Any) -> dict[str, Any]:
    form = form or ProviderStep(has_simulator=_offers_simulator())
    chosen = form.data.get("adapter", "")
    labels = dict(form.fields["adapter"].choices)
    return {"form": form, "chosen": chosen, "cards": [_card(name, label) for name, label in labels.items()]}


def _offers_simulator() -> bool:
    return not Provider.objects.filter(slug=SIMULATOR).exists() and simulator_runs()


def _card(name: str, label: str) -> dict[str, Any]:
    if name == SIMULATOR:
        return {"name": name, "label": label, "address": simulator_address(), "is_simulator": True}
    adapter = ADAPTERS[name]
    return {
        "name": name,
        "label": label,
        "address": adapter.base_url.removeprefix("https://").partition("/")[0] or "vLLM, Ollama, LM Studio, …",
        "is_own": not adapter.base_url,
        "credential_page": adapter.credential_page,
        "documentation": adapter.documentation,
    }


def _model_step(request: HttpRequest, form: Any) -> dict[str, Any]:
    if form is None:
        form = ModelStep(initial={"provider": request.GET.get("provider", "")})
    has_many = len(form.providers) > 1
    return {"form": form, "has_many": has_many, "only": form.providers[0] if form.providers and not has_many else None}


def _tenant_step(request: HttpRequest, form: Any) -> dict[str, Any]:
    return {"form": form or TenantStep()}


def _key_step(request: HttpRequest, form: Any) -> dict[str, Any]:
    if form is None:
        form = KeyStep(initial={"tenant": request.GET.get("tenant", "")})
    has_many = len(form.tenants) > 1
    return {"form": form, "has_many": has_many, "only": form.tenants[0] if form.tenants and not has_many else None}


def _request_step(request: HttpRequest, form: Any) -> dict[str, Any]:
    """The last step with the key that was asked for, else the newest."""
    asked = _number(request.GET.get("key"))
    key = usable_keys().filter(pk=asked).first() if asked is not None else usable_keys().first()
    return {} if key is None else _last_step(request, key)


_SHOWN: dict[str, Callable[[HttpRequest, Any], dict[str, Any]]] = {
    "provider": _provider_step,
    "model": _model_step,
    "tenant": _tenant_step,
    "key": _key_step,
    "request": _request_step,
}


# --- Doing a step --------------------------------------------------------------------------------------------


def _act(request: HttpRequest) -> HttpResponse:
    slug = request.POST.get("step", "")
    if slug not in _DONE:
        return HttpResponseRedirect(reverse("setup"))
    return _DONE[slug](request)


def _go_on(done: str, **query: Any) -> HttpResponse:
    """To the next step that is not done, with what was made."""
    return HttpResponseRedirect(f"{reverse('setup')}?{urlencode({'step': next_step(find_facts(), done), **query})}")


def _make_provider(request: HttpRequest) -> HttpResponse:
    form = ProviderStep(request.POST, has_simulator=_offers_simulator())
    is_valid = form.is_valid()
    if request.POST.get("action") == "test":
        return _test(request, form)
    if not is_valid:
        return _show(request, find_facts(), "provider", form)
    newest = newest_number()
    provider = form.save()
    return HttpResponseRedirect(f"{reverse('setup')}?step=model&provider={provider.pk}&after={newest}")


def _test(request: HttpRequest, form: ProviderStep) -> HttpResponse:
    """Ask the provider that the form describes, saved or not."""
    found = None if form.errors else check(form.provider)
    if found is not None:
        given = form.provider
        audit("connection_tested", None, result=found.verdict, adapter=given.adapter, address=given.effective_base_url)
    context = {
        "found": found,
        "label": badge(*VERDICTS[found.verdict]) if found is not None else "",
        "wrong": [("" if name == "__all__" else form[name].label, said) for name, said in form.errors.items()],
        "is_saved": False,
    }
    return TemplateResponse(request, "admin/providers/connection_result.html", context)


def _make_model(request: HttpRequest) -> HttpResponse:
    form = ModelStep(request.POST)
    if request.POST.get("action") == "models":
        return _models(request, form)
    newest = newest_number()
    alias = form.save() if form.is_valid() else None
    if alias is None:
        return _show(request, find_facts(), "model", form)
    return _go_on("model", after=newest, alias=alias.name)


def _make_tenant(request: HttpRequest) -> HttpResponse:
    form = TenantStep(request.POST)
    if not form.is_valid():
        return _show(request, find_facts(), "tenant", form)
    tenant = form.save()
    return HttpResponseRedirect(f"{reverse('setup')}?step=key&tenant={tenant.pk}{_kept(request)}")


def _make_key(request: HttpRequest) -> HttpResponse:
    """Make a key and answer with the last step, which has its secret: it passes through no session and no URL."""
    form = KeyStep(request.POST)
    if form.is_valid():
        try:
            given: dict[str, Any] = {name: form.cleaned_data[name] for name in ("tenant", "name")}
            key, secret = create_key(**given, created_by=request.user)  # type: ignore[arg-type]
        except ValidationError as error:
            form.add_error("name", error.messages)
    if form.errors:
        return _show(request, find_facts(), "key", form)
    response = _show(request, find_facts(), "request", **_last_step(request, key, secret))
    response["Cache-Control"] = "no-store"
    return response


_DONE: dict[str, Callable[[HttpRequest], HttpResponse]] = {
    "provider": _make_provider,
    "model": _make_model,
    "tenant": _make_tenant,
    "key": _make_key,
}


def _kept(request: HttpRequest) -> str:
    """What the next step's address has of this one's: which model is meant."""
    alias = request.GET.get("alias", "")[:200]
    return f"&{urlencode({'alias': alias})}" if alias else ""


# --- Its models ----------------------------------------------------------------------------------------------


def _models(request: HttpRequest, form: ModelStep) -> HttpResponse:
    """Ask the provider what it offers."""
    chosen = request.POST.get("provider")
    provider = next((each for each in form.providers if str(each.pk) == chosen), None)
    offered, problem = offered_by(provider) if provider is not None else ([], None)
    offered.sort(key=lambda each: (each.kind != "chat", each.kind))
    context = {
        "provider": provider,
        "count": len(offered),
        "rows": list(_rows(provider, offered[:MOST_MODELS])) if provider is not None else [],
        "more": max(0, len(offered) - MOST_MODELS),
        "problem": problem,
        "label": badge(*VERDICTS[problem.verdict]) if problem is not None else "",
    }
    return TemplateResponse(request, "admin/setup/models.html", context)


def _rows(provider: Provider, offered: Iterable[Offered]) -> Iterable[dict[str, Any]]:
    known = read_offers(SEED.read_text(encoding="utf-8"))
    for each in offered:
        yield {
            "name": each.name,
            "kind": each.kind,
            "context": f"{each.context_window:,}" if each.context_window else "",
            "price": _known_price(each, find_offers(known, provider=provider.adapter, model=each.name)),
            "offered": msgspec.json.encode(each).decode(),
        }


def _known_price(offered: Offered, known: list[Any]) -> str:
    """What the provider tells of a model's price, else what comes with Tollgate; empty when neither is known."""
    amounts = [offered.input_price, offered.output_price]
    if None in amounts and len(known) == 1:
        amounts = [known[0].units.get("input"), known[0].units.get("output")]
    if amounts[0] is None:
        return ""
    return f"{' / '.join(plain(each) for each in amounts if each is not None)} USD"


# --- The first request ---------------------------------------------------------------------------------------


def _last_step(request: HttpRequest, key: ApiKey, secret: str = "") -> dict[str, Any]:
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
        "again": f"{reverse('setup')}?{urlencode({'step': 'request', 'key': key.pk})}{_kept(request)}",
        "new_key": f"{reverse('setup')}?{urlencode({'step': 'key', 'tenant': key.tenant_id})}{_kept(request)}",
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
    _check(request)
    number, since = _number(request.GET.get("key")), _number(request.GET.get("since"))
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
