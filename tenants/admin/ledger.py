"""What pages of records and rollups share: read only, never counted, never joined: a record outlives what it names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from unfold.decorators import display

from gateway_site.infra.admin import badge
from gateway_site.infra.words import plain
from tenants.admin.keyset import KeysetAdmin
from tenants.admin.scope import ScopedMixin, standing_in
from tenants.models import ApiKey, Tenant

OUTCOME_KINDS = {
    "served": "success",
    "client_gone": "info",
    "rejected": "warning",
    "shutdown": "warning",
    "upstream_failed": "danger",
    "cut": "danger",
    "gateway_failed": "danger",
    "lost": "danger",
    "correction": "info",
}
COST_KINDS = {"exact": "success", "estimated": "warning", "unpriced": "danger"}
OF_MEMBERS = {"caller": "api_key_name"}  # columns that name the tenant, and what stands in their place


class UsageAdmin(ScopedMixin, KeysetAdmin):
    """Columns that records and rollups share."""

    operator_fields: Sequence[str] = ("tenant", "tenant_name", "own_price", "bought")
    amount: Callable[[Decimal], str] = staticmethod(plain)  # one request's money with all its digits

    def get_list_display(self, request: HttpRequest) -> Sequence[Any]:
        """With the key alone for who has one tenant."""
        shown = super().get_list_display(request)
        return shown if standing_in(request).is_operator else [OF_MEMBERS.get(name, name) for name in shown]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        tenants = Tenant.objects.filter(pk=OuterRef("tenant_id")).order_by().values("slug")
        keys = ApiKey.objects.filter(pk=OuterRef("api_key_id")).order_by().values("name")
        return super().get_queryset(request).annotate(tenant_slug=Subquery(tenants), key_name=Subquery(keys))

    @display(description="Tenant")
    def tenant_name(self, usage: Any) -> str:
        return usage.tenant_slug or f"deleted ({usage.tenant_id})"

    @display(description="API key")
    def api_key_name(self, usage: Any) -> str:
        return usage.key_name or f"deleted ({usage.api_key_id})"

    @display(description="Tenant and key", header=True)
    def caller(self, usage: Any) -> list[str]:
        return [self.tenant_name(usage), self.api_key_name(usage)]

    @display(description="Alias and deployment", header=True)
    def served_by(self, usage: Any) -> list[str]:
        return [usage.alias, usage.deployment or "none"]

    @display(description="Outcome")
    def outcome_label(self, usage: Any) -> str:
        return badge(usage.get_outcome_display(), OUTCOME_KINDS.get(usage.outcome, ""))

    @display(description="Cost status")
    def cost_status_label(self, usage: Any) -> str:
        return badge(usage.get_cost_status_display(), COST_KINDS.get(usage.cost_status, ""))

    @display(description="Tokens in / out")
    def tokens(self, usage: Any) -> str:
        return f"{count(usage.input_tokens)} / {count(usage.output_tokens)}"

    @display(description="Cost")
    def price(self, usage: Any) -> str:
        return "unpriced" if usage.cost_status == "unpriced" else self.money(usage.cost, usage)

    @display(description="What we pay")
    def own_price(self, usage: Any) -> str:
        return "unknown" if usage.cost_price is None else self.money(usage.cost_price, usage)

    def money(self, amount: Decimal, usage: Any) -> str:
        """An amount with its currency."""
        return f"{self.amount(amount)} {usage.currency}"


def count(tokens: int | None) -> str:
    """A number of tokens; None: nobody said."""
    return "-" if tokens is None else f"{tokens:,}"
