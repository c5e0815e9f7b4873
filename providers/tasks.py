"""Celery: ask upstreams which models they have, what those can do, and whether they answer."""

from celery import shared_task


@shared_task(name="providers.fetch_capabilities")
def fetch_capabilities() -> None:
    """Ask every upstream that describes its models; changes are published as all changes of the configuration are."""
    from providers.capabilities import fetch  # the HTTP client is loaded by the process that asks, once an hour

    fetch()


@shared_task(name="providers.fetch_catalogues")
def fetch_catalogues() -> None:
    """Ask every provider which models it has, if any tenant may use those that have no route."""
    from providers.catalogues import fetch

    fetch()


@shared_task(name="providers.probe_deployments")
def probe_deployments() -> None:
    """Probe the deployments whose time has come; one run at a time."""
    from providers.probes import run

    run()
