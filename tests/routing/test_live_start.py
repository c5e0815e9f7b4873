"""What websockets need is loaded with the first of them, and not by every worker that starts."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOADS = """
import sys
import gateway_site.asgi
from gateway_site.data_plane import warm_up
from gateway_site.serving.server import config
warm_up()
config(host="127.0.0.1", port=0).load()
heavy = {"wsproto", "websockets", "channels.generic.websocket", "routing.consumers", "routing.live_view"}
print(sorted(heavy & set(sys.modules)))
"""


def test_a_worker_starts_without_what_sockets_need():
    said = subprocess.run(
        [sys.executable, "-c", LOADS],
        cwd=ROOT,
        env={**os.environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert said.stdout.strip().endswith("[]"), said.stdout + said.stderr
