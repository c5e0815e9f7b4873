"""Images and speech: small, and real files all the same."""

import base64
import io
import wave

import openai
import pytest
from simulator_client import CHAT_HEADERS


def size_of(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return int.from_bytes(png[16:20]), int.from_bytes(png[20:24])


async def test_it_draws_for_the_sdk(openai_client):
    reply = await openai_client.images.generate(model="sim-image", prompt="a dot", n=2, size="256x256")
    pictures = [base64.b64decode(each.b64_json) for each in reply.data]
    assert [size_of(picture) for picture in pictures] == [(256, 256)] * 2
    assert all(len(picture) < 1000 for picture in pictures)
    assert reply.usage.total_tokens == 4


async def test_a_picture_can_be_an_address(openai_client):
    reply = await openai_client.images.generate(model="sim-image", prompt="a dot", response_format="url")
    assert reply.data[0].url.startswith("data:image/png;base64,")


async def test_it_speaks_for_the_sdk(openai_client):
    reply = await openai_client.audio.speech.create(
        model="sim-speech", voice="alloy", input="two words", response_format="wav"
    )
    with wave.open(io.BytesIO(reply.content)) as sound:
        assert (sound.getframerate(), sound.getnframes()) == (24_000, 12_000)
    assert reply.response.headers["content-type"] == "audio/wav"


async def test_it_speaks_mp3_unless_told_otherwise(send):
    reply = await send("/v1/audio/speech", {"model": "sim-speech", "voice": "alloy", "input": "one"}, CHAT_HEADERS)
    assert reply.headers["content-type"] == "audio/mpeg"
    assert reply.body.startswith(b"\xff\xf3")
    assert len(reply.body) == 11 * 96  # frames of 24 ms for a quarter of a second


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/images/generations", {}),
        ("/v1/images/generations", {"prompt": ""}),
        ("/v1/images/generations", {"prompt": "a dot", "n": 0}),
        ("/v1/images/generations", {"prompt": "a dot", "size": "7x7"}),
        ("/v1/images/generations", {"prompt": "a dot", "response_format": "jpeg"}),
        ("/v1/audio/speech", {"voice": "alloy"}),
        ("/v1/audio/speech", {"input": "one"}),
        ("/v1/audio/speech", {"input": "one", "voice": "nobody"}),
        ("/v1/audio/speech", {"input": "x" * 4097, "voice": "alloy"}),
        ("/v1/audio/speech", {"input": "one", "voice": "alloy", "response_format": "flac"}),
    ],
    ids=str,
)
async def test_it_refuses_what_is_malformed(send, path, fields):
    reply = await send(path, {"model": "sim-fast", **fields}, CHAT_HEADERS)
    assert reply.status == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"


async def test_faults_are_told_in_json(openai_client):
    with pytest.raises(openai.RateLimitError):
        await openai_client.images.generate(model="sim-image", prompt="a dot [[status=429]]")
    with pytest.raises(openai.InternalServerError):
        await openai_client.audio.speech.create(model="sim-down", voice="alloy", input="one")
