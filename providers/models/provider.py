"""A provider: one endpoint and one credential of a vendor or of a server of one's own."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from gateway_site.infra import secrets
from providers.addresses import refuse_private_address, validate_base_url, validate_proxy_url
from providers.certificates import tidy, validate_certificates, validate_key
from providers.pool import Pool
from providers.registry import ADAPTERS, KNOWN_DIALECTS


def adapter_choices() -> list[tuple[str, str]]:
    """The adapters of the registry, for forms."""
    return [(adapter.name, adapter.label) for adapter in ADAPTERS.values()]


def _seconds(default: float, help_text: str) -> models.FloatField:
    return models.FloatField(
        default=default, validators=[MinValueValidator(0.05), MaxValueValidator(86_400)], help_text=help_text
    )


def _count(default: int, help_text: str = "") -> models.PositiveIntegerField:
    return models.PositiveIntegerField(default=default, validators=[MinValueValidator(1)], help_text=help_text)


class Provider(models.Model):
    """Where requests go: adapter, address, credential, pools, time-outs and protection."""

    slug = models.SlugField(max_length=63, unique=True)
    name = models.CharField(max_length=200, blank=True)
    adapter = models.CharField(max_length=63, choices=adapter_choices)
    base_url = models.CharField(max_length=500, blank=True, help_text="Empty: the adapter's own address.")
    dialects = ArrayField(
        models.CharField(max_length=32),
        default=list,
        blank=True,
        help_text="What it speaks, best first; empty: what the adapter speaks.",
    )
    credential_encrypted = models.TextField(blank=True, editable=False)
    headers = models.JSONField(default=dict, blank=True, help_text="Further headers for every request, as JSON.")
    allow_private_address = models.BooleanField(
        default=False, help_text="Allow addresses of private networks and of this machine."
    )
    is_enabled = models.BooleanField(
        "enabled", default=True, help_text="The manual switch: nothing automatic ever turns it on again."
    )
    # The models that it says it has, and when it said so.
    catalogue = ArrayField(models.CharField(max_length=200), default=list, blank=True, editable=False)
    catalogue_at = models.DateTimeField("catalogue asked for at", null=True, blank=True, editable=False)

    http2 = models.BooleanField("HTTP/2", default=False, help_text="Many requests share one connection.")
    proxy_encrypted = models.TextField(blank=True, editable=False)
    ca_certificate = models.TextField(
        "CA certificate",
        blank=True,
        help_text="Who may vouch for the provider, as PEM; empty: whom the machine trusts.",
    )
    client_certificate = models.TextField(
        blank=True, help_text="What we show to the provider, as PEM with its chain; only together with its key."
    )
    client_key_encrypted = models.TextField(blank=True, editable=False)

    max_connections = _count(200, "Open connections of each worker.")
    connect_timeout = _seconds(5, "Seconds until a connection stands.")
    first_token_timeout = _seconds(60, "Seconds until the first token.")
    between_tokens_timeout = _seconds(60, "Seconds between two tokens.")
    total_timeout = _seconds(600, "Seconds for a whole answer.")

    requests_per_second = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    tokens_per_minute = models.PositiveBigIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    max_concurrency = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    queue_size = models.PositiveIntegerField(
        default=100, help_text="Requests of each worker that may wait for a place; 0: none waits."
    )
    queue_wait = models.FloatField(
        default=5,
        validators=[MinValueValidator(0.05), MaxValueValidator(300)],
        help_text="Seconds that a request waits at the most, from 0.05 to 300.",
    )

    breaker_enabled = models.BooleanField(default=True)
    breaker_failures = _count(5, "Failures in the window that open the breaker.")
    breaker_window = _seconds(60, "Seconds.")
    breaker_open_for = _seconds(60, "Seconds until a first try again.")
    breaker_half_open_successes = _count(2, "Successes that close it again.")
    cooldown_enabled = models.BooleanField(default=True, help_text="Rest after a 429, as long as the provider asks.")
    cooldown_max = _seconds(300, "Seconds at the most.")

    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["slug"]

    def __str__(self) -> str:
        return self.name or self.slug

    @property
    def has_credential(self) -> bool:
        """Whether a credential is stored."""
        return bool(self.credential_encrypted)

    @property
    def effective_base_url(self) -> str:
        """Its own address, else its adapter's, without a slash at the end."""
        adapter = ADAPTERS.get(self.adapter)
        return (self.base_url or (adapter.base_url if adapter else "")).rstrip("/")

    @property
    def effective_dialects(self) -> tuple[str, ...]:
        """What it speaks, best first."""
        adapter = ADAPTERS.get(self.adapter)
        return tuple(self.dialects) or (adapter.dialects if adapter else ())

    def set_credential(self, credential: str) -> None:
        """Keep a credential encrypted; an empty one removes it."""
        self.credential_encrypted = secrets.encrypt(credential) if credential else ""

    @property
    def has_proxy(self) -> bool:
        """Whether it is called through a proxy."""
        return bool(self.proxy_encrypted)

    def set_proxy(self, url: str) -> None:
        """Keep a proxy's URL encrypted, for it may hold a password; an empty one removes it."""
        self.proxy_encrypted = secrets.encrypt(url) if url else ""

    @property
    def has_client_key(self) -> bool:
        """Whether the client certificate's key is stored."""
        return bool(self.client_key_encrypted)

    def set_client_key(self, pem: str) -> None:
        """Keep the client certificate's key encrypted; an empty one removes it."""
        self.client_key_encrypted = secrets.encrypt(tidy(pem)) if pem else ""

    def pool(self) -> Pool:
        """Return how it is connected to; raises SecretUnreadable."""
        return Pool(
            provider=self.slug,
            max_connections=self.max_connections,
            connect_timeout=self.connect_timeout,
            allows_private=self.allow_private_address,
            http2=self.http2,
            proxy=secrets.decrypt(self.proxy_encrypted) if self.has_proxy else "",
            ca_certificate=self.ca_certificate,
            client_certificate=self.client_certificate,
            client_key=secrets.decrypt(self.client_key_encrypted) if self.has_client_key else "",
        )

    def clean(self) -> None:
        """Name the field of everything that is wrong."""
        errors: dict[str, str] = {}
        if self.adapter and self.adapter not in ADAPTERS:  # that there is none, the field says
            errors["adapter"] = f"{self.adapter!r} is not an adapter; there are {', '.join(ADAPTERS)}."
        unknown = [dialect for dialect in self.dialects if dialect not in KNOWN_DIALECTS]
        if unknown:
            errors["dialects"] = f"{unknown[0]!r} is not a dialect; there are {', '.join(KNOWN_DIALECTS)}."
        if self.adapter in ADAPTERS and not errors and not self.effective_base_url:
            errors["base_url"] = "This adapter has no address of its own; give one."
        errors |= self._header_errors() | self._address_errors() | self._proxy_errors() | self._tls_errors()
        if errors:
            raise ValidationError(errors)

    def _header_errors(self) -> dict[str, str]:
        if not isinstance(self.headers, dict):
            return {"headers": 'Give an object of names and values, such as {"x-team": "ml"}.'}
        for name, value in self.headers.items():
            text = f"{name}{value}"
            if not isinstance(value, str) or any(character in text for character in "\r\n\0") or not name.isascii():
                return {"headers": f"Header {name!r} needs a text value without line breaks."}
        return {}

    def _address_errors(self) -> dict[str, str]:
        url = self.effective_base_url
        try:
            validate_base_url(url)
            if not self.allow_private_address:
                refuse_private_address(url)
        except ValueError as error:
            return {"base_url": str(error)} if url else {}
        return {}

    def _proxy_errors(self) -> dict[str, str]:
        try:
            validate_proxy_url(_readable(self.proxy_encrypted) or "http://none")
        except ValueError as error:
            return {"proxy": str(error)}
        return {}

    def _tls_errors(self) -> dict[str, str]:
        self.ca_certificate, self.client_certificate = tidy(self.ca_certificate), tidy(self.client_certificate)
        errors: dict[str, str] = {}
        for name in ("ca_certificate", "client_certificate"):
            try:
                if getattr(self, name):
                    validate_certificates(getattr(self, name))
            except ValueError as error:
                errors[name] = str(error)
        if self.client_certificate and not self.has_client_key:
            errors.setdefault("client_key", "A client certificate needs its key.")
        elif self.has_client_key and not self.client_certificate:
            errors.setdefault("client_certificate", "A client key needs its certificate.")
        elif self.has_client_key and "client_certificate" not in errors:
            errors |= self._key_errors()
        return errors

    def _key_errors(self) -> dict[str, str]:
        key = _readable(self.client_key_encrypted)
        try:
            if key:
                validate_key(key, self.client_certificate)
        except ValueError as error:
            return {"client_key": str(error)}
        return {}


def _readable(encrypted: str) -> str:
    """A stored secret; empty when there is none or no key opens it any more, which is found out elsewhere."""
    try:
        return secrets.decrypt(encrypted) if encrypted else ""
    except secrets.SecretUnreadable:
        return ""
