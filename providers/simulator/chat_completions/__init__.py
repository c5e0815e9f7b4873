"""Chat Completions, as strict as the provider: https://platform.openai.com/docs/api-reference/chat

A request goes through ``reader.py``, which sends its tools to ``tools.py`` and its messages to ``messages.py``;
``writer.py`` says the answer.
"""

from providers.simulator.chat_completions.reader import read
from providers.simulator.chat_completions.writer import frames, whole
from providers.simulator.endpoint import Endpoint
from providers.simulator.envelopes import OPENAI

CHAT_COMPLETIONS = Endpoint(method="POST", envelope=OPENAI, read=read, whole=whole, frames=frames)
