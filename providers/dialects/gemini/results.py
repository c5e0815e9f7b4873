"""What a tool gave back: functionResponse.response has to be an object, whatever the tool said. Pure."""

from collections.abc import Sequence
from typing import Any

from providers.wire.json import write_json

OUTPUT, ERROR = "output", "error"
_WRAPPERS = (OUTPUT, "result", ERROR)  # google-genai runs tools itself and says "result"


def read_response(response: dict[str, Any]) -> tuple[list[str], bool]:
    """Return the texts of a response, and whether it is an error; an object of another kind is the text of its JSON."""
    if not response:
        return [], False
    if len(response) > 1:
        return [write_json(response).decode()], False
    name, value = next(iter(response.items()))
    if name not in _WRAPPERS:
        return [write_json(response).decode()], False
    return _texts(value), name == ERROR


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value and all(_is_text(each) for each in value):
        return [each["text"] for each in value]
    return [write_json(value).decode()]


def _is_text(value: Any) -> bool:
    """Whether this is how several texts are kept apart: as MCP does."""
    return (
        isinstance(value, dict)
        and value.keys() == {"type", "text"}
        and value["type"] == "text"
        and isinstance(value["text"], str)
    )


def write_response(texts: Sequence[str], *, is_error: bool) -> dict[str, Any]:
    """Return the object that the texts are read back from."""
    name = ERROR if is_error else OUTPUT
    if len(texts) == 1:
        return {name: texts[0]}
    if not texts:
        return {name: ""} if is_error else {}
    return {name: [{"type": "text", "text": text} for text in texts]}
