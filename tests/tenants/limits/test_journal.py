"""The file that outlives a worker between an answer and its settle."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tenants.limits import journal as journal_module
from tenants.limits.charges import Hold
from tenants.limits.journal import Journal
from tenants.limits.spool import Spool, SpooledSettle, read

HOLDS = (Hold("c", "tollgate:limit:1"), Hold("t", "tollgate:limit:2:é:🙂", 500, 60_000))


def settle(name: str, event: str = "{}") -> SpooledSettle:
    return SpooledSettle(name, HOLDS, event, 2**62, "EUR", 1234, 1_760_000_000_123)


def kept(folder: Path) -> list[str]:
    (path,) = folder.glob("*.journal")
    return [each.request_id for each in read(path)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "not" / "made" / "yet"


@pytest.fixture
def journal(folder: Path) -> Journal:
    return Journal(folder, "host-1")


@pytest.mark.parametrize("event", ["{}", '{"end_user":"é🙂\\u2028"}', "line\nend\n", "", "x" * 100_000])
def test_what_was_settled_stands_there_as_it_was(folder: Path, journal: Journal, event: str):
    settles = [settle(name, event) for name in "abc"]
    assert all(journal.append(each) for each in settles)
    (path,) = folder.iterdir()
    assert list(read(path)) == settles


def test_it_makes_no_file_before_it_is_needed(folder: Path, journal: Journal):
    journal.clear()
    journal.begin_anew()
    journal.close()
    assert not folder.exists()


def test_nobody_else_can_read_it(folder: Path, journal: Journal):
    journal.append(settle("a"))
    assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o600]


def test_what_was_sent_does_not_count_any_more(folder: Path, journal: Journal):
    journal.append(settle("a"))
    journal.append(settle("b"))
    journal.clear()
    assert kept(folder) == []
    journal.append(settle("c"))
    assert kept(folder) == ["c"]


@pytest.mark.parametrize("length", [0, 10, 5_000])
def test_a_new_settle_takes_the_place_of_all_that_was_sent(folder: Path, journal: Journal, length: int):
    for name in "ab":
        journal.append(settle(name, "x" * 1_000))
    journal.begin_anew()
    assert kept(folder) == ["a", "b"]  # until there is another, they may be replayed: settling twice does nothing
    journal.append(settle("c", "y" * length))
    assert kept(folder) == ["c"]
    journal.append(settle("d"))
    assert kept(folder) == ["c", "d"]


def test_it_does_not_grow(folder: Path, journal: Journal):
    for _ in range(1_000):
        journal.begin_anew()
        assert journal.append(settle("a"))
    (path,) = folder.iterdir()
    assert path.stat().st_size < 1_000


def test_a_full_one_says_so_and_keeps_what_it_has(folder: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journal_module, "MOST_BYTES", 1_000)
    taken = [journal.append(settle(str(number))) for number in range(10)]
    assert taken[0]
    assert not taken[-1]
    assert kept(folder) == [str(number) for number in range(taken.count(True))]


def test_it_leaves_no_file_behind(folder: Path, journal: Journal):
    journal.append(settle("a"))
    journal.close()
    assert list(folder.iterdir()) == []
    journal.append(settle("b"))
    assert kept(folder) == ["b"]


def test_where_it_cannot_be_written_it_says_so_once(tmp_path: Path):
    (tmp_path / "spool").write_text("this is no folder")
    journal = Journal(tmp_path / "spool", "host-1")
    with capture_logs() as logs:
        assert not journal.append(settle("a"))
        assert not journal.append(settle("b"))
        (tmp_path / "spool").unlink()
        assert journal.append(settle("c"))
    assert [entry["event"] for entry in logs] == ["journal_failed"]
    assert kept(tmp_path / "spool") == ["c"]


def test_a_disk_that_takes_only_a_part_is_as_good_as_none(
    folder: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
):
    journal.append(settle("a"))
    write = journal_module.os.pwrite
    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(journal_module.os, "pwrite", lambda file, data, at: write(file, data[: len(data) // 2], at))
        assert not journal.append(settle("b"))
    assert [entry["event"] for entry in logs] == ["journal_failed"]
    assert kept(folder) == ["a"]
    assert journal.append(settle("c"))
    assert kept(folder) == ["a", "c"]


# --- Workers that are gone -----------------------------------------------------------------------------------


def replayed(spool: Spool) -> list[SpooledSettle]:
    path = spool.take()
    return [] if path is None else list(read(path))


def test_whoever_starts_next_has_what_a_killed_worker_left_and_doubts_it(folder: Path, journal: Journal):
    journal.append(settle("a"))
    heir = Spool(folder, "host-2")
    heir.adopt(lambda name: name != "host-1")
    (found,) = replayed(heir)
    assert found.request_id == "a"
    assert found.doubtful_since > 0  # it may have been sent: then it must not be charged twice
    assert list(folder.glob("*.journal")) == []


def test_nothing_of_the_living_is_taken(folder: Path, journal: Journal):
    journal.append(settle("a"))
    other = Spool(folder, "host-2")
    other.adopt(lambda _: True)
    assert replayed(other) == []
    assert kept(folder) == ["a"]


def test_a_worker_takes_over_what_its_namesake_left(folder: Path, journal: Journal):
    journal.append(settle("a"))  # containers start again with the same name and process id
    heir = Spool(folder, "host-1")
    heir.adopt(lambda _: True)
    assert [each.request_id for each in replayed(heir)] == ["a"]


def test_an_heir_that_dies_while_it_takes_over_leaves_it_to_the_next(folder: Path, journal: Journal):
    journal.append(settle("a"))
    (path,) = folder.iterdir()
    path.rename(folder / "host-1.journal@host-2.adopted")
    heir = Spool(folder, "host-3")
    heir.adopt(lambda _: False)
    (found,) = replayed(heir)
    assert (found.request_id, found.doubtful_since > 0) == ("a", True)


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_settle_that_a_kill_cut_short_is_left_out(folder: Path, journal: Journal, cut: int):
    journal.append(settle("a"))
    (path,) = folder.iterdir()
    whole = path.stat().st_size
    journal.append(settle("b"))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - len(b"end\n") - cut)
    assert path.stat().st_size > whole - len(b"end\n")
    assert kept(folder) == ["a"]
