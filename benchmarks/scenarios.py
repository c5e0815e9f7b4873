"""What is measured, and what is expected of it.

Each scenario takes the bench and returns findings. Subjects are measured in turn within each repetition, so
that a drift of the machine meets all of them; floor and gateway worker are fresh ones for each scenario.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from statistics import median

from benchmarks.bench import Bench, Subject, refuse_failures
from benchmarks.calls import Call, chat, messages, paced, translated
from benchmarks.decision import TARGETS, WAYS, microseconds
from benchmarks.processes import PeakMemory, cpu_seconds, pss_bytes, run
from benchmarks.report import GATEWAY, SIMULATOR, Finding, Target, Unit

SMALL_BODY, LARGE_BODY = 1024, 200 * 1024
RATE, LARGE_RATE = 100, 20
STREAMS, STREAM_SCRIPT = 200, paced(chunks=100, interval=0.02, first=0.2)
BURST_SCRIPT = paced(chunks=10, interval=0.02, first=0.2)  # as the first half second of those
MANY_STREAMS, MANY_STREAMS_SCRIPT = 1000, paced(chunks=50, interval=0.1, first=0.5)
IDLE_SECONDS = 2.0
SETTLE_SECONDS = 0.3  # what a server still does after the last answer belongs to the load, too

REQUEST_TARGET = Target(at_most=400, times_floor=2.7)
CHUNK_TARGET = Target(at_most=45, times_floor=1.4)
FIRST_TARGET = Target(at_most=25)
TRANSLATED_TARGET, TRANSLATED_CHUNK_TARGET = Target(at_most=550), Target(at_most=90)
DECISION_TARGET, DECISIONS = Target(at_most=60), 5000
ADMISSION_TARGET = Target(at_most=120)
SHORT_SCRIPT = paced(chunks=2, interval=0, first=0)


@dataclass(slots=True)
class Samples:
    """Collects numbers by measurement and subject, in the order in which they come."""

    _values: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, measurement: str, subject: str, value: float) -> None:
        """Keep one number."""
        self._values.setdefault(measurement, {}).setdefault(subject, []).append(value)

    def finding(
        self, measurement: str, unit: Unit, *, target: Target | None = None, is_compared: bool = True
    ) -> Finding:
        """Return what was found of one measurement."""
        samples = self._values.get(measurement, {})
        return Finding(measurement=measurement, unit=unit, samples=samples, target=target, is_compared=is_compared)


def saturation(bench: Bench, *, title: str, call: Call, target: Target | None) -> list[Finding]:
    """CPU per request and requests per second of one worker with its hands full."""
    cpu, rate, share = (f"{title}: {what}" for what in ("CPU per request", "requests", "share of one core"))
    samples = Samples()
    with bench.subjects() as subjects:
        bench.warm_up(subjects, call)
        for _ in range(bench.effort.repeats):
            for subject in subjects:
                before = cpu_seconds(subject.pid)
                result = bench.closed(subject, call, seconds=bench.effort.closed_seconds)
                time.sleep(SETTLE_SECONDS)
                spent = cpu_seconds(subject.pid) - before
                samples.add(cpu, subject.name, spent / result.requests * 1e6)
                samples.add(rate, subject.name, result.requests / result.seconds)
                samples.add(share, subject.name, spent / result.seconds * 100)
    return [
        samples.finding(cpu, Unit.MICROSECONDS, target=target),
        samples.finding(rate, Unit.PER_SECOND),
        samples.finding(share, Unit.PERCENT, is_compared=False),
    ]


def latency(
    bench: Bench,
    *,
    title: str,
    call: Call,
    rate: float,
    p50_target: Target | None,
    p99_target: Target | None,
    first_content: bool = False,
) -> list[Finding]:
    """What a subject adds to the simulator's own latency at a constant arrival rate."""
    direct, added = f"{title}, {rate:g}/s: latency", f"{title}, {rate:g}/s: added latency"
    samples = Samples()
    with bench.subjects() as subjects:
        bench.warm_up(subjects, call)
        for _ in range(bench.effort.repeats):
            results = bench.open(subjects, call, rate=rate, first_content=first_content)
            base = results.pop(SIMULATOR)
            samples.add(f"{direct} p50", SIMULATOR, base.p50_ms)
            samples.add(f"{direct} p99", SIMULATOR, base.p99_ms)
            for name, result in results.items():
                samples.add(f"{added} p50", name, result.p50_ms - base.p50_ms)
                samples.add(f"{added} p99", name, result.p99_ms - base.p99_ms)
    return [
        samples.finding(f"{direct} p50", Unit.MILLISECONDS),
        samples.finding(f"{direct} p99", Unit.MILLISECONDS),
        samples.finding(f"{added} p50", Unit.MILLISECONDS, target=p50_target),
        samples.finding(f"{added} p99", Unit.MILLISECONDS, target=p99_target),
    ]


