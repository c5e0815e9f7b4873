"""Moonshot (Kimi): https://platform.moonshot.ai/docs"""

from providers.adapters.base import Adapter

MOONSHOT = Adapter(
    name="moonshot",
    label="Moonshot (Kimi)",
    base_url="https://api.moonshot.ai/v1",
    dialects=("openai_chat",),
    credential_variable="MOONSHOT_API_KEY",
)
