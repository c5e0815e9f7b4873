"""Single sign-on, against a small provider of OpenID Connect that runs here. Bob is Acme's; charlie is known to nobody."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from django.core.cache import cache
from django.test import Client

from tenants.invitations import invite
from tenants.models import Member, Tenant, User

pytestmark = pytest.mark.django_db

START = "/admin/login/sso/"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ANOTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Provider(ThreadingHTTPServer):
    """Vouches for whoever `person` is, as the tests tell it to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.issuer = f"http://127.0.0.1:{self.server_port}"
        self.person: dict[str, Any] = {"sub": "1", "email": "bob@acme.example", "email_verified": True}
        self.changes: dict[str, Any] = {}  # to the identity token
        self.info: dict[str, Any] = {}
        self.key = KEY
        self.nonces: dict[str, str] = {}
        self.verifiers: list[str] = []

    def id_token(self, code: str) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": "tollgate",
            "iat": now,
            "exp": now + 60,
            "nonce": self.nonces.pop(code, ""),
        }
        claims |= self.person | self.changes
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": "k"})


class Page(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/authorize":
            code = f"code-{len(self.server.nonces)}"
            self.server.nonces[code] = asked["nonce"]
            self.send_response(302)
            self.send_header("Location", f"{asked['redirect_uri']}?code={code}&state={asked['state']}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.answer(
            {"/.well-known/openid-configuration": self.documents, "/keys": self.keys, "/info": self.info}[url.path]()
        )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        asked = {name: values[0] for name, values in parse_qs(body).items()}
        self.server.verifiers.append(asked.get("code_verifier", ""))
        token = self.server.id_token(asked["code"])
        self.answer({"access_token": "opaque", "token_type": "Bearer", "expires_in": 60, "id_token": token})

    def documents(self) -> dict[str, Any]:
        at = self.server.issuer
        return {
            "issuer": at,
            "authorization_endpoint": f"{at}/authorize",
            "token_endpoint": f"{at}/token",
            "jwks_uri": f"{at}/keys",
            "userinfo_endpoint": f"{at}/info",
        }

    def keys(self) -> dict[str, Any]:
        key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key()))
        return {"keys": [key | {"kid": "k", "alg": "RS256", "use": "sig"}]}

    def info(self) -> dict[str, Any]:
        return self.server.info

    def answer(self, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def provider(settings: Any, stores: Any) -> Iterator[Provider]:
    cache.clear()
    with Provider() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        settings.OIDC_ISSUER = server.issuer
        settings.OIDC_CLIENT_ID, settings.OIDC_CLIENT_SECRET, settings.OIDC_NAME = "tollgate", "secret", "Acme ID"
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def bob(acme: Tenant) -> User:
    user = User.objects.create_user("bob", "Bob@acme.example", "a rather long password")
    Member.objects.create(tenant=acme, user=user, role="owner")
    return user


def come(client: Client, *, state: str | None = None, **more: str) -> Any:
    """Press the button, go to the provider as a browser would, and come back."""
    there = client.post(START, more)
    assert there.status_code == 302, there.content.decode()[:2000]
    back = urlsplit(httpx.get(there.url).headers["location"])
    query = {name: values[0] for name, values in parse_qs(back.query).items()}
    return client.get(back.path, query | ({"state": state} if state is not None else {}))


def is_inside(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


def test_somebody_whom_we_know_comes_in(client, bob, provider):
    assert "Continue with Acme ID" in client.get("/admin/login/").content.decode()
    assert come(client, next="/admin/tenants/apikey/").url == "/admin/tenants/apikey/"
    assert is_inside(client)
    assert client.get("/admin/").wsgi_request.user == bob
    assert len(provider.verifiers[0]) >= 43  # PKCE


def test_they_are_known_by_the_provider_s_name_for_them_from_then_on(bob, provider):
    come(Client())
    provider.person = {"sub": "1", "email": "bob@another.example", "email_verified": True}
    client = Client()
    come(client)
    assert client.get("/admin/").wsgi_request.user == bob


def test_charlie_whom_nobody_knows_is_refused(client, bob, provider):
    provider.person = {"sub": "3", "email": "charlie@example.com", "email_verified": True}
    reply = come(client)
    assert reply.status_code == 403
    assert "Acme ID knows you as charlie@example.com, and nobody here has this address" in reply.content.decode()
    assert not is_inside(client)
    assert not User.objects.filter(email="charlie@example.com").exists()


@pytest.mark.parametrize("verified", [False, None, "true", 1], ids=["false", "missing", "text", "number"])
def test_an_address_that_is_not_verified_proves_nothing(client, bob, provider, verified):
    provider.person["email_verified"] = verified
    reply = come(client)
    assert reply.status_code == 403
    assert "does not vouch for your e-mail address" in reply.content.decode()
    assert not is_inside(client)


FORGED = {
    "nonce": {"nonce": "of another request"},
    "no-nonce": {"nonce": None},
    "audience": {"aud": "another client"},
    "issuer": {"iss": "https://evil.example"},
    "expired": {"exp": int(time.time()) - 3600},
}


@pytest.mark.parametrize("what", FORGED)
def test_an_identity_token_for_somebody_else_is_refused(client, bob, provider, what):
    provider.changes = FORGED[what]
    assert come(client).status_code == 401
    assert not is_inside(client)


def test_an_identity_token_that_another_has_signed_is_refused(client, bob, provider):
    provider.key = ANOTHER_KEY
    assert come(client).status_code == 401
    assert not is_inside(client)


def test_an_answer_that_this_browser_has_not_asked_for_is_refused(client, bob, provider):
    assert come(client, state="of another browser").status_code == 401
    assert not is_inside(client)


def test_an_answer_is_good_once(client, bob, provider):
    there = client.post(START)
    back = urlsplit(httpx.get(there.url).headers["location"])
    address = f"{back.path}?{back.query}"
    assert client.get(address).status_code == 302
    client.post("/admin/logout/")
    assert client.get(address).status_code == 401


def test_the_address_may_come_from_the_user_info_of_the_same_person(client, bob, provider):
    provider.info, provider.person = provider.person, {"sub": "1"}
    come(client)
    assert is_inside(client)


def test_the_user_info_of_another_person_is_refused(client, bob, provider):
    provider.info, provider.person = provider.person | {"sub": "2"}, {"sub": "1"}
    assert come(client).status_code == 401
    assert not is_inside(client)


def test_an_address_that_somebody_else_may_have_chosen_is_not_taken_over(client, bob, provider):
    User.objects.update(email_is_proven=False)
    reply = come(client)
    assert reply.status_code == 403
    assert "the address is not proven" in reply.content.decode()


def test_two_accounts_with_one_address_are_for_an_operator(client, bob, provider):
    User.objects.create_user("bob2", "bob@acme.example")
    assert "More than one account" in come(client).content.decode()


def test_somebody_who_is_invited_gets_an_account_and_joins(client, bob, acme, provider):
    provider.person = {"sub": "4", "email": "dave@example.com", "email_verified": True, "name": "Dave Doe"}
    invite(tenant=acme, email="dave@example.com", role="viewer", by=bob)
    assert come(client).status_code == 302
    dave = User.objects.get(email="dave@example.com")
    assert (dave.username, dave.get_full_name()) == ("dave@example.com", "Dave Doe")
    assert not dave.has_usable_password()
    assert not dave.is_staff
    assert dave.memberships.get().role == "viewer"
    assert is_inside(client)


def test_a_domain_that_is_allowed_gets_accounts_without_a_tenant(client, bob, provider, settings):
    settings.OIDC_ALLOWED_DOMAINS = ["example.com"]
    provider.person = {"sub": "5", "email": "eve@example.com", "email_verified": True, "preferred_username": "admin"}
    come(client)
    eve = User.objects.get(email="eve@example.com")
    assert eve.username == "eve@example.com"  # not the name that she chose at the provider
    assert not eve.memberships.exists()
    assert not is_inside(client)


def test_a_domain_like_an_allowed_one_is_another(client, bob, provider, settings):
    settings.OIDC_ALLOWED_DOMAINS = ["example.com"]
    provider.person = {"sub": "5", "email": "eve@evil-example.com", "email_verified": True}
    assert come(client).status_code == 403


def test_who_was_switched_off_stays_outside(client, bob, provider):
    User.objects.update(is_active=False)
    assert come(client).url == "/admin/login/inactive/"
    assert not is_inside(client)


def test_a_tenant_that_requires_it_is_content(client, bob, provider):
    Tenant.objects.update(requires_sso=True)
    come(client)
    assert is_inside(client)
    other = Client()
    other.post("/admin/login/", {"username": "bob", "password": "a rather long password"})
    page = other.get("/admin/", follow=True).content.decode()
    assert "Continue with Acme ID" in page
    come(other)
    assert is_inside(other)


def test_a_provider_that_is_away_is_said_to_be(client, bob, provider, settings):
    settings.OIDC_ISSUER = "http://127.0.0.1:1"
    reply = client.post(START)
    assert reply.status_code == 502
    assert "cannot be reached just now" in reply.content.decode()


def test_a_provider_that_calls_itself_otherwise_is_not_believed(client, bob, provider, settings):
    settings.OIDC_ISSUER = provider.issuer.replace("127.0.0.1", "localhost")
    assert client.post(START).status_code == 502


def test_whoever_comes_back_without_consent_is_told_so(client, bob, provider):
    there = client.post(START)
    state = parse_qs(urlsplit(there.url).query)["state"][0]
    reply = client.get("/admin/login/sso/callback/", {"error": "access_denied", "state": state}, follow=True)
    assert "You have not signed in" in reply.content.decode()


def test_without_settings_there_is_none(client, db):
    assert client.get(START).status_code == 404
    assert client.get("/admin/login/sso/callback/").status_code == 404
    assert "Continue with" not in client.get("/admin/login/").content.decode()
