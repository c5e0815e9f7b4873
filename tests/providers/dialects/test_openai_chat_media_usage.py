"""Images, speech and transcriptions: pieces, characters and seconds, and tokens where models count them."""

import json
from decimal import Decimal
from typing import Any

import pytest

from providers.canonical.usage import NOTHING_REPORTED, Usage
from providers.dialects.openai_chat.media_usage import (
    image_event_usage,
    read_images,
    read_transcription,
    speech_usage,
    transcription_usage,
)

PICTURE = {"b64_json": "aGk="}
IMAGE_TOKENS = {
    "input_tokens": 50,
    "input_tokens_details": {"image_tokens": 40, "text_tokens": 10},
    "output_tokens": 4160,
    "total_tokens": 4210,
}
AUDIO_TOKENS = {
    "type": "tokens",
    "input_tokens": 14,
    "input_token_details": {"text_tokens": 0, "audio_tokens": 14},
    "output_tokens": 45,
    "total_tokens": 59,
}
NONSENSE = (None, -1, 1e300, float("nan"), float("inf"), "7", True, [], {}, {"a": None}, 10**40)


def body(answer: object) -> bytes:
    return json.dumps(answer).encode()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"created": 1, "data": [PICTURE, PICTURE]}, Usage(images=2)),  # DALL·E
        ({"created": 1, "data": [PICTURE], "usage": IMAGE_TOKENS}, Usage(images=1, input=50, output=4160)),
        ({"images": [{"url": "x"}], "timings": {"inference": 1.2}}, Usage(images=1)),  # SiliconFlow
        (
            {"data": [PICTURE], "usage": {"cost_in_usd_ticks": 200_000_000}},
            Usage(images=1, reported_cost=Decimal("0.02")),
        ),
        (
            {
                "data": [PICTURE],
                "usage": IMAGE_TOKENS,
                "svg_usage": {"input_tokens": 5, "output_tokens": 7, "reasoning_tokens": 3, "total_tokens": 12},
            },
            Usage(images=1, input=55, output=4167, reasoning=3),
        ),
        ({"data": []}, Usage(images=0)),
        ({"data": "x", "usage": [1]}, NOTHING_REPORTED),
        ([1], NOTHING_REPORTED),
    ],
)
def test_images_are_counted_with_the_tokens_that_are_reported(answer: Any, expected: Usage):
    assert read_images(body(answer)) == expected


def test_of_a_stream_of_images_the_whole_ones_count():
    assert image_event_usage({"type": "image_generation.partial_image", "usage": IMAGE_TOKENS}) == NOTHING_REPORTED
    done = {"type": "image_generation.completed", "b64_json": "", "usage": IMAGE_TOKENS}
    assert image_event_usage(done) == Usage(images=1, input=50, output=4160)
    assert image_event_usage({"type": "image_edit.completed"}) == Usage(images=1)


def test_speech_is_counted_in_characters_and_not_in_bytes():
    assert speech_usage("Grüße 🙂") == Usage(characters=7)
    assert speech_usage("") == Usage(characters=0)


def test_speech_has_tokens_where_the_stream_ends_with_them():
    usage = {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}
    assert speech_usage("hi", usage) == Usage(characters=2, input=14, output=101, audio_output=101)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"text": "hi", "usage": {"type": "duration", "seconds": 9}}, Usage(seconds=Decimal(9))),  # whisper-1
        ({"text": "hi", "usage": AUDIO_TOKENS}, Usage(input=14, audio_input=14, output=45)),  # gpt-4o-transcribe
        ({"type": "transcript.text.done", "usage": AUDIO_TOKENS}, Usage(input=14, audio_input=14, output=45)),
        ({"task": "transcribe", "duration": 8.47, "text": "hi"}, Usage(seconds=Decimal("8.47"))),  # Groq, verbose
        (
            {"text": "hi", "usage": {"prompt_audio_seconds": 203, "prompt_tokens": 4, "completion_tokens": 635}},
            Usage(seconds=Decimal(203), input=4, output=635),  # Mistral
        ),
        ({"text": "hi"}, NOTHING_REPORTED),  # SiliconFlow
    ],
)
def test_a_transcription_is_counted_in_seconds_or_in_tokens(answer: dict[str, Any], expected: Usage):
    assert read_transcription(body(answer)) == transcription_usage(answer) == expected


def test_a_transcription_as_plain_text_tells_nothing():
    assert read_transcription(b"Hello there.\n") == NOTHING_REPORTED


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_nonsense_is_not_reported(nonsense: Any):
    usage = {"input_tokens": nonsense, "output_tokens": nonsense, "seconds": nonsense, "cost": nonsense}
    assert transcription_usage({"usage": usage, "duration": nonsense}) == NOTHING_REPORTED
    assert transcription_usage({"usage": nonsense}) == NOTHING_REPORTED
    assert image_event_usage({"type": "image_generation.completed", "usage": usage}) == Usage(images=1)
    assert read_images(json.dumps({"data": [], "usage": usage}).encode()) == Usage(images=0)
    assert speech_usage("x", usage) == Usage(characters=1)
