"""Telling every worker that what it knows of a tenant's keys is out of date."""

from collections.abc import Iterable

import structlog
from django.conf import settings

from gateway_site.infra import valkey
from gateway_site.infra.valkey import StoreUnavailable
from tenants.auth import GENERATION_KEY, PRINCIPAL_KEY
from tenants.models import ApiKey

log = structlog.get_logger("tollgate.principals")

CHANNEL = "tollgate:principals:changed"


def principals_changed(tenant_id: int, *, gone: Iterable[str] = ()) -> None:
    """Drop a tenant's cached principals everywhere; `gone` are digests of keys that no longer exist.

    The generation goes up first: whoever read the database before now may no longer write what it read to the cache.
    """
    stored = ApiKey.objects.for_tenant(tenant_id).values_list("digest", "previous_digest")
    digests = [*gone, *(digest for pair in stored for digest in pair if digest is not None)]
    try:
        with valkey.connect(settings.VALKEY_URL) as client, client.pipeline(transaction=True) as pipeline:
            pipeline.incr(GENERATION_KEY)
            if digests:
                pipeline.delete(*(PRINCIPAL_KEY + digest for digest in digests))
            pipeline.publish(CHANNEL, str(tenant_id))
            pipeline.execute()
    except StoreUnavailable as error:
        # Workers notice by themselves when their cached copy is too old; saving must not fail for this.
        log.error("principals_change_not_announced", tenant_id=tenant_id, reason=str(error))
