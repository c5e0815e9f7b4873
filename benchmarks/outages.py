"""Outages under load: `python -m benchmarks.outages` kills with SIGKILL, keeps dead, and counts what was lost.

A whole installation runs (`manage.py up --no-embedded`, two web workers, Celery) on stores of ours that can be killed and
frozen. Requests fall due at a constant rate whatever becomes of the earlier ones. Afterwards every request that was answered
has to be in the ledger, once, and the rollups have to agree with it.
"""

import argparse
import asyncio
import itertools
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import uvloop
from redis import Redis

from benchmarks import calls
from benchmarks.gateway import CONFIGURATION, new_key
from benchmarks.load import Answer, Connection, Watch, build_request, percentile, sleep_until
from benchmarks.processes import HOST, BenchmarkError, free_port, run, running, tail
from gateway_site.embedded import EmbeddedPostgres, EmbeddedStore, EmbeddedValkey, wait_ready
from gateway_site.node.supervisor import spawn, stop_process
from routing.report import read_reports

START_SECONDS = 300.0
KNOWN_SECONDS = 30.0
ASKED_AT_ONCE = 8
ANSWER_SECONDS = 10.0  # a request that takes longer has failed
LEDGER_SECONDS = 60.0
LOOK_SECONDS = 0.03  # less than a process needs to become anything
MARK = b"00000000-outage"  # stands in the prepared request where each one's own id goes
VENDORS = ("_API_KEY",)
HANDS = ThreadPoolExecutor(max_workers=1)  # one thread for good: a store dies with the thread that started it


class Store:
    """A server of ours that may be killed, frozen and started again; it keeps its data."""

    def __init__(self, store: EmbeddedStore) -> None:
        self._store = store
        self._process: subprocess.Popen[bytes] | None = None
        self.url = store.url()

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._store.prepare()
        self._process = spawn(self._store.service())
        wait_ready(self._store, self._process)

    def kill(self) -> None:
        """End it without a chance to write anything down."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Let it accept connections and answer nothing, its children included."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on where it was."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        """Stop it, whatever state it is in."""
        if self._process is not None and self._process.poll() is None:
            self.thaw()
            stop_process(self._process, self._store.service())


class Installation:
    """Everything one node runs, under one supervisor, beside its stores."""

    def __init__(self, state_dir: Path, *, workers: int = 2) -> None:
        self.state_dir = state_dir
        self.workers = workers
        self.postgres = Store(EmbeddedPostgres(state_dir / "stores"))
        self.valkey = Store(EmbeddedValkey(state_dir / "stores"))
        self.key = new_key()
        self.log = state_dir / "up.log"
        self.supervisor: subprocess.Popen[bytes] | None = None
        self._running = ExitStack()
        self._started_at = 0  # where in the log
        port, simulator_port = free_port(), free_port()
        self.url = f"http://{HOST}:{port}"
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.endswith(VENDORS)},
            "DATABASE_URL": self.postgres.url,
            "VALKEY_URL": self.valkey.url,
            "TOLLGATE_STATE_DIR": str(state_dir),
            "TOLLGATE_SIMULATOR_PORT": str(simulator_port),
            "HOST": HOST,
            "PORT": str(port),
            "WORKERS": str(workers),
            "LOG_FORMAT": "json",
            "LOG_LEVEL": "INFO",
            "SIMULATOR_URL": f"http://{HOST}:{simulator_port}",
            "BENCH_KEY": self.key,
        }

    def start(self) -> None:
        """Run `manage.py up`, and wait until it says that it is ready."""
        self._started_at = self.log.stat().st_size if self.log.exists() else 0
        command = [sys.executable, "manage.py", "up", "--no-embedded"]
        self.supervisor = self._running.enter_context(running(command, log=self.log, env=self.env))
        deadline = time.monotonic() + START_SECONDS
        while "Ctrl-C stops everything" not in self.output():
            if self.supervisor.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkError(f"manage.py up is not up:\n{tail(self.log)}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it as Ctrl-C would."""
        self._running.close()

    def output(self) -> str:
        """Return what it has printed since its last start."""
        return self.log.read_bytes()[self._started_at :].decode(errors="replace")

    def apply(self, configuration: Path = CONFIGURATION, **variables: str) -> None:
        """Apply a configuration."""
        run([sys.executable, "manage.py", "apply", str(configuration)], env={**self.env, **variables})

    def children(self, word: str) -> list[int]:
        """Return the supervisor's children that have a word in their command line, the oldest first."""
        assert self.supervisor is not None
        pid = self.supervisor.pid
        found = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return [each for each in found if word in _words(each)]

    def served(self) -> dict[int, int]:
        """Return how many requests each web worker has served, by pid, as it last said in Valkey."""
        with Redis.from_url(self.valkey.url) as valkey:
            said = {report.pid: report.requests_total for report in read_reports(valkey)}
        return {pid: said.get(pid, 0) for pid in self.children("serve")}

    def query(self, sql: str, *parameters: object) -> list[tuple[object, ...]]:
        """Ask the installation's own database."""
        with psycopg.connect(self.postgres.url, connect_timeout=5) as connection:
            return connection.execute(sql.encode(), parameters).fetchall()


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


