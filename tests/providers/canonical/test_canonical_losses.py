"""What a dialect alone knows is kept with its weight, and named when it does not get across."""

from providers.canonical.losses import Loss, Losses, Weight, fields_of, form_of, heaviest, keep_native

TABLE = {"seed": (Weight.DEGRADES, "the upstream has no seed"), "user": (Weight.COSMETIC, "a label")}
KNOWN = frozenset({"model"})


def test_it_keeps_what_is_not_known_with_its_weight():
    native = keep_native("openai_chat", {"model": "m", "seed": 1, "new": [2]}, KNOWN, TABLE)
    assert native is not None
    assert native.as_json() == {"seed": 1, "new": [2]}
    assert [field.weight for field in native.fields] == [Weight.DEGRADES, Weight.DEGRADES]


def test_it_keeps_nothing_when_there_is_nothing():
    assert keep_native("openai_chat", {"model": "m"}, KNOWN, TABLE) is None


def test_how_it_was_spelled_is_never_lost():
    native, losses = keep_native("openai_chat", {}, KNOWN, TABLE, form="string"), Losses()
    losses.native(native, "messages[0]", "gemini")
    assert len(losses) == 0
    assert (form_of(native, "openai_chat"), form_of(native, "gemini")) == ("string", None)


def test_a_dialect_loses_none_of_its_own_fields():
    native, losses = keep_native("openai_chat", {"seed": 1}, KNOWN, TABLE), Losses()
    losses.native(native, "", "openai_chat")
    assert len(losses) == 0
    assert (fields_of(native, "openai_chat"), fields_of(native, "gemini")) == ({"seed": 1}, {})


def test_another_loses_them_at_the_clients_path():
    native, losses = keep_native("openai_chat", {"seed": 1, "user": "u"}, KNOWN, TABLE), Losses()
    losses.native(native, "", "gemini")
    losses.native(native, "messages[0]", "gemini")
    assert [(loss.path, loss.weight.word) for loss in losses] == [
        ("seed", "degrades"),
        ("user", "cosmetic"),
        ("messages[0].seed", "degrades"),
        ("messages[0].user", "cosmetic"),
    ]


def test_a_loss_is_named_once():
    losses = Losses()
    losses.cosmetic("user", "a label")
    losses.cosmetic("user", "a label")
    assert list(losses) == [Loss("user", Weight.COSMETIC, "a label")]


def test_the_heaviest_is_the_first_of_those_that_weigh_most():
    losses = Losses()
    losses.cosmetic("a", "")
    losses.changes_answer("b", "")
    losses.changes_answer("c", "")
    losses.degrades("d", "")
    assert heaviest(losses) == Loss("b", Weight.CHANGES_ANSWER, "")
    assert heaviest([]) is None
