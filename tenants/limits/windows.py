"""Times of rate limits. Pure."""

WINDOW_MS = {"second": 1_000, "minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
SLOTS = 20  # that a window is counted in, as in reserve.lua and settle.lua


def window_name(window_ms: int) -> str:
    """Return minute for 60,000 and so on; what has no name, in seconds."""
    names = (name for name, length in WINDOW_MS.items() if length == window_ms)
    return next(names, f"{window_ms / 1000:g} s")
