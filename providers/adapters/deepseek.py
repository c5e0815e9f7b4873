"""DeepSeek: https://api-docs.deepseek.com"""

from providers.adapters.base import Adapter

DEEPSEEK = Adapter(
    name="deepseek",
    label="DeepSeek",
    base_url="https://api.deepseek.com",
    dialects=("openai_chat",),
    credential_variable="DEEPSEEK_API_KEY",
)
