"""Terms and privacy notices: published version by version, and never changed."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter
from unfold.decorators import display

from gateway_site.infra.admin import Admin, ReadOnlyMixin, badge
from tenants.legal_defaults import default_text
from tenants.legal_text import render
from tenants.models import LegalAcceptance, LegalDocument


@admin.register(LegalDocument)
class LegalDocumentAdmin(Admin):
    list_display = ("kind", "version", "state", "effective_from", "published_at", "published_by")
    list_display_links = ("kind", "version")
    list_filter = (("kind", ChoicesDropdownFilter),)
    list_select_related = ("published_by",)
    search_fields = ("kind",)
    search_help_text = "Kind: terms or privacy"
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[LegalDocument]:
        """With the version that is in force; lists need no texts."""
        found = super().get_queryset(request).with_current()
        return found.defer("text") if self.is_list(request) else found

    def get_fieldsets(self, request: HttpRequest, obj: LegalDocument | None = None) -> Any:
        if obj is None:
            return ((None, {"fields": ("kind", "effective_from", "text")}),)
        about = (("kind", "version"), ("state", "effective_from"), ("published_at", "published_by"))
        return (None, {"fields": about}), ("Text", {"fields": ("readable",)})

    def get_readonly_fields(self, request: HttpRequest, obj: LegalDocument | None = None) -> Any:
        return ("version", "state", "published_at", "published_by", "readable") if obj is not None else ()

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Give the text room."""
        form = super().get_form(request, *args, **kwargs)
        if "text" in form.base_fields:
            form.base_fields["text"].widget.attrs["rows"] = 28
        return form

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Begin with what holds now."""
        kind = request.GET.get("kind", "")
        if kind not in LegalDocument.Kind.values:
            kind = LegalDocument.Kind.TERMS.value
        current = LegalDocument.objects.in_force(kind)
        return {"kind": kind, "text": current.text if current is not None else default_text(kind)}

    def save_model(self, request: HttpRequest, obj: LegalDocument, form: Any, change: bool) -> None:
        """Note who publishes."""
        obj.published_by = request.user  # type: ignore[assignment]
        super().save_model(request, obj, form, change)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @display(description="State")
    def state(self, document: LegalDocument) -> str:
        current = document.current or 0  # type: ignore[attr-defined]
        if document.version < current:
            return badge("Replaced")
        return badge("In force", "success") if document.version == current else badge("Upcoming", "info")

    @display(description="As people read it")
    def readable(self, document: LegalDocument) -> str:
        return format_html('<div class="legal-text">{}</div>', render(document.text))


@admin.register(LegalAcceptance)
class LegalAcceptanceAdmin(ReadOnlyMixin, Admin):
    has_history = False
    list_display = ("user", "document", "at")
    list_filter = (("user", AutocompleteSelectFilter), ("document", AutocompleteSelectFilter))
    list_select_related = ("user", "document")
    search_fields = ("user__username", "user__email")
    search_help_text = "User"
    actions = None

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Acceptances go with their user, and not by themselves."""
        match = request.resolver_match
        is_ours = match is not None and (match.url_name or "").startswith("tenants_legalacceptance")
        return not is_ours and request.user.has_perm("tenants.delete_user")
