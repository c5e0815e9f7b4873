"""The routes of a kind of object: list, make, look at, change and delete, each only where the description has it.

Answers carry an ETag, and `If-Match` keeps two people from undoing each other's changes.
"""

import hashlib
import json
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import ProtectedError, QuerySet, RestrictedError
from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Schema
from ninja.responses import NinjaJSONEncoder, Status

from tenants.api.errors import PROBLEMS, Refused, in_use
from tenants.api.paging import Page, check_parameters, page_answer, page_of
from tenants.api.resource import Resource
from tenants.api.schema import Leaf, Text, given, model_of


def add_routes(router: Router, resource: Resource) -> None:
    """Add the routes of a kind of object."""
    one = f"/{resource.path}/{{{'path:' if resource.lookup == 'name' else ''}ref}}"
    answer = resource.answer()
    adders = {
        "list": _add_list,
        "create": _add_create,
        "get": _add_get,
        "put": _add_put,
        "change": _add_change,
        "delete": _add_delete,
    }
    for verb in resource.verbs:
        adders[verb](router, resource, one, answer)


def verb_options(resource: Resource, name: str, summary: str, answer: Any) -> dict[str, Any]:
    """Return what the operation of a verb is told: `POST /<resources>/{ref}/<name>`."""
    words = f"{name} {resource.noun}".lower()
    return {
        "path": f"/{resource.path}/{{ref}}/{name}",
        "response": {200: answer, **PROBLEMS},
        "summary": summary,
        "operation_id": words.replace("-", "_").replace(" ", "_"),
        "tags": [resource.path],
        "exclude_unset": True,
    }


def _options(resource: Resource, verb: str, response: Any, *, status: int = 200) -> dict[str, Any]:
    noun = resource.noun
    article = "an" if noun[0].lower() in "aeiou" else "a"
    sentences = {
        "list": f"List: {resource.path.replace('-', ' ')}",
        "create": f"Make {article} {noun}",
        "get": f"Look at {article} {noun}",
        "put": f"Make {article} {noun}, or bring it to what is said",
        "change": f"Change fields of {article} {noun}",
        "delete": f"Delete {article} {noun}",
    }
    return {
        "summary": sentences[verb],
        "operation_id": f"{verb}_{resource.path.replace('-', '_')}",
        "response": {status: response, **PROBLEMS},
        "tags": [resource.path],
        "exclude_unset": True,
    }


def _add_list(router: Router, resource: Resource, one: str, answer: type[Schema]) -> None:
    filters = {name: Leaf(annotation=Text, description=f"Only with this {name}.") for name in resource.filters}
    query = model_of(f"{resource.noun.title().replace(' ', '')}Query", filters, base=Page)
    page = page_answer(resource.noun, answer)

    @router.get(f"/{resource.path}", **_options(resource, "list", page))
    def list_objects(request: HttpRequest, response: HttpResponse, asked: Query[query]) -> Any:  # type: ignore[valid-type]
        """Keyset pages: `next`, and the header `Link`, lead on."""
        resource.permit(request, "view")
        check_parameters(request, {"limit", "after", *resource.filters})
        rows = resource.visible(request)
        for name, lookup in resource.filters.items():
            if name in request.GET:
                rows = _filtered(rows, lookup, str(request.GET[name]))
        found, following = page_of(request, response, rows, asked, resource.order)
        return {"items": resource.show(request, found), "next": following}


def _filtered(rows: QuerySet[Any], lookup: str, value: str) -> QuerySet[Any]:
    try:
        return rows.filter(**{lookup: value})
    except (ValueError, ValidationError):
        return rows.none()  # an id that is none


def _add_create(router: Router, resource: Resource, one: str, answer: type[Schema]) -> None:
    body_model = resource.body("Create")
    whole = resource.answer("Made", resource.made) if resource.made else answer

    @router.post(f"/{resource.path}", **_options(resource, "create", whole, status=201))
    def create_object(request: HttpRequest, response: HttpResponse, body: body_model) -> Any:  # type: ignore[valid-type]
        resource.permit(request, "add")
        with transaction.atomic():
            instance = resource.model()
            more = resource.write(request, instance, given(body))
            again = resource.visible(request).get(pk=instance.pk)
            [shown] = resource.show(request, [again], **more)
        response["Location"] = f"{request.path}/{instance.pk}"
        if more:
            response["Cache-Control"] = "no-store"
        return _tagged(response, shown, 201, resource)


