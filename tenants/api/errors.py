"""What the REST API refuses with: `{"error": {"code", "message", "fields"}}`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db.models import ProtectedError, RestrictedError
from ninja import Schema
from pydantic import Field

TAKEN = frozenset({"unique", "unique_together"})  # codes of Django's for what is there already


class FieldError(Schema):
    """A field, by its path in the body, and what is wrong with it."""

    field: str = Field(examples=["timeouts.connect"])
    message: str


class Error(Schema):
    """What was wrong."""

    code: str = Field(examples=["invalid_request"])
    message: str
    fields: list[FieldError] = Field([], description="What is wrong with which field; also of parameters.")


class Problem(Schema):
    """The body of every answer that is not a success."""

    error: Error


PROBLEMS = {status: Problem for status in (401, 403, 404, 409, 412, 422)}  # for the responses of an operation


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, code: str, message: str, fields: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.fields = [{"field": field, "message": text} for field, text in fields]


def conflict(message: str, fields: Iterable[tuple[str, str]] = ()) -> Refused:
    """It makes sense, and cannot be done as things are."""
    return Refused(409, "conflict", message, fields)


def not_found(noun: str, ref: object) -> Refused:
    """There is none, or none that is shown to whoever asks; the two read the same."""
    return Refused(404, "not_found", f"There is no {noun} {str(ref)!r}.")


def invalid(fields: Iterable[tuple[str, str]]) -> Refused:
    """Fields that make no sense."""
    listed = list(fields)
    message = "; ".join(f"{field}: {text}" if field else text for field, text in listed)
    return Refused(422, "invalid_request", message, listed)


def from_model(error: ValidationError, paths: Mapping[str, str]) -> Refused:
    """What a model says, each sentence where its field stands in the body."""
    by_name = error.error_dict if hasattr(error, "error_dict") else {NON_FIELD_ERRORS: error.error_list}
    fields = [
        ("" if name == NON_FIELD_ERRORS else paths.get(name, name), text)
        for name, errors in by_name.items()
        for each in errors
        for text in each.messages
    ]
    codes = {each.code for errors in by_name.values() for each in errors}
    if codes and codes <= TAKEN:
        return conflict("; ".join(text for _, text in fields), fields)
    return invalid(fields)


def in_use(error: ProtectedError | RestrictedError) -> Refused:
    """Something else needs what was to be deleted."""
    rows = error.protected_objects if isinstance(error, ProtectedError) else error.restricted_objects
    users = sorted(f"{each._meta.verbose_name} {each}" for each in rows)
    more = f" and {len(users) - 3} more" if len(users) > 3 else ""
    return conflict(f"It is in use by {', '.join(users[:3])}{more}.")
