"""An edit changes what it names and not one byte more."""

import json
import random

import pytest

from providers.wire.splice import MalformedJson, read_members, splice

NASTY = (
    '{ "z" : 1.0e+02 ,\n\t"model":"alias",\r\n"n":-0,"big":123456789012345678901234567890,'
    '"slash":"a\\/b \\u00e9 \\ud83d\\ude00 é 🙂","lone":"\\ud800","messages":[ {"model":"nested", "a":1.50} ] ,'
    '"empty":{ },"null":null , "quote":"\\"model\\":\\"fake\\"" }\n'
).encode()


def edited(raw: bytes | str, **edits: str | None) -> str:
    members = read_members(raw if isinstance(raw, bytes) else raw.encode())
    return splice(members, {name: text and text.encode() for name, text in edits.items()}).decode()


def test_no_edit_gives_the_same_body():
    assert splice(read_members(NASTY), {}) is NASTY


def test_it_keeps_every_other_byte():
    before, _, after = NASTY.partition(b'"model":"alias"')
    assert edited(NASTY, model='"upstream"') == (before + b'"model":"upstream"' + after).decode()


def test_replacing_a_member_by_itself_changes_nothing():
    members = read_members(NASTY)
    for span in members.spans:
        assert splice(members, {span.name: members.get(span.name)}) == NASTY


def test_it_leaves_members_of_members_alone():
    raw = '{"metadata":{"model":"inner"},"model":"outer"}'
    assert edited(raw, model='"new"') == '{"metadata":{"model":"inner"},"model":"new"}'


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ('{"mod\\u0065l":"a","x":1}', '{"mod\\u0065l":"b","x":1}'),
        ('{"\\u006dodel" : "a"}', '{"\\u006dodel" : "b"}'),
        ('{"model":"a","model":"c"}', '{"model":"b","model":"b"}'),
        ('{"model":"a","x":1,"mod\\u0065l":"c"}', '{"model":"b","x":1,"mod\\u0065l":"b"}'),
        ('{"model":{"k":1},"model":123456}', '{"model":"b","model":"b"}'),
        ('{"model":"aaaa","model":"a"}', '{"model":"b","model":"b"}'),
    ],
)
def test_it_finds_escaped_and_repeated_names(raw: str, expected: str):
    assert edited(raw, model='"b"') == expected


def test_lengths_that_happen_to_fit_do_not_mislead_it():
    raw = '{"a":1,"b":22,"a":{"z":0,      "b":1}}'
    assert edited(raw, b="9") == '{"a":1,"b":9,"a":{"z":0,      "b":1}}'


def test_it_reads_the_last_of_repeated_members_as_every_parser_does():
    assert read_members(b'{"model":"a","model":"b"}').read("model") == "b"


@pytest.mark.parametrize(
    ("removed", "expected"),
    [
        ("a", '{"b": 2 , "c":3}'),
        ("b", '{ "a" :1,"c":3}'),
        ("c", '{ "a" :1,"b": 2}'),
        ("ab", '{ "c":3}'),
        ("bc", '{ "a" :1}'),
        ("ac", '{ "b": 2}'),
        ("abc", "{ }"),
        ("d", '{ "a" :1,"b": 2 , "c":3}'),
    ],
)
def test_it_removes_members_with_their_comma(removed: str, expected: str):
    result = edited('{ "a" :1,"b": 2 , "c":3}', **dict.fromkeys(removed))
    assert json.loads(result) == json.loads(expected)
    assert result.replace(" ", "") == expected.replace(" ", "")


def test_it_removes_every_occurrence():
    assert edited('{"a":1,"b":2,"a":3}', a=None) == '{"b":2}'


@pytest.mark.parametrize("raw", ["{}", "{ }", "{\n}", " {} \n"])
def test_it_adds_to_an_empty_object(raw: str):
    result = edited(raw, a="1", b="[2]")
    assert json.loads(result) == {"a": 1, "b": [2]}
    assert edited(raw, a=None) == raw


@pytest.mark.parametrize("raw", ['{"a":1}', '{"a":1 }', '{ "a":1\n}\n'])
def test_it_adds_to_an_object_of_one(raw: str):
    assert json.loads(edited(raw, b="2")) == {"a": 1, "b": 2}
    assert json.loads(edited(raw, a=None, b="2")) == {"b": 2}
    assert json.loads(edited(raw, a=None)) == {}
    assert raw.partition("}")[0].rstrip() in edited(raw, b="2")


def test_a_replacement_and_a_removal_beside_it_do_not_disturb_each_other():
    assert edited('{"a":1,"b":2,"c":3}', a="9", b=None, c=None, d="4") == '{"a":9,"d":4}'


def test_names_that_must_be_escaped_are_added_escaped():
    members = read_members(b"{}")
    assert json.loads(splice(members, {'a"\\\n': b"1"})) == {'a"\\\n': 1}


def blanks(rng: random.Random) -> str:
    return "".join(rng.choices(" \t\r\n", k=rng.choice([0, 0, 0, 1, 3])))


VALUES = (
    *("0", "-0", "1.50", "1E+2", "true", "null", '""', '"a"', '"}"', '",\\"a\\":"', '"\\ud800"', '"\\u2028é🙂"'),
    *("[ ]", "{}", '[1, {"a": 1 } ]', '{ "a":1,   "b" : [2]}', '{"z":0,      "b":1}', '"' + "x" * 40 + '"'),
)
NAMES = ("a", "b", "c", "\\u0061", "b\\u0062", "", "é", "\\ud801", 'q\\"', "\\\\", "model")


