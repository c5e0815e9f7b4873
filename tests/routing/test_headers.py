"""What goes up to an upstream and what comes down to the client: open lists, and never a credential."""

from types import SimpleNamespace

import pytest

from providers.canonical.inbound import Facts, Inbound, Operation
from providers.canonical.losses import Loss, Weight
from providers.dialects.openai_chat import OPENAI_CHAT
from providers.dialects.openai_chat.wire import CHAT
from providers.registry import DIALECTS
from providers.wire.splice import read_members
from routing import headers as headers_module
from routing.headers import (
    ACCOUNT_HEADERS,
    answer_headers,
    forwardable,
    losses_header,
    retry_headers,
    translated_headers,
    upstream_headers,
    upstream_query,
)
from routing.snapshot import LiveDeployment


def up(deployment: LiveDeployment, *headers: tuple[bytes, bytes], is_stream: bool = False) -> list[tuple[str, str]]:
    inbound = Inbound(
        operation=CHAT,
        members=read_members(b"{}"),
        facts=Facts(model="m", size=2, is_stream=is_stream),
        headers=forwardable(headers),
    )
    return [
        (name.lower(), value) for name, value in upstream_headers(inbound, deployment, DIALECTS[deployment.dialects[0]])
    ]


@pytest.mark.parametrize(
    "header",
    [
        (b"anthropic-beta", b"a,b"),
        (b"anthropic-version", b"2023-06-01"),
        (b"anthropic-what-comes-next", b"1"),
        (b"openai-beta", b"assistants=v2"),
        (b"x-claude-code-session-id", b"s"),
        (b"x-codex-turn", b"1"),
    ],
)
def test_what_vendors_add_under_their_prefix_goes_up(make_deployment, header: tuple[bytes, bytes]):
    name, value = header
    assert (name.decode(), value.decode()) in up(make_deployment(), header)


@pytest.mark.parametrize(
    "name",
    [
        *("authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie", "proxy-authorization", "host"),
        *("openai-organization", "openai-project", "anthropic-workspace-id", "anthropic-organization-id"),
        *("connection", "transfer-encoding", "content-length", "te", "upgrade", "keep-alive", "accept-encoding"),
        *("x-forwarded-for", "cf-connecting-ip", "x-stainless-lang", "user-agent", "x-request-id", "x-user-id"),
    ],
)
def test_credentials_accounts_and_hop_by_hop_headers_stay_here(make_deployment, name: str):
    assert "of-the-client" not in dict(up(make_deployment(), (name.encode(), b"of-the-client"))).values()


@pytest.mark.parametrize("value", [b"a\r\nx-evil: 1", b"a\nb", b"a\x00b", b"\x7f", "é".encode(), b"\xff"])
def test_values_that_cannot_be_sent_on_stay_here(value: bytes):
    assert forwardable([(b"anthropic-beta", value)]) == ()


def test_the_upstream_gets_the_gateways_own_headers(make_deployment):
    deployment = make_deployment(provider={"headers": {"x-team": "blue"}})
    sent = up(deployment)
    assert len(sent) == len(dict(sent))
    assert dict(sent) == {
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "tollgate",
        "authorization": "Bearer sk-ours",
        "x-team": "blue",
    }
    assert dict(up(deployment, is_stream=True))["accept"] == "text/event-stream"


def test_what_the_client_sends_comes_before_an_adapters_default(make_deployment):
    deployment = make_deployment(provider={"adapter": "anthropic", "dialects": ("anthropic_messages",)})
    versions = [value for name, value in up(deployment) if name == "anthropic-version"]
    assert versions == ["2023-06-01"]
    sent = up(deployment, (b"anthropic-version", b"2099-01-01"))
    assert [value for name, value in sent if name == "anthropic-version"] == ["2099-01-01"]


def test_repeated_headers_stay_repeated(make_deployment):
    sent = up(make_deployment(), (b"anthropic-beta", b"a"), (b"anthropic-beta", b"b"))
    assert [value for name, value in sent if name == "anthropic-beta"] == ["a", "b"]


ANSWER = SimpleNamespace(
    headers=(
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"anthropic-ratelimit-requests-remaining", b"5"),
        (b"openai-processing-ms", b"12"),
        (b"openai-organization", b"org-ours"),
        (b"anthropic-organization-id", b"org-ours"),
        (b"set-cookie", b"session=ours"),
        (b"server", b"nginx"),
        (b"content-length", b"99"),
        (b"content-encoding", b"gzip"),
        (b"transfer-encoding", b"chunked"),
        (b"connection", b"close"),
        (b"x-request-id", b"theirs"),
        (b"retry-after", b"3"),
        (b"retry-after-ms", b"2500"),
        (b"x-should-retry", b"true"),
    )
)


def test_an_answer_comes_with_ours_and_the_open_ones():
    assert answer_headers(ANSWER, ((b"x-tollgate-route", b"r"),)) == [
        (b"x-tollgate-route", b"r"),
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"anthropic-ratelimit-requests-remaining", b"5"),
        (b"openai-processing-ms", b"12"),
    ]


@pytest.mark.parametrize("value", [b"a\x01b", b"a\r\nx-evil: 1", b"a\x00", b"\x7f", "é".encode()])
def test_an_open_header_that_no_answer_may_hold_is_left_out(value: bytes):
    upstream = SimpleNamespace(headers=((b"openai-odd", value), (b"openai-fine", b"1")))
    assert answer_headers(upstream, ()) == [(b"openai-fine", b"1")]


