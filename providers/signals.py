"""Whatever is changed of providers, deployments and prices is noted in the audit trail."""

from providers.models import Deployment, ModelPrice, Provider
from tenants.audit import watch

SWITCHED = {"is_enabled": ("switched_on", "switched_off")}
FOUND_OUT = ("capabilities", "capabilities_of", "capabilities_at", "probe_result", "probe_reason", "probed_at")


def connect() -> None:
    """Connect the receivers; called once when Django is ready."""
    watch(Provider, secret=("headers",), ignored=("catalogue", "catalogue_at"), verbs=SWITCHED)
    watch(Deployment, ignored=FOUND_OUT, verbs=SWITCHED)
    watch(ModelPrice)
