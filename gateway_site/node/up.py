"""`manage.py up`: everything one node needs, run and watched from one terminal.

Runs before Django has settings, for it makes the secrets and starts the stores that they name; so nothing
of Django is imported here. `run` has the steps in their order; what runs stops in the opposite order.
"""

import argparse
import errno
import http.client
import json
import os
import shutil
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway_site.embedded import EmbeddedPostgres, EmbeddedStore, EmbeddedValkey
from gateway_site.env import envint, envstr, valkey_url
from gateway_site.node.state import (
    REPOSITORY,
    StateError,
    keep_secrets,
    make_state_dir,
    state_dir,
    state_lock,
    write_environment,
    write_private,
)
from gateway_site.node.stores import StoreAway, connect_to_postgres, connect_to_valkey, reason_of
from gateway_site.node.supervisor import Service, StartFailed, StopRequested, Supervisor, log

BACKLOG = 2048
CONNECT_SECONDS = 5
READY_SECONDS = 90.0
SNAPSHOT_COPY = "snapshot.json"  # routing.snapshot_store's, which cannot be imported before Django
ANY_ADDRESS = {
    "0.0.0.0": "127.0.0.1",
    "::": "::1",
    "": "127.0.0.1",
}  # listening everywhere: where to reach it
PYTHON = sys.executable
MANAGE = [PYTHON, str(REPOSITORY / "manage.py")]


class CannotStart(Exception):
    """What the person at the terminal has to change, in one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    host: str
    port: int
    workers: int
    embedded: bool
    web_only: bool = False
    simulator_port: int
    shutdown_seconds: int

    @property
    def address(self) -> str:
        """The host to connect to from this machine."""
        return ANY_ADDRESS.get(self.host, self.host)

    @property
    def base_url(self) -> str:
        return f"http://{f'[{self.address}]' if ':' in self.address else self.address}:{self.port}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default=envstr("HOST", "127.0.0.1"), help="address to listen on (HOST, 127.0.0.1)")
    parser.add_argument("--port", type=int, default=envint("PORT", 8080), help="port to listen on (PORT, 8080)")
    parser.add_argument(
        "--workers",
        type=int,
        default=envint("WORKERS", cores(), minimum=1),
        help="web processes (WORKERS, one per core)",
    )
    parser.add_argument(
        "--no-embedded",
        action="store_true",
        help="start no PostgreSQL and no Valkey; DATABASE_URL and VALKEY_URL are needed",
    )
    parser.add_argument(
        "--web-only",
        action="store_true",
        help="run the web processes and nothing else, for containers; they serve while a store is away",
    )


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_options(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="manage.py up", description="Run everything one node needs.")
    add_arguments(parser)
    given = parser.parse_args(arguments)
    if not 1 <= given.port <= 65535:
        raise CannotStart(f"PORT={given.port} is not a port: it must be between 1 and 65535.")
    return Options(
        host=given.host,
        port=given.port,
        workers=max(given.workers, 1),
        embedded=not (given.no_embedded or given.web_only),
        web_only=given.web_only,
        simulator_port=envint("TOLLGATE_SIMULATOR_PORT", 9100),
        shutdown_seconds=envint("SHUTDOWN_TIMEOUT", 30, minimum=0),
    )


def main(arguments: list[str]) -> int:
    """Run until Ctrl-C or SIGTERM and return the exit status."""
    try:
        options = read_options(arguments)
        start = run_web if options.web_only else run
        with listen(options.host, options.port) as listener:
            start(options, listener, state_dir())
    except (CannotStart, StartFailed, StateError) as error:
        print(f"Tollgate: {error}", file=sys.stderr)
        return 1
    return 0


def run(options: Options, listener: socket.socket, directory: Path) -> None:
    """Start everything in order, tell how to use it, and keep it running."""
    make_state_dir(directory)
    with state_lock(directory), Supervisor() as supervisor, suppress(StopRequested):
        secrets = keep_secrets(directory)
        away = stores_away(directory)
        made = secrets | start_stores(supervisor, options, directory)
        if secrets and "DATABASE_URL" not in made:
            log("warning", "Other nodes on this database need the same secrets", kept_in=str(directory))
        write_environment(directory, made)
        options = with_free_simulator_port(options)
        os.environ.update(made | child_environment(options, directory))
        prepare_database(supervisor, away)
        facts = read_facts(directory)
        log("info", "Starting the processes", web_workers=options.workers)
        for service in services(options, listener, directory, simulator=facts.get("simulator") is True):
            supervisor.start(service)
        wait_until_ready(supervisor, options)
        print(banner(options, facts, directory), flush=True)
        forget_password(directory, facts)
        try:
            supervisor.run()
        finally:
            listener.close()  # nobody is to queue up behind workers that are stopping


def prepare_database(supervisor: Supervisor, away: Mapping[str, str]) -> None:
    """Migrate and seed; when a store is away, as soon as it is back, and the web processes do not wait for it."""
    if away:
        for name, reason in away.items():
            log("error", "A store is away; the configuration kept on disk is served", variable=name, reason=reason)
        preparation = [PYTHON, "-m", "gateway_site.node.preparation"]
        supervisor.start(Service(name="preparation", command=preparation, once=True, tried_again=True))
        return
    log("info", "Preparing the database")
    supervisor.run_step(step("migrate", "--noinput", "--verbosity", "0"), what="`manage.py migrate`")
    supervisor.run_step(step("seed_demo"), what="`manage.py seed_demo`")


def run_web(options: Options, listener: socket.socket, directory: Path) -> None:
    """Start the web processes alone and keep them running: migrating, Celery and the stores are others' work."""
    needed = {"DATABASE_URL": envstr("DATABASE_URL"), "VALKEY_URL": valkey_url()}
    missing = [name for name, url in needed.items() if not url]
    if missing:
        raise CannotStart(f"{' and '.join(missing)} must be set.")
    make_state_dir(directory)
    os.environ.update(child_environment(options, directory))
    with Supervisor() as supervisor, suppress(StopRequested):
        for service in services(options, listener, directory, simulator=False):
            if service.group == "web":
                supervisor.start(service)
        wait_until_started(supervisor)
        if not answers_ready(options):  # they look for one again and again; whoever runs us must not end that
            log("error", "There is no configuration to serve yet: no store has one, nor has the disk")
        try:
            supervisor.run()
        finally:
            listener.close()


