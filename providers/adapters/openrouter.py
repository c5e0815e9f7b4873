"""OpenRouter: https://openrouter.ai/docs/api-reference"""

from providers.adapters.base import Adapter
from providers.adapters.quirks import Quirks

OPENROUTER = Adapter(
    name="openrouter",
    label="OpenRouter",
    base_url="https://openrouter.ai/api/v1",
    dialects=("openai_chat", "openai_responses"),
    credential_variable="OPENROUTER_API_KEY",
    documentation="https://openrouter.ai/docs/api-reference",
    credential_page="https://openrouter.ai/settings/keys",
    lists_openly=True,
    quirks=Quirks(max_tokens_field="max_tokens", reasoning_field="reasoning", takes_top_k=True),
)
