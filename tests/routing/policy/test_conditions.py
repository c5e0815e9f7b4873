"""What a target may ask of a request, and a request of a target."""

import pytest

from providers.canonical.inbound import Facts
from routing.policy.conditions import NO_WISHES, Wishes, read_wishes, unmet, unwanted
from tenants.errors import InvalidRequest

FACTS = Facts(model="m", size=10, needs=frozenset({"tools", "images"}))


def wishes(*headers: tuple[str, str], with_headers: bool = True, caller: str = "u") -> Wishes:
    sent = {name.encode(): value.encode() for name, value in headers}
    return read_wishes(sent, with_headers=with_headers, caller=caller)


@pytest.mark.parametrize(
    ("name", "value"), [("region", "eu"), ("tag", "a"), ("timeout", "5"), ("trace", "1"), ("priority", "high")]
)
def test_each_wish_is_heeded_by_itself(name: str, value: str):
    assert wishes((f"x-tollgate-{name}", value), with_headers=False) != NO_WISHES


def test_most_requests_wish_for_nothing():
    assert wishes(("content-type", "application/json"), with_headers=False) is NO_WISHES


@pytest.mark.parametrize(
    ("conditions", "name"),
    [
        ({}, None),
        ({"needs": ["images"]}, None),
        ({"needs": ["images", "tools"]}, None),
        ({"needs": ["audio"]}, "needs"),
        ({"region": "eu"}, None),
        ({"region": "us"}, "region"),
        ({"tag": "fast"}, None),
        ({"tag": "slow"}, "tag"),
        ({"header": {"X-Team": "ml"}}, None),
        ({"header": {"x-team": "web"}}, "header"),
        ({"header": {"x-team": "ml", "x-other": "1"}}, "header"),
        ({"end_user_percent": 100}, None),
        ({"end_user_percent": 0}, "end_user_percent"),
        ({"needs": ["images"], "region": "us"}, "region"),
    ],
)
def test_a_target_serves_requests_that_meet_all_its_conditions(conditions, name):
    said = wishes(("x-tollgate-region", "eu"), ("x-tollgate-tag", "fast, cheap"), ("x-team", "ml"))
    assert unmet(conditions, FACTS, said, "r") == name


def test_a_request_that_wishes_for_nothing_meets_no_condition_on_a_wish():
    assert unmet({"region": "eu"}, FACTS, NO_WISHES, "r") == "region"


def test_a_percentage_holds_for_the_same_callers_each_time():
    def served(caller: str) -> bool:
        return unmet({"end_user_percent": 30}, FACTS, wishes(caller=caller), "r") is None

    callers = [f"user-{number}" for number in range(3000)]
    first = [served(caller) for caller in callers]
    assert first == [served(caller) for caller in callers]
    assert sum(first) / len(first) == pytest.approx(0.3, abs=0.04)


@pytest.mark.parametrize(
    ("region", "tags", "wish"),
    [("eu", ("fast", "cheap", "new"), None), ("us", ("fast", "cheap"), "region"), ("eu", ("fast",), "tag")],
)
def test_only_deployments_with_the_region_and_all_tags_are_wanted(region, tags, wish):
    said = wishes(("x-tollgate-region", "eu"), ("x-tollgate-tag", "fast,cheap"))
    assert unwanted(region, tags, said) == wish


@pytest.mark.parametrize("value", ["0", "-1", "soon", "1e9", "nan", "inf"])
def test_a_time_that_is_none_is_refused_by_name(value):
    with pytest.raises(InvalidRequest) as refused:
        wishes(("x-tollgate-timeout", value))
    assert refused.value.param == "x-tollgate-timeout"


def test_the_clients_own_time_is_read():
    assert wishes(("x-tollgate-timeout", "2.5")).timeout == 2.5
