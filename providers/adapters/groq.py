"""Groq: https://console.groq.com/docs/openai"""

from providers.adapters.base import Adapter

GROQ = Adapter(
    name="groq",
    label="Groq",
    base_url="https://api.groq.com/openai/v1",
    dialects=("openai_chat", "openai_responses"),
    credential_variable="GROQ_API_KEY",
)
