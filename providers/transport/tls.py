"""What a provider's certificates make of TLS."""

import os
import ssl
import tempfile
from typing import Literal

from providers.pool import Pool

HTTP1 = "http/1.1"
HTTP2 = "h2"


def http1_context(pool: Pool) -> ssl.SSLContext | Literal[True]:
    """Return how a pool speaks TLS; True: as everybody does. Raises OSError when its certificates cannot be used."""
    return _context(pool, [HTTP1]) if pool.ca_certificate or pool.client_certificate else True


def http2_context(pool: Pool) -> ssl.SSLContext:
    """Return the same with HTTP/2 on offer."""
    return _context(pool, [HTTP2, HTTP1])


def _context(pool: Pool, protocols: list[str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=pool.ca_certificate or None)
    if pool.ca_certificate:
        # Python 3.13 wants extensions that many a company's own authority never wrote into its certificates.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if pool.client_certificate:
        _load_chain(context, f"{pool.client_certificate}\n{pool.client_key}\n")
    context.set_alpn_protocols(protocols)
    return context


def _load_chain(context: ssl.SSLContext, pem: str) -> None:
    """OpenSSL reads keys from files only: this one is nobody else's, and gone at once."""
    handle, path = tempfile.mkstemp()
    try:
        with open(handle, "w") as file:
            file.write(pem)
        context.load_cert_chain(path, password="")  # without one, OpenSSL would ask at the terminal
    finally:
        os.unlink(path)
