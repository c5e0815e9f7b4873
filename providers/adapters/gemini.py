"""Google's Gemini: https://ai.google.dev/api"""

from providers.adapters.base import Adapter, x_goog_api_key

GEMINI = Adapter(
    name="gemini",
    label="Google Gemini",
    base_url="https://generativelanguage.googleapis.com/v1beta",
    dialects=("gemini",),
    authorize=x_goog_api_key,
    credential_variable="GEMINI_API_KEY",
    documentation="https://ai.google.dev/api",
    credential_page="https://aistudio.google.com/apikey",
    starter_model="gemini-3-pro",
)
