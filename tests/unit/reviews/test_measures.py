"""Precision of flags and share of wrong labels, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import pytest

from labelaudit.findings import ErrorRate
from labelaudit.reviews.measures import (
    REVIEWED_START,
    ReviewMeasures,
    error_rate,
    measure,
    precision,
    progress,
    random_precision,
)
from labelaudit.reviews.sampling import FLAGGED, UNFLAGGED, Sample, SampledStratum
from labelaudit.reviews.verdicts import LabeledExample, Verdict, current
from labelaudit.schemas import Decision
from support.reviewed import make_verdict

W, F, A, R = Decision.WRONG, Decision.FINE, Decision.AMBIGUOUS, Decision.REMOVE


def make_sample(created_at: str = "2026-01-01", version: str = "v1", flagged: int = 3) -> Sample:
    """3 of 10 flagged rows, unless it is said otherwise, and 2 of 90 others."""
    rows = [LabeledExample(f"i{number}", "c0", "bee") for number in range(5)]
    strata = (SampledStratum(FLAGGED, 10, tuple(rows[:flagged])), SampledStratum(UNFLAGGED, 90, tuple(rows[3:])))
    return Sample(created_at, version, "a1", version * 2, flagged, strata)


def judged(*decisions: Decision | None) -> dict[LabeledExample, Verdict]:
    """Verdicts on the five rows; None: not judged."""
    return current(
        make_verdict(f"i{number}", decision, was_flagged=number < 3)
        for number, decision in enumerate(decisions)
        if decision is not None
    )


def test_the_share_of_wrong_labels_weighs_the_strata() -> None:
    found = error_rate(make_sample(), judged(W, W, F, F, W))
    assert found is not None
    # 2 of 3 in a tenth of the rows, 1 of 2 in nine tenths.
    assert abs(found.estimate - (0.1 * 2 / 3 + 0.9 / 2)) < 1e-12
    assert found.low < found.estimate < found.high
    assert (found.version, found.fingerprint, found.confidence) == ("v1", "v1v1", 0.95)
    counted = {"name": "flagged", "rows": 10, "sampled": 3, "judged": 3, "wrong": 2, "fine": 1, "ambiguous": 0}
    assert asdict(found.strata[0]) == {**counted, "remove": 0}


def test_ambiguous_rows_count_apart() -> None:
    found = error_rate(make_sample(), judged(W, A, F, F, F))
    assert found is not None
    assert abs(found.estimate - 0.1 / 3) < 1e-12
    assert found.with_ambiguous is not None
    assert abs(found.with_ambiguous.estimate - 0.1 * 2 / 3) < 1e-12
    assert found.with_ambiguous.high >= found.high


def test_the_share_is_that_of_the_rows_that_stay() -> None:
    found = error_rate(make_sample(), judged(W, R, F, R, W))
    assert found is not None
    # A third of the 7 flagged rows that are not judged goes, and half of the 88 others: 7 and 45 stay.
    assert found.estimate == pytest.approx((7 * 1 / 2 + 45 * 1) / 52)
    assert found.low < found.estimate <= found.high
    assert [one.remove for one in found.strata] == [1, 1]
    precise = precision(judged(W, R, F, W, W).values())
    assert precise is not None
    assert (precise.wrong, precise.fine, precise.remove, precise.estimate) == (1, 1, 1, 0.5)


def test_nothing_is_known_if_all_reviewed_rows_of_a_stratum_go() -> None:
    assert error_rate(make_sample(), judged(W, F, F, R, R)) is None


def test_all_rows_of_a_stratum_may_go() -> None:
    rows = tuple(LabeledExample(f"i{number}", "c0", "bee") for number in range(5))
    strata = (SampledStratum(FLAGGED, 3, rows[:3]), SampledStratum(UNFLAGGED, 2, rows[3:]))
    found = error_rate(Sample("2026-01-01", "v1", "a1", "v1v1", 0, strata), judged(R, R, R, W, F))
    assert found is not None
    assert (found.estimate, found.low, found.high) == (0.5, 0.5, 0.5)


def test_a_small_sample_counts_if_all_of_it_is_reviewed() -> None:
    assert error_rate(make_sample(), judged(F, None, W, F, W)) is None
    assert error_rate(make_sample(), judged(W, W, W, None, W)) is None
    assert [stratum.judged for stratum in progress(make_sample(), judged(F, None, W, F, W))] == [1, 2]


def test_a_long_start_of_a_large_sample_counts() -> None:
    rows = tuple(LabeledExample(f"i{number}", "c0", "bee") for number in range(50))
    sample = Sample("2026-01-01", "v1", "a1", "f", 0, (SampledStratum(FLAGGED, 60, rows),))

    def rate(count: int) -> ErrorRate | None:
        # What was judged behind the gap, all wrong, was perhaps chosen.
        behind = [make_verdict(row.example_id, W) for row in rows[count + 1 :]]
        return error_rate(sample, current([*(make_verdict(row.example_id, F) for row in rows[:count]), *behind]))

    assert rate(REVIEWED_START - 1) is None
    found = rate(REVIEWED_START)
    assert found is not None
    assert (found.estimate, found.strata[0].judged) == (0, REVIEWED_START)


def test_precision_counts_flags_only() -> None:
    found = precision(judged(W, W, F, W, W).values())
    assert found is not None
    assert (found.wrong, found.fine, found.ambiguous, found.estimate) == (2, 1, 0, 2 / 3)
    assert precision(judged(A, None, None, W, F).values()) is None
    assert precision(()) is None


def test_chosen_and_random_rows_are_distinguished() -> None:
    chosen = [make_verdict(f"worst{number}", W) for number in range(9)]
    verdicts = {**judged(F, F, W, F, F), **current(chosen)}
    found = measure(verdicts, [make_sample()], "v1v1").precision
    assert found is not None
    assert found.random is not None
    assert (found.wrong, found.fine) == (10, 2)
    assert (found.random.wrong, found.random.fine) == (1, 2)
    without = measure(verdicts, [], "v1v1").precision
    assert without is not None
    assert without.random is None
    only_others = judged(A, A, A, W, W)
    expected = error_rate(make_sample(), only_others)
    assert expected is not None
    assert measure(only_others, [make_sample()], "v1v1") == ReviewMeasures(None, expected, make_sample())


def test_the_precision_of_random_flags_weighs_the_strata() -> None:
    """Of 10 flags in 20 rows 1 of 2 judged is wrong; of 30 flags in 30 rows all 3. Another stratum has no flag."""
    rows = [LabeledExample(f"i{number}", "c0", "bee") for number in range(7)]
    strata = (
        SampledStratum("p_wrong 0 to 0.1", 500, tuple(rows[6:]), 0, (False,)),
        SampledStratum("p_wrong 0.1 to 0.5", 20, tuple(rows[:3]), 10, (True, False, True)),
        SampledStratum("p_wrong 0.5 to 1", 30, tuple(rows[3:6]), 30, (True,) * 3),
    )
    sample = Sample("2026-01-01", "v1", "a1", "v1v1", 0, strata)
    found = random_precision(sample, judged(W, F, F, W, W, W, F))
    assert found is not None
    assert found.estimate == pytest.approx((10 * 0.5 + 30) / 40)
    assert found.low < found.estimate < found.high
    assert (found.wrong, found.fine, found.ambiguous) == (4, 1, 0)
    # Without a judged flag in one of the strata, nothing is known about all flags.
    assert random_precision(sample, judged(A, F, A, W, W, W, F)) is None


ALL = judged(W, W, W, F, F)
OTHER = (SampledStratum(FLAGGED, 10, (LabeledExample("another", "c0", "bee"),)),)


def measured(samples: Sequence[Sample], fingerprint: str) -> tuple[str, bool, int] | None:
    """Version that was measured, whether it is the asked one, and how many flagged rows were judged."""
    rate = measure(ALL, samples, fingerprint).error_rate
    return None if rate is None else (rate.version, rate.same_version, rate.strata[0].judged)


def test_a_version_is_measured_by_its_own_sample() -> None:
    """However new and large that of another version is."""
    own, other = make_sample("2026-01-01", "v1", flagged=2), make_sample("2026-02-01", "v2")
    for samples in ([own, other], [other, own]):
        assert measured(samples, "v1v1") == ("v1", True, 2)
        assert measured(samples, "v2v2") == ("v2", True, 3)


def test_the_sample_with_the_most_reviewed_rows_counts() -> None:
    large, small = make_sample("2026-01-01"), make_sample("2026-02-01", flagged=1)
    for samples in ([large, small], [small, large]):
        assert measured(samples, "v1v1") == ("v1", True, 3)
        assert measured(samples, "v9v9") == ("v1", False, 3)


def test_a_version_without_a_sample_shows_the_last_measurement() -> None:
    old, new = make_sample("2026-01-01", "v1"), make_sample("2026-02-01", "v2", flagged=1)
    unjudged = Sample("2026-03-01", "v3", "a3", "v3v3", 0, OTHER)
    for samples in ([old, new], [new, unjudged, old]):
        assert measured(samples, "v3v3") == ("v2", False, 1)
    assert measured([unjudged], "v3v3") is None
