"""Law 3: a stream and a whole answer tell the same, read as recorded and written for any client."""

import pytest

from providers.canonical.answer import Answer, fold
from providers.conformance.crossing import (
    ORIGIN,
    answer_events,
    bring_back,
    read_request,
    stream_events,
)
from providers.conformance.recorded import Recorded
from providers.dialects.base import Dialect
from providers.registry import DIALECTS
from tests.providers.laws.answers import apart, disorder, plain
from tests.providers.laws.exchanges import each_direction, each_exchange, label


def read_stream(dialect: Dialect, data: bytes) -> Answer:
    reader = dialect.reader(ORIGIN)
    return plain(fold([*reader.feed(data), *reader.close()]))


@each_exchange
def test_law_3_a_stream_folds_to_the_whole_answer(recorded: Recorded):
    dialect = DIALECTS[recorded.dialect]
    streamed, whole = fold(stream_events(recorded, dialect)), fold(answer_events(recorded, dialect))
    found = apart(plain(streamed), plain(whole))
    assert not found, "\n  ".join([f"{label(recorded)}: the stream and the whole answer differ:", *found])


@each_exchange
def test_law_3_the_events_of_both_are_in_order(recorded: Recorded):
    dialect = DIALECTS[recorded.dialect]
    assert disorder(stream_events(recorded, dialect)) is None
    assert disorder(answer_events(recorded, dialect)) is None


@each_direction
def test_law_3_what_is_written_as_a_stream_and_whole_is_the_same_answer(recorded: Recorded, other: Dialect):
    upstream = DIALECTS[recorded.dialect]
    returned = bring_back(stream_events(recorded, upstream), other, read_request(recorded, upstream))
    whole = plain(fold(other.read_answer(returned.whole, ORIGIN)))
    found = apart(read_stream(other, returned.stream), whole)
    if found:
        title = f"{label(recorded)} for {other.name}: what is streamed and what is whole differ:"
        pytest.fail("\n  ".join([title, *found, returned.stream.decode(), returned.whole.decode()]), pytrace=False)
