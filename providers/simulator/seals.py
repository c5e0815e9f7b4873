"""What the simulator signs its thoughts with, and knows them by when they come back.

A seal is bound to the dialect, to the model and to what it stands for, so that one that was moved, cut, made up
or minted by another model is refused, as a provider would.
"""

from base64 import b64decode, b64encode
from hashlib import blake2b
from hmac import compare_digest

SECRET = b"the simulator keeps no secrets"
MAGIC = b"sim"  # three bytes: a seal begins alike in base64
NONCE_BYTES = 6
MAC_BYTES = 18


def mint(dialect: str, model: str, content: str = "", *, number: int = 0) -> str:
    """Return a seal in standard base64; the same number gives the same seal."""
    nonce = number.to_bytes(NONCE_BYTES)
    return b64encode(MAGIC + nonce + _mac(nonce, dialect, model, content)).decode()


def is_ours(seal: object, dialect: str, model: str, content: str = "") -> bool:
    """Whether this very seal was minted for this dialect, model and content; the URL-safe alphabet will do."""
    if not isinstance(seal, str):
        return False
    try:
        data = b64decode(seal.replace("-", "+").replace("_", "/"), validate=True)
    except ValueError:
        return False
    nonce, mac = data[len(MAGIC) :][:NONCE_BYTES], data[len(MAGIC) + NONCE_BYTES :]
    return data.startswith(MAGIC) and compare_digest(mac, _mac(nonce, dialect, model, content))


def _mac(nonce: bytes, dialect: str, model: str, content: str) -> bytes:
    sealed = b"\0".join((nonce, dialect.encode(), model.encode(), content.encode(errors="surrogatepass")))
    return blake2b(sealed, key=SECRET, digest_size=MAC_BYTES).digest()
