"""Says on what the numbers were taken."""

import os
import platform
import sysconfig
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.processes import BenchmarkError, run


def describe() -> str:
    """Return one sentence: machine, interpreter, date, revision."""
    parts = [
        f"{_cpu_model()}, {len(os.sched_getaffinity(0))} cores",
        f"{platform.system()} {platform.release()}",
        f"{platform.python_implementation()} {platform.python_version()} ({_build()})",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"revision {_revision()}",
    ]
    return "; ".join(parts)


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _build() -> str:
    configured = str(sysconfig.get_config_var("CONFIG_ARGS"))
    flags = str(sysconfig.get_config_var("PY_CFLAGS"))
    level = next((flag for flag in reversed(flags.split()) if flag.startswith("-O")), "no -O")
    profiled = "--enable-optimizations" in configured
    return f"{level}, {'built with' if profiled else 'built without'} --enable-optimizations"


def _revision() -> str:
    try:
        return run(["git", "--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=10"]).strip()
    except (BenchmarkError, FileNotFoundError):
        return "unknown"  # an unpacked archive, no git, or nothing committed yet
