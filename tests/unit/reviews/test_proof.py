"""Paired comparison of two models on judged rows."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest

from labelaudit.errors import ReviewError
from labelaudit.reviews.proof import LEAST_JUDGED, PairedAccuracy, Proof, judged_rows, paired_accuracy
from labelaudit.reviews.sampling import Sample, SampledStratum
from labelaudit.reviews.snapshot import ReviewSnapshot
from labelaudit.reviews.verdicts import LabeledExample
from labelaudit.schemas import Decision
from support.reviewed import make_verdict


def test_the_interval_of_bonett_and_price_by_hand() -> None:
    """40 rows: 6 gained, 1 lost, 23 right with both. With one more of each: 7 / 42 - 2 / 42 = 0.119."""
    before = np.array([False] * 6 + [True] * 24 + [False] * 10)
    after = np.array([True] * 6 + [False] + [True] * 23 + [False] * 10)
    found = paired_accuracy(before, after)
    assert (found.rows, found.gained, found.lost) == (40, 6, 1)
    assert (found.before, found.after, found.difference) == pytest.approx((24 / 40, 29 / 40, 5 / 40))
    error = ((7 / 42 + 2 / 42 - (5 / 42) ** 2) / 42) ** 0.5
    assert (found.low, found.high) == pytest.approx((5 / 42 - 1.95996 * error, 5 / 42 + 1.95996 * error), abs=1e-5)


def test_models_that_agree_are_not_proved_equal() -> None:
    same = np.array([True] * 80 + [False] * 20)
    found = paired_accuracy(same, same)
    assert (found.difference, found.gained, found.lost) == (0, 0, 0)
    assert found.low == pytest.approx(-found.high)
    assert 0.02 < found.high < 0.04


def test_equal_weights_change_nothing_and_others_widen_the_interval() -> None:
    generator = np.random.default_rng(0)
    before, after = generator.random((2, 300)) < np.array([[0.7], [0.8]])
    plain, equal = paired_accuracy(before, after), paired_accuracy(before, after, np.full(300, 7.0))
    assert equal.low == pytest.approx(plain.low)
    assert equal.difference == pytest.approx(plain.difference)
    weights = np.where(np.arange(300) % 3 == 0, 9.0, 1.0)
    weighted = paired_accuracy(before, after, weights)
    assert weighted.high - weighted.low > plain.high - plain.low
    assert weighted.after == pytest.approx(np.average(after, weights=weights))


@pytest.mark.parametrize(("gain", "loss"), [(0.0, 0.0), (0.02, 0.02), (0.06, 0.01), (0.2, 0.1), (0.01, 0.0)])
@pytest.mark.parametrize("rows", [60, 200])
def test_the_interval_contains_the_truth(gain: float, loss: float, rows: int) -> None:
    """In 2,000 simulated reviews of each case, in at least 93 % of them."""
    generator = np.random.default_rng(rows)
    hits = 0
    for _ in range(2000):
        kind = generator.random(rows)
        gained, lost = kind < gain, (kind >= gain) & (kind < gain + loss)
        found = paired_accuracy(lost, gained)
        hits += found.low <= gain - loss <= found.high
    assert hits >= 0.93 * 2000


def test_a_weighted_interval_contains_the_truth() -> None:
    """Two strata of 900 and 100 rows, 100 drawn from each. Models differ most in the small one."""
    generator = np.random.default_rng(0)
    weights = np.repeat([9.0, 1.0], 100)
    truth = 0.9 * 0.01 + 0.1 * 0.3
    hits = 0
    for _ in range(2000):
        gained = generator.random(200) < np.repeat([0.02, 0.35], 100)
        lost = ~gained & (generator.random(200) < np.repeat([0.01 / 0.98, 0.05 / 0.65], 100))
        found = paired_accuracy(lost, gained, weights)
        hits += found.low <= truth <= found.high
    assert hits >= 0.93 * 2000


ROWS = 100
SCORED = pa.table(
    {
        "example_id": [f"i{number:03d}" for number in range(ROWS)],
        "content_digest": ["c0"] * ROWS,
        "given_label": ["bee"] * ROWS,
    }
)


def snapshot(count: int, sampled: int = 0, **changes: object) -> ReviewSnapshot:
    """Verdicts on the first rows: every third is wrong. The last ones of them may be a random sample."""
    verdicts = [
        make_verdict(f"i{number:03d}", Decision.WRONG if number % 3 == 0 else Decision.FINE) for number in range(count)
    ]
    if changes:
        verdicts[0] = make_verdict("i000", **changes)  # type: ignore[arg-type]
    drawn = tuple(LabeledExample(f"i{number:03d}", "c0", "bee") for number in range(count - sampled, count))
    sample = Sample(
        "2026-01-01", "v1", "a1", "v1", 0, (SampledStratum("p_wrong 0 to 1", ROWS, drawn, 0, (False,) * sampled),)
    )
    return ReviewSnapshot.of(verdicts, [sample] if sampled else [], "v1")


def test_judged_rows_and_their_labels() -> None:
    found = judged_rows(SCORED, snapshot(70), ["ant", "bee"])
    assert found.positions.tolist() == list(range(70))
    assert found.labels[:4].tolist() == [0, 1, 1, 0]
    assert (found.sample, found.other_labels) == (None, 0)


@pytest.mark.parametrize("decision", [Decision.AMBIGUOUS, Decision.REMOVE])
def test_rows_without_a_right_label_do_not_count(decision: Decision) -> None:
    assert judged_rows(SCORED, snapshot(70, decision=decision), ["ant", "bee"]).positions[0] == 1


def test_right_labels_of_other_classes_are_counted_apart() -> None:
    found = judged_rows(SCORED, snapshot(70, decision=Decision.WRONG, right_label="wasp"), ["ant", "bee"])
    assert (len(found), found.other_labels) == (69, 1)


def test_the_random_sample_among_the_judged_rows() -> None:
    found = judged_rows(SCORED, snapshot(80, sampled=65), ["ant", "bee"])
    assert found.sample is not None
    assert found.sample.positions.tolist() == list(range(15, 80))
    assert set(found.sample.weights) == {ROWS / 65}
    assert judged_rows(SCORED, snapshot(80, sampled=LEAST_JUDGED - 1), ["ant", "bee"]).sample is None


def test_too_few_verdicts() -> None:
    message = "59 scored rows are judged wrong or fine, which are too few to compare models. Judge at least 60, best a"
    with pytest.raises(ReviewError, match=re.escape(message)):
        judged_rows(SCORED, snapshot(LEAST_JUDGED - 1), ["ant", "bee"])


def proof(low: float, high: float, *, is_sampled: bool = True, other_labels: int = 0) -> Proof:
    found = PairedAccuracy(80, 0.8, 0.85, 0.05, low, high, 5, 1)
    actions = {"keep": 80, "relabel": 10, "remove": 3, "unsure": 7}
    return Proof(
        *("s3://a", "fruit", "v1", "a1", "2026-01-01", None, None, actions, 90, found),
        sampled=found if is_sampled else None,
        other_labels=other_labels,
    )


def test_the_result_in_words() -> None:
    assert proof(0.01, 0.09).sentences[0] == "Cleaning helps: +5.0 points, 95 % interval 1.0 to 9.0."
    assert proof(-0.09, -0.01).sentences[0].startswith("Cleaning harms: ")
    assert proof(-0.01, 0.09).sentences[0].startswith("No difference could be shown: +5.0 points, 95 % interval -1.0")
    chosen, sampled = proof(0.01, 0.09, is_sampled=False).sentences, proof(0.01, 0.09).sentences[1]
    assert chosen[0] == "On the judged rows alone: +5.0 points, 95 % interval 1.0 to 9.0."
    assert "The 80 judged rows are not a random sample." in chosen[1]
    assert "80 judged rows of a random sample" in sampled
    assert proof(0.01, 0.09).sentences[2] == "10 rows were relabeled, and 10 left out of the training."
    assert proof(0.01, 0.09, other_labels=2).sentences[3].startswith("2 judged rows do not count")
