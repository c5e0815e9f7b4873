"""Opaque state of a model (thinking signatures, encrypted reasoning, thought signatures) and its way through a client.

A seal goes back only to the origin that minted it. To a client it travels packed: in a field whose contract is "opaque,
echo it verbatim", with its origin and an HMAC that binds it to the tenant. A packed seal is standard base64 that begins
with a fixed word, so that a body can be searched for it without being parsed; clients may echo it in the URL-safe
alphabet (google-genai does). Pure.
"""

import hashlib
import hmac
from base64 import b64decode, b64encode

import msgspec

PREFIX = "TollgateSeal"  # twelve characters, nine bytes: it survives encoding as it stands
MARK = PREFIX.encode()  # what a body is searched for
_MAGIC = b64decode(PREFIX)
_MAC_BYTES = 16


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """What a model wants back. `origin` is "provider/model", or "native:dialect" when a client sent it unpacked."""

    origin: str
    payload: str
    form: str = ""  # which of the dialect's fields it stood in, where there are several


def native_origin(dialect: str) -> str:
    """Return the origin of what a client sent as its dialect's own, minted by nobody we know."""
    return f"native:{dialect}"


class SealBox:
    """Packs and opens the seals of one tenant."""

    __slots__ = ("_key",)

    def __init__(self, secret: bytes, tenant_id: int) -> None:
        self._key = hmac.digest(secret, b"tollgate seal %d" % tenant_id, "sha256")

    def pack(self, seal: Seal) -> str:
        """Return a seal as a client carries it."""
        content = msgspec.json.encode((seal.origin, seal.form, seal.payload))
        return b64encode(_MAGIC + self._mac(content) + content).decode()

    def open(self, text: str, dialect: str) -> Seal | None:
        """Return what a client sent back: ours with its origin, None when it only claims to be ours, else a native one."""
        if not text.startswith(PREFIX):
            return Seal(origin=native_origin(dialect), payload=text)
        try:
            data = b64decode(text.replace("-", "+").replace("_", "/") + "==")
            mac, content = data[len(_MAGIC) :][:_MAC_BYTES], data[len(_MAGIC) + _MAC_BYTES :]
            if not hmac.compare_digest(mac, self._mac(content)):
                return None
            origin, form, payload = msgspec.json.decode(content, type=tuple[str, str, str])
        except (ValueError, msgspec.DecodeError):
            return None
        return Seal(origin=origin, payload=payload, form=form)

    def _mac(self, content: bytes) -> bytes:
        return hmac.digest(self._key, content, hashlib.sha256)[:_MAC_BYTES]
