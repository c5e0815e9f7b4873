"""The page /admin/setup/: from nothing to the first request, for operators. Provider, model, tenant, key, and it arrives.

What is there already is not asked for again. Each step makes its objects in one transaction, which is published as
any change is. A key's secret is in the answer to the form that made it, with the last step; a page that is opened again
has only its beginning. The last step is `arrival.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from gateway_site.console.attention import link
from gateway_site.infra.admin import badge
from gateway_site.infra.words import plain
from gateway_site.management.commands.seed_demo import SIMULATOR, simulator_address
from gateway_site.setup.arrival import check_may, kept, last_step, number_in
from gateway_site.setup.facts import find_facts, usable_keys
from gateway_site.setup.forms import KeyStep, ModelStep, ProviderStep, TenantStep, simulator_runs
from gateway_site.setup.steps import TITLES, Facts, next_step, steps_of
from providers.admin.provider import VERDICTS
from providers.connection_check import check
from providers.models import Provider
from providers.offered import Offered
from providers.price_import import SEED, find_offers, read_offers
from providers.registry import ADAPTERS
from routing.admin.progress import newest_number, watch
from routing.admin.provider import offered_by
from tenants.audit import audit
from tenants.services import create_key

MOST_MODELS = 400


def setup_page(request: HttpRequest) -> HttpResponse:
    """Show a step, or do it."""
    check_may(request)
    if request.method == "POST":
        return _act(request)
    facts = find_facts()
    slug = request.GET.get("step", "")
    return _show(request, facts, slug if slug in TITLES else next_step(facts))


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
    after = number_in(request, "after")
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
    return {"form": form, **_choice(form.providers)}


def _tenant_step(request: HttpRequest, form: Any) -> dict[str, Any]:
    return {"form": form or TenantStep()}


def _key_step(request: HttpRequest, form: Any) -> dict[str, Any]:
    if form is None:
        form = KeyStep(initial={"tenant": request.GET.get("tenant", "")})
    return {"form": form, **_choice(form.tenants)}


def _choice(rows: Sequence[Any]) -> dict[str, Any]:
    """Whether one has to be chosen; if not, the only one."""
    return {"has_many": len(rows) > 1, "only": rows[0] if len(rows) == 1 else None}


def _request_step(request: HttpRequest, form: Any) -> dict[str, Any]:
    """The last step with the key that was asked for, else the newest."""
    asked = number_in(request, "key")
    key = usable_keys().filter(pk=asked).first() if asked is not None else usable_keys().first()
    return {} if key is None else last_step(request, key)


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
    return HttpResponseRedirect(f"{reverse('setup')}?step=key&tenant={tenant.pk}{kept(request)}")


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
    response = _show(request, find_facts(), "request", **last_step(request, key, secret))
    response["Cache-Control"] = "no-store"
    return response


_DONE: dict[str, Callable[[HttpRequest], HttpResponse]] = {
    "provider": _make_provider,
    "model": _make_model,
    "tenant": _make_tenant,
    "key": _make_key,
}


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
