"""A client's request, read: https://ai.google.dev/api/generate-content"""

from collections.abc import Mapping
from typing import Any

import msgspec

from providers.canonical.inbound import Facts
from providers.canonical.losses import Native, NativeField, Weight
from providers.canonical.parts import Foreign, Text
from providers.canonical.request import (
    EFFORTS,
    Effort,
    Reasoning,
    Request,
    ResponseFormat,
    Sampling,
    Tool,
    ToolChoice,
    Turn,
)
from providers.canonical.seals import SealBox
from providers.dialects.gemini.parts_reader import ContentReader, join_thoughts, listed
from providers.dialects.gemini.schema import to_json_schema
from providers.dialects.gemini.spelling import Reading, keep_number, read_node
from providers.dialects.gemini.weights import (
    CONTENT,
    FUNCTION,
    FUNCTION_WEIGHTS,
    REQUEST,
    REQUEST_WEIGHTS,
    SERVER_TOOL,
    TOOLS,
)
from providers.dialects.gemini.wire import NAME, NAMES, TIERS
from providers.dialects.nodes import (
    Node,
    as_list,
    as_object,
    missing,
    name_text,
    optional_count,
    optional_flag,
    optional_list,
    optional_number,
    optional_object,
    optional_text,
    read_body,
    wrong,
)
from providers.wire.splice import MalformedJson, Members, read_members

CONFIG = "generationConfig"
CHOICE = "toolConfig.functionCallingConfig"
_WRAPPED = ("generateContentRequest", "generate_content_request")  # countTokens of a whole request
_COUNTS = ("topK", "maxOutputTokens", "candidateCount", "logprobs", "seed")
_MODES = ("AUTO", "ANY", "NONE", "VALIDATED", "MODE_UNSPECIFIED")


def read_request(members: Members, facts: Facts, seals: SealBox) -> Request:
    """Read a request; raises InvalidRequest, naming the field."""
    for name in _WRAPPED:
        if (wrapped := members.get(name)) is not None:
            try:
                members = read_members(wrapped)
            except MalformedJson:
                raise wrong(name, "an object") from None
    reading = read_node(read_body(members), REQUEST, REQUEST_WEIGHTS, "")
    return _Reader(reading, seals).read(facts)


