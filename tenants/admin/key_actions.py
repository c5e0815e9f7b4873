"""What is done to keys on pages of their own: a new secret for one, an end for many."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.widgets import UnfoldAdminRadioSelectWidget, UnfoldAdminSplitDateTimeWidget

from tenants.models import ApiKey
from tenants.services import rotate_key

OVERLAPS: dict[str, timedelta | None] = {
    "now": None,
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
}
LONGEST_OVERLAP = timedelta(days=366)
MOST_AT_ONCE = 1_000


def _moment(**options: Any) -> forms.SplitDateTimeField:
    return forms.SplitDateTimeField(
        required=False, widget=UnfoldAdminSplitDateTimeWidget, help_text="In UTC.", **options
    )


class RotateForm(forms.Form):
    """How long the secret that there is goes on working."""

    overlap = forms.ChoiceField(
        label="How long the present secret goes on working",
        choices=[
            ("now", "not any more: only the new one does, at once"),
            ("1h", "for one more hour"),
            ("24h", "for 24 more hours"),
            ("7d", "for 7 more days"),
            ("until", "until a moment of my choice"),
        ],
        initial="24h",
        widget=UnfoldAdminRadioSelectWidget,
    )
    until = _moment(label="Until")
    replaces = forms.CharField(widget=forms.HiddenInput)  # so that a form sent twice rotates once

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        if given.get("overlap") == "until" and "until" not in self.errors:
            self._check(given.get("until"))
        return given

    def _check(self, until: datetime | None) -> None:
        if until is None:
            self.add_error("until", "Say until when.")
        elif not timezone.now() < until <= timezone.now() + LONGEST_OVERLAP:
            self.add_error("until", "This has to be in the future, and within a year.")

    def ends(self) -> datetime | None:
        """When the old secret stops; None: at once."""
        chosen = self.cleaned_data["overlap"]
        if chosen == "until":
            return self.cleaned_data["until"]
        span = OVERLAPS[chosen]
        return None if span is None else timezone.now() + span


class ExpireForm(forms.Form):
    """When keys end."""

    expires_at = _moment(label="They work until")
    never = forms.BooleanField(required=False, label="They never expire")

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        expires_at = given.get("expires_at")
        if bool(expires_at) == bool(given.get("never")) and "expires_at" not in self.errors:
            self.add_error("expires_at", "Say when, or that they never expire.")
        elif expires_at is not None and expires_at <= timezone.now():
            self.add_error("expires_at", "This is over already; revoke keys that are to stop at once.")
        return given


class RotatesKeys:
    """Gives a key another secret; mixed into the keys' page, which shows secrets."""

    def rotation_page(self, request: HttpRequest, key: ApiKey) -> HttpResponse:
        """Ask how long both are to work; then show the new secret in the answer, and nowhere else."""
        form = RotateForm(request.POST or None, initial={"overlap": "24h", "replaces": key.hint})
        if request.method == "POST" and form.is_valid() and self._is_still(key, form):
            try:
                rotated, secret = rotate_key(key=key, until=form.ends())
            except ValidationError as error:
                form.add_error(None, error)
            else:
                self.log_change(request, rotated, _told(rotated))  # type: ignore[attr-defined]
                return self.show_secret(request, rotated, secret)  # type: ignore[attr-defined]
        context = {
            **self.admin_site.each_context(request),  # type: ignore[attr-defined]
            "title": f"New secret for {key.name}",
            "opts": self.opts,  # type: ignore[attr-defined]
            "key": key,
            "form": form,
        }
        return TemplateResponse(request, "admin/tenants/apikey/rotate.html", context)

    def _is_still(self, key: ApiKey, form: RotateForm) -> bool:
        is_still = form.cleaned_data["replaces"] == key.hint
        if not is_still:
            form.add_error(None, "This key has another secret by now. Look at it before you rotate it again.")
        return is_still


def _told(key: ApiKey) -> str:
    until = key.previous_until
    if until is None or not key.is_overlapping:
        return "Rotated; the old secret stopped at once."
    return f"Rotated; the old secret works until {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC."


class ExpiresKeys:
    """Sets an end for many keys."""

    def expiry_page(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Ask when; set it for those that can still be used."""
        chosen = list(queryset.filter(revoked_at__isnull=True)[: MOST_AT_ONCE + 1])
        if not chosen or len(chosen) > MOST_AT_ONCE:
            what = "All of these keys are revoked." if not chosen else f"Choose at most {MOST_AT_ONCE} keys."
            self.message_user(request, what, "warning")  # type: ignore[attr-defined]
            return None
        form = ExpireForm(request.POST) if "apply" in request.POST else ExpireForm()
        if form.is_bound and form.is_valid():
            expires_at = form.cleaned_data["expires_at"]
            told = "Given no end" if expires_at is None else f"Given an end: {expires_at:%Y-%m-%d %H:%M} UTC"

            def end(key: ApiKey) -> None:
                key.expires_at = expires_at
                key.save(update_fields=["expires_at"])

            self.act(request, chosen, end, told)  # type: ignore[attr-defined]
            return None
        context = {
            **self.admin_site.each_context(request),  # type: ignore[attr-defined]
            "title": "When do these keys expire?",
            "opts": self.opts,  # type: ignore[attr-defined]
            "keys": chosen,
            "form": form,
            "checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/tenants/apikey/expire.html", context)
