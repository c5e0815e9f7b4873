"""Opaque state of a model (thinking signatures, encrypted reasoning, thought signatures) and its way through a client.

A seal goes back only to the origin that minted it. To a client it travels packed: in a field whose contract is "opaque,
echo it verbatim", with its origin and an HMAC that binds it to the tenant. A packed seal is standard base64 that begins
with a fixed word, so that a body can be searched for it without being parsed; clients may echo it in the URL-safe
alphabet (google-genai does). Pure.
"""

import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence

import msgspec

from providers.wire.json import read_json, write_json

PREFIX = "TollgateSeal"  # twelve characters, nine bytes: it survives encoding as it stands
MARK = PREFIX.encode()  # what a body is searched for
_MAGIC = b64decode(PREFIX)
_MAC_BYTES = 16
_PACKED = re.compile(MARK + rb"[A-Za-z0-9+/_=-]+")


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """What a model wants back. `origin` is "provider/model", or "native:dialect" when a client sent it unpacked."""

    origin: str
    payload: str
    form: str = ""  # which of the dialect's fields it stood in, where there are several


def native_origin(dialect: str) -> str:
    """Return the origin of what a client sent as its dialect's own, minted by nobody we know."""
    return f"native:{dialect}"


class SealBox:
    """Packs and opens the seals of one tenant: packs with the first secret, opens with whichever fits."""

    __slots__ = ("_keys",)

    def __init__(self, secrets: Sequence[bytes], tenant_id: int) -> None:
        self._keys = [hmac.digest(secret, b"tollgate seal %d" % tenant_id, "sha256") for secret in secrets]

    def pack(self, seal: Seal) -> str:
        """Return a seal as a client carries it."""
        content = write_json((seal.origin, seal.form, seal.payload))
        return b64encode(_MAGIC + _mac(self._keys[0], content) + content).decode()

    def origins(self, body: bytes) -> frozenset[str]:
        """Return whose seals a request's body holds, without reading the body; those of others are left out."""
        found = (self.open(match.group().decode(), "") for match in _PACKED.finditer(body))
        return frozenset(seal.origin for seal in found if seal is not None)

    def open(self, text: str, dialect: str) -> Seal | None:
        """Return what a client sent back: ours with its origin, None when it only claims to be ours, else a native one."""
        if not text.startswith(PREFIX):
            return Seal(origin=native_origin(dialect), payload=text)
        try:
            data = b64decode(text.replace("-", "+").replace("_", "/") + "==")
            mac, content = data[len(_MAGIC) :][:_MAC_BYTES], data[len(_MAGIC) + _MAC_BYTES :]
            if not any(hmac.compare_digest(mac, _mac(key, content)) for key in self._keys):
                return None
            origin, form, payload = read_json(content)
        except ValueError:
            return None
        return Seal(origin=origin, payload=payload, form=form)


def _mac(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content, "sha256")[:_MAC_BYTES]
