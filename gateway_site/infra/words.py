"""Numbers and moments as people and programs read them."""

from datetime import UTC, datetime
from decimal import Decimal


def plain(number: Decimal | float) -> str:
    """A number without exponent and without zeros at its end."""
    return f"{Decimal(str(number)).normalize():f}"


def utc_text(moment: datetime) -> str:
    """A moment in UTC to the second, such as 2026-11-18T12:00:00Z."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
