"""A body on its way from a worker to the table: what Valkey holds of it is compressed and encrypted."""

import zlib

import msgspec

from gateway_site.infra.secrets import decrypt_bytes, encrypt_bytes

STREAM = "tollgate:bodies"
MOST_BYTES = 256 * 1024  # of a request, and of an answer
MOST_STREAM_BYTES = 4 * MOST_BYTES  # of frames, which hold little text


class KeptBody(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker kept of a request."""

    request_id: str
    tenant_id: int
    started_at: float  # seconds since 1970
    headers: tuple[tuple[str, str], ...] = ()
    request: bytes = b""
    answer: bytes = b""
    request_size: int = 0  # before it was cut
    answer_size: int = 0


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What the table holds of it, redacted."""

    headers: tuple[tuple[str, str], ...] = ()
    request: str = ""
    answer: str = ""
    is_stream: bool = False  # the answer is what its frames add up to


_encoder = msgspec.msgpack.Encoder()
_read_body = msgspec.msgpack.Decoder(KeptBody).decode
_read_content = msgspec.msgpack.Decoder(Content).decode


def seal(value: KeptBody | Content) -> bytes:
    """Pack, compress and encrypt; for a thread."""
    return encrypt_bytes(zlib.compress(_encoder.encode(value), 1))


def open_body(sealed: bytes) -> KeptBody:
    """Raises SecretUnreadable, zlib.error, msgspec.DecodeError."""
    return _read_body(zlib.decompress(decrypt_bytes(sealed)))


def open_content(sealed: bytes) -> Content:
    """Raises SecretUnreadable, zlib.error, msgspec.DecodeError."""
    return _read_content(zlib.decompress(decrypt_bytes(sealed)))