def _add_get(router: Router, resource: Resource, one: str, answer: type[Schema]) -> None:
    @router.get(one, **_options(resource, "get", answer))
    def get_object(request: HttpRequest, response: HttpResponse, ref: str) -> Any:
        resource.permit(request, "view")
        check_parameters(request, set())
        [shown] = resource.show(request, [resource.find(request, ref)])
        return _tagged(response, shown, 200, resource)


def _add_put(router: Router, resource: Resource, one: str, answer: type[Schema]) -> None:
    body_model = resource.body("Put")
    options = _options(resource, "put", answer)
    options["response"] = {200: answer, 201: answer, **PROBLEMS}

    @router.put(one, **options)
    def put_object(request: HttpRequest, response: HttpResponse, ref: str, body: body_model) -> Any:  # type: ignore[valid-type]
        """What is left out has its default; secrets, and what people switch by hand, stay as they are."""
        lookup = resource.paths[resource.lookup or ""]
        values = {lookup: ref} | given(body)
        with transaction.atomic():
            rows = resource.visible(request).select_for_update(of=("self",))
            instance = rows.filter(**{resource.lookup or "": ref}).first()
            resource.permit(request, "add" if instance is None else "change")
            _check_tag(request, resource, instance)
            status = 201 if instance is None else 200
            if instance is not None and resource.check is not None:
                resource.check(request, instance, values)
            instance = instance or resource.model()
            resource.write(request, instance, values, is_whole=True)
            [shown] = resource.show(request, [resource.visible(request).get(pk=instance.pk)])
        return _tagged(response, shown, status, resource)


def _add_change(router: Router, resource: Resource, one: str, answer: type[Schema]) -> None:
    body_model = resource.body("Change")

    @router.patch(one, **_options(resource, "change", answer))
    def change_object(request: HttpRequest, response: HttpResponse, ref: str, body: body_model) -> Any:  # type: ignore[valid-type]
        """What is left out stays as it is."""
        resource.permit(request, "change")
        with transaction.atomic():
            instance = resource.find(request, ref, locked=True)
            _check_tag(request, resource, instance)
            if resource.check is not None:
                resource.check(request, instance, given(body))
            resource.write(request, instance, given(body))
            [shown] = resource.show(request, [resource.visible(request).get(pk=instance.pk)])
        return _tagged(response, shown, 200, resource)


def _add_delete(router: Router, resource: Resource, one: str, answer: type[Schema]) -> None:
    @router.delete(one, **_options(resource, "delete", None, status=204))
    def delete_object(request: HttpRequest, ref: str) -> Any:
        resource.permit(request, "delete")
        with transaction.atomic():
            instance = resource.find(request, ref, locked=True)
            _check_tag(request, resource, instance)
            if resource.check is not None:
                resource.check(request, instance, None)
            try:
                instance.delete()
            except (ProtectedError, RestrictedError) as error:
                raise in_use(error) from None
        return Status(204, None)


# --- ETags -------------------------------------------------------------------------------------------------------


def _tagged(response: HttpResponse, shown: dict[str, Any], status: int, resource: Resource) -> Any:
    response["ETag"] = _tag({name: value for name, value in shown.items() if name not in resource.made})
    return Status(status, shown)


def _tag(shown: dict[str, Any]) -> str:
    text = json.dumps(shown, cls=NinjaJSONEncoder, sort_keys=True)
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def _check_tag(request: HttpRequest, resource: Resource, instance: Any) -> None:
    """Refuse to change what is not as it was when whoever asks looked."""
    wanted = request.headers.get("If-Match")
    if wanted is None:
        return
    tags = [] if instance is None else [_tag(resource.show(request, [instance])[0]), "*"]
    if not {each.strip().removeprefix("W/") for each in wanted.split(",")} & set(tags):
        raise Refused(412, "changed_meanwhile", "This is not as it was any more: look at it again.")
