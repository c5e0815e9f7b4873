"""Which addresses the gateway may call: outbound URLs are checked so that a base URL cannot reach inside."""

import ipaddress
from urllib.parse import urlsplit

# IPv6 addresses that stand for an IPv4 one: NAT64 (RFC 6052) and the old IPv4-compatible ones.
STANDS_FOR_IPV4 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))
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
    host = urlsplit(url).hostname or ""
    if host in LOCAL_NAMES or host.endswith((".localhost", ".internal")) or is_private(host):
        raise ValueError("This address is in a private network; set 'allow_private_address' to use it.")


def is_private(host: str) -> bool:
    """Whether a literal IP address is anything but a public one; names are not."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.is_site_local:
            return True
        address = _inner_ipv4(address) or address
    return not address.is_global or address.is_multicast


def _inner_ipv4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for; None when it stands for itself."""
    if any(address in network for network in STANDS_FOR_IPV4):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped
