"""What settings make of the environment and of the process that reads them."""

import pytest

from gateway_site.settings import postgres_deadlines, postgres_from_url, statement_seconds


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [
        (["manage.py", "serve", "--fd=3"], 15),
        (["/srv/celery/manage.py", "serve"], 15),
        (["/venv/bin/uvicorn", "gateway_site.asgi:application"], 15),
        (["/venv/lib/celery/__main__.py", "-A", "gateway_site", "worker"], 240),
        (["/venv/bin/celery", "-A", "gateway_site", "beat"], 240),
        (["manage.py", "migrate"], 3600),
        (["./manage.py", "apply", "gateway.yaml"], 3600),
    ],
)
def test_a_statement_may_take_longer_where_nobody_waits_for_it(arguments, seconds):
    assert statement_seconds(arguments) == seconds


def test_a_connection_to_postgres_waits_for_nothing_for_ever():
    options = postgres_deadlines(15)
    assert options["connect_timeout"] == 5
    limits = "-c statement_timeout=15s -c idle_in_transaction_session_timeout=15s"
    assert options["options"] == f"{limits} -c random_page_cost=1.1"
    assert options["tcp_user_timeout"] == 25_000


def test_zero_asks_for_no_limit():
    assert "options" not in postgres_deadlines(0)


def test_the_urls_own_options_come_first():
    options = postgres_from_url("postgresql://db/name?connect_timeout=1&options=-c%20work_mem%3D1MB")["OPTIONS"]
    assert options["connect_timeout"] == "1"
    assert options["options"] == "-c work_mem=1MB"
