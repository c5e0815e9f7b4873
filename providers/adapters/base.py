"""What a provider is: data over a shared dialect. A provider that needs an `if` elsewhere wants a field here. Pure."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from providers.adapters.quirks import NO_QUIRKS, Quirks

_VERSION = re.compile(r"v\d\w*")

type Headers = tuple[tuple[str, str], ...]


def bearer(credential: str) -> Headers:
    """Authorization: Bearer, nothing when there is no credential."""
    return (("Authorization", f"Bearer {credential}"),) if credential else ()


def x_api_key(credential: str) -> Headers:
    """Anthropic's own header."""
    return (("x-api-key", credential),) if credential else ()


def x_goog_api_key(credential: str) -> Headers:
    """Google's own header."""
    return (("x-goog-api-key", credential),) if credential else ()


def api_key(credential: str) -> Headers:
    """Azure's own header."""
    return (("api-key", credential),) if credential else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """A vendor, or a family of compatible servers."""

    name: str
    label: str
    dialects: tuple[str, ...]  # best first
    base_url: str = ""
    authorize: Callable[[str], Headers] = bearer
    headers: Headers = ()  # sent unless the client sends its own
    paths: Mapping[str, str] = field(default_factory=dict)  # operation → path, where it differs from the dialect's
    quirks: Quirks = NO_QUIRKS
    credential_variable: str = ""  # an environment variable that holds its key by custom
    documentation: str = ""  # where the vendor describes its API
    credential_page: str = ""  # where the vendor hands out keys
    lists_openly: bool = False  # whoever asks is told its models, so that a list says nothing of the credential
    starter_model: str = ""  # what the first run maps when that variable is set

    def url(self, base_url: str, operation: str, path: str) -> str:
        """Join a base URL and an operation's path; a version that stands at the end of both is kept once."""
        path = self.paths.get(operation, path)
        version, _, rest = path.lstrip("/").partition("/")
        if _VERSION.fullmatch(version) and rest and base_url.endswith(f"/{version}"):
            path = f"/{rest}"
        return base_url + path
