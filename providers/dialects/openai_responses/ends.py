"""How answers end."""

from collections.abc import Sequence

from providers.canonical.events import Stop
from providers.canonical.losses import Losses
from providers.canonical.parts import ToolCall
from providers.dialects.nodes import Node
from providers.dialects.openai_responses.response import has_refusal
from providers.wire.json import read_json


def is_whole(call: ToolCall) -> bool:
    """Whether a call that was the last before the limit can be run: a half one must not look finished."""
    if call.kind == "custom":
        return False  # free text does not tell
    try:
        read_json(call.arguments)
    except ValueError:
        return False
    return True


def last_words(stop: Stop, explanation: str, output: Sequence[Node]) -> str:
    """Return why the model would not answer, where that was told apart from the answer."""
    return explanation if stop == "refusal" and not has_refusal(output) else ""


def note_stop(stop: Stop, losses: Losses) -> None:
    """Note a reason to stop that the format has no word for."""
    if stop == "pause":
        losses.degrades("answer.stop", "a turn that was only paused looks finished here")
