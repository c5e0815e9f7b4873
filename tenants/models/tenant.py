"""Tenants, their projects and the people in them."""

from __future__ import annotations

import zoneinfo
from decimal import Decimal
from typing import Any, ClassVar
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.utils import timezone

from gateway_site.infra import secrets
from gateway_site.infra.addresses import is_visibly_private
from tenants.currencies import validate_currency
from tenants.querysets import TenantScopedQuerySet
from tenants.roles import PERMISSIONS
from tenants.standing import Standing, standing_of


class User(AbstractUser):
    """Someone who signs in to the console: an operator (`is_staff`) or, through `Member`, a tenant's developer.

    Operators have Django's permissions; who looks with a role's eyes (`tenants/standing.py`) has that role's, and no others.
    """

    email_is_proven = models.BooleanField(
        "e-mail address is proven",
        default=True,
        help_text="Single sign-on finds the account by its address; not while somebody else may have chosen the address.",
    )

    standing: Standing | None = None  # given by the middleware

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        standing = standing_of(self)
        return standing.may(perm) if standing.role is not None else super().has_perm(perm, obj)

    def has_module_perms(self, app_label: str) -> bool:
        standing = standing_of(self)
        if standing.role is None:
            return super().has_module_perms(app_label)
        return any(each.startswith(f"{app_label}.") for each in PERMISSIONS[standing.role])


def validate_timezone(name: str) -> None:
    """Refuse names that the time zone database does not know."""
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValidationError(f"{name!r} is not a time zone; use a name such as Europe/Berlin.") from None


def validate_webhook(url: str) -> None:
    """Refuse what is not a web address, and private ones unless the settings allow them."""
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or any(character.isspace() for character in url):
        raise ValidationError("Give an address that starts with https:// or http://.")
    if parts.username or parts.password or parts.fragment:
        raise ValidationError("An address must hold neither a user with a password nor a fragment.")
    if is_visibly_private(parts.hostname or "") and not settings.ALERT_WEBHOOKS_MAY_BE_PRIVATE:
        raise ValidationError("This address is in a private network; ALERT_WEBHOOKS_MAY_BE_PRIVATE allows those.")


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

    class AuditPolicy(models.TextChoices):
        NONE = "none", "Nothing"
        ERRORS = "errors", "Of requests that failed"
        ALL = "all", "Of all requests"

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
    floor_currency = models.CharField(max_length=3, default="USD", validators=[validate_currency])
    stores_responses = models.BooleanField(
        default=True, help_text="Keep the answers of /v1/responses, so that later requests can go on from them."
    )
    response_retention_days = models.PositiveSmallIntegerField(
        default=30,
        validators=[MinValueValidator(1), MaxValueValidator(365)],
        help_text="Days until a stored response is deleted.",
    )
    audit_policy = models.CharField(
        "bodies that are kept",
        max_length=8,
        choices=AuditPolicy.choices,
        default=AuditPolicy.NONE,
        help_text="Whose prompts and answers are kept to be read here: redacted, encrypted, and for some days.",
    )
    audit_retention_days = models.PositiveSmallIntegerField(
        "days that they are kept",
        default=7,
        validators=[MinValueValidator(1), MaxValueValidator(90)],
        help_text="Days until a body that was kept is deleted.",
    )
    audit_redacts_personal = models.BooleanField(
        "redact personal data",
        default=True,
        help_text="Replace e-mail addresses and card numbers before a body is stored; keys and tokens always are.",
    )
    audit_redacts_media = models.BooleanField(
        "leave media out",
        default=True,
        help_text="Replace images, audio and files in a body by their type and size.",
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
    alert_emails = ArrayField(
        models.EmailField(),
        default=list,
        blank=True,
        help_text="Who is written to when a budget is spent to one of its thresholds.",
    )
    alert_webhook = models.CharField(
        max_length=500,
        blank=True,
        validators=[validate_webhook],
        help_text="An address that is told the same, signed with the webhook's secret.",
    )
    alert_secret_encrypted = models.TextField(blank=True, editable=False)
    requires_two_factor = models.BooleanField(
        "second factor required",
        default=False,
        help_text="Its members see nothing before they have set up an authenticator app or a passkey.",
    )
    requires_sso = models.BooleanField(
        "single sign-on required",
        default=False,
        help_text="Its members must come by single sign-on; a password alone lets nobody in.",
    )
    suspended_at = models.DateTimeField(null=True, blank=True, help_text="Set: all its keys are refused with 403.")
    suspended_reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["slug"]

    def __str__(self) -> str:
        return self.name or self.slug

    def clean(self) -> None:
        """Who is billed at a floor has one."""
        if self.unpriced_policy == self.UnpricedPolicy.FLOOR:
            missing = [name for name in ("floor_input", "floor_output") if getattr(self, name) is None]
            if missing:
                raise ValidationError(
                    dict.fromkeys(missing, "Models without a price are billed at the floor: give one.")
                )

    @property
    def is_suspended(self) -> bool:
        """Whether its keys are refused."""
        return self.suspended_at is not None

    @property
    def has_alert_secret(self) -> bool:
        """Whether there is a secret that its webhook's calls are signed with."""
        return bool(self.alert_secret_encrypted)

    @property
    def alert_secret(self) -> str:
        """The secret that its webhook's calls are signed with; raises SecretUnreadable."""
        return secrets.decrypt(self.alert_secret_encrypted)

    def set_alert_secret(self, secret: str) -> None:
        """Keep the webhook's secret encrypted."""
        self.alert_secret_encrypted = secrets.encrypt(secret)
        self.save(update_fields=["alert_secret_encrypted"])

    def suspend(self, reason: str = "") -> None:
        """Refuse its keys from now on."""
        self.suspended_at, self.suspended_reason = timezone.now(), reason
        self.save(update_fields=["suspended_at", "suspended_reason"])

    def resume(self) -> None:
        """Accept its keys again."""
        self.suspended_at, self.suspended_reason = None, ""
        self.save(update_fields=["suspended_at", "suspended_reason"])

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """All that it has goes along; a project keeps no key that goes, too."""
        with transaction.atomic():
            self.api_keys.exclude(project=None).update(project=None)
            return super().delete(*args, **kwargs)


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

    @property
    def keys_in_use(self) -> models.QuerySet[Any]:
        """The keys that keep it from being deleted: revoked ones do not, nor those that the playground made."""
        return self.api_keys.filter(revoked_at=None, purpose="")

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Let go of keys that are over; raises ProtectedError while it has others."""
        with transaction.atomic():
            for key in self.api_keys.exclude(pk__in=self.keys_in_use):
                key.leave_project()
            return super().delete(*args, **kwargs)


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
