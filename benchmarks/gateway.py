"""The gateway under test: embedded stores, a migrated and configured database, one worker at a time."""

import os
import secrets
import string
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet

from benchmarks.processes import HOST, ROOT, Service, free_port, run, running, serving
from gateway_site.embedded import embedded_stores

CONFIGURATION = ROOT / "benchmarks" / "gateway.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A configured installation of which workers can be started."""

    env: Mapping[str, str]
    state_dir: Path

    @contextmanager
    def worker(self) -> Iterator[Service]:
        """Start one worker that has served nothing yet."""
        port = free_port()
        command = [sys.executable, "manage.py", "serve", "--host", HOST, "--port", str(port)]
        log = self.state_dir / "gateway.log"
        with serving(command, port=port, log=log, env=self.env, ready_path="/ready") as service:
            yield service


@contextmanager
def installed(*, simulator_url: str, key: str, state_dir: Path, with_worker: bool) -> Iterator[Gateway]:
    """Start the stores, create the tables, apply `gateway.yaml`; with_worker = run Celery beside it."""
    with embedded_stores(state_dir / "stores") as (database_url, valkey_url):
        env = {
            **os.environ,
            "DATABASE_URL": database_url,
            "VALKEY_URL": valkey_url,
            "TOLLGATE_STATE_DIR": str(state_dir),
            "SECRET_KEY": secrets.token_urlsafe(50),
            "TOLLGATE_SECRETS_KEY": Fernet.generate_key().decode(),
            "TOLLGATE_KEY_PEPPER": secrets.token_urlsafe(32),
            "LOG_FORMAT": "json",
            "SIMULATOR_URL": simulator_url,
            "BENCH_KEY": key,
        }
        run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], env=env)
        run([sys.executable, "manage.py", "apply", str(CONFIGURATION)], env=env)
        gateway = Gateway(env=env, state_dir=state_dir)
        if not with_worker:
            yield gateway
            return
        celery = [sys.executable, "-m", "celery", "-A", "gateway_site", "worker", "--concurrency", "1"]
        with running(celery, log=state_dir / "celery.log", env=env):
            yield gateway


def new_key() -> str:
    """Make an API key in Tollgate's format."""
    alphabet = string.ascii_letters + string.digits
    return "tg_" + "".join(secrets.choice(alphabet) for _ in range(40))
