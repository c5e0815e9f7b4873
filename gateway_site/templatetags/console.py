"""Where a page is in the console: its place in the sidebar, and what is below that."""

from typing import Any

from django import template
from django.db.models import Model
from django.http import HttpRequest
from django.template import RequestContext
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from gateway_site.console.navigation import place_of

register = template.Library()

type Part = dict[str, Any]


@register.simple_tag(takes_context=True)
def way_here(context: RequestContext) -> SafeString:
    """The page's heading: the sidebar's group, its entry, the object, and what is done with it."""
    request: Any = context.request
    return render_to_string("unfold/helpers/header_title.html", {"parts": parts_of(context, request)}, request)


@register.simple_tag(takes_context=True)
def list_name(context: RequestContext) -> str:
    """What the page's list is called."""
    request: Any = context.request
    return str(_of_list(request, context["opts"])[-1]["title"])


def parts_of(context: Any, request: HttpRequest) -> list[Part]:
    """The parts of a page's heading; the last one is the page itself."""
    title = {"title": str(context.get("content_title") or context.get("title") or "Home").strip()}
    opts = context.get("opts")
    if opts is None:
        return [*_above(context, request), title]
    parts = _of_list(request, opts)
    thing = context.get("original") or context.get("object")
    if isinstance(thing, Model):
        parts += _of_object(thing, parts[-1]["link"])
    is_the_page = "cl" in context or ("adminform" in context and isinstance(thing, Model))
    return parts if is_the_page else [*parts, title]


def _above(context: Any, request: HttpRequest) -> list[Part]:
    """What is above a page that is of no model."""
    if context.get("parent"):
        return [context["parent"]]
    match = request.resolver_match
    place = place_of(request, match.view_name) if match is not None else None
    return _group(*place) if place else []


def _of_list(request: HttpRequest, opts: Any) -> list[Part]:
    name = f"admin:{opts.app_label}_{opts.model_name}_changelist"
    place = place_of(request, name)
    if place is not None:
        return [*_group(*place), {"title": place[1]["title"], "link": str(place[1]["link"])}]
    return [{"title": capfirst(opts.verbose_name_plural), "link": _link(name)}]


def _group(title: str, item: Any) -> list[Part]:
    return [{"title": title}] if title not in ("", item["title"]) else []


def _of_object(thing: Model, above: str) -> list[Part]:
    link = _link(f"admin:{thing._meta.app_label}_{thing._meta.model_name}_change", thing.pk)
    return [] if link == above else [{"title": str(thing), "link": link}]


def _link(name: str, *args: Any) -> str:
    try:
        return reverse(name, args=args)
    except NoReverseMatch:
        return ""
