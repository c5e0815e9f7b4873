"""An upstream's answer and what can go wrong with it, whichever HTTP it came over."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

END_SECONDS = 2.0  # how long the end of a body may take after the answer's last frame
STALE_SECONDS = (
    1.0  # a kept connection that had been closed meanwhile says so at once; one that worked on the request later
)


class TransportError(Exception):
    """The upstream could not be asked, or did not answer to the end."""


class UpstreamUnreachable(TransportError):
    """No connection could be made; the upstream has seen nothing of the request."""


class UpstreamBroken(TransportError):
    """The connection broke after the request was sent."""


class Upstream(ABC):
    """An upstream's answer: status and headers now, the body as it comes."""

    __slots__ = ("status",)

    status: int

    @property
    @abstractmethod
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """The headers as they came."""

    @property
    @abstractmethod
    def content_type(self) -> str:
        """The media type in lower case, without parameters; empty when there is none."""

    @abstractmethod
    async def read(self) -> bytes:
        """Return the whole body; raises UpstreamBroken when it ends too early."""

    @abstractmethod
    async def read_chunk(self) -> bytes:
        """Return what has come, at least one byte; nothing at the end; raises UpstreamBroken when it was cut."""

    @abstractmethod
    def finish(self, *, is_answered: bool) -> None:
        """Let go: the connection is kept for the next request if the answer is over; if not, the upstream is told.

        A closed connection, or stream of HTTP/2, is how an upstream sees that nobody reads any more, and stops.
        """

    @abstractmethod
    def abort(self) -> None:
        """End it now; a pending read raises UpstreamBroken."""
