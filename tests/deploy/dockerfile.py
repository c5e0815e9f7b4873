"""Enough of a Dockerfile's grammar to check ours: instructions, continued lines, comments."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    name: str  # in capitals
    text: str  # without line breaks

    @property
    def words(self) -> list[str]:
        """Its words, options such as --from included; those of a JSON list where it is one."""
        return json.loads(self.text) if self.text.startswith("[") else shlex.split(self.text)


def read_dockerfile(path: Path) -> list[list[Instruction]]:
    """Return the instructions of each stage; the first of each is FROM."""
    stages: list[list[Instruction]] = []
    for line in _logical_lines(path.read_text(encoding="utf-8")):
        name, _, text = line.partition(" ")
        if name == "FROM":
            stages.append([])
        stages[-1].append(Instruction(name=name, text=text.strip()))
    return stages


def _logical_lines(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [" ".join(line.split()) for line in joined.splitlines()]
