"""Requests written as an upstream of Messages gets them."""

import json
from base64 import b64encode
from typing import Any

from providers.adapters.quirks import Quirks
from providers.canonical.losses import Losses
from providers.canonical.parts import Part, Text, ToolCall, ToolResult
from providers.canonical.request import Request, Sampling, Tool, Turn
from providers.dialects.anthropic_messages.request_writer import write_request
from providers.dialects.base import Destination, Written
from providers.profiles import PERMISSIVE, Profile

ORIGIN = "anthropic/claude"
PNG = b64encode(b"\x89PNG\r\n\x1a\n and so on").decode()
JPEG = b64encode(b"\xff\xd8\xff\xe0 and so on").decode()
WEBP = b64encode(b"RIFF\x00\x00\x00\x00WEBPVP8 ").decode()
GIF = b64encode(b"GIF89a and so on").decode()
SVG = b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'/>").decode()
HEIC = b64encode(b"\x00\x00\x00\x18ftypheic").decode()
PDF = b64encode(b"%PDF-1.7 and so on").decode()

TOOL = Tool(name="look", at="tools[0]")
CALL = ToolCall(id="t1", name="look", arguments="{}", at="messages[1].tool_calls[0]")
RESULT = ToolResult(call_id="t1", name="look", parts=(Text(text="seen", at="r"),), at="messages[2]")
HELLO = Turn(role="user", parts=(Text(text="hi", at="messages[0].content"),), at="messages[0]")


class Sent:
    """A request as it is sent, and what was lost."""

    def __init__(self, written: Written, losses: Losses) -> None:
        self.tools = written.tools
        self.body: dict[str, Any] = json.loads(written.body)
        self.losses = {loss.path: loss.weight for loss in losses}

    @property
    def content(self) -> list[Any]:
        (message,) = self.body["messages"]
        content: list[Any] = message["content"]
        return content


def send(
    *parts: Part, profile: Profile = PERMISSIVE, quirks: Quirks | None = None, limit: int | None = None, **fields: Any
) -> Sent:
    turns = fields.pop("turns", (Turn(role="user", parts=parts, at="messages[0]"),) if parts else (HELLO,))
    sampling = Sampling(**({"max_output_tokens": 1000} | fields.pop("sampling", {})))
    request = Request(model="alias", turns=turns, sampling=sampling, **fields)
    destination = Destination(
        model="upstream", origin=ORIGIN, profile=profile, quirks=quirks or Quirks(), max_output_tokens=limit
    )
    losses = Losses()
    return Sent(write_request(request, destination, losses), losses)


def user(*parts: Part) -> Turn:
    return Turn(role="user", parts=parts, at="messages[9]")


def assistant(*parts: Part) -> Turn:
    return Turn(role="assistant", parts=parts, at="messages[1]")
