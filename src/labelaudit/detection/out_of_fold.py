"""Gathering of the folds' probabilities, with checks that they are out of fold and in order.

Out of fold means that every example has exactly one row per repeat, predicted by a model that was not trained on it.
Faults that would give a plausible but wrong table, such as a lost fold or a shifted row, are named errors here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from labelaudit.detection.agreement import Agreement, measure_agreement
from labelaudit.detection.fold_health import check_folds
from labelaudit.detection.joined_folds import JoinedFolds, PlacedRows
from labelaudit.detection.probability_blocks import RawBlocks
from labelaudit.detection.rows import (
    CheckedBlocks,
    Place,
    check_distributions,
    check_labels,
    find_alteration,
    id_hashes,
    sum_digest,
)
from labelaudit.errors import DatasetError, Fault, IntegrityError
from labelaudit.strings import Strings
from labelaudit.text import listing

_REMEDY = "Remove this fold's files and run the audit again. Only this fold is trained again."


@dataclass(frozen=True)
class FoldProbabilities:
    """The result of one fold, rows in the order of its file."""

    fold: int  # global number: repeat * folds + the fold within the repeat
    repeat: int
    example_ids: Strings  # n
    raw: RawBlocks  # (n, K), columns in the order of class_names
    class_names: tuple[str, ...]
    row_digests: npt.NDArray[np.uint64] | None = None  # (n,) from `row_digests`, None: unknown
    trained_on: str | None = None  # `ids_digest` of the training rows, None: unknown


@dataclass(frozen=True)
class FoldHealth:
    """The measures of one fold in the report."""

    fold: int
    repeat: int
    examples: int
    agreement: float  # share of rows whose predicted label is the given one, 0..1
    mean_p_given: float
    z: float  # agreement above chance, in standard deviations


@dataclass(frozen=True)
class OutOfFold:
    """Checked out-of-fold probabilities of M examples."""

    probabilities: JoinedFolds  # M rows of K classes, the mean over repeats
    folds: tuple[FoldHealth, ...]  # in the order of fold numbers
    notes: tuple[str, ...]  # sentences on what was corrected or is suspicious


def gather_folds(
    parts: Sequence[FoldProbabilities],
    *,
    example_ids: Strings,
    labels: npt.NDArray[np.int64],
    fold_of: npt.NDArray[np.integer],
    class_names: Sequence[str],
) -> OutOfFold:
    """Join the folds' probabilities by example id, and check that they are out of fold and in order.

    Args:
        parts: one per fold, in any order.
        example_ids: M unique strings, the scored examples.
        labels: (M,) int64 in 0..K-1, their given labels.
        fold_of: (R, M), the global number of the fold that holds out an example, in each of R repeats.
        class_names: K names, in the order of the columns.

    Returns:
        M rows of K classes, whose positions are those of `example_ids`, measures per fold, and notes.

    Raises:
        IntegrityError: any fault in `labelaudit.errors.Fault`.
        DatasetError: labels and ids do not match, or a label is not a class.
    """
    labels, fold_of = np.asarray(labels), np.atleast_2d(fold_of)
    check_labels(example_ids, labels, num_classes=len(class_names))
    by_fold = _one_part_per_fold(parts, fold_of)
    for part in by_fold.values():
        _check_class_names(part, tuple(class_names))
    positions = _join(by_fold, example_ids, fold_of)
    _check_training_rows(by_fold, example_ids, fold_of)
    checked: list[PlacedRows] = []
    measures: dict[int, Agreement] = {}
    notes: list[str] = []
    alterations: list[IntegrityError] = []
    for fold, part in by_fold.items():
        place = Place(fold, _REMEDY)
        probabilities, note = check_distributions(part.example_ids, part.raw, len(class_names), place)
        notes += [note] if note else []
        alterations += _alterations(part, place)
        measures[fold] = measure_agreement(labels[positions[fold]], probabilities)
        checked.append(PlacedRows(probabilities, positions[fold]))
    places = {fold: Place(fold, _REMEDY) for fold in by_fold}
    notes += check_folds(measures, places, class_names, repeats=len(fold_of))
    for alteration in alterations:  # only faults that no other check has named
        raise alteration
    folds = tuple(_health(part, measures[fold]) for fold, part in by_fold.items())
    return OutOfFold(JoinedFolds(tuple(checked), len(example_ids), len(fold_of)), folds, tuple(notes))


def _alterations(part: FoldProbabilities, place: Place) -> list[IntegrityError]:
    if part.row_digests is None:
        return []
    # As stored: rows whose rounding errors were removed have other digests.
    found = find_alteration(part.example_ids, CheckedBlocks(part.raw, None), part.row_digests, place)
    if found is not None and found.fault != Fault.ROWS_ALTERED:
        raise found
    return [] if found is None else [found]


def _one_part_per_fold(
    parts: Sequence[FoldProbabilities], fold_of: npt.NDArray[np.integer]
) -> dict[int, FoldProbabilities]:
    repeat_of = {int(fold): repeat for repeat, row in enumerate(fold_of) for fold in np.unique(row)}
    by_fold: dict[int, FoldProbabilities] = {}
    for part in parts:
        place = Place(part.fold, _REMEDY)
        if part.fold in by_fold:
            raise place.fault(
                Fault.ROWS_DOUBLED,
                f"this fold has two results, the second one with {len(part.example_ids):,} rows",
                rows=len(part.example_ids),
                example_ids=part.example_ids,
            )
        if repeat_of.get(part.fold) != part.repeat:
            raise place.fault(
                Fault.ROWS_UNKNOWN,
                f"repeat {part.repeat} does not have this fold (folds of this audit: {_ranges(repeat_of)})",
                rows=len(part.example_ids),
                example_ids=part.example_ids,
            )
        by_fold[part.fold] = part
    for fold, repeat in repeat_of.items():
        if fold not in by_fold:
            raise Place(fold, _REMEDY).fault(
                Fault.ROWS_MISSING,
                f"all {int((fold_of[repeat] == fold).sum()):,} rows of this fold are missing",
                rows=int((fold_of[repeat] == fold).sum()),
            )
    return dict(sorted(by_fold.items()))


def _ranges(folds: dict[int, int]) -> str:
    return f"{min(folds)} to {max(folds)}" if len(folds) > 1 else str(min(folds))


def _check_class_names(part: FoldProbabilities, class_names: tuple[str, ...]) -> None:
    if tuple(part.class_names) == class_names:
        return
    pairs = [(a, b) for a, b in zip(part.class_names, class_names, strict=False) if a != b]
    first = f"; the first difference is {pairs[0][0]!r} instead of {pairs[0][1]!r}" if pairs else ""
    raise Place(part.fold, _REMEDY).fault(
        Fault.CLASS_ORDER,
        f"the columns are {len(part.class_names)} classes with other names or in another order than the "
        f"{len(class_names)} of the dataset{first}",
        rows=len(part.example_ids),
    )


def _join(
    by_fold: dict[int, FoldProbabilities],
    example_ids: Strings,
    fold_of: npt.NDArray[np.integer],
) -> dict[int, npt.NDArray[np.intp]]:
    """Return the positions of each fold's rows in `example_ids`, and check that they are the planned rows."""
    order = example_ids.order()
    is_doubled = example_ids.repeats(order)
    if is_doubled.any():
        doubled = example_ids[np.sort(order[is_doubled])]
        raise DatasetError(
            f"{len(doubled):,} example ids are not unique (first: {doubled[0]}). Give each row an id of its own."
        )
    positions = {fold: example_ids.positions_of(part.example_ids) for fold, part in by_fold.items()}
    for fold, part in by_fold.items():
        _check_partition(part, positions, fold_of[part.repeat], Place(fold, _REMEDY), example_ids)
    return positions


