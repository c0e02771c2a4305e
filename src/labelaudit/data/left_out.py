"""What a scanned version leaves out: rows without a score and classes that cannot be trained."""

from __future__ import annotations

import numpy as np

from labelaudit.data.dataset import Examples
from labelaudit.findings import SHOWN_NAMES, LeftOut
from labelaudit.schemas import STATUS_MEANINGS, Status


def left_out_of_examples(examples: Examples) -> tuple[LeftOut, ...]:
    """Return the rows that are not scored, by status, and the classes without a scored row."""
    found = []
    for status in Status:
        rows = np.flatnonzero(examples.status == status.value)
        if status is not Status.SCORED and len(rows):
            names = tuple(examples.example_id[rows[:SHOWN_NAMES]])
            found.append(LeftOut("row", STATUS_MEANINGS[status], len(rows), names))
    trained = set(examples.class_names)
    others = [name for name in examples.all_class_counts() if name not in trained]
    if others:
        found.append(LeftOut("class", "it has fewer rows than folds", len(others), tuple(others[:SHOWN_NAMES])))
    return tuple(found)
