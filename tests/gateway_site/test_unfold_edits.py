"""Unfold's templates with our changes: each still finds its place."""

from pathlib import Path
from typing import Any

import pytest
import unfold
from django.template.loader import get_template

from gateway_site.unfold_edits import EDITS


@pytest.mark.parametrize("name", sorted(EDITS))
def test_every_change_finds_its_place(name: str) -> None:
    template: Any = get_template(name)
    assert Path(template.origin.name).is_relative_to(Path(unfold.__file__).parent), "a copy of ours hides it"
    source = template.template.source
    assert all(new in source for _, new in EDITS[name])
