"""Proving that the ledger, its rollups and the budgets say the same, and mending what does not.

The records are the truth as long as they are kept; rollups and `BudgetSpend` were summed up with them, in one transaction.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from django.db import connection, transaction

from tenants.counters import Difference
from tenants.ledger import SUMMED, Rollup, drain_lock, rollup_sql, spend_by_counter
from tenants.models import Budget, BudgetSpend
from tenants.retention import stored_days

COMPARED = ("requests", "cost", "cost_price", "written_off", "input_tokens", "output_tokens")


def verify(*, fixes: bool, since: date | None = None) -> Iterator[Difference]:
    """Yield what rollups and budgets say otherwise than the records that are kept, day by day; mend it if asked to."""
    days = [day for day in stored_days() if since is None or day >= since]
    for day in days:
        with drain_lock(waits=True), transaction.atomic():
            for rollup in SUMMED:
                found = list(_rollup_differences(rollup, day))
                if found and fixes:
                    _sum_anew(rollup, day)
                yield from found
    if days:
        yield from _verify_spend(days[0], fixes=fixes)


def _rollup_differences(rollup: Rollup, day: date) -> Iterator[Difference]:
    start, end = _bounds(day)
    names = ", ".join(rollup.sums)
    compared = [name for name in COMPARED if name in rollup.sums]
    sums = ", ".join(f"{rollup.sums[name]} AS {name}" for name in rollup.sums)
    keys = list(rollup.keys)
    time_key = "day" if "day" in rollup.keys else "starts_at"
    selected = ", ".join(f"{expression} AS {key}" for key, expression in rollup.keys.items())
    positions = ", ".join(str(number + 1) for number in range(len(keys)))
    low, high = (start, end) if time_key == "starts_at" else (start.date(), end.date())
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH records AS (SELECT {selected}, {sums} FROM tenants_usagerecord {rollup.join} WHERE started_at >= %s AND"
            f" started_at < %s AND {rollup.condition} GROUP BY {positions}),"
            f" kept AS (SELECT {', '.join(keys)}, {names} FROM {rollup.table} WHERE {time_key} >= %s AND {time_key} < %s)"
            f" SELECT coalesce(k.tenant_id, r.tenant_id),"
            f" {', '.join(f'sum(coalesce(k.{name}, 0)), sum(coalesce(r.{name}, 0))' for name in compared)}"
            f" FROM kept k FULL JOIN records r USING ({', '.join(keys)})"
            f" WHERE {' OR '.join(f'coalesce(k.{name}, 0) <> coalesce(r.{name}, 0)' for name in rollup.sums)}"
            " GROUP BY 1 ORDER BY 1".replace("k.tenant_id", "tenant_id", 1).replace(
                ", r.tenant_id)", ", tenant_id)", 1
            ),
            [start, end, low, high],
        )
        rows = cursor.fetchall()
    for tenant, *values in rows:
        for name, kept, recorded in zip(compared, values[::2], values[1::2], strict=True):
            if kept != recorded:
                what = f"{rollup.table} of {day}, tenant {tenant}, {name}"
                yield Difference(what=what, is_value=Decimal(kept), should_be=Decimal(recorded))


def _sum_anew(rollup: Rollup, day: date) -> None:
    start, end = _bounds(day)
    time_key = "day" if "day" in rollup.keys else "starts_at"
    low, high = (start, end) if time_key == "starts_at" else (start.date(), end.date())
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {rollup.table} WHERE {time_key} >= %s AND {time_key} < %s", [low, high])
        cursor.execute("DROP TABLE IF EXISTS of_one_day")
        cursor.execute(
            "CREATE TEMPORARY TABLE of_one_day ON COMMIT DROP AS SELECT * FROM tenants_usagerecord"
            " WHERE started_at >= %s AND started_at < %s",
            [start, end],
        )
        cursor.execute(rollup_sql(rollup, "of_one_day", ""))


def _verify_spend(first_day: date, *, fixes: bool) -> Iterator[Difference]:
    """Compare the counters whose records are all there: their slot or their budget began since."""
    since, _ = _bounds(first_day)
    with drain_lock(waits=True), transaction.atomic():
        budgets = dict(Budget.objects.values_list("pk", "created_at"))
        recorded = spend_by_counter(list(budgets), since)
        kept = {
            counter: spent
            for counter, budget_id, starts_at, spent in BudgetSpend.objects.filter(
                budget_id__in=list(budgets)
            ).values_list("counter", "budget_id", "starts_at", "spent")
            if max(starts_at, budgets[budget_id]) >= since
        }
        for counter in sorted(kept):
            spent, should_be = kept[counter], recorded.get(counter, Decimal(0))
            if spent == should_be:
                continue
            yield Difference(what=f"budget counter {counter}", is_value=spent, should_be=should_be)
            if fixes:
                BudgetSpend.objects.filter(counter=counter).update(spent=should_be)


def _bounds(day: date) -> tuple[datetime, datetime]:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return start, start + timedelta(days=1)
