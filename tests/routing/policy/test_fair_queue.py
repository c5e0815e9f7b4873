"""Whose turn it is: alice, bob and charlie wait for the same provider."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.policy.fair_queue import HIGH, LOW, NORMAL, FairQueue, QueueFull, effective_priority
from tenants.errors import InvalidRequest

TENANTS = ("alice", "bob", "charlie")
COMERS = st.lists(st.tuples(st.sampled_from(TENANTS), st.integers(LOW, HIGH)), max_size=40)


def queue_of(*comers: tuple[str, int], size: int = 100) -> FairQueue[str]:
    """A queue whose entries are named after their tenants, with a number of each tenant's own."""
    queue, numbers = FairQueue[str](size), dict.fromkeys(TENANTS, 0)
    for tenant, priority in comers:
        numbers[tenant] += 1
        queue.push(f"{tenant[0]}{numbers[tenant]}", tenant=tenant, priority=priority)
    return queue


def turns(queue: FairQueue[str]) -> list[str]:
    taken = []
    while (entry := queue.first()) is not None:
        queue.take(entry)
        taken.append(entry.item)
    return taken


def test_a_tenant_s_own_entries_keep_their_order():
    assert turns(queue_of(*[("alice", NORMAL)] * 3)) == ["a1", "a2", "a3"]


def test_tenants_take_turns_however_many_one_has_waiting():
    queue = queue_of(*[("alice", NORMAL)] * 4, ("bob", NORMAL), ("charlie", NORMAL), ("charlie", NORMAL))
    assert turns(queue) == ["a1", "b1", "c1", "a2", "c2", "a3", "a4"]


def test_a_higher_class_comes_first():
    assert turns(queue_of(("alice", LOW), ("bob", NORMAL), ("charlie", HIGH))) == ["c1", "b1", "a1"]


def test_whoever_had_a_turn_comes_after_those_who_had_none():
    queue = queue_of(("alice", NORMAL), ("bob", NORMAL), ("alice", NORMAL))
    first = queue.first()
    assert first is not None
    queue.take(first)
    queue.push("c1", tenant="charlie", priority=NORMAL)
    assert turns(queue) == ["b1", "a2", "c1"]


def test_whoever_leaves_takes_nobody_s_turn_away():
    queue = queue_of(("alice", NORMAL), ("bob", NORMAL), ("alice", NORMAL))
    gone = queue.first()
    assert gone is not None
    assert queue.remove(gone)
    assert not queue.remove(gone)
    assert (len(queue), turns(queue)) == (2, ["a2", "b1"])


def test_a_full_queue_takes_nobody():
    queue = queue_of(("alice", NORMAL), ("bob", NORMAL), size=2)
    for tenant, priority in [("alice", NORMAL), ("charlie", NORMAL), ("charlie", LOW)]:
        with pytest.raises(QueueFull):
            queue.push("late", tenant=tenant, priority=priority)
    assert turns(queue) == ["a1", "b1"]


def test_a_queue_without_places_takes_nobody():
    with pytest.raises(QueueFull):
        queue_of(("alice", HIGH), size=0)


def test_nobody_fills_the_queue_against_the_others():
    queue = queue_of(*[("alice", NORMAL)] * 4, size=4)
    displaced = [queue.push(name, tenant=name, priority=NORMAL)[1] for name in ("bob", "charlie")]
    assert [entry.item for entry in displaced if entry] == ["a4", "a3"]  # her newest ones
    with pytest.raises(QueueFull):
        queue.push("bob again", tenant="bob", priority=NORMAL)
    assert turns(queue) == ["a1", "bob", "charlie", "a2"]


def test_a_higher_class_makes_room_in_a_lower_one_and_never_the_other_way_round():
    queue = queue_of(("alice", NORMAL), ("bob", LOW), ("bob", LOW), size=3)
    _, displaced = queue.push("c1", tenant="charlie", priority=HIGH)
    assert displaced is not None
    assert displaced.item == "b2"
    with pytest.raises(QueueFull):
        queue.push("b3", tenant="bob", priority=LOW)
    assert turns(queue) == ["c1", "a1", "b1"]


def test_it_counts_who_waits():
    queue = queue_of(("alice", LOW), ("bob", NORMAL), ("bob", HIGH), ("alice", LOW))
    assert (queue.lengths(), queue.tenants(), len(queue)) == ((2, 1, 1), 2, 4)


@given(COMERS)
def test_a_position_is_the_number_of_turns_before_it(comers):
    queue = queue_of(*comers)
    positions = {}
    for priority, lines in enumerate(queue._classes):
        for tenant, line in lines.items():
            positions |= {(priority, entry.item): queue.position(entry) for entry in line}
            assert queue.position_of_next(tenant=tenant, priority=priority) <= len(queue)
    order = turns(queue)
    assert sorted(positions.values()) == list(range(len(comers)))
    assert [item for (_, item), _ in sorted(positions.items(), key=lambda pair: pair[1])] == order


@given(COMERS, st.integers(0, 8))
def test_it_is_bounded_and_loses_nobody(comers, size):
    queue, outside, inside = FairQueue[int](size), set(), set()
    for number, (tenant, priority) in enumerate(comers):
        try:
            _, displaced = queue.push(number, tenant=tenant, priority=priority)
        except QueueFull:
            outside.add(number)
            continue
        inside.add(number)
        if displaced is not None:
            inside.discard(displaced.item)
            outside.add(displaced.item)
        assert len(queue) == len(inside) <= size
    assert set(turns(queue)) == inside
    assert inside | outside == set(range(len(comers)))


@pytest.mark.parametrize(
    ("key_priority", "header", "expected"),
    [
        (NORMAL, None, NORMAL),
        (NORMAL, b"low", LOW),
        (NORMAL, b"high", NORMAL),
        (HIGH, b" Normal ", NORMAL),
        (HIGH, b"HIGH", HIGH),
        (LOW, b"high", LOW),
    ],
)
def test_a_request_may_lower_its_key_s_priority_and_never_raise_it(key_priority, header, expected):
    assert effective_priority(key_priority, header) == expected


@pytest.mark.parametrize("header", [b"", b"urgent", b"2", b"\xff"])
def test_a_priority_that_is_none_is_refused_by_name(header):
    with pytest.raises(InvalidRequest, match="x-tollgate-priority is low, normal or high") as caught:
        effective_priority(NORMAL, header)
    assert caught.value.param == "x-tollgate-priority"
