"""The manual switch of providers and deployments, as actions on one and on many."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.decorators import action, display
from unfold.forms import BaseDialogForm

from gateway_site.infra.admin import Admin


class SwitchAdmin(Admin):
    """Pages of what can be switched on and off by hand."""

    actions: tuple[str, ...] = ("enable_selected", "disable_selected")
    actions_row: tuple[str, ...] = ("enable", "disable")

    @display(description="Switch", ordering="is_enabled", label={"on": "success", "off": "danger"})
    def switch(self, item: Any) -> tuple[str, str]:
        return ("on", "Enabled") if item.is_enabled else ("off", "Disabled")

    @action(
        description="Enable",
        icon="toggle_on",
        permissions=["change"],
        dialog={
            "title": "Enable it?",
            "description": "It takes requests again.",
            "form_submit_text": "Enable",
        },
    )
    def enable(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        self.act(request, [self.load(request, object_id)], _enable, "Enabled")
        return self.leave_dialog(request)

    @action(
        description="Disable",
        icon="toggle_off",
        permissions=["change"],
        dialog={
            "title": "Disable it?",
            "description": "It gets no new requests; nothing automatic turns it on again.",
            "form_submit_text": "Disable",
        },
    )
    def disable(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        self.act(request, [self.load(request, object_id)], _disable, "Disabled")
        return self.leave_dialog(request)

    @admin.action(description="Enable selected %(verbose_name_plural)s", permissions=["change"])
    def enable_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self.act(request, queryset.filter(is_enabled=False), _enable, "Enabled")

    @admin.action(description="Disable selected %(verbose_name_plural)s", permissions=["change"])
    def disable_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self.act(request, queryset.filter(is_enabled=True), _disable, "Disabled")


def _enable(item: Any) -> None:
    _switch(item, is_enabled=True)


def _disable(item: Any) -> None:
    _switch(item, is_enabled=False)


def _switch(item: Any, *, is_enabled: bool) -> None:
    item.is_enabled = is_enabled
    item.save(update_fields=["is_enabled"])
