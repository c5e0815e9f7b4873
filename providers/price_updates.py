"""From what a price file offers to prices in the database: what would change, and changing what was accepted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from providers.models import Deployment, ModelPrice
from providers.models.price import UNIT_FIELDS
from providers.price_import import CURRENCY, Malformed, Offer, differences, find_offers
from providers.pricing import Price, price_at

SIDES = {ModelPrice.Side.COST: "what we pay", ModelPrice.Side.SELL: "what tenants pay"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """A new price for one side of a deployment."""

    deployment: Deployment
    side: ModelPrice.Side
    offer: str  # the name in the file
    price: Price
    lines: tuple[str, ...]  # what changes, a unit each
    is_first: bool  # nothing was in force

    @property
    def key(self) -> str:
        """Names it in a form."""
        return f"{self.deployment.pk}-{self.side}"

    @property
    def subject(self) -> str:
        """What it is about, in words."""
        return f"{self.deployment.slug}, {SIDES[self.side]} ({self.offer})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a file would change, and what it has to say besides."""

    updates: tuple[Update, ...]
    notes: tuple[str, ...]
    same: int  # deployments whose prices are what the file says


def plan_updates(
    offers: Mapping[str, Offer], *, margin: Decimal | None = None, names: Collection[str] = (), now: datetime
) -> Plan:
    """Compare a file with the prices in force.

    Cost prices follow the file. Prices to sell follow it with a margin (per cent) where one is given; without one, only
    deployments that have none get what they cost. `names` narrows it to deployments, models or names in the file.
    """
    updates: list[Update] = []
    notes: list[str] = []
    same = 0
    rows = Deployment.objects.select_related("provider").prefetch_related("prices").order_by("slug")
    for deployment in rows:
        found = find_offers(offers, provider=deployment.provider.adapter, model=deployment.model)
        wanted = [offer for offer in found if not names or {deployment.slug, deployment.model, offer.name} & set(names)]
        if len(wanted) > 1:
            several = ", ".join(sorted(offer.name for offer in wanted))
            notes.append(f"{deployment.slug}: the file has different prices for {several}; name one of them.")
        elif wanted:
            changes = list(_updates(deployment, wanted[0], margin, now, notes))
            updates += changes
            same += not changes
    return Plan(updates=tuple(updates), notes=tuple(notes), same=same)


@transaction.atomic
def apply_updates(updates: Iterable[Update]) -> list[ModelPrice]:
    """Begin the new prices, all or none; raises Malformed with what a price cannot be."""
    prices, problems = [], []
    for update in updates:
        price = _row(update)
        try:
            price.full_clean()
        except ValidationError as error:
            problems += [f"{update.subject}: {field}: {' '.join(said)}" for field, said in error.message_dict.items()]
        else:
            price.save()
            prices.append(price)
    if problems:
        raise Malformed(problems)
    return prices


def _updates(
    deployment: Deployment, offer: Offer, margin: Decimal | None, now: datetime, notes: list[str]
) -> Iterator[Update]:
    prices = tuple(row.as_price() for row in deployment.prices.all())
    notes += [f"{deployment.slug}: {note}." for note in offer.notes]
    for side in SIDES:
        before = price_at(prices, side, now.timestamp())
        is_kept = side == ModelPrice.Side.SELL and margin is None and before is not None
        if is_kept:
            continue
        if before is not None and before.currency != CURRENCY:
            notes.append(f"{deployment.slug}: {SIDES[side]} is in {before.currency} and was left as it is.")
            continue
        markup = margin if side == ModelPrice.Side.SELL and margin is not None else Decimal(0)
        after = offer.as_price(side=side, effective_from=now.timestamp(), margin=markup)
        lines = differences(before, after)
        if lines:
            notes += _later(deployment, side, prices, now)
            yield Update(
                deployment=deployment,
                side=side,
                offer=offer.name,
                price=after,
                lines=tuple(lines),
                is_first=before is None,
            )


def _later(deployment: Deployment, side: ModelPrice.Side, prices: Iterable[Price], now: datetime) -> Iterator[str]:
    """Yield when the next price takes over, which a new one does not change."""
    moments = [
        price.effective_from for price in prices if price.side == side and price.effective_from > now.timestamp()
    ]
    if moments:
        day = datetime.fromtimestamp(min(moments), UTC).date()
        yield f"{deployment.slug}: {SIDES[side]} is another price from {day} on."


def _row(update: Update) -> ModelPrice:
    price = update.price
    values: dict[str, Any] = {unit: getattr(price, unit) for unit in UNIT_FIELDS}
    return ModelPrice(
        deployment=update.deployment,
        side=update.side,
        effective_from=timezone.now(),
        currency=price.currency,
        per=price.per,
        tiers=list(price.tiers),
        multipliers=dict(price.multipliers),
        **values,
    )
