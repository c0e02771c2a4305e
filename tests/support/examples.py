"""EXAMPLES tables from plain columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from labelaudit.report.audit_tables import Scores, examples_table


def make_examples(
    *,
    example_ids: Sequence[str | None],
    given_labels: Sequence[str | None],
    status: Sequence[str],
    files: Sequence[str],
    rows: Sequence[int],
    digests: Sequence[str | None],
    fold: np.ndarray,
    verdicts: Sequence[str | None] | None = None,
    right_labels: Sequence[str | None] | None = None,
    **scores: Any,
) -> pa.Table:
    """Return the table of N rows; `scores` are the fields of `Scores`. p_wrong is 1 - label_score by default."""
    columns = [*map(pa.array, map(list, (example_ids, given_labels, status, files, digests)))]
    names = ["example_id", "given_label", "status", "file", "content_digest"]
    table = pa.table([*columns, pa.array(np.asarray(rows))], names=[*names, "row"])
    table = table.append_column("split", pa.nulls(table.num_rows, pa.string()))
    scores.setdefault("p_wrong", 1 - np.asarray(scores["label_score"]))
    return examples_table(table, Scores(**scores), fold=fold, verdicts=verdicts, right_labels=right_labels)
