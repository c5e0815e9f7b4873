"""Which addresses the gateway may call: outbound URLs are checked so that a base URL cannot reach inside."""

import ipaddress
from urllib.parse import urlsplit

LOCAL_NAMES = frozenset({"localhost", "ip6-localhost", "metadata.google.internal"})


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


def refuse_private_address(url: str) -> None:
    """Raise ValueError when the host is visibly private; names are checked again when they are resolved."""
    host = urlsplit(url).hostname or ""
    if host in LOCAL_NAMES or host.endswith((".localhost", ".internal")) or is_private(host):
        raise ValueError("This address is in a private network; set 'allow_private_address' to use it.")


def is_private(host: str) -> bool:
    """Whether a literal IP address is anything but a public one; names are not."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return not address.is_global
