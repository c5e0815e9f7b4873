"""What Anthropic's models refuse by their names, on top of what every model refuses.

Models with other names, the presets among them, take everything. Source: https://docs.claude.com/en/docs/about-claude/models
"""

import re
from dataclasses import dataclass
from functools import lru_cache

NAME = re.compile(r"claude-(opus|sonnet|haiku|fable)-(\d+)(?:[.-](\d)(?!\d))?")
NEVER = (99, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    forced_tools: bool = True
    thinking_enabled: bool = True
    thinking_disabled: bool = True
    high_effort_without_thinking: bool = True
    sampling: bool = True
    prefill: bool = True
    system_turns: bool = True


# The version of each family from which on something is refused.
_NO_FORCED_TOOLS = {"opus": (5, 5), "sonnet": (5, 5), "fable": (5, 1)}
_NO_ENABLED = {"opus": (5, 5), "sonnet": (5, 5), "haiku": (5, 5), "fable": (5, 0)}
_NO_DISABLED = {"opus": (5, 5), "sonnet": (5, 5), "fable": (5, 0)}
_NO_HIGH_EFFORT = {"opus": (5, 0), "sonnet": (5, 5), "haiku": (5, 5)}
_NO_SAMPLING = {"opus": (4, 7), "sonnet": (5, 0), "haiku": (5, 0), "fable": (5, 0)}
_NO_PREFILL = {"opus": (4, 6), "sonnet": (4, 6), "haiku": (5, 0), "fable": (5, 0)}
FIRST_WITH_SYSTEM_TURNS = (5, 0)


@lru_cache(maxsize=1024)
def gates(model: str) -> Gates:
    """What a model lets through."""
    found = NAME.search(model)
    if found is None:
        return Gates()
    family, version = found[1], (int(found[2]), int(found[3] or 0))

    def takes(refused_from: dict[str, tuple[int, int]]) -> bool:
        return version < refused_from.get(family, NEVER)

    return Gates(
        forced_tools=takes(_NO_FORCED_TOOLS),
        thinking_enabled=takes(_NO_ENABLED),
        thinking_disabled=takes(_NO_DISABLED),
        high_effort_without_thinking=takes(_NO_HIGH_EFFORT),
        sampling=takes(_NO_SAMPLING),
        prefill=takes(_NO_PREFILL),
        system_turns=version >= FIRST_WITH_SYSTEM_TURNS,
    )
