"""The REST API's providers, deployments and prices, for operators. Fields are called as in the configuration's YAML."""

from collections.abc import Iterable
from datetime import datetime
from operator import attrgetter
from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from ninja import Router
from pydantic import Field

from providers.connection_check import check
from providers.models import Deployment, ModelPrice, Provider
from routing.declaration import fields
from routing.declaration.catalogue import PRICE_FIELDS, PRICE_IN_FORCE
from tenants.api.errors import PROBLEMS, conflict
from tenants.api.resource import Extra, Reference, Resource
from tenants.api.routes import add_routes
from tenants.api.schema import Strict, Text

router = Router()


# --- Providers -----------------------------------------------------------------------------------------------


def _secret(noun: str, name: str) -> Extra:
    """A secret that is written, and never read."""

    def keep(provider: Provider, value: str | None) -> Iterable[str]:
        getattr(provider, f"set_{name}")(value or "")
        return [f"{name}_encrypted"]

    return Extra(
        annotation=None,
        description=f"The {noun}, which is stored encrypted and never shown; null removes it.",
        accepts=Text | None,
        set=keep,
        is_kept=True,
    )


def _is_stored(noun: str, name: str) -> Extra:
    def show(provider: Provider) -> bool:
        return bool(getattr(provider, f"has_{name}"))

    return Extra(annotation=bool, description=f"Whether a {noun} is stored.", show=show)


PROVIDERS = Resource(
    path="providers",
    noun="provider",
    model=Provider,
    rows=Provider.objects.all,
    paths={name: path for name, path in ({"slug": "slug"} | fields.PROVIDER.paths).items() if name != "headers"},
    lookup="slug",
    tenant_path=None,
    verbs=("list", "create", "get", "put", "change", "delete"),
    filters={"slug": "slug", "adapter": "adapter"},
    kept=fields.PROVIDER.kept,
    extras={
        "headers": Extra(
            annotation=list[str],
            description="Further headers for every request, names and values; only their names are shown.",
            show=lambda provider: sorted(provider.headers),
            accepts=dict[Text, Text] | None,
            set=lambda provider, value: _set_headers(provider, value),
            is_kept=True,
        ),
        "credential": _secret("credential", "credential"),
        "proxy": _secret("proxy's URL", "proxy"),
        "tls.key": _secret("client certificate's key", "client_key"),
        "has_credential": _is_stored("credential", "credential"),
        "has_proxy": _is_stored("proxy", "proxy"),
        "has_client_key": _is_stored("key", "client_key"),
        "created_at": Extra(annotation=datetime, description="", show=lambda provider: provider.created_at),
    },
    example={"slug": "openai", "adapter": "openai", "credential": "sk-…", "timeouts": {"first_token": 30}},
)


def _set_headers(provider: Provider, value: dict[str, str] | None) -> Iterable[str]:
    provider.headers = value or {}
    return ["headers"]


add_routes(router, PROVIDERS)


class ConnectionQuestion(Strict):
    """What a provider is asked."""

    model: Text = Field(
        "", max_length=200, description="Also send this model a small request; empty: only list models."
    )


class Connection(Strict):
    """What came of asking a provider."""

    verdict: str
    reason: str
    advice: str
    milliseconds: int | None
    models: int | None = Field(description="How many it lists; null: it was not told.")


@router.post(
    "/providers/{ref}/test-connection",
    response={200: Connection, **PROBLEMS},
    summary="Ask a provider whether it can be reached and takes the credential",
    operation_id="test_provider_connection",
    tags=["providers"],
)
def test_connection(request: HttpRequest, ref: str, body: ConnectionQuestion) -> Any:
    """Tells *cannot probe*, *unreachable* and *rejected* apart."""
    PROVIDERS.permit(request, "change")
    found = check(PROVIDERS.find(request, ref), model=body.model)
    return {name: getattr(found, name) for name in ("verdict", "reason", "advice", "milliseconds", "models")}


# --- Deployments ---------------------------------------------------------------------------------------------


def _told(name: str, annotation: Any, description: str) -> Extra:
    return Extra(annotation=annotation, description=description, show=attrgetter(name))


add_routes(
    router,
    Resource(
        path="deployments",
        noun="deployment",
        model=Deployment,
        rows=lambda: Deployment.objects.select_related("provider"),
        paths={"slug": "slug"} | fields.DEPLOYMENT.paths,
        refs={"provider": Reference(field="provider", model=Provider, noun="provider", tenant_path=None)},
        lookup="slug",
        tenant_path=None,
        verbs=("list", "create", "get", "put", "change", "delete"),
        filters={"provider": "provider__slug", "slug": "slug", "kind": "kind"},
        kept=fields.DEPLOYMENT.kept,
        extras={
            "probe_result": _told("probe_result", str, "What the last probe found."),
            "probe_reason": _told("probe_reason", str, ""),
            "probed_at": _told("probed_at", datetime | None, ""),
            "created_at": _told("created_at", datetime, ""),
        },
        example={"slug": "gpt-large", "provider": "openai", "model": "gpt-5", "context_window": 400_000},
    ),
)


# --- Prices --------------------------------------------------------------------------------------------------


def _check_price(request: HttpRequest, price: ModelPrice, body: object) -> None:
    if price.effective_from <= timezone.now():
        raise conflict(f"{PRICE_IN_FORCE[0].upper()}{PRICE_IN_FORCE[1:]}.")


add_routes(
    router,
    Resource(
        path="prices",
        noun="price",
        model=ModelPrice,
        rows=lambda: ModelPrice.objects.select_related("deployment"),
        paths={name: name for name in ("side", "effective_from", *PRICE_FIELDS)},
        refs={
            "deployment": Reference(
                field="deployment", model=Deployment, noun="deployment", tenant_path=None, is_fixed=True
            )
        },
        fixed=frozenset({"side"}),
        tenant_path=None,
        filters={"deployment": "deployment__slug", "side": "side"},
        check=_check_price,
        example={"deployment": "gpt-large", "side": "sell", "input": "2.50", "output": "10"},
    ),
)
