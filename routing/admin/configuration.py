"""The page /admin/configuration/: everything as YAML. Take it away, bring it back, see what that would change first.

Variables of the environment are for commands: here `${NAME}` may only stand for a secret that is stored, and keeps it, so
that nobody reads the process's own secrets by importing them into a name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from secrets import token_hex
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminTextareaWidget, UnfoldBooleanSwitchWidget

from gateway_site.infra.admin import badge
from gateway_site.infra.form_fields import UploadField
from gateway_site.infra.table import table
from providers.models import Provider
from routing.admin.progress import newest_number, watch
from routing.declaration.apply import Outcome, Refused, apply
from routing.declaration.changes import Change
from routing.declaration.export import export
from routing.declaration.schema import Declaration, ProviderEntry, read_declaration
from tenants.admin.scope import standing_in
from tenants.audit import audit

MOST_BYTES = 2 * 1024 * 1024
MOST_PROBLEMS = 100
SECTIONS = {
    "providers": ("provider", "deployment", "modelprice"),
    "routing": ("route", "routetarget", "modelalias"),
    "tenants": ("tenant", "project", "apikey", "ratelimit", "budget"),
}
KINDS = {"create": ("New", "success"), "update": ("Changed", "warning"), "delete": ("Gone", "danger")}


def _rights(*verbs: str) -> list[str]:
    return [f"{app}.{verb}_{model}" for app, models in SECTIONS.items() for model in models for verb in verbs]


def may(request: HttpRequest, *verbs: str) -> bool:
    """Operators with these rights to everything that a file has."""
    return standing_in(request).is_operator and request.user.has_perms(_rights(*verbs))


class ConfigurationForm(forms.Form):
    """The file, pasted or uploaded."""

    file = UploadField(
        most_bytes=MOST_BYTES, required=False, widget=UnfoldAdminFileFieldWidget, help_text="Or paste it below."
    )
    text = forms.CharField(
        required=False,
        strip=False,
        label="YAML",
        widget=UnfoldAdminTextareaWidget({"rows": 16, "class": "font-mono", "spellcheck": "false"}),
        help_text="${NAME} in the place of a stored secret keeps it. Other variables are for manage.py apply.",
    )
    prune = forms.BooleanField(
        required=False,
        label="Delete what the file does not name",
        widget=UnfoldBooleanSwitchWidget,
        help_text="Keys that were used are revoked instead, and tenants with usage suspended.",
    )

    def clean(self) -> dict[str, Any]:
        """Read the file; what was pasted is not looked at then."""
        cleaned = self.cleaned_data
        file = cleaned.get("file")
        if file is not None:
            try:
                cleaned["text"] = file.read().decode()
            except UnicodeDecodeError as error:
                raise ValidationError({"file": f"This is not UTF-8 text: byte {error.start} cannot be read."}) from None
        if not self.errors and not str(cleaned.get("text") or "").strip():
            raise ValidationError({"text": "Paste a configuration, or choose a file."})
        return cleaned


def configuration_file(request: HttpRequest) -> HttpResponse:
    """The configuration as a file, without secrets."""
    if not may(request, "view"):
        raise PermissionDenied
    audit("configuration_exported", None)
    name = f"tollgate-{timezone.now():%Y-%m-%d}.yaml"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return HttpResponse(export(), content_type="application/yaml; charset=utf-8", headers=headers)


def configuration_page(request: HttpRequest) -> HttpResponse:
    """Show the configuration; compare a file with it, and apply what was seen."""
    if not may(request, "view"):
        raise PermissionDenied
    can_apply = may(request, "view", "add", "change")
    if request.method == "POST" and not can_apply:
        raise PermissionDenied
    context = _answer(request) if request.method == "POST" else {"form": ConfigurationForm()}
    context = {
        **admin.site.each_context(request),
        "title": "Configuration as YAML",
        "can_apply": can_apply,
        "media": context["form"].media,
        **context,
    }
    response = TemplateResponse(request, "admin/configuration.html", context)
    response["Cache-Control"] = "no-store"
    return response


def _answer(request: HttpRequest) -> dict[str, Any]:
    """Look at a file, or apply it when it says what was shown before."""
    form = ConfigurationForm(request.POST, request.FILES)
    if not form.is_valid():
        return {"form": form}
    text, is_pruning = form.cleaned_data["text"], form.cleaned_data["prune"]
    if is_pruning and not may(request, "delete"):
        form.add_error("prune", "This takes the right to delete everything that a file has.")
        return {"form": form}
    seen = request.POST.get("seen", "")
    # What was read stands in the text field from now on, also when it was a file.
    again = ConfigurationForm(initial={"text": text, "prune": is_pruning})
    try:
        outcome = look_at(text, prune=is_pruning)
        mark = mark_of(outcome)
        if not seen or seen != mark:
            if seen:
                messages.warning(request, "The configuration has changed since the preview; look at it again.")
            return {"form": again, "outcome": outcome, "changes": _table(outcome.changes), "seen": mark}
        outcome = _apply(request, text, prune=is_pruning)
    except Refused as error:
        return {"form": again, "problems": error.problems[:MOST_PROBLEMS], "more": len(error.problems) - MOST_PROBLEMS}
    return {"form": ConfigurationForm(), "applied": outcome, "changes": _table(outcome.changes)}


def look_at(text: str, *, prune: bool) -> Outcome:
    """Return what applying a file would do; raises Refused."""
    return apply(read(text), prune_unnamed=prune, dry_run=True)


def _apply(request: HttpRequest, text: str, *, prune: bool) -> Outcome:
    newest = newest_number()
    outcome = apply(read(text), prune_unnamed=prune)
    audit("configuration_applied", None, changes=len(outcome.changes), pruned=prune)
    if outcome.changes:
        messages.info(request, watch(newest))
    return outcome


def mark_of(outcome: Outcome) -> str:
    """What a preview has shown, as a short text that comes back with the confirmation."""
    return hashlib.sha256("\n".join(map(str, outcome.changes)).encode()).hexdigest()


def _table(changes: Iterable[Change]) -> Any:
    rows = [(badge(*KINDS[change.verb]), change.subject, ", ".join(change.details)) for change in changes]
    return table(("", "What", "Changes"), rows) if rows else ""


# --- Secrets that are kept -----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Placeholders:
    """Stand for variables while a file is read: nobody else can have written them."""

    token: str = field(default_factory=lambda: token_hex(8))

    def __call__(self, name: str) -> str:
        return f"${{{name}}}\N{ZERO WIDTH SPACE}{self.token}"

    def is_one(self, value: object) -> bool:
        ending = f"}}\N{ZERO WIDTH SPACE}{self.token}"
        return isinstance(value, str) and value.startswith("${") and value.strip().endswith(ending)

    def without(self, text: str) -> str:
        """A sentence that quotes one, as the file has it."""
        return text.replace(f"\N{ZERO WIDTH SPACE}{self.token}", "").replace(f"\\u200b{self.token}", "")


def read(text: str) -> Declaration:
    """Read a file whose variables keep what is stored."""
    placeholders = _Placeholders()
    found = read_declaration(text, lookup=placeholders)
    stored = {provider.slug: provider for provider in Provider.objects.all()}
    problems = [
        replace(problem, message=placeholders.without(problem.message), path=placeholders.without(problem.path))
        for problem in found.problems
    ]
    providers = []
    for entry in found.sections.providers:
        kept, wrong = _kept(entry, stored.get(entry.slug), placeholders)
        providers.append(kept)
        problems += [found.problem(f"{entry.path}.{path}", message) for path, message in wrong]
    sections = replace(found.sections, providers=tuple(providers))
    for path in _elsewhere(sections, placeholders):
        problems.append(found.problem(path, "variables stand only for stored secrets here; write the value"))
    return replace(found, sections=sections, problems=tuple(problems))


def _kept(
    entry: ProviderEntry, stored: Provider | None, placeholders: _Placeholders
) -> tuple[ProviderEntry, list[tuple[str, str]]]:
    """Return an entry that leaves stored secrets as they are, and which it has none to keep for."""
    wrong: list[tuple[str, str]] = []
    changed: dict[str, Any] = {}
    for name, path in (("credential", "credential"), ("proxy", "proxy")):
        if placeholders.is_one(getattr(entry, name)):
            changed[name] = None
            if not getattr(stored, f"has_{name}", False):
                wrong.append((path, "none is stored; write it here, or enter it on the provider's page"))
    if placeholders.is_one(entry.tls.key):
        changed["tls"] = replace(entry.tls, key=None)
        if stored is None or not stored.has_client_key:
            wrong.append(("tls.key", "none is stored; write it here, or enter it on the provider's page"))
    if any(map(placeholders.is_one, entry.headers.values())):
        own: Mapping[str, str] = stored.headers if stored is not None else {}
        for name, value in entry.headers.items():
            if placeholders.is_one(value) and name not in own:
                wrong.append(("headers", f"{name}: none is stored; write it here"))
        changed["headers"] = {
            name: own.get(name, "") if placeholders.is_one(value) else value for name, value in entry.headers.items()
        }
    return (replace(entry, **changed) if changed else entry), wrong


def _elsewhere(value: Any, placeholders: _Placeholders, path: str = "") -> Iterator[str]:
    """Yield where variables are left."""
    if isinstance(value, str):
        if placeholders.token in value:
            yield path
    elif is_dataclass(value):
        own = getattr(value, "path", "") or path
        for each in fields(value):
            if each.name != "path":
                yield from _elsewhere(
                    getattr(value, each.name), placeholders, f"{own}.{each.name}" if own else each.name
                )
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _elsewhere(name, placeholders, path)
            yield from _elsewhere(item, placeholders, path)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _elsewhere(item, placeholders, path)
