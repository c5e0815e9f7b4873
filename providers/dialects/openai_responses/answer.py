"""Writing a whole answer."""

from providers.canonical.answer import Answer
from providers.canonical.parts import Foreign, Media, Part, Text, Thinking, ToolCall
from providers.dialects.nodes import Node
from providers.dialects.openai_responses.ends import is_whole, last_words, note_stop
from providers.dialects.openai_responses.response import Items, ResponseObject, phase_of, text_part
from providers.dialects.writer import Reply
from providers.wire.json import write_json


def write_answer(answer: Answer, reply: Reply) -> bytes:
    """Return the response object of a whole answer."""
    output = _Output(reply)
    for index, part in enumerate(answer.parts):
        is_cut = answer.stop == "max_tokens" and index == len(answer.parts) - 1
        output.add(part, f"answer.parts[{index}]", "incomplete" if is_cut else "completed")
    note_stop(answer.stop, reply.losses)
    refusal = last_words(answer.stop, answer.explanation, output.items)
    if refusal:
        output.add(Text(text=refusal, is_refusal=True), "", "completed")
    return write_json(ResponseObject(reply).end(answer.stop, output.items, answer.usage))


class _Output:
    """The items of an answer: texts in a row are one message."""

    def __init__(self, reply: Reply) -> None:
        self._make = Items(reply)
        self._phase: str | None = None  # of the message that is last
        self.items: list[Node] = []

    def add(self, part: Part, at: str, status: str) -> None:
        place = len(self.items)
        match part:
            case Text():
                self._add_text(part, place, status)
            case Thinking():
                if part.text or part.seal:
                    self.items.append(self._make.reasoning(place, part.text, part.seal))
                return
            case ToolCall():
                is_cut = status == "incomplete" and not is_whole(part)
                self.items.append(self._make.call(place, part, "incomplete" if is_cut else "completed"))
            case Media() | Foreign():
                item = self._make.alone(place, part, at)
                self.items += [item] if item is not None else []
        seal = getattr(part, "seal", None)
        if seal is not None:
            self.items.append(self._make.seal(len(self.items), seal))

    def _add_text(self, text: Text, place: int, status: str) -> None:
        phase = phase_of(text)
        last = self.items[-1] if self.items else None
        if last is not None and last["type"] == "message" and self._phase == phase:
            last["content"].append(text_part(text))
            last["status"] = status
        else:
            self.items.append(self._make.message(place, [text_part(text)], status, phase))
        self._phase = phase
