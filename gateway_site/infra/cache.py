"""Django's cache in Valkey, for what may be forgotten: who tried to sign in how often. Without Valkey it goes on alone.

Loaded with its first use, not with a worker: redis-py is heavy.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any

import redis
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache, RedisCacheClient

REST = 5.0  # seconds in which Valkey is not asked again after it failed
DEADLINE = 0.5  # seconds for a connection, and for an answer


class JsonSerializer:
    """Values as JSON: what is in Valkey is data, and never code as with pickle."""

    def dumps(self, value: Any) -> bytes:
        return json.dumps(value).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data)


@lru_cache
def _client(server: str) -> RedisCacheClient:
    """One for all threads of the process; Django makes a cache for each, and they come and go."""
    # The address as it is: Django would split it at commas, which a password may have.
    return RedisCacheClient(
        [server],
        serializer=JsonSerializer(),  # type: ignore[arg-type]  # the stubs' protocol has no `self`
        socket_timeout=DEADLINE,
        socket_connect_timeout=DEADLINE,
    )


class ForgivingCache(RedisCache):
    """Keeps in this process what Valkey cannot be asked for; what is no JSON is not kept at all."""

    _rests_until = 0.0  # for all of this process, by time.monotonic()

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._server = server
        self._alone = LocMemCache("while Valkey is away", {})

    @cached_property
    def _cache(self) -> RedisCacheClient:
        return _client(self._server)

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        return self._ask(lambda cache: cache.get(key, default, version), default)

    def add(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        return bool(self._ask(lambda cache: cache.add(key, value, timeout, version), True))

    def set(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        self._ask(lambda cache: cache.set(key, value, timeout, version), None)

    def delete(self, key: str, version: int | None = None) -> bool:
        return bool(self._ask(lambda cache: cache.delete(key, version), False))

    def clear(self) -> None:
        """Forget what is in the cache, and nothing else that is in Valkey."""
        client = self._cache.get_client(write=True)
        for key in client.scan_iter(match=f"{self.key_prefix}:*"):
            client.delete(key)
        self._alone.clear()

    def _ask(self, command: Callable[[Any], Any], otherwise: Any) -> Any:
        if time.monotonic() >= ForgivingCache._rests_until:
            try:
                return command(super())
            except (redis.RedisError, OSError):
                ForgivingCache._rests_until = time.monotonic() + REST
            except (TypeError, ValueError):  # it is no JSON
                return otherwise
        return command(self._alone)
