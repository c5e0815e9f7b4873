"""Answers of the data plane: header pairs as they go on the wire, and a body of bytes or a generator of them.

Django's own response classes build a cookie jar and check every header; these are what the lean handler sends as it is.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from django.http.response import HttpResponseBase

type HeaderPairs = Sequence[tuple[bytes, bytes]]


class WholeResponse(HttpResponseBase):
    """An answer that is there."""

    streaming = False

    def __init__(self, status: int, headers: HeaderPairs, content: bytes) -> None:
        # HttpResponseBase.__init__ is left out on purpose: see the module.
        self.status_code = status
        self.pairs = headers
        self.content = content


class EventStreamResponse(HttpResponseBase):
    """An answer that is being made; closing the iterator runs the generator's `finally` at once."""

    streaming = True

    def __init__(
        self, status: int, headers: HeaderPairs, body: AsyncGenerator[bytes, None], *, may_bypass: bool = False
    ) -> None:
        self.status_code = status
        self.may_bypass = may_bypass  # what comes next may be written past the generator, which would yield the same
        self.pairs = headers
        self.body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.body
