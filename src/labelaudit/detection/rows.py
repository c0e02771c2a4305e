"""Checks of rows of probabilities: each is a finite distribution and has not changed since it was predicted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from labelaudit.detection.probability_blocks import Block, ProbabilityBlocks, RawBlocks, read_rows, spans
from labelaudit.errors import DatasetError, Fault, IntegrityError
from labelaudit.strings import Strings

# Half precision or a few decimals change a sum of 1 by at most this much.
_ROUNDING = 1e-3
# Single precision changes it by less than this. Such rows stay as they are, without a note.
SINGLE_PRECISION = 1e-5
SHOWN_IDS = 5
# Pairs of this many classes are tried to explain an altered row, which takes at most a second.
MAX_CLASSES_EXCHANGED = 300

_FloatArray = npt.NDArray[np.floating]
_Ids = npt.NDArray[np.object_] | Strings


class Place(NamedTuple):
    """The origin of rows, and what to do about a fault there."""

    fold: int | None  # None: the rows do not come from a fold
    remedy: str

    def fault(self, fault: Fault, problem: str, *, rows: int = 0, example_ids: Iterable[object] = ()) -> IntegrityError:
        """Return an error for this place. `example_ids` may be all affected ids; the error keeps the first few."""
        first = [str(example_id) for _, example_id in zip(range(SHOWN_IDS), example_ids, strict=False)]
        return IntegrityError(fault, problem, self.remedy, fold=self.fold, rows=rows, example_ids=first)


def row_digests(example_ids: Sequence[str] | np.ndarray, pred_probs: _FloatArray) -> npt.NDArray[np.uint64]:
    """Return a digest of each id with its probabilities: 64 bits of BLAKE2b over the id and the row as float32.

    The process that predicts computes the digests and stores them with the rows. Every later change gives another
    digest: a shifted row, swapped columns, a flipped bit. Statistics cannot detect all of these.

    Args:
        example_ids: (n,) strings.
        pred_probs: (n, K) floats, rounded to float32.

    Returns:
        (n,) uint64, in the order of the rows.
    """
    rows = np.ascontiguousarray(pred_probs, dtype="<f4")
    # All rows have the same length, so that no other id and row give the same bytes.
    values = b"".join(_row_digest(str(example_id), row) for example_id, row in zip(example_ids, rows, strict=True))
    return np.frombuffer(values, dtype="<u8").astype(np.uint64)


def _row_digest(example_id: str, row: npt.NDArray[np.float32]) -> bytes:
    hasher = hashlib.blake2b(example_id.encode(), digest_size=8)
    hasher.update(row.data)
    return hasher.digest()


def id_hashes(example_ids: Sequence[str] | np.ndarray) -> npt.NDArray[np.uint64]:
    """Return 128 bits of BLAKE2b of each id, (n, 2) uint64. `ids_digest` sums them."""
    values = bytearray()
    for example_id in example_ids:  # joining would keep an object per id
        values += hashlib.blake2b(str(example_id).encode(), digest_size=16).digest()
    return np.frombuffer(values, dtype="<u8").astype(np.uint64).reshape(-1, 2)


def sum_digest(hashes: npt.NDArray[np.uint64]) -> str:
    """Return the digest of a set of ids from their `id_hashes`: their number and their sum modulo 2**64, as hex."""
    high, low = (int(part) for part in hashes.sum(axis=0, dtype=np.uint64))
    return f"{len(hashes):x}-{high:016x}{low:016x}"


def ids_digest(example_ids: Sequence[str] | np.ndarray) -> str:
    """Return a digest of a set of ids that does not depend on their order. It identifies a fold's training rows.

    It is a sum of hashes (Bellare and Micciancio's AdHash), so that the digest of "all rows except this fold" needs no
    second pass over the ids.
    """
    return sum_digest(id_hashes(example_ids))


def check_labels(example_ids: _Ids, labels: npt.NDArray[np.int64], *, num_classes: int) -> None:
    """Check that there is one integer label in 0..K-1 per id.

    Raises:
        DatasetError: lengths differ, there are no rows, fewer than two classes, or a label is out of range.
    """
    if labels.shape != example_ids.shape or labels.ndim != 1 or not len(labels):
        raise DatasetError(
            f"Labels have shape {labels.shape} and example ids {example_ids.shape}, but there must be one label per id "
            "and at least one row. Pass both for the same rows."
        )
    if num_classes < 2:
        raise DatasetError(
            f"The labels have {num_classes} class, but an audit needs two or more. Check the label column."
        )
    if (labels == labels[0]).all():
        raise DatasetError(
            f"All {len(labels):,} rows have the same label, but an audit needs two or more classes. Check the label "
            "column."
        )
    is_bad = (labels < 0) | (labels >= num_classes) if labels.dtype.kind in "iu" else np.ones(len(labels), bool)
    if is_bad.any():
        raise DatasetError(
            f"{int(is_bad.sum()):,} of {len(labels):,} labels are not whole numbers from 0 to "
            f"{num_classes - 1} (first: {labels[is_bad][0]} of {example_ids[is_bad][0]}). Check the list of class "
            "names."
        )


def check_distributions(
    example_ids: _Ids, raw: RawBlocks, num_classes: int, place: Place
) -> tuple[ProbabilityBlocks, str]:
    """Check that every row is a probability distribution over the classes, and remove rounding errors.

    Args:
        example_ids: (n,) ids, for the message.
        raw: (n, K) of any float dtype. Rows of different lengths are an object array, which is an error.
        num_classes: K.
        place: the origin of the rows.

    Returns:
        probabilities: n rows of K classes, whose rows sum to 1.
        note: the number of normalised rows and the largest correction, or empty.

    Raises:
        IntegrityError: not-finite, all-zero, not-a-distribution (negative, a sum that differs from 1 by more than
            0.001, rows of different lengths), class-order (not K columns), rows-missing or rows-unknown (not n rows).
    """
    _check_shape(len(example_ids), raw.shape, raw.dtype, num_classes, place)
    is_off = np.zeros(len(example_ids), bool)
    largest = 0.0
    faults = _RowFaults()
    for positions, values in raw.blocks():
        _check_shape(len(positions), values.shape, values.dtype, num_classes, place)
        sums, lowest = _sums(values), values.min(axis=1)
        faults.add(positions, values, sums, lowest)
        error = np.maximum(np.abs(sums - 1), -lowest)
        is_off[positions] = off = (error > SINGLE_PRECISION) | (lowest < 0)
        largest = max(largest, float(error[off].max(initial=0)))
    faults.raise_first(example_ids, place)
    if not is_off.any():
        return CheckedBlocks(raw, None), ""
    prefix = "" if place.fold is None else f"Fold {place.fold}: "
    return CheckedBlocks(raw, is_off), (
        f"{prefix}{int(is_off.sum()):,} of {len(is_off):,} rows did not sum to exactly 1 because of rounding "
        f"(difference {largest:.1e} or less) and were normalised."
    )


@dataclass(frozen=True)
class CheckedBlocks:
    """Rows that are distributions, as float32 and without rounding errors."""

    raw: RawBlocks
    is_off: npt.NDArray[np.bool_] | None  # (n,) rows to normalise; None if there are none

    @property
    def num_classes(self) -> int:
        return int(self.raw.shape[1])

    def __len__(self) -> int:
        return int(self.raw.shape[0])

    def blocks(self) -> Iterator[Block]:
        for positions, values in self.raw.blocks():
            checked = np.ascontiguousarray(values, dtype=np.float32)
            if self.is_off is not None and (off := np.flatnonzero(self.is_off[positions])).size:
                rows = np.maximum(values[off].astype(np.float64), 0)
                checked = np.array(checked)
                checked[off] = rows / rows.sum(axis=1, keepdims=True)
            yield Block(positions, checked)


class _RowFaults:
    """Rows that are not distributions, by the first fault of each, in the order in which faults are reported."""

    _WHAT = (
        (Fault.NOT_FINITE, "have NaN or infinite probabilities"),
        (Fault.ALL_ZERO, "have only zeros"),
        (Fault.NOT_A_DISTRIBUTION, "have negative probabilities"),
        (Fault.NOT_A_DISTRIBUTION, f"do not sum to 1 within {_ROUNDING}"),
    )

    def __init__(self) -> None:
        self._rows = 0
        self._counts = [0] * len(self._WHAT)
        self._first: list[list[int]] = [[] for _ in self._WHAT]  # positions

    def add(
        self, positions: npt.NDArray[np.int64], values: _FloatArray, sums: _FloatArray, lowest: _FloatArray
    ) -> None:
        self._rows += len(sums)
        is_zero = np.zeros(len(sums), bool)
        zeros = np.flatnonzero((sums == 0) & (lowest == 0))
        is_zero[zeros] = values[zeros].max(axis=1, initial=0) == 0
        masks = (~np.isfinite(sums), is_zero, lowest < -SINGLE_PRECISION, np.abs(sums - 1) > _ROUNDING)
        for number, is_bad in enumerate(masks):
            bad = positions[is_bad]
            self._counts[number] += len(bad)
            self._first[number] = sorted([*self._first[number], *np.sort(bad)[:SHOWN_IDS].tolist()])[:SHOWN_IDS]

    def raise_first(self, example_ids: _Ids, place: Place) -> None:
        for (fault, what), count, first in zip(self._WHAT, self._counts, self._first, strict=True):
            if count:
                problem = f"{count:,} of {self._rows:,} rows {what}"
                raise place.fault(fault, problem, rows=count, example_ids=example_ids[first])


def _sums(values: _FloatArray) -> npt.NDArray[np.float64]:
    """Return the sum of each row, in float64 wherever it matters."""
    if values.dtype != np.float32:
        with np.errstate(invalid="ignore"):  # the sum of inf and -inf
            return np.asarray(values.sum(axis=1, dtype=np.float64))
    with np.errstate(invalid="ignore", over="ignore"):
        sums: npt.NDArray[np.float64] = values.sum(axis=1).astype(np.float64)
        # The sum in float32 is much faster, and its error is far below half of what is tolerated.
        unclear = np.flatnonzero(~(np.abs(sums - 1) < SINGLE_PRECISION / 2))
        sums[unclear] = values[unclear].sum(axis=1, dtype=np.float64)
    return sums


def _check_shape(
    rows: int, shape: tuple[int, ...], dtype: np.dtype[np.generic], num_classes: int, place: Place
) -> None:
    expected = f"{rows:,} rows of {num_classes} floats (one per class) are expected"
    found = f"the probabilities have shape {shape} and dtype {dtype}, but {expected}"
    if len(shape) != 2 or dtype.kind != "f":
        raise place.fault(Fault.NOT_A_DISTRIBUTION, found, rows=shape[0])
    if shape[1] != num_classes:
        raise place.fault(Fault.CLASS_ORDER, found, rows=shape[0])
    surplus = shape[0] - rows
    if surplus:
        raise place.fault(Fault.ROWS_UNKNOWN if surplus > 0 else Fault.ROWS_MISSING, found, rows=abs(surplus))


def find_alteration(
    example_ids: _Ids,
    probabilities: ProbabilityBlocks,
    stored: npt.NDArray[np.uint64],
    place: Place,
) -> IntegrityError | None:
    """Compare every row with the digest that was stored when it was predicted.

    Digests also show what happened: a shifted row has the digest of its own id, and a row with two exchanged columns
    that of the original order. This works for folds and classes of any size.

    Args:
        example_ids: (n,) ids.
        probabilities: n rows as stored.
        stored: (n,) uint64 from `row_digests`.
        place: the origin of the rows.

    Returns:
        None if no row has changed, else an error to raise: rows-shifted or classes-swapped if the first altered row
        shows it, else rows-altered.
    """
    if stored.shape != (len(example_ids),):
        what = f"have {stored.size:,} digests, but one per row is expected"
        return place.fault(Fault.ROWS_ALTERED, f"{len(example_ids):,} rows {what}", rows=len(example_ids))
    is_altered = np.zeros(len(stored), bool)
    for positions, pred_probs in probabilities.blocks():
        is_altered[positions] = row_digests(example_ids[positions], pred_probs) != stored[positions]
    if not is_altered.any():
        return None
    count = int(is_altered.sum())
    fault, what = _explained(example_ids, probabilities, stored, int(is_altered.argmax()))
    return place.fault(
        fault,
        f"{count:,} of {len(stored):,} rows {what}",
        rows=count,
        example_ids=example_ids[is_altered],
    )


def _explained(
    example_ids: _Ids, probabilities: ProbabilityBlocks, stored: npt.NDArray[np.uint64], row: int
) -> tuple[Fault, str]:
    """Return what happened to one altered row, as far as its digest shows."""
    n, num_classes = len(probabilities), probabilities.num_classes
    own = read_rows(probabilities, np.array([row]))
    with_other_probs, with_other_ids = np.zeros(n, bool), np.zeros(n, bool)
    for positions, pred_probs in probabilities.blocks():
        same_id = np.full(len(positions), example_ids[row], object)
        with_other_probs[positions] = row_digests(same_id, pred_probs) == stored[row]
        same_row = np.broadcast_to(own, pred_probs.shape)
        with_other_ids[positions] = row_digests(example_ids[positions], same_row) == stored[row]
    for matches in (with_other_probs, with_other_ids):
        if matches.any():
            offset = abs(int(matches.argmax()) - row)
            return Fault.ROWS_SHIFTED, f"are shifted against their ids, the first by {offset:,} rows"
    first, second = np.triu_indices(min(num_classes, MAX_CLASSES_EXCHANGED), k=1)
    for start, stop in spans(len(first), num_classes):
        pairs = np.arange(stop - start)
        a, b = first[start:stop], second[start:stop]
        exchanged = np.repeat(own, len(pairs), axis=0)
        exchanged[pairs, a], exchanged[pairs, b] = own[0, b], own[0, a]
        matches = row_digests(np.full(len(pairs), example_ids[row], object), exchanged) == stored[row]
        if matches.any():
            pair = int(matches.argmax())
            return Fault.CLASSES_SWAPPED, f"have columns {a[pair]} and {b[pair]} (counted from 0) exchanged"
    return Fault.ROWS_ALTERED, "have changed since they were predicted: their digests differ"
