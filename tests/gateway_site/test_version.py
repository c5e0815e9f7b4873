import tomllib
from pathlib import Path

from gateway_site import __version__


def test_the_package_and_the_code_have_one_version() -> None:
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__
