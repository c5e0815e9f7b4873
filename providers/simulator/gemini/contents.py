"""The contents of a request: each part in its own shape, calls with their responses, and signatures that are ours."""

import re
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field

from providers.simulator.ask import Json
from providers.simulator.gemini import proto
from providers.simulator.history import Said, Speaker
from providers.simulator.seals import is_ours

DIALECT = "gemini"
CONTENT = frozenset({"role", "parts"})
DATA = (
    *("text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode"),
    *("codeExecutionResult", "toolCall", "toolResponse"),
)
EXTRAS = ("thought", "thoughtSignature", "videoMetadata", "mediaResolution", "partMetadata", "audioTranscription")
PART = frozenset({*DATA, *EXTRAS})
BLOB = frozenset({"mimeType", "data", "displayName"})
FILE = frozenset({"fileUri", "mimeType", "displayName"})
CALL = frozenset({"id", "name", "args", "partialArgs", "willContinue"})
RESPONSE = frozenset({"id", "name", "response", "parts", "willContinue", "scheduling"})
RESPONSE_PART = frozenset({"inlineData", "fileData"})
MEDIA = re.compile(
    r"^(image/(png|jpe?g|webp|heic|heif|gif)|audio/[\w.+-]+|video/[\w.+-]+|application/pdf|text/[\w.+-]+)$"
)
NEEDS_SIGNATURES = re.compile(r"gemini-3")
SKIP = "skip_thought_signature_validator"
SKIPS = (SKIP.encode(), b64decode(SKIP.replace("_", "/")))  # as bytes, or as text that is read as base64
HELP = "Please refer to https://ai.google.dev/gemini-api/docs/thought-signatures for more details."
COUNT_RULE = (
    "Please ensure that the number of function response parts is equal to the number of function call parts "
    "of the function call turn."
)
CALL_RULE = (
    "Please ensure that function call turn comes immediately after a user turn or after a function response turn."
)
RESPONSE_RULE = "Please ensure that function response turn comes immediately after a function call turn."
LAST_RULE = "Please ensure that multiturn requests end with a user turn or a function response turn."


def needs_signatures(model: str) -> bool:
    """Whether a model wants a signature back with every step's first call."""
    return NEEDS_SIGNATURES.search(model) is not None


def place(call: str = "") -> str:
    """What a signature stands for: the call of a function, or text."""
    return f"call {call}" if call else "text"


@dataclass(slots=True)
class Content:
    role: str
    parts: list[Json] = field(default_factory=list)

    @property
    def calls(self) -> list[Json]:
        return [part["functionCall"] for part in self.parts if "functionCall" in part]

    @property
    def responses(self) -> list[Json]:
        return [part["functionResponse"] for part in self.parts if "functionResponse" in part]


def read_contents(given: object, model: str) -> tuple[list[Content], int]:
    """Check all contents; return them with how many signatures were ours."""
    if not given:
        proto.refuse("* GenerateContentRequest.contents: contents is not specified\n")
    raw = proto.messages(given, CONTENT, "contents")
    contents = [_content(each, f"contents[{index}]", is_single=len(raw) == 1) for index, each in enumerate(raw)]
    _check_order(contents)
    return contents, sum(_check_signatures(content, model) for content in contents)


def read_instruction(given: object) -> list[str]:
    """The texts of the system instruction."""
    instruction = proto.message(given, CONTENT, "systemInstruction")
    parts = _parts(instruction.get("parts") or [], "systemInstruction.parts")
    proto.require(all("text" in part for part in parts), "system_instruction: only text parts are supported.")
    return [part["text"] for part in parts]


def unsigned(contents: list[Content]) -> str:
    """How a model refuses a step of the current turn whose first call came back without its signature."""
    for index in range(_turn_start(contents), len(contents)):
        first = next((part for part in contents[index].parts if "functionCall" in part), None)
        if first is not None and "thoughtSignature" not in first:
            name = first["functionCall"]["name"]
            return (
                "Function call is missing a thought_signature in functionCall parts. This is required for tools to "
                "work correctly, and missing thought_signature may lead to degraded model performance. Additional "
                f"data, function call `default_api:{name}` , position {index + 1}. {HELP}"
            )
    return ""


def history(contents: list[Content]) -> Iterator[Said]:
    """Who said what; what a user says beside a function's response is said after it."""
    for content in contents:
        if content.role == "model":
            yield Said(Speaker.MODEL, "")
            continue
        for response in content.responses:
            yield Said(Speaker.TOOL, _result(response["response"]))
        said = [part["text"] for part in content.parts if "text" in part]
        if said or not content.responses:
            yield Said(Speaker.USER, " ".join(said))


def texts(contents: list[Content]) -> Iterator[str]:
    """All text that counts as input; not that of thoughts."""
    for content in contents:
        yield from (part["text"] for part in content.parts if "text" in part and not part.get("thought"))
        yield from (_result(response["response"]) for response in content.responses)


def _content(content: Json, where: str, *, is_single: bool) -> Content:
    role = content.get("role") or ("user" if is_single else "")
    if role == "function":
        role = "user"
    if role not in ("user", "model"):
        proto.refuse("Please use a valid role: user, model.")
    parts = _parts(content.get("parts") or [], f"{where}.parts")
    proto.require(parts != [], f"* GenerateContentRequest.{where}.parts: contents.parts must not be empty.\n")
    return Content(role, parts)


