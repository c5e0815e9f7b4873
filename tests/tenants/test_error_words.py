"""Whose an error is, and what is said of it; charlie, a client who errs, is told that it is his."""

from __future__ import annotations

import pytest

from tenants.error_words import EXPLANATIONS, NO_ERROR, OF_OUTCOMES, error_owner, explain
from tenants.models import UsageRecord
from tests.docs.test_error_codes_doc import DOCUMENTED


@pytest.mark.parametrize(
    ("outcome", "code", "status", "owner"),
    [
        ("served", "", 200, ""),
        ("client_gone", "", 499, ""),
        ("correction", "", 200, ""),
        ("rejected", "upstream_rejected", 400, "client"),
        ("rejected", "not_translatable", 400, "client"),
        ("upstream_failed", "upstream_failed", 502, "upstream"),
        ("upstream_failed", "upstream_timeout", 504, "upstream"),
        ("upstream_failed", "upstream_failed", 429, "upstream"),
        ("cut", "upstream_cut", 200, "upstream"),
        ("upstream_failed", "upstream_auth_failed", 502, "gateway"),
        ("upstream_failed", "upstream_saturated", 429, "gateway"),
        ("upstream_failed", "no_target_available", 503, "gateway"),
        ("upstream_failed", "deadline_exceeded", 504, "client"),
        ("shutdown", "", 503, "gateway"),
        ("gateway_failed", "internal_error", 500, "gateway"),
        ("lost", "worker_lost", 500, "gateway"),
        ("of another version", "", 404, "client"),
        ("of another version", "", 500, "gateway"),
    ],
)
def test_an_error_is_somebodys(outcome: str, code: str, status: int, owner: str):
    assert error_owner(outcome, code, status) == owner


def test_charlie_is_told_what_he_did():
    meaning, advice = explain("rejected", "not_translatable") or ("", "")
    assert "field" in meaning
    assert advice


def test_every_documented_code_is_explained():
    assert sorted(DOCUMENTED.keys() - EXPLANATIONS.keys()) == []


def test_every_outcome_that_is_an_error_is_explained():
    assert sorted({*UsageRecord.Outcome.values} - NO_ERROR - OF_OUTCOMES.keys()) == []
