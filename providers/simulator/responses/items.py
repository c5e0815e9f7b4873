"""The items of the input: each in its own shape, and together a conversation that can have happened."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from providers.simulator.ask import Json, Tool
from providers.simulator.envelopes import ApiError
from providers.simulator.history import Said, Speaker
from providers.simulator.openai_checks import refuse, refuse_type, require, require_short, require_value
from providers.simulator.responses.tools import read_tools
from providers.simulator.seals import is_ours

DIALECT = "openai_responses"
SEAL_PREFIX = "gAAAAA"
LONGEST_CALL_ID = 64
ROLES = ("user", "assistant", "system", "developer")
INPUT_PARTS = ("input_text", "input_image", "input_file", "input_audio")
OUTPUT_PARTS = ("output_text", "refusal")
TEXT_PARTS = {"input_text": "text", "output_text": "text", "refusal": "refusal", "text": "text"}

# A call, what answers it, and how the provider calls it when one of the two is missing.
CALLS = {
    "function_call": ("function_call_output", "function call"),
    "custom_tool_call": ("custom_tool_call_output", "custom tool call"),
    "local_shell_call": ("local_shell_call_output", "local shell call"),
    "shell_call": ("shell_call_output", "shell call"),
    "apply_patch_call": ("apply_patch_call_output", "apply patch call"),
    "computer_call": ("computer_call_output", "computer call"),
}
OUTPUTS = {output: call for call, (output, _) in CALLS.items()}
# What the vendor's tools did, and what steers the model: neither asks for anything.
OTHERS = (
    *("web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call", "mcp_call"),
    *("mcp_list_tools", "mcp_approval_request", "mcp_approval_response", "tool_search_call", "tool_search_output"),
    *("program", "program_output", "configuration_update", "compaction_trigger"),
)
PREFIXES = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fc",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctc",
    "local_shell_call": "lsh",
    "shell_call": "sh",
    "apply_patch_call": "apc",
}
TYPES = ("message", "reasoning", *CALLS, *OUTPUTS, *OTHERS, "additional_tools", "item_reference", "compaction")


@dataclass(slots=True, kw_only=True)
class Conversation:
    """What the items come to; they are read in order."""

    model: str
    find: Callable[[str], Json | None]  # a kept item by its id
    items: list[Json] = field(default_factory=list)
    tools: list[Tool] = field(default_factory=list)
    seals: int = 0
    has_looked_up: bool = False  # among the kept items
    ids: set[str] = field(default_factory=set)
    calls: dict[str, str] = field(default_factory=dict)  # call ids that wait for an output, and what kind they are
    shells: dict[str, str] = field(default_factory=dict)  # item ids of local shell calls, which their outputs name

    def read(self, given: object) -> None:
        """Check all of a request's input."""
        if isinstance(given, str):
            given = [{"role": "user", "content": given}]
        if not isinstance(given, list):
            refuse_type("input", "a string or an array of objects")
        for index, item in enumerate(given):
            self._read_item(item, f"input[{index}]")

    def keep(self, items: list[Json]) -> None:
        """Take over items of earlier responses, which were checked in their time."""
        for item in items:
            self.items.append(item)
            self._follow(item, "input")

    def close(self) -> None:
        """Refuse what is missing at the end."""
        for call_id, kind in self.calls.items():
            refuse(f"No tool output found for {CALLS[kind][1]} {call_id}.", "input")
        for index, item in enumerate(self.items):
            if item["type"] == "reasoning" and not _is_followed(self.items[index + 1 :]):
                what = f"Item '{item.get('id', 'rs')}' of type 'reasoning'"
                refuse(f"{what} was provided without its required following item.", "input")

    def _read_item(self, given: object, where: str) -> None:
        if not isinstance(given, dict):
            refuse_type(where, "an object")
        item = {"type": "message", **given} if "role" in given and "type" not in given else given
        kind = item.get("type")
        if kind is None and "id" in item:
            item, kind = {**item, "type": "item_reference"}, "item_reference"
        require_value(kind, TYPES, f"{where}.type")
        if kind == "item_reference":
            item = self._referred(item, where)
        else:
            self._check_id(item, where)
            self._check(item, where)
        self.items.append(item)
        self._follow(item, where)

    def _referred(self, item: Json, where: str) -> Json:
        require(isinstance(item.get("id"), str), f"{where}.id", "a string")
        return self._found(item["id"])

    def _found(self, item_id: str) -> Json:
        self.has_looked_up = True
        found = self.find(item_id)
        if found is None:
            raise not_found(item_id)
        return found

    def _check_id(self, item: Json, where: str) -> None:
        item_id = item.get("id")
        if item_id is None or item["type"] == "local_shell_call_output":  # whose id is its call's
            return
        if not isinstance(item_id, str):
            refuse_type(f"{where}.id", "a string")
        prefix = PREFIXES.get(item["type"])
        if prefix is not None and not item_id.startswith(prefix):
            message = f"Invalid '{where}.id': '{item_id}'. Expected an ID that begins with '{prefix}'."
            refuse(message, f"{where}.id", "invalid_value")
        require_short(item_id, LONGEST_CALL_ID, f"{where}.id")
        if item_id in self.ids:
            again = "Remove duplicate items from your input and try again."
            refuse(f"Duplicate item found with id {item_id}. {again}", "input", "duplicate_item")
        self.ids.add(item_id)

    def _check(self, item: Json, where: str) -> None:
        kind = item["type"]
        if kind == "message":
            _check_message(item, where)
        elif kind == "reasoning":
            self._check_reasoning(item, where)
        elif kind == "compaction":
            _refuse_seal(item.get("encrypted_content"))  # none of ours
        elif kind in CALLS:
            _check_call(item, where)
        elif kind in OUTPUTS:
            _check_output(item, where)
        elif kind == "additional_tools":
            require_value(item.get("role"), ("developer",), f"{where}.role")

    def _check_reasoning(self, item: Json, where: str) -> None:
        if "summary" not in item:
            refuse(f"Missing required parameter: '{where}.summary'.", f"{where}.summary", "missing_required_parameter")
        _check_parts(item["summary"], ("summary_text",), f"{where}.summary")
        if item.get("content") is not None:
            _check_parts(item["content"], ("reasoning_text",), f"{where}.content")
        sealed = item.get("encrypted_content")
        if sealed is not None:
            if not _is_ours(sealed, self.model):
                _refuse_seal(sealed)
            self.seals += 1
        elif "id" in item:
            self._found(item["id"])
        else:
            refuse(f"Missing required parameter: '{where}.id'.", f"{where}.id", "missing_required_parameter")

    def _follow(self, item: Json, where: str) -> None:
        """Keep the books of calls, outputs and tools."""
        kind = item["type"]
        if kind in CALLS:
            self.calls[item["call_id"]] = kind
            if kind == "local_shell_call":
                self.shells[item.get("id", "")] = item["call_id"]
        elif kind in OUTPUTS:
            self._answer(item, kind)
        elif kind in ("additional_tools", "tool_search_output"):
            self.tools += read_tools(item.get("tools"), f"{where}.tools")

    def _answer(self, item: Json, kind: str) -> None:
        """Any output may answer a local shell's call: clients use the one of functions."""
        call_id = str(item.get("call_id") or item.get("id"))
        call_id = self.shells.get(call_id, call_id)
        asked = self.calls.pop(call_id, None)
        if asked is None or (asked != OUTPUTS[kind] and asked != "local_shell_call"):
            refuse(f"No tool call found for {CALLS[OUTPUTS[kind]][1]} output with call_id {call_id}.", "input")


