"""What becomes of values that are only shown."""

import pytest

from gateway_site.infra.form_fields import _readable


@pytest.mark.parametrize(
    ("contents", "shown"),
    [
        ("1540494", "1,540,494"),
        ("5.0", "5"),
        ("0.000001500", "0.0000015"),
        ("a name", "a name"),
        ("", ""),
        ("{}", ""),
        ("<pre>[]</pre> <pre>[]</pre>", ""),
        ('<pre>{ "regions": [] }</pre>', '<pre>{ "regions": [] }</pre>'),
        ('{ "headers": {} }', '{ "headers": {} }'),
    ],
)
def test_numbers_are_readable_and_only_json_with_nothing_in_it_is_left_out(contents: str, shown: str) -> None:
    assert _readable(contents) == shown
