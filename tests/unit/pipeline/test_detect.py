"""Which share of wrong labels is the headline."""

from __future__ import annotations

from dataclasses import replace

from labelaudit.findings import ErrorRange, ErrorRate, RateBasis, Review
from labelaudit.pipeline.detect import measured_range

MEASURED = ErrorRate(
    estimate=0.05,
    low=0.04,
    high=0.07,
    confidence=0.95,
    with_ambiguous=None,
    version="v1",
    audit_id="a1",
    fingerprint="f1",
    seed=0,
    sampled_at="2026-01-01T00:00:00+00:00",
    strata=(),
    same_version=True,
)
REVIEW = Review({}, ended=0, dismissed=0, known_wrong=0, precision=None, error_rate=MEASURED)


def test_verdicts_on_this_version_are_the_headline() -> None:
    assert measured_range(REVIEW) == ErrorRange(0.05, 0.04, 0.07, RateBasis.VERDICTS)


def test_verdicts_on_another_version_are_not() -> None:
    assert measured_range(replace(REVIEW, error_rate=replace(MEASURED, same_version=False))) is None
    assert measured_range(replace(REVIEW, error_rate=None)) is None
