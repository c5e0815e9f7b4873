"""Whether the stores that the environment names can be reached, before there are settings. Nothing of Django here."""

import re
from contextlib import suppress
from urllib.parse import unquote, urlsplit

CONNECT_SECONDS = 5


class StoreAway(Exception):
    """A store does not answer now, which may change; the message has no password."""


def connect_to_postgres(url: str) -> None:
    """Connect and leave; raises StoreAway, or the driver's errors for a URL that is none."""
    import psycopg  # here and not above: megabytes that are not needed with embedded stores

    try:
        psycopg.connect(url, connect_timeout=CONNECT_SECONDS).close()
    except psycopg.OperationalError as error:
        raise StoreAway(reason_of(error, url)) from None


def connect_to_valkey(url: str) -> None:
    """Connect and leave; raises StoreAway, or the driver's errors for a URL that is none."""
    import redis  # here and not above, as psycopg

    client = redis.Redis.from_url(url, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=CONNECT_SECONDS)
    try:
        with client:
            client.ping()
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise StoreAway(reason_of(error, url)) from None


def reason_of(error: Exception, url: str) -> str:
    """Return the first line of what went wrong, without the password."""
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return without_password(reason, url)


def without_password(text: str, url: str) -> str:
    """Blot out the URL, its user info and its password, however a driver spells them in its message.

    A password is a word there, never a part of one; of a single character it is told from others in the user info only.
    """
    text = text.replace(url, "***") if url else text
    with suppress(ValueError):
        parts = urlsplit(url)
        user, password = parts.username or "", parts.password or ""
        for spelling in (password, unquote(password)):
            text = text.replace(f"{user}:{spelling}@", "***@") if spelling else text
            text = re.sub(rf"(?<!\w){re.escape(spelling)}(?!\w)", "***", text) if len(spelling) > 1 else text
    return text
