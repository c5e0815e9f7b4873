"""The bench: the servers that are measured, and how load is put on them."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.calls import Call
from benchmarks.gateway import Gateway
from benchmarks.load import ClosedResult, OpenResult, StreamsResult
from benchmarks.processes import BenchmarkError, Service, free_port, run_load, serving
from benchmarks.report import FLOOR, GATEWAY

CONCURRENCY = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long and how often."""

    repeats: int
    bursts: int  # of streams that start at once, in each repeat
    warm_up_seconds: float
    closed_seconds: float
    open_seconds: float


FULL = Effort(repeats=3, bursts=9, warm_up_seconds=1.0, closed_seconds=3.0, open_seconds=15.0)
QUICK = Effort(repeats=1, bursts=2, warm_up_seconds=0.5, closed_seconds=1.0, open_seconds=3.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A server that answers the calls."""

    name: str
    url: str
    pid: int
    started_in_seconds: float

    @classmethod
    def of(cls, service: Service, *, name: str) -> "Subject":
        """Give a service its name in the report."""
        return cls(name=name, url=service.url, pid=service.pid, started_in_seconds=service.started_in_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What the scenarios work with; without a gateway they measure the references alone."""

    simulator: Subject
    gateway: Gateway | None
    key: str
    effort: Effort
    state_dir: Path

    @contextmanager
    def subjects(self) -> Iterator[list[Subject]]:
        """Return the simulator, a fresh floor and a fresh gateway worker."""
        with ExitStack() as stack:
            floor = stack.enter_context(self._floor())
            subjects = [self.simulator, Subject.of(floor, name=FLOOR)]
            if self.gateway is not None:
                worker = stack.enter_context(self.gateway.worker())
                subjects.append(Subject.of(worker, name=GATEWAY))
            yield subjects

    def closed(self, subject: Subject, call: Call, *, seconds: float) -> ClosedResult:
        """Keep a subject saturated for a while."""
        arguments = [f"--concurrency={CONCURRENCY}", f"--seconds={seconds}"]
        [fields] = self._load("closed", [subject], call, *arguments)
        result = ClosedResult(**fields)
        refuse_failures(subject.name, result.failed, result.failure)
        return result

    def open(
        self, subjects: list[Subject], call: Call, *, rate: float, first_content: bool = False
    ) -> dict[str, OpenResult]:
        """Send requests at a constant rate to the subjects in turn; latency ends with the answer, or its first content."""
        arguments = [f"--rate={rate}", f"--seconds={self.effort.open_seconds}"]
        if first_content:
            arguments.append("--first-content")
        results = [OpenResult(**fields) for fields in self._load("open", subjects, call, *arguments)]
        for subject, result in zip(subjects, results, strict=True):
            refuse_failures(subject.name, result.failed, result.failure)
        return {subject.name: result for subject, result in zip(subjects, results, strict=True)}

    def streams(self, subject: Subject, call: Call, *, count: int, frames: int | None) -> StreamsResult:
        """Start streams at once and read them to their end."""
        arguments = [f"--concurrency={count}", *([f"--frames={frames}"] if frames is not None else [])]
        [fields] = self._load("streams", [subject], call, *arguments)
        return StreamsResult(**fields)

    def frames(self, call: Call) -> int:
        """Return how many frames a whole answer has, as the simulator sends it."""
        result = self.streams(self.simulator, call, count=1, frames=None)
        refuse_failures(self.simulator.name, result.lost, result.failure)
        return result.frames

    def warm_up(self, subjects: list[Subject], call: Call) -> None:
        """Let connections, caches and allocators reach their working state."""
        for subject in subjects:
            self.closed(subject, call, seconds=self.effort.warm_up_seconds)

    @contextmanager
    def _floor(self) -> Iterator[Service]:
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.floor", "--port", str(port)]
        command.append(f"--upstream={self.simulator.url}")
        with serving(command, port=port, log=self.state_dir / "floor.log") as service:
            yield service

    def _load(self, mode: str, subjects: list[Subject], call: Call, *arguments: str) -> list[dict[str, Any]]:
        body = self.state_dir / "body.json"
        body.write_bytes(call.body)
        urls = [f"--url={subject.url}" for subject in subjects]
        headers = [f"--header={line}" for line in call.headers_with(self.key)]
        return run_load(mode, [*urls, *headers, f"--path={call.path}", f"--body={body}", *arguments])


def refuse_failures(name: str, failed: int, failure: str | None) -> None:
    """Raise when any request failed: the numbers would be of something else."""
    if failed:
        raise BenchmarkError(f"{failed} requests to the {name} failed, the first with: {failure}")
