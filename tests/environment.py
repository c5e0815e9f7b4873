"""The tests' environment, set before Django reads its settings (pytest loads this first: see `addopts`).

Stores of the tests' own live in a temporary directory; their addresses are known before they are started, so tests that
need none do not wait for them.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from gateway_site.embedded import EmbeddedPostgres, EmbeddedValkey

IDLE_TRANSACTION = "2min"  # instead of 15 s, in which a slow machine may not even have loaded the console
STATE_DIR = Path(tempfile.mkdtemp(prefix="tollgate-tests-"))
atexit.register(shutil.rmtree, STATE_DIR, ignore_errors=True)

for name in [name for name in os.environ if name.endswith("_API_KEY") or name.startswith(("TOLLGATE_", "PROMETHEUS_"))]:
    del os.environ[name]

os.environ.update(
    {
        "SECRET_KEY": "a-key-for-tests-that-protects-nothing-and-is-long-enough-for-django",
        "TOLLGATE_SECRETS_KEY": "dGVzdHMtb25seS10ZXN0cy1vbmx5LXRlc3RzLW9ubHk=",
        "TOLLGATE_KEY_PEPPER": "pepper-for-tests",
        "TOLLGATE_STATE_DIR": str(STATE_DIR),
        "DATABASE_URL": EmbeddedPostgres(STATE_DIR / "stores").url(),
        "VALKEY_URL": EmbeddedValkey(STATE_DIR / "stores").url(),
        "LOG_LEVEL": "WARNING",
        "LOG_FORMAT": "json",
    }
)
