"""What `manage.py up` does for the database when a store was away at its start: wait for both, migrate, seed.

Runs beside the web processes, which serve what the disk has meanwhile. Whatever fails here is tried again by the supervisor.
"""

import subprocess
import sys
import time
from collections.abc import Callable

from gateway_site.env import envstr, valkey_url
from gateway_site.node.state import REPOSITORY
from gateway_site.node.stores import StoreAway, connect_to_postgres, connect_to_valkey
from gateway_site.node.supervisor import log

LOOK_AGAIN_SECONDS = 2.0
STEPS = (("migrate", "--noinput", "--verbosity", "0"), ("seed_demo",))


def main() -> int:
    """Return the exit status of the step that failed, 0 when all is done."""
    wait_for(envstr("DATABASE_URL") or "", connect_to_postgres)
    wait_for(valkey_url() or "", connect_to_valkey)
    for step in STEPS:
        done = subprocess.run([sys.executable, str(REPOSITORY / "manage.py"), *step], check=False)
        if done.returncode != 0:
            return done.returncode
    log("info", "The stores are back and the database is prepared")
    return 0


def wait_for(url: str, connect: Callable[[str], None]) -> None:
    """Look again and again until a store can be reached."""
    while True:
        try:
            connect(url)
            return
        except StoreAway:
            time.sleep(LOOK_AGAIN_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
