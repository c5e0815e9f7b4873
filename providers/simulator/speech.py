"""Speech: https://platform.openai.com/docs/api-reference/audio/createSpeech

What is heard is silence, a quarter of a second for each word: real sound files that any player opens.
"""

import struct
from dataclasses import dataclass

from providers.simulator.ask import Ask, count_words
from providers.simulator.endpoint import Endpoint, json_object
from providers.simulator.envelopes import OPENAI
from providers.simulator.openai_checks import check_numbers, require, require_fields, require_short, require_value
from providers.simulator.requests import Request
from providers.simulator.turn import Turn

MOST_CHARACTERS = 4096
VOICES = (
    "alloy",
    "ash",
    "ballad",
    "cedar",
    "coral",
    "echo",
    "fable",
    "marin",
    "nova",
    "onyx",
    "sage",
    "shimmer",
    "verse",
)
TYPES = {
    "mp3": b"content-type: audio/mpeg",
    "wav": b"content-type: audio/wav",
    "pcm": b"content-type: audio/pcm",
}
RATE = 24_000  # samples a second, of two bytes
SAMPLES_PER_WORD = RATE // 4

# A frame of MPEG 2, layer III at 32 kbit/s, mono: 24 ms. With nothing in its side information it is silent.
MP3_HEAD = b"\xff\xf3\x44\xc4"
MP3_FRAME_BYTES = 96
MP3_FRAME_SAMPLES = 576


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechAsk(Ask):
    format: str


def read(request: Request) -> SpeechAsk:
    body = json_object(request)
    require_fields(body, ("model", "input", "voice"))
    for field in ("model", "input"):
        require(isinstance(body[field], str) and body[field] != "", field, "a string")
    require_short(body["input"], MOST_CHARACTERS, "input")
    require_value(body["voice"], VOICES, "voice")
    check_numbers(body, {}, {"speed": (0, 4)})
    wanted = body.get("response_format") or "mp3"
    require_value(wanted, TYPES, "response_format")
    return SpeechAsk(model=body["model"], text=body["input"], input_tokens=count_words([body["input"]]), format=wanted)


def whole(ask: SpeechAsk, turn: Turn) -> bytes:
    samples = ask.input_tokens * SAMPLES_PER_WORD
    if ask.format == "mp3":
        frame = MP3_HEAD.ljust(MP3_FRAME_BYTES, b"\0")
        return frame * -(-samples // MP3_FRAME_SAMPLES)
    sound = bytes(2 * samples)
    return sound if ask.format == "pcm" else _wav_head(len(sound)) + sound


def content_type(ask: SpeechAsk) -> bytes:
    return TYPES[ask.format]


def _wav_head(size: int) -> bytes:
    """One channel of 16-bit samples."""
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16, b"data", size
    )


SPEECH = Endpoint(method="POST", envelope=OPENAI, read=read, whole=whole, type_of=content_type)
