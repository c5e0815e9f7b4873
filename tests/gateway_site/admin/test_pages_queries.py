"""No page of the console asks the database more than thirty times, whatever kind of page it is and whoever opens it.

Lists and forms with many rows are in `test_admin_lists.py`; these are all the addresses that there are.
"""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tenants.models import User
from tests.gateway_site.admin.crawl import Marked, Visitor, make_upstream, places

pytestmark = pytest.mark.django_db

MOST_QUERIES = 30


@pytest.mark.parametrize("who", ["operator", "owner"])
def test_no_address_asks_more_than_thirty_times(who: str) -> None:
    acme = Marked("zqx7", 7_310_001).make()
    make_upstream()
    charlies = Marked("cxw5", 5_520_001).make()  # what is another tenant's costs nothing, too
    someone = Visitor(User.objects.create_superuser("olga") if who == "operator" else acme.users[who])
    costs: dict[str, int] = {}
    for place in places():
        for address in {*place.addresses(acme), next(place.addresses(charlies))}:
            costs[address] = _cost(someone, address)
    assert {address: cost for address, cost in costs.items() if cost > MOST_QUERIES} == {}
    assert len(costs) > 150


def _cost(someone: Visitor, address: str) -> int:
    with CaptureQueriesContext(connection) as queries:
        answer: Any = someone.ask("get", address)[0]
    assert answer.status_code < 500, address
    return len(queries)
