"""Which addresses the gateway may call: outbound URLs are checked so that a base URL cannot reach inside."""

from urllib.parse import urlsplit

from gateway_site.infra.addresses import is_private, is_visibly_private

__all__ = ["is_private", "refuse_private_address", "validate_base_url", "validate_proxy_url"]


def validate_base_url(url: str) -> None:
    """Raise ValueError unless this is an http(s) URL with a host and without credentials, query or fragment."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("Give an address that starts with https:// or http://.")
    if parts.username or parts.password:
        raise ValueError("An address must not hold a credential; store it as the provider's credential.")
    if parts.query or parts.fragment:
        raise ValueError("An address must have no query and no fragment.")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("The port must be a number from 1 to 65535.") from None


def validate_proxy_url(url: str) -> None:
    """Raise ValueError unless this is an http(s) URL with a host; what it holds is never part of the message."""
    try:
        parts = urlsplit(url)
        is_proxy = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_proxy = False
    if not is_proxy or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError("Give a proxy as http://host:port or https://host:port, with user:password@ where it asks.")


def refuse_private_address(url: str) -> None:
    """Raise ValueError when the host is visibly private; names are checked again when they are resolved."""
    if is_visibly_private(urlsplit(url).hostname or ""):
        raise ValueError("This address is in a private network; set 'allow_private_address' to use it.")
