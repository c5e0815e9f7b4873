"""Conversations that the gateway or an upstream keeps: `store` and `previous_response_id` of OpenAI's Responses.

An upstream that speaks Responses keeps its answers itself: of these only the id and its deployment are remembered, and
whoever continues one is sent there. Everything else is kept here, encrypted, and put before the input of the request that
continues it. Either way an id means something to its own tenant only: all tenants share the gateway's account at an
upstream, so what an upstream would look up there by any other id is refused.
"""

from typing import Any

import structlog
from msgspec import structs

from providers.canonical.inbound import Inbound
from providers.dialects.openai_responses.facts import read_facts
from providers.dialects.openai_responses.history import input_items, items_of, refers_to_items, with_history
from providers.wire.json import read_json, write_json
from providers.wire.splice import Members, read_members, splice
from providers.wire.sse import frame_event, frames
from routing import stored_responses
from routing.outbound import Outbound
from tenants.errors import GatewayError, InvalidRequest, Unavailable
from tenants.principal import Principal

log = structlog.get_logger("tollgate.responses")

PREVIOUS, STORE = "previous_response_id", "store"
CONVERSATION, BACKGROUND = "conversation", "background"
SILENT = frozenset({None, b"null"})


class Continuation:
    """What one request continues, and whether its answer is kept."""

    __slots__ = ("_is_kept", "_principal", "deployment", "previous")

    def __init__(self, principal: Principal) -> None:
        self._principal = principal
        self.deployment = ""  # that keeps what is continued: no other can be asked; empty: any
        self._is_kept = False
        self.previous = ""  # the response that it goes on from

    async def prepare(self, inbound: Inbound) -> Inbound:
        """Return the request with what it continues in it; raises InvalidRequest naming the field."""
        members, keeps = inbound.members, inbound.operation.keeps_conversations
        _refuse_what_nobody_keeps(members)
        self._is_kept = keeps and self._may_keep(members)
        if members.get(PREVIOUS) not in SILENT:
            members = await self._continue(members)
        if keeps and not self._principal.stores_responses and members.get(STORE) != b"false":
            members = _edit(members, {STORE: b"false"})
        if members is inbound.members:
            return inbound
        needs = read_facts(members, inbound.operation).needs  # what was said before may hold images
        facts = structs.replace(inbound.facts, size=len(members.raw), needs=needs)
        return structs.replace(inbound, members=members, facts=facts)

    async def keep(self, content: bytes, outbound: Outbound) -> None:
        """Store an answer, whole or as a stream's last frames; one that cannot be stored is delivered all the same."""
        if not self._is_kept:
            return
        try:
            await self._store(content, outbound)
        except GatewayError as error:
            log.warning("response_not_stored", reason=error.code, tenant_id=self._principal.tenant_id)
        except Exception as error:
            # Its request is settled: whatever is wrong here must not take a paid answer away.
            log.exception("response_not_stored", reason=type(error).__name__, tenant_id=self._principal.tenant_id)

    async def _store(self, content: bytes, outbound: Outbound) -> None:
        response = _response_in(content)
        if response is None or not isinstance(response.get("id"), str):
            return
        await stored_responses.save(
            self._principal.tenant_id,
            self._principal.key_id,
            response["id"],
            deployment=outbound.deployment.facts.slug,
            dialect=outbound.dialect.name,
            body=_conversation(outbound, response) if outbound.is_translated else None,
            retention_days=self._principal.response_retention_days,
        )

    def _may_keep(self, members: Members) -> bool:
        wish = members.get(STORE)
        if not self._principal.stores_responses:
            if wish == b"true":
                raise _forbidden(STORE)
            return False
        return wish != b"false"

    async def _continue(self, members: Members) -> Members:
        if not self._principal.stores_responses:
            raise _forbidden(PREVIOUS)
        previous = members.read(PREVIOUS)
        if not isinstance(previous, str):
            raise InvalidRequest(f"'{PREVIOUS}' must be a text.", param=PREVIOUS)
        stored = await stored_responses.load(self._principal.tenant_id, previous)
        if stored is None:
            raise InvalidRequest(
                f"There is no stored response {previous!r}. It may have expired, or it was not stored.",
                code="previous_response_not_found",
                param=PREVIOUS,
            )
        self.previous = previous
        if stored.body is None:
            self.deployment = stored.deployment
            return members
        kept = read_json(stored.body)
        return read_members(with_history(members.raw, [*kept["input"], *items_of(kept["response"])]))


def out_of_reach() -> Unavailable:
    """Say that the deployment which keeps a response cannot be asked."""
    return Unavailable(
        "The deployment that keeps the response of 'previous_response_id' cannot be asked. "
        "Send the whole conversation in 'input'.",
        code="response_out_of_reach",
        retryable=False,
    )


def _refuse_what_nobody_keeps(members: Members) -> None:
    if members.get(CONVERSATION) not in SILENT:
        raise _not_kept(
            CONVERSATION, "conversations are not kept here. Use 'previous_response_id', or send all of 'input'"
        )
    if members.get(BACKGROUND) not in {*SILENT, b"false"}:
        raise _not_kept(BACKGROUND, "a response is given at once or not at all")
    if refers_to_items(members):
        raise _not_kept("input", "items are not kept one by one. Send the item itself in place of an 'item_reference'")


def _not_kept(field: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"'{field}' cannot be used so: {why}.", code="not_kept", param=field)


def _forbidden(field: str) -> InvalidRequest:
    return InvalidRequest(
        f"'{field}' cannot be used: this tenant stores no responses. Send 'store': false and the whole conversation "
        "in 'input'.",
        code="storing_forbidden",
        param=field,
    )


def _edit(members: Members, edits: dict[str, bytes | None]) -> Members:
    return read_members(splice(members, edits))


def _conversation(outbound: Outbound, response: dict[str, Any]) -> bytes:
    """Return what a request that continues this one needs to know."""
    return write_json({"input": input_items(outbound.request.inbound.members.raw), "response": response})


def _response_in(content: bytes) -> dict[str, Any] | None:
    """Return the response object of a whole answer, or of the frames that end a stream: there the last one counts."""
    if not content.lstrip().startswith(b"{"):
        payloads = [frame_event(frame)[1] for frame in frames(content)]
        events = [read_json(payload) for payload in payloads if payload.startswith(b"{")]
        found = next((event["response"] for event in events[::-1] if isinstance(event.get("response"), dict)), None)
    else:
        found = read_json(content)
    return found if isinstance(found, dict) else None
