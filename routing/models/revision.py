"""Revisions of the configuration: what was published, by whom, and what it changed."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models


class ConfigRevision(models.Model):
    """A validated, compiled configuration. Never edited, never deleted while it is the newest."""

    class Status(models.TextChoices):
        DRAFT = "draft", "Waits for approval"
        PUBLISHED = "published", "Published"
        REJECTED = "rejected", "Rejected"
        SUPERSEDED = "superseded", "Superseded"

    number = models.PositiveIntegerField(unique=True)
    status = models.CharField(max_length=16, choices=Status.choices)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True)
    changed_by = models.JSONField(default=list, blank=True, help_text="Who has changed something, by user name.")
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    published_at = models.DateTimeField(null=True, blank=True)
    is_pinned = models.BooleanField(
        "pinned", default=False, help_text="A roll back: changes wait until published by hand."
    )
    note = models.CharField(max_length=200, blank=True)
    diff = models.JSONField(default=list, help_text="What changed against the revision before, a line each.")
    errors = models.JSONField(default=list, blank=True)
    blob = models.BinaryField(default=b"", editable=False)
    checksum = models.CharField(max_length=64, db_index=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-number"]
        verbose_name = "revision"

    def __str__(self) -> str:
        return f"Revision {self.number}"
