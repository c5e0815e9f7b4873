"""An upstream's answer and what can go wrong with it, whichever HTTP it came over."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from providers.transport.packing import Unpacker

MAX_ANSWER_BYTES = 256 * 1024 * 1024  # of a whole answer, unpacked; a stream is passed on as it comes
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


class NotConnected(Exception):
    """No connection, and why; what a caller of the transport gets to see is UpstreamUnreachable."""


class PrivateAddress(NotConnected):
    """An address, or a name that leads to one, in a private network."""


class Upstream(ABC):
    """An upstream's answer: status and headers now, the body as it comes."""

    __slots__ = ("_unpacker", "status")

    status: int
    _unpacker: "Unpacker | None"  # None: the answer is read as it comes

    @property
    @abstractmethod
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """The headers as they came; their names are in lower case."""

    @property
    @abstractmethod
    def content_type(self) -> str:
        """The media type in lower case, without parameters; empty when there is none."""

    async def read(self) -> bytes:
        """Return the whole body; raises UpstreamBroken when it ends too early, or not before it is too large."""
        chunks, size = [], 0
        try:
            while chunk := await self.read_chunk():
                size += len(chunk)
                if size > MAX_ANSWER_BYTES:
                    raise UpstreamBroken(f"the answer is larger than {MAX_ANSWER_BYTES // 1024**2} MiB")
                chunks.append(chunk)
        except BaseException:
            self.finish(is_answered=False)
            raise
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def read_chunk(self) -> bytes:
        """Return what has come, at least one byte; nothing at the end; raises UpstreamBroken when it was cut."""
        if self._unpacker is None:
            return await self._receive()
        return await self._unpacker.read(self._receive)

    @abstractmethod
    async def _receive(self) -> bytes:
        """Return what has come, packed as it came; nothing at the end; raises UpstreamBroken when it was cut."""

    @abstractmethod
    def pass_on(self, sink: Callable[[bytes], bool]) -> None:
        """Offer what comes to `sink` first, while somebody waits for it; what it does not take is read as ever.

        So it goes on without waking whoever waits. Only a wish, which some answers do not grant.
        """

    @abstractmethod
    def finish(self, *, is_answered: bool) -> None:
        """Let go: the connection is kept for the next request if the answer is over; if not, the upstream is told.

        A closed connection, or stream of HTTP/2, is how an upstream sees that nobody reads any more, and stops.
        """

    @abstractmethod
    def abort(self) -> None:
        """End it now; a pending read raises UpstreamBroken."""
