"""Anthropic's Messages, as strict as the provider: https://docs.claude.com/en/api/messages

A request goes through ``reader.py``, which sends its tools to ``tools.py`` and its messages to ``turns.py`` and
``blocks.py``, and asks ``gates.py`` what the model refuses; ``writer.py`` says the answer.
"""

from providers.simulator.endpoint import Endpoint
from providers.simulator.envelopes import ANTHROPIC
from providers.simulator.messages.reader import read, read_count
from providers.simulator.messages.writer import frames, whole, whole_count

MESSAGES = Endpoint(method="POST", envelope=ANTHROPIC, read=read, whole=whole, frames=frames)
COUNT_TOKENS = Endpoint(method="POST", envelope=ANTHROPIC, read=read_count, whole=whole_count)
