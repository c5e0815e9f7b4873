"""Counting tokens, and the shapes of small answers."""

import json

import httpx2
from google import genai
from google.genai import types

from providers.dialects.gemini.tokens import COUNTER
from providers.dialects.gemini.wire import model, model_list


def test_instructions_and_tools_are_counted_as_contents():
    body = {
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "systemInstruction": {"parts": [{"text": "Be kind."}]},
        "tools": [{"functionDeclarations": [{"name": "f"}]}],
        "generationConfig": {"topK": 1},
    }
    written = json.loads(COUNTER.write_body(json.dumps(body).encode()))
    assert list(written) == ["contents"]
    assert [content["parts"][0]["text"] for content in written["contents"]] == [
        '[{"functionDeclarations":[{"name":"f"}]}]',
        "Be kind.",
        "hi",
    ]


def test_a_count_is_written_and_read():
    assert COUNTER.write_answer(31) == b'{"totalTokens":31}'
    assert COUNTER.read(b'{"totalTokens": 31, "promptTokensDetails": []}') == 31
    assert COUNTER.read(b"[]") is None
    assert COUNTER.read(b'{"totalTokens": "many"}') is None


def test_models_are_as_google_genai_reads_them(http_client: httpx2.Client, upstream_answer: dict[str, object]):
    upstream_answer |= {"status_code": 200, "json": model_list(["fast", "smart"])}
    options = types.HttpOptions(base_url="http://g", httpx_client=http_client)
    listed = list(genai.Client(api_key="tg_x", http_options=options).models.list())
    assert [each.name for each in listed] == ["models/fast", "models/smart"]
    assert listed[0].supported_actions == ["generateContent", "countTokens"]
    assert model("fast") == model_list(["fast"])["models"][0]
