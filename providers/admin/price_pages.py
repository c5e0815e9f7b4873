"""Two pages beside the prices: taking prices over from a file, and what was served without one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec
from django import forms
from django.core import signing
from django.core.exceptions import ValidationError
from django.db.models import Max, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminFileFieldWidget, UnfoldBooleanSwitchWidget

from gateway_site.infra.admin import Admin, badge
from gateway_site.infra.form_fields import UploadField
from providers.models import Deployment, ModelPrice
from providers.price_import import MOST_BYTES, SEED, Malformed, Offer, differences, read_offers
from providers.price_updates import SIDES, Plan, Update, apply_updates, plan_updates
from providers.pricing import Price, price_at
from tenants.admin.trace import table
from tenants.models import UsageDay, UsageRecord

SALT = "providers.import_prices"
PREVIEW_SECONDS = 3600
MOST_PROBLEMS = 20
RECENT = timedelta(days=31)
MOST_UNPRICED = 500


class ImportForm(forms.Form):
    """Where prices come from, and what goes on top."""

    file = UploadField(
        most_bytes=MOST_BYTES,
        required=False,
        widget=UnfoldAdminFileFieldWidget,
        help_text="In the format of LiteLLM's model_prices_and_context_window.json.",
    )
    seed = forms.BooleanField(
        required=False,
        label="The prices of well known models that come with Tollgate",
        widget=UnfoldBooleanSwitchWidget,
    )
    margin = forms.DecimalField(
        required=False,
        min_value=0,
        max_value=10_000,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="Per cent on top for what tenants pay; empty: only deployments without a price get one, at cost.",
    )

    offers: Mapping[str, Offer] = {}

    def clean(self) -> None:
        """Read the file; a malformed one is refused with all that is wrong with it."""
        file, seed = self.cleaned_data.get("file"), self.cleaned_data.get("seed")
        if "file" in self.errors:
            return
        if bool(file) == bool(seed):
            raise ValidationError({"file": "Choose a file, or the prices that come with Tollgate."})
        try:
            self.offers = read_offers(file.read().decode() if file else SEED.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise ValidationError({"file": f"This is not UTF-8 text: byte {error.start} cannot be read."}) from None
        except Malformed as error:
            more = len(error.problems) - MOST_PROBLEMS
            shown = [*error.problems[:MOST_PROBLEMS], *([f"And {more} more."] if more > 0 else [])]
            raise ValidationError({"file": shown}) from None


def import_page(page: Admin, request: HttpRequest) -> HttpResponse:
    """Upload, look at what would change, apply what is accepted."""
    if "plan" in request.POST:
        return _apply(page, request)
    is_asked = request.method == "POST"
    form = ImportForm(request.POST, request.FILES) if is_asked else ImportForm()
    plan = None
    if is_asked and form.is_valid():
        plan = plan_updates(form.offers, margin=form.cleaned_data["margin"], now=timezone.now())
    return _show(page, request, form, plan)


def _show(page: Admin, request: HttpRequest, form: ImportForm, plan: Plan | None) -> HttpResponse:
    context = {
        **page.admin_site.each_context(request),
        "title": "Import prices",
        "opts": page.opts,
        "form": form,
        "media": form.media,
        "plan": plan,
        "token": _sealed(plan) if plan is not None else "",
        "updates": table(("Accept", "Deployment", "Which price", "In the file", "Changes"), map(_row, plan.updates))
        if plan is not None and plan.updates
        else "",
    }
    return TemplateResponse(request, "admin/providers/import_prices.html", context)


def _row(update: Update) -> tuple[Any, ...]:
    box = format_html(
        '<input type="checkbox" name="accept" value="{}" checked aria-label="Accept {}">', update.key, update.subject
    )
    lines = format_html_join("", '<li class="whitespace-nowrap">{}</li>', ((line,) for line in update.lines))
    return box, update.deployment.slug, SIDES[update.side], update.offer, format_html("<ul>{}</ul>", lines)


# --- Applying what was seen ----------------------------------------------------------------------------------


class _Seen(msgspec.Struct, frozen=True, kw_only=True):
    """An update as the preview showed it; it travels through the browser, signed."""

    deployment: int
    offer: str
    price: Price
    lines: tuple[str, ...]
    is_first: bool


def _sealed(plan: Plan) -> str:
    seen = [
        _Seen(
            deployment=update.deployment.pk,
            offer=update.offer,
            price=update.price,
            lines=update.lines,
            is_first=update.is_first,
        )
        for update in plan.updates
    ]
    return signing.dumps(msgspec.json.encode(seen).decode(), salt=SALT, compress=True)


def _apply(page: Admin, request: HttpRequest) -> HttpResponse:
    again = HttpResponseRedirect(request.path)
    try:
        blob = signing.loads(request.POST["plan"], salt=SALT, max_age=PREVIEW_SECONDS)
        seen = msgspec.json.decode(blob, type=list[_Seen])
    except (signing.BadSignature, msgspec.DecodeError):
        page.message_user(request, "This preview is too old; look at it again.", "ERROR")
        return again
    accepted = set(request.POST.getlist("accept"))
    try:
        prices = apply_updates(_accepted(seen, accepted))
    except Malformed as error:
        for problem in error.problems[:MOST_PROBLEMS]:
            page.message_user(request, problem, "ERROR")
        return again
    for price in prices:
        page.log_addition(request, price, "Imported.")
    page.message_user(request, f"{len(prices)} prices are in force from now on.")
    return HttpResponseRedirect(reverse(f"{page.admin_site.name}:providers_modelprice_changelist"))


def _accepted(seen: Iterable[_Seen], keys: set[str]) -> list[Update]:
    """Return what was accepted; raises Malformed where the prices are others by now than those it was compared with."""
    updates = [each for each in seen if f"{each.deployment}-{each.price.side}" in keys]
    deployments = Deployment.objects.prefetch_related("prices").in_bulk([each.deployment for each in updates])
    problems = [
        f"{each.offer}: its prices have changed since the preview; look at it again."
        for each in updates
        if each.deployment not in deployments or _lines_now(deployments[each.deployment], each.price) != each.lines
    ]
    if problems:
        raise Malformed(problems)
    return [
        Update(
            deployment=deployments[each.deployment],
            side=ModelPrice.Side(each.price.side),
            offer=each.offer,
            price=each.price,
            lines=each.lines,
            is_first=each.is_first,
        )
        for each in updates
    ]


def _lines_now(deployment: Deployment, price: Price) -> tuple[str, ...]:
    prices = tuple(row.as_price() for row in deployment.prices.all())
    return tuple(differences(price_at(prices, price.side, timezone.now().timestamp()), price))


# --- What was served without a price -------------------------------------------------------------------------


def unpriced_page(page: Admin, request: HttpRequest) -> HttpResponse:
    """List what was served without a price in the last month, from the rollups."""
    rows = (
        UsageDay.objects.filter(starts_at__gte=timezone.now() - RECENT, cost_status=UsageRecord.CostStatus.UNPRICED)
        .values("provider", "deployment")
        .annotate(
            requests=Sum("requests"), input=Sum("input_tokens"), output=Sum("output_tokens"), last=Max("starts_at")
        )
        .order_by("-requests", "deployment")[:MOST_UNPRICED]
    )
    found = list(rows)
    deployments = Deployment.objects.prefetch_related("prices").in_bulk(
        [row["deployment"] for row in found], field_name="slug"
    )
    headings = ("Deployment", "Provider", "Requests", "Input tokens", "Output tokens", "Last day", "Price")
    context = {
        **page.admin_site.each_context(request),
        "title": "Unpriced models",
        "opts": page.opts,
        "unpriced": table(headings, (_unpriced(page, row, deployments.get(row["deployment"])) for row in found))
        if found
        else "",
    }
    return TemplateResponse(request, "admin/providers/unpriced.html", context)


def _unpriced(page: Admin, row: Mapping[str, Any], deployment: Deployment | None) -> tuple[Any, ...]:
    return (
        row["deployment"] or "none",
        row["provider"],
        f"{row['requests']:,}",
        f"{row['input'] or 0:,}",
        f"{row['output'] or 0:,}",
        f"{row['last']:%Y-%m-%d}",
        _price_state(page, row["deployment"], deployment),
    )


def _price_state(page: Admin, slug: str, deployment: Deployment | None) -> SafeString | str:
    if deployment is None:
        # A model of a provider's catalogue, or a deployment that is gone.
        return f"No deployment {slug!r} to price"
    prices = tuple(price.as_price() for price in deployment.prices.all())
    if price_at(prices, ModelPrice.Side.SELL, timezone.now().timestamp()) is not None:
        return badge("Has a price now", "success")
    return format_html('<a href="{}" class="text-link">Price this model</a>', price_url(page, deployment))


def price_url(page: Admin, deployment: Deployment) -> str:
    """The form for a new price of a deployment."""
    return f"{reverse(f'{page.admin_site.name}:providers_modelprice_add')}?{urlencode({'deployment': deployment.pk})}"