@contextmanager
def installation(state_dir: Path) -> Iterator[Installation]:
    """Start everything, configured, and stop it at the end."""
    installed = Installation(state_dir)
    try:
        installed.postgres.start()
        installed.valkey.start()
        installed.start()
        installed.apply()
        yield installed
    finally:
        installed.stop()
        installed.valkey.close()
        installed.postgres.close()


# --- What goes wrong ----------------------------------------------------------------------------------------


@contextmanager
def killed(*stores: Store) -> Iterator[None]:
    """Stores that are dead for a while."""
    for store in stores:
        store.kill()
    try:
        yield
    finally:
        for store in stores:
            store.start()


@contextmanager
def frozen(*stores: Store) -> Iterator[None]:
    """Stores that accept connections for a while, and answer nothing."""
    for store in stores:
        store.freeze()
    try:
        yield
    finally:
        for store in stores:
            store.thaw()


@contextmanager
def kept_dead(find: Callable[[], list[int]], count: int) -> Iterator[None]:
    """Processes that are killed, and again as often as the supervisor starts them; so many of those found."""
    is_over = threading.Event()
    spared = set(find()[count:])

    def kill() -> None:
        while not is_over.is_set():
            for pid in set(find()) - spared:
                _kill(pid)
            is_over.wait(LOOK_SECONDS)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


# --- The load -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request and what became of it; status 0: the connection was lost, or nothing came in time."""

    id: str
    status: int
    due_at: float
    seconds: float
    connected_at: float  # when its connection was opened
    excerpt: str


class Client:
    """A connection and the time of its opening."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self.connection = Connection(host, port)
        self.opened_at = 0.0

    async def ask(self, request: bytes) -> Answer:
        """Ask; whatever goes wrong is an answer with status 0."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if not self.connection.is_open:
                    await self.connection.connect()
                    self.opened_at = time.monotonic()
                return await self.connection.ask(request, Watch())
        except (OSError, TimeoutError) as error:
            self.connection.close()
            self.connection = Connection(*self._address)
            return Answer(status=0, excerpt=type(error).__name__.encode(), finished_at=time.monotonic())


@dataclass(slots=True, kw_only=True)
class Load:
    """Requests at a constant rate; one that finds no idle connection opens another."""

    url: str
    key: str
    rate: float = 200.0
    asked: list[Asked] = field(default_factory=list)
    _idle: list[Client] = field(default_factory=list)

    async def run(self, until: asyncio.Event) -> None:
        """Ask until told to end, and wait for the last answers."""
        call = calls.chat(size=1024)
        headers = [*call.headers_with(self.key), f"x-request-id: {MARK.decode()}"]
        endpoint = build_request(url=self.url, path=call.path, headers=headers, body=call.body)
        batch, started = secrets.token_hex(6), time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number in itertools.count():
                due = started + number / self.rate
                await sleep_until(due)
                if until.is_set():
                    break
                name = f"{number:08}-{batch}"
                request = endpoint.request.replace(MARK, name.encode())
                client = self._idle.pop() if self._idle else Client(endpoint.host, endpoint.port)
                tasks.create_task(self._ask(client, name, request, due))
        for client in self._idle:
            client.connection.close()

    async def _ask(self, client: Client, name: str, request: bytes, due: float) -> None:
        answer = await client.ask(request)
        self._idle.append(client)
        self.asked.append(
            Asked(
                id=name,
                status=answer.status,
                due_at=due,
                seconds=answer.finished_at - due,
                connected_at=client.opened_at,
                excerpt=answer.excerpt.decode(errors="replace"),
            )
        )


