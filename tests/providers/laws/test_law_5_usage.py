"""Law 5: usage adds up, is never negative, and is the same streamed or whole, read here or there."""

from providers.canonical.answer import fold
from providers.canonical.usage import MAX_TOKENS, Usage
from providers.conformance.crossing import ORIGIN, answer_events, bring_back, read_facts, read_request, stream_events
from providers.conformance.recorded import Recorded
from providers.dialects.base import Dialect
from providers.registry import DIALECTS
from providers.wire.sse import frames
from tests.providers.laws.answers import total
from tests.providers.laws.exchanges import each_direction, each_exchange


def counts(usage: Usage) -> dict[str, int]:
    return {name: count for name in usage.__struct_fields__ if (count := getattr(usage, name)) is not None}


def used(recorded: Recorded) -> Usage:
    return fold(answer_events(recorded, DIALECTS[recorded.dialect])).usage


@each_exchange
def test_law_5_counts_are_counts(recorded: Recorded):
    usage = used(recorded)
    assert all(isinstance(count, int) and 0 <= count <= MAX_TOKENS for count in counts(usage).values())
    assert (usage.reasoning or 0) <= (usage.output or 0)


@each_exchange
def test_law_5_a_stream_uses_what_the_whole_answer_uses(recorded: Recorded):
    assert fold(stream_events(recorded, DIALECTS[recorded.dialect])).usage == used(recorded)


@each_exchange
def test_law_5_what_passes_through_is_counted_alike(recorded: Recorded):
    dialect = DIALECTS[recorded.dialect]
    watch = dialect.watch(read_facts(recorded, dialect))
    for frame in frames(recorded.stream):
        watch.observe(frame)
    assert counts(dialect.read_usage(recorded.answer)) == counts(used(recorded))
    assert counts(watch.usage) == counts(used(recorded))


@each_direction
def test_law_5_a_client_of_any_dialect_is_told_the_same_sum(recorded: Recorded, other: Dialect):
    upstream = DIALECTS[recorded.dialect]
    returned = bring_back(stream_events(recorded, upstream), other, read_request(recorded, upstream))
    reader = other.reader(ORIGIN)
    streamed = fold([*reader.feed(returned.stream), *reader.close()]).usage
    whole = fold(other.read_answer(returned.whole, ORIGIN)).usage
    assert streamed == whole
    assert total(whole) == total(used(recorded))
    assert (whole.output or 0) == (used(recorded).output or 0)
