"""docs/settings.md and the code agree on every environment variable."""

import re

import pytest

from tests.docs.environment_variables import REPOSITORY, defaults, variables

ROW = re.compile(r"^\| `([A-Z][A-Z0-9_]*)` \| (.*?) \|", re.MULTILINE)
DOCUMENT = (REPOSITORY / "docs" / "settings.md").read_text(encoding="utf-8")
DOCUMENTED = dict(ROW.findall(DOCUMENT))


def test_every_variable_that_the_code_reads_is_documented():
    assert sorted(variables() - DOCUMENTED.keys()) == []


def test_every_documented_variable_is_read_by_the_code():
    assert sorted(DOCUMENTED.keys() - variables()) == []


def test_no_variable_is_documented_twice():
    names = [name for name, _ in ROW.findall(DOCUMENT)]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("name", sorted(defaults()))
def test_the_documented_default_is_the_one_in_the_code(name):
    assert DOCUMENTED[name] in {f"`{default}`" for default in defaults()[name]}


def test_the_search_finds_what_it_is_to_find():
    assert {"SECRET_KEY", "DATABASE_URL", "LOG_LEVEL_CELERY", "OPENAI_API_KEY", "READY_FD"} <= variables()
    assert defaults()["MAX_BODY_BYTES"] == {"33554432"}