def history(items: list[Json]) -> Iterator[Said]:
    """Who said what; instructions are nobody's words."""
    for item in items:
        kind = item["type"]
        if kind in OUTPUTS:
            yield Said(Speaker.TOOL, "".join(texts(item)))
        elif kind == "message" and item["role"] in ("user", "assistant"):
            yield Said(Speaker.USER if item["role"] == "user" else Speaker.MODEL, " ".join(texts(item)))
        elif kind in CALLS or kind == "reasoning":
            yield Said(Speaker.MODEL, "")


def texts(item: Json) -> Iterator[str]:
    """All text of a message or of an output; not that of thoughts."""
    if item["type"] != "message" and item["type"] not in OUTPUTS:
        return
    content = item.get("content") if item["type"] == "message" else item.get("output")
    if isinstance(content, str):
        yield content
        return
    for part in content if isinstance(content, list) else ():
        field_name = TEXT_PARTS.get(str(part.get("type"))) if isinstance(part, dict) else None
        if field_name is not None:
            yield part[field_name]


def unsealed(items: list[Json]) -> str:
    """How a model refuses whose reasoning did not come back with the calls that it led to."""
    has_thought = False
    refusal = ""
    for item in items:
        kind = item["type"]
        if kind == "message" and item["role"] == "user":
            has_thought, refusal = False, ""
        elif kind in OUTPUTS:
            has_thought = False
        elif kind == "reasoning":
            has_thought = True
        elif kind in CALLS and not has_thought:
            what = f"Item '{item.get('id', item['call_id'])}' of type '{kind}'"
            refusal = refusal or f"{what} was provided without its required 'reasoning' item."
    return refusal


