"""The terms and the privacy notice that hold until an operator publishes others: what this software does, and no more.

They stand in templates/legal. A sentence there is a promise about the code: whoever changes what is kept, or for how long,
changes it there too.
"""

from django.conf import settings
from django.template.loader import render_to_string

from tenants.models import LegalDocument, Tenant


def default_text(kind: str) -> str:
    """Return the shipped document, with this deployment's own times in it."""
    days = Tenant._meta.get_field("response_retention_days").default
    body_days = Tenant._meta.get_field("audit_retention_days").default
    context = {
        "response_days": days,
        "body_days": body_days,
        "records": _records(settings.USAGE_RETENTION_DAYS),
        "trail": _trail(settings.AUDIT_RETENTION_DAYS),
    }
    return render_to_string(f"legal/{LegalDocument.Kind(kind)}.md", context)


def _records(days: int) -> str:
    if not days:
        return "These records are kept until the operator deletes them."
    unit = "1 day" if days == 1 else f"{days} days"
    return f"These records are deleted after {unit}."


def _trail(days: int) -> str:
    return f"It is never changed, and kept for {days} days." if days else "It is never changed, and kept for good."
