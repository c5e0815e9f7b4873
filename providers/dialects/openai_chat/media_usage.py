"""What OpenAI's endpoints for images and audio use: pieces, characters and seconds, and tokens where models count them.

https://platform.openai.com/docs/api-reference/images and /audio. No endpoint of the gateway serves these yet.
"""

from typing import Any

from providers.canonical.usage import NOTHING_REPORTED, Usage, add, at_most, count, seconds
from providers.dialects.fields import read_object
from providers.dialects.reports import details, reported_cost

MAX_IMAGES = 10_000  # in one answer


def read_images(body: bytes) -> Usage:
    """Read what an answer with images used: how many there are, and their tokens where the model counts in them."""
    answer = read_object(body)
    if answer is None:
        return NOTHING_REPORTED
    made = next((value for name in ("data", "images") if isinstance(value := answer.get(name), list)), None)
    usage, drawn = details(answer, "usage"), details(answer, "svg_usage")  # authoring SVG counts by itself
    return Usage(
        input=_added("input_tokens", usage, drawn),
        output=_added("output_tokens", usage, drawn),
        reasoning=_added("reasoning_tokens", drawn),
        images=None if made is None or len(made) > MAX_IMAGES else len(made),
        reported_cost=reported_cost(usage),
    )


def image_event_usage(event: dict[str, Any]) -> Usage:
    """Read what one event of a stream of images used; those of partial images use nothing of their own."""
    if event.get("type") not in ("image_generation.completed", "image_edit.completed"):
        return NOTHING_REPORTED
    usage = details(event, "usage")
    return Usage(input=count(usage.get("input_tokens")), output=count(usage.get("output_tokens")), images=1)


def speech_usage(text: str, usage: dict[str, Any] | None = None) -> Usage:
    """Return what speaking a text uses: its characters, and the tokens that the end of an event stream reports."""
    counted = usage or {}
    output = count(counted.get("output_tokens"))
    return Usage(
        input=count(counted.get("input_tokens")), output=output, audio_output=output or None, characters=len(text)
    )


def read_transcription(body: bytes) -> Usage:
    """Read what a transcription or a translation of audio used; nothing where it is plain text."""
    answer = read_object(body)
    return NOTHING_REPORTED if answer is None else transcription_usage(answer)


def transcription_usage(answer: dict[str, Any]) -> Usage:
    """Read what an answer, or the last event of a stream, used: seconds or tokens, as the model is sold."""
    usage = details(answer, "usage")
    heard = next((value for each in _durations(answer, usage) if (value := seconds(each))), None)
    whole = count(usage.get("input_tokens", usage.get("prompt_tokens")))
    audio = count(details(usage, "input_token_details").get("audio_tokens"))
    return Usage(
        input=whole,
        output=count(usage.get("output_tokens", usage.get("completion_tokens"))),
        audio_input=at_most(audio or None, whole),
        seconds=heard,
        reported_cost=reported_cost(usage),
    )


def _durations(answer: dict[str, Any], usage: dict[str, Any]) -> tuple[Any, ...]:
    """Return where the length of the audio may stand: OpenAI's, Mistral's, and that of the verbose format."""
    return usage.get("seconds"), usage.get("prompt_audio_seconds"), answer.get("duration")


def _added(name: str, *reports: dict[str, Any]) -> int | None:
    return count(add(*(count(report.get(name)) for report in reports)))
