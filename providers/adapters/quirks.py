"""Where an upstream departs from its dialect. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """The defaults are no departure."""

    accepts_stream_options: bool = True  # False: a stream's usage cannot be asked for
    drop_fields: tuple[str, ...] = ()  # top-level fields that it refuses
    max_tokens_field: str = ""  # Chat Completions': "max_tokens" where the newer name is not known
    reasoning_field: str = (
        ""  # Chat Completions': in which it wants its reasoning back ("reasoning_content", "reasoning")
    )
    echoes_reasoning: bool = False  # it wants its reasoning back within a loop of tool calls
    takes_top_k: bool = False  # Chat Completions': beyond OpenAI's own fields
    takes_cache_marks: bool = True  # prompt_cache_breakpoint, prompt_cache_key, and what belongs to them
    takes_system_turns: bool = True  # Chat Completions': False: instructions anywhere but first may be refused
    takes_null_content: bool = True  # Chat Completions': False: an answer that only calls tools has the content ""
    call_id_length: int = 64


NO_QUIRKS = Quirks()