def _check_partition(
    part: FoldProbabilities,
    positions: dict[int, npt.NDArray[np.intp]],
    fold_of: npt.NDArray[np.integer],
    place: Place,
    example_ids: Strings,
) -> None:
    own = positions[part.fold]
    is_known = own >= 0
    is_foreign = is_known & (fold_of[own] != part.fold)
    held_out_by = fold_of[own[is_foreign]]
    also_there = np.zeros(len(own), bool)
    for fold in np.unique(held_out_by):
        also_there |= is_foreign & (fold_of[own] == fold) & np.isin(own, positions[int(fold)])
    is_missing = fold_of == part.fold
    is_missing[own[is_known]] = False
    planned = int((fold_of == part.fold).sum())
    for fault, ids, what in (
        (Fault.ROWS_UNKNOWN, part.example_ids[~is_known], "have ids that are not in the dataset"),
        (Fault.ROWS_DOUBLED, part.example_ids[pd.Index(own).duplicated()], "repeat an id of this fold"),
        (Fault.ROWS_DOUBLED, part.example_ids[also_there], f"are also rows of fold {_some(held_out_by)}"),
        (
            Fault.SEEN_IN_TRAINING,
            part.example_ids[is_foreign],
            f"are held out by fold {_some(held_out_by)}, so this fold's model was trained on them",
        ),
        (Fault.ROWS_MISSING, example_ids[is_missing], f"of the {planned:,} held out have no probabilities"),
    ):
        if len(ids):
            raise place.fault(fault, f"{len(ids):,} rows {what}", rows=len(ids), example_ids=ids)


def _some(folds: npt.NDArray[np.integer]) -> str:
    return listing(np.unique(folds))


def _check_training_rows(
    by_fold: dict[int, FoldProbabilities],
    example_ids: Strings,
    fold_of: npt.NDArray[np.integer],
) -> None:
    if all(part.trained_on is None for part in by_fold.values()):
        return
    hashes = id_hashes(example_ids)
    for fold, part in by_fold.items():
        is_held_out = fold_of[part.repeat] == fold
        if part.trained_on not in (None, sum_digest(hashes[~is_held_out])):
            raise Place(fold, _REMEDY).fault(
                Fault.SEEN_IN_TRAINING,
                f"its model was not trained on the {int((~is_held_out).sum()):,} rows outside this fold, so held-out "
                "rows may be among its training rows",
                rows=int(is_held_out.sum()),
            )


def _health(part: FoldProbabilities, measured: Agreement) -> FoldHealth:
    return FoldHealth(
        fold=part.fold,
        repeat=part.repeat,
        examples=measured.examples,
        agreement=measured.share,
        mean_p_given=measured.mean_p_given,
        z=measured.z,
    )
