"""Groq: https://console.groq.com/docs/openai"""

from providers.adapters.base import Adapter
from providers.adapters.quirks import Quirks

GROQ = Adapter(
    name="groq",
    label="Groq",
    base_url="https://api.groq.com/openai/v1",
    dialects=("openai_chat", "openai_responses"),
    credential_variable="GROQ_API_KEY",
    documentation="https://console.groq.com/docs/openai",
    credential_page="https://console.groq.com/keys",
    quirks=Quirks(reasoning_field="reasoning", takes_cache_marks=False),
)
