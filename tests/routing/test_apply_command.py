"""`manage.py apply`: what it prints, what it publishes, and what it leaves alone."""

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from providers.models import Provider
from routing.models import ConfigRevision
from tests.routing.declaring import CATALOGUE, TENANTS

pytestmark = pytest.mark.django_db

EXAMPLE = Path(__file__).parents[2] / "gateway.example.yaml"


def run(file: Path, *options: str) -> str:
    out = StringIO()
    call_command("apply", str(file), *options, stdout=out)
    return out.getvalue()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(CATALOGUE + TENANTS)
    return path


def test_the_command_prints_changes_new_keys_and_the_revision(file: Path):
    printed = run(file)
    assert printed.startswith("+ provider openai\n")
    assert "\nAPI key alice/production: tg_" in printed
    assert printed.endswith("Published revision 1.\n")
    assert ConfigRevision.objects.get().note == "apply gateway.yaml"
    assert run(file) == "Nothing to change.\n"
    assert "sk-first" not in printed


def test_the_command_stops_before_publishing_when_told_so(file: Path):
    assert "Published" not in run(file, "--no-publish")
    assert Provider.objects.exists()
    assert not ConfigRevision.objects.exists()


def test_a_dry_run_publishes_nothing_and_makes_no_keys(file: Path):
    printed = run(file, "--dry-run")
    assert printed.endswith("This was a dry run: nothing was changed.\n")
    assert "tg_" not in printed
    assert not Provider.objects.exists()
    assert not ConfigRevision.objects.exists()


@pytest.mark.parametrize("options", [(), ("--dry-run",)], ids=["apply", "dry-run"])
def test_the_command_says_what_has_no_effect_yet(file: Path, options: tuple[str, ...]):
    silent = run(file, "--dry-run")
    assert "no effect" not in silent
    switches = "cache: {exact: true, ttl: 60}, collapse_identical: true"
    routes = f"routes: [{{alias: kept, {switches}, targets: [{{deployment: d}}]}}]\n"
    upstreams = "providers: [{slug: p, adapter: openai}]\ndeployments: [{slug: d, provider: p, model: m}]\n"
    file.write_text(upstreams + routes)
    for _ in range(2):  # also where nothing changes
        said = [line for line in run(file, *options).splitlines() if "no effect" in line]
        assert said == [
            f"Route kept: {name} is stored and has no effect yet: this version keeps no answers."
            for name in ("cache.exact", "collapse_identical")
        ]


def test_the_command_lists_the_errors_and_fails(file: Path):
    file.write_text("providers:\n  - slug: a\n    adapter: opnai\n    retries: 1\n")
    err = StringIO()
    with pytest.raises(CommandError, match="nothing was changed") as raised:
        call_command("apply", str(file), stderr=err)
    assert raised.value.returncode == 1
    assert err.getvalue().splitlines() == [
        f'{file}:3: providers[0].adapter: "opnai" is not an adapter; did you mean "openai"?',
        f"{file}:4: providers[0].retries: is not a field; there are slug, name, adapter, dialects, base_url, "
        "allow_private_address, credential, headers, enabled, max_connections, timeouts, limits, breaker, cooldown, queue, "
        "http2, proxy, tls",
    ]


def test_the_command_keeps_the_database_when_valkey_is_away(file: Path, settings):
    settings.VALKEY_URL = "redis://127.0.0.1:1"
    with pytest.raises(CommandError, match="stored and not published"):
        run(file)
    assert Provider.objects.exists()


def test_the_command_says_when_a_file_cannot_be_read(tmp_path: Path):
    with pytest.raises(CommandError, match="No such file"):
        run(tmp_path / "nothing.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9")
    with pytest.raises(CommandError, match="not UTF-8"):
        run(tmp_path / "latin.yaml")


def test_the_example_is_accepted_with_no_variable_set():
    assert "This was a dry run" in run(EXAMPLE, "--dry-run")
