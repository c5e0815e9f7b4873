"""Cache marks, thinking, sampling and the rest as an upstream of Messages gets them."""

from typing import Any

import msgspec
import pytest

from providers.adapters.quirks import Quirks
from providers.canonical.losses import Weight
from providers.canonical.parts import Text
from providers.canonical.request import Reasoning, ResponseFormat
from providers.profiles import PERMISSIVE, Profile, named_profile
from tests.providers.dialects.anthropic_messages_sending import CALL, HELLO, RESULT, TOOL, assistant, send, user

# Cache marks


def test_edge_79_the_last_four_marks_are_kept():
    tools = (msgspec.structs.replace(TOOL, cache="5m"),)
    parts = [Text(text=str(i), cache="", at=f"p{i}") for i in range(4)]
    sent = send(*parts, tools=tools, system=(Text(text="s", cache="1h", at="system"),))
    assert "cache_control" not in sent.body["tools"][0]
    assert sent.body["system"] == "s" or "cache_control" not in sent.body["system"][0]
    assert [block["cache_control"] for block in sent.content] == [{"type": "ephemeral"}] * 4
    assert sent.losses == {"tools[0].cache": Weight.COSMETIC, "system.cache": Weight.COSMETIC}


@pytest.mark.parametrize(("cache", "ttl"), [("30m", "1h"), ("12h", "1h"), ("1m", "5m")])
def test_edge_79_lifetimes_are_the_nearest_that_there_are(cache: str, ttl: str):
    sent = send(Text(text="x", cache=cache, at="p"))
    assert sent.content[0]["cache_control"] == {"type": "ephemeral", "ttl": ttl}
    assert sent.losses == {"p.cache": Weight.COSMETIC}


def test_edge_79_no_mark_lasts_longer_than_one_before_it():
    sent = send(
        Text(text="x", cache="", at="p"), Text(text="y", cache="1h", at="q"), Text(text="z", cache="5m", at="r")
    )
    assert [block["cache_control"].get("ttl") for block in sent.content] == ["1h", "1h", "5m"]
    assert sent.losses == {"p.cache": Weight.COSMETIC}


def test_edge_79_an_upstream_without_cache_marks_gets_none():
    sent = send(Text(text="x", cache="1h", at="p"), quirks=Quirks(takes_cache_marks=False))
    assert sent.content == "x"
    assert sent.losses == {"p.cache": Weight.COSMETIC}


# Thinking, sampling and the rest


@pytest.mark.parametrize(
    ("reasoning", "profile", "thinking", "effort"),
    [
        (Reasoning(effort="high"), PERMISSIVE, {"type": "adaptive", "display": "summarized"}, "high"),
        (Reasoning(effort="minimal"), PERMISSIVE, {"type": "adaptive", "display": "summarized"}, "low"),
        (Reasoning(effort="high", shows=False), PERMISSIVE, {"type": "adaptive", "display": "omitted"}, "high"),
        (Reasoning(shows=True), PERMISSIVE, {"type": "adaptive", "display": "summarized"}, None),
        (Reasoning(shows=False), PERMISSIVE, None, None),
        (Reasoning(budget=5000), PERMISSIVE, {"type": "enabled", "budget_tokens": 5000}, None),
        (Reasoning(budget=5000), "claude-opus-5", {"type": "adaptive", "display": "summarized"}, "medium"),
        (Reasoning(effort="medium"), "claude-sonnet-4-5", {"type": "enabled", "budget_tokens": 8192}, None),
        (Reasoning(effort="none"), "claude-sonnet-4-5", {"type": "disabled"}, None),
        (Reasoning(effort="none"), "claude-sonnet-5-5", {"type": "between_tools"}, None),
        (Reasoning(effort="none"), "claude-fable-5", {"type": "adaptive"}, "low"),
        (Reasoning(budget=0), PERMISSIVE, {"type": "disabled"}, None),
    ],
)
def test_edge_98_thinking_is_asked_for_in_the_models_own_way_and_shown(
    reasoning: Reasoning, profile: Profile | str, thinking: Any, effort: str | None
):
    known = profile if isinstance(profile, Profile) else named_profile(profile)
    sent = send(reasoning=reasoning, profile=known, sampling={"max_output_tokens": 20_000})
    assert sent.body.get("thinking") == thinking
    assert sent.body.get("output_config", {}).get("effort") == effort


@pytest.mark.parametrize(("tokens", "budget"), [(4000, 3999), (1025, 1024)])
def test_edge_75_a_budget_is_less_than_all_tokens(tokens: int, budget: int):
    sent = send(reasoning=Reasoning(budget=10_000), sampling={"max_output_tokens": tokens})
    assert sent.body["thinking"]["budget_tokens"] == budget
    assert sent.losses == {"reasoning": Weight.COSMETIC}


def test_edge_75_too_few_tokens_leave_none_for_thinking():
    sent = send(reasoning=Reasoning(effort="high"), profile=named_profile("claude-sonnet-4-5"))
    assert "thinking" not in sent.body
    assert sent.losses == {"reasoning": Weight.DEGRADES}


