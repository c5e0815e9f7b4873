"""What becomes of values that are only shown."""

import pytest

from gateway_site.infra.form_fields import LongSelect, _readable


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


def test_a_long_select_has_all_choices_one_of_them_chosen_and_none_that_is_not_escaped() -> None:
    choices = [("UTC", "UTC"), ("Asia/Tokyo", "<b>Tokyo</b>")]
    text = LongSelect(choices=choices).render("timezone", "Asia/Tokyo", {"id": "id_timezone"})
    assert '<option value="UTC">UTC</option>' in text
    assert '<option value="Asia/Tokyo" selected>&lt;b&gt;Tokyo&lt;/b&gt;</option>' in text
    assert 'name="timezone"' in text
    assert 'id="id_timezone"' in text
    assert "unfold-admin-autocomplete" in text
