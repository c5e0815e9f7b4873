"""The figures of the first page: each beside that of the period before, and when budgets will be spent. Charlie has none."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from tenants.models import Budget, Tenant
from tests.gateway_site.admin.test_admin_home import PAGE, budget, use
from tests.gateway_site.people import member_browser

pytestmark = pytest.mark.django_db

ALL = (
    *("Requests", "Spend", "Margin", "Tokens"),
    *("Error rate", "Cache hit rate", "Latency, p95", "First token, p95"),
)


def cards(browser, **query):
    return {card["label"]: card for card in browser.get(PAGE, query).context["cards"]}


def use_often(tenant, days_ago, count, **facts):
    moment = (timezone.now() - timedelta(days=days_ago)).timestamp()
    for number in range(count):
        use(tenant, started_at=moment, outcome="cut" if number == 0 else "served", cache_read_tokens=1_234, **facts)


def test_every_figure_is_compared_with_the_period_before(console, tenant):
    use_often(tenant, 10, 20, latency_ms=600, first_token_ms=150)
    use_often(tenant, 2, 40)
    found = cards(console.client, range="7d")
    assert tuple(found) == ALL
    assert all(card["change"] for card in found.values())
    for label in ("Requests", "Spend", "Margin", "Tokens"):
        assert (found[label]["change"].text, found[label]["change"].arrow) == ("100.0%", "up"), label
    assert (found["Error rate"]["change"].text, found["Error rate"]["change"].arrow) == ("2.5 points", "down")
    assert found["Latency, p95"]["change"].arrow == "up"
    assert {card["change"].tone for card in found.values()} == {
        "plain"
    }  # so few requests are neither good nor bad news
    assert found["Cache hit rate"]["value"] == "50.0%"
    for label in ("Latency, p95", "First token, p95"):
        assert [detail.split()[0] for detail in found[label]["details"]] == ["p50", "p99"], label
    assert "(UTC), against " in console.client.get(PAGE, {"range": "7d"}).content.decode()


@pytest.mark.parametrize("by", ["tenant", "model", "provider"])
def test_each_group_leads_to_its_own_figures(console, tenant, by):
    use(tenant)
    use(Tenant.objects.create(slug="other"), alias="fast", provider="groq", cost=Decimal(99))
    page = console.get(PAGE, by=by)
    [table] = [each for each in page.context["tables"] if each["title"].lower() == f"{by}s"]
    [row] = [each for each in table["rows"] if each["name"] in {"acme", "smart", "anthropic"}]
    narrowed = console.client.get(PAGE + row["url"])
    assert {card["label"]: card["value"] for card in narrowed.context["cards"]}["Spend"] == "7.25"
    [spend] = [chart for chart in narrowed.context["charts"] if chart.name == "spend"]
    assert [series.label for series in spend.series] == [row["name"]]


def test_a_budget_says_when_it_will_be_spent(console, tenant):
    use(tenant)
    made = budget(tenant, "9")
    Budget.objects.filter(pk=made.pk).update(created_at=timezone.now() - timedelta(days=9))
    text = console.get(PAGE).content.decode()
    assert "at this rate spent on" in text
    assert "90%" in text
    charlie = member_browser(Tenant.objects.create(slug="charlie"), "charlie")
    assert "at this rate" not in charlie.get(PAGE).content.decode()
