"""What a reader knows of the items that an upstream is writing."""

import msgspec

from providers.dialects.nodes import Node


class Opened(msgspec.Struct):
    """A part, and how much of it has been said."""

    index: int
    said: str = ""
    citations: int = 0
    piece: int = 0  # of reasoning: which summary the last words belong to


class Item(msgspec.Struct):
    """An item, and the parts that are made of it: by the place of the content, 0 where there is one only."""

    node: Node
    parts: dict[int, Opened] = {}
    is_done: bool = False

    def as_whole(self, node: Node) -> "Item":
        """Take the item as it is at its end; return it."""
        self.node = node
        return self


def rest_of(said: str, whole: str) -> str:
    """Return what is missing; nothing where the two do not begin alike, for what is said cannot be taken back."""
    return whole[len(said) :] if whole.startswith(said) else ""


def name_of(node: Node, field: str) -> str:
    """Return a text of an item, empty when it is missing; raises ValueError, which ends the stream."""
    value = node.get(field) or ""
    if not isinstance(value, str):
        raise ValueError(f"{field} is no text")
    return value
