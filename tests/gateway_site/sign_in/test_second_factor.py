"""A second factor: set up, asked for, taken away, and required by tenants. Bob is Acme's owner, charlie owns another."""

from __future__ import annotations

import json
import re
import time
from hashlib import sha256
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from fido2 import cbor
from fido2.cose import ES256
from fido2.utils import websafe_encode

from gateway_site.sign_in.rules import METHODS, Demand, demand
from tenants.models import ApiKey, Member, Tenant, User
from tests.gateway_site.people import PASSWORD

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_attempts_yet")]

APP = "/admin/security/app/"
REQUIRED = "/admin/security/required/"


def signed_in(user: User) -> Client:
    client = Client()
    sign_in(client, user)
    return client


def sign_in(client: Client, user: User) -> Any:
    return client.post("/admin/login/", {"username": user.username, "password": PASSWORD})


def code_of(secret: str, step: int = 0) -> str:
    """What an authenticator app shows."""
    return str(format_hotp_value(hotp_value(secret, int(time.time()) // 30 + step)))


def enrol(client: Client) -> str:
    """Set up an authenticator app; returns its key."""
    page = client.get(APP).content.decode()
    found = re.search(r'sign-in-code">([A-Z2-7]+)<', page)
    assert found is not None, page
    reply = client.post(APP, {"code": code_of(found[1])})
    assert reply.url == "/admin/security/recovery-codes/"
    return found[1]


def recovery_codes(client: Client) -> list[str]:
    page = client.get("/admin/security/recovery-codes/").content.decode()
    return re.findall(r"<li>(\w{8,})</li>", page)


def forget_proof(client: Client) -> None:
    """Let a while go by since somebody has proven who they are."""
    session = client.session
    session[METHODS] = [{**record, "at": record["at"] - 3600} for record in session[METHODS]]
    session.save()


# --- Authenticator apps ------------------------------------------------------------------------------------


def test_an_app_s_code_is_asked_for_after_the_password(bob):
    secret = enrol(signed_in(bob))
    cache.clear()  # a code is good once; this one is another sign-in's
    client = Client()
    assert sign_in(client, bob).url == "/admin/login/second-factor/"
    assert client.get("/admin/").status_code == 302
    assert "Incorrect code" in client.post("/admin/login/second-factor/", {"code": "000000"}).content.decode()
    assert client.post("/admin/login/second-factor/", {"code": code_of(secret)}).url == "/admin/"
    assert client.get("/admin/").status_code == 200


def test_a_code_signs_in_once(bob):
    secret = enrol(signed_in(bob))
    code = code_of(secret, 1)
    first, second = Client(), Client()
    for client in (first, second):
        sign_in(client, bob)
    assert first.post("/admin/login/second-factor/", {"code": code}).status_code == 302
    assert second.post("/admin/login/second-factor/", {"code": code}).status_code == 200


def test_the_app_s_key_is_encrypted_in_the_database(bob):
    secret = enrol(signed_in(bob))
    stored = json.dumps(list(Authenticator.objects.values_list("data", flat=True)))
    assert secret not in stored
    assert "gAAAA" in stored


def test_a_wrong_code_sets_nothing_up(bob):
    client = signed_in(bob)
    client.get(APP)
    assert "Incorrect code" in client.post(APP, {"code": "000000"}).content.decode()
    assert not Authenticator.objects.exists()


def test_a_recovery_code_signs_in_once(bob):
    inside = signed_in(bob)
    enrol(inside)
    code = recovery_codes(inside)[0]
    for expected in (302, 200):
        client = Client()
        sign_in(client, bob)
        assert client.post("/admin/login/second-factor/", {"code": code}).status_code == expected


def test_pages_with_secrets_are_not_kept_by_browsers(bob):
    client = signed_in(bob)
    assert "no-store" in client.get(APP)["Cache-Control"]
    enrol(client)
    assert "no-store" in client.get("/admin/security/recovery-codes/")["Cache-Control"]


@pytest.mark.parametrize("path", [APP, "/admin/security/app/remove/", "/admin/security/passkeys/add/"])
def test_changes_want_a_fresh_proof(bob, path):
    client = signed_in(bob)
    enrol(client) if "remove" in path else None
    forget_proof(client)
    assert client.get(path).url.startswith("/admin/security/confirm/")


def test_removing_the_app_wants_a_proof_and_then_asks_no_more(bob):
    client = signed_in(bob)
    enrol(client)
    forget_proof(client)
    remove = "/admin/security/app/remove/"
    assert client.post(remove).url.startswith("/admin/security/confirm/")
    assert Authenticator.objects.filter(type="totp").exists()
    client.post("/admin/security/confirm/", {"password": PASSWORD, "next": remove})  # what was asked for is done then
    assert not Authenticator.objects.exists()
    assert sign_in(Client(), bob).url == "/admin/"


def test_charlie_finds_nothing_of_bob_s(bob, charlie):
    inside = signed_in(bob)
    enrol(inside)
    key = Authenticator.objects.create(user=bob, type="webauthn", data={"name": "bob's key", "credential": {}})
    client = signed_in(charlie)
    for path in (f"/admin/security/passkeys/{key.pk}/", f"/admin/security/passkeys/{key.pk}/remove/"):
        assert client.get(path).status_code == 404
        assert client.post(path).status_code == 404
    assert "bob" not in client.get("/admin/security/passkeys/").content.decode()
    assert recovery_codes(client) == []


# --- What tenants require ----------------------------------------------------------------------------------


def test_what_a_session_lacks():
    def lacks(**more: Any) -> Demand | None:
        words = {"needs_sso": False, "needs_second_factor": False, "methods": {"password"}} | more
        return demand(**{"has_second_factor": lambda: False} | words)

    assert lacks() is None
    assert lacks(needs_second_factor=True) is Demand.ENROL
    assert lacks(needs_second_factor=True, methods={"mfa"}) is Demand.ENROL  # it was taken away since
    assert lacks(needs_second_factor=True, has_second_factor=lambda: True) is Demand.SECOND_FACTOR
    assert lacks(needs_second_factor=True, has_second_factor=lambda: True, methods={"password", "mfa"}) is None
    assert lacks(needs_sso=True) is Demand.SINGLE_SIGN_ON
    assert lacks(needs_sso=True, methods={"socialaccount"}) is None
    assert lacks(needs_sso=True, needs_second_factor=True, methods={"socialaccount"}) is Demand.ENROL


@pytest.mark.django_db(transaction=True)  # what follows an enrolment happens after the commit
def test_a_member_without_a_second_factor_sees_nothing_before_there_is_one(bob, acme):
    client = signed_in(bob)
    assert client.get("/admin/").status_code == 200
    Tenant.objects.update(requires_two_factor=True)
    for path in ("/admin/", "/admin/tenants/apikey/", "/admin/usage", "/admin/search/?s=a", "/admin/autocomplete/"):
        assert client.get(path).url.startswith(REQUIRED), path
    assert client.post("/admin/tenants/apikey/add/", {"name": "x"}).url.startswith(REQUIRED)
    assert not ApiKey.objects.exists()
    page = client.get(REQUIRED)
    assert page.status_code == 403
    assert "Acme requires a second factor" in page.content.decode()
    assert "/admin/tenants/" not in page.content.decode()
    enrol(client)
    assert client.get("/admin/").status_code == 200


@pytest.mark.django_db(transaction=True)  # what follows an enrolment happens after the commit
def test_a_second_factor_set_up_elsewhere_is_to_be_shown_here(bob, acme):
    here, elsewhere = signed_in(bob), signed_in(bob)
    secret = enrol(elsewhere)
    Tenant.objects.update(requires_two_factor=True)
    assert elsewhere.get("/admin/").status_code == 200
    assert here.get("/admin/").url.startswith(REQUIRED)
    assert "Confirm that you have yours" in here.get(REQUIRED).content.decode()
    cache.clear()
    here.post("/admin/security/confirm/code/", {"code": code_of(secret, 1), "next": "/admin/"})
    assert here.get("/admin/").status_code == 200


def test_the_tenant_that_is_looked_at_decides(bob, acme, charlie):
    """Bob is in two tenants, and the second one wants more of him."""
    strict = Tenant.objects.create(slug="strict", name="Strict", requires_two_factor=True)
    Member.objects.create(tenant=strict, user=bob, role="viewer")
    client = signed_in(bob)
    assert client.get("/admin/").status_code == 200
    assert client.post(reverse("admin:switch_tenant"), {"tenant": strict.pk}).url == "/admin/"
    assert client.session["tenant_id"] == strict.pk
    assert client.get("/admin/").url.startswith(REQUIRED)
    page = client.get(REQUIRED).content.decode()
    assert "Go to Acme" in page
    assert "Other" not in page
    client.post(reverse("admin:switch_tenant"), {"tenant": acme.pk})
    assert client.get("/admin/").status_code == 200


def test_charlie_is_asked_for_nothing_that_acme_requires(bob, charlie, acme):
    Tenant.objects.filter(pk=acme.pk).update(requires_two_factor=True, requires_sso=True)
    assert signed_in(charlie).get("/admin/").status_code == 200


def test_who_came_with_a_password_is_refused_where_single_sign_on_is_required(bob, acme):
    Tenant.objects.update(requires_sso=True)
    client = signed_in(bob)
    assert client.get("/admin/").url.startswith(REQUIRED)
    page = client.get(REQUIRED).content.decode()
    assert "by single sign-on only" in page
    assert "ask an operator" in page  # there is none here


@pytest.mark.django_db(transaction=True)  # what follows an enrolment happens after the commit
def test_operators_need_a_second_factor_if_the_settings_say_so(settings, acme):
    operator = User.objects.create_superuser("olga", "olga@example.com", PASSWORD)
    client = signed_in(operator)
    assert client.get("/admin/").status_code == 200
    settings.CONSOLE_REQUIRES_TWO_FACTOR = True
    assert client.get("/admin/").url.startswith(REQUIRED)
    reply = client.get("/api/docs")
    assert reply.status_code == 403
    assert reply.json()["error"]["code"] == "enrol"
    enrol(client)
    assert client.get("/admin/").status_code == 200


def test_operators_are_not_asked_for_what_a_tenant_requires_of_its_members(acme):
    Tenant.objects.update(requires_two_factor=True, requires_sso=True)
    client = signed_in(User.objects.create_superuser("olga", "olga@example.com", PASSWORD))
    assert client.get("/admin/").status_code == 200


def test_owners_and_operators_set_what_is_required(bob, acme):
    client = signed_in(bob)
    page = client.get(f"/admin/tenants/tenant/{acme.pk}/change/").content.decode()
    assert 'name="requires_two_factor"' in page
    assert 'name="requires_sso"' in page


# --- Passkeys ----------------------------------------------------------------------------------------------


class Device:
    """A passkey in software: what a phone does when its owner has shown their finger."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = b"a-credential-id-"
        self.owner = ""
        self.uses = 0

    def create(self, options: dict[str, Any]) -> str:
        """Answer a page that wants a new passkey."""
        self.owner = options["publicKey"]["user"]["id"]
        public = bytes(16) + len(self.name).to_bytes(2, "big") + self.name
        public += cbor.encode(ES256.from_cryptography_key(self.key.public_key()))
        data = self._data(options["publicKey"]["rp"]["id"], 0x45) + public
        told = self._told("webauthn.create", options)
        answer = {"attestationObject": cbor.encode({"fmt": "none", "attStmt": {}, "authData": data})}
        return self._answer(told, answer, {"credProps": {"rk": True}})

    def get(self, options: dict[str, Any], origin: str = "https://testserver") -> str:
        """Answer a page that wants to know who is there."""
        data, told = self._data(options["publicKey"]["rpId"], 0x05), self._told("webauthn.get", options, origin)
        signature = self.key.sign(data + sha256(told).digest(), ec.ECDSA(hashes.SHA256()))
        return self._answer(told, {"authenticatorData": data, "signature": signature}, {})

    def _data(self, site: str, flags: int) -> bytes:
        self.uses += 1
        return sha256(site.encode()).digest() + bytes([flags]) + self.uses.to_bytes(4, "big")

    def _told(self, kind: str, options: dict[str, Any], origin: str = "https://testserver") -> bytes:
        return json.dumps({"type": kind, "challenge": options["publicKey"]["challenge"], "origin": origin}).encode()

    def _answer(self, told: bytes, answer: dict[str, bytes], results: dict[str, Any]) -> str:
        response: dict[str, Any] = {name: websafe_encode(value) for name, value in answer.items()}
        response |= {"clientDataJSON": websafe_encode(told), "userHandle": self.owner}
        name = websafe_encode(self.name)
        words = {"id": name, "rawId": name, "type": "public-key", "response": response}
        return json.dumps(words | {"clientExtensionResults": results})


def options_in(page: str) -> Any:
    """What a page with a button for passkeys has for its script."""
    found = re.search(r'id="js_data" type="application/json">(.*?)</script>', page)
    assert found is not None
    return json.loads(found[1])


def with_passkey(user: User) -> Device:
    client, device = signed_in(user), Device()
    path = "/admin/security/passkeys/add/"
    options = options_in(client.get(path, secure=True).content.decode())["creation_options"]
    words = {"name": "phone", "passwordless": "on", "credential": device.create(options)}
    assert client.post(path, words, secure=True).status_code == 302
    return device


def challenge(client: Client) -> Any:
    reply = client.get("/admin/login/passkey/", headers={"accept": "application/json"}, secure=True)
    return reply.json()["request_options"]


def come_with(client: Client, credential: str) -> Any:
    return client.post("/admin/login/passkey/", {"credential": credential}, secure=True)


def test_a_passkey_signs_in_without_a_password_and_counts_as_a_second_factor(bob, acme):
    device, client = with_passkey(bob), Client()
    options = challenge(client)
    assert options["publicKey"]["userVerification"] == "required"
    assert come_with(client, device.get(options)).url == "/admin/"
    Tenant.objects.update(requires_two_factor=True)
    assert client.get("/admin/").status_code == 200


def test_an_answer_of_a_passkey_is_good_once(bob):
    device, client = with_passkey(bob), Client()
    answer = device.get(challenge(client))
    late = Client()
    challenge(late)
    assert come_with(client, answer).url == "/admin/"
    assert come_with(late, answer).url == "/admin/login/"
    assert late.get("/admin/").status_code == 302


@pytest.mark.parametrize("origin", ["https://testserver.evil.example", "http://testserver"])
def test_a_passkey_that_another_site_has_asked_signs_nobody_in(bob, origin):
    device, client = with_passkey(bob), Client()
    assert come_with(client, device.get(challenge(client), origin)).url == "/admin/login/"
    assert client.get("/admin/").status_code == 302


def test_charlie_s_passkey_does_not_sign_in_as_bob(bob, charlie):
    bobs, charlies, client = with_passkey(bob), with_passkey(charlie), Client()
    charlies.owner = bobs.owner
    come_with(client, charlies.get(challenge(client)))
    assert client.get("/admin/").status_code == 302


def test_a_passkey_is_asked_for_after_the_password(bob):
    device, client = with_passkey(bob), Client()
    assert sign_in(client, bob).url == "/admin/login/second-factor/"
    page = client.get("/admin/login/second-factor/", secure=True).content.decode()
    credential = device.get(options_in(page)["request_options"])
    assert client.post("/admin/login/second-factor/", {"credential": credential}, secure=True).url == "/admin/"


def test_a_passkey_that_is_removed_signs_in_no_longer(bob):
    device, client = with_passkey(bob), Client()
    come_with(client, device.get(challenge(client)))
    key = Authenticator.objects.get(type="webauthn")
    assert client.post(f"/admin/security/passkeys/{key.pk}/remove/").status_code == 302
    other = Client()
    assert come_with(other, device.get(challenge(other))).url == "/admin/login/"


@pytest.mark.parametrize("credential", ["{}", '{"id": "x"}', "[]", "no json", '{"response": {"userHandle": 1}}'])
def test_what_is_no_passkey_s_answer_signs_nobody_in(client, bob, credential):
    challenge(client)
    assert come_with(client, credential).url == "/admin/login/"
    assert client.get("/admin/").status_code == 302
