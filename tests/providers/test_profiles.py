"""What a model takes: by its name, and by what the upstream says of it."""

import pytest

from providers.profiles import PERMISSIVE, Profile, named_profile, nearest_effort, profile_of


@pytest.mark.parametrize("model", ["gpt-oss-120b", "llama-4", "mistral-large", "deepseek-v4", "", "o5", "pro3-x"])
def test_an_unknown_model_takes_everything(model: str):
    assert named_profile(model) == PERMISSIVE


@pytest.mark.parametrize(
    "model",
    [
        "claude-opus-4-7",
        "claude-opus-4.8",
        "claude-sonnet-5",
        "claude-opus-5-5",
        "claude-haiku-5-5",
        "claude-fable-5",
        "anthropic/claude-opus-5-20260801",
    ],
)
def test_edge_77_models_after_opus_4_6_take_no_sampling(model: str):
    assert not named_profile(model).takes_sampling


@pytest.mark.parametrize(
    "model", ["claude-opus-4-6", "claude-sonnet-4-5-20250929", "claude-opus-4-20250514", "claude-3-haiku"]
)
def test_older_ones_do(model: str):
    assert named_profile(model).takes_sampling


@pytest.mark.parametrize(
    ("model", "types"),
    [
        ("claude-sonnet-4-5", {"enabled", "disabled"}),
        ("claude-opus-4-6", {"enabled", "adaptive", "disabled"}),
        ("claude-opus-5", {"adaptive", "disabled"}),
        ("claude-haiku-5-5", {"adaptive", "disabled"}),
        ("claude-fable-5", {"adaptive"}),
        ("claude-fable-5-20260801", {"adaptive"}),
        ("claude-fable-5-1", {"adaptive", "between_tools"}),
        ("claude-sonnet-5-5", {"adaptive", "between_tools"}),
        ("us.anthropic.claude-opus-5-5-20261101", {"adaptive", "between_tools"}),
    ],
)
def test_thinking_is_gated_by_model(model: str, types: set[str]):
    assert named_profile(model).thinking == types


@pytest.mark.parametrize(
    ("model", "takes"),
    [
        ("claude-opus-5", True),
        ("claude-fable-5-20260801", True),
        ("claude-fable-5-1", False),
        ("claude-opus-5.5", False),
    ],
)
def test_edge_67_forced_tools_are_gated_by_model(model: str, takes: bool):
    assert named_profile(model).takes_forced_tools is takes


@pytest.mark.parametrize(
    ("model", "takes"), [("claude-opus-4-5", True), ("claude-opus-4-6", False), ("claude-opus-5", False)]
)
def test_edge_86_prefill_ended_with_4_6(model: str, takes: bool):
    assert named_profile(model).takes_prefill is takes


@pytest.mark.parametrize(
    ("model", "efforts"),
    [
        ("gpt-4o", ""),
        ("openai/gpt-4.1-mini", ""),
        ("o3", "low medium high"),
        ("gpt-5-mini-2025-08-07", "minimal low medium high"),
        ("gpt-5.1", "none low medium high"),
        ("gpt-5.1-codex-max", "none low medium high xhigh"),
        ("gpt-5.4-mini", "none low medium high xhigh"),
        ("gpt-5.6-sol", "none low medium high xhigh max"),
        ("gpt-6.1-sol", "none low medium high xhigh max"),
    ],
)
def test_openais_models_know_their_own_efforts(model: str, efforts: str):
    assert named_profile(model).efforts == tuple(efforts.split())


@pytest.mark.parametrize(("model", "most"), [("gpt-4o-mini", 16_384), ("gpt-4.1", 32_768), ("gpt-5.6", None)])
def test_older_models_write_less_than_agents_ask_for(model: str, most: int | None):
    assert named_profile(model).max_output_tokens == most


@pytest.mark.parametrize(
    ("model", "takes"), [("gpt-4.1", False), ("o3", False), ("gpt-5.5", False), ("gpt-5.6", True), ("gpt-6-sol", True)]
)
def test_edge_79_cache_breakpoints_began_with_gpt_5_6(model: str, takes: bool):
    assert named_profile(model).takes_cache_breakpoints is takes


@pytest.mark.parametrize("model", ["qwen3.6-27b", "Qwen/Qwen3-Coder-480B", "google/gemma-4-31b"])
def test_some_templates_take_instructions_first_only(model: str):
    assert not named_profile(model).takes_system_turns


@pytest.mark.parametrize("model", ["gpt-5.6", "gpt-6-astra", "gpt-5-mini", "o3", "openai/o4-mini", "o1-preview"])
def test_openais_reasoning_models_take_no_stop_and_have_developers(model: str):
    profile = named_profile(model)
    assert (profile.takes_stop, profile.instructions_role) == (False, "developer")


@pytest.mark.parametrize(
    ("model", "style", "needs_signatures"),
    [
        ("gemini-2.5-pro", "budget", False),
        ("gemini-2.0-flash", "budget", False),
        ("gemini-3-pro", "level", True),
        ("models/gemini-3.5-flash", "level", True),
    ],
)
def test_gemini_changed_with_3(model: str, style: str, needs_signatures: bool):
    profile = named_profile(model)
    assert (profile.thinking_style, profile.needs_signatures) == (style, needs_signatures)


def test_what_the_upstream_says_wins():
    said = {
        "max_tokens": 64000,
        "capabilities": {
            "image_input": {"supported": False},
            "pdf_input": True,
            "structured_outputs": {"supported": True},
            "thinking": {"types": {"enabled": {"supported": True}, "adaptive": {"supported": False}, "disabled": True}},
            "effort": {"low": {"supported": True}, "high": {"supported": True}, "max": {"supported": False}},
        },
    }
    profile = profile_of("claude-3-haiku", said)
    assert (profile.takes_images, profile.takes_documents, profile.takes_schema) == (False, True, True)
    assert profile.thinking == {"enabled", "disabled"}
    assert profile.efforts == ("low", "high")
    assert profile.max_output_tokens == 64000


@pytest.mark.parametrize(
    "said",
    [None, {}, {"capabilities": None}, {"capabilities": {}}, {"capabilities": {"effort": {}}}, {"max_tokens": 0}],
)
def test_what_it_does_not_say_stays_as_the_table_has_it(said: dict[str, object] | None):
    assert profile_of("claude-opus-5", said) == named_profile("claude-opus-5")


@pytest.mark.parametrize(
    ("wanted", "efforts", "expected"),
    [
        ("high", ("low", "medium", "high"), "high"),
        ("max", ("low", "medium", "high"), "high"),
        ("none", ("low", "high"), "low"),
        ("medium", ("low", "high"), "low"),  # the lower of two
        ("xhigh", ("high", "max"), "high"),
        ("high", (), None),
    ],
)
def test_the_nearest_effort_is_taken(wanted: str, efforts: tuple[str, ...], expected: str | None):
    assert nearest_effort(wanted, Profile(efforts=efforts)) == expected  # type: ignore[arg-type]
