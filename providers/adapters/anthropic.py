"""Anthropic: https://docs.anthropic.com/en/api/messages"""

from providers.adapters.base import Adapter, x_api_key

ANTHROPIC = Adapter(
    name="anthropic",
    label="Anthropic",
    base_url="https://api.anthropic.com",
    dialects=("anthropic_messages",),
    authorize=x_api_key,
    credential_variable="ANTHROPIC_API_KEY",
    documentation="https://docs.anthropic.com/en/api/messages",
    credential_page="https://console.anthropic.com/settings/keys",
    starter_model="claude-sonnet-5",
)