def large_prompt(bench: Bench) -> list[Finding]:
    """What a long prompt costs and delays."""
    title, call = "chat 200 KB", chat(size=LARGE_BODY)
    return [
        *saturation(bench, title=title, call=call, target=None),
        *latency(bench, title=title, call=call, rate=LARGE_RATE, p50_target=None, p99_target=None),
    ]


def streams(
    bench: Bench,
    *,
    dialect: str,
    write: Callable[..., Call],
    chunk_target: Target,
    first_target: Target | None,
    is_translated: bool = False,
) -> list[Finding]:
    """CPU per relayed chunk, and the delay of the first content when all streams start at once.

    One burst's first content comes now 15 ms sooner and now 15 ms later than another's, so it is that of several. A
    translated stream has frames of its own; then its end alone tells that it is whole.
    """
    title = f"{dialect}, {STREAMS} streams"
    call = write(size=SMALL_BODY, script=STREAM_SCRIPT, stream=True)
    burst = write(size=SMALL_BODY, script=BURST_SCRIPT, stream=True)
    chunk, first = f"{title}: CPU per chunk", f"{title}: first content p50"
    added = f"{title}: added to first content p50"
    samples = Samples()
    frames = bench.frames(call)
    with bench.subjects() as subjects:
        for _ in range(bench.effort.repeats):
            base = 0.0
            for subject in subjects:
                bench.streams(subject, burst, count=STREAMS, frames=None)  # opens connections for the next ones
                delay = median(first_contents(bench, subject, burst))
                before = cpu_seconds(subject.pid)
                expected = None if is_translated and subject.name == GATEWAY else frames
                result = bench.streams(subject, call, count=STREAMS, frames=expected)
                refuse_failures(subject.name, result.lost, result.failure)
                time.sleep(SETTLE_SECONDS)
                samples.add(chunk, subject.name, (cpu_seconds(subject.pid) - before) / result.frames * 1e6)
                if subject.name == SIMULATOR:
                    base = delay
                    samples.add(first, subject.name, base)
                else:
                    samples.add(added, subject.name, delay - base)
    return [
        samples.finding(chunk, Unit.MICROSECONDS, target=chunk_target),
        samples.finding(first, Unit.MILLISECONDS),
        samples.finding(added, Unit.MILLISECONDS, target=first_target),
    ]


def first_contents(bench: Bench, subject: Subject, burst: Call) -> Iterator[float]:
    """Yield after how many ms half of the streams of a burst have their first content, for several bursts."""
    for _ in range(bench.effort.bursts):
        result = bench.streams(subject, burst, count=STREAMS, frames=None)
        refuse_failures(subject.name, result.lost, result.failure)
        yield result.first_content_p50_ms


def many_streams(bench: Bench) -> list[Finding]:
    """Whether a thousand streams on one worker all come to their end, and the memory of each."""
    lost, memory = f"{MANY_STREAMS:,} streams: lost", f"{MANY_STREAMS:,} streams: memory per stream"
    samples = Samples()
    call = chat(size=SMALL_BODY, script=MANY_STREAMS_SCRIPT, stream=True)
    frames = bench.frames(call)
    with bench.subjects() as subjects:
        time.sleep(IDLE_SECONDS)
        for subject in subjects:
            idle = pss_bytes(subject.pid)
            with PeakMemory(subject.pid) as peak:
                result = bench.streams(subject, call, count=MANY_STREAMS, frames=frames)
            samples.add(lost, subject.name, result.lost)
            if result.failure:
                print(f"{subject.name}: {result.failure}", file=sys.stderr)
            samples.add(memory, subject.name, (peak.bytes - idle) / MANY_STREAMS / 1000)
    return [
        samples.finding(lost, Unit.COUNT, target=Target(at_most=0), is_compared=False),
        samples.finding(memory, Unit.KILOBYTES, target=Target(at_most=100)),
    ]


