"""What writing one request needs to know everywhere."""

from providers.canonical.identifiers import fit
from providers.canonical.losses import Losses, Weight
from providers.canonical.parts import Foreign, Media, Text, ToolCall, ToolResult
from providers.canonical.request import Request
from providers.canonical.seals import Seal, native_origin
from providers.canonical.tool_names import ToolNames
from providers.dialects.base import Destination
from providers.dialects.openai_responses.items import LIFETIMES
from providers.dialects.openai_responses.wire import NAME, TOOL_NAME, call_id_rule


class Writing:
    """A request on its way to an upstream, and what it loses."""

    __slots__ = ("_call_id", "destination", "is_own", "losses", "request", "tools")

    def __init__(self, request: Request, destination: Destination, losses: Losses) -> None:
        self.request = request
        self.destination = destination
        self.losses = losses
        self.is_own = request.native is not None and request.native.origin == NAME  # the client spoke this format
        self.tools = ToolNames(request.tools, TOOL_NAME, takes_custom=True, takes_namespaces=True)
        self._call_id = call_id_rule(destination.quirks.call_id_length)

    @property
    def takes_cache_marks(self) -> bool:
        """Whether the upstream knows the fields of explicit prompt caching."""
        return self.is_own or self.destination.quirks.takes_cache_marks

    @property
    def takes_cache_breakpoints(self) -> bool:
        """Whether the prompt may have cache marks in it: OpenAI's older models take a key only."""
        return self.takes_cache_marks and (self.is_own or self.destination.profile.takes_cache_breakpoints)

    def call_id(self, text: str, at: str) -> str:
        """Return the id of a tool call as the upstream takes it."""
        fitting = fit(text, self._call_id)
        if fitting != text:
            self.losses.cosmetic(at, "the upstream's ids are shorter")
        return fitting

    def takes_seal(self, seal: Seal) -> bool:
        """Whether the upstream minted a seal; what the client sent unpacked was minted for this format at least."""
        return seal.origin in (self.destination.origin, native_origin(NAME))

    def lose_foreign(self, part: Foreign) -> None:
        """Note a part that only another format knows."""
        note = {
            Weight.COSMETIC: self.losses.cosmetic,
            Weight.DEGRADES: self.losses.degrades,
            Weight.CHANGES_ANSWER: self.losses.changes_answer,
        }
        note[part.weight](part.at, part.why)

    def note_cache(self, part: Text | Media | ToolCall | ToolResult, *, is_marked: bool) -> None:
        """Note a cache breakpoint that is lost, or that lasts as long as the upstream likes."""
        if part.cache is None or self.is_own:
            return
        if not is_marked or not self.takes_cache_breakpoints:
            self.losses.cosmetic(f"{part.at}.cache", "the upstream's format has no cache breakpoint here")
        elif part.cache and part.cache not in LIFETIMES:
            self.losses.cosmetic(f"{part.at}.cache", "the upstream's cache has another lifetime")