def member(rng: random.Random) -> str:
    return f'"{rng.choice(NAMES)}"{blanks(rng)}:{blanks(rng)}{rng.choice(VALUES)}'


def random_edits(rng: random.Random, names: list[str]) -> dict[str, str | None]:
    chosen = {*rng.sample(names, k=min(len(names), rng.randrange(4))), *rng.sample(["new", "a", "model"], k=1)}
    return {name: rng.choice([None, "42", '"new"']) for name in chosen}


def parsed(text: str) -> list[tuple[str, object]]:
    """The members in order, repeated ones included."""
    return [(name, repr(value)) for name, value in json.loads(text, object_pairs_hook=list)]


@pytest.mark.parametrize("seed", range(40))
def test_random_edits_of_random_objects_change_what_they_name_only(seed: int):
    rng = random.Random(seed)
    for _ in range(25):
        texts = [member(rng) for _ in range(rng.randrange(6))]
        glue = [blanks(rng) + "," + blanks(rng) for _ in texts][1:]
        inner = "".join(text + end for text, end in zip(texts, [*glue, ""], strict=False))
        raw = f"{blanks(rng)}{{{blanks(rng)}{inner}{blanks(rng)}}}{blanks(rng)}"
        names = [name for name, _ in parsed(raw)]
        edits = random_edits(rng, names)

        result = edited(raw, **edits)

        news = [(name, text) for name, text in edits.items() if text is not None and name not in names]
        wanted = [(name, edits.get(name, value)) for name, value in parsed(raw)]
        changed = {name: repr(json.loads(text)) for name, text in edits.items() if text is not None}
        expected = [(name, changed.get(name, value)) for name, value in wanted if value is not None]
        assert parsed(result) == expected + [(name, changed[name]) for name, _ in news], (raw, edits)
        position = 0
        for name, text in zip(names, texts, strict=True):
            if name not in edits:
                position = result.index(text, position) + len(text)  # as it was written, in its order


@pytest.mark.parametrize("value", ['"\\ud83d"', '{"\\udc00":"\\ud800\\ud800"}', '["\\uDFFF"]'])
def test_lone_surrogates_pass(value: str):
    raw = f'{{"a":{value},"model":"x"}}'
    assert edited(raw, model='"y"') == f'{{"a":{value},"model":"y"}}'


def test_a_name_with_a_lone_surrogate_is_a_name():
    members = read_members(b'{"\\ud800":1,"b":2}')
    assert members.read("\ud800") == 1
    assert splice(members, {"b": b"3"}) == b'{"\\ud800":1,"b":3}'


def test_offsets_count_bytes_where_the_slow_reader_is_needed():
    raw = '{"é🙂":"é🙂","lone":"\\ud800","é🙂":"🙂é","model":"x"}'
    assert edited(raw, model='"y"') == raw.replace('"x"', '"y"')


def test_bytes_that_are_not_utf8_inside_a_value_pass_whichever_reader_takes_them():
    assert splice(read_members(b'{"a":"\xff","b":1}'), {"b": b"2"}) == b'{"a":"\xff","b":2}'
    assert splice(read_members(b'{"a":"\xff","\\ud800":1,"b":1}'), {"b": b"2"}).startswith(b'{"a":"\xff"')


def test_numbers_of_any_length_pass_whichever_reader_takes_them():
    digits = "1" * 6000
    assert edited(f'{{"a":{digits},"b":1}}', b="2") == f'{{"a":{digits},"b":2}}'
    assert edited(f'{{"a":{digits},"b":1,"b":1}}', b="2") == f'{{"a":{digits},"b":2,"b":2}}'


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b" ", b"[]", b'"a"', b"1", b"null", b"{", b'{"a"', b'{"a":', b'{"a":1', b'{"a":1,', b'{"a":1,}'),
        *(b'{"a" 1}', b"{a:1}", b"{'a':1}", b'{"a":1}}', b'{"a":1} x', b'{"a":01}', b'{"a":1.}', b'{"a":NaN}'),
        *(b'{"a":Infinity}', b'{"a":"\n"}', b'{"a":"\\x"}', b'{"a":tru}', b'{"\xff":1}', b"\xef\xbb\xbf{}"),
        *(b'{"\\ud800":1,}', b'{"\\ud800":NaN}', b'{"\\ud800":1', b'{"\\ud800":1}}', b'{"\\ud800" 1}', b'["\\ud800"]'),
    ],
)
def test_it_says_what_is_not_an_object(raw: bytes):
    with pytest.raises(MalformedJson, match=r"^The body (is not valid JSON: .+|must be a JSON object)\.$"):
        read_members(raw)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_a_body_nested_too_deeply_is_malformed_and_no_crash(opening: bytes):
    closing = {b"[": b"]"}.get(opening, b"}")
    with pytest.raises(MalformedJson, match="nested too deeply"):
        read_members(b'{"a":' + opening * 200_000 + b"1" + closing * 200_000 + b"}")


def test_a_member_is_read_as_pythons_own():
    members = read_members(b'{"a":{"b":[1,2.5]},"null":null,"bad":"\xff"}')
    assert members.read("a") == {"b": [1, 2.5]}
    assert members.read("null") is None
    assert members.read("missing") is None
    assert "null" in members
    assert "missing" not in members
    with pytest.raises(MalformedJson):
        members.read("bad")
