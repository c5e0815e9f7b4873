"""Structured logs: one line per event, as JSON, logfmt or text, from structlog and the standard library alike."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import orjson

# structlog loads Twisted and rich, where they are installed, for adapters that nobody here uses: 3 MB in every process.
_UNUSED = [name for name in ("twisted", "rich") if name not in sys.modules]
sys.modules.update(dict.fromkeys(_UNUSED))  # type: ignore[arg-type]  # None makes an import fail
import structlog  # noqa: E402

for _name in _UNUSED:
    del sys.modules[_name]

FORMATS = ("json", "logfmt", "text")


def logging_config(*, log_format: str, level: str) -> dict[str, Any]:
    """Return the dictConfig for the standard library's loggers and set structlog up the same way."""
    if log_format not in FORMATS:
        raise SystemExit(f"LOG_FORMAT must be one of {', '.join(FORMATS)}, not {log_format!r}.")
    if level not in logging.getLevelNamesMapping():
        raise SystemExit(f"LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR, not {level!r}.")
    renderer = _renderer(log_format)
    _configure_structlog()
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": [
                    structlog.stdlib.add_logger_name,
                    structlog.stdlib.add_log_level,
                    _timestamp(),
                ],
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.format_exc_info,
                    renderer,
                ],
            }
        },
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            # Component levels: LOG_LEVEL_CELERY=DEBUG and so on.
            **{name: {"level": _component_level(name, default, level)} for name, default in COMPONENTS.items()},
        },
    }


# The least that a component's lines must weigh to be written, unless LOG_LEVEL_<COMPONENT> says otherwise.
COMPONENTS = {
    "django": "INFO",
    "django.request": "ERROR",
    "uvicorn": "WARNING",
    "celery": "WARNING",
    "httpx": "WARNING",
    "asyncio": "WARNING",
    "tollgate": "DEBUG",
}


def _component_level(name: str, default: str, level: str) -> str:
    levels = logging.getLevelNamesMapping()
    variable = f"LOG_LEVEL_{name.upper().replace('.', '_')}"
    chosen = os.environ.get(variable, max(level, default, key=levels.__getitem__)).upper()
    if chosen not in levels:
        raise SystemExit(f"{variable} must be DEBUG, INFO, WARNING or ERROR, not {chosen!r}.")
    return chosen


def _timestamp() -> Any:
    return structlog.processors.TimeStamper(fmt="iso", utc=True)


def _configure_structlog() -> None:
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            _timestamp(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _renderer(log_format: str) -> Callable[..., Any]:
    if log_format == "json":
        return structlog.processors.JSONRenderer(serializer=_dumps)
    if log_format == "logfmt":
        return structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False)
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=28)


def _dumps(value: Any, **_options: Any) -> str:
    return orjson.dumps(value, default=str).decode()


class AccessLog:
    """Writes one line per request to stdout; the only log on the hot path, so it skips structlog's processors.

    Lines leave together, a moment later: a system call for each would cost as much as making it.
    """

    __slots__ = ("_lines", "_render", "_write")

    FLUSH_SECONDS = 0.05

    def __init__(self, log_format: str, *, write: Callable[[bytes], object] | None = None) -> None:
        self._write = write or _stdout_writer()
        self._render = {"json": render_json, "logfmt": render_logfmt, "text": render_text}[log_format]
        self._lines: list[bytes] = []

    def line(self, fields: dict[str, Any]) -> None:
        """Write one event; `fields` are in the order in which they are to be read."""
        if not self._lines:
            asyncio.get_running_loop().call_later(self.FLUSH_SECONDS, self.flush)
        self._lines.append(self._render(fields))

    def flush(self) -> None:
        """Write what waits."""
        lines, self._lines = self._lines, []
        if lines:
            self._write(b"".join(lines))


def render_json(fields: dict[str, Any]) -> bytes:
    """One JSON object and a line end."""
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


def render_logfmt(fields: dict[str, Any]) -> bytes:
    """key=value pairs; values with spaces or quotes are quoted."""
    pairs = (f"{key}={_logfmt_value(value)}" for key, value in fields.items() if value is not None)
    return (" ".join(pairs) + "\n").encode()


def render_text(fields: dict[str, Any]) -> bytes:
    """What a person reads in a terminal: time, status, method, path, then the rest."""
    head = f"{fields['timestamp']} {fields['status']} {fields['method']} {_logfmt_value(fields['path'])}"
    skipped = ("timestamp", "event", "level", "status", "method", "path")
    rest = (
        f"{key}={_logfmt_value(value)}" for key, value in fields.items() if key not in skipped and value is not None
    )
    return f"{head} {' '.join(rest)}\n".encode()


def _logfmt_value(value: Any) -> str:
    text = str(value)
    if not text or not text.isprintable() or any(character in text for character in ' "='):
        return json.dumps(text)  # escapes control characters: a path must not forge lines
    return text


def _stdout_writer() -> Callable[[bytes], object]:
    stdout = sys.stdout.buffer

    def write(lines: bytes) -> None:
        stdout.write(lines)
        stdout.flush()

    return write
