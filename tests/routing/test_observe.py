"""The moment of an access line."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.observe import timestamp


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000+00:00"),
        (1_763_844_000.0625, "2025-11-22T20:40:00.062+00:00"),
        (1_763_844_000.9996, "2025-11-22T20:40:00.999+00:00"),  # never a second that was not yet
    ],
)
def test_moments_are_written_to_the_millisecond_below(moment: float, text: str):
    assert timestamp(moment) == text


@given(st.floats(min_value=0, max_value=4e9))
def test_it_is_what_the_library_writes(moment: float):
    written = datetime.fromisoformat(timestamp(moment))
    assert abs((written - datetime.fromtimestamp(moment, UTC)).total_seconds()) < 0.0011
    assert len(timestamp(moment)) == len("1970-01-01T00:00:00.000+00:00")
