"""What /ready says, as a decision; charlie is no matter here, for it knows no tenants."""

import pytest

from gateway_site.health.readiness import WITHOUT_BOTH, WITHOUT_POSTGRES, WITHOUT_VALKEY, readiness


@pytest.mark.parametrize("has_postgres", [True, None], ids=["there", "not asked yet"])
def test_a_configured_worker_with_its_stores_is_ready(has_postgres):
    said = readiness(is_configured=True, has_valkey=True, has_postgres=has_postgres)
    assert (said.state, said.status, said.away, said.missing) == ("ready", 200, (), ())


@pytest.mark.parametrize(
    ("has_valkey", "has_postgres", "away", "missing"),
    [
        (False, True, ("valkey",), WITHOUT_VALKEY),
        (True, False, ("postgres",), WITHOUT_POSTGRES),
        (False, False, ("valkey", "postgres"), WITHOUT_BOTH),
    ],
)
def test_a_store_that_is_away_degrades_and_takes_nobody_out_of_service(has_valkey, has_postgres, away, missing):
    said = readiness(is_configured=True, has_valkey=has_valkey, has_postgres=has_postgres)
    assert (said.state, said.status, said.away, said.missing) == ("degraded", 200, away, missing)


def test_without_a_configuration_it_is_down_and_says_which_stores_are_away():
    said = readiness(is_configured=False, has_valkey=False, has_postgres=False)
    assert (said.state, said.status, said.away) == ("down", 503, ("valkey", "postgres"))
    assert "no configuration" in said.missing[0]


def test_without_a_configuration_it_is_down_even_with_its_stores():
    assert readiness(is_configured=False, has_valkey=True, has_postgres=True).status == 503


def test_who_is_stopping_is_down():
    said = readiness(is_configured=True, has_valkey=True, has_postgres=True, is_stopping=True)
    assert (said.state, said.status) == ("down", 503)
