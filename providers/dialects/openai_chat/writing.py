"""What all that writes a request has at hand."""

from providers.canonical.identifiers import Rule, fit
from providers.canonical.losses import Losses, Native, Weight
from providers.canonical.parts import Foreign, Text
from providers.canonical.request import Request
from providers.canonical.seals import Seal, native_origin
from providers.canonical.tool_names import ToolNames
from providers.dialects.base import Destination
from providers.dialects.openai_chat.wire import CALL_IDS, NAME, TOOL_NAMES


class Writing:
    """A request on its way to one upstream, and what it loses."""

    __slots__ = ("call_ids", "is_own", "losses", "request", "to", "tools")

    def __init__(self, request: Request, to: Destination, losses: Losses) -> None:
        self.request = request
        self.to = to
        self.losses = losses
        self.is_own = request.native is not None and request.native.origin == NAME
        self.tools = ToolNames(request.tools, TOOL_NAMES, takes_custom=self.is_own, takes_namespaces=False)
        self.call_ids = Rule(allowed=CALL_IDS, max_length=to.quirks.call_id_length)

    @property
    def takes_system_turns(self) -> bool:
        """Whether instructions may stand in mid-conversation; a client of this very format knows what its model takes."""
        return self.to.profile.takes_system_turns and (self.is_own or self.to.quirks.takes_system_turns)

    @property
    def takes_cache_breakpoints(self) -> bool:
        """Whether the prompt may have cache marks in it."""
        return self.to.quirks.takes_cache_marks and (self.is_own or self.to.profile.takes_cache_breakpoints)

    def lose(self, path: str, weight: Weight, why: str) -> None:
        """Note a loss whose weight is a value."""
        match weight:
            case Weight.COSMETIC:
                self.losses.cosmetic(path, why)
            case Weight.DEGRADES:
                self.losses.degrades(path, why)
            case Weight.CHANGES_ANSWER:
                self.losses.changes_answer(path, why)

    def lose_native(self, native: Native | None, at: str) -> None:
        """Note what another dialect alone knows."""
        self.losses.native(native, at, NAME)

    def lose_foreign(self, part: Foreign) -> None:
        """Note a part that another dialect alone knows."""
        self.lose(part.at, part.weight, part.why)

    def lose_cache(self, at: str, why: str = "the upstream's format has no cache mark here") -> None:
        """Note a cache mark that cannot be made."""
        self.losses.cosmetic(f"{at}.{self.request.where('cache')}", why)

    def lose_seal(self, at: str) -> None:
        """Note opaque state that is another model's."""
        self.losses.degrades(f"{at}.{self.request.where('seal')}", "it goes back only to the model that made it")

    def lose_citations(self, text: Text) -> None:
        """Note the sources of an earlier answer."""
        if text.citations:
            why = "the upstream's format has no sources in earlier answers"
            self.losses.cosmetic(f"{text.at}.{self.request.where('citations')}", why)

    def takes_seal(self, seal: Seal) -> bool:
        """Whether this upstream made a seal, or a client that speaks its very dialect says so."""
        return seal.origin in (self.to.origin, native_origin(NAME))

    def call_id(self, call_id: str) -> str:
        """Return a call's id as the upstream takes it."""
        return fit(call_id, self.call_ids)