# --- The address --------------------------------------------------------------------------------------------


def listen(host: str, port: int) -> socket.socket:
    """Return the socket that all web processes accept from; CannotStart when the address is not to be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotStart(f"HOST={host} is not an address of this machine ({error.strerror}).") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotStart(_why_not_bound(error, host, port)) from None
    return listener


def _why_not_bound(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use; choose another one, for example: PORT={port + 1} make run"
    if error.errno == errno.EACCES:
        return f"port {port} needs privileges; choose one above 1023, for example: PORT=8080 make run"
    return f"cannot listen on {host} port {port}: {error.strerror}."


def with_free_simulator_port(options: Options) -> Options:
    """Keep the simulator's port when it is free, else take any."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", options.simulator_port))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return Options(**{name: getattr(options, name) for name in Options.__slots__} | {"simulator_port": port})


# --- Stores -------------------------------------------------------------------------------------------------


def start_stores(supervisor: Supervisor, options: Options, directory: Path) -> dict[str, str]:
    """Start the stores that the environment does not name; return their URLs."""
    database, valkey = envstr("DATABASE_URL"), valkey_url()
    missing = [name for name, url in (("DATABASE_URL", database), ("VALKEY_URL", valkey)) if not url]
    if missing and not options.embedded:
        raise CannotStart(f"with --no-embedded, {' and '.join(missing)} must be set.")
    wanted: dict[str, EmbeddedStore] = {
        "DATABASE_URL": EmbeddedPostgres(directory),
        "VALKEY_URL": EmbeddedValkey(directory),
    }
    started = {name: wanted[name] for name in missing}
    if started:
        log("info", "Starting the stores", kept_in=str(directory))
    children = []
    for store in started.values():
        store.prepare()
        children.append((store, supervisor.start(store.service())))
    for store, child in children:
        supervisor.wait_for(lambda: store.is_ready(child.pid), timeout=60, what=store.name)  # noqa: B023 - called at once
    return {name: store.url() for name, store in started.items()}


