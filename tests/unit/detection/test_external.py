"""Probabilities from outside pass the same gate, as far as it goes without folds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from labelaudit.detection import external
from labelaudit.detection.probability_blocks import RawArray
from labelaudit.errors import DatasetError, Fault, IntegrityError
from labelaudit.strings import Strings
from support.simulated import all_rows, simulate_probs

NAMES = ("cat", "dog", "horse", "sheep")
LABELS = np.random.default_rng(0).integers(0, 4, 500)
IDS = np.array([f"id-{i:03d}" for i in range(500)], dtype=object)
PROBS = simulate_probs(LABELS, 4, signal=1.5)


def check_external(
    ids: np.ndarray, labels: np.ndarray, probs: np.ndarray, names: Sequence[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    checked, notes = external.check_external(Strings(ids), labels, RawArray(probs), names)
    return all_rows(checked), notes


def with_nan(probs: np.ndarray) -> np.ndarray:
    probs = probs.copy()
    probs[[3, 9], 2] = np.nan
    return probs


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_healthy_rows_pass_in_any_float_type_and_order(dtype: type) -> None:
    for order in (np.arange(500), np.argsort(LABELS, kind="stable")):
        checked, notes = check_external(IDS[order], LABELS[order], PROBS[order].astype(dtype), NAMES)
        assert checked.dtype == np.float32
        np.testing.assert_allclose(checked, PROBS[order], atol=1e-3)
        np.testing.assert_allclose(checked.sum(axis=1), 1, atol=2e-5)
        assert len(notes) == (dtype == np.float16)


@pytest.mark.parametrize(
    ("change", "fault", "match"),
    [
        (with_nan, Fault.NOT_FINITE, r"2 of 500 rows have NaN.*\(first: id-003, id-009\)"),
        (lambda probs: probs * 0, Fault.ALL_ZERO, "500 of 500 rows have only zeros"),
        (lambda probs: np.log(probs), Fault.NOT_A_DISTRIBUTION, "negative"),
        (lambda probs: probs[:, :3], Fault.CLASS_ORDER, "500 rows of 4 floats"),
        (lambda probs: probs[:-1], Fault.ROWS_MISSING, r"shape \(499, 4\)"),
        (lambda probs: np.roll(probs, -1, axis=0), Fault.ROWS_SHIFTED, "1 rows further up"),
        (lambda probs: probs[:, [0, 2, 1, 3]], Fault.CLASSES_SWAPPED, "2 classes .'dog', 'horse'."),
        (lambda probs: probs[:, ::-1], Fault.CLASSES_SWAPPED, "4 classes"),
        (lambda probs: probs[:, [1, 2, 3, 0]], Fault.CLASSES_SWAPPED, "4 classes"),
        (lambda probs: probs[::-1], Fault.LEARNED_NOTHING, "no better than chance"),
        (lambda probs: np.full_like(probs, 0.25), Fault.LEARNED_NOTHING, "no better than chance"),
    ],
)
def test_faults(change: Callable[[np.ndarray], np.ndarray], fault: Fault, match: str) -> None:
    with pytest.raises(IntegrityError, match=match) as caught:
        check_external(IDS, LABELS, change(PROBS), NAMES)
    assert caught.value.fault == fault
    assert caught.value.fold is None


def test_ids_doubled_and_labels_out_of_range() -> None:
    with pytest.raises(IntegrityError, match=r"1 rows repeat the id of another row \(first: id-000\)") as caught:
        check_external(np.r_[IDS[:1], IDS[:-1]], LABELS, PROBS, NAMES)
    assert caught.value.fault == Fault.ROWS_DOUBLED
    with pytest.raises(DatasetError, match="labels are not whole numbers from 0 to 3"):
        check_external(IDS, LABELS + 1, PROBS, NAMES)


def test_predictions_of_seen_rows_are_a_note() -> None:
    _, notes = check_external(IDS, LABELS, simulate_probs(LABELS, 4, signal=20.0), NAMES)
    assert len(notes) == 1
    assert "very likely seen in training" in notes[0]


ROWS = {2: 300, 3: 301, 12: 240, 30: 480}


def orders(num_classes: int) -> dict[str, np.ndarray]:
    """Return labels in a regular order of classes, and in none."""
    alternating = np.arange(ROWS[num_classes]) % num_classes
    return {
        "alternating": alternating,
        "sorted": np.sort(alternating),
        "in blocks": np.repeat(alternating, 5)[: len(alternating)],
        "mixed": np.random.default_rng(1).permutation(alternating),
    }


def fault_of(labels: np.ndarray, probs: np.ndarray) -> IntegrityError | None:
    ids = np.array([f"id-{i:04d}" for i in range(len(labels))], dtype=object)
    try:
        check_external(ids, labels, probs, [str(1 + k) for k in range(probs.shape[1])])
    except IntegrityError as error:
        return error
    return None


@pytest.mark.parametrize("num_classes", [12, 30])
@pytest.mark.parametrize("signal", [5.0, 20.0])
def test_columns_in_another_order_are_not_taken_for_shifted_rows(num_classes: int, signal: float) -> None:
    """numpy.unique sorts the names of classes as text: 1, 10, 11, 2."""
    as_text = np.argsort([str(1 + k) for k in range(num_classes)])
    for labels in orders(num_classes).values():
        probs = simulate_probs(labels, num_classes, signal=signal)
        assert fault_of(labels, probs) is None
        error = fault_of(labels, probs[:, as_text])
        assert error is not None
        assert error.fault == Fault.CLASSES_SWAPPED
    labels = orders(num_classes)["alternating"]
    error = fault_of(labels, simulate_probs(labels, num_classes, signal=signal)[:, as_text])
    assert "the columns are the classes '1', '10', '11', '12'" in str(error)


@pytest.mark.parametrize("num_classes", [2, 3, 12, 30])
def test_shifted_rows_in_an_order_that_shows_it(num_classes: int) -> None:
    labels = orders(num_classes)["mixed"]
    partly = np.where(np.arange(len(labels)) % 4 == 0, labels, orders(num_classes)["alternating"])
    for order in (labels, partly):
        for offset in (1, -5):
            error = fault_of(order, np.roll(simulate_probs(order, num_classes, signal=8.0), offset, axis=0))
            assert error is not None
            assert error.fault == Fault.ROWS_SHIFTED
    assert f"{abs(offset)} rows further up" in str(error)


@pytest.mark.parametrize("num_classes", [2, 3, 12, 30])
def test_both_explanations_are_named_if_the_labels_cannot_tell(num_classes: int) -> None:
    """If classes alternate, a shift by one row and the next column for each class give the same table."""
    labels = np.arange(20 * num_classes) % num_classes
    probs = simulate_probs(labels, num_classes, signal=6.0)
    for damaged in (np.roll(probs, 1, axis=0), np.roll(probs, -1, axis=1)):
        error = fault_of(labels, damaged)
        assert error is not None
        assert error.fault == Fault.MISORDERED
        assert "the columns are the classes '2'" in str(error)
        assert "or the rows are shifted by 1 against the ids" in str(error)


def test_many_small_classes_in_other_columns_are_not_taken_for_chance() -> None:
    labels = np.random.default_rng(2).permutation(np.arange(240) % 30)
    probs = simulate_probs(labels, 30, signal=20.0)
    reversed_columns, shuffled = fault_of(labels, probs[:, ::-1]), fault_of(labels, probs[::-1])
    assert reversed_columns is not None
    assert reversed_columns.fault == Fault.CLASSES_SWAPPED
    assert shuffled is not None
    assert shuffled.fault == Fault.LEARNED_NOTHING
