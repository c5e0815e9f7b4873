"""Stored responses: what `previous_response_id`, GET and DELETE of /v1/responses go back to."""

from __future__ import annotations

from typing import ClassVar, Self

from django.db import models
from django.db.models.functions import Now

from tenants.models import ApiKey, Tenant
from tenants.querysets import TenantScopedQuerySet


class StoredResponseQuerySet(TenantScopedQuerySet["StoredResponse"]):
    """Questions about sets of stored responses."""

    def current(self) -> Self:
        """Those that have not expired; the others are as good as gone."""
        return self.filter(expires_at__gt=Now())

    def expired(self) -> Self:
        """Those that wait to be deleted."""
        return self.filter(expires_at__lte=Now())


class StoredResponse(models.Model):
    """A response of a tenant: with its conversation, encrypted, or only where an upstream keeps it.

    Ids are unique for a tenant, not beyond: an upstream's own ids are made by others. The database itself deletes a
    tenant's rows with the tenant; the key and the deployment are named, and may be gone.
    """

    response_id = models.CharField(max_length=255)
    tenant = models.ForeignKey(
        Tenant, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    api_key = models.ForeignKey(
        ApiKey,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
        verbose_name="API key",
    )
    deployment = models.CharField(max_length=63, blank=True, help_text="Who has answered.")
    dialect = models.CharField(max_length=32, blank=True, help_text="In which the upstream was asked.")
    is_native = models.BooleanField("kept upstream", help_text="The upstream keeps it; here is only where it is.")
    body = models.BinaryField(default=b"")  # compressed, then encrypted; empty when the upstream keeps it
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(db_index=True)

    objects = StoredResponseQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["response_id", "tenant"], name="stored_response_per_tenant")
        ]
        indexes: ClassVar = [models.Index(fields=["tenant", "-id"], name="stored_response_tenant")]

    def __str__(self) -> str:
        return self.response_id
