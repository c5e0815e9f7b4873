"""Why no connection could be made, in one word, for an operator who wants to know what to mend. Not for the hot path."""

import socket
import ssl
from collections.abc import Iterator
from typing import Literal

from providers.transport.upstream import PrivateAddress, UpstreamUnreachable

type Reason = Literal["private", "name", "refused", "certificate", "time", "other"]


def reason_of(error: UpstreamUnreachable) -> Reason:
    """Return why an upstream could not be reached."""
    causes = list(_causes(error))
    for kinds, reason in _KINDS:
        if any(isinstance(cause, kinds) for cause in causes):
            return reason
    return "time" if any("no connection within" in str(cause) for cause in causes) else "other"


_KINDS: tuple[tuple[type[BaseException], Reason], ...] = (
    (PrivateAddress, "private"),
    (ssl.SSLError, "certificate"),
    (ssl.CertificateError, "certificate"),
    (socket.gaierror, "name"),
    (ConnectionRefusedError, "refused"),
    (TimeoutError, "time"),
)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
