"""Digests bind ids to rows; each row is proved to be a distribution."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.detection import rows
from labelaudit.detection.probability_blocks import ArrayBlocks, RawArray
from labelaudit.detection.rows import (
    Place,
    check_labels,
    ids_digest,
    row_digests,
)
from labelaudit.errors import DatasetError, Fault, IntegrityError
from support.simulated import all_rows

PLACE = Place(3, "Do it again.")
IDS = np.array(["a", "b", "c", "d"], dtype=object)
PROBS = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.0, 0.0, 1.0]], dtype=np.float32)
LABELS = np.array([0, 1, 2, 2])


def check_distributions(ids: np.ndarray, probs: np.ndarray, num_classes: int, place: Place) -> tuple[np.ndarray, str]:
    checked, note = rows.check_distributions(ids, RawArray(probs), num_classes, place)
    return all_rows(checked), note


def find_alteration(ids: np.ndarray, probs: np.ndarray, stored: np.ndarray, place: Place) -> IntegrityError | None:
    return rows.find_alteration(ids, ArrayBlocks(probs), stored, place)


def faulted(changes: dict[tuple[int, int], float]) -> np.ndarray:
    probs = PROBS.copy()
    for cell, value in changes.items():
        probs[cell] = value
    return probs


def test_healthy_rows_stay_as_they_are_to_the_byte() -> None:
    checked, note = check_distributions(IDS, PROBS, 3, PLACE)
    assert checked.tobytes() == PROBS.tobytes()
    assert note == ""


@pytest.mark.parametrize(
    ("probs", "fault", "match"),
    [
        (faulted({(1, 0): np.nan}), Fault.NOT_FINITE, r"1 of 4 rows have NaN.*\(first: b\)"),
        (faulted({(1, 0): np.inf, (2, 1): -np.inf}), Fault.NOT_FINITE, r"2 of 4 rows.*\(first: b, c\)"),
        (faulted({(2, 0): np.inf, (2, 1): -np.inf}), Fault.NOT_FINITE, r"1 of 4 rows"),
        (faulted({(3, 2): 0}), Fault.ALL_ZERO, r"1 of 4 rows have only zeros \(first: d\)"),
        (faulted({(0, 0): 1.0, (0, 1): -0.1}), Fault.NOT_A_DISTRIBUTION, "negative"),
        (faulted({(0, 0): 0.71}), Fault.NOT_A_DISTRIBUTION, "do not sum to 1"),
        (np.log(PROBS + 1), Fault.NOT_A_DISTRIBUTION, "4 of 4 rows do not sum to 1"),
        (PROBS[:, :2], Fault.CLASS_ORDER, r"shape \(4, 2\).*4 rows of 3 floats"),
        (PROBS[:3], Fault.ROWS_MISSING, r"shape \(3, 3\)"),
        (np.vstack([PROBS, PROBS]), Fault.ROWS_UNKNOWN, r"shape \(8, 3\)"),
        (np.array([PROBS[0], PROBS[1][:2], 0, 0], object), Fault.NOT_A_DISTRIBUTION, "dtype object"),
        ((PROBS > 0.5).astype(int), Fault.NOT_A_DISTRIBUTION, "dtype int64"),
    ],
)
def test_what_is_no_distribution_is_an_error(probs: np.ndarray, fault: Fault, match: str) -> None:
    with pytest.raises(IntegrityError, match=match) as caught:
        check_distributions(IDS, probs, 3, PLACE)
    assert caught.value.fault == fault
    assert caught.value.fold == 3
    assert str(caught.value).startswith(f"[{fault}] fold 3: ")
    assert str(caught.value).endswith("Do it again.")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_rounding_is_normalised_and_told() -> None:
    half = PROBS.astype(np.float16)
    half[0] = [0.7, 0.2, 0.1005]
    checked, note = check_distributions(IDS, half, 3, PLACE)
    np.testing.assert_allclose(checked.sum(axis=1, dtype=np.float64), 1, atol=1e-7)
    np.testing.assert_allclose(checked, PROBS, atol=1e-3)
    assert note.startswith("Fold 3: ")
    assert "rows did not sum to exactly 1 because of rounding" in note


def test_tiny_negative_values_become_zero() -> None:
    checked, note = check_distributions(IDS, faulted({(3, 0): -1e-6}), 3, Place(None, ""))
    assert checked[3].tolist() == [0, 0, 1]
    assert note.startswith("1 of 4 rows")


@pytest.mark.parametrize(
    ("ids", "labels", "num_classes", "match"),
    [
        (IDS, LABELS[:3], 3, "one label per id"),
        (IDS[:0], LABELS[:0], 3, "at least one row"),
        (IDS, LABELS, 1, "have 1 class"),
        (IDS, np.ones(4, int), 3, "All 4 rows have the same label"),
        (IDS, LABELS, 2, r"2 of 4 labels.*from 0 to 1 \(first: 2 of c\)"),
        (IDS, np.array([0, 1, -1, 2]), 3, r"first: -1 of c"),
        (IDS, LABELS.astype(float), 3, "4 of 4 labels are not whole numbers"),
    ],
)
def test_labels_that_do_not_fit(ids: np.ndarray, labels: np.ndarray, num_classes: int, match: str) -> None:
    with pytest.raises(DatasetError, match=match):
        check_labels(ids, labels, num_classes=num_classes)


def test_digests_are_the_same_on_every_machine() -> None:
    assert row_digests(["a"], PROBS[:1]).tolist() == [9211221054876407260]
    assert ids_digest(["a", "b"]) == "2-50b3aae6ba89dabd964d4469c93f9238"


def test_any_flipped_bit_changes_a_row_digest() -> None:
    before = row_digests(IDS, PROBS)
    for byte in range(PROBS[0].nbytes):
        altered = PROBS.copy()
        altered.view(np.uint8)[0, byte] ^= 1
        assert row_digests(IDS, altered)[0] != before[0]
    assert (row_digests(np.roll(IDS, 1), PROBS) != before).all()
    assert row_digests(IDS, np.asfortranarray(PROBS)).tolist() == before.tolist()


@given(st.lists(st.text(max_size=4), unique=True, max_size=20), st.randoms(use_true_random=False))
def test_ids_digest_depends_on_the_set_alone(ids: list[str], random) -> None:
    shuffled = ids.copy()
    random.shuffle(shuffled)
    assert ids_digest(shuffled) == ids_digest(ids)
    assert ids_digest([*ids, "one more"]) != ids_digest(ids)
    if ids:
        assert ids_digest(ids[1:]) != ids_digest(ids)


@pytest.mark.parametrize(
    ("ids", "probs", "fault", "match"),
    [
        (IDS, np.roll(PROBS, 1, axis=0), Fault.ROWS_SHIFTED, "4 of 4 rows are shifted.*by 1 row"),
        (np.roll(IDS, -1), PROBS, Fault.ROWS_SHIFTED, "4 of 4 rows are shifted"),
        (IDS, PROBS[[0, 2, 1, 3]], Fault.ROWS_SHIFTED, r"2 of 4 rows.*\(first: b, c\)"),
        (IDS, PROBS[:, [1, 0, 2]], Fault.CLASSES_SWAPPED, r"2 of 4 rows have columns 0 and 1 .* exchanged"),
        (
            IDS,
            faulted({(2, 0): 0.31, (2, 1): 0.29}),
            Fault.ROWS_ALTERED,
            r"1 of 4 rows have changed.*\(first: c\)",
        ),
        (np.array(["a", "b", "x", "d"], object), PROBS, Fault.ROWS_ALTERED, "1 of 4 rows"),
    ],
)
def test_digests_tell_what_happened(ids: np.ndarray, probs: np.ndarray, fault: Fault, match: str) -> None:
    stored = row_digests(IDS, PROBS)
    assert find_alteration(IDS, PROBS, stored, PLACE) is None
    found = find_alteration(ids, probs, stored, PLACE)
    assert found is not None
    with pytest.raises(IntegrityError, match=match):
        raise found
    assert found.fault == fault


def test_digests_of_another_number_of_rows() -> None:
    found = find_alteration(IDS, PROBS, row_digests(IDS[:3], PROBS[:3]), PLACE)
    assert found is not None
    assert "3 digests, but one per row is expected" in str(found)
