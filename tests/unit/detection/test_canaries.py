"""Canaries: which labels are planted in which rows, and what share is caught."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelaudit.detection.canaries import (
    FEWEST,
    MOST,
    SHARE,
    Canaries,
    Flip,
    measure_recall,
    plant_canaries,
)
from labelaudit.detection.issues import find_issues, flags_of_other_labels
from labelaudit.detection.probability_blocks import ArrayBlocks
from labelaudit.detection.row_scores import with_labels
from labelaudit.schemas import FILTERS
from labelaudit.strings import Strings
from support.simulated import simulate_probs


def plant(
    labels: np.ndarray, pred_probs: np.ndarray, *, filter_by: str = "prune_by_noise_rate", **how: object
) -> Canaries:
    ids = how.pop("example_ids", np.array([f"row-{row}" for row in range(len(labels))], object))
    doubted = how.pop("is_doubted", np.zeros(len(labels), bool))
    names = [f"class {k}" for k in range(pred_probs.shape[1])]
    probabilities = ArrayBlocks(pred_probs)
    found = find_issues(labels, probabilities, names, filter_by=filter_by)
    return plant_canaries(
        Strings(ids),
        labels,
        probabilities,
        found,
        is_doubted=doubted,
        filter_by=filter_by,
        **{"seed": 0, **how},  # type: ignore[arg-type]
    )


def sure(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return probabilities of a perfect model: 0.9 for the label, less for the next class, least for the others."""
    rows = np.arange(len(labels))
    probs = np.full((len(labels), num_classes), 0.02)
    probs[rows, (labels + 1) % num_classes] = 0.04
    probs[rows, labels] += 1 - probs.sum(axis=1)
    return probs.astype(np.float32)


LABELS = np.arange(600) % 4


def test_canaries_are_caught_at_the_cut_of_the_real_labels() -> None:
    rng = np.random.default_rng(0)
    labels = np.where(rng.random(600) < 0.05, (LABELS + 1) % 4, LABELS)
    probs = sure(LABELS, 4)
    found = find_issues(labels, ArrayBlocks(probs), list("abcd"))
    canaries = plant(labels, probs, filter_by="auto")
    changed = with_labels(found.scores, canaries.rows, canaries.planted_labels, probs[canaries.rows])
    p_wrong = found.model.p_wrong(changed)[canaries.rows]
    assert found.cut is not None
    assert canaries.is_caught.tolist() == (p_wrong >= found.cut).tolist()
    assert canaries.is_caught.all()


def test_planted_labels_do_not_move_the_cut() -> None:
    """Planted in each row in turn: fitted to them, the method would no longer know which labels are right."""
    labels = np.where(np.arange(600) % 20 == 7, (LABELS + 1) % 4, LABELS)
    probs = sure(LABELS, 4)
    found = find_issues(labels, ArrayBlocks(probs), list("abcd"))
    assert np.flatnonzero(found.is_label_issue).tolist() == list(range(7, 600, 20))
    for step in (1, 2, 3):
        rows = np.flatnonzero(labels == LABELS)
        changed = with_labels(found.scores, rows, (LABELS[rows] + step) % 4, probs[rows])
        assert flags_of_other_labels(ArrayBlocks(probs), changed, found, filter_by="auto").all()


def test_a_model_that_is_often_wrong_catches_few() -> None:
    """It errs on four rows of ten, so most planted labels look like its own errors."""
    probs = simulate_probs(LABELS, 4, signal=1.0)
    weak = measure_recall(plant(LABELS, probs, filter_by="auto"))
    good = measure_recall(plant(LABELS, simulate_probs(LABELS, 4, signal=7.0), filter_by="auto"))
    assert weak is not None
    assert good is not None
    assert good.recall == 1.0 > weak.recall


@pytest.mark.parametrize("filter_by", FILTERS)
def test_a_perfect_model_catches_all(filter_by: str) -> None:
    canaries = plant(LABELS, sure(LABELS, 4), filter_by=filter_by)
    assert canaries.is_caught.all()
    recall = measure_recall(canaries)
    assert recall is not None
    assert (recall.planted, recall.caught, recall.recall, recall.high) == (12, 12, 1.0, 1.0)
    assert recall.low == pytest.approx(0.757, abs=0.001)
    by_kind = [measure_recall(canaries, flip) for flip in Flip]
    assert [kind and kind.planted for kind in by_kind] == [6, 6]


def test_a_model_that_knows_nothing_catches_none() -> None:
    probs = np.full((len(LABELS), 4), 0.25, np.float32)
    recall = measure_recall(plant(LABELS, probs))
    assert recall is not None
    assert (recall.caught, recall.recall, recall.low) == (0, 0.0, 0.0)


def test_likely_labels_are_the_most_probable_others() -> None:
    canaries = plant(LABELS, sure(LABELS, 4))
    likely = canaries.flips == Flip.LIKELY
    given = LABELS[canaries.rows]
    np.testing.assert_array_equal(canaries.planted_labels[likely], (given[likely] + 1) % 4)
    np.testing.assert_allclose(canaries.label_score[likely], 0.04, atol=1e-6)
    assert (canaries.planted_labels != given).all()
    assert (np.diff(canaries.rows) > 0).all()


