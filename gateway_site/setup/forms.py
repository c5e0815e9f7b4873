"""The setup guide's forms: as few fields as possible; each makes its step's objects in one transaction."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import msgspec
from django import forms
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.text import slugify
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from gateway_site.management.commands.seed_demo import SIMULATOR, simulated, simulator_address
from providers.models import Deployment, ModelPrice, Provider
from providers.offered import Offered
from providers.price_import import Malformed
from providers.registry import ADAPTERS
from routing.model_import import import_models, take_prices
from routing.models import ModelAlias, Route, RouteTarget
from tenants.models import Tenant

LOOK_SECONDS = 0.2
MOST_CHOICES = 100
KNOWN, OWN, LATER = "known", "own", "later"
PRICES = ((KNOWN, "The known price"), (OWN, "A price of my own"), (LATER, "Price it later"))


def _text(label: str = "", **options: Any) -> forms.CharField:
    attributes = {"autocomplete": "off", "spellcheck": "false", **options.pop("attrs", {})}
    return forms.CharField(label=label, widget=UnfoldAdminTextInputWidget(attributes), **options)


def _offer(field: Any, rows: Iterable[Any]) -> None:
    """Let one of some objects be chosen."""
    field.choices = [(str(each.pk), str(each)) for each in rows]


def simulator_runs() -> bool:
    """Whether the simulator of `manage.py up` answers on this machine."""
    address = urlsplit(simulator_address())
    try:
        socket.create_connection((address.hostname, address.port), timeout=LOOK_SECONDS).close()
    except OSError:
        return False
    return True


def _free(wanted: str, model: Any, field: str = "slug", most: int = 63) -> str:
    """Return a value that no object has yet: the wanted one, or with a number behind it."""
    stem = wanted[: most - 4].strip("-")
    taken = set(model.objects.filter(**{f"{field}__startswith": stem}).values_list(field, flat=True))
    return next(name for name in (stem, *(f"{stem}-{number}" for number in range(2, 10_000))) if name not in taken)


def _tell(form: forms.Form, error: ValidationError, **fields: str) -> None:
    """Put what a model says of its fields to the fields that they came from, else above the form."""
    if not hasattr(error, "error_dict"):
        form.add_error(None, error.messages)
        return
    for name, said in error.message_dict.items():
        place = fields.get(name, name)
        form.add_error(place if place in form.fields else None, said)


# --- 1. A provider -------------------------------------------------------------------------------------------


class ProviderStep(forms.Form):
    """Which vendor, and what to show it."""

    adapter = forms.ChoiceField(choices=(), label="Provider")
    credential = forms.CharField(
        required=False,
        max_length=8000,
        widget=UnfoldAdminPasswordWidget({"autocomplete": "new-password", "spellcheck": "false"}),
    )
    base_url = _text("Base URL", required=False, max_length=500, attrs={"placeholder": "https://llm.example.com/v1"})
    allow_private_address = forms.BooleanField(
        label="It is in a private network, or on this machine", required=False, widget=UnfoldBooleanWidget()
    )

    def __init__(self, *args: Any, has_simulator: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        simulator = [(SIMULATOR, "Local simulator")] if has_simulator else []
        choices = [*((each.name, each.label) for each in ADAPTERS.values()), *simulator]
        self.fields["adapter"].choices = choices  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        cleaned = self.cleaned_data
        if "adapter" not in cleaned:
            return cleaned
        self.provider = _simulator() if cleaned["adapter"] == SIMULATOR else self._provider()
        adapter = ADAPTERS[self.provider.adapter]
        if adapter.credential_page and not cleaned.get("credential"):
            self.add_error("credential", f"{adapter.label} wants one. Paste it here.")
        try:
            self.provider.full_clean()
        except ValidationError as error:
            _tell(self, error)
        return cleaned

    def _provider(self) -> Provider:
        given = self.cleaned_data
        adapter = ADAPTERS[given["adapter"]]
        provider = Provider(adapter=adapter.name, name=adapter.label)
        if not adapter.base_url:
            provider.base_url = given.get("base_url", "")
            provider.allow_private_address = given["allow_private_address"]
            provider.name = urlsplit(provider.base_url).hostname or adapter.label
        provider.slug = _free(slugify(provider.name.replace(".", "-")) or adapter.name, Provider)
        provider.set_credential(given.get("credential", "").strip())
        return provider

    @transaction.atomic
    def save(self) -> Provider:
        self.provider.save()
        return self.provider


def _simulator() -> Provider:
    """The simulator, as the demo declares it."""
    [declared] = simulated()["providers"]
    provider = Provider(**{name: value for name, value in declared.items() if name != "credential"})
    provider.set_credential(declared["credential"])
    return provider


# --- 2. A model ----------------------------------------------------------------------------------------------


class ModelStep(forms.Form):
    """Which of a provider's models, what clients call it, and what it costs."""

    provider = forms.ChoiceField(choices=(), widget=UnfoldAdminSelectWidget)
    model = _text("Model", max_length=200, attrs={"placeholder": "Choose one above, or type its name"})
    alias = _text("Alias", required=False, max_length=200, attrs={"placeholder": "The same name"})
    price = forms.ChoiceField(choices=PRICES, initial=LATER)
    input_price = forms.DecimalField(
        label="Input", required=False, min_value=0, widget=UnfoldAdminDecimalFieldWidget({"placeholder": "0.25"})
    )
    output_price = forms.DecimalField(
        label="Output", required=False, min_value=0, widget=UnfoldAdminDecimalFieldWidget({"placeholder": "2"})
    )
    offered = forms.CharField(required=False, max_length=4000, widget=forms.HiddenInput())  # what the list said of it

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.providers = list(Provider.objects.filter(is_enabled=True).order_by("-pk")[:MOST_CHOICES])
        _offer(self.fields["provider"], self.providers)

    def clean_provider(self) -> Provider:
        return next(each for each in self.providers if str(each.pk) == self.cleaned_data["provider"])

    def clean(self) -> dict[str, Any]:
        cleaned = self.cleaned_data
        cleaned["alias"] = alias = cleaned.get("alias") or cleaned.get("model", "")
        if ModelAlias.objects.filter(name=alias, tenant=None).exists():
            self.add_error("alias", f"{alias} leads somewhere already. Choose another name.")
        elif "*" in alias:
            self.add_error("alias", "Give a whole name here; the full form takes patterns.")
        amounts = (cleaned.get("input_price"), cleaned.get("output_price"))
        if cleaned.get("price") == OWN and amounts == (None, None) and not self.errors:
            self.add_error("input_price", "Give a price; 0 says that it is free.")
        return cleaned

    def save(self) -> ModelAlias | None:
        """Make what leads from the alias to the model; None, with errors, when something of it cannot be."""
        try:
            with transaction.atomic():
                return self._make()
        except ValidationError as error:
            _tell(self, error, name="alias", input="input_price", output="output_price")
        except Malformed as error:
            self.add_error(None, list(error.problems))
        return None

    def _make(self) -> ModelAlias:
        deployment = self._deployment()
        route = Route(name=_free(self.cleaned_data["alias"], Route, "name", 200))
        alias = ModelAlias(name=self.cleaned_data["alias"], route=route)
        route.full_clean()
        alias.full_clean(exclude=("route",))
        route.save()
        RouteTarget.objects.create(route=route, deployment=deployment)
        alias.save()
        return alias

    def _deployment(self) -> Deployment:
        """The one that there is, else a new one, with the price that was chosen."""
        provider, offered = self.cleaned_data["provider"], self._offered()
        there = Deployment.objects.filter(provider=provider, model=offered.name, is_enabled=True).first()
        deployment = there or import_models(provider, [offered]).deployments[0]
        if self.cleaned_data["price"] == OWN:
            self._price(deployment)
        is_wanted = self.cleaned_data["price"] == KNOWN and not deployment.prices.exists()
        if is_wanted and not list(take_prices(provider, [offered], [deployment])):
            raise ValidationError({"price": f"No price is known for {offered.name}. Give one, or price it later."})
        return deployment

    def _offered(self) -> Offered:
        """What the list said of the model, if it was chosen there."""
        name = self.cleaned_data["model"]
        try:
            told = msgspec.json.decode(self.cleaned_data["offered"] or "{}", type=Offered)
        except msgspec.DecodeError:
            return Offered(name=name)
        return told if told.name == name else Offered(name=name)

    def _price(self, deployment: Deployment) -> None:
        price = ModelPrice(
            deployment=deployment, input=self.cleaned_data["input_price"], output=self.cleaned_data["output_price"]
        )
        price.full_clean()
        price.save()


# --- 3. A tenant, 4. its key ---------------------------------------------------------------------------------


class TenantStep(forms.Form):
    """The tenant whose programs will call."""

    name = _text("Name", max_length=200, attrs={"placeholder": "Such as a team, a product or a customer"})

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        self.tenant = Tenant(name=name, slug=_free(slugify(name) or "tenant", Tenant))
        try:
            self.tenant.full_clean()
        except ValidationError as error:
            raise ValidationError(error.messages) from None
        return name

    @transaction.atomic
    def save(self) -> Tenant:
        self.tenant.save()
        return self.tenant


class KeyStep(forms.Form):
    """What a program of theirs shows."""

    tenant = forms.ChoiceField(choices=(), widget=UnfoldAdminSelectWidget)
    name = _text("Name", max_length=100, attrs={"placeholder": "Such as the program that will use it"})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tenants = list(Tenant.objects.filter(suspended_at=None).order_by("-pk")[:MOST_CHOICES])
        _offer(self.fields["tenant"], self.tenants)

    def clean_tenant(self) -> Tenant:
        return next(each for each in self.tenants if str(each.pk) == self.cleaned_data["tenant"])