class _Reader:
    """One request on its way."""

    def __init__(self, reading: Reading, seals: SealBox) -> None:
        self.reading = reading
        self.node = reading.node
        self.config: Node = optional_object(self.node, CONFIG, "") or {}
        self.contents = ContentReader(seals)
        self.form: dict[str, Any] = {}  # how the request itself was spelled
        self.kept: dict[str, Any] = {}  # values that would be written back differently, by path
        self.fields: list[NativeField] = []

    def read(self, facts: Facts) -> Request:
        """Return the request."""
        # What is read below adds to how the request was spelled, so that is written down last.
        request = Request(
            model=facts.model,
            system=self._system(),
            turns=tuple(join_thoughts(self._turns())),
            tools=self._tools(),
            tool_choice=self._tool_choice(),
            sampling=self._sampling(),
            reasoning=self._reasoning(),
            response_format=self._response_format(),
            service_tier=self._service_tier(),
            metadata=self._metadata(),
            is_stream=facts.is_stream,
            names={field: self.reading.spelled(name) for field, name in NAMES.items()},
        )
        return msgspec.structs.replace(request, native=self._native())

    def _native(self) -> Native | None:
        reading = self.reading._replace(fields=(*self.reading.fields, *self.fields))
        return reading.native(**self.form, kept=self.kept or None, is_own=True)

    def _turns(self) -> list[Turn]:
        if "contents" not in self.node:
            raise missing("contents")
        items, is_one = listed(self.node["contents"], "contents")
        self.form["is_one_content"] = True if is_one else None
        return [self.contents.turn(raw, at) for raw, at in items]

    # Instructions

    def _system(self) -> tuple[Text | Foreign, ...]:
        value, at = self.node.get("systemInstruction"), self.reading.path("systemInstruction")
        if value is None:
            return ()
        if isinstance(value, str):
            self.form["system"] = "text"
            return (Text(text=value, at=at),)
        if isinstance(value, list):
            self.form["system"] = "list"
            value = {"parts": value}
            inner = read_node(value, CONTENT, {}, at)._replace(at=at)
            return self._instructions(inner)[0]
        inner = read_node(as_object(value, at), CONTENT, {}, at)
        parts, form = self._instructions(inner)
        role = inner.node.get("role")
        self.form["system"] = inner.native(**form, role=role, has_no_role=True if role is None else None)
        return parts

    def _instructions(self, reading: Reading) -> tuple[tuple[Text | Foreign, ...], dict[str, Any]]:
        parts, form = self.contents.parts(reading)
        return tuple(
            part
            if isinstance(part, Text | Foreign)
            else Foreign(origin=NAME, what=type(part).__name__.lower(), value=raw, at=part.at)
            for part, (raw, _) in zip(
                parts, listed(reading.node.get("parts", []), reading.path("parts"))[0], strict=True
            )
        ), form

    # Tools

    def _tools(self) -> tuple[Tool | Foreign, ...]:
        if "tools" not in self.node:
            return ()
        items, is_one = listed(self.node["tools"], "tools")
        self.form["is_one_tool"] = True if is_one else None
        tools: list[Tool | Foreign] = []
        groups: list[Native | None] = []
        for raw, at in items:
            reading = read_node(as_object(raw, at), TOOLS, {}, at)
            found: list[Tool | Foreign] = [*_functions(reading), *_server_tools(reading)]
            declares = True if "functionDeclarations" in reading.node else None
            groups.append(reading._replace(fields=()).native(count=len(found), declares=declares))
            tools += found
        self.form["groups"] = groups
        return tuple(tools)

    def _tool_choice(self) -> ToolChoice | None:
        config = (self.node.get("toolConfig") or {}).get("functionCallingConfig")
        if not config:
            return None
        at = self.reading.path(CHOICE)
        said = optional_text(as_object(config, at), "mode", at) or "AUTO"
        mode = said.upper()
        if mode not in _MODES:
            raise wrong(self.reading.path(f"{CHOICE}.mode"), "one of " + ", ".join(_MODES))
        if mode == "VALIDATED":
            why = "the upstream promises no valid arguments"
            self._own(f"{CHOICE}.mode", said, Weight.DEGRADES, why)
        names = tuple(map(str, optional_list(config, "allowedFunctionNames", at) or ()))
        choice = _choice(mode, names)
        return ToolChoice(**choice, native=Native(origin=NAME, form=dict(config)))

    # What stands in generationConfig

    def _sampling(self) -> Sampling:
        config, at = self.config, self.reading.path(CONFIG)
        for name in _COUNTS:
            self._keep(f"{CONFIG}.{name}", keep_number(config.get(name)))
        stops = optional_list(config, "stopSequences", at)
        if stops == []:
            self._keep(f"{CONFIG}.stopSequences", stops)
        if not all(isinstance(stop, str) for stop in stops or ()):
            raise wrong(self.reading.path(f"{CONFIG}.stopSequences"), "a list of texts")
        seed = optional_number(config, "seed", at)
        return Sampling(
            max_output_tokens=optional_count(config, "maxOutputTokens", at),
            temperature=optional_number(config, "temperature", at),
            top_p=optional_number(config, "topP", at),
            top_k=optional_count(config, "topK", at),
            stop=tuple(stops or ()),
            seed=None if seed is None else int(seed),
            presence_penalty=optional_number(config, "presencePenalty", at),
            frequency_penalty=optional_number(config, "frequencyPenalty", at),
            choices=optional_count(config, "candidateCount", at),
            logprobs=optional_flag(config, "responseLogprobs", at),
            top_logprobs=optional_count(config, "logprobs", at),
        )

    def _reasoning(self) -> Reasoning | None:
        config = self.config.get("thinkingConfig")
        if not config:
            return None
        at = self.reading.path(f"{CONFIG}.thinkingConfig")
        level = optional_text(as_object(config, at), "thinkingLevel", at)
        budget = optional_number(config, "thinkingBudget", at)
        effort = _effort(level, self.reading.path(f"{CONFIG}.thinkingConfig.thinkingLevel"))
        return Reasoning(
            effort="none" if budget == 0 else effort,
            budget=int(budget) if budget is not None and budget > 0 else None,
            mode="adaptive" if budget is not None and budget < 0 else None,
            shows=optional_flag(config, "includeThoughts", at),
            native=Native(origin=NAME, form=dict(config)),
        )

    def _response_format(self) -> ResponseFormat | None:
        config, at = self.config, self.reading.path(CONFIG)
        kind = optional_text(config, "responseMimeType", at)
        openapi = optional_object(config, "responseSchema", at)
        schema = optional_object(config, "responseJsonSchema", at)
        names = ("responseMimeType", "responseSchema", "responseJsonSchema")
        raw = {name: config[name] for name in names if name in config}
        if not raw:
            return None
        if kind not in {None, "application/json", "text/plain"} or (kind == "text/plain" and len(raw) > 1):
            for name, value in raw.items():
                self._own(f"{CONFIG}.{name}", value, Weight.CHANGES_ANSWER, "the upstream has no such response format")
            return None
        schema = schema if openapi is None else to_json_schema(openapi)
        words = "json_schema" if schema is not None else "text" if kind == "text/plain" else "json_object"
        return ResponseFormat(kind=words, schema=schema, native=Native(origin=NAME, form=raw))  # type: ignore[arg-type]

    # The rest

    def _service_tier(self) -> str | None:
        said = optional_text(self.node, "serviceTier", "")
        if said is None:
            return None
        self._keep("serviceTier", said)
        return TIERS.get(said.lower(), said.lower())

    def _metadata(self) -> Mapping[str, str] | None:
        labels = optional_object(self.node, "labels", "")
        if labels is not None and not all(isinstance(value, str) for value in labels.values()):
            raise wrong("labels", "an object of texts")
        return labels

    def _keep(self, path: str, value: Any) -> None:
        if value is not None:
            self.kept[path] = value

    def _own(self, path: str, value: Any, weight: Weight, why: str) -> None:
        self.fields.append(NativeField(name=self.reading.spelled(path), value=value, weight=weight, why=why))