def stores_away(directory: Path) -> dict[str, str]:
    """Check the stores that the environment names; return why which of them cannot be reached now.

    CannotStart for a URL that makes no sense, and where the disk has no configuration to serve meanwhile.
    """
    valkey_name = "VALKEY_URL" if envstr("VALKEY_URL") else "REDIS_URL"
    named = (
        ("DATABASE_URL", envstr("DATABASE_URL"), connect_to_postgres),
        (valkey_name, valkey_url(), connect_to_valkey),
    )
    away = {}
    for name, url, connect in named:
        if url and (reason := why_away(name, url, connect)):
            away[name] = reason
    if away and not (directory / SNAPSHOT_COPY).exists():
        name, reason = next(iter(away.items()))
        raise CannotStart(f"{name} cannot be used: {reason}")
    return away


def why_away(name: str, url: str, connect: Callable[[str], None]) -> str | None:
    """Return why a store cannot be reached, None when it can; CannotStart when it never will be."""
    try:
        connect(url)
    except StoreAway as error:
        return str(error)
    except Exception as error:  # each driver has a tree of its own; whatever it is, the URL cannot be used
        raise CannotStart(f"{name} cannot be used: {reason_of(error, url)}") from None
    return None


# --- Processes ----------------------------------------------------------------------------------------------


def child_environment(options: Options, directory: Path) -> dict[str, str]:
    """Return what every child is told beside secrets and URLs."""
    metrics = directory / "prometheus"
    shutil.rmtree(metrics, ignore_errors=True)
    metrics.mkdir(mode=0o700)
    return {
        "DJANGO_SETTINGS_MODULE": envstr("DJANGO_SETTINGS_MODULE") or "gateway_site.settings",
        "TOLLGATE_STATE_DIR": str(directory),
        "TOLLGATE_SIMULATOR_PORT": str(options.simulator_port),
        "PROMETHEUS_MULTIPROC_DIR": str(metrics),
        "HOST": options.host,
        "PORT": str(options.port),
        "WORKERS": str(options.workers),
    }


def step(*arguments: str) -> Service:
    return Service(name=arguments[0], command=[*MANAGE, *arguments], once=True)


def services(options: Options, listener: socket.socket, directory: Path, *, simulator: bool) -> list[Service]:
    """Return what runs beside the stores, in the order of its start."""
    # The worker warns root about pickled tasks; ours are JSON.
    quiet = ["-W", "ignore:You're running the worker with superuser privileges"]
    celery = [PYTHON, *quiet, "-m", "celery", "--quiet", "--workdir", str(REPOSITORY), "-A", "gateway_site"]
    concurrency = f"--concurrency={envint('CELERY_CONCURRENCY', 2, minimum=1)}"
    alone = ["--without-gossip", "--without-mingle"]
    worker = [*celery, "worker", "--queues=tollgate", concurrency, *alone]
    asking = [*celery, "worker", "--queues=upstreams", "--concurrency=1", "--hostname=upstreams@%h", *alone]
    beat = [*celery, "beat", f"--schedule={directory / 'beat-schedule'}", "--pidfile="]
    upstream = [PYTHON, "-m", "providers.simulator", "--quiet", "--host=127.0.0.1", f"--port={options.simulator_port}"]
    metrics = forget_metrics(directory / "prometheus")
    fd = listener.fileno()
    web = Service(
        name="web worker",
        group="web",
        command=[*MANAGE, "serve", f"--fd={fd}"],
        pass_fds=(fd,),
        reports_ready=True,
        stop_seconds=options.shutdown_seconds + 5.0,
        on_exit=metrics,
    )
    return [
        *([Service(name="simulator", command=upstream)] if simulator else []),
        Service(name="celery worker", group="celery", command=worker, on_exit=metrics),
        Service(name="celery upstreams", group="celery", command=asking, on_exit=metrics),
        Service(name="celery beat", group="celery", command=beat, on_exit=metrics),
        *([web] * options.workers),
    ]