def test_a_callers_own_limits_stand_in_the_place_of_ours_at_the_upstream():
    ours = ((b"anthropic-ratelimit-requests-remaining", b"3"), (b"x-tollgate-route", b"r"))
    upstream = SimpleNamespace(headers=(*ANSWER.headers, (b"anthropic-ratelimit-input-tokens-limit", b"9")))
    found = answer_headers(upstream, ours)
    assert [value for name, value in found if name == b"anthropic-ratelimit-requests-remaining"] == [b"3"]
    assert (b"anthropic-ratelimit-input-tokens-limit", b"9") in found


def test_what_an_upstream_says_twice_goes_on_twice():
    upstream = SimpleNamespace(headers=((b"openai-a", b"1"), (b"x-b", b"2"), (b"openai-a", b"3")))
    for _ in range(2):  # the second time its names are known
        assert answer_headers(upstream, ()) == [(b"openai-a", b"1"), (b"openai-a", b"3")]


@pytest.mark.parametrize("most", [0, 2, 100])
def test_names_that_are_not_remembered_are_judged_all_the_same(monkeypatch: pytest.MonkeyPatch, most: int):
    names = [b"%b-%d" % (prefix, number) for number in range(10) for prefix in (b"openai", b"x", b"anthropic")]
    names += ACCOUNT_HEADERS
    monkeypatch.setattr(headers_module, "_passing", passing := set())
    monkeypatch.setattr(headers_module, "_stopped", stopped := {b"content-type"})
    monkeypatch.setattr(headers_module, "MOST_NAMES", most)
    upstream = SimpleNamespace(headers=[(name, b"1") for name in names])
    for _ in range(2):
        assert {name for name, _ in answer_headers(upstream, ())} == {name for name in names[:30] if name[:1] in b"oa"}
    assert len(passing) == min(most, 20)
    assert len(stopped) == max(1, min(most, 1 + 10 + len(ACCOUNT_HEADERS)))


def test_an_answer_that_has_become_another_says_what_it_is():
    assert dict(answer_headers(ANSWER, (), b"application/json"))[b"content-type"] == b"application/json"


def test_a_client_of_another_dialect_gets_none_of_the_upstreams_headers():
    fixed = ((b"x-tollgate-route", b"r"),)
    assert translated_headers(fixed, b"text/event-stream") == [*fixed, (b"content-type", b"text/event-stream")]


def test_a_clients_headers_do_not_go_up_with_a_translation(make_deployment):
    inbound = Inbound(
        operation=CHAT,
        members=read_members(b"{}"),
        facts=Facts(model="m", size=2),
        headers=forwardable([(b"anthropic-beta", b"a"), (b"x-claude-code-session-id", b"s")]),
    )
    names = {name.lower() for name, _ in upstream_headers(inbound, make_deployment(), OPENAI_CHAT, is_translated=True)}
    assert not names & {"anthropic-beta", "x-claude-code-session-id"}


@pytest.mark.parametrize(
    ("operation_query", "sent", "query"),
    [
        ("", b"", ""),
        ("", b"beta=true", "beta=true"),
        ("alt=sse", b"", "alt=sse"),
        ("alt=sse", b"key=tg_secret&alt=json&x=1", "x=1&alt=sse"),
        ("alt=sse", b"%6Bey=tg_secret&k%65y=tg_secret&%61lt=json&$alt=json", "alt=sse"),
        ("", b"fields=candidates&%24fields=candidates&beta=true", "beta=true"),
    ],
)
def test_neither_the_clients_key_nor_how_to_answer_goes_up_in_the_query(operation_query: str, sent: bytes, query: str):
    operation = Operation(name="chat", dialect="d", kind="chat", path="/", query=operation_query)
    assert upstream_query(operation, sent) == query


def test_losses_are_named_the_heaviest_first_and_as_plain_text():
    losses = [
        Loss("tools[0].name", Weight.COSMETIC, "a"),
        Loss("top_k", Weight.DEGRADES, "b"),
        Loss("metadata.\r\nx-evil: é", Weight.COSMETIC, "c"),
    ]
    assert losses_header(losses) == (
        (b"x-tollgate-losses", b"top_k;degrades, tools[0].name;cosmetic, metadata.??x-evil:??;cosmetic"),
    )
    assert losses_header([]) == ()
    many = [Loss(f"f{number}", Weight.COSMETIC, "w") for number in range(25)]
    assert losses_header(many)[0][1].endswith(b"f19;cosmetic, and 5 more")


def test_an_error_says_in_seconds_what_its_body_said():
    silent = SimpleNamespace(headers=())
    assert retry_headers(silent, 6.2) == [(b"retry-after", b"7")]
    assert retry_headers(ANSWER, 6.2) == retry_headers(ANSWER)


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 1e300])
def test_a_time_to_wait_that_nobody_means_is_not_said(seconds: float):
    assert retry_headers(SimpleNamespace(headers=()), seconds) == []


def test_an_error_says_when_to_try_again():
    assert retry_headers(ANSWER) == [(b"retry-after", b"3"), (b"retry-after-ms", b"2500"), (b"x-should-retry", b"true")]
