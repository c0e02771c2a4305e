"""Checks of single rows of probabilities: each a finite distribution, unaltered since it was predicted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from labelaudit.errors import DatasetError, Fault, IntegrityError

# A sum of 1 is missed by this much at most where a row went through half precision or a few decimals.
ROUNDING = 1e-3
# Single precision misses it by less than this: such rows stay as they are, and nobody is told.
SINGLE_PRECISION = 1e-5
SHOWN_IDS = 5
# Pairs of so many classes are tried to explain an altered row: a second of work at most.
MAX_CLASSES_EXCHANGED = 300

FloatArray = npt.NDArray[np.floating[Any]]


class Place(NamedTuple):
    """Where rows come from (None: not from a fold), and what to do about a fault there."""

    fold: int | None
    remedy: str

    def fault(self, fault: Fault, problem: str, *, rows: int = 0, example_ids: Iterable[object] = ()) -> IntegrityError:
        """Error about this place; `example_ids` may be all ids concerned, the first few are kept."""
        first = [str(example_id) for _, example_id in zip(range(SHOWN_IDS), example_ids, strict=False)]
        return IntegrityError(fault, problem, self.remedy, fold=self.fold, rows=rows, example_ids=first)


def row_digests(example_ids: Sequence[str] | np.ndarray, pred_probs: FloatArray) -> npt.NDArray[np.uint64]:
    """Bind each id to its probabilities: 64 bits of BLAKE2b over the id and the row as little-endian float32.

    Computed by the process that predicts, right after it predicted, and stored beside the rows. Any later
    change, be it a shifted row, swapped columns or one flipped bit, gives another digest, also where
    no statistic could see it.

    Args:
        example_ids: (n,) strings.
        pred_probs: (n, K), float32 or what rounds to it.

    Returns:
        (n,) uint64, in the order of the rows.
    """
    rows = np.ascontiguousarray(pred_probs, dtype="<f4")
    # Rows are of one length, so that id and row cannot be cut in another place with the same bytes.
    values = b"".join(
        hashlib.blake2b(str(example_id).encode() + row.tobytes(), digest_size=8).digest()
        for example_id, row in zip(example_ids, rows, strict=True)
    )
    return np.frombuffer(values, dtype="<u8").astype(np.uint64)


def id_hashes(example_ids: Sequence[str] | np.ndarray) -> npt.NDArray[np.uint64]:
    """(n, 2) uint64: 128 bits of BLAKE2b of each id, the summands of `ids_digest`."""
    values = b"".join(hashlib.blake2b(str(i).encode(), digest_size=16).digest() for i in example_ids)
    return np.frombuffer(values, dtype="<u8").astype(np.uint64).reshape(-1, 2)


def sum_digest(hashes: npt.NDArray[np.uint64]) -> str:
    """Digest of a set of ids from their `id_hashes`: their sum modulo 2**64 and their number, as hex."""
    high, low = (int(part) for part in hashes.sum(axis=0, dtype=np.uint64))
    return f"{len(hashes):x}-{high:016x}{low:016x}"


def ids_digest(example_ids: Sequence[str] | np.ndarray) -> str:
    """Digest of a set of ids, the same for every order: says which rows a fold was trained on.

    Sums of hashes are used (Bellare and Micciancio's AdHash), so that the digest of "all but this
    fold" costs no second pass over the ids.
    """
    return sum_digest(id_hashes(example_ids))


def check_labels(example_ids: npt.NDArray[np.object_], labels: npt.NDArray[np.int64], *, num_classes: int) -> None:
    """Prove that there is one integer label in 0..K-1 per id.

    Raises:
        DatasetError: lengths differ, there are no rows, no two classes, or a label is out of range.
    """
    if labels.shape != example_ids.shape or labels.ndim != 1 or not len(labels):
        raise DatasetError(
            f"{labels.shape} labels for {example_ids.shape} example ids: one label per id is due, and at "
            "least one row. Pass both for the same rows."
        )
    if num_classes < 2:
        raise DatasetError(f"{num_classes} class: label errors are sought among two or more. Check the label column.")
    if (labels == labels[0]).all():
        raise DatasetError(
            f"All {len(labels):,} rows bear one label: label errors are sought among two or more classes. "
            "Check the label column."
        )
    is_bad = (labels < 0) | (labels >= num_classes) if labels.dtype.kind in "iu" else np.ones(len(labels), bool)
    if is_bad.any():
        raise DatasetError(
            f"{int(is_bad.sum()):,} of {len(labels):,} labels are not whole numbers from 0 to "
            f"{num_classes - 1} (first: {labels[is_bad][0]} of {example_ids[is_bad][0]}). Check the list of "
            "class names."
        )


def check_distributions(
    example_ids: npt.NDArray[np.object_], pred_probs: FloatArray, num_classes: int, place: Place
) -> tuple[npt.NDArray[np.float32], str]:
    """Prove that every row is a probability distribution over the classes; normalise what rounding left.

    Args:
        example_ids: (n,) ids, for the message.
        pred_probs: (n, K) of any float dtype. (Ragged rows arrive as an object array, and are refused.)
        num_classes: K.
        place: where the rows come from.

    Returns:
        pred_probs: (n, K) float32, rows sum to 1.
        note: how many rows were normalised and by how much at most; empty where none.

    Raises:
        IntegrityError: not-finite, all-zero, not-a-distribution (negative, a sum off 1 by more than 0.001,
            ragged), class-order (not K columns), rows-missing or rows-unknown (not n rows).
    """
    _check_shape(example_ids, pred_probs, num_classes, place)
    with np.errstate(invalid="ignore"):  # the sum of inf and -inf
        sums = pred_probs.sum(axis=1, dtype=np.float64)
    lowest, highest = pred_probs.min(axis=1), pred_probs.max(axis=1)
    for fault, is_bad, what in (
        (Fault.NOT_FINITE, ~np.isfinite(sums), "with NaN or infinite probabilities"),
        (Fault.ALL_ZERO, (lowest == 0) & (highest == 0), "of zeros only"),
        (Fault.NOT_A_DISTRIBUTION, lowest < -SINGLE_PRECISION, "with negative probabilities"),
        (Fault.NOT_A_DISTRIBUTION, np.abs(sums - 1) > ROUNDING, f"do not sum to 1 within {ROUNDING}"),
    ):
        if is_bad.any():
            count = int(is_bad.sum())
            raise place.fault(
                fault,
                f"{count:,} of {len(sums):,} rows {what}",
                rows=count,
                example_ids=example_ids[is_bad],
            )
    return _normalised(pred_probs, sums, lowest, place)


def _check_shape(example_ids: npt.NDArray[np.object_], pred_probs: FloatArray, num_classes: int, place: Place) -> None:
    due = f"{len(example_ids):,} rows of {num_classes} floats (one per class) are due"
    found = f"probabilities have shape {pred_probs.shape} and dtype {pred_probs.dtype}, where {due}"
    if pred_probs.ndim != 2 or pred_probs.dtype.kind != "f":
        raise place.fault(Fault.NOT_A_DISTRIBUTION, found, rows=len(pred_probs))
    if pred_probs.shape[1] != num_classes:
        raise place.fault(Fault.CLASS_ORDER, found, rows=len(pred_probs))
    surplus = len(pred_probs) - len(example_ids)
    if surplus:
        raise place.fault(Fault.ROWS_UNKNOWN if surplus > 0 else Fault.ROWS_MISSING, found, rows=abs(surplus))


def _normalised(
    pred_probs: FloatArray, sums: npt.NDArray[np.float64], lowest: FloatArray, place: Place
) -> tuple[npt.NDArray[np.float32], str]:
    checked = np.array(pred_probs, dtype=np.float32)
    error = np.maximum(np.abs(sums - 1), -lowest)
    is_off = (error > SINGLE_PRECISION) | (lowest < 0)
    if not is_off.any():
        return checked, ""
    rows = np.maximum(pred_probs[is_off].astype(np.float64), 0)
    checked[is_off] = rows / rows.sum(axis=1, keepdims=True)
    where = "" if place.fold is None else f"fold {place.fold}: "
    return checked, (
        f"{where}{int(is_off.sum()):,} of {len(sums):,} rows missed a sum of 1 by rounding "
        f"({error[is_off].max():.1e} at most) and were normalised"
    )


def find_alteration(
    example_ids: npt.NDArray[np.object_],
    pred_probs: FloatArray,
    stored: npt.NDArray[np.uint64],
    place: Place,
) -> IntegrityError | None:
    """Compare every row with the digest stored beside it when it was predicted.

    Digests also tell what happened: rows displaced against their ids, or two columns exchanged, bear the
    digest of the right place. That holds for folds and classes of any size.

    Args:
        example_ids: (n,) ids.
        pred_probs: (n, K) float32 as stored.
        stored: (n,) uint64 from `row_digests`.
        place: where the rows come from.

    Returns:
        None where all rows are as predicted, else an error to raise: rows-shifted or classes-swapped
        where the first altered row tells so, else rows-altered.
    """
    if stored.shape != (len(example_ids),):
        what = f"have {stored.size:,} digests, where one per row is due"
        return place.fault(Fault.ROWS_ALTERED, f"{len(example_ids):,} rows {what}", rows=len(example_ids))
    is_altered = row_digests(example_ids, pred_probs) != stored
    if not is_altered.any():
        return None
    count = int(is_altered.sum())
    fault, what = _explained(example_ids, pred_probs, stored, int(is_altered.argmax()))
    return place.fault(
        fault,
        f"{count:,} of {len(stored):,} rows {what}",
        rows=count,
        example_ids=example_ids[is_altered],
    )


def _explained(
    example_ids: npt.NDArray[np.object_], pred_probs: FloatArray, stored: npt.NDArray[np.uint64], row: int
) -> tuple[Fault, str]:
    """What happened to one altered row, as far as its digest tells."""
    n, num_classes = pred_probs.shape
    with_other_probs = row_digests(np.full(n, example_ids[row], object), pred_probs) == stored[row]
    with_other_ids = row_digests(example_ids, np.broadcast_to(pred_probs[row], pred_probs.shape)) == stored[row]
    for matches in (with_other_probs, with_other_ids):
        if matches.any():
            offset = abs(int(matches.argmax()) - row)
            return Fault.ROWS_SHIFTED, f"are displaced against their ids, the first by {offset:,} rows"
    first, second = np.triu_indices(min(num_classes, MAX_CLASSES_EXCHANGED), k=1)
    exchanged = np.repeat(pred_probs[row : row + 1], len(first), axis=0)
    pairs = np.arange(len(first))
    exchanged[pairs, first], exchanged[pairs, second] = pred_probs[row, second], pred_probs[row, first]
    matches = row_digests(np.full(len(first), example_ids[row], object), exchanged) == stored[row]
    if matches.any():
        pair = int(matches.argmax())
        return Fault.CLASSES_SWAPPED, f"have columns {first[pair]} and {second[pair]} (from 0) exchanged"
    return Fault.ROWS_ALTERED, "are not what was predicted for their ids: their digests differ"