def forget_metrics(metrics: Path) -> Callable[[int], None]:
    """Return what drops the gauges of a process that has ended."""

    def forget(pid: int) -> None:
        from prometheus_client.multiprocess import mark_process_dead  # loaded when first needed

        mark_process_dead(pid, str(metrics))

    return forget


def wait_until_started(supervisor: Supervisor) -> None:
    web = [child for child in supervisor.children if child.service.reports_ready]
    supervisor.wait_for(lambda: all(child.ready for child in web), timeout=READY_SECONDS, what="The web workers")


def wait_until_ready(supervisor: Supervisor, options: Options) -> None:
    wait_until_started(supervisor)
    supervisor.wait_for(lambda: answers_ready(options), timeout=READY_SECONDS, what=f"{options.base_url}/ready")


def answers_ready(options: Options) -> bool:
    connection = http.client.HTTPConnection(options.address, options.port, timeout=CONNECT_SECONDS)
    try:
        connection.request("GET", "/ready", headers={"Host": f"localhost:{options.port}"})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


# --- The banner ---------------------------------------------------------------------------------------------


def read_facts(directory: Path) -> dict[str, Any]:
    """Return what `seed_demo` wrote: names, password, key; nothing when it has seeded nothing."""
    with suppress(FileNotFoundError):
        facts: dict[str, Any] = json.loads((directory / "first_run.json").read_bytes())
        return facts
    return {}


def forget_password(directory: Path, facts: dict[str, Any]) -> None:
    """It has been shown once; it need not lie on the disk."""
    if facts.pop("operator_password", None):
        write_private(directory / "first_run.json", json.dumps(facts, indent=2) + "\n")


def banner(options: Options, facts: dict[str, Any], directory: Path) -> str:
    """Return what to read on the terminal once everything answers."""
    lines = ["", "Tollgate is ready.", "", f"  Console    {options.base_url}/admin/"]
    if "operator_username" in facts:
        lines += [f"  Sign in    {_sign_in(facts)}"]
    if "api_key" in facts:
        lines += [f"  API key    {facts['api_key']}", "", "  Try it:", "", *_curl_lines(options, facts)]
    return "\n".join([*lines, "", f"  Data and logs are in {directory}. Ctrl-C stops everything.", ""])


def _sign_in(facts: dict[str, Any]) -> str:
    username = facts["operator_username"]
    if "operator_password" in facts:
        return f"{username}  password {facts['operator_password']}  (shown this once)"
    return f"{username}  (a new password: .venv/bin/python manage.py changepassword {username})"


def _curl_lines(options: Options, facts: dict[str, Any]) -> list[str]:
    key = facts["api_key"]
    message = {"messages": [{"role": "user", "content": "Say hello in three languages."}]}
    chat = {"model": facts.get("chat_model", "demo"), "stream": True, **message}
    messages = {"model": facts.get("messages_model", "demo"), "stream": True, "max_tokens": 256, **message}
    return [
        _curl(options, "/v1/chat/completions", [f"Authorization: Bearer {key}"], chat),
        "",
        _curl(options, "/v1/messages", [f"x-api-key: {key}", "anthropic-version: 2023-06-01"], messages),
    ]


def _curl(options: Options, path: str, headers: list[str], body: dict[str, Any]) -> str:
    flags = " ".join(f"-H '{header}'" for header in ["Content-Type: application/json", *headers])
    return f"  curl -N {options.base_url}{path} {flags} -d '{json.dumps(body)}'"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