def _functions(reading: Reading) -> list[Tool]:
    at = reading.path("functionDeclarations")
    declarations = as_list(reading.node.get("functionDeclarations", []), at)
    return [_function(raw, f"{at}[{i}]") for i, raw in enumerate(declarations)]


def _function(raw: Any, at: str) -> Tool:
    reading = read_node(as_object(raw, at), FUNCTION, FUNCTION_WEIGHTS, at)
    openapi = optional_object(reading.node, "parameters", at)
    schema = optional_object(reading.node, "parametersJsonSchema", at)
    description = optional_text(reading.node, "description", at)
    return Tool(
        name=name_text(reading.node, "name", at),
        description=description or "",
        parameters=schema if openapi is None else to_json_schema(openapi),
        at=at,
        native=reading.native(openapi=openapi, has_empty_description=True if description == "" else None),
    )


def _server_tools(reading: Reading) -> list[Foreign]:
    return [
        Foreign(origin=NAME, what=field.name, value=field.value, why=SERVER_TOOL, at=reading.path(field.name))
        for field in reading.fields
    ]


def _choice(mode: str, names: tuple[str, ...]) -> dict[str, Any]:
    if mode == "NONE":
        return {"mode": "none"}
    if mode == "ANY" and len(names) == 1:
        return {"mode": "named", "name": names[0]}
    return {"mode": "required" if mode == "ANY" else "auto", "allowed": names or None}


def _effort(level: str | None, at: str) -> Effort | None:
    if level is None or level.upper() == "THINKING_LEVEL_UNSPECIFIED":
        return None
    found = next((effort for effort in EFFORTS if effort == level.lower()), None)
    if found is None or found in {"none", "max"}:
        raise wrong(at, "MINIMAL, LOW, MEDIUM, HIGH or XHIGH")
    return found
