"""The page /admin/connect: each tool's settings to copy, with a tenant's own address, models and key filled in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.widgets import UnfoldAdminSelectWidget

from gateway_site.infra.form_fields import ChosenField
from routing.connect import SECRET_PLACE, Setup, Tool, tools
from routing.examples import Connection
from routing.usable import UsableModel, usable_models
from tenants.admin.scope import standing_in
from tenants.models import ApiKey, Tenant, UsageRecord

MOST_CHOICES = 500
PERMISSION = "tenants.view_apikey"


class SearchedSelect(AutocompleteSelect):
    """Says something where nothing is chosen."""

    placeholder = ""

    def build_attrs(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {**super().build_attrs(*args, **kwargs), "data-placeholder": self.placeholder}


def autocomplete(field_name: str, found: Any, placeholder: str) -> AutocompleteSelect:
    """A field that is searched as a usage record's own would be: what is found there, its page decides."""
    reference: Any = UsageRecord._meta.get_field(field_name)
    widget = SearchedSelect(reference, admin.site, attrs={"class": "unfold-admin-autocomplete"})
    widget.placeholder = placeholder
    widget.choices = found.choices
    return widget


class ConnectForm(forms.Form):
    """Whose settings."""

    tenant = ChosenField(Tenant.objects.all(), required=False)
    key = ChosenField(ApiKey.objects.none(), required=False, label="API key")
    model = forms.ChoiceField(required=False, widget=UnfoldAdminSelectWidget)

    def __init__(self, *, tenant: Tenant | None, models: list[UsableModel], is_operator: bool, **given: Any) -> None:
        super().__init__(**given)
        fields: dict[str, Any] = self.fields
        if is_operator:
            fields["tenant"].widget = autocomplete("tenant", fields["tenant"], "Choose a tenant")
        else:
            del self.fields["tenant"]
        fields["key"].queryset = keys_of(tenant)
        fields["key"].widget = autocomplete("api_key", fields["key"], "None yet")
        fields["model"].choices = [(model.name, model.name) for model in models] or [("", "None yet")]

    class Media:
        js = ("admin/js/jquery.init.js", "js/scoped_autocomplete.js")


def keys_of(tenant: Tenant | None) -> Any:
    """The keys that a tenant's programs may use now."""
    if tenant is None:
        return ApiKey.objects.none()
    return ApiKey.objects.for_tenant(tenant).of_programs().active()


def connect_page(request: HttpRequest) -> HttpResponse:
    """Show how each tool is pointed at this gateway."""
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    tenant = chosen_tenant(request, request.GET.get("tenant", ""))
    key = _chosen_key(request, tenant)
    models = chat_models(tenant, key)
    model = next((each for each in models if each.name == request.GET.get("model")), models[0] if models else None)
    form = ConnectForm(
        tenant=tenant,
        models=models[:MOST_CHOICES],
        is_operator=standing_in(request).is_operator,
        initial={"tenant": tenant, "key": key, "model": model.name if model is not None else ""},
    )
    setup = setup_for(request, model, key=key.hint.partition("…")[0] + "…" if key is not None else SECRET_PLACE)
    context = {
        **admin.site.each_context(request),
        "title": "Connect",
        "form": form,
        "media": form.media,
        "tenant": tenant,
        "key": key,
        "model": model,
        "models": models,
        "setup": setup,
        "tools": tools(setup),
        **_links(request, tenant),
    }
    return TemplateResponse(request, "admin/connect/page.html", context)


def chosen_tenant(request: HttpRequest, chosen: str) -> Tenant | None:
    """A member's own tenant, whatever is asked for; for operators the one that was chosen, or the only one there is."""
    standing = standing_in(request)
    if not standing.is_operator:
        return standing.tenant
    if chosen.isdecimal() and len(chosen) < 19:
        return Tenant.objects.filter(pk=int(chosen)).first()
    first = list(Tenant.objects.order_by("pk")[:2])
    return first[0] if len(first) == 1 else None


def _chosen_key(request: HttpRequest, tenant: Tenant | None) -> ApiKey | None:
    """The key that was chosen, else the newest, one's own first."""
    found, chosen = keys_of(tenant), request.GET.get("key", "")
    if chosen.isdecimal() and len(chosen) < 19:
        return found.filter(pk=int(chosen)).first()
    own = found.filter(created_by=request.user.pk).order_by("-pk").first()
    return own or found.order_by("-pk").first()


def chat_models(tenant: Tenant | None, key: ApiKey | None = None) -> list[UsableModel]:
    """The models that the tools can talk to."""
    return [] if tenant is None else [model for model in usable_models(tenant, key) if model.kind == "chat"]


def origin(request: HttpRequest) -> str:
    """The address that this request was sent to, which is the gateway's own."""
    return f"{request.scheme}://{request.get_host()}"


def setup_for(request: HttpRequest, model: UsableModel | None, *, key: str, has_secret: bool = False) -> Setup:
    """What is filled in; `key` is a secret only where the page may show one."""
    setup = Setup(connection=Connection(origin=origin(request), key=key), has_secret=has_secret)
    return setup if model is None else replace(setup, model=model.name, dialect=model.dialect)


def _links(request: HttpRequest, tenant: Tenant | None) -> dict[str, Any]:
    user: Any = request.user
    new_key = reverse("admin:tenants_apikey_add")
    return {
        "new_key": f"{new_key}?tenant={tenant.pk}" if tenant is not None else new_key,
        "may_add_keys": user.has_perm("tenants.add_apikey"),
    }


def tools_for_new_key(request: HttpRequest, key: ApiKey, secret: str) -> tuple[Tool, ...]:
    """What the page of a new key shows: all of it, with the secret in it."""
    models = chat_models(key.tenant, key)
    return tools(setup_for(request, models[0] if models else None, key=secret, has_secret=True))
