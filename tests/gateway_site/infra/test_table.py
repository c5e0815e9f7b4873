"""Tables of the console's pages: escaped, with what a cell may say of itself."""

from django.utils.html import format_html

from gateway_site.infra.table import table


def test_cells_are_escaped_unless_they_are_safe():
    text = table(("<Name>",), [("<script>",), (format_html("<code>{}</code>", "a&b"),)])
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "&lt;Name&gt;" in text
    assert "<code>a&amp;b</code>" in text


def test_a_cell_may_have_a_class():
    text = table(({"content": "Cost", "class": "number"},), [({"content": 1.5, "class": 'number"'},)])
    assert 'number">Cost</th>' in text
    assert 'number&quot;">1.5</td>' in text


def test_rows_stand_in_order_and_the_first_has_no_line_above_it():
    text = table(("",), [(number,) for number in range(3)])
    assert [text.index(f">{number}</td>") for number in range(3)] == sorted(text.index(f">{n}</td>") for n in range(3))
    assert text.count("first-row relative") == 1
    assert text.index("first-row relative") < text.index(">0</td>")


def test_without_rows_it_says_so():
    assert "No data" in table(("Name",), [])
    assert "No data" not in table(("Name",), [("x",)])
