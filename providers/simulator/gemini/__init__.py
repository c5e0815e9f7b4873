"""Google's Gemini API, as strict as the provider: https://ai.google.dev/api/generate-content

A request goes through ``reader.py``, which sends its contents to ``contents.py``, its tools to ``tools.py``, and
everything through ``proto.py``, which knows no other field than the declared ones; ``writer.py`` says the answer.
"""

from providers.simulator.gemini.endpoints import is_gemini, route_gemini

__all__ = ["is_gemini", "route_gemini"]
