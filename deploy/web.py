"""The web processes of one node on one port, watched, and nothing beside them: what a container's `web` runs.

`manage.py up` also migrates, fills an empty database and runs Celery; containers do each of these on their own.
PORT, HOST, WORKERS and SHUTDOWN_TIMEOUT mean the same here. SIGHUP replaces the processes one by one.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gateway_site.env import envstr
from gateway_site.state import StateError, make_state_dir, state_dir
from gateway_site.supervisor import StartFailed, StopRequested, Supervisor
from gateway_site.up import (
    CannotStart,
    Options,
    child_environment,
    listen,
    read_options,
    services,
    wait_until_ready,
)

NEEDED = (("DATABASE_URL",), ("VALKEY_URL", "REDIS_URL"))


def main(arguments: list[str]) -> int:
    """Run until SIGTERM and return the exit status."""
    try:
        check_stores()
        run(read_options(arguments))
    except (CannotStart, StartFailed, StateError) as error:
        print(f"Tollgate: {error}", file=sys.stderr)
        return 1
    return 0


def check_stores() -> None:
    """Ask for the stores' addresses only: web processes start, and serve, while a store is away."""
    missing = [names[0] for names in NEEDED if not any(envstr(name) for name in names)]
    if missing:
        raise CannotStart(f"{' and '.join(missing)} must be set.")


def run(options: Options) -> None:
    """Start the web processes and keep them running."""
    directory = state_dir()
    make_state_dir(directory)
    os.environ.update(child_environment(options, directory))
    with listen(options.host, options.port) as listener, Supervisor() as supervisor, suppress(StopRequested):
        for service in services(options, listener, directory, simulator=False):
            if service.group == "web":
                supervisor.start(service)
        wait_until_ready(supervisor, options)
        try:
            supervisor.run()
        finally:
            listener.close()  # nobody is to queue up behind processes that are stopping


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
