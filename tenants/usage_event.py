"""The usage event: what a settled request leaves in the Valkey stream for the ledger. Pure."""

from decimal import Decimal
from typing import Any

import msgspec


class UsageEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One row of the ledger to be. Field names are the ledger's columns."""

    request_id: str
    started_at: float  # seconds since 1970
    tenant_id: int
    api_key_id: int
    dialect: str
    alias: str
    status: int
    outcome: str
    cost_status: str
    latency_ms: int
    correlation_id: str = ""
    project: str = ""
    end_user: str = ""
    route: str = ""
    provider: str = ""
    deployment: str = ""
    model: str = ""
    is_streamed: bool = False
    error_code: str = ""
    attempts: list[Any] = []
    input_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_5m_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost: Decimal = Decimal(0)
    cost_price: Decimal | None = None
    currency: str = "USD"
    first_token_ms: int | None = None
    overhead_us: int | None = None
    revision: int | None = None
    worker: str = ""


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(UsageEvent).decode
