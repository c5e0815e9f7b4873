"""From the models that a provider offers to deployments, routes and aliases: in one transaction, or not at all."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify

from providers.models import Deployment, ModelPrice, Provider
from providers.offered import Offered
from providers.price_import import SEED, Offer, find_offers, read_offers
from providers.price_updates import apply_updates, plan_updates
from routing.models import ModelAlias, Route, RouteTarget

LONGEST_SLUG = 63


@dataclass(slots=True, kw_only=True)
class Imported:
    """The objects that were made."""

    deployments: list[Deployment] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    aliases: list[ModelAlias] = field(default_factory=list)
    prices: list[ModelPrice] = field(default_factory=list)


def known_prices(provider: Provider, offered: Iterable[Offered]) -> set[str]:
    """Return the models whose prices come with Tollgate."""
    offers = read_offers(SEED.read_text(encoding="utf-8"))
    return {each.name for each in offered if len(find_offers(offers, provider=provider.adapter, model=each.name)) == 1}


@transaction.atomic
def import_models(
    provider: Provider, chosen: Iterable[Offered], *, with_routes: bool = False, with_prices: bool = False
) -> Imported:
    """Make a deployment of each model, and if asked a route and an alias of its name; raises ValidationError."""
    chosen = list(chosen)
    made = Imported()
    slugs = set(Deployment.objects.values_list("slug", flat=True))
    for offered in chosen:
        deployment = _deployment(provider, offered, slugs)
        made.deployments.append(deployment)
        if with_routes:
            _route(deployment, made)
    if with_prices:
        made.prices += list(take_prices(provider, chosen, made.deployments))
    return made


def _deployment(provider: Provider, offered: Offered, slugs: set[str]) -> Deployment:
    deployment = Deployment(
        provider=provider,
        slug=free_slug(provider.slug, offered.name, slugs),
        model=offered.name,
        kind=offered.kind,
        context_window=offered.context_window,
        max_output_tokens=offered.max_output_tokens,
    )
    _save(deployment, offered.name)
    slugs.add(deployment.slug)
    return deployment


def free_slug(provider: str, model: str, taken: set[str]) -> str:
    """Return a slug that tells provider and model, and is not taken."""
    wanted = slugify(f"{provider}-{model.replace('.', '-').replace('/', '-').replace(':', '-')}")[:LONGEST_SLUG].strip(
        "-"
    )
    if wanted not in taken:
        return wanted
    number = 2
    while f"{wanted[:58]}-{number}" in taken:
        number += 1
    return f"{wanted[:58]}-{number}"


def _route(deployment: Deployment, made: Imported) -> None:
    """An alias of the model's name for every tenant, unless there is one: then its route is left as it is."""
    name = deployment.model
    if " " in name or "*" in name or ModelAlias.objects.filter(name=name, tenant=None).exists():
        return
    route = Route.objects.filter(name=name).first()
    if route is None:
        route = Route(name=name)
        _save(route, name)
        made.routes.append(route)
        RouteTarget.objects.create(route=route, deployment=deployment)
    alias = ModelAlias(name=name, route=route)
    _save(alias, name)
    made.aliases.append(alias)


def take_prices(
    provider: Provider, chosen: Iterable[Offered], deployments: Iterable[Deployment]
) -> Iterator[ModelPrice]:
    """What the provider tells of its prices comes before what comes with Tollgate."""
    slugs = [deployment.slug for deployment in deployments]
    offers = read_offers(SEED.read_text(encoding="utf-8"))
    for offered in chosen:
        if offered.input_price is not None and offered.output_price is not None:
            name, units = (
                f"{provider.adapter}/{offered.name}",
                {"input": offered.input_price, "output": offered.output_price},
            )
            offers[name] = Offer(name=name, units=units)
    plan = plan_updates(offers, names=slugs, now=timezone.now())
    yield from apply_updates(update for update in plan.updates if update.deployment.slug in slugs)


def _save(item: Deployment | Route | ModelAlias, name: str) -> None:
    try:
        item.full_clean()
    except ValidationError as error:
        raise ValidationError([f"{name}: {sentence}" for sentence in error.messages]) from None
    item.save()
