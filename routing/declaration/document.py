"""YAML with line numbers, and the environment's variables in it.

Only the structure is taken from YAML. What a scalar means is decided by the field that it stands in
(`readers.py`), from its text: prices never pass through a float, and `region: no` stays a region.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

type Lookup = Callable[[str], str | None]

NULL_TAG = "tag:yaml.org,2002:null"
YAML_TAGS = "tag:yaml.org,2002:"
VARIABLE = re.compile(r"\$(?P<escaped>\$)?\{(?P<body>[^}]*)(?P<end>\})?")
VARIABLE_BODY = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that is wrong in the file, and where."""

    line: int
    path: str
    message: str

    def render(self, file: str) -> str:
        """One line, as compilers write it."""
        place = f"{self.path}: " if self.path else ""
        return f"{file}:{self.line}: {place}{self.message}"


class Broken(Exception):
    """A value cannot be read; the problem is noted already."""


@dataclass(slots=True, kw_only=True)
class Reading:
    """What is known while a file is read."""

    lookup: Lookup
    problems: list[Problem] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)  # path → line
    records: list[Any] = field(default_factory=list)  # all that could be read, broken ones with defaults


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """A node of the file, and the way to it."""

    node: yaml.Node
    path: str
    line: int
    reading: Reading

    def broken(self, message: str, *, line: int = 0) -> Broken:
        """Note a problem and return what to raise."""
        self.reading.problems.append(Problem(line=line or self.line, path=self.path, message=message))
        return Broken()

    @property
    def is_null(self) -> bool:
        """Whether nothing stands here."""
        return self.node.tag == NULL_TAG

    @property
    def is_list(self) -> bool:
        """Whether it is a list."""
        return isinstance(self.node, yaml.SequenceNode)

    @property
    def is_mapping(self) -> bool:
        """Whether it is a mapping."""
        return isinstance(self.node, yaml.MappingNode)

    @property
    def is_quoted(self) -> bool:
        """Whether it is text by its quotes."""
        return isinstance(self.node, yaml.ScalarNode) and self.node.style is not None

    @property
    def has_variable(self) -> bool:
        """Whether the environment has a say in it."""
        return isinstance(self.node, yaml.ScalarNode) and VARIABLE.search(self.node.value) is not None

    def text(self) -> str:
        """The scalar's text, with the variables' values in it."""
        if not isinstance(self.node, yaml.ScalarNode) or self.is_null:
            raise self.broken("must be text")
        if not self.node.tag.startswith(YAML_TAGS):
            raise self.broken(f"has the tag {self.node.tag}, which means nothing here")
        return VARIABLE.sub(self._value, self.node.value)

    def items(self) -> list["Cursor"]:
        """The elements of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.broken("must be a list")
        return [
            self._inner(node, f"{self.path}[{index}]", node.start_mark.line + 1)
            for index, node in enumerate(self.node.value)
        ]

    def members(self) -> dict[str, "Cursor"]:
        """The fields of a mapping; a name that stands twice is a problem."""
        found: dict[str, Cursor] = {}
        for name, line, node in self._pairs():
            inner = self._inner(node, f"{self.path}.{name}" if self.path else name, line)
            if name in found:
                inner.broken(f"stands here a second time; the first is in line {found[name].line}")
            else:
                found[name] = inner
        return found

    def _inner(self, node: yaml.Node, path: str, line: int) -> "Cursor":
        self.reading.lines[path] = line
        return Cursor(node=node, path=path, line=line, reading=self.reading)

    def _pairs(self) -> Iterator[tuple[str, int, yaml.Node]]:
        if not isinstance(self.node, yaml.MappingNode):
            raise self.broken("must be a mapping of names to values")
        for key, value in self.node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.broken("has a name that is not text", line=key.start_mark.line + 1)
            yield key.value, key.start_mark.line + 1, value

    def _value(self, match: re.Match[str]) -> str:
        if match["escaped"]:
            return match[0][1:]  # $${ stands for ${
        body = VARIABLE_BODY.fullmatch(match["body"])
        if match["end"] is None or body is None:
            raise self.broken("has a malformed variable; write ${NAME} or ${NAME:-default}")
        value = self.reading.lookup(body["name"]) or body["default"]
        if value is None:
            raise self.broken(f"the environment variable {body['name']} is not set")
        return value


def compose(text: str, reading: Reading) -> Cursor | None:
    """Return the file's root; None, with the problem noted, when it is not YAML or says nothing."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        reading.problems.append(Problem(line=line, path="", message=f"is not YAML: {_sentence(error)}"))
        return None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"is not YAML: the character U+{error.character:04X} is not allowed"
        reading.problems.append(Problem(line=line, path="", message=message))
        return None
    except RecursionError:
        reading.problems.append(Problem(line=1, path="", message="is nested too deeply"))
        return None
    if node is None or node.tag == NULL_TAG:
        reading.problems.append(Problem(line=1, path="", message="the file is empty"))
        return None
    return Cursor(node=node, path="", line=node.start_mark.line + 1, reading=reading)


def _sentence(error: yaml.MarkedYAMLError) -> str:
    parts = [part for part in (error.context, error.problem) if part]
    return ", ".join(parts) or "it cannot be read"
