"""Moonshot (Kimi): https://platform.moonshot.ai/docs"""

from providers.adapters.base import Adapter
from providers.adapters.quirks import Quirks

MOONSHOT = Adapter(
    name="moonshot",
    label="Moonshot (Kimi)",
    base_url="https://api.moonshot.ai/v1",
    dialects=("openai_chat",),
    credential_variable="MOONSHOT_API_KEY",
    documentation="https://platform.moonshot.ai/docs",
    credential_page="https://platform.moonshot.ai/console/api-keys",
    quirks=Quirks(
        max_tokens_field="max_tokens",
        reasoning_field="reasoning_content",
        echoes_reasoning=True,
        takes_cache_marks=False,
    ),
)
