"""The tools of a request and how they may be called; schemas in the OpenAPI subset or as real JSON Schema."""

import re
from typing import Any

from providers.simulator.ask import Json, Tool
from providers.simulator.gemini import proto

TOOL = frozenset(
    {
        *("functionDeclarations", "googleSearch", "googleSearchRetrieval", "urlContext", "codeExecution"),
        *("fileSearch", "googleMaps", "computerUse", "mcpServers"),
    }
)
DECLARATION = frozenset(
    {
        *("name", "description", "parameters", "parametersJsonSchema", "response", "responseJsonSchema"),
        *("behavior",),
    }
)
SCHEMA = frozenset(
    {
        *("type", "format", "title", "description", "nullable", "enum", "maxItems", "minItems", "properties"),
        *("required", "minProperties", "maxProperties", "minLength", "maxLength", "pattern", "example", "anyOf"),
        *("propertyOrdering", "default", "items", "minimum", "maximum"),
    }
)
TYPES = ("STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL")
CONFIG = frozenset({"functionCallingConfig", "retrievalConfig", "includeServerSideToolInvocations"})
CALLING = frozenset({"mode", "allowedFunctionNames", "streamFunctionCallArguments"})
MODES = ("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED")
NAME = re.compile(r"^[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}$")
NAME_RULE = (
    "Invalid function name. Must start with a letter or an underscore. Must be alphanumeric (a-z, A-Z, 0-9), "
    "underscores (_), dots (.), colons (:), or dashes (-), with a maximum length of 128."
)


def read_tools(given: object) -> list[Tool]:
    """Check the tools; return the functions."""
    tools: list[Tool] = []
    for index, each in enumerate(proto.messages(given, TOOL, "tools") if given is not None else ()):
        where = f"tools[{index}].functionDeclarations"
        declared = proto.messages(each.get("functionDeclarations") or [], DECLARATION, where)
        tools += [_declared(declaration, f"{where}[{at}]") for at, declaration in enumerate(declared)]
    names = [tool.name for tool in tools]
    for name in names:
        proto.require(names.count(name) == 1, f"Duplicate function declaration found: {name}")
    return tools


def choose(given: object, tools: tuple[Tool, ...]) -> tuple[tuple[Tool, ...], bool]:
    """The functions that `toolConfig` leaves, and whether one must be called."""
    config = proto.message(given or {}, CONFIG, "toolConfig")
    where = "toolConfig.functionCallingConfig"
    calling = proto.message(config.get("functionCallingConfig") or {}, CALLING, where)
    mode = proto.choice(calling.get("mode", "AUTO"), MODES, f"{where}.mode")
    allowed = proto.array(calling.get("allowedFunctionNames", []), f"{where}.allowedFunctionNames")
    if allowed:
        is_fitting = mode in ("ANY", "VALIDATED")
        proto.require(is_fitting, "Allowed function names should only be set when function calling mode is ANY.")
    if mode == "ANY":
        proto.require(bool(tools), "Function calling config is set without function_declarations.")
    for name in allowed:
        is_declared = any(tool.name == name for tool in tools)
        proto.require(is_declared, f"Allowed function name {name} is not one of the declared functions.")
    left = tuple(tool for tool in tools if not allowed or tool.name in allowed)
    return (() if mode == "NONE" else left), mode == "ANY"


def json_schema(given: object, where: str) -> Json:
    """Check a schema of the OpenAPI subset, and return it as JSON Schema."""
    schema = proto.message(given, SCHEMA, where)
    if "type" in schema:
        schema["type"] = proto.choice(str(schema["type"]).upper(), TYPES, f"{where}.type").lower()
    _check_kind(schema, where)
    read: dict[str, Any] = {**schema}
    if "properties" in schema:
        inner = proto.mapping(schema["properties"], f"{where}.properties").items()
        read["properties"] = {name: json_schema(each, f"{where}.properties[{name}]") for name, each in inner}
    if "items" in schema:
        read["items"] = json_schema(schema["items"], f"{where}.items")
    if "anyOf" in schema:
        choices = proto.array(schema["anyOf"], f"{where}.anyOf")
        read["anyOf"] = [json_schema(each, f"{where}.anyOf[{at}]") for at, each in enumerate(choices)]
    return read


def _declared(declaration: Json, where: str) -> Tool:
    name = declaration.get("name")
    if not isinstance(name, str) or not NAME.match(name):
        proto.refuse(f"GenerateContentRequest.{proto.snake(where)}.name: [FIELD_INVALID] {NAME_RULE}")
    has_both = "parameters" in declaration and "parametersJsonSchema" in declaration
    at = f"GenerateContentRequest.{proto.snake(where)}"
    proto.require(not has_both, f"{at}: parameters and parameters_json_schema must not both be set.")
    if "parameters" in declaration:
        return Tool(name=name, schema=json_schema(declaration["parameters"], f"{where}.parameters"))
    schema = declaration.get("parametersJsonSchema") or {}
    if not isinstance(schema, dict):
        proto.refuse(f"{at}.parameters_json_schema: must be a JSON object.")
    return Tool(name=name, schema=schema)


def _check_kind(schema: Json, where: str) -> None:
    """What each type needs, and what it must not have."""
    at = f"GenerateContentRequest.{proto.snake(where)}"
    kind = schema.get("type")
    if kind == "object" and where.endswith("parameters"):
        proto.require(schema.get("properties") != {}, f"{at}.properties: should be non-empty for OBJECT type")
    if kind == "array":
        proto.require("items" in schema, f"{at}.items: missing field.")
    if schema.get("enum"):
        proto.require(kind == "string", f"{at}.enum: only allowed for STRING type")
    properties = proto.mapping(schema.get("properties", {}), f"{where}.properties")
    for name in proto.array(schema.get("required", []), f"{where}.required"):
        is_known = isinstance(name, str) and name in properties
        proto.require(is_known, f"{at}.required[{name}]: property is not defined")
