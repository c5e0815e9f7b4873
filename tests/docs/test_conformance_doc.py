"""docs/conformance.md is what `manage.py conformance` finds."""

from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from providers.registry import DIALECTS
from tests.docs.environment_variables import REPOSITORY

PAGE = REPOSITORY / "docs" / "conformance.md"


@pytest.fixture
def elsewhere(tmp_path: Path, settings: Any) -> Path:
    """A copy of the repository as far as the command reads it, for what it writes."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "exchanges").symlink_to(REPOSITORY / "tests" / "exchanges")
    settings.BASE_DIR = tmp_path
    return tmp_path / "docs" / "conformance.md"


def test_the_page_is_current():
    call_command("conformance", "--check")


def test_it_writes_the_same_page_each_time(elsewhere: Path):
    call_command("conformance")
    first = elsewhere.read_bytes()
    call_command("conformance")
    assert elsewhere.read_bytes() == first
    call_command("conformance", "--check")


def test_it_fails_when_the_page_is_not_current_and_leaves_it_alone(elsewhere: Path):
    elsewhere.write_text("old", encoding="utf-8")
    with pytest.raises(CommandError, match="not current"):
        call_command("conformance", "--check")
    assert elsewhere.read_text(encoding="utf-8") == "old"


def test_it_fails_when_there_is_no_page(elsewhere: Path):
    with pytest.raises(CommandError, match="not current"):
        call_command("conformance", "--check")
    assert not elsewhere.exists()


def test_it_tells_every_pair(elsewhere: Path, capsys: pytest.CaptureFixture[str]):
    call_command("conformance")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"{client} → {upstream}" for client in DIALECTS for upstream in DIALECTS
    ]


def test_it_says_when_there_are_no_exchanges(tmp_path: Path, settings: Any):
    settings.BASE_DIR = tmp_path
    with pytest.raises(CommandError, match="no recorded exchanges"):
        call_command("conformance")
