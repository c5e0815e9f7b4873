"""Requests again, with what each kind of token cost under the price of its moment, and the revision that served it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse

from gateway_site.infra.table import table
from gateway_site.infra.words import plain
from providers.models import ModelPrice
from providers.pricing import Line, lines, price_at
from routing.models import ConfigRevision
from routing.rerating import used, was_billed
from tenants.admin.scope import standing_in
from tenants.admin.usage_record import UsageRecordAdmin
from tenants.models import UsageRecord

SIDES = (("sell", "Price"), ("cost", "What we pay"))
UNITS = {
    "input": "Input tokens",
    "cache_read": "Tokens read from a cache",
    "cache_write_5m": "Tokens written to a cache, 5 minutes",
    "cache_write_1h": "Tokens written to a cache, 1 hour",
    "audio_input": "Tokens of audio in",
    "output": "Output tokens",
    "reasoning": "Tokens of reasoning",
    "audio_output": "Tokens of audio out",
    "image": "Images",
    "character": "Characters",
    "second": "Seconds of audio",
    "per_request": "The request",
}

admin.site.unregister(UsageRecord)


@admin.register(UsageRecord)
class PricedUsageRecordAdmin(UsageRecordAdmin):
    def page(self, request: HttpRequest, record: UsageRecord) -> dict[str, Any]:
        """With the revision's page, for operators who may see it."""
        return {**super().page(request, record), "revision_link": revision_link(request, record)}

    def breakdown(self, request: HttpRequest, record: UsageRecord) -> Any:
        """What each kind of token cost; what we pay for operators only."""
        if not was_billed(record) or record.outcome == UsageRecord.Outcome.CORRECTION:
            return None
        prices = tuple(row.as_price() for row in ModelPrice.objects.filter(deployment__slug=record.deployment))
        is_operator = standing_in(request).is_operator
        found = []
        for side, title in SIDES if is_operator else SIDES[:1]:
            price = price_at(prices, side, record.started_at.timestamp())
            if price is None:
                continue
            billed = record.cost if side == "sell" else record.cost_price
            parts = lines(used(record), price)
            total = sum((line.amount for line in parts), Decimal(0))
            found.append(
                {
                    "title": title,
                    "since": f"{price.currency}, in force when the request came",
                    "table": table(("What", "How many", "Each", "Amount"), [_row(line, price.per) for line in parts]),
                    "note": _note(record, total, billed, price.currency),
                }
            )
        return found


def revision_link(request: HttpRequest, record: UsageRecord) -> str:
    """The page of the configuration that served a request; empty where there is none to be seen."""
    if not record.revision or not request.user.has_perm("routing.view_configrevision"):
        return ""
    found = ConfigRevision.objects.filter(number=record.revision).values_list("pk", flat=True).first()
    return reverse("admin:routing_configrevision_change", args=[found]) if found is not None else ""


def _row(line: Line, per: int) -> tuple[str, str, str, str]:
    price = f"{plain(line.price)} per {per:,}" if line.is_per else plain(line.price)
    return UNITS[line.unit], f"{line.count.normalize():,f}", price, plain(line.amount)


def _note(record: UsageRecord, total: Decimal, billed: Decimal | None, currency: str) -> str:
    """Why the bill is another than the sum, if it is."""
    if billed is None:
        return "Not in the record: it has no such price, or one in another currency."
    if currency != record.currency:
        return f"It was billed in {record.currency}."
    if abs(total - billed - record.written_off) < Decimal("0.00000001"):
        return ""
    return (
        f"In sum {plain(total)} {currency}, and {plain(billed)} {currency} in the record: the price was entered or changed "
        "after the request, or a floor was billed."
    )
