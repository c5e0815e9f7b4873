"""Shared by ``python -m providers.simulator`` and ``manage.py simulate``."""

import asyncio
import signal
from argparse import ArgumentParser
from collections.abc import Callable

from providers.simulator.server import Simulator

new_event_loop: Callable[[], asyncio.AbstractEventLoop]
try:
    import uvloop
except ImportError:
    new_event_loop = asyncio.new_event_loop  # uvloop is absent on Windows; it doubles the request rate
else:
    new_event_loop = uvloop.new_event_loop


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=9100, help="0 picks a free one (default: %(default)s)")
    parser.add_argument("--key", help="the only API key to accept (default: any)")
    parser.add_argument("--quiet", action="store_true", help="do not print where it listens")


def run(*, host: str, port: int, key: str | None, quiet: bool) -> None:
    """Serve until SIGTERM or SIGINT."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_serve(Simulator(host=host, port=port, key=key), quiet=quiet))


async def _serve(simulator: Simulator, *, quiet: bool) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with simulator:
        if not quiet:
            print(f"simulator listening on {simulator.url}", flush=True)
        await stopped.wait()
