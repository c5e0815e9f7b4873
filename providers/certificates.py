"""Certificates and keys as PEM, as an operator pastes them.

What reads them is imported where it is used: it takes 12 MB, and a web worker needs it only when somebody saves one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

_BLOCK = re.compile(r"-----BEGIN ([^\n]*?)-----")


def tidy(pem: str) -> str:
    """Return PEM text without a browser's line ends and without blanks around it."""
    return pem.replace("\r\n", "\n").strip()


def validate_certificates(pem: str) -> None:
    """Raise ValueError unless this is one certificate or more, and nothing else: what it is kept in is shown to readers."""
    others = [label for label in _BLOCK.findall(pem) if label != "CERTIFICATE"]
    if "private key" in pem.lower():
        raise ValueError("There is a private key in it: put the key into its own field.")
    if others:
        raise ValueError(f"Only blocks BEGIN CERTIFICATE belong here, not BEGIN {others[0][:40]}.")
    _certified(pem)


def validate_key(pem: str, certificate: str = "") -> None:
    """Raise ValueError unless this is a private key without a passphrase, and the certificate's own."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except TypeError:
        raise ValueError("This key has a passphrase; give one without.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("This is not a private key in PEM format.") from None
    if certificate and key.public_key() != _certified(certificate):
        raise ValueError("This key is not the client certificate's.")


def _certified(pem: str) -> PublicKeyTypes:
    """Return the first certificate's key."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return x509.load_pem_x509_certificates(pem.encode())[0].public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("This is not a certificate in PEM format.") from None
