"""The page /admin/playground: a request of one's own through the real gateway, from the browser.

The browser sends it to this origin's own `/v1/…`, so everything that binds programs binds it, and it is billed. These views
only hand out what the script needs: the request in the chosen format, the same as code, and a key that is over in an hour
(`tenants/playground_keys.py`); later, what the ledger says. Prompts and answers pass through no store of ours.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from gateway_site.infra.form_fields import ChosenField
from gateway_site.infra.words import DIALECTS
from routing.admin.connect import autocomplete, chat_models, chosen_tenant, origin
from routing.connect import SECRET_PLACE
from routing.examples import LANGUAGES, Ask, Connection, code_for, request_of
from routing.playground import EXPLANATIONS, outcome_of
from tenants.admin.scope import standing_in
from tenants.models import Project, Tenant
from tenants.playground_keys import LIFETIME, playground_key

PERMISSION = "tenants.add_apikey"
LONGEST_PROMPT = 200_000
MOST_PROJECTS = 200


class TenantForm(forms.Form):
    """For whom; operators choose."""

    tenant = ChosenField(Tenant.objects.all(), required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["tenant"]
        field.widget = autocomplete("tenant", field, "Choose a tenant")

    class Media:
        js = ("admin/js/jquery.init.js",)


class AskForm(forms.Form):
    """What is asked, as the script sends it."""

    tenant = forms.CharField(required=False)
    project = forms.CharField(required=False)
    dialect = forms.ChoiceField(choices=list(DIALECTS.items()))
    model = forms.CharField(max_length=200)
    system = forms.CharField(required=False, max_length=LONGEST_PROMPT, strip=False)
    user = forms.CharField(max_length=LONGEST_PROMPT, strip=False, label="Message")
    max_tokens = forms.IntegerField(required=False, min_value=1, max_value=1_000_000)
    temperature = forms.FloatField(required=False, min_value=0, max_value=2)
    stream = forms.BooleanField(required=False)
    needs_key = forms.BooleanField(required=False)

    def ask(self) -> Ask:
        """The request that it stands for."""
        given = self.cleaned_data
        return Ask(
            dialect=given["dialect"],
            model=given["model"],
            user=given["user"],
            system=given["system"],
            max_tokens=given["max_tokens"],
            temperature=given["temperature"],
            is_streamed=given["stream"],
        )


def playground_page(request: HttpRequest) -> HttpResponse:
    """Show the form; the script does the rest."""
    _check(request)
    tenant = chosen_tenant(request, request.GET.get("tenant", ""))
    models = chat_models(tenant)
    is_operator = standing_in(request).is_operator
    form = TenantForm(initial={"tenant": tenant}) if is_operator else None
    context = {
        **admin.site.each_context(request),
        "title": "Playground",
        "form": form,
        "media": form.media if form is not None else "",
        "tenant": tenant,
        "projects": list(Project.objects.for_tenant(tenant)[:MOST_PROJECTS]) if tenant is not None else [],
        "models": models,
        "chosen": request.GET.get("model", ""),
        "dialects": DIALECTS,
        "languages": LANGUAGES,
        "minutes": int(LIFETIME.total_seconds() // 60),
        "facts": {
            "models": {model.name: {"dialect": model.dialect, "currencies": model.currencies} for model in models},
            "explanations": EXPLANATIONS,
            "record": reverse("admin:tenants_usagerecord_change", args=["0"]).replace("/0/", "/REQUEST/"),
        },
    }
    return TemplateResponse(request, "admin/playground.html", context)


@require_POST
def playground_request(request: HttpRequest) -> HttpResponse:
    """Return the request to send, the same as code, and a key to send it with where none is at hand."""
    _check(request)
    form = AskForm(request.POST)
    if not form.is_valid():
        return _refused(form.errors.get_json_data())
    tenant = chosen_tenant(request, form.cleaned_data["tenant"])
    if tenant is None:
        return _refused({"tenant": [{"message": "Choose a tenant."}]})
    project = _project(tenant, form.cleaned_data["project"])
    ask = form.ask()
    sent, connection = request_of(ask), Connection(origin=origin(request), key=SECRET_PLACE)
    content: dict[str, Any] = {
        "path": sent.path,
        "headers": {"content-type": "application/json", **sent.headers},
        "body": sent.body,
        "code": {name: code_for(ask, connection, name) for name in LANGUAGES},
    }
    if form.cleaned_data["needs_key"]:
        try:
            key, secret = playground_key(tenant=tenant, user=request.user, project=project)  # type: ignore[arg-type]
        except ValidationError as error:
            return _refused({"key": [{"message": message} for message in error.messages]}, status=403)
        assert key.expires_at is not None
        content["key"] = {"secret": secret, "name": key.name, "expires_at": key.expires_at.timestamp()}
    return _json(content)


@require_safe
def playground_outcome(request: HttpRequest) -> HttpResponse:
    """Return what the ledger says of a request; 202 until it says something."""
    _check(request, "tenants.view_usagerecord")
    try:
        request_id = UUID(request.GET.get("request_id", ""))
    except ValueError:
        return _refused({"request_id": [{"message": "This is no request's id."}]})
    found = outcome_of(request_id, standing_in(request).tenant_id)
    return _json(found) if found is not None else _json({}, status=202)


def _check(request: HttpRequest, *also: str) -> None:
    """Whoever may make keys may use one; viewers may not."""
    if not request.user.has_perms((PERMISSION, *also)):
        raise PermissionDenied


def _project(tenant: Tenant, chosen: str) -> Project | None:
    if not chosen.isdecimal() or len(chosen) > 18:
        return None
    found = Project.objects.for_tenant(tenant).filter(pk=int(chosen)).first()
    if found is None:
        raise PermissionDenied
    return found


def _refused(errors: Any, *, status: int = 422) -> HttpResponse:
    return _json({"errors": errors}, status=status)


def _json(content: Any, *, status: int = 200) -> HttpResponse:
    response = JsonResponse(content, status=status)
    response["Cache-Control"] = "no-store"
    return response
