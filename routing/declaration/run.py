"""One apply under way: objects are set, validated by their models and saved; changes and problems noted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db.models import Model

from routing.declaration.changes import Change, Difference, NewKey, difference
from routing.declaration.document import Problem
from routing.declaration.schema import Declaration


@dataclass(slots=True, kw_only=True)
class Run:
    """What has been done so far, and what was wrong."""

    declaration: Declaration
    now: datetime
    problems: list[Problem] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    new_keys: list[NewKey] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def write(
        self,
        subject: str,
        instance: Model,
        values: Mapping[str, Any],
        *,
        path: str,
        paths: Mapping[str, str],
        also: Sequence[Difference] = (),
        details: Sequence[str] = (),
        depends: bool = False,
    ) -> bool:
        """Set values, save what differs and note it; False, with problems noted, when the model refuses them.

        `also` are differences in fields that are set already, `details` what to say of a new object; one that
        `depends` on others is validated even when nothing of its own changes.
        """
        is_new = instance.pk is None
        differences = [*assign(instance, values, paths), *also]
        if not (is_new or differences or depends):
            return True
        try:
            instance.full_clean()
        except ValidationError as error:
            self.refuse(error, path, paths)
            return False
        if is_new:
            instance.save()
            self.changes.append(Change(verb="create", subject=subject, details=tuple(details)))
        elif differences:
            instance.save(update_fields=[name for found in differences for name in found.fields])
            texts = tuple(found.text for found in differences)
            self.changes.append(Change(verb="update", subject=subject, details=texts))
        return True

    def delete(self, subject: str, instance: Model) -> None:
        """Delete an object and note it."""
        instance.delete()
        self.changes.append(Change(verb="delete", subject=subject))

    def problem(self, path: str, message: str) -> None:
        """Note what is wrong at a path of the file."""
        self.problems.append(self.declaration.problem(path, message))

    def refuse(self, error: ValidationError, path: str, paths: Mapping[str, str]) -> None:
        """Note what a model says, each sentence where its field stands in the file."""
        by_field = error.message_dict if hasattr(error, "error_dict") else {NON_FIELD_ERRORS: error.messages}
        for name, messages in by_field.items():
            there = "" if name == NON_FIELD_ERRORS else paths.get(name, name)
            place = f"{path}.{there}" if there else path
            for message in messages:
                self.problem(place, message)


def assign(instance: Model, values: Mapping[str, Any], paths: Mapping[str, str]) -> list[Difference]:
    """Set fields and return what differs from before."""
    found = []
    for name, after in values.items():
        before = getattr(instance, name)
        if before != after:
            found.append(difference(name, paths.get(name, name), before, after))
            setattr(instance, name, after)
    return found
