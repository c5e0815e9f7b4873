"""Writing tools, and whether they may be called: https://ai.google.dev/api/caching#Tool"""

from collections.abc import Iterator, Mapping
from typing import Any

from providers.canonical.losses import Losses, form_of
from providers.canonical.request import Request, Tool, ToolChoice
from providers.canonical.tool_names import INPUT_SCHEMA, ToolNames
from providers.dialects.gemini.parts_writer import is_own, note
from providers.dialects.gemini.schema import to_json_schema, to_openapi
from providers.dialects.gemini.spelling import respell
from providers.dialects.gemini.wire import NAME
from providers.dialects.nodes import Node
from providers.profiles import Profile
from tenants.errors import InvalidRequest


def takes_subset(profile: Profile) -> bool:
    """Whether a model takes a subset of OpenAPI and not JSON Schema: those before Gemini 3."""
    return profile.thinking_style == "budget"


def reduce_schema(schema: Mapping[str, Any], at: str, losses: Losses) -> Node:
    """Return what such a model takes of a schema; notes when that is not all of it."""
    reduced = to_openapi(schema)
    if to_json_schema(reduced) != schema:
        losses.degrades(at, "the model takes only a part of JSON Schema")
    return reduced


class ToolWriter:
    """Writes the tools of one request."""

    def __init__(self, request: Request, profile: Profile, names: ToolNames, losses: Losses) -> None:
        self._request = request
        self._profile = profile
        self._names = names
        self._losses = losses
        self._is_own = is_own(request)
        self._is_reduced = takes_subset(profile)

    def tools(self, groups: Any, *, is_one: bool) -> list[Node] | Node | None:
        """Return the tools, in the objects in which their client grouped them."""
        written = list(self._each_tool())
        if groups is None or sum(group.form["count"] for group in groups) != len(written):
            functions = [node for is_function, node in written if is_function]
            own = [node for is_function, node in written if not is_function]
            return [*([{"functionDeclarations": functions}] if functions else []), *own] or None
        grouped = [_group(group, written) for group in groups]
        return grouped[0] if is_one and len(grouped) == 1 else grouped

    def _each_tool(self) -> Iterator[tuple[bool, Node]]:
        """Yield each tool, and whether it is a function of the client's."""
        for tool in self._request.tools:
            if isinstance(tool, Tool):
                yield True, self._function(tool)
            elif tool.origin == NAME:
                yield False, {tool.what: tool.value}
            else:
                note(self._losses, tool.weight, tool.at, tool.why)

    def _function(self, tool: Tool) -> Node:
        if self._names.is_taken(tool):
            raise InvalidRequest(
                f"'{tool.at}' has the same name as another tool, as the upstream spells names.",
                code="not_translatable",
                param=tool.at,
            )
        form = form_of(tool.native, NAME) or {}
        self._losses.native(tool.native, tool.at, NAME)
        node: Node = {"name": self._names.wire(tool.name, tool.namespace)}
        if node["name"] != tool.name:
            self._losses.cosmetic(f"{tool.at}.name", "the upstream takes other names")
        if tool.cache is not None:
            self._losses.cosmetic(f"{tool.at}.{self._request.where('cache')}", "the upstream caches by itself")
        if tool.is_strict:
            self._note_strict(tool)
        description = self._description(tool)
        if description or form.get("has_empty_description"):
            node["description"] = description
        return respell(node | self._parameters(tool, form.get("openapi")), tool.native)

    def _note_strict(self, tool: Tool) -> None:
        if self._is_checked():
            self._losses.cosmetic(f"{tool.at}.strict", "the upstream checks the arguments of all tools")
        else:
            self._losses.degrades(f"{tool.at}.strict", "the upstream does not promise valid arguments")

    def _description(self, tool: Tool) -> str:
        """Return what a tool is for; its namespace and its grammar, which have no place, are at least told of."""
        pieces = [tool.namespace_description, tool.description]
        if tool.namespace_description:
            self._losses.cosmetic(f"{tool.at}.namespace", "what it is for is told with each of its tools")
        if tool.kind == "custom":
            self._losses.cosmetic(tool.at, "the upstream has no free-form tools: it is a function of one text")
        if tool.grammar is not None:
            self._losses.degrades(f"{tool.at}.format", "the upstream does not hold a tool's input to a grammar")
            syntax, definition = tool.grammar.get("syntax", ""), tool.grammar.get("definition", "")
            pieces.append(f"The input follows this {syntax} grammar:\n{definition}")
        return "\n\n".join(piece for piece in pieces if piece)

    def _parameters(self, tool: Tool, openapi: Any) -> Node:
        if openapi is not None and to_json_schema(openapi) == tool.parameters:
            return {"parameters": openapi}
        schema = INPUT_SCHEMA if tool.kind == "custom" else tool.parameters
        if schema is None:
            return {}
        if not self._is_reduced or self._is_own:
            return {"parametersJsonSchema": dict(schema)}
        if not schema.get("properties"):
            return {}  # an object without properties is refused
        return {"parameters": reduce_schema(schema, f"{tool.at}.parameters", self._losses)}

    def config(self) -> Node | None:
        """Return whether tools may, must or must not be called."""
        choice = self._request.tool_choice
        as_written = form_of(choice.native, NAME) if choice is not None else None
        if as_written is not None:
            return {"functionCallingConfig": dict(as_written)}
        config = self._choice(choice) if any(isinstance(tool, Tool) for tool in self._request.tools) else None
        if choice is not None:
            self._losses.native(choice.native, self._request.where("tool_choice"), NAME)
            if config is None and choice.mode != "auto":
                self._losses.cosmetic(self._request.where("tool_choice"), "there are no tools to choose from")
        return None if config is None else {"functionCallingConfig": config}

    def _choice(self, choice: ToolChoice | None) -> Node | None:
        if choice is None:
            return {"mode": "VALIDATED"} if self._is_checked() else None
        where = self._request.where("tool_choice")
        names = [choice.name] if choice.mode == "named" else list(choice.allowed or ())
        allowed = {"allowedFunctionNames": [self._wire(name) for name in names]} if names else {}
        if choice.mode == "none":
            return {"mode": "NONE"}
        if choice.mode == "auto":
            return {"mode": "VALIDATED" if names or self._is_checked() else "AUTO", **allowed}
        if not self._profile.takes_forced_tools:
            self._losses.changes_answer(where, "the model cannot be made to call a tool")
            return {"mode": "VALIDATED" if names else "AUTO", **allowed}
        if choice.mode == "required" and len(names) == 1:
            self._losses.cosmetic(where, "one tool that may be called is the tool to call")
        return {"mode": "ANY", **allowed}

    def _is_checked(self) -> bool:
        """Whether the upstream holds calls to their schemas: asked for by strict tools, and always when calls are forced."""
        choice = self._request.tool_choice
        if choice is not None and choice.mode in {"required", "named"}:
            return True
        is_asked = any(isinstance(tool, Tool) and tool.is_strict for tool in self._request.tools)
        return is_asked and not self._is_reduced and (choice is None or choice.mode == "auto")

    def _wire(self, name: str) -> str:
        tools = (tool for tool in self._request.tools if isinstance(tool, Tool) and tool.name == name)
        tool = next(tools, None)
        return self._names.wire(name, tool.namespace if tool else "")


def _group(group: Any, written: list[tuple[bool, Node]]) -> Node:
    """Take the next tools of a list as they stood together."""
    taken, written[:] = written[: group.form["count"]], written[group.form["count"] :]
    node: Node = {}
    functions = [each for is_function, each in taken if is_function]
    if functions or group.form.get("declares"):
        node["functionDeclarations"] = functions
    for is_function, each in taken:
        if not is_function:
            node |= each
    return respell(node, group)
