"""The configuration as a file in the console: taken away without secrets, brought back after a look. Charlie has none."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from gateway_site.infra import secrets
from providers.models import Deployment, Provider
from routing.models import ConfigChange, Route
from tenants.models import ApiKey, AuditEvent, Tenant, User
from tests.routing.catalogue import CREDENTIAL, make_catalogue

PAGE = "/admin/configuration/"
FILE = "/admin/configuration/tollgate.yaml"


def exported(console: Any) -> str:
    return str(console.get(FILE).content.decode())


def post(console: Any, text: str, **fields: Any) -> str:
    response = console.client.post(PAGE, {"text": text, **fields})
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def seen(page: str) -> str:
    return re.search(r'name="seen" value="(\w+)"', page)[1]  # type: ignore[index]


def test_a_file_has_no_secrets(console, db):
    make_catalogue()
    response = console.get(FILE)
    text = response.content.decode()
    assert "${OPENAI_API_KEY}" in text
    assert CREDENTIAL not in text
    assert "attachment" in response["Content-Disposition"]
    assert AuditEvent.objects.filter(action="configuration_exported").exists()


def test_what_was_taken_away_changes_nothing(console, db):
    make_catalogue()
    assert "Nothing would change" in post(console, exported(console))


def test_it_shows_first_and_applies_then(console, db):
    route = make_catalogue().route
    text = exported(console).replace("alias: smart", "alias: smart\n    retries: 4")
    page = post(console, text)
    assert "route openai-smart" in page
    assert "retries 1 → 4" in page
    route.refresh_from_db()
    assert route.retries == 1

    page = post(console, text, seen=seen(page))
    assert "Applied" in page
    route.refresh_from_db()
    assert route.retries == 4
    assert ConfigChange.objects.last().username == "alice"  # type: ignore[union-attr]
    assert AuditEvent.objects.get(action="configuration_applied").actor == "alice"
    provider = Provider.objects.get()
    assert secrets.decrypt(provider.credential_encrypted) == CREDENTIAL
    assert provider.headers == {"x-team": "a-header-that-may-be-secret"}


def test_it_is_shown_again_when_it_changed_meanwhile(console, db):
    make_catalogue()
    text = exported(console).replace("alias: smart", "alias: smart\n    retries: 4")
    mark = seen(post(console, text))
    Route.objects.update(retries=2)
    page = post(console, text, seen=mark)
    assert "has changed since the preview" in page
    assert Route.objects.get().retries == 2


def test_a_file_may_be_uploaded(console, db):
    file = SimpleUploadedFile("a.yaml", b"tenants:\n  - slug: acme\n")
    page = post(console, "", file=file)
    assert "tenant acme" in page
    assert "- slug: acme" in page  # for the confirmation
    post(console, "tenants:\n  - slug: acme\n", seen=seen(page))
    assert Tenant.objects.get().slug == "acme"


def test_new_keys_are_shown_once(console, db):
    text = "tenants:\n  - slug: acme\n    api_keys:\n      - name: ci\n"
    page = post(console, text, seen=seen(post(console, text)))
    key = ApiKey.objects.get()
    assert key.prefix in page
    assert "shown this once" in page
    assert key.prefix not in console.get(PAGE).content.decode()


def test_errors_tell_line_and_path(console, db):
    page = post(console, "providers:\n  - slug: a\n    adapter: telepathy\n")
    assert "nothing was changed" in page
    assert "Line 3" in page
    assert "providers[0].adapter" in page
    assert not Provider.objects.exists()


def test_pruning_is_asked_for(console, db):
    make_catalogue()
    text = "tenants:\n  - slug: acme\n"
    assert "provider openai" not in post(console, text)
    page = post(console, text, prune="on")
    assert "provider openai" in page
    post(console, text, prune="on", seen=seen(page))
    assert not Deployment.objects.exists()


# --- Variables -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "tenants:\n  - slug: acme\n    name: ${TOLLGATE_SECRETS_KEY}\n",
        "tenants:\n  - slug: acme\n    name: a${SECRET_KEY}b\n",
        "tenants:\n  - slug: acme\n    api_keys:\n      - name: ci\n        secret: ${SECRET_KEY}\n",
        "providers:\n  - slug: a\n    adapter: openai\n    headers: {x-a: 'v ${SECRET_KEY}'}\n",
        "providers:\n  - slug: a\n    adapter: openai\n    base_url: https://${SECRET_KEY}.example.com\n",
    ],
)
def test_nobody_reads_the_environment_by_importing_it(console, db, settings, text):
    page = post(console, text)
    assert "nothing was changed" in page
    assert "Line " in page
    assert settings.SECRET_KEY not in page
    assert not Tenant.objects.exists()
    assert not Provider.objects.exists()


def test_a_variable_for_what_is_not_stored_is_refused(console, db):
    page = post(console, "providers:\n  - slug: a\n    adapter: openai\n    credential: ${OPENAI_API_KEY}\n")
    assert "none is stored" in page
    assert "Line 4" in page


def test_a_credential_may_be_brought_along(console, db):
    text = "providers:\n  - slug: a\n    adapter: openai\n    credential: sk-brought-along\n"
    post(console, text, seen=seen(post(console, text)))
    assert secrets.decrypt(Provider.objects.get().credential_encrypted) == "sk-brought-along"


# --- Who may -------------------------------------------------------------------------------------------------


def test_it_is_for_operators(charlie):
    assert charlie.get(PAGE).status_code == 403
    assert charlie.get(FILE).status_code == 403
    assert charlie.post(PAGE, {"text": "tenants: []"}).status_code == 403


def test_whoever_may_only_look_applies_nothing(db):
    user = User.objects.create_user("vera", password="vera's long password", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client = Client()
    client.force_login(user)
    assert "takes the rights" in client.get(PAGE).content.decode()
    assert client.get(FILE).status_code == 200
    assert client.post(PAGE, {"text": "tenants:\n  - slug: acme\n"}).status_code == 403


# --- Lists as CSV --------------------------------------------------------------------------------------------


def csv(client: Client, path: str, **query: str) -> list[str]:
    response = client.get(f"{path}export.csv/", query)
    assert response.status_code == 200
    return b"".join(response.streaming_content).decode().splitlines()  # type: ignore[attr-defined]


def test_a_list_is_exported_as_the_filters_show_it(console, db):
    made = make_catalogue()
    Deployment.objects.create(slug="other", provider=made.provider, model="gpt-5-mini", is_enabled=False)
    lines = csv(console.client, "/admin/providers/deployment/")
    assert lines[0].startswith("slug,model,provider.slug,kind")
    assert [line.split(",")[0] for line in lines[1:]] == ["openai-large", "other"]
    assert len(csv(console.client, "/admin/providers/deployment/", is_enabled__exact="0")) == 2
    assert len(csv(console.client, "/admin/providers/deployment/", q="mini")) == 2


def test_a_cell_is_no_formula(console, db):
    Tenant.objects.create(slug="evil", name='=HYPERLINK("https://example.com")')
    text = "\n".join(csv(console.client, "/admin/tenants/tenant/"))
    assert "'=HYPERLINK" in text


@pytest.mark.parametrize(
    "path",
    [
        "/admin/tenants/tenant/",
        "/admin/tenants/apikey/",
        "/admin/providers/deployment/",
        "/admin/providers/modelprice/",
        "/admin/routing/modelalias/",
    ],
)
def test_lists_that_can_be_exported_say_so(console, db, path):
    assert "export.csv" in console.get(path).content.decode()
    assert len(csv(console.client, path)) == 1


def test_an_export_tells_where_it_ends(monkeypatch):
    from gateway_site.infra import csv_export

    monkeypatch.setattr(csv_export, "MOST_ROWS", 2)
    lines = b"".join(csv_export.as_csv(["n"], iter([[1], [2], [3]]))).decode().splitlines()
    assert lines == ["n", "1", "2", "Only the first 2 rows; narrow the list to see the others."]


def test_charlie_exports_what_is_his_alone(console, charlie, tenant):
    from tenants.services import create_key

    create_key(tenant=tenant, name="acme's key")
    assert len(csv(charlie, "/admin/tenants/apikey/")) == 1
    assert [line.split(",")[0] for line in csv(charlie, "/admin/tenants/tenant/")[1:]] == ["charlies"]
    assert charlie.get("/admin/providers/deployment/export.csv/").status_code == 403
    assert charlie.get("/admin/routing/modelalias/export.csv/").status_code == 403
