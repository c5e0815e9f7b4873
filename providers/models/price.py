"""What a deployment's units cost, from a date on: what tenants pay (sell) and what we pay (cost)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone

from providers.canonical.usage import service_tier
from providers.models.deployment import Deployment
from providers.pricing import Price
from tenants.currencies import validate_currency

UNIT_FIELDS = (
    "input",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "output",
    "reasoning",
    "audio_input",
    "audio_output",
    "image",
    "character",
    "second",
    "per_request",
)
MULTIPLIERS_BELOW = 101
MAX_AMOUNT = Decimal(10**10)  # the column holds less
PLACES = 10


def _unit(help_text: str) -> models.DecimalField:
    return models.DecimalField(
        max_digits=20,
        decimal_places=10,
        null=True,
        blank=True,
        validators=[MinValueValidator(Decimal(0))],
        help_text=help_text,
    )


class ModelPrice(models.Model):
    """Prices in force from `effective_from` until the next row of the same side."""

    class Side(models.TextChoices):
        SELL = "sell", "What tenants pay"
        COST = "cost", "What we pay"

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="prices")
    side = models.CharField(max_length=4, choices=Side.choices, default=Side.SELL)
    effective_from = models.DateTimeField(default=timezone.now)
    currency = models.CharField(max_length=3, default="USD", validators=[validate_currency])
    per = models.PositiveIntegerField(
        default=1_000_000, validators=[MinValueValidator(1)], help_text="Tokens or characters that a price is for."
    )
    input = _unit("Tokens of the prompt that no cache knew.")
    cache_read = _unit("Tokens read from the cache; empty: as input.")
    cache_write_5m = _unit("Tokens written to a cache for 5 minutes; empty: as input.")
    cache_write_1h = _unit("Tokens written to a cache for an hour; empty: as for 5 minutes.")
    output = _unit("Tokens of the answer.")
    reasoning = _unit("Tokens of reasoning; empty: as output.")
    audio_input = _unit("Tokens of audio in the prompt; empty: as input.")
    audio_output = _unit("Tokens of audio in the answer; empty: as output.")
    image = _unit("Each image made.")
    character = _unit("Characters spoken, so many as tokens.")
    second = _unit("Each second of audio, heard or made.")
    per_request = _unit("Each request.")
    tiers = models.JSONField(
        default=list, blank=True, help_text='Prices above a context size: [{"above": 200000, "input": "6"}].'
    )
    multipliers = models.JSONField(
        default=dict,
        blank=True,
        help_text='Of all these prices, by service tier: {"batch": "0.5", "flex": "0.5", "priority": "1.75"}.',
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["deployment", "side", "-effective_from"]
        verbose_name = "price"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["deployment", "side", "effective_from"], name="one_price_at_a_time")
        ]

    def __str__(self) -> str:
        return f"{self.deployment}: {self.get_side_display().lower()} from {self.effective_from:%Y-%m-%d}"

    @property
    def units(self) -> dict[str, Decimal]:
        """What is priced."""
        amounts = {unit: getattr(self, unit) for unit in UNIT_FIELDS}
        return {unit: amount for unit, amount in amounts.items() if amount is not None}

    def as_price(self) -> Price:
        """The value that bills are made with."""
        return Price(
            side=self.side,  # type: ignore[arg-type]
            effective_from=self.effective_from.timestamp(),
            currency=self.currency,
            per=self.per,
            tiers=tuple(self.tiers),
            multipliers=self.multipliers,
            **self.units,
        )

    def clean(self) -> None:
        """A price has at least one unit and a moment of its own; its tiers and multipliers are well-formed."""
        errors: dict[str, str] = {}
        if not self.units:
            errors["input"] = "Give at least one price; 0 says that it is free."
        if self._is_taken():
            errors["effective_from"] = "Another price of this side begins at the same time."
        for name, read in (("tiers", read_tiers), ("multipliers", read_multipliers)):
            try:
                setattr(self, name, read(getattr(self, name)))
            except ValueError as error:
                errors[name] = str(error)
        if errors:
            raise ValidationError(errors)

    def _is_taken(self) -> bool:
        if self.deployment_id is None or self.effective_from is None:
            return False
        others = ModelPrice.objects.exclude(pk=self.pk)
        return others.filter(
            deployment_id=self.deployment_id, side=self.side, effective_from=self.effective_from
        ).exists()


# --- Tiers and multipliers -----------------------------------------------------------------------------------


def read_tiers(value: Any) -> list[dict[str, str | int]]:
    """Return tiers as they are stored: amounts as text, so that no float comes in between; raises ValueError."""
    if not isinstance(value, list) or not all(isinstance(tier, dict) for tier in value):
        raise ValueError('Give a list such as [{"above": 200000, "input": "6"}].')
    tiers = [_read_tier(tier) for tier in value]
    if len({tier["above"] for tier in tiers}) < len(tiers):
        raise ValueError("Two tiers begin above the same size.")
    return tiers


def read_multipliers(value: Any) -> dict[str, str]:
    """Return multipliers as they are stored; raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError('Give multipliers such as {"batch": "0.5", "priority": "1.75"}.')
    for name in value:
        if service_tier(name) != name:
            raise ValueError(f"{name!r} is not a service tier with prices of its own, such as batch, flex or priority.")
    return {name: _read_amount(name, amount, MULTIPLIERS_BELOW) for name, amount in value.items()}


def _read_tier(tier: dict[str, Any]) -> dict[str, str | int]:
    above = tier.get("above")
    if isinstance(above, bool) or not isinstance(above, int) or above < 0:
        raise ValueError("Each tier needs 'above', a number of tokens.")
    if len(tier) == 1:
        raise ValueError(f"The tier above {above} has no price.")
    unknown = tier.keys() - {"above", *UNIT_FIELDS}
    if unknown:
        raise ValueError(f"{min(unknown)!r} is not a unit; there are {', '.join(UNIT_FIELDS)}.")
    amounts = {name: _read_amount(name, amount) for name, amount in tier.items() if name != "above"}
    return {"above": above, **amounts}


def _read_amount(name: str, value: Any, below: int | Decimal = MAX_AMOUNT) -> str:
    """Return an amount as text."""
    try:
        amount = Decimal(str(value)) if not isinstance(value, bool) else None
    except ArithmeticError:
        amount = None
    if amount is None or not amount.is_finite():
        raise ValueError(f"{name}: {value!r} is not a number.")
    if amount.is_signed() and amount:
        raise ValueError(f"{name}: {value!r} is negative.")
    if amount >= below or amount != amount.quantize(Decimal(1).scaleb(-PLACES)):
        raise ValueError(f"{name}: {value!r} is not below {below} with at most {PLACES} decimal places.")
    return f"{abs(amount):f}"