def worker(bench: Bench) -> list[Finding]:
    """How long a worker takes to start, and its memory before it has served anything."""
    start, memory = "worker: cold start", "worker: idle memory"
    samples = Samples()
    for _ in range(bench.effort.repeats):
        with bench.subjects() as subjects:
            time.sleep(IDLE_SECONDS)
            for subject in subjects:
                if subject.name != SIMULATOR:
                    samples.add(start, subject.name, subject.started_in_seconds)
                    samples.add(memory, subject.name, pss_bytes(subject.pid) / 1e6)
    return [
        samples.finding(start, Unit.SECONDS, target=Target(at_most=3)),
        samples.finding(memory, Unit.MEGABYTES, target=Target(at_most=90)),
    ]


def deciding(bench: Bench) -> list[Finding]:
    """CPU of the plan and the breaker at twenty targets, measured in this process."""
    samples = Samples()
    titles = [f"decision of {TARGETS} targets, {way}: CPU" for way in WAYS]
    for _ in range(bench.effort.repeats):
        for title, way in zip(titles, WAYS, strict=True):
            samples.add(title, GATEWAY, microseconds(way, rounds=DECISIONS))
    return [samples.finding(title, Unit.MICROSECONDS, target=DECISION_TARGET, is_compared=False) for title in titles]


def admission(bench: Bench) -> list[Finding]:
    """CPU of a worker for reserving and settling a request with three limits and two budgets."""
    title = "admission and settling, 3 limits and 2 budgets: CPU"
    samples = Samples()
    if bench.gateway is not None:
        for _ in range(bench.effort.repeats):
            command = [sys.executable, "-m", "benchmarks.admission", f"--valkey={bench.gateway.env['VALKEY_URL']}"]
            samples.add(title, GATEWAY, float(run(command)))
    return [samples.finding(title, Unit.MICROSECONDS, target=ADMISSION_TARGET, is_compared=False)]


SCENARIOS: Mapping[str, Callable[[Bench], list[Finding]]] = {
    "worker": worker,
    "chat": partial(saturation, title="chat 1 KB", call=chat(size=SMALL_BODY), target=REQUEST_TARGET),
    "messages": partial(saturation, title="messages 1 KB", call=messages(size=SMALL_BODY), target=REQUEST_TARGET),
    "large-prompt": large_prompt,
    "latency": partial(
        latency,
        title="chat 1 KB",
        call=chat(size=SMALL_BODY),
        rate=RATE,
        p50_target=Target(at_most=1.5),
        p99_target=Target(at_most=4),
    ),
    "chat-streams": partial(streams, dialect="chat", write=chat, chunk_target=CHUNK_TARGET, first_target=FIRST_TARGET),
    "messages-streams": partial(
        streams, dialect="messages", write=messages, chunk_target=CHUNK_TARGET, first_target=FIRST_TARGET
    ),
    "translated": partial(
        saturation, title="messages to chat 1 KB", call=translated(size=SMALL_BODY), target=TRANSLATED_TARGET
    ),
    "translated-streams": partial(
        streams,
        dialect="messages to chat",
        write=translated,
        chunk_target=TRANSLATED_CHUNK_TARGET,
        first_target=None,
        is_translated=True,
    ),
    "translated-first-token": partial(
        latency,
        title="messages to chat, first content",
        call=translated(size=SMALL_BODY, script=SHORT_SCRIPT, stream=True),
        rate=RATE,
        p50_target=Target(at_most=2),
        p99_target=None,
        first_content=True,
    ),
    "many-streams": many_streams,
    "decision": deciding,
    "admission": admission,
}
