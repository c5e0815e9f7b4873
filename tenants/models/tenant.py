"""Tenants, their projects and the people in them."""

from __future__ import annotations

import zoneinfo
from decimal import Decimal
from typing import ClassVar

from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils import timezone

from tenants.querysets import TenantScopedQuerySet


class User(AbstractUser):
    """Someone who signs in to the console: an operator (`is_staff`) or, through `Member`, a tenant's developer."""


def validate_timezone(name: str) -> None:
    """Refuse names that the time zone database does not know."""
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValidationError(f"{name!r} is not a time zone; use a name such as Europe/Berlin.") from None


currency_validator = RegexValidator(r"^[A-Z]{3}$", "A currency is three capital letters, such as USD.")


def _floor(help_text: str) -> models.DecimalField:
    return models.DecimalField(
        max_digits=20,
        decimal_places=10,
        null=True,
        blank=True,
        validators=[MinValueValidator(Decimal(0))],
        help_text=help_text,
    )


class Tenant(models.Model):
    """An organisation whose programs call the gateway; the unit of isolation, limits and billing."""

    class TranslationPolicy(models.TextChoices):
        NEVER = "never", "Never translate between dialects"
        NO_DEGRADING = "no_degrading", "Translate when nothing degrades"
        ALLOW = "allow", "Translate; refuse only what would change the answer"

    class UnpricedPolicy(models.TextChoices):
        ALLOW = "allow", "Serve, and list the model as unpriced"
        FLOOR = "floor", "Bill models without a price at the tenant's floor"
        REFUSE = "refuse", "Refuse models without a price"

    class WithoutValkey(models.TextChoices):
        LOCAL = "local", "Serve; each worker enforces its share of the limits"
        REFUSE = "refuse", "Refuse until limits can be enforced exactly"

    slug = models.SlugField(max_length=63, unique=True, help_text="Stands in URLs, logs and exports; keep it.")
    name = models.CharField(max_length=200)
    timezone = models.CharField(
        max_length=64, default="UTC", validators=[validate_timezone], help_text="Where its budget days begin."
    )
    allowed_models = ArrayField(
        models.CharField(max_length=200),
        null=True,
        blank=True,
        help_text="Aliases it may use, wildcards such as claude-* included; empty: every global alias.",
    )
    translation_policy = models.CharField(
        max_length=16, choices=TranslationPolicy.choices, default=TranslationPolicy.ALLOW
    )
    unpriced_policy = models.CharField(max_length=16, choices=UnpricedPolicy.choices, default=UnpricedPolicy.ALLOW)
    floor_input = _floor("What a million tokens of a prompt cost where the model has no price.")
    floor_output = _floor("What a million tokens of an answer cost where the model has no price.")
    floor_currency = models.CharField(max_length=3, default="USD", validators=[currency_validator])
    stores_responses = models.BooleanField(
        default=True, help_text="Keep the answers of /v1/responses, so that later requests can go on from them."
    )
    response_retention_days = models.PositiveSmallIntegerField(
        default=30,
        validators=[MinValueValidator(1), MaxValueValidator(365)],
        help_text="Days until a stored response is deleted.",
    )
    without_valkey = models.CharField(
        "while Valkey is away",
        max_length=8,
        choices=WithoutValkey.choices,
        default=WithoutValkey.LOCAL,
        help_text="What becomes of its requests while the limits of all workers cannot be counted together.",
    )
    allows_catalogue = models.BooleanField(
        "unmapped models",
        default=False,
        help_text="A model without a route goes to the provider whose catalogue lists it.",
    )
    suspended_at = models.DateTimeField(null=True, blank=True, help_text="Set: all its keys are refused with 403.")
    suspended_reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["slug"]

    def __str__(self) -> str:
        return self.name or self.slug

    @property
    def is_suspended(self) -> bool:
        """Whether its keys are refused."""
        return self.suspended_at is not None

    def suspend(self, reason: str = "") -> None:
        """Refuse its keys from now on."""
        self.suspended_at, self.suspended_reason = timezone.now(), reason
        self.save(update_fields=["suspended_at", "suspended_reason"])

    def resume(self) -> None:
        """Accept its keys again."""
        self.suspended_at, self.suspended_reason = None, ""
        self.save(update_fields=["suspended_at", "suspended_reason"])


class Project(models.Model):
    """A part of a tenant with keys, limits and budgets of its own."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="projects")
    slug = models.SlugField(max_length=63)
    name = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TenantScopedQuerySet["Project"].as_manager()

    class Meta:
        ordering: ClassVar = ["tenant", "slug"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["tenant", "slug"], name="project_slug_per_tenant")]

    def __str__(self) -> str:
        return self.name or self.slug


class Member(models.Model):
    """A user's role in a tenant."""

    class Role(models.TextChoices):
        OWNER = "owner", "Owner"
        DEVELOPER = "developer", "Developer"
        VIEWER = "viewer", "Viewer"

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="members")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.DEVELOPER)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TenantScopedQuerySet["Member"].as_manager()

    class Meta:
        ordering: ClassVar = ["tenant", "user"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["tenant", "user"], name="one_role_per_tenant")]

    def __str__(self) -> str:
        return f"{self.user} ({self.get_role_display()})"
