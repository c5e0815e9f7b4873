"""What a provider's certificates make of TLS."""

import os
import ssl
import tempfile
from functools import cache

from providers.pool import Pool

HTTP1 = "http/1.1"
HTTP2 = "h2"


def http1_context(pool: Pool) -> ssl.SSLContext:
    """Return how a pool speaks TLS; raises OSError when its certificates cannot be used."""
    return _context_of(pool, HTTP1)


def http2_context(pool: Pool) -> ssl.SSLContext:
    """Return the same with HTTP/2 on offer."""
    return _context_of(pool, HTTP2, HTTP1)


def _context_of(pool: Pool, *protocols: str) -> ssl.SSLContext:
    return _context(pool, protocols) if pool.ca_certificate or pool.client_certificate else _common_context(protocols)


@cache
def _common_context(protocols: tuple[str, ...]) -> ssl.SSLContext:
    """Return the context of everybody who has no certificates: those whom the machine trusts take a megabyte."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(list(protocols))
    return context


def _context(pool: Pool, protocols: tuple[str, ...]) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=pool.ca_certificate or None)
    if pool.ca_certificate:
        # Python 3.13 wants extensions that many a company's own authority never wrote into its certificates.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if pool.client_certificate:
        _load_chain(context, f"{pool.client_certificate}\n{pool.client_key}\n")
    context.set_alpn_protocols(list(protocols))
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
