"""A pool of connections, as a value. Pure."""

import msgspec

UNREADABLE = "unreadable"  # instead of a proxy that cannot be decrypted: nothing goes past it then


class Pool(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """What makes two providers' connections different."""

    provider: str
    max_connections: int  # of one worker
    connect_timeout: float  # seconds until a connection stands, and for waiting until one is free
    allows_private: bool
    http2: bool = False
    proxy: str = ""  # URL, with credentials if it wants some; empty: none
    ca_certificate: str = ""  # PEM, instead of those whom the machine trusts
    client_certificate: str = ""  # PEM, with its chain
    client_key: str = ""  # PEM

    def __repr__(self) -> str:
        return f"Pool({self.provider!r})"  # the rest may be secret


class PoolStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """How a pool is doing. Counts begin anew when a provider's connection settings change."""

    provider: str
    http2: bool  # has connections that speak it now
    in_use: int  # connections with requests on them
    idle: int  # connections kept for the next request
    waiting: int  # requests that wait for a free connection
    opened: int  # connections made so far
    requests: int  # sent so far
    reuse: float  # share of requests that needed no new connection, from 0 to 1
