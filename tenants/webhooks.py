"""Signed calls to a tenant's own address; `webhook_signature.py` says how they are signed."""

import asyncio
import socket
import ssl
from time import time

import httpx

from gateway_site.infra.addresses import is_private, is_visibly_private
from tenants.webhook_signature import SIGNATURE_HEADER, signature

PATIENCE = 10.0  # seconds for a whole call


class NotDelivered(Exception):
    """The receiver did not take it; the message is for the operator."""


def post(url: str, body: bytes, *, secret: str | None, allow_private: bool, patience: float = PATIENCE) -> None:
    """Send a body, signed; raises NotDelivered unless it is answered with 2xx in time. Redirects are not followed.

    Without a secret it is not signed: for services whose address is the secret.
    """
    headers = {"content-type": "application/json", "user-agent": "tollgate"}
    if secret is not None:
        headers[SIGNATURE_HEADER] = signature(secret, body, int(time()))
    asyncio.run(_post(url, body, headers, allow_private=allow_private, patience=patience))


async def _post(url: str, body: bytes, headers: dict[str, str], *, allow_private: bool, patience: float) -> None:
    try:
        async with asyncio.timeout(patience), _client() as client:
            target = httpx.URL(url)
            host = target.raw_host.decode()
            address = await _address(host, target.port or 0, allow_private=allow_private)
            # The address that was checked is the one that is asked: a name may lead elsewhere a moment later.
            request = client.build_request("POST", target.copy_with(host=address), headers=headers, content=body)
            request.headers["host"] = target.netloc.decode()
            request.extensions["sni_hostname"] = host
            response = await client.send(request, stream=True)
            await response.aclose()
    except TimeoutError:
        raise NotDelivered("It did not answer in time.") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
        raise NotDelivered(f"It cannot be reached: {error or type(error).__name__}.") from None
    if not response.is_success:
        raise NotDelivered(f"It answered {response.status_code}.")


def _client() -> httpx.AsyncClient:
    # Neither proxies nor passwords of our own environment: the address is a tenant's.
    return httpx.AsyncClient(verify=ssl.create_default_context(), trust_env=False, timeout=None)


async def _address(host: str, port: int, *, allow_private: bool) -> str:
    """Look a host up; raises NotDelivered when it leads inside, OSError when nobody knows it."""
    if not allow_private and is_visibly_private(host):
        raise NotDelivered("This address is in a private network.")
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(sockaddr[0]) for *_, sockaddr in found]
    if not allow_private and any(is_private(address) for address in addresses):
        raise NotDelivered("This name leads into a private network.")
    return addresses[0]
