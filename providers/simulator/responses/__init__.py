"""OpenAI's Responses, as strict as the provider: https://platform.openai.com/docs/api-reference/responses

A request goes through ``reader.py``, which sends its tools to ``tools.py`` and its input to ``items.py``; ``writer.py``
says the answer, and ``kept.py`` remembers it for ``previous_response_id`` and ``GET /responses/{id}``.
"""

from providers.simulator.responses.endpoints import Responses

__all__ = ["Responses"]
