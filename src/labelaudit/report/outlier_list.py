"""The table of outliers, its counts, and what it says in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.findings import Outliers
from labelaudit.schemas import OUTLIERS, Decision


def outliers_table(
    examples: pa.Table, rows: np.ndarray, near_class: np.ndarray, class_names: Sequence[str]
) -> pa.Table:
    """Return the rows that are unlike all others: OUTLIERS.

    Args:
        examples: EXAMPLES, with scores of outliers.
        rows: (n,) int64, positions of the outliers.
        near_class: (n,) int64, the number of the class of most of their neighbours.
        class_names: all names.
    """
    chosen = examples.select([name for name in OUTLIERS.names if name not in ("rank", "nearest_label")])
    chosen = chosen.take(pa.array(rows, pa.int64()))
    names = np.asarray(class_names, dtype=object)[near_class]
    chosen = chosen.append_column("nearest_label", pa.array(names, pa.string()))
    chosen = chosen.sort_by([("outlier_score", "descending"), ("example_id", "ascending")])
    chosen = chosen.append_column("rank", pa.array(np.arange(1, len(chosen) + 1)))
    return chosen.select(OUTLIERS.names).cast(OUTLIERS)


def outliers_found(table: pa.Table, cut: float) -> Outliers:
    """Return the counts of an OUTLIERS table, whose rows have scores above the cut."""
    removed = pc.sum(pc.equal(table["verdict"], Decision.REMOVE.value)).as_py() or 0
    return Outliers(len(table) - removed, table["verdict"].null_count, cut if math.isfinite(cut) else None)


def outliers_in_words(found: Outliers) -> tuple[str, ...]:
    """Return a sentence on outliers; none if there are none."""
    if not found.rows:
        return ()
    rows = "1 row is unlike all others" if found.rows == 1 else f"{found.rows:,} rows are unlike all others"
    decided = found.rows - found.undecided
    reviewed = f" {decided:,} of them {'was' if decided == 1 else 'were'} reviewed." if decided else ""
    return (f"{rows}; see outliers.parquet. About one is expected by chance.{reviewed}",)
