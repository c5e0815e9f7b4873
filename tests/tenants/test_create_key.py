"""Creating API keys, by command and by verb."""

from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command

from tenants import keys
from tenants.models import ApiKey, Project, Tenant
from tenants.services import create_key

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> Tenant:
    return Tenant.objects.create(slug="alice", name="Alice")


@pytest.fixture
def charlie() -> Tenant:
    return Tenant.objects.create(slug="charlie", name="Charlie")


def run(*arguments: str, **options: Any) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("create_key", *arguments, stdout=out, stderr=err, **options)
    return out.getvalue(), err.getvalue()


def test_it_prints_the_key_and_nothing_else(alice: Tenant):
    out, err = run("alice", "laptops")
    key = ApiKey.objects.for_tenant(alice).get()
    assert out.startswith("tg_")
    assert out.count("\n") == 1
    assert key.digest == keys.digest(out.strip(), settings.TOLLGATE_KEY_PEPPERS[0].encode())
    assert "laptops" in err
    assert out.strip() not in err


def test_it_takes_project_models_and_last_day(alice: Tenant):
    project = Project.objects.create(tenant=alice, slug="chatbot")
    run("alice", "laptops", "--project", "chatbot", "--models", "smart, claude-*", "--expires", "2099-12-31")
    key = ApiKey.objects.get()
    assert key.project == project
    assert key.allowed_models == ["smart", "claude-*"]
    assert key.expires_at == datetime(2099, 12, 31, 23, 59, 59, 999_999, UTC)


def test_without_models_a_key_may_use_all_of_its_tenants(alice: Tenant):
    run("alice", "laptops")
    assert ApiKey.objects.get().allowed_models is None


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["zoe", "laptops"], "There is no tenant 'zoe'"),
        (["alice", "laptops", "--project", "nothing"], "alice has no project 'nothing'"),
        (["alice", "laptops", "--expires", "soon"], "'soon' is not a date such as 2027-12-31"),
        (["alice", "laptops", "--expires", "2020-01-01"], "2020-01-01 is over"),
        (["alice", "laptops", "--models", " , "], "names no model"),
        (["alice", ""], "cannot be blank"),
        (["alice", "taken"], "alice has a key 'taken' already"),
    ],
)
def test_it_says_what_is_wrong(alice: Tenant, arguments: list[str], problem: str):
    create_key(tenant=alice, name="taken")
    with pytest.raises(CommandError, match=problem):
        run(*arguments)
    assert ApiKey.objects.count() == 1


def test_it_does_not_find_charlies_project_for_alice(alice: Tenant, charlie: Tenant):
    Project.objects.create(tenant=charlie, slug="charlies-project")
    with pytest.raises(CommandError, match="alice has no project"):
        run("alice", "laptops", "--project", "charlies-project")


def test_two_tenants_may_give_their_keys_the_same_name(alice: Tenant, charlie: Tenant):
    run("alice", "laptops")
    run("charlie", "laptops")
    assert ApiKey.objects.for_tenant(alice).count() == ApiKey.objects.for_tenant(charlie).count() == 1


def test_a_secret_can_be_brought(alice: Tenant):
    key, secret = create_key(tenant=alice, name="old", secret="sk-of-another-gateway-1")
    assert secret == "sk-of-another-gateway-1"
    assert key.hint == "sk-of…ay-1"


@pytest.mark.parametrize(
    "secret", ["short", "with a blank in the midst", "x" * 257, "ünïcödé-ünïcödé-ünïcödé", "\t" * 20]
)
def test_a_secret_must_be_long_and_printable(alice: Tenant, secret: str):
    with pytest.raises(ValidationError) as raised:
        create_key(tenant=alice, name="old", secret=secret)
    assert secret not in str(raised.value)


def test_a_secret_belongs_to_one_key_and_its_owner_is_not_told(alice: Tenant, charlie: Tenant):
    create_key(tenant=charlie, name="charlies", secret="sk-of-another-gateway-1")
    with pytest.raises(ValidationError, match="Another key has this secret") as raised:
        create_key(tenant=alice, name="old", secret="sk-of-another-gateway-1")
    assert "charlie" not in str(raised.value)


def test_a_key_cannot_be_in_another_tenants_project(alice: Tenant, charlie: Tenant):
    project = Project.objects.create(tenant=charlie, slug="charlies-project")
    with pytest.raises(ValidationError, match="another tenant"):
        create_key(tenant=alice, name="laptops", project=project)
