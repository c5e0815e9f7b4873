"""Any server that speaks an OpenAI or Anthropic format: vLLM, SGLang, llama.cpp, Ollama, LM Studio, the simulator."""

from providers.adapters.base import Adapter
from providers.adapters.quirks import Quirks

OPENAI_COMPATIBLE = Adapter(
    name="openai_compatible",
    label="OpenAI-compatible server",
    dialects=("openai_chat",),
    # What models take is up to their templates, and many of those refuse instructions in mid-conversation.
    quirks=Quirks(max_tokens_field="max_tokens", takes_cache_marks=False, takes_system_turns=False),
)
