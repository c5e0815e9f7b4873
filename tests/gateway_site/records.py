"""Requests as the ledger has them."""

from datetime import UTC, datetime
from typing import Any

from tenants.models import Tenant, UsageRecord
from tests.tenants.ledger_events import event, write


def write_record(tenant: Tenant, **facts: Any) -> UsageRecord:
    """One that was served just now, in so far as nothing else is said of it."""
    written = event(datetime.now(UTC), **{"tenant_id": tenant.pk, **facts})
    write(written)
    return UsageRecord.objects.get(pk=written.request_id)
