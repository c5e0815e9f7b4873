"""Settles on disk while the store is away: none is lost, whoever crashes when."""

from pathlib import Path

import pytest

from tenants.limits.charges import Hold
from tenants.limits.spool import Spool, SpooledSettle, read

ALIVE, GONE = (lambda _: True), (lambda _: False)


HOLDS = (
    Hold("c", "tollgate:limit:1"),
    Hold("t", "tollgate:limit:2:é:🙂", 500, 60_000),
    Hold("b", "tollgate:budget:3.1:d:e f", 2**62, 0, 1_760_000_000, 2**63 - 1, True, "EUR"),
)


def settle(number: int, event: str = "{}") -> SpooledSettle:
    return SpooledSettle(
        f"r{number}",
        HOLDS,
        event,
        2**62,
        "EUR",
        1234,
        1_760_000_000_123,
        replaces_lost=bool(number % 2),
        doubtful_since=1.5,
    )


def waiting(spool: Spool) -> list[str]:
    """Return the requests that would be replayed, and let them be."""
    path = spool.take()
    return [] if path is None else [settle.request_id for settle in read(path)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "not" / "made" / "yet"


def test_nothing_waits_at_first(folder: Path):
    spool = Spool(folder, "host-1")
    assert spool.is_empty
    assert spool.take() is None
    assert not folder.exists()


@pytest.mark.parametrize("event", ["{}", '{"end_user":"é🙂\\u2028\\ud800"}', "line\nline\r\n", "", "x" * 1_000_000])
def test_what_was_kept_is_handed_out_as_it_was(folder: Path, event: str):
    spool, kept = Spool(folder, "host-1"), [settle(number, event) for number in range(3)]
    for one in kept:
        spool.append(one)
    assert not spool.is_empty
    path = spool.take()
    assert path is not None
    assert list(read(path)) == kept


def test_nobody_else_can_read_it(folder: Path):
    Spool(folder, "host-1").append(settle(1))
    assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o600]


def test_new_settles_start_a_new_file_while_old_ones_are_replayed(folder: Path):
    spool = Spool(folder, "host-1")
    spool.append(settle(1))
    path = spool.take()
    spool.append(settle(2))
    assert path is not None
    assert [one.request_id for one in read(path)] == ["r1"]
    path.unlink()
    assert waiting(spool) == ["r2"]


def test_a_replay_that_was_broken_off_is_done_again_first(folder: Path):
    spool = Spool(folder, "host-1")
    spool.append(settle(1))
    first = spool.take()
    spool.append(settle(2))
    assert Spool(folder, "host-1").take() == first


def test_a_host_name_may_have_dots(folder: Path):
    one, other = Spool(folder, "web.example.com-1"), Spool(folder, "web.example.org-1")
    one.append(settle(1))
    other.append(settle(2))
    assert (waiting(one), waiting(other)) == (["r1"], ["r2"])


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_last_line_that_a_crash_cut_short_is_left_out(folder: Path, cut: int):
    spool = Spool(folder, "host-1")
    spool.append(settle(1))
    spool.append(settle(2))
    path = spool.take()
    assert path is not None
    path.write_bytes(path.read_bytes()[:-cut])
    assert [one.request_id for one in read(path)] == ["r1"]


def test_what_a_crash_cut_short_does_not_swallow_what_comes_after(folder: Path):
    spool = Spool(folder, "host-1")
    spool.append(settle(1))
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    Spool(folder, "host-1").append(settle(2))  # containers start again with the same name and process id
    assert waiting(spool) == ["r2"]


@pytest.mark.parametrize(
    "line", [b"\n", b"\0" * 64 + b"\n", b"\xff\xfe\n", b"{}\n", b'"\xff"\n', b'{"request_id":"\xff"}\n']
)
def test_a_line_that_cannot_be_read_does_not_hold_up_the_others(folder: Path, line: bytes):
    spool = Spool(folder, "host-1")
    spool.append(settle(1))
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes() + line)
    spool.append(settle(2))
    assert waiting(spool) == ["r1", "r2"]


def test_files_of_workers_that_are_gone_are_adopted(folder: Path):
    dead, dying, alive, heir = (Spool(folder, name) for name in ("host-1", "host-2", "host-3", "host-4"))
    dead.append(settle(1))
    dying.append(settle(2))
    dying.take()
    alive.append(settle(3))
    heir.append(settle(4))
    heir.adopt(lambda name: name == "host-3")
    assert sorted(waiting(heir)) == ["r1", "r2", "r4"]
    assert waiting(alive) == ["r3"]
    assert dead.is_empty


def test_nothing_of_the_living_is_adopted(folder: Path):
    Spool(folder, "host-1").append(settle(1))
    heir = Spool(folder, "host-2")
    heir.adopt(ALIVE)
    assert waiting(heir) == []


def test_its_own_files_of_an_earlier_life_are_its_own(folder: Path):
    Spool(folder, "host-1").append(settle(1))
    spool = Spool(folder, "host-1")
    spool.adopt(GONE)
    assert waiting(spool) == ["r1"]


@pytest.mark.parametrize("heirs_name", ["host-2", "host-3"])
def test_what_an_heir_died_over_is_adopted_again(folder: Path, monkeypatch: pytest.MonkeyPatch, heirs_name: str):
    Spool(folder, "host-1").append(settle(1))
    dying = Spool(folder, "host-2")
    with monkeypatch.context() as patch:
        patch.setattr(dying, "append", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            dying.adopt(GONE)
    heir = Spool(folder, heirs_name)
    heir.adopt(GONE)
    assert waiting(heir) == ["r1"]


def test_adopting_where_there_is_no_folder_does_nothing(folder: Path):
    spool = Spool(folder, "host-1")
    spool.adopt(GONE)
    assert spool.is_empty


def test_two_heirs_share_what_is_left_and_lose_nothing(folder: Path):
    for number in range(5):
        Spool(folder, f"dead-{number}").append(settle(number))
    heirs = [Spool(folder, "host-1"), Spool(folder, "host-2")]
    for heir in heirs:
        heir.adopt(lambda name: name.startswith("host"))
    assert sorted(waiting(heirs[0]) + waiting(heirs[1])) == [f"r{number}" for number in range(5)]
