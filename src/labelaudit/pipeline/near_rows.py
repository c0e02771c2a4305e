"""The nearest rows of those that reviewers see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from labelaudit.audits.version import Version
from labelaudit.pipeline.feature_space import SHOWN_NEIGHBOURS, FeatureSpace
from labelaudit.schemas import NEIGHBOURS_TABLE


def neighbours_of(rows: Version, space: FeatureSpace, example_ids: Sequence[str]) -> pa.Table:
    """Return the nearest other rows of some scored rows: NEIGHBOURS_TABLE."""
    ids = rows.of_scored(rows.examples.example_id)
    # Scored rows have different ids, in canonical order.
    scored = ids.find(example_ids)
    positions, distances = space.neighbours(scored)
    is_there = positions.ravel() >= 0
    row = np.repeat(np.arange(len(scored)), SHOWN_NEIGHBOURS)[is_there]
    columns = [
        ids[scored[row]].arrow.cast(pa.string()),
        pa.array(np.tile(np.arange(1, SHOWN_NEIGHBOURS + 1, dtype=np.int16), len(scored))[is_there]),
        ids[positions.ravel()[is_there]].arrow.cast(pa.string()),
        pa.array(distances.ravel()[is_there]),
    ]
    return pa.table(columns, schema=NEIGHBOURS_TABLE)
