"""Names to adapters and dialects: the only list to edit when one is added."""

from providers.adapters.anthropic import ANTHROPIC
from providers.adapters.base import Adapter
from providers.adapters.deepseek import DEEPSEEK
from providers.adapters.gemini import GEMINI as GEMINI_ADAPTER
from providers.adapters.groq import GROQ
from providers.adapters.moonshot import MOONSHOT
from providers.adapters.openai import OPENAI
from providers.adapters.openai_compatible import OPENAI_COMPATIBLE
from providers.adapters.openrouter import OPENROUTER
from providers.adapters.siliconflow import SILICONFLOW
from providers.dialects.anthropic_messages import ANTHROPIC_MESSAGES
from providers.dialects.base import Dialect
from providers.dialects.gemini import GEMINI
from providers.dialects.openai_chat import OPENAI_CHAT
from providers.dialects.openai_responses import OPENAI_RESPONSES

ADAPTERS: dict[str, Adapter] = {
    adapter.name: adapter
    for adapter in (
        OPENAI,
        ANTHROPIC,
        GEMINI_ADAPTER,
        OPENROUTER,
        GROQ,
        DEEPSEEK,
        MOONSHOT,
        SILICONFLOW,
        OPENAI_COMPATIBLE,
    )
}

# What may be configured. Those without an entry in DIALECTS are stored and not served yet.
KNOWN_DIALECTS = ("openai_chat", "openai_responses", "anthropic_messages", "gemini")

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect for dialect in (OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC_MESSAGES, GEMINI)
}