def _parts(given: object, where: str) -> list[Json]:
    parts = proto.messages(given, PART, where)
    for index, part in enumerate(parts):
        _check_part(part, f"{where}[{index}]")
    return parts


def _check_part(part: Json, where: str) -> None:
    kinds = [name for name in DATA if name in part]
    if not kinds:
        missing = "required oneof field 'data' must have one initialized field"
        proto.refuse(f"* GenerateContentRequest.{where}.data: {missing}\n")
    if len(kinds) > 1:
        taken = f"oneof field 'data' is already set. Cannot set '{kinds[1]}'"
        proto.refuse(f"Invalid value at '{proto.snake(where)}' (oneof), {taken}", where)
    kind, at = kinds[0], f"{where}.{kinds[0]}"
    match kind:
        case "text":
            proto.string(part["text"], at)
        case "inlineData":
            part[kind] = _blob(part[kind], at)
        case "fileData":
            part[kind] = proto.message(part[kind], FILE, at)
            proto.string(part[kind].get("fileUri"), f"{at}.fileUri")
        case "functionCall":
            part[kind] = _call(part[kind], at)
        case "functionResponse":
            part[kind] = _response(part[kind], at)


def _blob(given: object, where: str) -> Json:
    blob = proto.message(given, BLOB, where)
    mime_type = proto.string(blob.get("mimeType", ""), f"{where}.mimeType")
    proto.require(bool(MEDIA.match(mime_type)), f"Unsupported MIME type: {mime_type}")
    proto.data(blob.get("data", ""), f"{where}.data")
    proto.require(blob.get("data", "") != "", f"Unable to process input: {proto.snake(where)}.data is empty.")
    return blob


def _call(given: object, where: str) -> Json:
    call = proto.message(given, CALL, where)
    proto.require(
        bool(call.get("name")), f"* GenerateContentRequest.{proto.snake(where)}.name: Name cannot be empty.\n"
    )
    if not isinstance(call.get("args", {}), dict):
        proto.refuse(
            f"Invalid value at '{proto.snake(where)}.args' (type.googleapis.com/google.protobuf.Struct)", where
        )
    return call


def _response(given: object, where: str) -> Json:
    response = proto.message(given, RESPONSE, where)
    at = f"GenerateContentRequest.{proto.snake(where)}"
    proto.require(bool(response.get("name")), f"* {at}.name: Name cannot be empty.\n")
    if not isinstance(response.get("response"), dict):
        kind = "type.googleapis.com/google.protobuf.Struct"
        proto.refuse(f"Invalid value at '{proto.snake(where)}.response' ({kind})", f"{where}.response")
    for index, inner in enumerate(proto.messages(response.get("parts", []), RESPONSE_PART, f"{where}.parts")):
        if "inlineData" in inner:
            _blob(inner["inlineData"], f"{where}.parts[{index}].inlineData")
    return response


def _check_order(contents: list[Content]) -> None:
    """Calls follow a user's turn, and their responses follow them: all of them, in their order, in one content."""
    for index, content in enumerate(contents):
        before = contents[index - 1] if index else None
        if content.calls:
            proto.require(content.role == "model", "Please ensure that function calls have the role 'model'.")
            proto.require(before is not None and before.role == "user", CALL_RULE)
        open_calls = before.calls if before is not None else []
        if content.responses:
            proto.require(content.role == "user", "Please ensure that function responses have the role 'user'.")
            proto.require(bool(open_calls), RESPONSE_RULE)
        if open_calls:
            _match(open_calls, content.responses)
    proto.require(contents[-1].role == "user", LAST_RULE)


def _match(calls: list[Json], responses: list[Json]) -> None:
    proto.require(len(calls) == len(responses), COUNT_RULE)
    for call, response in zip(calls, responses, strict=True):
        is_same = call["name"] == response["name"]
        if call.get("id") and response.get("id"):
            is_same = is_same and call["id"] == response["id"]
        wanted = f"expected the response of `{call['name']}`, found `{response['name']}`"
        proto.require(is_same, f"Please ensure that function responses come in the order of their calls: {wanted}.")


def _check_signatures(content: Content, model: str) -> int:
    """Refuse a signature that is not ours, or not of this part; return how many there are."""
    found = 0
    for part in content.parts:
        sealed = part.get("thoughtSignature")
        if sealed is None or _is_skipped(sealed):
            continue
        name = part["functionCall"]["name"] if "functionCall" in part else ""
        proto.require(is_ours(sealed, DIALECT, model, place(name)), "Corrupted thought signature.")
        found += 1
    return found


def _is_skipped(sealed: object) -> bool:
    """Whether the client asked not to look at the signature, which the provider allows."""
    return proto.data(sealed, "thoughtSignature") in SKIPS


def _turn_start(contents: list[Content]) -> int:
    """Where the current turn begins: at the last thing a user said that was no function's response."""
    for index in range(len(contents) - 1, -1, -1):
        content = contents[index]
        if content.role == "user" and len(content.responses) < len(content.parts):
            return index
    return 0


def _result(response: Json) -> str:
    """What a function answered, as text: its output where it says so."""
    for name in ("output", "result", "content", "error"):
        if isinstance(response.get(name), str):
            return str(response[name])
    return " ".join(str(value) for value in response.values())
