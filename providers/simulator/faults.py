"""What goes wrong in a stream, on frames, before they have a time or a packet."""

from providers.simulator.behaviour import Behaviour
from providers.simulator.envelopes import ApiError, Envelope
from providers.simulator.frames import Frame, Kind


def injure(frames: list[Frame], behaviour: Behaviour, envelope: Envelope) -> list[Frame]:
    """The frames as the behaviour's faults leave them."""
    if behaviour.no_done:
        frames = [frame for frame in frames if frame.kind is not Kind.TERMINAL]
    if behaviour.malformed is not None:
        position = _after(frames, behaviour.malformed)
        frames = [*frames[:position], envelope.malformed, *frames[position:]]
    if behaviour.error_event is not None:
        # At 0 it is the very first event: some providers answer 200 and then say that they are overloaded.
        position = _after(frames, behaviour.error_event) if behaviour.error_event else 0
        frames = [*frames[:position], envelope.error_frame(_error(behaviour), frames[:position])]
    if behaviour.failed is not None:
        before = frames[: _after(frames, behaviour.failed)]
        frames = [*before, envelope.error_frame(_error(behaviour), before, is_failure=True)]
    if behaviour.ends_after is not None:
        frames = frames[: _after(frames, behaviour.ends_after)]
    return frames


def _error(behaviour: Behaviour) -> ApiError:
    return ApiError(behaviour.status or 529, code=behaviour.code)


def _after(frames: list[Frame], count: int) -> int:
    """The position after `count` content frames: at 0 before the first one, at the end if there are fewer."""
    seen = 0
    for position, frame in enumerate(frames):
        if frame.kind is Kind.CONTENT:
            if seen == count:
                return position
            seen += 1
            if seen == count:
                return position + 1
    return len(frames)
