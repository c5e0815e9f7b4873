"""A kind of object in the REST API: one description, which `routes` makes all routes of.

Values are validated by the models' own `full_clean` and saved, so that signals publish, announce and note them as they
do for the console. What is seen is scoped by `access.visible`; what is not seen is not there, for references in bodies, too.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from ninja import Schema

from tenants.api.access import permit, standing_in, visible
from tenants.api.errors import from_model, invalid, not_found
from tenants.api.paging import LARGEST_KEY
from tenants.api.schema import Leaf, Ref, Text, Whole, leaf_of, model_of, nested, plain

type Verb = Literal["list", "create", "get", "put", "change", "delete"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A field that leads to another object: by slug or name, or by id."""

    field: str
    model: type[Model]
    by: str = "slug"
    noun: str
    tenant_path: str | None = "tenant"
    within: str | None = None  # its name is unique within this other field's object
    whose: str | None = None  # what tells that object's id, where the field of that name does not
    is_required: bool = True
    is_fixed: bool = False  # chosen when the object is made
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """A value that is no field: shown, set, or both."""

    annotation: Any  # as it is answered; None: it is never answered
    description: str
    show: Callable[[Any], Any] | None = None
    accepts: Any = None  # as it is sent; None: it is not
    set: Callable[[Any, Any], Iterable[str]] | None = None  # before the object is saved; returns the fields it set
    write: Callable[[Any, Any], None] | None = None  # after that
    is_kept: bool = False  # by a PUT that does not say it


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One kind of object."""

    path: str  # of the list, such as "api-keys"
    noun: str
    model: type[Model]
    paths: Mapping[str, str]  # model field → where it stands in the body
    refs: Mapping[str, Reference] = field(default_factory=dict)
    extras: Mapping[str, Extra] = field(default_factory=dict)
    lookup: str | None = None  # the field that names an object, beside its id
    tenant_path: str | None = "tenant"  # None: only operators see it
    verbs: tuple[Verb, ...] = ("list", "create", "get", "change", "delete")
    rows: Callable[[], QuerySet[Any]]
    filters: Mapping[str, str] = field(default_factory=dict)  # parameter → lookup
    kept: frozenset[str] = frozenset()  # fields that a PUT leaves as they are when it does not say them
    fixed: frozenset[str] = frozenset()  # fields that are set once
    make: Callable[[HttpRequest, Any], dict[str, Any]] | None = None  # saves a new object; returns what else to answer
    made: Mapping[str, Leaf] = field(default_factory=dict)  # what `make` answers
    # Before an object is changed to what a body says, or deleted (None); raises Refused.
    check: Callable[[HttpRequest, Any, Mapping[str, Any] | None], None] | None = None
    dress: Callable[[list[Any]], None] | None = None  # looks up, for all rows of an answer at once, what extras show
    order: tuple[str, ...] = ("pk",)  # of the list
    example: Mapping[str, Any] = field(default_factory=dict)

    # --- Who may what ----------------------------------------------------------------------------------------

    def permit(self, request: HttpRequest, verb: str) -> None:
        """Refuse who may not."""
        permit(request, f"{self.model._meta.app_label}.{verb}_{self.model._meta.model_name}")

    def visible(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the objects that whoever asks may see."""
        return visible(request, self.rows(), self.tenant_path)

    def hidden(self, request: HttpRequest) -> frozenset[str]:
        """Fields that only operators see: those of the console's page."""
        return frozenset() if standing_in(request).is_operator else frozenset(self._of_page("operator_fields"))

    def undecided(self, request: HttpRequest) -> frozenset[str]:
        """Fields that only operators set."""
        if standing_in(request).is_operator:
            return frozenset()
        return frozenset((*self._of_page("operator_fields"), *self._of_page("operator_decides"))) - {"tenant"}

    def _of_page(self, name: str) -> Iterable[str]:
        return getattr(admin.site._registry.get(self.model), name, ())

    # --- One object ------------------------------------------------------------------------------------------

    def find(self, request: HttpRequest, ref: str, *, locked: bool = False) -> Any:
        """Return the object with this slug, name or id; 404 where there is none that is shown."""
        rows = self.visible(request)
        if locked:
            rows = rows.select_for_update(of=("self",))
        found = named(rows, self.lookup, ref)
        if found is None:
            raise not_found(self.noun, ref)
        return found

    def show(self, request: HttpRequest, instances: list[Any], **more: Any) -> list[dict[str, Any]]:
        """Return objects as they are answered."""
        if self.dress is not None:
            self.dress(instances)
        hidden = self.hidden(request)
        return [nested(self._values(instance, hidden)) | more for instance in instances]

    def _values(self, instance: Any, hidden: frozenset[str]) -> Iterable[tuple[str, Any]]:
        yield "id", instance.pk
        for path, ref in self.refs.items():
            other = getattr(instance, ref.field)
            yield path, None if other is None else getattr(other, ref.by)
            yield f"{path}_id", getattr(instance, f"{ref.field}_id")
        for name, path in self.paths.items():
            if name not in hidden:
                yield path, plain(getattr(instance, name))
        for path, extra in self.extras.items():
            if extra.show is not None and path not in hidden:
                yield path, plain(extra.show(instance))

    # --- Writing ---------------------------------------------------------------------------------------------

    def write(
        self, request: HttpRequest, instance: Any, body: Mapping[str, Any], *, is_whole: bool = False
    ) -> dict[str, Any]:
        """Set what a body says, validate and save; returns what else there is to answer."""
        is_new = instance.pk is None
        self._check_decided(request, instance, body)
        changed = self._refer(request, instance, body)
        if is_whole and not is_new:
            self._reset(request, instance, body)
        for name, path in self.paths.items():
            if path in body:
                setattr(instance, name, body[path])
        for path, extra in self.extras.items():
            if path in body and extra.set is not None:
                changed += extra.set(instance, body[path])
        paths = self._places()
        try:
            return self._save(request, instance, body, [*self.paths, *changed])
        except ValidationError as error:
            raise from_model(error, paths) from None

    def _save(self, request: HttpRequest, instance: Any, body: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
        more: dict[str, Any] = {}
        if instance.pk is None and self.make is not None:
            more = self.make(request, instance)
        else:
            instance.full_clean()
            # Not what the gateway itself writes beside: probes, capabilities.
            instance.save(**({"update_fields": names} if instance.pk is not None else {}))
        for path, extra in self.extras.items():
            if path in body and extra.write is not None:
                extra.write(instance, body[path])
        return more

    def _check_decided(self, request: HttpRequest, instance: Any, body: Mapping[str, Any]) -> None:
        """Refuse what only operators set, and what is set once."""
        undecided = self.undecided(request)
        wrong = [(path, "Only operators set this.") for name, path in self.paths.items() if {name} & undecided]
        if instance.pk is not None:
            fixed = [path for name, path in self.paths.items() if name in self.fixed]
            wrong += [(path, "This is set once, and stays.") for path in fixed]
        found = [
            (path, text)
            for path, text in wrong
            if path in body and body[path] != getattr(instance, self._field_at(path))
        ]
        if found:
            raise invalid(found)

    def _field_at(self, path: str) -> str:
        return next(name for name, there in self.paths.items() if there == path)

    def _refer(self, request: HttpRequest, instance: Any, body: Mapping[str, Any]) -> list[str]:
        """Set what leads to other objects; each is looked for among what whoever asks may see."""
        changed = []
        for path, ref in self.refs.items():
            if path == "tenant" and "tenant" not in body and instance.pk is None:
                self._own(request, instance, ref)
            elif path in body:
                before = getattr(instance, f"{ref.field}_id")
                setattr(instance, ref.field, self._referred(request, instance, path, ref, body[path]))
                if instance.pk is not None and ref.is_fixed and getattr(instance, f"{ref.field}_id") != before:
                    raise invalid([(path, "This is set once, and stays.")])
                changed.append(ref.field)
            elif ref.is_required and instance.pk is None:
                raise invalid([(path, "Field required")])
        return changed

    def _own(self, request: HttpRequest, instance: Any, ref: Reference) -> None:
        """Whoever belongs to a tenant makes things of that tenant."""
        own = standing_in(request).tenant
        if own is not None:
            setattr(instance, ref.field, own)
        elif ref.is_required:
            raise invalid([("tenant", "Field required")])

    def _referred(self, request: HttpRequest, instance: Any, path: str, ref: Reference, value: Any) -> Any:
        if value is None:
            if ref.is_required:
                raise invalid([(path, "This cannot be null.")])
            return None
        rows = visible(request, ref.model._default_manager.all(), ref.tenant_path)
        if ref.within is not None:
            rows = rows.filter(**{ref.within: getattr(instance, ref.whose or f"{ref.within}_id")})
        found = named(rows, ref.by, value)
        if found is None:
            raise invalid([(path, f"There is no {ref.noun} {value!r}.")])
        return found

    def _reset(self, request: HttpRequest, instance: Any, body: Mapping[str, Any]) -> None:
        """Let a PUT say all: what it leaves out has its default, but what people switch by hand, and secrets."""
        left = self.kept | self.fixed | self.undecided(request)
        for name, path in self.paths.items():
            if path not in body and name not in left:
                setattr(instance, name, self.model._meta.get_field(name).get_default())  # type: ignore[union-attr]
        for path, extra in self.extras.items():
            if path not in body and extra.set is not None and not extra.is_kept:
                extra.set(instance, None)

    def _places(self) -> dict[str, str]:
        """Where a model's field stands in the body."""
        return {ref.field: path for path, ref in self.refs.items()} | dict(self.paths)

    # --- Its shapes ------------------------------------------------------------------------------------------

    def body(self, verb: str) -> type[Schema]:
        """Return the model of what is sent; of a change, nothing is required."""
        is_change = verb == "Change"
        leaves = {
            path: Leaf(
                annotation=Ref | None,
                description=ref.description
                or f"The {ref.noun}: its {ref.by.replace('username', 'user name')} or its id.",
                is_required=ref.is_required and not is_change and path != "tenant",
            )
            for path, ref in self.refs.items()
        }
        for name, path in self.paths.items():
            leaf = leaf_of(self.model, name)
            is_required = leaf.is_required and not is_change and not (verb == "Put" and name == self.lookup)
            leaves[path] = Leaf(
                annotation=leaf.annotation,
                description=leaf.description,
                is_required=is_required,
                default=None if is_change else leaf.default,
            )
        for path, extra in self.extras.items():
            if extra.accepts is not None:
                leaves[path] = Leaf(annotation=extra.accepts, description=extra.description)
        made = model_of(f"{self.noun.title().replace(' ', '')}{verb}", leaves)
        if self.example and not is_change:
            made.model_config = {**made.model_config, "json_schema_extra": {"examples": [dict(self.example)]}}
            made.model_rebuild(force=True)
        return made

    def answer(self, name: str = "", more: Mapping[str, Leaf] | None = None) -> type[Schema]:
        """Return the model of what is answered."""
        leaves: dict[str, Leaf] = {"id": Leaf(annotation=Whole if self.model._meta.pk.name == "id" else Text)}
        for path, ref in self.refs.items():
            leaves[path] = Leaf(annotation=str | None, description=f"The {ref.noun}'s {ref.by}.")
            leaves[f"{path}_id"] = Leaf(annotation=int | None)
        leaves |= {path: leaf_of(self.model, field_name, is_answer=True) for field_name, path in self.paths.items()}
        shown = {path: extra for path, extra in self.extras.items() if extra.show is not None}
        leaves |= {
            path: Leaf(annotation=extra.annotation, description=extra.description) for path, extra in shown.items()
        }
        return model_of(f"{self.noun.title().replace(' ', '')}{name}", leaves | dict(more or {}), base=Schema)


def named(rows: QuerySet[Any], lookup: str | None, ref: Any) -> Any:
    """Return the row with this slug or name, else with this id; None: there is none."""
    text = str(ref)
    if isinstance(ref, str) and lookup is not None:
        found = rows.filter(**{lookup: text}).first() if "\0" not in text else None
        if found is not None:
            return found
    is_id = text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= LARGEST_KEY
    return rows.filter(pk=int(text)).first() if is_id else None
