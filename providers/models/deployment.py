"""A deployment: an upstream model reachable with one credential at one endpoint."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models

from providers.models.provider import Provider
from providers.registry import KNOWN_DIALECTS

PROBE_SECONDS = 10  # the least pause between two probes
COSTLY_PROBE_SECONDS = 300  # of what is billed by the picture or by the second
COSTLY_KINDS = frozenset({"image", "speech", "transcription"})


class Deployment(models.Model):
    """What a route points at."""

    class Kind(models.TextChoices):
        CHAT = "chat", "Chat"
        EMBEDDING = "embedding", "Embedding"
        IMAGE = "image", "Image"
        SPEECH = "speech", "Speech"
        TRANSCRIPTION = "transcription", "Transcription"
        RERANK = "rerank", "Rerank"
        MODERATION = "moderation", "Moderation"

    class ProbeResult(models.TextChoices):
        OK = "ok", "Answers"
        CANNOT_PROBE = "cannot_probe", "Cannot be probed"
        UNREACHABLE = "unreachable", "Unreachable"
        REJECTED = "rejected", "Rejects the probe"

    slug = models.SlugField(max_length=63, unique=True)
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="deployments")
    model = models.CharField(max_length=200, help_text="The upstream's own name.")
    kind = models.CharField(max_length=16, choices=Kind.choices, default=Kind.CHAT)
    dialect = models.CharField(max_length=32, blank=True, help_text="Empty: all of its provider's dialects.")
    context_window = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    max_output_tokens = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    region = models.CharField(max_length=63, blank=True)
    tags = ArrayField(models.CharField(max_length=63), default=list, blank=True)
    is_enabled = models.BooleanField(
        "enabled", default=True, help_text="The manual switch: nothing automatic ever turns it on again."
    )
    # What its upstream says of the model, as it came (see providers/capabilities.py), of which model, and when.
    capabilities = models.JSONField(null=True, blank=True, editable=False)
    capabilities_of = models.CharField(max_length=200, blank=True, editable=False)
    capabilities_at = models.DateTimeField("asked at", null=True, blank=True, editable=False)
    probe_every = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(PROBE_SECONDS)],
        help_text="Seconds between two small requests that ask whether it answers, at least 10, and 300 for images, speech"
        " and transcriptions; empty: none is sent.",
    )
    # What the last probe found; written beside the configuration, with update().
    probe_result = models.CharField(max_length=16, choices=ProbeResult.choices, blank=True, editable=False)
    probe_reason = models.CharField(max_length=500, blank=True, editable=False)
    probed_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["slug"]

    def __str__(self) -> str:
        return self.slug

    @property
    def effective_dialects(self) -> tuple[str, ...]:
        """In which it may be asked, best first."""
        return (self.dialect,) if self.dialect else self.provider.effective_dialects

    @property
    def told_capabilities(self) -> dict[str, Any]:
        """What its upstream says of its model; empty when it has said nothing, or of another model."""
        return self.capabilities if self.capabilities and self.capabilities_of == self.model else {}

    def clean(self) -> None:
        """Name the field of everything that is wrong."""
        errors = self._dialect_errors() | self._probe_errors()
        if errors:
            raise ValidationError(errors)

    def _dialect_errors(self) -> dict[str, str]:
        """A deployment speaks one of its provider's dialects."""
        if self.dialect and self.dialect not in KNOWN_DIALECTS:
            known = ", ".join(KNOWN_DIALECTS)
            return {"dialect": f"{self.dialect!r} is not a dialect; there are {known}."}
        if self.dialect and self.provider_id and self.dialect not in self.provider.effective_dialects:
            spoken = ", ".join(self.provider.effective_dialects)
            return {"dialect": f"Provider {self.provider.slug!r} speaks {spoken}."}
        return {}

    def _probe_errors(self) -> dict[str, str]:
        """What costs much is probed seldom; less than the least of all has been refused before."""
        if self.kind in COSTLY_KINDS and PROBE_SECONDS <= (self.probe_every or 0) < COSTLY_PROBE_SECONDS:
            return {"probe_every": f"At least {COSTLY_PROBE_SECONDS} for the kind {self.kind}, whose probes cost more."}
        return {}

    def price_at(self, moment: datetime, side: str = "sell"):
        """The price in force at a moment, or None."""
        return self.prices.filter(side=side, effective_from__lte=moment).order_by("-effective_from").first()
