"""Which addresses are private: what operators type in must not make the gateway reach inside. Pure."""

import ipaddress

# IPv6 addresses that stand for an IPv4 one: NAT64 (RFC 6052), SIIT (RFC 7915) and the old IPv4-compatible ones.
STANDS_FOR_IPV4 = tuple(ipaddress.IPv6Network(network) for network in ("64:ff9b::/96", "::ffff:0:0:0/96", "::/96"))
LOCAL_NAMES = frozenset({"localhost", "ip6-localhost", "metadata.google.internal"})


def is_visibly_private(host: str) -> bool:
    """Whether a host is private as it stands there; names are to be checked again when they are resolved."""
    name = host.lower().removesuffix(".")  # the full stop at a name's end says that it is whole
    return name in LOCAL_NAMES or name.endswith((".localhost", ".internal")) or is_private(name)


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
