"""One line per event, in the format that was asked for."""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import pytest
import structlog

from gateway_site.infra.logging import FORMATS, AccessLog, logging_config, render_json, render_logfmt, render_text

RENDERERS = (render_json, render_logfmt, render_text)
FIELDS = {
    "timestamp": "2026-01-01T00:00:00.000+00:00",
    "level": "info",
    "event": "request",
    "method": "POST",
    "path": "/v1/chat/completions",
    "status": 200,
    "duration_ms": 1.5,
    "alias": "fast model",
    "cost": None,
    "stream": True,
}


@pytest.fixture
def keep_structlog():
    """Put structlog's configuration back as it was."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def test_json_is_one_object_per_line_in_the_order_given():
    line = render_json(FIELDS)
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert list(json.loads(line).items()) == list(FIELDS.items())


def test_logfmt_quotes_what_needs_it_and_leaves_out_what_is_not_there():
    assert render_logfmt(FIELDS) == (
        b"timestamp=2026-01-01T00:00:00.000+00:00 level=info event=request method=POST path=/v1/chat/completions "
        b'status=200 duration_ms=1.5 alias="fast model" stream=True\n'
    )


def test_text_begins_with_what_a_person_looks_for():
    assert render_text(FIELDS) == (
        b'2026-01-01T00:00:00.000+00:00 200 POST /v1/chat/completions duration_ms=1.5 alias="fast model" stream=True\n'
    )


@pytest.mark.parametrize("value", ["a b", 'a"b', "a=b", "a\nb", "a\r\nb", "", "\t"])
@pytest.mark.parametrize("render", RENDERERS)
def test_a_value_cannot_begin_a_line_or_a_field_of_its_own(render, value: str):
    line = render({**FIELDS, "alias": value}).decode()
    assert line.count("\n") == 1
    assert json.dumps(value) in line


@pytest.mark.parametrize(("log_format", "render"), list(zip(FORMATS, RENDERERS, strict=True)))
async def test_the_access_log_writes_its_lines_together(log_format: str, render):
    written: list[bytes] = []
    log = AccessLog(log_format, write=written.append)
    log.line(FIELDS)
    log.line({**FIELDS, "status": 500})
    assert written == []
    log.flush()
    assert written == [render(FIELDS) + render({**FIELDS, "status": 500})]
    log.flush()
    assert len(written) == 1


async def test_the_access_log_does_not_wait_for_more(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(AccessLog, "FLUSH_SECONDS", 0.0)
    written: list[bytes] = []
    AccessLog("json", write=written.append).line(FIELDS)
    await asyncio.sleep(0.005)
    assert written == [render_json(FIELDS)]


@pytest.mark.usefixtures("keep_structlog")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"log_format": "xml", "level": "INFO"}, "LOG_FORMAT must be one of json, logfmt, text, not 'xml'"),
        ({"log_format": "json", "level": "LOUD"}, "LOG_LEVEL must be .* not 'LOUD'"),
    ],
)
def test_a_setting_that_makes_no_sense_stops_the_process(options: dict[str, str], sentence: str):
    with pytest.raises(SystemExit, match=sentence):
        logging_config(**options)


@pytest.mark.usefixtures("keep_structlog")
@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("DEBUG", {"django": "INFO", "django.request": "ERROR", "celery": "WARNING", "tollgate": "DEBUG"}),
        ("INFO", {"django": "INFO", "django.request": "ERROR", "celery": "WARNING", "tollgate": "INFO"}),
        ("ERROR", {"django": "ERROR", "django.request": "ERROR", "celery": "ERROR", "tollgate": "ERROR"}),
    ],
)
def test_a_component_writes_nothing_below_the_level_of_all(level: str, expected: dict[str, str]):
    config = logging_config(log_format="json", level=level)
    assert config["root"]["level"] == level
    assert {name: config["loggers"][name]["level"] for name in expected} == expected


@pytest.mark.usefixtures("keep_structlog")
def test_a_component_may_have_a_level_of_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOG_LEVEL_DJANGO_REQUEST", "debug")
    loggers = logging_config(log_format="json", level="ERROR")["loggers"]
    assert loggers["django.request"]["level"] == "DEBUG"
    assert loggers["celery"]["level"] == "ERROR"


def format_record(config: dict[str, Any], message: str, *arguments: object, exc_info: Any = None) -> str:
    """Return what a record of the standard library becomes under a configuration."""
    options = dict(config["formatters"]["structured"])
    formatter = options.pop("()")(**options)
    record = logging.LogRecord("django", logging.ERROR, __file__, 1, message, arguments, exc_info)
    return formatter.format(record)


@pytest.mark.usefixtures("keep_structlog")
def test_the_standard_librarys_records_come_out_the_same_way():
    line = json.loads(format_record(logging_config(log_format="json", level="INFO"), "It failed: %s", "é\n"))
    assert {name: line[name] for name in ("event", "level", "logger")} == {
        "event": "It failed: é\n",
        "level": "error",
        "logger": "django",
    }
    assert line["timestamp"].endswith("Z")


@pytest.mark.usefixtures("keep_structlog")
def test_an_exception_stays_on_one_line_of_json():
    try:
        raise ValueError("inner")
    except ValueError as error:
        exc_info = (type(error), error, error.__traceback__)
    text = format_record(logging_config(log_format="json", level="INFO"), "It failed", exc_info=exc_info)
    assert "\n" not in text
    assert "ValueError: inner" in json.loads(text)["exception"]


@pytest.fixture
def written(keep_structlog) -> Iterator[Callable[[str], tuple[Any, StringIO]]]:
    """Return a structured logger that writes warnings in a format, and where it writes them."""
    logger = logging.Logger("tollgate.tests", level="WARNING")
    logging.root.manager.loggerDict[logger.name] = logger

    def written(log_format: str) -> tuple[Any, StringIO]:
        options = dict(logging_config(log_format=log_format, level="WARNING")["formatters"]["structured"])
        handler = logging.StreamHandler(StringIO())
        handler.setFormatter(options.pop("()")(**options))
        logger.handlers[:] = [handler]
        return structlog.get_logger(logger.name), handler.stream

    yield written
    del logging.root.manager.loggerDict[logger.name]


@pytest.mark.parametrize("log_format", FORMATS)
def test_below_its_level_nothing_is_written(written, log_format: str):
    log, stream = written(log_format)
    log.info("quiet")
    log.warning("loud", reason="a b")
    text = stream.getvalue()
    assert "quiet" not in text
    assert (text.count("loud"), text.count("\n")) == (1, 1)
    assert "a b" in text


def test_an_event_has_its_fields(written):
    log, stream = written("json")
    log.warning("loud", reason="é", number=1.5, odd=object)
    line = json.loads(stream.getvalue())
    assert {name: line[name] for name in ("event", "level", "logger", "reason", "number")} == {
        "event": "loud",
        "level": "warning",
        "logger": "tollgate.tests",
        "reason": "é",
        "number": 1.5,
    }
    assert line["odd"] == str(object)  # what JSON does not know is no reason to lose the line