async def make_key_known(installed: Installation) -> None:
    """Ask over connections of their own until every worker has served the key; or BenchmarkError.

    Only a worker that knows a key can go on serving it without the stores: what is left of a budget it has from Valkey's
    answers, and of a hard budget of which it never heard it admits nothing. One that was started a moment ago may have had
    no request yet, and the connections that are opened during the outage would find it.
    """
    call = calls.chat(size=1024)
    headers = [*call.headers_with(installed.key), "connection: close"]
    endpoint = build_request(url=installed.url, path=call.path, headers=headers, body=call.body)
    before, deadline = await asyncio.to_thread(installed.served), time.monotonic() + KNOWN_SECONDS
    while time.monotonic() < deadline:
        clients = [Client(endpoint.host, endpoint.port) for _ in range(ASKED_AT_ONCE)]
        await asyncio.gather(*(client.ask(endpoint.request) for client in clients))
        served = await asyncio.to_thread(installed.served)
        if len(served) == installed.workers and all(count > before.get(pid, 0) for pid, count in served.items()):
            return
        await asyncio.sleep(0.1)
    raise BenchmarkError(f"Not every worker has served the key; requests by pid: {served}, and before {before}.")


# --- What came of it ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an outage did to the requests that fell due shortly before, during and after it."""

    requests: int
    cut_with_worker: int  # on connections that the killed worker held
    failures: Counter[str]  # of the others, by what came
    p50_ms: float
    p99_ms: float
    slowest_ms: float
    lost: int  # answered, and not in the ledger
    doubled: int  # in the ledger more than once
    is_summed_up: bool  # the rollups count what the ledger has

    @property
    def success(self) -> float:
        """The share of requests answered with 200, those aside whose connection the killed worker held."""
        counted = self.requests - self.cut_with_worker
        return 1 - self.failures.total() / counted if counted else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """What is to go wrong, for how long, and whether that takes connections along."""

    title: str
    seconds: float
    begin: Callable[[Installation], AbstractContextManager[None]]
    takes_connections: bool = False


async def suffer(
    installed: Installation, outage: Outage, *, rate: float = 200.0, before: float = 1.0, after: float = 2.0
) -> Outcome:
    """Let it happen under load, to workers that know the key, and look at the ledger afterwards."""
    await make_key_known(installed)
    load, over = Load(url=installed.url, key=installed.key, rate=rate), asyncio.Event()
    asking = asyncio.create_task(load.run(over))
    await asyncio.sleep(before)
    context = outage.begin(installed)
    killed_at = time.monotonic()
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(HANDS, context.__enter__)
    try:
        await asyncio.sleep(outage.seconds)
    finally:
        await loop.run_in_executor(HANDS, context.__exit__, None, None, None)
    await asyncio.sleep(after)
    over.set()
    await asking
    recorded = await asyncio.to_thread(_recorded, installed, [each.id for each in load.asked if each.status == 200])
    return _judge(load.asked, killed_at if outage.takes_connections else 0.0, *recorded)


def _judge(asked: Sequence[Asked], killed_at: float, records: Counter[str], is_summed_up: bool) -> Outcome:
    cut = [each for each in asked if each.status == 0 and 0.0 < each.connected_at < killed_at]
    cut_ids = {each.id for each in cut}
    bad = [each for each in asked if each.status != 200 and each.id not in cut_ids]
    seconds = [each.seconds for each in asked if each.status == 200]
    return Outcome(
        requests=len(asked),
        cut_with_worker=len(cut),
        failures=Counter(f"{each.status} {each.excerpt[:120]}" for each in bad),
        p50_ms=percentile(seconds, 0.50) * 1000,
        p99_ms=percentile(seconds, 0.99) * 1000,
        slowest_ms=max(seconds, default=0.0) * 1000,
        lost=sum(1 for each in asked if each.status == 200 and each.id not in records),
        doubled=sum(1 for count in records.values() if count > 1),
        is_summed_up=is_summed_up,
    )


