"""The usage event: what a settled request leaves in the Valkey stream for the ledger. Pure."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec

MAX_LOSSES = 50  # of one record; a body can name thousands of fields that nobody else knows
MAX_LOSS_TEXT = 200
WEIGHTS = ("cosmetic", "degrades", "changes_answer")  # lightest first, as providers.canonical.losses names them


class LossRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a translation could not carry."""

    path: str  # where the client wrote it
    weight: str  # one of WEIGHTS
    why: str


def loss_records(found: Iterable[tuple[str, str, str]]) -> list[LossRecord]:
    """Return losses (path, weight, why) as the ledger keeps them: the heaviest, so many that a row stays small.

    Paths hold names that clients have chosen; what Postgres could not store of them is replaced, else the event
    would be refused, and a request that names a field so would be free.
    """
    losses = [LossRecord(path=_storable(path), weight=weight, why=_storable(why)) for path, weight, why in found]
    if len(losses) <= MAX_LOSSES:
        return losses
    losses.sort(key=lambda loss: -_rank(loss.weight))
    kept, others = losses[: MAX_LOSSES - 1], losses[MAX_LOSSES - 1 :]
    return [*kept, LossRecord(path="", weight=others[0].weight, why=f"and {len(others)} more")]


def heaviest(weights: Iterable[str]) -> str:
    """Return the weight that matters most; empty when there is none."""
    return max(weights, key=_rank, default="")


def _rank(weight: str) -> int:
    return WEIGHTS.index(weight) if weight in WEIGHTS else len(WEIGHTS)


def _storable(text: str) -> str:
    text = text if len(text) <= MAX_LOSS_TEXT else f"{text[: MAX_LOSS_TEXT - 1]}…"
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


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
    dialect_upstream: str = ""  # what the upstream was asked in; empty when none was asked
    losses: list[LossRecord] = []  # see loss_records
    trace: dict[str, Any] | None = None  # how the route was decided; None = nobody asked
    input_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_5m_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost: Decimal = Decimal(0)
    cost_price: Decimal | None = None
    currency: str = "USD"
    written_off: Decimal = Decimal(0)  # what a hard budget had no room for
    reported_cost: Decimal | None = None  # by the provider
    units: dict[str, Any] = {}  # audio_input_tokens, audio_output_tokens, images, characters, seconds
    service_tier: str = ""
    budgets: list[str] = []  # the counters it was charged to
    corrects: str | None = None  # the request whose record this one corrects
    replaces_lost: bool = False  # its reservation was swept: the record of that goes
    first_token_ms: int | None = None
    overhead_us: int | None = None
    revision: int | None = None
    worker: str = ""


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(UsageEvent).decode
