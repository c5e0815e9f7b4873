"""The headers that every answer of the data plane gets: whose it is, and what it took."""

from time import monotonic

from routing.exchange import Exchange


def identity_headers(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    """Return the ids of a request, under OpenAI's name and, for its clients, Anthropic's."""
    request_id = exchange.request_id.encode()
    overhead = _overhead_ms(exchange)
    pairs = [
        (b"x-request-id", request_id),
        (b"x-correlation-id", exchange.correlation_id.encode()),
        (b"x-tollgate-overhead-ms", overhead),
    ]
    if exchange.dialect == "anthropic_messages":
        pairs.append((b"request-id", request_id))
    return pairs


def _overhead_ms(exchange: Exchange) -> bytes:
    return b"%.2f" % max(0.0, (monotonic() - exchange.started - exchange.upstream_seconds) * 1000)


def stream_headers(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    """Return the headers that the gateway adds to a stream."""
    return [
        *identity_headers(exchange),
        (b"x-stream-id", exchange.request_id.encode()),
        (b"cache-control", b"no-cache"),
        (b"x-accel-buffering", b"no"),
    ]