def test_random_labels_are_all_other_classes_alike() -> None:
    labels = np.arange(30_000) % 4
    canaries = plant(labels, sure(labels, 4))
    random = canaries.flips == Flip.RANDOM
    steps = np.bincount((canaries.planted_labels[random] - labels[canaries.rows[random]]) % 4, minlength=4)
    assert steps[0] == 0
    assert steps.sum() == MOST
    assert steps[1:].min() > 45, "of 67 each on average"


def test_only_trusted_rows() -> None:
    """Flagged rows, rows with another prediction and rows that a person doubts do not change."""
    labels = LABELS.copy()
    labels[:100] = (labels[:100] + 1) % 4
    doubted = np.arange(600) >= 500
    probs = sure(LABELS, 4)
    canaries = plant(labels, probs, is_doubted=doubted)
    assert len(canaries.rows) == 12
    assert canaries.rows.min() >= 100
    assert canaries.rows.max() < 500


def test_the_same_rows_in_any_order_and_others_for_another_seed() -> None:
    probs = simulate_probs(LABELS, 4, signal=4.0)
    ids = np.array([f"row-{row}" for row in range(600)], object)
    order = np.random.default_rng(3).permutation(600)

    def planted(seed: int, order: np.ndarray) -> set[tuple[str, int, str, bool]]:
        found = plant(LABELS[order], probs[order], example_ids=ids[order], seed=seed)
        names = ids[order][found.rows]
        return set(zip(names, found.planted_labels, found.flips, found.is_caught, strict=True))

    first = planted(0, np.arange(600))
    assert first == planted(0, order)
    assert first != planted(1, np.arange(600))


def test_a_larger_dataset_keeps_its_canaries() -> None:
    """Rows are chosen by their ids, so that a version with a few more rows plants mostly in the same ones."""
    labels = np.arange(4000) % 4
    probs = sure(labels, 4)
    small, large = plant(labels[:3900], probs[:3900]), plant(labels, probs)
    kept = len(set(small.rows) & set(large.rows))
    assert kept > 0.8 * len(small.rows)


def test_two_classes_have_one_kind_of_flip() -> None:
    labels = np.arange(300) % 2
    canaries = plant(labels, sure(labels, 2))
    assert set(canaries.flips) == {Flip.RANDOM}
    assert len(canaries.rows) == 2 * FEWEST
    assert measure_recall(canaries, Flip.LIKELY) is None
    np.testing.assert_array_equal(canaries.planted_labels, 1 - labels[canaries.rows])


def test_an_absent_and_a_tiny_class_are_left_alone() -> None:
    labels = np.concatenate([np.arange(600) % 3, [3, 3, 3]])
    canaries = plant(labels, sure(labels, 5))
    assert set(canaries.planted_labels) <= {0, 1, 2}
    assert set(labels[canaries.rows]) <= {0, 1, 2}


@pytest.mark.parametrize("rows", [12, 30])
def test_too_few_rows(rows: int) -> None:
    labels = np.arange(rows) % 3
    canaries = plant(labels, sure(labels, 3))
    assert len(canaries.rows) == 0
    assert measure_recall(canaries) is None
    assert canaries.note.startswith("Canaries: fewer than 5 rows of a kind can be trusted")


def test_nothing_to_trust() -> None:
    labels = np.arange(60) % 3
    probs = sure((labels + 1) % 3, 3)
    canaries = plant(labels, probs, filter_by="confident_learning")
    assert canaries.note.startswith("Canaries: fewer than 5 rows of a kind can be trusted")


def test_one_class_large_enough() -> None:
    labels = np.array([0] * 100 + [1] * 4)
    assert plant(labels, sure(labels, 2)).note


@given(
    sizes=st.lists(st.integers(0, 300), min_size=2, max_size=6).filter(
        lambda sizes: sum(size > 0 for size in sizes) > 1
    ),
    signal=st.floats(0, 6),
    seed=st.integers(0, 9),
)
@settings(max_examples=40)
def test_bounds(sizes: list[int], signal: float, seed: int) -> None:
    """Never more than 1 % of each kind (or five), never more than a tenth of a class, and no class vanishes."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    canaries = plant(labels, simulate_probs(labels, len(sizes), signal=signal, seed=seed), seed=seed)
    assert bool(canaries.note) == (len(canaries.rows) == 0)
    assert len(canaries.rows) <= 2 * max(FEWEST, int(SHARE * len(labels)))
    copy = labels.copy()
    copy[canaries.rows] = canaries.planted_labels
    before, after = (np.bincount(each, minlength=len(sizes)) for each in (labels, copy))
    assert ((after > 0) == (before > 0)).all()
    taken = np.bincount(labels[canaries.rows], minlength=len(sizes))
    added = np.bincount(canaries.planted_labels, minlength=len(sizes))
    assert (np.maximum(taken, added) <= np.ceil(before / 10)).all()
    if len(canaries.rows):
        kinds = [int((canaries.flips == flip).sum()) for flip in set(canaries.flips)]
        assert min(kinds) >= FEWEST
