"""Precision of flags and share of wrong labels, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from labelaudit.review.measures import JUDGED_START, error_rate, measure, precision, progress
from labelaudit.review.sampling import FLAGGED, UNFLAGGED, Sample, SampledStratum
from labelaudit.review.verdicts import Judged, Verdict, newest
from labelaudit.schemas import Decision
from reviewed import make_verdict

W, F, A = Decision.WRONG, Decision.FINE, Decision.AMBIGUOUS


def make_sample(created_at: str = "2026-01-01", version: str = "v1") -> Sample:
    """3 of 10 flagged rows and 2 of 90 others."""
    rows = [Judged(f"i{number}", "c0", "bee") for number in range(5)]
    strata = (SampledStratum(FLAGGED, 10, tuple(rows[:3])), SampledStratum(UNFLAGGED, 90, tuple(rows[3:])))
    return Sample(created_at, version, "a1", version * 2, 0, strata)


def judged(*decisions: Decision | None) -> dict[Judged, Verdict]:
    """Verdicts on the five rows; None: not judged."""
    return newest(
        make_verdict(f"i{number}", decision, was_flagged=number < 3)
        for number, decision in enumerate(decisions)
        if decision is not None
    )


def test_the_share_of_wrong_labels_weighs_the_strata() -> None:
    found = error_rate(make_sample(), judged(W, W, F, F, W))
    assert found is not None
    # 2 of 3 in a tenth of the rows, 1 of 2 in nine tenths.
    assert abs(found["estimate"] - (0.1 * 2 / 3 + 0.9 / 2)) < 1e-12
    assert found["low"] < found["estimate"] < found["high"]
    assert (found["version"], found["fingerprint"], found["confidence"]) == ("v1", "v1v1", 0.95)
    counted = {"name": "flagged", "rows": 10, "sampled": 3, "judged": 3, "wrong": 2, "fine": 1, "ambiguous": 0}
    assert found["strata"][0] == counted


def test_ambiguous_rows_count_apart() -> None:
    found = error_rate(make_sample(), judged(W, A, F, F, F))
    assert found is not None
    assert abs(found["estimate"] - 0.1 / 3) < 1e-12
    assert abs(found["with_ambiguous"]["estimate"] - 0.1 * 2 / 3) < 1e-12
    assert found["with_ambiguous"]["high"] >= found["high"]


def test_a_small_sample_counts_when_all_of_it_is_judged() -> None:
    assert error_rate(make_sample(), judged(F, None, W, F, W)) is None
    assert error_rate(make_sample(), judged(W, W, W, None, W)) is None
    assert [stratum["judged"] for stratum in progress(make_sample(), judged(F, None, W, F, W))] == [1, 2]


def test_of_a_large_sample_a_long_start_counts_and_nothing_behind_a_gap() -> None:
    rows = tuple(Judged(f"i{number}", "c0", "bee") for number in range(50))
    sample = Sample("2026-01-01", "v1", "a1", "f", 0, (SampledStratum(FLAGGED, 60, rows),))

    def rate(count: int) -> dict[str, Any] | None:
        # What was judged behind the gap, all wrong, was perhaps chosen.
        behind = [make_verdict(row.example_id, W) for row in rows[count + 1 :]]
        return error_rate(sample, newest([*(make_verdict(row.example_id, F) for row in rows[:count]), *behind]))

    assert rate(JUDGED_START - 1) is None
    found = rate(JUDGED_START)
    assert found is not None
    assert (found["estimate"], found["strata"][0]["judged"]) == (0, JUDGED_START)


def test_precision_is_of_flags_alone() -> None:
    found = precision(judged(W, W, F, W, W).values())
    assert found is not None
    assert (found["wrong"], found["fine"], found["ambiguous"], found["estimate"]) == (2, 1, 0, 2 / 3)
    assert precision(judged(A, None, None, W, F).values()) is None
    assert precision(()) is None


def test_chosen_and_random_rows_are_told_apart() -> None:
    chosen = [make_verdict(f"worst{number}", W) for number in range(9)]
    verdicts = {**judged(F, F, W, F, F), **newest(chosen)}
    found = measure(verdicts, [make_sample()])["precision"]
    assert (found["wrong"], found["fine"]) == (10, 2)
    assert (found["random"]["wrong"], found["random"]["fine"]) == (1, 2)
    assert measure(verdicts, [])["precision"]["random"] is None
    assert measure(judged(A, A, A, W, W), [make_sample()]) == {
        "precision": None,
        "error_rate": error_rate(make_sample(), judged(A, A, A, W, W)),
    }


def _measured(samples: Sequence[Sample], verdicts: dict[Judged, Verdict]) -> str | None:
    rate = measure(verdicts, samples)["error_rate"]
    return None if rate is None else rate["version"]


def test_the_newest_sample_with_verdicts_counts() -> None:
    old, new = make_sample("2026-01-01", "v1"), make_sample("2026-02-01", "v2")
    other = Judged("another", "c0", "bee")
    unjudged = Sample("2026-03-01", "v3", "a3", "f", 0, (SampledStratum(FLAGGED, 10, (other,)),))
    verdicts = judged(W, W, W, F, F)
    assert _measured([old, new], verdicts) == _measured([new, unjudged, old], verdicts) == "v2"
    assert _measured([unjudged], verdicts) is None
