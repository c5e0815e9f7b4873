"""Who has changed the configuration, noted in the transaction of the change itself."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone


class ConfigChange(models.Model):
    """Somebody saved or deleted a part of the configuration; waits until a publication covers it."""

    username = models.CharField(max_length=150)
    user_id = models.BigIntegerField(null=True)  # None: a command; no foreign key, for users may go
    at = models.DateTimeField(default=timezone.now)
    revision = models.PositiveIntegerField(null=True, db_index=True)  # that published it; None: none has

    class Meta:
        default_permissions = ()
        ordering: ClassVar = ["pk"]

    def __str__(self) -> str:
        return f"{self.username}, {self.at:%Y-%m-%d %H:%M:%S}"
