"""A recorded exchange on its way: its request written for another dialect, its answer brought back. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from providers.canonical.answer import Answer, fold
from providers.canonical.events import Event
from providers.canonical.inbound import Facts, Operation
from providers.canonical.losses import Loss, Losses
from providers.canonical.request import Request
from providers.canonical.seals import SealBox
from providers.canonical.tool_names import ToolNames
from providers.conformance.recorded import Recorded
from providers.dialects.base import Destination, Dialect
from providers.dialects.writer import Reply
from providers.profiles import PERMISSIVE, Profile
from providers.wire.splice import read_members
from providers.wire.sse import FrameSplitter

MODEL = "upstream-model"
ORIGIN = f"conformance/{MODEL}"
ALIAS = "alias"
SEALS = SealBox([b"a secret of the conformance run"], 1)
CREATED = 1_767_225_600


HAVE_CUSTOM_TOOLS = frozenset({"openai_chat", "openai_responses"})


class Crossed(NamedTuple):
    """A request as another dialect has it."""

    body: bytes
    tools: ToolNames
    losses: tuple[Loss, ...]


class Returned(NamedTuple):
    """An answer as a client of another dialect gets it."""

    stream: bytes
    whole: bytes
    answer: Answer  # what both tell
    losses: tuple[Loss, ...]


def chat_operation(dialect: Dialect) -> Operation:
    """Return the operation that asks for a whole answer."""
    chats = (each for each in dialect.operations.values() if each.kind == "chat")
    return next(each for each in chats if not each.is_free and not each.query)


def read_facts(recorded: Recorded, dialect: Dialect) -> Facts:
    """Read the facts of a recorded request; the model is the recording's where the body does not name one."""
    facts = dialect.read_facts(read_members(recorded.request), chat_operation(dialect))
    return facts if facts.model else msgspec.structs.replace(facts, model=recorded.model)


def read_request(recorded: Recorded, dialect: Dialect, seals: SealBox = SEALS) -> Request:
    """Read a recorded request; raises InvalidRequest."""
    return dialect.read_request(read_members(recorded.request), read_facts(recorded, dialect), seals)


def send(
    request: Request, upstream: Dialect, *, model: str = MODEL, origin: str = ORIGIN, profile: Profile = PERMISSIVE
) -> Crossed:
    """Write a request for an upstream; raises InvalidRequest where it cannot be written at all."""
    losses = Losses()
    destination = Destination(model=model, origin=origin, profile=profile)
    body, tools = upstream.write_request(request, destination, losses)
    return Crossed(body, tools, tuple(losses))


def stream_events(recorded: Recorded, upstream: Dialect, origin: str = ORIGIN) -> list[Event]:
    """Read a recorded stream to its end."""
    splitter, reader = FrameSplitter(), upstream.reader(origin)
    whole = splitter.feed(recorded.stream) + splitter.close()
    return [*reader.feed(whole), *reader.close()]


def answer_events(recorded: Recorded, upstream: Dialect, origin: str = ORIGIN) -> Sequence[Event]:
    """Read a recorded whole answer."""
    return upstream.read_answer(recorded.answer, origin)


def may_be_asked_by(recorded: Recorded, client: Dialect) -> bool:
    """Whether such an answer can come: custom tools are called only where a client could name some."""
    return "custom tools" not in recorded.features or client.name in HAVE_CUSTOM_TOOLS


def reply_to(request: Request, losses: Losses, seals: SealBox = SEALS, *, is_stream: bool = True) -> Reply:
    """Return what an answer is written for: a client that wants all there is."""
    asked = msgspec.structs.replace(request, is_stream=is_stream, wants_usage=True)
    return Reply(request=asked, model=ALIAS, id="0123456789abcdef", created=CREATED, seals=seals, losses=losses)


def bring_back(
    events: Sequence[Event], client: Dialect, request: Request, tools: ToolNames | None = None, seals: SealBox = SEALS
) -> Returned:
    """Write an answer for a client, as a stream and whole; raises AnswerFailed when there is none."""
    events = tools.restore(events) if tools else events
    answer, losses = fold(events), Losses()
    writer = client.writer(reply_to(request, losses, seals))
    stream = b"".join([writer.feed(event) for event in events])
    whole = client.write_answer(answer, reply_to(request, losses, seals, is_stream=False))
    return Returned(stream, whole, answer, tuple(losses))
