"""Any server that speaks an OpenAI or Anthropic format: vLLM, SGLang, llama.cpp, Ollama, LM Studio, the simulator."""

from providers.adapters.base import Adapter

OPENAI_COMPATIBLE = Adapter(
    name="openai_compatible",
    label="OpenAI-compatible server",
    dialects=("openai_chat",),
)
