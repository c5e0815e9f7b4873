"""Who may use which alias: the tenant and the key must both allow it."""

from typing import Any

import msgspec
import pytest

from tenants.principal import Principal, Rule

RULE = Rule(id=1, scope="api_key", scope_name="ci", kind="requests", amount=60, window_ms=60_000, model="fast")


def principal(**fields: Any) -> Principal:
    return Principal(
        **{"key_id": 1, "key_name": "ci", "key_prefix": "tg_abcd", "tenant_id": 2, "tenant": "alice", **fields}
    )


@pytest.mark.parametrize(
    ("tenant_models", "key_models", "allowed", "refused"),
    [
        (None, None, ["any", ""], []),
        (("a", "b"), None, ["a", "b"], ["c", "ab", "A", ""]),
        (None, ("a",), ["a"], ["b"]),
        (("a", "b"), ("b", "c"), ["b"], ["a", "c"]),
        (("gpt-*",), None, ["gpt-5", "gpt-"], ["gpt", "xgpt-5"]),
        (("gpt-*",), ("gpt-5*", "claude-*"), ["gpt-5", "gpt-5-mini"], ["gpt-4", "claude-x"]),
        (("*",), ("a",), ["a"], ["b"]),
        (None, ("*",), ["any", ""], []),
        ((), None, [], ["any", ""]),
        (None, (), [], ["any", ""]),
        (("a*b",), None, ["a*b"], ["axb", "a"]),
    ],
)
def test_an_alias_needs_the_tenants_and_the_keys_leave(
    tenant_models: tuple[str, ...] | None, key_models: tuple[str, ...] | None, allowed: list[str], refused: list[str]
):
    caller = principal(tenant_models=tenant_models, key_models=key_models)
    assert [alias for alias in allowed + refused if caller.may_use(alias)] == allowed


def test_charlie_who_was_given_nothing_may_use_nothing():
    charlie = principal(tenant="charlie", tenant_models=(), key_models=("*",))
    assert not any(charlie.may_use(alias) for alias in ("fast", "*", ""))


@pytest.mark.parametrize(
    "value", [principal(), principal(tenant_models=(), key_models=("a*",), expires_at=1.5, rules=(RULE,))]
)
def test_it_survives_the_cache(value: Principal):
    assert msgspec.json.decode(msgspec.json.encode(value), type=Principal) == value


def test_what_the_version_before_has_cached_can_be_read():
    cached = b'{"key_id":1,"key_name":"ci","key_prefix":"tg_abcd","tenant_id":2,"tenant":"alice"}'
    value = msgspec.json.decode(cached, type=Principal)
    assert (value.priority, value.may_trace) == (1, False)
    assert (value.refuses_without_valkey, value.allows_catalogue) == (False, False)


def test_it_cannot_be_changed_after_it_was_checked():
    with pytest.raises(AttributeError):
        principal().tenant_id = 3  # type: ignore[misc]


def test_no_limit_on_names_is_not_an_empty_one():
    assert msgspec.json.decode(msgspec.json.encode(principal()), type=Principal).key_models is None
    assert msgspec.json.decode(msgspec.json.encode(principal(key_models=())), type=Principal).key_models == ()