def _recorded(installed: Installation, ids: list[str]) -> tuple[Counter[str], bool]:
    """Return how often the ledger has each request, as soon as it has them all, and whether the rollups agree."""
    deadline = time.monotonic() + LEDGER_SECONDS
    records: Counter[str] = Counter()
    while time.monotonic() < deadline:
        rows = installed.query(
            "SELECT correlation_id, count(*) FROM tenants_usagerecord WHERE correlation_id = ANY(%s) GROUP BY 1", ids
        )
        records = Counter({str(name): int(str(count)) for name, count in rows})
        if len(records) == len(ids):
            break
        time.sleep(0.25)
    [(total, by_hour, by_day)] = installed.query(
        "SELECT (SELECT count(*) FROM tenants_usagerecord), (SELECT sum(requests) FROM tenants_usagehour),"
        " (SELECT sum(requests) FROM tenants_usageday)"
    )
    return records, total == by_hour == by_day


def one_worker(seconds: float) -> Outage:
    """One of the web workers, and every replacement of it."""
    return Outage(
        title="one web worker",
        seconds=seconds,
        begin=lambda installed: kept_dead(lambda: installed.children("serve"), 1),
        takes_connections=True,
    )


def celery(seconds: float) -> Outage:
    """The Celery workers and beat, and every replacement of them."""
    return Outage(
        title="Celery workers and beat",
        seconds=seconds,
        begin=lambda installed: kept_dead(lambda: installed.children("celery"), 3),
    )


def valkey(seconds: float) -> Outage:
    """Valkey, dead."""
    return Outage(title="Valkey", seconds=seconds, begin=lambda installed: killed(installed.valkey))


def postgres(seconds: float) -> Outage:
    """PostgreSQL, dead."""
    return Outage(title="PostgreSQL", seconds=seconds, begin=lambda installed: killed(installed.postgres))


def both(seconds: float) -> Outage:
    """Both stores, dead."""
    return Outage(
        title="both stores", seconds=seconds, begin=lambda installed: killed(installed.valkey, installed.postgres)
    )


def valkey_frozen(seconds: float) -> Outage:
    """Valkey, which accepts connections and says nothing."""
    return Outage(title="Valkey, frozen", seconds=seconds, begin=lambda installed: frozen(installed.valkey))


def postgres_frozen(seconds: float) -> Outage:
    """PostgreSQL, which accepts connections and says nothing."""
    return Outage(title="PostgreSQL, frozen", seconds=seconds, begin=lambda installed: frozen(installed.postgres))


OUTAGES = {
    "worker": one_worker,
    "valkey": valkey,
    "postgres": postgres,
    "celery": celery,
    "both": both,
    "valkey-frozen": valkey_frozen,
    "postgres-frozen": postgres_frozen,
}


# --- The command --------------------------------------------------------------------------------------------

HEAD = (
    "| Killed | Seconds | Requests | Success | p50 ms | p99 ms | Slowest ms | Cut with the worker | Lost | Doubled | Sums |"
    "\n"
    "|---|---|---|---|---|---|---|---|---|---|---|"
)


def row(outage: Outage, outcome: Outcome) -> str:
    """Return a line of the table."""
    cells = (
        outage.title,
        f"{outage.seconds:g}",
        outcome.requests,
        f"{outcome.success:.4%}",
        f"{outcome.p50_ms:.1f}",
        f"{outcome.p99_ms:.1f}",
        f"{outcome.slowest_ms:.0f}",
        outcome.cut_with_worker,
        outcome.lost,
        outcome.doubled,
        "agree" if outcome.is_summed_up else "DIFFER",
    )
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def main() -> int:
    """Run the outages and print the table; 1 when a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outages", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each outage lasts")
    parser.add_argument("--only", nargs="+", choices=list(OUTAGES), default=list(OUTAGES))
    options = parser.parse_args()
    is_missed = False
    with tempfile.TemporaryDirectory(prefix="tollgate-outages-") as folder, installation(Path(folder)) as installed:
        print(HEAD, flush=True)
        for name in options.only:
            outage = OUTAGES[name](options.seconds)
            outcome = uvloop.run(suffer(installed, outage))
            print(row(outage, outcome), flush=True)
            for failure, count in outcome.failures.most_common(5):
                print(f"  {count} x {failure}", file=sys.stderr)
            is_missed |= outcome.success < 0.999 or bool(outcome.lost or outcome.doubled) or not outcome.is_summed_up
    return 1 if is_missed else 0


if __name__ == "__main__":
    sys.exit(main())
