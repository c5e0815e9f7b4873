"""A coding agent of three moves, for end-to-end tests of Claude Code, Codex and whatever else brings its own tools.

It writes ``tollgate.txt`` with one of the tools it is offered, reads it with another, and answers with what it read.
Where the file goes stands in the user's prompt (``/somewhere/tollgate.txt``), else in Codex's ``<cwd>``. Tools are known
by their bare names, so that a tool in a namespace, or flattened to ``namespace__tool``, is the same tool; what they want
is read off their schemas.
"""

import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import orjson

from providers.simulator.ask import Ask, Json, Tool, ToolKind
from providers.simulator.examples import example

LINE = "Tollgate carried this line."
FILE = "tollgate.txt"
NO_TOOL = "None of the tools can write and read a file."
PATH = re.compile(r"/[^\s\"'`<>]*" + re.escape(FILE))
DIRECTORY = re.compile(r"<cwd>(/[^<]*)</cwd>")
WRITE_NAMES = {"write", "write_file", "writefile", "create_file", "write_to_file"}
READ_NAMES = {"read", "read_file", "readfile", "view_file", "open_file"}
SHELL_NAMES = {
    *("bash", "shell", "exec", "exec_command", "shell_command", "local_shell", "container.exec", "terminal"),
    *("run_command", "run_shell_command", "run_terminal_cmd", "execute_command"),
}
PATH_FIELDS = ("file_path", "filepath", "path", "filename", "absolute_path", "target_file", "file")
CONTENT_FIELDS = ("content", "contents", "text", "file_text", "data")
COMMAND_FIELDS = ("command", "cmd", "commands", "script")
TEXT_FIELDS = ("input", "patch")  # what a free-text tool becomes as a function


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A call: JSON arguments, or the text of a free-text tool."""

    tool: Tool
    said: str


type Maker = Callable[[Tool], str | None]  # what to say to a tool; None = it will not do


def play(ask: Ask) -> Move | str:
    """Return the next call, or the answer."""
    if len(ask.results) > 1:
        return ask.results[-1]
    path = _path(ask.task)
    quoted = shlex.quote(path)
    if ask.results:
        makers: list[Maker] = [lambda tool: _read(tool, path), lambda tool: _run(tool, f"cat {quoted}")]
    else:
        script = f"printf '%s\\n' {shlex.quote(LINE)} > {quoted}"
        makers = [lambda tool: _write(tool, path), lambda tool: _run(tool, script), lambda tool: _patch(tool, path)]
    return _first(makers, ask.tools) or NO_TOOL


def _path(task: str) -> str:
    if found := PATH.search(task):
        return found[0]
    directory = DIRECTORY.search(task)
    return f"{directory[1].rstrip('/')}/{FILE}" if directory else FILE


def _first(makers: Iterable[Maker], tools: Iterable[Tool]) -> Move | None:
    for make in makers:
        for tool in tools:
            said = make(tool)
            if said is not None:
                return Move(tool=tool, said=said)
    return None


def _bare(tool: Tool) -> str:
    return tool.name.rpartition("__")[2].lower()


def _write(tool: Tool, path: str) -> str | None:
    where, what = _field(tool, PATH_FIELDS), _field(tool, CONTENT_FIELDS)
    if _bare(tool) not in WRITE_NAMES or where is None or what is None:
        return None
    return _arguments(tool, {where: path, what: f"{LINE}\n"})


def _read(tool: Tool, path: str) -> str | None:
    where = _field(tool, PATH_FIELDS)
    if _bare(tool) not in READ_NAMES or where is None:
        return None
    return _arguments(tool, {where: path})


def _run(tool: Tool, script: str) -> str | None:
    """A shell command, in whichever of the ways a shell is offered."""
    shell = ["bash", "-lc", script]
    if tool.kind is ToolKind.LOCAL_SHELL:
        return _json({"type": "exec", "command": shell, "env": {}})
    if tool.kind is ToolKind.SHELL:
        return _json({"commands": [script]})
    if _bare(tool) not in SHELL_NAMES:
        return None
    field = _field(tool, COMMAND_FIELDS)
    if field is not None:
        takes_list = _properties(tool)[field].get("type") == "array"
        return _arguments(tool, {field: shell if takes_list else script})
    # Codex's `exec` runs JavaScript, which calls the real tools.
    is_javascript = _bare(tool) == "exec"
    return _free_text(tool, _javascript(script) if is_javascript else script)


def _patch(tool: Tool, path: str) -> str | None:
    if tool.kind is ToolKind.APPLY_PATCH:
        return _json({"type": "create_file", "path": path, "diff": f"+{LINE}\n"})
    if _bare(tool) != "apply_patch":
        return None
    return _free_text(tool, f"*** Begin Patch\n*** Add File: {path}\n+{LINE}\n*** End Patch\n")


def _free_text(tool: Tool, text: str) -> str | None:
    """Text for a free-text tool, also for one that was made a function on its way."""
    if tool.kind is ToolKind.CUSTOM:
        return text
    field = _field(tool, TEXT_FIELDS)
    return None if field is None else _arguments(tool, {field: text})


def _javascript(script: str) -> str:
    return f"const result = await tools.exec_command({_json({'cmd': script})}); text(result.output);"


def _field(tool: Tool, names: Iterable[str]) -> str | None:
    properties = _properties(tool)
    return next((name for name in names if name in properties), None)


def _properties(tool: Tool) -> dict[str, Json]:
    properties = tool.schema.get("properties")
    return properties if tool.kind is ToolKind.FUNCTION and isinstance(properties, dict) else {}


def _arguments(tool: Tool, known: Json) -> str:
    """What we know, and something plausible for whatever else is required."""
    required = [name for name in tool.schema.get("required") or () if name not in known]
    others = {name: example(_properties(tool).get(name)) for name in required}
    return _json(known | others)


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
