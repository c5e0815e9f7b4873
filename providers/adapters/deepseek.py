"""DeepSeek: https://api-docs.deepseek.com"""

from providers.adapters.base import Adapter
from providers.adapters.quirks import Quirks

DEEPSEEK = Adapter(
    name="deepseek",
    label="DeepSeek",
    base_url="https://api.deepseek.com",
    dialects=("openai_chat",),
    credential_variable="DEEPSEEK_API_KEY",
    documentation="https://api-docs.deepseek.com",
    credential_page="https://platform.deepseek.com/api_keys",
    quirks=Quirks(
        max_tokens_field="max_tokens",
        reasoning_field="reasoning_content",
        echoes_reasoning=True,
        takes_cache_marks=False,
    ),
)
