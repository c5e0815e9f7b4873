"""Model aliases: what clients send as `model`."""

from __future__ import annotations

from typing import ClassVar

from django.core.exceptions import ValidationError
from django.db import models

from routing.models.route import Route
from tenants.models import Tenant


class ModelAlias(models.Model):
    """A name, or a pattern such as claude-*, that leads to a route; a tenant's own come before the global ones."""

    name = models.CharField(max_length=200, help_text="A trailing * stands for anything.")
    tenant = models.ForeignKey(
        Tenant,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="aliases",
        help_text="Empty: for every tenant.",
    )
    route = models.ForeignKey(Route, on_delete=models.CASCADE, related_name="aliases")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["name"]
        verbose_name_plural = "model aliases"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "name"], name="alias_per_tenant", nulls_distinct=False)
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Printable, without blanks, with a star only at the end."""
        if not self.name.isprintable() or " " in self.name:
            raise ValidationError({"name": "An alias has no blanks and no control characters."})
        if "*" in self.name[:-1]:
            raise ValidationError({"name": "A star may only stand at the end, such as claude-*."})
