"""What rollups are looked for by; records by some of it, too."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from unfold.contrib.filters.admin import DropdownFilter

from gateway_site.infra.admin import RecentFilter
from tenants.admin.scope import standing_in
from tenants.reports import recent_values


class HoursFilter(RecentFilter):
    field = "starts_at"


class DaysFilter(RecentFilter):
    field = "starts_at"
    default = "31d"


class EndUserDaysFilter(DaysFilter):
    field = "day"


class RollupFilter(DropdownFilter):
    """Chooses among what daily usage has of late: to look through the list itself would take too long."""

    title = parameter_name = ""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        chosen = {value} if (value := self.value()) else set()
        found = recent_values(self.parameter_name, standing_in(request).tenant_id)
        return [(name, name) for name in sorted({*found, *chosen} - {""})]

    def has_output(self) -> bool:
        return True

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(**{self.parameter_name: value}) if (value := self.value()) else queryset


class AliasFilter(RollupFilter):
    title, parameter_name = "model", "alias"


class ProviderFilter(RollupFilter):
    title = parameter_name = "provider"


class DeploymentFilter(RollupFilter):
    title = parameter_name = "deployment"
