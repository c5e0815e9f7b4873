"""OpenAI: https://platform.openai.com/docs/api-reference"""

from providers.adapters.base import Adapter

OPENAI = Adapter(
    name="openai",
    label="OpenAI",
    base_url="https://api.openai.com/v1",
    dialects=("openai_chat", "openai_responses"),
    credential_variable="OPENAI_API_KEY",
    documentation="https://platform.openai.com/docs/api-reference",
    credential_page="https://platform.openai.com/api-keys",
    starter_model="gpt-5-mini",
)
