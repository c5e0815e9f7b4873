"""What a request needs of a model beyond reading and writing text: tools, thinking, images, audio, documents. Pure.

Only a route with conditions asks for it, so nobody looks before: to search a body of 200 KB takes 0.1 to 0.2 ms. And nothing
is decoded: members are looked up by name, and what messages hold is searched for in the raw body.

The search is exact up to nesting: inside a text every quote is escaped, so `"image_url"` with both of its quotes stands
in JSON only where it is a name or a whole text of its own, and `"type":"image_url"` only where an object says that it
is one. That object may be part of something else, such as the input of a tool. Who spells ASCII with escapes
(`"\u0069mage_url"`) is not understood, and sent where every request can be sent.
"""

import re
from collections.abc import Callable, Iterator, Sequence, Set
from typing import NamedTuple

from providers.wire.splice import BLANKS, Members

MOST_LOOKS = 1000  # at places that hold the word; a body that has more of them needs what they mean, in doubt
NAME_BYTES = 40  # of a name before a word, with a colon and blanks
_IS_OFF = re.compile(rb'\A(?:null|"none"|"disabled")\Z|:\s*"(?:none|disabled)"|"enabled"\s*:\s*false')


class Needs(Set[str]):
    """What a request needs, looked for when somebody asks, and once."""

    __slots__ = ("_found", "_look", "_members")

    def __init__(self, members: Members, look: Callable[[Members], list[str]]) -> None:
        self._members = members
        self._look = look
        self._found: frozenset[str] | None = None

    @property
    def found(self) -> frozenset[str]:
        """All of them."""
        if self._found is None:
            self._found = frozenset(self._look(self._members))
        return self._found

    def __contains__(self, name: object) -> bool:
        return name in self.found

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)


class Sign(NamedTuple):
    """Where the value of one of these members begins with a word, a request needs something."""

    need: str
    word: bytes  # with its quotes, as it stands in JSON
    names: tuple[bytes, ...] = (b'"type":',)


def contents(raw: bytes, signs: Sequence[Sign]) -> list[str]:
    """Return what a body's content needs."""
    return [sign.need for sign in signs if _is_there(raw, sign)]


def wants_thinking(members: Members, *names: str) -> bool:
    """Whether one of these members asks for thinking, and does not switch it off."""
    return any(members.has(name) and _IS_OFF.search(members.get(name) or b"") is None for name in names)


def _is_there(raw: bytes, sign: Sign) -> bool:
    """Whether the word stands after one of the names somewhere."""
    position = -1
    for _ in range(MOST_LOOKS):
        position = raw.find(sign.word, position + 1)
        if position < 0:
            return False
        before = raw[max(0, position - NAME_BYTES) : position]
        if before.endswith(sign.names) or before.translate(None, BLANKS).endswith(sign.names):
            return True
    return True