def test_a_loop_of_calls_that_began_without_thinking_goes_on_without():
    turns = (HELLO, assistant(CALL), user(RESULT))
    sent = send(
        turns=turns,
        tools=(TOOL,),
        reasoning=Reasoning(effort="low"),
        profile=named_profile("claude-sonnet-4-5"),
        sampling={"max_output_tokens": 9000},
    )
    assert "thinking" not in sent.body
    assert sent.losses == {"reasoning": Weight.DEGRADES}


def test_sampling_goes_through_and_zero_is_a_number():
    sampling = {"temperature": 0, "top_p": 0.0, "top_k": 5, "stop": ("END",)}
    sent = send(sampling=sampling)
    assert {name: sent.body[name] for name in ("temperature", "top_p", "top_k", "stop_sequences")} == {
        "temperature": 0,
        "top_p": 0.0,
        "top_k": 5,
        "stop_sequences": ["END"],
    }
    assert sent.losses == {}


@pytest.mark.parametrize(
    ("sampling", "changes", "kept"),
    [
        ({"temperature": 1.7}, {}, {"temperature": 1}),
        ({"temperature": 0.5, "top_k": 3}, {"profile": Profile(takes_sampling=False)}, {}),
        ({"temperature": 0.5, "top_p": 0.9}, {"profile": named_profile("claude-opus-4-1")}, {"temperature": 0.5}),
        ({"temperature": 0.5, "top_k": 3, "top_p": 0.96}, {"reasoning": Reasoning(effort="low")}, {"top_p": 0.96}),
        ({"temperature": 1, "top_p": 0.5}, {"reasoning": Reasoning(effort="low")}, {"temperature": 1}),
    ],
)
def test_sampling_that_would_be_refused_is_not_sent(sampling: Any, changes: Any, kept: Any):
    sent = send(sampling=sampling, **changes)
    assert {name: sent.body[name] for name in ("temperature", "top_p", "top_k") if name in sent.body} == kept
    lost = {name for name in sampling if kept.get(name) != sampling[name]}
    assert {name: weight for name, weight in sent.losses.items() if name in sampling} == dict.fromkeys(
        lost, Weight.DEGRADES
    )


def test_blanks_are_no_stop_sequence():
    sent = send(sampling={"stop": ("\n\n", "END")})
    assert (sent.body["stop_sequences"], sent.losses) == (["END"], {"stop": Weight.DEGRADES})


@pytest.mark.parametrize(
    ("fields", "weight"),
    [
        ({"sampling": {"seed": 1}}, Weight.DEGRADES),
        ({"sampling": {"logprobs": True}}, Weight.CHANGES_ANSWER),
        ({"sampling": {"choices": 2}}, Weight.CHANGES_ANSWER),
        ({"verbosity": "low"}, Weight.DEGRADES),
        ({"cache_key": "k"}, Weight.COSMETIC),
        ({"metadata": {"a": "b"}}, Weight.COSMETIC),
        ({"service_tier": "flex"}, Weight.COSMETIC),
    ],
)
def test_what_the_format_has_no_place_for_is_lost_by_name(fields: dict[str, Any], weight: Weight):
    (field,) = fields.get("sampling", fields)
    sent = send(**fields)
    assert sent.body.keys() == {"model", "max_tokens", "messages"}
    assert sent.losses == {field: weight}


def test_any_json_is_asked_for_in_the_instructions():
    sent = send(
        system=(Text(text="Be kind.", cache="", at="system"),), response_format=ResponseFormat(kind="json_object")
    )
    kind, asked = sent.body["system"]
    assert (kind["text"], kind["cache_control"]) == ("Be kind.", {"type": "ephemeral"})
    assert "valid JSON" in asked["text"]
    assert sent.losses == {"response_format": Weight.DEGRADES}


def test_any_json_is_asked_for_where_there_are_no_other_instructions():
    assert "valid JSON" in send(response_format=ResponseFormat(kind="json_object")).body["system"]


@pytest.mark.parametrize("sampling", [{"choices": 1}, {"logprobs": False}])
def test_what_means_nothing_is_no_loss(sampling: dict[str, Any]):
    assert send(sampling=sampling).losses == {}


@pytest.mark.parametrize(
    ("tier", "expected"),
    [("auto", {"service_tier": "auto"}), ("default", {"service_tier": "standard_only"}), ("fast", {"speed": "fast"})],
)
def test_tiers_have_their_own_words(tier: str, expected: dict[str, str]):
    assert expected.items() <= send(service_tier=tier).body.items()


def test_the_end_user_is_told():
    assert send(end_user="u-1").body["metadata"] == {"user_id": "u-1"}


def test_what_an_upstream_refuses_is_dropped_and_named_as_the_client_names_it():
    sent = send(
        sampling={"stop": ("END",)}, names={"sampling.stop": "stop"}, quirks=Quirks(drop_fields=("stop_sequences",))
    )
    assert "stop_sequences" not in sent.body
    assert sent.losses == {"stop": Weight.DEGRADES}


def test_edge_80_nothing_that_needs_a_beta_header_is_made_up():
    sent = send(reasoning=Reasoning(effort="high"), service_tier="priority", cache_key="k", tools=(TOOL,))
    assert sent.body.keys() == {"model", "max_tokens", "messages", "tools", "thinking", "output_config"}
