"""OpenRouter: https://openrouter.ai/docs/api-reference"""

from providers.adapters.base import Adapter

OPENROUTER = Adapter(
    name="openrouter",
    label="OpenRouter",
    base_url="https://openrouter.ai/api/v1",
    dialects=("openai_chat", "openai_responses"),
    credential_variable="OPENROUTER_API_KEY",
)
