"""The page /admin/dry-run: this key, this model, this request: where would it go, and why? For operators only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from gateway_site.infra.admin import badge
from gateway_site.infra.form_fields import ChosenField
from gateway_site.infra.table import table
from gateway_site.infra.words import dialect_name
from providers.wire.json import write_json
from routing.api.dry_run import checked_headers, may_dry_run
from routing.dry_run import TITLES, Question, dry_run, load_site
from tenants.admin.trace import words
from tenants.admin.usage_record import WEIGHTS
from tenants.models import ApiKey, UsageRecord
from tenants.principals import principal_of

MONO = {"class": "font-mono", "spellcheck": "false"}
STANDINGS = {"ready": "success", "doubtful": "warning", "saturated": "warning", "cooling": "warning"}


class DryRunForm(forms.Form):
    """A request that somebody might send."""

    key = ChosenField(
        ApiKey.objects.with_owner(), label="API key", help_text="Chosen by name; its secret is asked of nobody."
    )
    operation = forms.ChoiceField(
        choices=list(TITLES.items()), label="Endpoint", widget=UnfoldAdminSelectWidget, initial="chat"
    )
    model = forms.CharField(
        max_length=200,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="The alias that the client sends; takes the place of the one in the body.",
    )
    body = forms.CharField(
        required=False,
        label="Request",
        widget=UnfoldAdminTextareaWidget({**MONO, "rows": 10}),
        help_text="JSON in the endpoint's format; empty: a short question. It is not stored.",
    )
    headers = forms.CharField(
        required=False,
        widget=UnfoldAdminTextareaWidget({**MONO, "rows": 3}),
        help_text=mark_safe(
            'Those that routing looks at, one in a line: <code class="whitespace-nowrap">x-tollgate-region: eu</code>'
        ),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        reference: Any = UsageRecord._meta.get_field("api_key")
        widget = AutocompleteSelect(reference, admin.site, attrs={"class": "unfold-admin-autocomplete"})
        field: Any = self.fields["key"]
        widget.choices = field.choices
        field.widget = widget

    def clean_headers(self) -> dict[str, str]:
        """Read them, one in a line."""
        headers = {}
        for line in self.cleaned_data["headers"].splitlines():
            name, colon, value = line.partition(":")
            if line.strip() and not colon:
                raise forms.ValidationError(f"{line!r} is not a header: write name: value.")
            if line.strip():
                headers[name.strip()] = value.strip()
        try:
            return checked_headers(headers)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def question(self) -> Question:
        """What is asked."""
        given = self.cleaned_data
        return Question(
            principal=principal_of(given["key"]),
            operation=given["operation"],
            model=given["model"].strip(),
            body=given["body"].encode(errors="surrogatepass"),
            headers=given["headers"],
        )


def dry_run_page(request: HttpRequest) -> HttpResponse:
    """Ask, and show where the request would go."""
    if not may_dry_run(request.user):
        raise PermissionDenied
    is_asked = request.method == "POST"
    form = DryRunForm(request.POST) if is_asked else DryRunForm(initial=request.GET.dict())
    answer = dry_run(form.question(), load_site()) if is_asked and form.is_valid() else None
    context = {
        **admin.site.each_context(request),
        "title": "Dry run",
        "form": form,
        "media": form.media,
        "answer": answer,
        **(shown(answer) if answer is not None else {}),
    }
    return TemplateResponse(request, "admin/dry_run.html", context)


def shown(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of an answer."""
    rows = answer["candidates"]
    candidates = [row for row in rows if row["reason"] is None]
    passed_over = [row for row in rows if row["reason"] is not None]
    error = answer["error"]
    return {
        "strategy": words(answer["strategy"]),
        "candidates": table(
            ("Order", "Deployment", "Comes first", "Priority", "Weight", "Standing", "Format", "Lost in translation"),
            (_candidate(row) for row in candidates),
        )
        if candidates
        else None,
        "passed_over": table(
            ("Deployment", "Priority", "Standing", "Why"),
            ((_deployment(row), row["priority"], _standing(row), row["explanation"]) for row in passed_over),
        )
        if passed_over
        else None,
        "error_body": write_json(error["body"]).decode() if error is not None else "",
    }


def _candidate(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        row["position"],
        _deployment(row),
        f"{row['first_percent']}%",
        row["priority"],
        row["weight"],
        _standing(row),
        f"translated to {dialect_name(row['dialect'])}" if row["is_translated"] else "passed through",
        _losses(row["losses"]),
    )


def _deployment(row: Mapping[str, Any]) -> SafeString:
    return format_html(
        '<div class="font-medium text-important">{}</div><div class="text-subtle whitespace-nowrap">{} at {}</div>',
        row["deployment"],
        row["model"],
        row["provider"],
    )


def _standing(row: Mapping[str, Any]) -> SafeString:
    return badge(words(row["standing"]), STANDINGS.get(row["standing"], "danger"))


def _losses(losses: Iterable[Mapping[str, str]]) -> SafeString | str:
    if not losses:
        return "nothing"
    rows = ((loss["path"], badge(*WEIGHTS.get(loss["weight"], (loss["weight"], ""))), loss["why"]) for loss in losses)
    return format_html(
        '<ul class="flex flex-col gap-1 py-1">{}</ul>',
        format_html_join("", '<li><code class="break-words">{}</code> {} {}</li>', rows),
    )
