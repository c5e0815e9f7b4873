"""The first run: an operator, a demo tenant and something to call."""

import json
import stat
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.core.management import CommandError, call_command

from gateway_site.infra import secrets
from providers.models import Deployment, ModelPrice, Provider
from routing.models import ConfigRevision, ModelAlias, Route
from tenants.keys import digest
from tenants.models import ApiKey, Budget, RateLimit, Tenant, User

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def state_dir(settings: Any, tmp_path: Path) -> Path:
    settings.STATE_DIR = tmp_path / "state"
    return tmp_path / "state"


def facts(state_dir: Path) -> dict[str, Any]:
    noted: dict[str, Any] = json.loads((state_dir / "first_run.json").read_bytes())
    return noted


def seed() -> None:
    call_command("seed_demo")


def test_it_makes_an_operator_who_can_sign_in(state_dir: Path):
    seed()
    noted = facts(state_dir)
    user = authenticate(username=noted["operator_username"], password=noted["operator_password"])
    assert user == User.objects.get()
    assert user.is_superuser
    assert len(noted["operator_password"]) == 20


def test_it_makes_a_tenant_with_limits_a_budget_and_a_key(state_dir: Path, settings: Any):
    seed()
    tenant = Tenant.objects.get(slug="demo")
    assert {str(limit) for limit in RateLimit.objects.for_tenant(tenant)} == {
        "600 requests per minute",
        "100 requests at once",
    }
    budget = Budget.objects.for_tenant(tenant).get()
    assert (str(budget), budget.is_hard) == ("50 USD per month", True)
    secret = facts(state_dir)["api_key"]
    assert ApiKey.objects.get().digest == digest(secret, settings.TOLLGATE_KEY_PEPPERS[0].encode())


def test_without_any_vendors_key_it_offers_the_simulator(state_dir: Path):
    seed()
    provider = Provider.objects.get()
    assert (provider.slug, provider.base_url) == ("simulator", "http://127.0.0.1:9100")
    assert provider.effective_dialects == ("openai_chat", "openai_responses", "anthropic_messages")
    (target,) = Route.objects.get(name="demo").targets.all()
    assert target.deployment.dialect == ""  # whichever the client speaks
    assert Deployment.objects.get(slug="demo-embedding").kind == "embedding"
    assert ModelPrice.objects.count() == 2
    noted = facts(state_dir)
    assert (noted["simulator"], noted["chat_model"], noted["messages_model"]) == (True, "demo", "demo")


def test_it_takes_the_vendors_whose_keys_are_there(state_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-one")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-two")
    monkeypatch.setenv("GROQ_API_KEY", "sk-three")
    seed()
    stored = {each.slug: secrets.decrypt(each.credential_encrypted) for each in Provider.objects.all()}
    assert stored == {"openai": "sk-one", "anthropic": "sk-two", "groq": "sk-three"}
    assert {alias.name for alias in ModelAlias.objects.all()} == {"gpt-5-mini", "claude-sonnet-5"}
    assert ModelPrice.objects.count() == 2
    noted = facts(state_dir)
    assert noted["chat_model"] == "gpt-5-mini"
    assert noted["messages_model"] == "claude-sonnet-5"
    assert noted["simulator"] is False


def test_a_vendor_without_a_starter_model_leaves_the_simulator_to_try(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GROQ_API_KEY", "sk-three")
    seed()
    assert {each.slug for each in Provider.objects.all()} == {"groq", "simulator"}
    assert ModelAlias.objects.filter(name="demo").exists()


def test_it_publishes_what_it_made():
    seed()
    revision = ConfigRevision.objects.get()
    assert (revision.status, revision.note) == ("published", "First run")


def test_only_its_owner_can_read_the_facts(state_dir: Path):
    seed()
    assert stat.S_IMODE((state_dir / "first_run.json").stat().st_mode) == 0o600


def test_it_does_nothing_the_second_time(state_dir: Path):
    seed()
    noted = facts(state_dir)
    seed()
    assert facts(state_dir) == noted
    assert User.objects.count() == ApiKey.objects.count() == ConfigRevision.objects.count() == 1


def test_a_deleted_demo_does_not_come_back(state_dir: Path):
    seed()
    Route.objects.all().delete()
    Deployment.objects.all().delete()
    Provider.objects.all().delete()
    Tenant.objects.all().delete()
    seed()
    assert not Tenant.objects.exists()
    assert not Provider.objects.exists()
    assert facts(state_dir)["simulator"] is False


def test_it_leaves_a_database_alone_that_somebody_uses(state_dir: Path):
    Tenant.objects.create(slug="charlie", name="Charlie")
    seed()
    assert not User.objects.exists()
    assert not Provider.objects.exists()
    assert not (state_dir / "first_run.json").exists()


def test_a_new_database_gets_a_demo_whatever_an_older_one_had(state_dir: Path):
    state_dir.mkdir()
    (state_dir / "first_run.json").write_text('{"api_key": "tg_of-a-database-that-is-gone"}')
    seed()
    assert User.objects.exists()
    assert facts(state_dir)["api_key"] != "tg_of-a-database-that-is-gone"


def test_it_follows_the_simulator_to_another_port(monkeypatch: pytest.MonkeyPatch):
    seed()
    monkeypatch.setenv("TOLLGATE_SIMULATOR_PORT", "9345")
    seed()
    assert Provider.objects.get().base_url == "http://127.0.0.1:9345"
    assert ConfigRevision.objects.count() == 2


def test_it_does_not_touch_a_provider_that_was_pointed_elsewhere(state_dir: Path, monkeypatch: pytest.MonkeyPatch):
    seed()
    Provider.objects.update(base_url="https://llm.example.com")
    monkeypatch.setenv("TOLLGATE_SIMULATOR_PORT", "9345")
    seed()
    assert Provider.objects.get().base_url == "https://llm.example.com"
    assert facts(state_dir)["simulator"] is False


def test_it_says_when_valkey_is_away_and_keeps_what_it_made(state_dir: Path, settings: Any):
    settings.VALKEY_URL = "redis://127.0.0.1:1"
    with pytest.raises(CommandError, match="Valkey"):
        seed()
    assert User.objects.exists()
    assert facts(state_dir)["operator_password"]


def test_it_starts_although_what_somebody_changed_cannot_be_published(monkeypatch: pytest.MonkeyPatch):
    seed()
    Provider.objects.create(slug="nowhere", adapter="openai_compatible")
    monkeypatch.setenv("TOLLGATE_SIMULATOR_PORT", "9345")
    err = StringIO()
    call_command("seed_demo", stderr=err)
    assert "nowhere" in err.getvalue()
