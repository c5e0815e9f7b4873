"""A usage event as a line of Postgres' COPY. Pure.

Written by hand, for this is most of what a drain's own process does. What a line must not contain as it is (the
backslash, and what ends a column or a line) is rare, so a line is joined first and looked through afterwards.
"""

from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any

import msgspec

from tenants.usage_event import UsageEvent

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NULL = "\\N"
SEPARATOR = "\t"
ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})

TEXTS = (
    "request_id",
    "correlation_id",
    "project",
    "end_user",
    "dialect",
    "alias",
    "route",
    "provider",
    "deployment",
    "model",
    "outcome",
    "error_code",
    "dialect_upstream",
    "currency",
    "cost_status",
    "service_tier",
    "worker",
)
NUMBERS = (
    "tenant_id",
    "api_key_id",
    "is_streamed",
    "status",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost",
    "cost_price",
    "written_off",
    "reported_cost",
    "latency_ms",
    "first_token_ms",
    "overhead_us",
    "revision",
)
DOCUMENTS = ("attempts", "losses", "units", "trace")
COLUMNS = (*TEXTS, *NUMBERS, *DOCUMENTS, "budgets", "corrects", "started_at")

_texts, _numbers = attrgetter(*TEXTS), attrgetter(*NUMBERS)
_money = attrgetter("cost", "cost_price", "written_off", "reported_cost")
_encode = msgspec.json.Encoder().encode


def copy_line(event: UsageEvent) -> str:
    """Return an event's values in the order of COLUMNS; OverflowError for a time that is none, ValueError for such money."""
    # Postgres would take NaN, and a sum that has it once has it for good.
    if not all([amount is None or amount.is_finite() for amount in _money(event)]):
        raise ValueError(f"an amount of {event.request_id} is no number")
    texts = SEPARATOR.join(_texts(event))
    if "\\" in texts or "\n" in texts or "\r" in texts or texts.count(SEPARATOR) >= len(TEXTS):
        texts = SEPARATOR.join([text.translate(ESCAPES) for text in _texts(event)])
    numbers = SEPARATOR.join([NULL if number is None else str(number) for number in _numbers(event)])
    return (
        f"{texts}\t{numbers}\t{_document(event.attempts)}\t{_document(event.losses)}\t{_document(event.units)}"
        f"\t{_trace(event.trace)}\t{_array(event.budgets)}\t{NULL if event.corrects is None else event.corrects}"
        f"\t{moment(event)}\n"
    )


def moment(event: UsageEvent) -> datetime:
    """Return when its request began; OverflowError, where fromtimestamp has errors of the system's."""
    return EPOCH + timedelta(seconds=event.started_at)


def _document(value: Any) -> str:
    if not value:
        return "{}" if isinstance(value, dict) else "[]"
    return str(_encode(value), "utf-8").replace("\\", "\\\\")


def _trace(trace: dict[str, Any] | None) -> str:
    if trace is None:
        return NULL
    # It may quote what clients have written; Postgres refuses this one character, and with it the whole record.
    return str(_encode(trace), "utf-8").replace("\\u0000", "\\ufffd").replace("\\", "\\\\")


def _array(texts: list[str]) -> str:
    """Return an array as Postgres reads it: names in quotes, and once more what COPY escapes."""
    if not texts:
        return "{}"
    quoted = '","'.join([text.replace("\\", "\\\\").replace('"', '\\"') for text in texts])
    return f'{{"{quoted}"}}'.translate(ESCAPES)
