"""What a dialect says of a request: the operation asked for, and the facts read in one shallow parse. Pure."""

from collections.abc import Set
from dataclasses import dataclass

import msgspec

from providers.wire.splice import Members


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Something a client may ask a dialect for."""

    name: str  # chat, embeddings, ...
    dialect: str
    kind: str  # the kind of deployment that can do it
    path: str  # under the upstream's base URL; "{model}" stands for the upstream's own name
    query: str = ""  # always sent
    is_free: bool = False  # it uses no tokens
    continues_conversations: bool = False  # a request may go on from a stored answer
    keeps_conversations: bool = False  # its own answers can be stored


# Structs and not dataclasses: one of each is made per request, and theirs are made in C.


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What routing, limits and metering need to know of a request; its other content stays bytes."""

    model: str
    size: int  # bytes of the body
    is_stream: bool = False
    wants_usage: bool = True  # False: a usage chunk that the gateway asked for is not passed on
    max_output_tokens: int | None = None
    choices: int = 1  # answers that are asked for, each of so many tokens
    end_user: str = ""
    session: str = ""
    needs: Set[str] = frozenset()  # tools, thinking, images, audio, documents


class Inbound(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it came in."""

    operation: Operation
    members: Members
    facts: Facts
    headers: tuple[tuple[bytes, bytes], ...]  # those that may be passed on to the upstream
    query: bytes = b""
