"""Checks of probabilities that were made elsewhere, without known folds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from labelaudit.detection.agreement import measure_agreement
from labelaudit.detection.fold_health import check_whole
from labelaudit.detection.probability_blocks import ProbabilityBlocks, RawBlocks
from labelaudit.detection.rows import Place, check_distributions, check_labels
from labelaudit.errors import Fault
from labelaudit.strings import Strings

_REMEDY = "Correct the file of probabilities and run the command again."


def check_external(
    example_ids: Strings,
    labels: npt.NDArray[np.int64],
    raw: RawBlocks,
    class_names: Sequence[str],
) -> tuple[ProbabilityBlocks, tuple[str, ...]]:
    """Check probabilities without folds: row by row, and all of them against chance.

    This detects exchanged columns of classes with about a hundred rows, a shift by one row, and rows of another
    dataset. That rows were seen in training is only a suspicion, and becomes a note.

    Args:
        example_ids: M strings.
        labels: (M,) int64 in 0..K-1.
        raw: (M, K) of any float dtype, columns in the order of `class_names`.
        class_names: K names.

    Returns:
        probabilities: M rows of K classes, rows sum to 1.
        notes: sentences on normalised rows and on an agreement that is too good or too weak.

    Raises:
        IntegrityError: rows-doubled, rows-missing, rows-unknown, class-order, not-finite, all-zero,
            not-a-distribution, rows-shifted, classes-swapped, misordered or learned-nothing.
        DatasetError: a label is out of range, or there are fewer than two classes.
    """
    place = Place(None, _REMEDY)
    labels = np.asarray(labels)
    check_labels(example_ids, labels, num_classes=len(class_names))
    order = example_ids.order()
    is_doubled = example_ids.repeats(order)
    if is_doubled.any():
        count = int(is_doubled.sum())
        raise place.fault(
            Fault.ROWS_DOUBLED,
            f"{count:,} rows repeat the id of another row",
            rows=count,
            example_ids=example_ids[np.sort(order[is_doubled])],
        )
    checked, note = check_distributions(example_ids, raw, len(class_names), place)
    notes = check_whole(measure_agreement(labels, checked), place, class_names)
    return checked, (note, *notes) if note else notes
