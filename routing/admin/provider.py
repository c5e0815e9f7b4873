"""Providers again, with their models: routing knows what to make of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from django.contrib import admin, messages
from django.core import signing
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action

from gateway_site.infra import secrets
from gateway_site.infra.admin import badge
from gateway_site.infra.table import table
from gateway_site.infra.words import plain
from providers.admin.provider import VERDICTS, ProviderAdmin
from providers.connection_check import CANNOT_PROBE, Check, check
from providers.inquiry import NoAnswer
from providers.models import Deployment, Provider
from providers.offered import Offered, fetch_offered
from providers.price_import import Malformed
from providers.transport import TransportError
from routing.admin.progress import PublishedMixin
from routing.model_import import Imported, import_models, known_prices

SALT = "routing.import_models"
LIST_SECONDS = 3600
MOST_CHOSEN = 500
RIGHTS = (
    "providers.add_deployment",
    "providers.add_modelprice",
    "routing.add_route",
    "routing.add_routetarget",
    "routing.add_modelalias",
)
HEADINGS = ("Take", "Model", "Kind", "Context", "Answer", "Can", "Price it tells", "Known price", "Here")

admin.site.unregister(Provider)


@admin.register(Provider)
class RoutedProviderAdmin(PublishedMixin, ProviderAdmin):
    actions_row = (*ProviderAdmin.actions_row, "models_of_it")
    actions_detail = ("models_of_it",)

    def has_models_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Whether this user may make all that comes of a choice."""
        return request.user.has_perms(("providers.change_provider", *RIGHTS))

    @action(description="Fetch models", icon="cloud_download", permissions=["models"], url_path="models")
    def models_of_it(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """List what the provider offers, and make deployments of what is chosen."""
        provider = self.load(request, object_id)
        if request.method == "POST" and "offered" in request.POST:
            return self._take(request, provider)
        is_asked = request.method == "POST"
        offered, problem = offered_by(provider) if is_asked else ([], None)
        if is_asked:
            self.log_change(request, provider, f"Fetched its models: {len(offered)}.")
        context = {
            **self.admin_site.each_context(request),
            "title": f"Models of {provider}",
            "opts": self.opts,
            "provider": provider,
            "is_asked": is_asked,
            "problem": problem,
            "label": badge(*VERDICTS[problem.verdict]) if problem is not None else "",
            "count": len(offered),
            "offered": _table(provider, offered) if offered else "",
            "token": _sealed(provider, offered) if offered else "",
        }
        return TemplateResponse(request, "admin/providers/models.html", context)

    def _take(self, request: HttpRequest, provider: Provider) -> HttpResponse:
        again = HttpResponseRedirect(request.path)
        try:
            known = _unsealed(provider, request.POST["offered"])
        except (signing.BadSignature, msgspec.DecodeError):
            self.message_user(request, "This list is too old; fetch it again.", messages.ERROR)
            return again
        names = dict.fromkeys(request.POST.getlist("model"))
        chosen = [known[name] for name in names if name in known]
        if not chosen or len(chosen) > MOST_CHOSEN:
            self.message_user(request, f"Choose from 1 to {MOST_CHOSEN} models.", messages.ERROR)
            return again
        try:
            made = import_models(
                provider, chosen, with_routes="with_routes" in request.POST, with_prices="with_prices" in request.POST
            )
        except ValidationError as error:
            said = error.messages
        except Malformed as error:
            said = error.problems
        else:
            self._tell(request, provider, made)
            listed = reverse(f"{self.admin_site.name}:providers_deployment_changelist")
            return HttpResponseRedirect(f"{listed}?provider__id__exact={provider.pk}")
        for sentence in said[:20]:
            self.message_user(request, sentence, messages.ERROR)
        return again

    def _tell(self, request: HttpRequest, provider: Provider, made: Imported) -> None:
        for item in (*made.deployments, *made.routes, *made.aliases, *made.prices):
            self.log_addition(request, item, f"Taken over from what {provider.slug} offers.")
        parts = [
            _counted(len(made.deployments), "deployment"),
            _counted(len(made.routes), "route"),
            _counted(len(made.aliases), "alias", "aliases"),
            _counted(len(made.prices), "price"),
        ]
        self.message_user(request, f"Made {', '.join(part for part in parts if part)}.", messages.SUCCESS)


def _counted(count: int, noun: str, nouns: str = "") -> str:
    return f"{count} {noun if count == 1 else nouns or noun + 's'}" if count else ""


def offered_by(provider: Provider) -> tuple[list[Offered], Check | None]:
    """Return what it offers, or why that is not known."""
    try:
        offered = fetch_offered(provider)
    except (secrets.SecretUnreadable, ValueError, LookupError, NoAnswer, TransportError, TimeoutError):
        return [], check(provider)
    return offered, None if offered else Check(verdict=CANNOT_PROBE, reason="It lists no models.")


# --- The list ------------------------------------------------------------------------------------------------


def _table(provider: Provider, offered: Iterable[Offered]) -> SafeString:
    rows = list(offered)
    priced = known_prices(provider, rows)
    here: dict[str, list[str]] = {}
    for slug, model in Deployment.objects.filter(provider=provider).values_list("slug", "model"):
        here.setdefault(model, []).append(slug)
    return table(HEADINGS, (_row(each, here.get(each.name, []), is_priced=each.name in priced) for each in rows))


def _row(offered: Offered, here: list[str], *, is_priced: bool) -> tuple[Any, ...]:
    box = format_html(
        '<input type="checkbox" name="model" value="{}" aria-label="Take {}">',
        offered.name,
        offered.name,
    )
    return (
        "" if here else box,
        format_html('<code class="model-name">{}</code>', offered.name),
        offered.kind,
        _number(offered.context_window),
        _number(offered.max_output_tokens),
        ", ".join(offered.abilities) or "not told",
        _price(offered),
        badge("Known", "success") if is_priced else badge("Unknown", "warning"),
        format_html("{}", ", ".join(here)) if here else "",
    )


def _number(number: int | None) -> str:
    return "not told" if number is None else f"{number:,}"


def _price(offered: Offered) -> str:
    if offered.input_price is None or offered.output_price is None:
        return "not told"
    return f"{plain(offered.input_price)} / {plain(offered.output_price)} USD"


def _sealed(provider: Provider, offered: Iterable[Offered]) -> str:
    """What was shown travels through the browser, signed."""
    text = msgspec.json.encode({"provider": provider.pk, "offered": list(offered)}).decode()
    return signing.dumps(text, salt=SALT, compress=True)


class _Seen(msgspec.Struct, frozen=True):
    provider: int
    offered: list[Offered]


def _unsealed(provider: Provider, token: str) -> dict[str, Offered]:
    seen = msgspec.json.decode(signing.loads(token, salt=SALT, max_age=LIST_SECONDS), type=_Seen)
    if seen.provider != provider.pk:
        raise signing.BadSignature("of another provider")
    return {offered.name: offered for offered in seen.offered}
