"""What goes when a tenant is deleted: counted, for it may have thousands of keys and the bodies of many requests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django.db import connection, models
from django.db.models import QuerySet
from django.db.models.deletion import get_candidate_relations_to_delete
from django.http import HttpRequest

from tenants.models import Tenant

STAYS = "What it has used stays in the ledger, under its number."


class DeletesWhatItHasMixin:
    """Whoever may delete a tenant deletes all that is the tenant's, and is told how much that is."""

    def get_deleted_objects(self, objs: Iterable[Tenant], request: HttpRequest) -> Any:
        """Django's own would read every object, bodies and all, and list them."""
        tenants = list(objs)
        named = [[f"Tenant: {tenant}", [STAYS]] for tenant in tenants]
        counts = {"tenants": len(tenants), **counted([tenant.pk for tenant in tenants])}
        return [line for lines in named for line in lines], counts, set(), []

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> None:
        """One by one, for each lets its keys go from their projects first."""
        for tenant in queryset:
            tenant.delete()


def counted(tenant_ids: list[int]) -> dict[str, int]:
    """Return how many objects of each kind go with these tenants; kinds of which there are none are left out."""
    columns: dict[type[models.Model], list[str]] = defaultdict(list)
    relations: Any = get_candidate_relations_to_delete(Tenant._meta)  # type: ignore[arg-type]
    for relation in relations:
        if relation.on_delete is models.CASCADE:
            columns[relation.related_model].append(relation.field.column)
    parts: list[str] = []
    values: list[Any] = []
    for model, names in columns.items():
        condition = " OR ".join(f'"{name}" = ANY(%s)' for name in names)
        parts.append(f'SELECT %s, count(*) FROM "{model._meta.db_table}" WHERE {condition}')
        values += [str(model._meta.verbose_name_plural), *[tenant_ids] * len(names)]
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts), values)
        return {name: count for name, count in cursor.fetchall() if count}
