"""How calls to a tenant's own address are signed.

The signature is HMAC-SHA256 over the time, a full stop and the body, in the header

    x-tollgate-signature: t=<seconds since 1970>,v1=<hexadecimal>

so that a receiver can tell who called, that nothing was changed on the way, and that it is not an old call once more.
"""

import hmac
import secrets

SIGNATURE_HEADER = "x-tollgate-signature"
SECRET_PREFIX = "whsec_"


def make_secret() -> str:
    """Return a new secret to sign with."""
    return SECRET_PREFIX + secrets.token_urlsafe(32)


def signature(secret: str, body: bytes, moment: int) -> str:
    """Return the header's value for a body that is sent at a moment."""
    digest = hmac.new(secret.encode(), b"%d.%s" % (moment, body), "sha256").hexdigest()
    return f"t={moment},v1={digest}"
