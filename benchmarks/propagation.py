"""`python -m benchmarks.propagation`: how soon every worker serves what was changed in the console.

A whole installation is started, as `make run` does, with two web workers and Celery. Each time counts from the moment at
which the console has answered to the one at which the last worker has noticed.
"""

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

import httpx

from benchmarks import machine
from tenants.keys import generate
from tests.gateway.console import Form, every_worker, send_form, signed_in
from tests.gateway.stack import Stack, running_stack, wait_for

CONFIGURATION = Path(__file__).with_name("propagation.yaml")
BODY = {"model": "propagating", "messages": [{"role": "user", "content": "hi"}]}
POLL_SECONDS = 0.002
PATIENCE_SECONDS = 15.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a line for each kind of change."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.propagation", description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="changes of each kind (default: %(default)s)")
    options = parser.parse_args(arguments)
    print(machine.describe())
    with installation() as stack:
        key = configure(stack)
        print(summary("a route changed", route_changes(stack, key, options.count)))
        print(summary("a key revoked", revocations(stack, options.count)))
    return 0


@contextmanager
def installation() -> Iterator[Stack]:
    """Run everything in a directory of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="tollgate-propagation-") as directory,
        running_stack(Path(directory) / "stack") as stack,
    ):
        yield stack


def configure(stack: Stack) -> str:
    """Add what is going to be changed; return a key that may call it."""
    key = generate()
    stack.manage("apply", str(CONFIGURATION), SIMULATOR_URL=stack.simulator_url, PROPAGATION_KEY=key)
    with every_worker(stack) as workers:
        wait_for(lambda: all(_status(worker, key) == 200 for worker in workers), "the configuration")
    return key


def route_changes(stack: Stack, key: str, count: int) -> list[float]:
    """Point a route elsewhere so many times; return the seconds until all workers went there."""
    ((route,),) = stack.query("SELECT id FROM routing_route WHERE name = 'propagating'")
    deployments = dict(stack.query("SELECT slug, id FROM providers_deployment"))
    path = f"/admin/routing/route/{route}/change/"
    seconds = []
    with signed_in(stack) as console, every_worker(stack) as workers:
        for slug in islice(cycle(("propagation-b", "propagation-a")), count):
            target = {"targets-0-deployment": str(deployments[slug]), "_save": "Save"}
            saved = send_form(console, path, **target)
            assert "/change/" not in str(saved.url), "the form was not accepted"
            seconds.append(_seconds_until(workers, lambda worker: _served_by(worker, key) == slug))  # noqa: B023
    return seconds


def revocations(stack: Stack, count: int) -> list[float]:
    """Make and revoke so many keys; return the seconds until all workers refused each."""
    ((tenant,),) = stack.query("SELECT id FROM tenants_tenant WHERE slug = 'propagation'")
    path, marked = "/admin/tenants/apikey/", time.monotonic_ns()
    seconds = []
    with signed_in(stack) as console, every_worker(stack) as workers:
        for number in range(count):
            name = f"short-lived-{marked}-{number}"
            shown = send_form(console, f"{path}add/", tenant=str(tenant), name=name, _save="Save")
            secret = re.search(r"tg_[A-Za-z0-9]{40}", shown.text)
            assert secret is not None, "no key was shown"
            assert [_status(worker, secret[0]) for worker in workers] == [200] * len(workers)
            _revoke(console, path, stack, name)
            seconds.append(_seconds_until(workers, lambda worker: _status(worker, secret[0]) == 401))  # noqa: B023
    return seconds


def _revoke(console: httpx.Client, path: str, stack: Stack, name: str) -> None:
    ((key_id,),) = stack.query("SELECT id FROM tenants_apikey WHERE name = %s", name)
    token = Form(console.get(path).text).fields["csrfmiddlewaretoken"]
    action = {"action": "revoke_selected", "_selected_action": str(key_id), "index": "0", "csrfmiddlewaretoken": token}
    assert console.post(path, data=action, headers={"referer": stack.url + path}).status_code == 200


def _seconds_until(workers: Sequence[httpx.Client], has_noticed: Callable[[httpx.Client], bool]) -> float:
    began = time.monotonic()
    waiting = list(workers)
    while waiting := [worker for worker in waiting if not has_noticed(worker)]:
        assert time.monotonic() - began < PATIENCE_SECONDS, "a worker does not notice"
        time.sleep(POLL_SECONDS)
    return time.monotonic() - began


def _served_by(worker: httpx.Client, key: str) -> str:
    return _ask(worker, key).headers.get("x-tollgate-deployment", "")


def _status(worker: httpx.Client, key: str) -> int:
    return _ask(worker, key).status_code


def _ask(worker: httpx.Client, key: str) -> httpx.Response:
    return worker.post("/v1/chat/completions", json=BODY, headers={"authorization": f"Bearer {key}"})


def summary(what: str, seconds: Sequence[float]) -> str:
    """Say in one line how long it took."""
    ordered = [round(each * 1000) for each in sorted(seconds)]
    p99 = ordered[max(0, -(-len(ordered) * 99 // 100) - 1)]
    return f"{what}: {len(ordered)} times, p50 {ordered[len(ordered) // 2]} ms, p99 {p99} ms, max {ordered[-1]} ms"


if __name__ == "__main__":
    sys.exit(main())
