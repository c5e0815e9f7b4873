"""POST /v1/responses, and what was stored of it: GET and DELETE /v1/responses/{id}, GET .../input_items."""

import asyncio
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from ninja import Router
from yarl import URL

from providers.dialects.openai_responses.wire import CHAT, COUNT_TOKENS
from providers.transport import TransportError
from providers.wire.json import read_json, write_json
from routing import stored_responses
from routing.counting import count
from routing.headers import JSON, USER_AGENT
from routing.pipeline import Response, serve
from routing.request import DataPlaneRequest
from routing.response import WholeResponse
from routing.snapshot import LiveDeployment
from routing.stored_responses import StoredValue
from tenants.errors import NotFound, Unavailable

router = Router(tags=["OpenAI"])

PASSED_ON = frozenset({"after", "before", "include", "include[]", "limit", "order"})
JSON_TYPE = (b"content-type", b"application/json")


@router.post("/v1/responses", url_name="responses")
async def create_response(request: DataPlaneRequest) -> Response:
    """Answer a conversation, streamed or whole."""
    return await serve(request, CHAT)


@router.post("/v1/responses/input_tokens", url_name="responses_input_tokens")
async def count_input_tokens(request: DataPlaneRequest) -> WholeResponse:
    """Count the tokens of a request."""
    return await count(request, COUNT_TOKENS)


@router.get("/v1/responses/{response_id}", url_name="response")
async def get_response(request: DataPlaneRequest, response_id: str) -> WholeResponse:
    """Return a response that was stored."""
    stored = await _find(request, response_id)
    if stored.body is None:
        return await _forward(request, stored, response_id, "GET")
    return _answer(read_json(stored.body)["response"])


@router.delete("/v1/responses/{response_id}", url_name="response_delete")
async def delete_response(request: DataPlaneRequest, response_id: str) -> WholeResponse:
    """Delete a response that was stored."""
    stored = await _find(request, response_id)
    answer = _answer({"id": response_id, "object": "response", "deleted": True})
    if stored.body is None:
        answer = await _forward(request, stored, response_id, "DELETE")
    if answer.status_code < 400 or answer.status_code == 404:
        await stored_responses.delete(request.principal.tenant_id, response_id)
    return answer


@router.get("/v1/responses/{response_id}/input_items", url_name="response_input_items")
async def list_input_items(request: DataPlaneRequest, response_id: str) -> WholeResponse:
    """List what a stored response answered, the newest first."""
    stored = await _find(request, response_id)
    if stored.body is None:
        return await _forward(request, stored, response_id, "GET", "/input_items")
    kept = read_json(stored.body)["input"]
    items = [_listed(item, number) for number, item in enumerate(kept, start=1)][::-1]
    ends = {"first_id": items[0]["id"], "last_id": items[-1]["id"]} if items else {"first_id": None, "last_id": None}
    return _answer({"object": "list", "data": items, "has_more": False, **ends})


def _listed(item: dict[str, Any], number: int) -> dict[str, Any]:
    """Return an item as lists show it: with an id, and a message's text as a part."""
    content = item.get("content")
    if isinstance(content, str):
        kind = "output_text" if item.get("role") == "assistant" else "input_text"
        item = {**item, "content": [{"type": kind, "text": content}]}
    return {"id": f"item_{number}", "type": "message", **item}


async def _find(request: DataPlaneRequest, response_id: str) -> StoredValue:
    stored = await stored_responses.load(request.principal.tenant_id, response_id)
    if stored is None:
        raise NotFound(f"Response with id {response_id!r} not found.", code="response_not_found", param="response_id")
    return stored


async def _forward(
    request: DataPlaneRequest, stored: StoredValue, response_id: str, method: str, rest: str = ""
) -> WholeResponse:
    """Ask the upstream that keeps a response."""
    deployment = request.runtime.snapshot.deployments.get(stored.deployment)
    if deployment is None or not deployment.is_enabled:
        raise Unavailable("The deployment that keeps this response cannot be asked.", code="response_out_of_reach")
    url = _url(deployment, f"/responses/{quote(response_id, safe='')}{rest}", _query(request))
    headers = [JSON, USER_AGENT, *deployment.fixed_headers]
    transport = request.runtime.transport
    try:
        async with asyncio.timeout(deployment.provider.timeouts.total):
            upstream = await transport.open(deployment.pool, url, headers=headers, body=b"", method=method)
            content = await upstream.read()
    except (TransportError, TimeoutError):
        raise Unavailable(
            "The upstream that keeps this response cannot be reached.", code="response_out_of_reach"
        ) from None
    upstream.finish(is_answered=True)
    if upstream.status in {401, 403}:
        raise Unavailable("The upstream that keeps this response refused the gateway.", code="response_out_of_reach")
    return WholeResponse(upstream.status, [JSON_TYPE, *deployment.response_headers], content)


def _query(request: DataPlaneRequest) -> str:
    """Return what a client says of the part of a list that it wants: without it, every page would be the first."""
    pairs = parse_qsl(request.scope["query_string"].decode("latin-1"))
    return urlencode([pair for pair in pairs if pair[0] in PASSED_ON])


def _url(deployment: LiveDeployment, path: str, query: str) -> URL:
    text = deployment.adapter.url(deployment.provider.base_url, "response", path)
    return URL(f"{text}?{query}" if query else text, encoded=True)


def _answer(content: Any) -> WholeResponse:
    return WholeResponse(200, [JSON_TYPE], write_json(content))
