"""A request and its answer as uvicorn has them, on any transport."""

import asyncio

from uvicorn.protocols.http.flow_control import FlowControl

from gateway_site.serving.one_write import OneWriteCycle


def make_cycle(transport: asyncio.Transport, *, body: bytes = b"") -> OneWriteCycle:
    """Return one whose request has come whole."""
    cycle = OneWriteCycle(
        scope={"method": "POST"},  # type: ignore[typeddict-item]
        transport=transport,
        flow=FlowControl(transport),
        logger=None,  # type: ignore[arg-type]
        access_logger=None,  # type: ignore[arg-type]
        access_log=False,
        default_headers=[],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=True,
        on_response=lambda: None,
    )
    cycle.body, cycle.more_body = bytearray(body), False
    cycle.message_event.set()
    return cycle
