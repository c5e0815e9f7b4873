"""What a deployment's units cost, from a date on: what tenants pay (sell) and what we pay (cost)."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.utils import timezone

from providers.models.deployment import Deployment

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
    "per_request",
)


def _unit(help_text: str = "") -> models.DecimalField:
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
    currency = models.CharField(
        max_length=3,
        default="USD",
        validators=[RegexValidator(r"^[A-Z]{3}$", "A currency is three capital letters, such as USD.")],
    )
    per = models.PositiveIntegerField(
        default=1_000_000, validators=[MinValueValidator(1)], help_text="Tokens that a price is for."
    )
    input = _unit("Tokens of the prompt that no cache knew.")
    cache_read = _unit("Tokens read from the cache; empty: as input.")
    cache_write_5m = _unit("Tokens written to a cache for 5 minutes; empty: as input.")
    cache_write_1h = _unit("Tokens written to a cache for an hour; empty: as input.")
    output = _unit("Tokens of the answer.")
    reasoning = _unit("Tokens of reasoning; empty: as output.")
    audio_input = _unit()
    audio_output = _unit()
    image = _unit("Per image.")
    per_request = _unit("Per request.")
    tiers = models.JSONField(
        default=list, blank=True, help_text='Prices above a context size: [{"above": 200000, "input": "6"}].'
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["deployment", "side", "-effective_from"]
        verbose_name = "price"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["deployment", "side", "effective_from"], name="one_price_at_a_time")
        ]

    def __str__(self) -> str:
        return f"{self.deployment} {self.get_side_display().lower()} from {self.effective_from:%Y-%m-%d}"

    def clean(self) -> None:
        """A price has at least one unit, and its tiers are well-formed."""
        if all(getattr(self, unit) is None for unit in UNIT_FIELDS):
            raise ValidationError({"input": "Give at least one price; 0 says that it is free."})
        if not isinstance(self.tiers, list):
            raise ValidationError({"tiers": 'Give a list such as [{"above": 200000, "input": "6"}].'})
        for tier in self.tiers:
            self._clean_tier(tier)

    def _clean_tier(self, tier: object) -> None:
        if not isinstance(tier, dict) or not isinstance(tier.get("above"), int):
            raise ValidationError({"tiers": "Each tier needs 'above', a number of tokens."})
        for name, value in tier.items():
            if name == "above":
                continue
            if name not in UNIT_FIELDS or not _is_price(value):
                raise ValidationError({"tiers": f"{name}: {value!r} is not a price."})


def _is_price(value: object) -> bool:
    try:
        return Decimal(str(value)) >= 0
    except ArithmeticError:
        return False