def not_found(item_id: str) -> ApiError:
    """The error of an item that was never kept."""
    advice = "Try again with `store` set to true, or remove this item from your input."
    message = f"Item with id '{item_id}' not found. Items are not persisted when `store` is set to false. {advice}"
    return ApiError(404, message, param="input", code="item_not_found")


def _is_followed(rest: list[Json]) -> bool:
    """Whether the model went on after a thought."""
    for item in rest:
        kind = item["type"]
        if kind == "reasoning":
            continue
        return kind in CALLS or kind in OTHERS or (kind == "message" and item["role"] == "assistant")
    return False


def _is_ours(sealed: object, model: str) -> bool:
    return (
        isinstance(sealed, str)
        and sealed.startswith(SEAL_PREFIX)
        and is_ours(sealed.removeprefix(SEAL_PREFIX), DIALECT, model)
    )


def _refuse_seal(sealed: object) -> None:
    text = str(sealed)
    shown = text if len(text) < 12 else f"{text[:4]}...{text[-4:]}"
    reason = "Reason: Encrypted content could not be decrypted or parsed."
    refuse(f"The encrypted content {shown} could not be verified. {reason}", None, "invalid_encrypted_content")


def _check_message(item: Json, where: str) -> None:
    require_value(item.get("role"), ROLES, f"{where}.role")
    content = item.get("content")
    if isinstance(content, str):
        return
    allowed = OUTPUT_PARTS if item["role"] == "assistant" else INPUT_PARTS
    _check_parts(content, allowed, f"{where}.content")
    if item.get("phase") is not None:
        require_value(item["phase"], ("commentary", "final_answer"), f"{where}.phase")


def _check_parts(parts: object, allowed: tuple[str, ...], where: str) -> None:
    if not isinstance(parts, list):
        refuse_type(where, "an array of objects")
    for index, part in enumerate(parts):
        at = f"{where}[{index}]"
        require(isinstance(part, dict), at, "an object")
        require_value(part.get("type"), allowed, f"{at}.type")
        _check_part(part, at)


def _check_part(part: Json, where: str) -> None:
    match part["type"]:
        case "refusal":
            require(isinstance(part.get("refusal"), str), f"{where}.refusal", "a string")
        case "input_image":
            _require_one(part, ("image_url", "file_id"), where)
            url = part.get("image_url")
            is_url = url is None or (isinstance(url, str) and url.startswith(("http://", "https://", "data:image/")))
            if not is_url:
                expected = "Expected a valid URL, but got a value with an invalid format."
                refuse(f"Invalid '{where}.image_url'. {expected}", f"{where}.image_url", "invalid_value")
        case "input_file":
            _require_one(part, ("file_data", "file_id", "file_url"), where)
        case "input_audio":
            require(isinstance(part.get("input_audio"), dict), f"{where}.input_audio", "an object")
        case _:
            require(isinstance(part.get("text"), str), f"{where}.text", "a string")


def _require_one(part: Json, fields: tuple[str, ...], where: str) -> None:
    if all(part.get(name) is None for name in fields):
        named = " or ".join(f"'{name}'" for name in fields)
        refuse(f"Missing required parameter: one of {named}.", where, "missing_required_parameter")


def _check_call(item: Json, where: str) -> None:
    call_id = item.get("call_id")
    if not isinstance(call_id, str) or not call_id:
        refuse(f"Missing required parameter: '{where}.call_id'.", f"{where}.call_id", "missing_required_parameter")
    require_short(call_id, LONGEST_CALL_ID, f"{where}.call_id")
    match item["type"]:
        case "function_call":
            needed = ("name", "arguments")
        case "custom_tool_call":
            needed = ("name", "input")
        case "apply_patch_call":
            require(isinstance(item.get("operation"), dict), f"{where}.operation", "an object")
            return
        case _:
            require(isinstance(item.get("action"), dict), f"{where}.action", "an object")
            return
    for name in needed:
        require(isinstance(item.get(name), str), f"{where}.{name}", "a string")


def _check_output(item: Json, where: str) -> None:
    kind = item["type"]
    if kind == "local_shell_call_output":
        require(isinstance(item.get("id"), str), f"{where}.id", "a string")
    elif not isinstance(item.get("call_id"), str):
        refuse(f"Missing required parameter: '{where}.call_id'.", f"{where}.call_id", "missing_required_parameter")
    if kind in ("function_call_output", "custom_tool_call_output"):
        output = item.get("output")
        if not isinstance(output, str):
            _check_parts(output, INPUT_PARTS, f"{where}.output")
    if kind == "apply_patch_call_output":
        require_value(item.get("status"), ("completed", "failed"), f"{where}.status")
