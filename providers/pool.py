"""A pool of connections, as a value. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What makes two providers' connections different."""

    provider: str
    max_connections: int
    connect_timeout: float  # seconds
    allows_private: bool
