"""Bodies that are kept: what is taken out, how they are stored, and when they go; charlie's stay charlie's."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.utils import timezone

from tenants import bodies
from tenants.kept_body import STREAM, KeptBody, open_body, seal
from tenants.models import RequestBody, Tenant
from tenants.redaction import Choice, Redactor
from tenants.stream_text import assemble

KEY = "sk-ant-api03-" + "aB3" * 12
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"
CARD = "4111 1111 1111 1111"


def redact(text: str, **choice: bool) -> str:
    return Redactor(Choice(**choice)).body(text)


# --- Redaction -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "secret",
    [
        KEY,
        "tg_" + "a1B2" * 10,
        "ghp_" + "x1" * 18,
        "AKIAIOSFODNN7EXAMPLE",
        "AIzaSyA-1234567890abcdefghijklmnopqrstu",
        JWT,
        "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----",
        "Bearer abcdef1234567890",
        "password=correct-horse-battery",
        '"client_secret": "0123456789abcdef"',
        "postgres://bob:hunter22@db/x",
    ],
)
def test_secrets_are_taken_out_of_text_and_of_json(secret: str):
    said = secret.split()[-1] if secret.startswith("Bearer") else secret
    for text in (f"see {secret} there", json.dumps({"messages": [{"content": f"see {secret} there"}]})):
        found = redact(text, personal=False, media=False)
        assert said not in found
        assert "[secret]" in found
        assert "see " in found


@pytest.mark.parametrize(
    "address",
    ["alice@example.com", "ünï.kö@exämple.de", "a.b+tag@sub.example.co.uk", "王@例え.テスト", "bob\uff20example.com"],
)
def test_addresses_are_taken_out_in_any_script(address: str):
    for text in (f"write to {address}!", json.dumps({"to": address}), json.dumps({"to": address}, ensure_ascii=False)):
        assert redact(text).count("[e-mail address]") == 1
        assert "[e-mail address]" not in redact(text, personal=False)


@pytest.mark.parametrize(
    "text",
    [
        '{"to": "alice\\u0040example.com"}',
        '{"arguments": "{\\"to\\": \\"alice\\\\u0040example.com\\"}"}',
        '{"to": "alice\\u0040example.com", "cut',
        '{"alice@example.com": 1}',
    ],
)
def test_what_is_escaped_as_json_escapes_is_found(text: str):
    assert "[e-mail address]" in redact(text)
    assert "example.com" not in redact(text)


def test_a_secret_in_cut_json_is_found():
    assert KEY not in redact('{"messages": [{"content": "my key is ' + KEY + " and")


def test_the_value_of_a_telling_name_is_a_secret_whatever_it_looks_like():
    assert json.loads(redact('{"api_key": "x", "tools": {"Authorization": "y"}, "max_tokens": 5}')) == {
        "api_key": "[secret]",
        "tools": {"Authorization": "[secret]"},
        "max_tokens": 5,
    }


def test_cards_are_told_from_other_numbers():
    text = json.dumps({"card": CARD, "number": 4111111111111111, "order": "4111 1111 1111 1112", "id": 1732224000123})
    assert json.loads(redact(text)) == {
        "card": "[card number]",
        "number": "[card number]",
        "order": "4111 1111 1111 1112",
        "id": 1732224000123,
    }


def test_media_become_their_type_and_size():
    blob = "iVBORw0KGgoAAAANSUhEUgAA" * 100
    body = json.dumps({"url": f"data:image/png;base64,{blob}", "data": blob, "text": "a" * 3000})
    found = json.loads(redact(body))
    assert found["url"].startswith("[image/png, ")
    assert found["data"].startswith("[base64, ")
    assert found["text"] == "a" * 3000
    assert blob in redact(body, media=False)


def test_what_is_no_secret_stays():
    text = "I sk-ip rope; token budgets, key-value stores, v1.2.3, 2026-11-21, x@y and max_tokens: 4096"
    assert redact(text) == text


# --- Streams -------------------------------------------------------------------------------------------------


def frames(*events: dict[str, Any]) -> str:
    return "".join(f"event: {event.get('type', 'x')}\ndata: {json.dumps(event)}\n\n" for event in events)


@pytest.mark.parametrize(
    "stream",
    [
        frames(*({"choices": [{"delta": {"content": part}}]} for part in ("my key: ", KEY[:9], KEY[9:]))),
        frames(
            *(
                {"type": "content_block_delta", "delta": {"type": "text_delta", "text": part}}
                for part in (KEY[:9], KEY[9:])
            )
        ),
        frames(*({"type": "response.output_text.delta", "delta": part} for part in (KEY[:9], KEY[9:]))),
        frames(*({"candidates": [{"content": {"parts": [{"text": part}]}}]} for part in (KEY[:9], KEY[9:]))),
    ],
    ids=["openai_chat", "anthropic_messages", "openai_responses", "gemini"],
)
def test_a_secret_that_comes_in_pieces_is_found(stream: str):
    assert KEY in assemble(stream)
    body = KeptBody(request_id=uuid.uuid4().hex, tenant_id=1, started_at=0.0, answer=stream.encode())
    content = bodies.redacted(body, Redactor(Choice()))
    assert content.is_stream
    assert "[secret]" in content.answer
    assert KEY[9:] not in content.answer


def test_tool_calls_and_errors_of_a_stream_are_told():
    stream = frames(
        {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "name": "get_weather"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"city":'}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '"Rome"}'}},
        {"type": "error", "error": {"message": "overloaded"}},
    )
    text = assemble(stream)
    assert 'get_weather {"city":"Rome"}' in text
    assert "overloaded" in text


# --- The table -----------------------------------------------------------------------------------------------


def kept(tenant: Tenant, text: str = "hello", **values: Any) -> KeptBody:
    request = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
    given: dict[str, Any] = {
        "request_id": uuid.uuid4().hex,
        "tenant_id": tenant.pk,
        "started_at": timezone.now().timestamp(),
        "request": request,
        "answer": b'{"text": "hi"}',
        "request_size": len(request),
        "answer_size": 14,
    }
    return KeptBody(**given | values)


def wait_in(client: redis.Redis, *waiting: KeptBody) -> None:
    for body in waiting:
        client.xadd(STREAM, {"body": seal(body)})


@pytest.mark.django_db
def test_the_drain_redacts_encrypts_and_stores(client: redis.Redis, alice: Tenant):
    body = kept(alice, f"alice@example.com has {KEY}")
    wait_in(client, body)
    assert bodies.drain(client) == 1
    assert client.xlen(STREAM) == 0
    row = RequestBody.objects.get()
    assert b"alice@" not in bytes(row.content)
    assert row.redactions == {"email": 1, "secret": 1}
    content = bodies.read(row)
    assert json.loads(content.request)["messages"][0]["content"] == "[e-mail address] has [secret]"


@pytest.mark.django_db
def test_what_waits_in_valkey_is_encrypted(client: redis.Redis, alice: Tenant):
    wait_in(client, kept(alice, "a very private sentence"))
    ((_, fields),) = client.xrange(STREAM)
    assert b"private" not in fields[b"body"]
    assert b"private" in open_body(fields[b"body"]).request


@pytest.mark.django_db
def test_each_tenant_chooses_what_is_taken_out(client: redis.Redis, alice: Tenant, charlie: Tenant):
    Tenant.objects.filter(pk=charlie.pk).update(audit_redacts_personal=False)
    wait_in(client, kept(alice, "bob@example.com"), kept(charlie, "bob@example.com"))
    bodies.drain(client)
    texts = {row.tenant_id: bodies.read(row).request for row in RequestBody.objects.all()}
    assert "bob@example.com" not in texts[alice.pk]
    assert "bob@example.com" in texts[charlie.pk]
    assert [row.tenant_id for row in RequestBody.objects.for_tenant(charlie)] == [charlie.pk]


@pytest.mark.django_db
def test_what_cannot_be_read_holds_up_nobody(client: redis.Redis, alice: Tenant):
    client.xadd(STREAM, {"body": b"garbage"})
    client.xadd(STREAM, {"other": b"x"})
    wait_in(
        client,
        kept(Tenant(pk=2**40)),
        kept(alice, request=b'{"half": "\\ud800", "nul": "\\u0000"}', answer=b"\xff\x00"),
    )
    assert bodies.drain(client) == 1
    assert client.xlen(STREAM) == 0
    assert "half" in bodies.read(RequestBody.objects.get()).request


@pytest.mark.django_db
def test_a_body_that_comes_twice_is_kept_once(client: redis.Redis, alice: Tenant):
    body = kept(alice)
    wait_in(client, body, body)
    bodies.drain(client)
    wait_in(client, body)
    bodies.drain(client)
    assert RequestBody.objects.count() == 1


@pytest.mark.django_db
def test_bodies_go_when_their_tenants_days_are_over(alice: Tenant, charlie: Tenant):
    old = (timezone.now() - timedelta(days=3)).timestamp()
    bodies.store([kept(alice, started_at=old), kept(alice), kept(charlie, started_at=old)])
    assert bodies.expire() == 0
    Tenant.objects.filter(pk=alice.pk).update(audit_retention_days=2)
    assert [row.tenant_id for row in RequestBody.objects.kept().order_by("started_at")] == [charlie.pk, alice.pk]
    assert bodies.expire() == 1
    assert RequestBody.objects.for_tenant(alice).count() == 1
    assert RequestBody.objects.for_tenant(charlie).count() == 1


@pytest.mark.django_db
def test_bodies_go_with_their_tenant(alice: Tenant, charlie: Tenant):
    bodies.store([kept(alice), kept(charlie)])
    alice.delete()
    assert [row.tenant_id for row in RequestBody.objects.all()] == [charlie.pk]


@pytest.mark.django_db
def test_a_body_of_a_lost_key_is_unreadable_and_says_so(alice: Tenant):
    bodies.store([kept(alice)])
    row = RequestBody.objects.get()
    row.content = b"\x80" + bytes(row.content)[1:-1] + b"x"
    with pytest.raises(bodies.BodyUnreadable):
        bodies.read(row)
