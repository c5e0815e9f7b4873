"""Whose turn it is: a bounded queue with classes of priority, fair among tenants. Pure.

A higher class always comes before a lower one. Inside a class tenants take turns, one entry each, however many a tenant
has waiting; a tenant's own entries keep their order. When the queue is full, whoever comes is refused, unless a lower
class waits or another tenant of the same class has more entries than it: then the newest entry of the tenant with the
most entries in the lowest class makes room. So no tenant can fill the queue against the others.
"""

from typing import Final

from tenants.errors import InvalidRequest

LOW, NORMAL, HIGH = 0, 1, 2
PRIORITIES: Final = {b"low": LOW, b"normal": NORMAL, b"high": HIGH}
PRIORITY_HEADER = "x-tollgate-priority"


def effective_priority(key_priority: int, header: bytes | None) -> int:
    """Return a request's priority: its key's, or the lower one that its header asks for.

    Raises InvalidRequest, naming the header, for a value that is none.
    """
    if header is None:
        return key_priority
    asked = PRIORITIES.get(header.strip().lower())
    if asked is None:
        raise InvalidRequest(
            f"The header {PRIORITY_HEADER} is low, normal or high, not {header.decode('latin-1')!r:.40}.",
            param=PRIORITY_HEADER,
        )
    return min(key_priority, asked)


class QueueFull(Exception):
    """There is no room for another entry."""


class Entry[T]:
    """Something that waits."""

    __slots__ = ("item", "priority", "tenant")

    def __init__(self, item: T, tenant: str, priority: int) -> None:
        self.item = item
        self.tenant = tenant
        self.priority = priority


type _Line[T] = dict[Entry[T], None]  # of one tenant, oldest first; a dictionary because anybody may leave


class FairQueue[T]:
    """Entries in the order of their turns; `size` may be changed at any time and throws nobody out."""

    __slots__ = ("_classes", "_length", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._length = 0
        # For each class, the tenants in the order of their turns.
        self._classes: tuple[dict[str, _Line[T]], ...] = ({}, {}, {})

    def __len__(self) -> int:
        return self._length

    def push(self, item: T, *, tenant: str, priority: int) -> tuple[Entry[T], Entry[T] | None]:
        """Add an entry; return it, and the one that had to make room for it, if any.

        Raises QueueFull when nobody has to.
        """
        displaced = None
        if self._length >= self.size:
            displaced = self._greediest(tenant, priority)
            if displaced is None:
                raise QueueFull
            self.remove(displaced)
        entry = Entry(item, tenant, priority)
        self._classes[priority].setdefault(tenant, {})[entry] = None
        self._length += 1
        return entry, displaced

    def first(self) -> Entry[T] | None:
        """Return whose turn it is; None when nobody waits."""
        if not self._length:
            return None
        for lines in reversed(self._classes):
            for line in lines.values():
                return next(iter(line))
        return None

    def take(self, entry: Entry[T]) -> None:
        """Let an entry have its turn: its tenant's next one comes after everybody else's."""
        self.remove(entry)
        lines = self._classes[entry.priority]
        line = lines.pop(entry.tenant, None)
        if line is not None:
            lines[entry.tenant] = line

    def remove(self, entry: Entry[T]) -> bool:
        """Let an entry leave without a turn; False when it is not there any more."""
        lines = self._classes[entry.priority]
        line = lines.get(entry.tenant)
        if line is None or entry not in line:
            return False
        del line[entry]
        if not line:
            del lines[entry.tenant]
        self._length -= 1
        return True

    def position(self, entry: Entry[T]) -> int:
        """Return how many come before an entry that waits."""
        line = self._classes[entry.priority][entry.tenant]
        return self._ahead(entry.tenant, entry.priority, own=list(line).index(entry))

    def position_of_next(self, *, tenant: str, priority: int) -> int:
        """Return how many would come before another entry."""
        return self._ahead(tenant, priority, own=len(self._classes[priority].get(tenant, ())))

    def lengths(self) -> tuple[int, int, int]:
        """Return how many wait of each class: low, normal, high."""
        low, normal, high = (sum(len(line) for line in lines.values()) for lines in self._classes)
        return low, normal, high

    def tenants(self) -> int:
        """Return how many tenants wait."""
        return len({tenant for lines in self._classes for tenant in lines})

    def _ahead(self, tenant: str, priority: int, *, own: int) -> int:
        """Count what comes before the entry that has `own` entries of its tenant and class before it."""
        ahead = sum(len(line) for lines in self._classes[priority + 1 :] for line in lines.values())
        is_before = True  # tenants whose turn comes first have one more
        for other, line in self._classes[priority].items():
            if other == tenant:
                ahead += own
                is_before = False
            else:
                ahead += min(len(line), own + is_before)
        return ahead

    def _greediest(self, tenant: str, priority: int) -> Entry[T] | None:
        """Return the entry that makes room for a new one; None when the new one is the one to refuse."""
        for other_priority, lines in enumerate(self._classes[: priority + 1]):
            if not lines:
                continue
            most, line = max(lines.items(), key=lambda pair: len(pair[1]))
            own = len(lines.get(tenant, ()))
            if other_priority < priority or (most != tenant and len(line) > own + 1):
                return next(reversed(line))
        return None
