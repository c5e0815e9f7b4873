"""What the gateway needs to know of a request before it is sent on."""

import pytest

from providers.dialects.gemini.facts import passthrough_edits, read_facts
from providers.dialects.gemini.wire import CHAT, COUNT_TOKENS, OPERATIONS, STREAM
from providers.wire.splice import read_members
from tenants.errors import InvalidRequest

BODY = b'{"contents":[{"parts":[{"text":"hi"}]}]}'


def test_the_model_is_left_to_whoever_reads_the_path():
    facts = read_facts(read_members(BODY), CHAT)
    assert (facts.model, facts.size, facts.is_stream) == ("", len(BODY), False)


def test_the_operation_tells_whether_it_is_a_stream():
    assert read_facts(read_members(BODY), STREAM).is_stream
    assert (STREAM.query, CHAT.query) == ("alt=sse", "")
    assert {operation.path.rpartition(":")[2] for operation in OPERATIONS.values()} == {
        "generateContent",
        "streamGenerateContent",
        "countTokens",
    }


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        (b'"generationConfig":{"maxOutputTokens":64}', 64),
        (b'"generation_config":{"max_output_tokens":64.0}', 64),
        (b'"generationConfig":{"max_output_tokens":8}', 8),
        (b'"generationConfig":{}', None),
        (b'"generationConfig":null', None),
        (b'"generationConfig":{"maxOutputTokens":"many"}', None),
        (b'"labels":{}', None),
    ],
)
def test_the_limit_is_read_in_either_spelling(config: bytes, limit: int | None):
    body = b'{"contents":[],' + config + b"}"
    assert read_facts(read_members(body), CHAT).max_output_tokens == limit


@pytest.mark.parametrize(
    ("members", "needs"),
    [
        (b'"contents":[{"parts":[{"text":"hi"}]}]', set()),
        (b'"contents":[],"tools":[{}]', {"tools"}),
        (b'"contents":[],"tools":[]', set()),
        (b'"contents":[],"generationConfig":{"thinkingConfig":{"thinkingLevel":"low"}}', {"thinking"}),
        (b'"contents":[],"generation_config":{"thinking_config":{"thinking_budget":-1}}', {"thinking"}),
        (b'"contents":[],"generationConfig":{"thinkingConfig":{"thinkingBudget":0}}', set()),
        (b'"contents":[],"generationConfig":{"thinkingConfig":null}', set()),
        (b'"contents":[],"generationConfig":{"responseMimeType":"application/json"}', set()),
        (b'"contents":[{"parts":[{"inlineData":{"mimeType":"image/png","data":"eA=="}}]}]', {"images"}),
        (b'"contents":[{"parts":[{"inline_data":{"mime_type" : "audio/wav","data":"eA=="}}]}]', {"audio"}),
        (b'"contents":[{"parts":[{"fileData":{"mimeType":"application/pdf","fileUri":"x"}}]}]', {"documents"}),
        (b'"contents":[{"parts":[{"inlineData":{"mimeType":"text/plain","data":"eA=="}}]}]', set()),
        (b'"contents":[{"parts":[{"text":"{\\"mimeType\\":\\"image/png\\"}"}]}]', set()),
        (b'"contents":[{"parts":[{"text":"image/png"},{"text":"mimeType"}]}]', set()),
    ],
)
def test_what_a_model_must_be_able_to_do_is_known(members: bytes, needs: set[str]):
    assert read_facts(read_members(b"{" + members + b"}"), CHAT).needs == needs


@pytest.mark.parametrize("body", [b"{}", b'{"contents":"hi"}', b'{"contents":null}'])
def test_without_contents_it_is_refused(body: bytes):
    with pytest.raises(InvalidRequest) as refusal:
        read_facts(read_members(body), CHAT)
    assert refusal.value.param == "contents"


def test_tokens_of_a_whole_request_can_be_counted():
    body = b'{"generateContentRequest":{"model":"models/m","contents":[]}}'
    assert read_facts(read_members(body), COUNT_TOKENS).size == len(body)
    with pytest.raises(InvalidRequest):
        read_facts(read_members(body), CHAT)


def test_a_body_that_is_passed_through_is_not_edited():
    members = read_members(BODY)
    assert passthrough_edits(members, read_facts(members, CHAT), "gemini-3-pro", True) == {}
