"""Bodies of requests that a tenant's audit policy keeps: redacted, encrypted, deleted when their days are over."""

from __future__ import annotations

from typing import ClassVar

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from tenants.models.tenant import Tenant
from tenants.querysets import RequestBodyQuerySet


class RequestBody(models.Model):
    """What a client sent and what it got, of one request. `tenants/bodies.py` writes, opens and expires them."""

    request_id = models.UUIDField(primary_key=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+", db_index=False)
    started_at = models.DateTimeField(help_text="When the request came: its days are counted from then.")
    content = models.BinaryField(help_text="Headers, request and answer: redacted, compressed, encrypted.")
    request_size = models.PositiveBigIntegerField(default=0, help_text="Bytes that came.")
    answer_size = models.PositiveBigIntegerField(default=0, help_text="Bytes that went.")
    is_request_cut = models.BooleanField(default=False)
    is_answer_cut = models.BooleanField(default=False)
    redactions = models.JSONField(default=dict, encoder=DjangoJSONEncoder, help_text="How many of which kind.")

    objects = RequestBodyQuerySet["RequestBody"].as_manager()

    class Meta:
        verbose_name = "body of a request"
        verbose_name_plural = "bodies of requests"
        default_permissions = ("view",)
        ordering: ClassVar = ["-started_at", "-request_id"]
        indexes: ClassVar = [models.Index(fields=["tenant", "started_at"], name="request_body_tenant")]

    def __str__(self) -> str:
        return self.request_id.hex
