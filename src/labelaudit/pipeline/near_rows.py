"""The nearest rows of those that reviewers see, and the map of all rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from labelaudit.audits.version import Version
from labelaudit.pipeline.feature_space import SHOWN_NEIGHBOURS, FeatureSpace
from labelaudit.schemas import MAP, NEIGHBOURS_TABLE

# Rows on the map. A browser draws them quickly, and more would cover each other.
_MAPPED_ROWS = 100_000
_SEED = 0


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


def map_of(rows: Version, space: FeatureSpace) -> pa.Table:
    """Return the positions of the scored rows, or of a random sample of them: MAP."""
    place = space.map()
    chosen = np.arange(len(place))
    if len(place) > _MAPPED_ROWS:
        chosen = np.sort(np.random.default_rng(_SEED).choice(len(place), _MAPPED_ROWS, replace=False))
    ids = rows.of_scored(rows.examples.example_id)[chosen].arrow.cast(pa.string())
    return pa.table([ids, pa.array(place[chosen, 0]), pa.array(place[chosen, 1])], schema=MAP)
