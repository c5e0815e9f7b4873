"""Law 8: the vendors' own clients accept every translated stream, and their programs hear what the upstream said."""

from collections.abc import Iterator

import anthropic
import openai
import pytest
from google import genai

from providers.canonical.answer import Answer
from providers.canonical.losses import Losses
from providers.canonical.parts import ToolCall
from providers.canonical.tool_names import INPUT
from providers.conformance.crossing import bring_back, read_request, reply_to, send, stream_events
from providers.conformance.recorded import Recorded
from providers.dialects.base import Dialect
from providers.registry import DIALECTS
from providers.wire.json import read_json, write_json
from tenants.errors import UpstreamFailed
from tests.providers.laws.answers import compact
from tests.providers.laws.exchanges import each_direction, some_directions
from tests.providers.laws.sdk import STOPS, Clients, Heard, expected_calls, expected_text


@pytest.fixture(scope="module")
def clients() -> Iterator[Clients]:
    clients = Clients()
    yield clients
    clients.close()


def says_the_same(heard: str, answer: Answer) -> bool:
    """Whether the words are the answer's; why a model refuses may follow them."""
    text = expected_text(answer)
    return heard == text or (answer.stop == "refusal" and heard == text + answer.explanation)


def is_same_call(call: ToolCall, name: str, arguments: str) -> bool:
    """Whether a call arrived; custom ones may be functions of one text, namespaces stand before the name."""
    if name != call.name and not (call.namespace and name.endswith(call.name)):
        return False
    if call.kind == "custom":
        return arguments in (call.arguments, write_json({INPUT: call.arguments}).decode())
    return not _is_json(call.arguments) or arguments == compact(call.arguments)


def _is_json(arguments: str) -> bool:
    try:
        read_json(arguments or "{}")
    except ValueError:
        return False
    return True


@each_direction
def test_law_8_the_real_client_hears_what_was_said(recorded: Recorded, other: Dialect, clients: Clients):
    upstream = DIALECTS[recorded.dialect]
    request = read_request(recorded, upstream)
    returned = bring_back(stream_events(recorded, upstream), other, request, send(request, upstream).tools)
    answer, stream = returned.answer, returned.stream.decode()
    try:
        heard = clients.hear(other.name, returned.stream)
    except Exception as error:
        pytest.fail(f"the client of {other.name} gave up: {error!r}\n{stream}")
    assert says_the_same(heard.text, answer), f"{heard.text!r} is not {expected_text(answer)!r}\n{stream}"
    assert _calls_agree(heard, answer), f"{heard.calls} are not {expected_calls(answer)}\n{stream}"
    assert heard.stop in STOPS[other.name][answer.stop], f"{heard.stop!r} for {answer.stop!r}\n{stream}"
    usage = answer.usage
    tokens_in = sum(n or 0 for n in (usage.input, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h))
    assert (heard.tokens_in, heard.tokens_out) == (tokens_in, usage.output or 0), f"{usage}\n{stream}"


def _calls_agree(heard: Heard, answer: Answer) -> bool:
    """Whether all calls arrived; one that was cut in the middle of its arguments need not."""
    calls = expected_calls(answer)
    if len(calls) != len(heard.calls):
        calls = [call for call in calls if call.kind == "custom" or _is_json(call.arguments)]
    return len(calls) == len(heard.calls) and all(
        is_same_call(call, name, arguments) for call, (name, arguments) in zip(calls, heard.calls, strict=True)
    )


@some_directions
def test_law_8_the_real_client_notices_that_a_stream_failed(recorded: Recorded, other: Dialect, clients: Clients):
    upstream = DIALECTS[recorded.dialect]
    events = stream_events(recorded, upstream)
    writer = other.writer(reply_to(read_request(recorded, upstream), Losses()))
    stream = b"".join([writer.feed(event) for event in events[: len(events) // 2]])
    stream += writer.fail(UpstreamFailed("The upstream failed: Overloaded"))
    try:
        heard = clients.hear(other.name, stream)
    except (openai.APIError, anthropic.APIError, genai.errors.APIError) as error:
        if "Overloaded" not in str(error):
            pytest.fail(f"{error!r} does not say why\n{stream.decode()}")
    else:
        assert heard.stop == "failed", f"the client takes it for whole: {heard}\n{stream.decode()}"
