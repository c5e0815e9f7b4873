"""A local upstream that stands for a provider: in the demo, in tests and under benchmarks.

A request goes through these files, top to bottom::

    connection.py        sockets and HTTP: bytes in → Request; Script → packets out, in their time
    provider.py          decides the answer to one request; no I/O
      behaviour.py         how it is told to behave: the model name, or a marker in the last user message
      chat_completions/  responses/  messages/  gemini/  embeddings.py  images.py  speech.py  models.py
                           one folder or file per kind of endpoint, the same verbs in each: read, whole, frames
      history.py           what a conversation comes to, in no dialect's words
      turn.py  agent.py    what the model says, in no dialect's words
      seals.py             what it signs its thoughts with, and knows them by
      faults.py            what goes wrong in a stream, on frames
      delivery.py          how the answer travels: packets, delays, HTTP framing → Script
    control.py           /_simulator/…: counters and the last requests

Adding a dialect is adding a folder like ``messages`` and a line in ``provider.ROUTES``
(and an ``Envelope``, where its errors look different).
"""

from providers.simulator.server import Simulator

__all__ = ["Simulator"]
