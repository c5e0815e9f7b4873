"""Numbers and moments as people and programs read them."""

from datetime import UTC, datetime
from decimal import Decimal

DIALECTS = {  # as the console calls them
    "openai_chat": "OpenAI chat completions",
    "anthropic_messages": "Anthropic messages",
    "openai_responses": "OpenAI responses",
    "gemini": "Gemini",
}


def dialect_name(name: str) -> str:
    """A dialect as people call it; of one that no version knows any more its name."""
    return DIALECTS.get(name, name)


def plain(number: Decimal | float) -> str:
    """A number without exponent and without zeros at its end."""
    return f"{Decimal(str(number)).normalize():f}"


def utc_text(moment: datetime) -> str:
    """A moment in UTC to the second, such as 2026-11-18T12:00:00Z."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
