import pytest

from providers.simulator.behaviour import (
    PRESETS,
    Behaviour,
    Finish,
    Tools,
    UnknownModel,
    markers,
    read_behaviour,
)


def test_it_finds_markers_in_text():
    assert markers("a [[first=1 chunks=2]] b [[cut=3]]") == "first=1 chunks=2 cut=3"


def test_a_marker_for_a_model_counts_there_only():
    text = "a [[model=down status=503]] b [[chunks=2]] [[first=1 model=late]]"
    assert markers(text, "down") == "status=503 chunks=2"
    assert markers(text, "late") == "chunks=2 first=1"
    assert markers(text, "other") == "chunks=2"
    assert markers("[[model=down]]", "down") == ""


@pytest.mark.parametrize("text", ["", "[[Wiki link]]", "a[[0]]", '[[ -f "$file" ]]', "[first=1]"])
def test_it_leaves_other_brackets_alone(text):
    assert markers(text) == ""


def test_it_reads_every_kind_of_value():
    behaviour = read_behaviour("any", 'first=0.5 chunks=3 text="two words" tools=one finish=length hang=1 gzip=0')
    assert behaviour == Behaviour(
        first=0.5, chunks=3, text="two words", tools=Tools.ONE, finish=Finish.LENGTH, hang=True
    )


def test_a_marker_is_laid_over_the_preset():
    behaviour = read_behaviour("sim-steady", "chunks=5")
    assert (behaviour.first, behaviour.interval, behaviour.chunks) == (0.2, 0.02, 5)


def test_it_knows_its_presets_only():
    with pytest.raises(UnknownModel, match="sim-nothing"):
        read_behaviour("sim-nothing", "")
    assert all(isinstance(read_behaviour(f"sim-{preset}", ""), Behaviour) for preset in PRESETS)


@pytest.mark.parametrize(
    "marked",
    [
        "chunk=1",
        "chunks=many",
        "chunks=-1",
        "chunks=10000000",
        "first=-1",
        "first=nan",
        "first=inf",
        "hang=yes",
        "tools=all",
        "status=200",
        'text="open',
    ],
)
def test_it_refuses_what_means_nothing(marked):
    with pytest.raises(ValueError, match=marked.partition("=")[0] if "open" not in marked else "quotation"):
        read_behaviour("any", marked)


def test_a_failure_without_a_named_fault_is_a_500():
    assert read_behaviour("any", "fail=1").with_faults().status == 500
    assert read_behaviour("any", "fail=1 cut=2").with_faults().status is None


def test_without_faults_only_the_faults_are_gone():
    behaviour = read_behaviour("any", "first=1 chunks=2 status=503 cut=1 hang=1").without_faults()
    assert behaviour == Behaviour(first=1.0, chunks=2)
