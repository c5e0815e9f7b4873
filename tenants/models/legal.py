"""Terms of use and the privacy notice: what the operator has published, and who of the tenants' people accepted it."""

from __future__ import annotations

from datetime import date
from typing import Any, ClassVar, NoReturn

from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone

from tenants.models.tenant import User
from tenants.querysets import LegalDocumentQuerySet


def today() -> date:
    """The day that it is in UTC, in which effective dates are meant."""
    return timezone.now().date()


class LegalDocument(models.Model):
    """One version of a document: published once, never changed, replaced by the next.

    A version is in force from its day on, until a later version is; of what was to come, the later version wins too.
    """

    class Kind(models.TextChoices):
        TERMS = "terms", "Terms of use"
        PRIVACY = "privacy", "Privacy notice"

    kind = models.CharField(max_length=16, choices=Kind.choices)
    version = models.PositiveIntegerField(editable=False)
    text = models.TextField(
        help_text="Headings (#), lists (-), **bold**, *emphasis*, `code` and [links](https://…); no HTML.",
    )
    effective_from = models.DateField(default=today, help_text="The day (UTC) from which on it is in force.")
    published_at = models.DateTimeField(auto_now_add=True)
    published_by = models.ForeignKey(User, null=True, editable=False, on_delete=models.SET_NULL, related_name="+")

    objects = LegalDocumentQuerySet["LegalDocument"].as_manager()

    class Meta:
        ordering: ClassVar = ["kind", "-version"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["kind", "version"], name="legal_version_per_kind")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}, version {self.version}"

    def clean(self) -> None:
        """Nothing is put in force before what is in force now: what people read on a day stays what they read."""
        current = LegalDocument.objects.in_force(self.kind)
        if current is not None and self.effective_from is not None and self.effective_from < current.effective_from:
            words = f"Version {current.version} is in force since {current.effective_from}; not before that."
            raise ValidationError({"effective_from": words})

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Publish it as the next version of its kind; what is published is not changed."""
        if self.pk is not None:
            _refuse()
        newest = LegalDocument.objects.filter(kind=self.kind).aggregate(models.Max("version"))["version__max"]
        self.version = (newest or 0) + 1
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        _refuse()

    @property
    def is_upcoming(self) -> bool:
        """Whether its day is yet to come."""
        return self.effective_from > today()


class LegalAcceptance(models.Model):
    """That a member of a tenant has accepted a version."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="legal_acceptances")
    document = models.ForeignKey(LegalDocument, on_delete=models.PROTECT, related_name="acceptances")
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-at", "-pk"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["user", "document"], name="legal_accepted_once")]

    def __str__(self) -> str:
        return f"{self.user}: {self.document}"


def _refuse() -> NoReturn:
    raise ValidationError("What is published stays as it is; publish the next version.")
