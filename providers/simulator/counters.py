from collections import Counter, defaultdict
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Counters:
    """What reached the simulator; its own ``/_simulator`` paths leave no trace here."""

    requests: int = 0
    connections: int = 0
    open_connections: int = 0
    streams_started: int = 0
    streams_finished: int = 0
    disconnects: int = 0
    seals: int = 0  # sealed thoughts that came back as they were
    by_path: Counter[str] = field(default_factory=Counter)
    by_model: Counter[str] = field(default_factory=Counter)
    by_id: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # then by model

    def render(self) -> dict[str, object]:
        return {
            "requests": self.requests,
            "connections": self.connections,
            "open_connections": self.open_connections,
            "streams_started": self.streams_started,
            "streams_finished": self.streams_finished,
            "disconnects": self.disconnects,
            "seals": self.seals,
            "by_path": dict(self.by_path),
            "by_model": dict(self.by_model),
            "by_id": {name: dict(models) for name, models in self.by_id.items()},
        }

    def reset(self) -> None:
        """Start again from zero; open connections stay counted, because they are still open."""
        self.requests = self.connections = self.disconnects = self.seals = 0
        self.streams_started = self.streams_finished = 0
        self.by_path.clear()
        self.by_model.clear()
        self.by_id.clear()
