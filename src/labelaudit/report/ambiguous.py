"""The examples on which training was most undecided: a list of its own, because they are not errors as such."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.codec import JsonObject

# Rows of the list. All spreads are in examples.parquet.
AMBIGUOUS_ROWS = 20
# A label that is probably right or probably wrong is not ambiguous, however long it took to learn.
_CLEARLY_RIGHT, _CLEARLY_WRONG = 0.1, 0.9


def ambiguous_examples(examples: pa.Table) -> list[JsonObject]:
    """Return the rows with the largest `dynamics_spread`, largest first (ties by id): id, labels and spread.

    Rows whose `p_wrong` is below 0.1 or above 0.9 are left out, and rows that a person has judged.

    Args:
        examples: an EXAMPLES table. If it has no dynamics, the list is empty.
    """
    is_unclear = pc.and_(
        pc.greater_equal(examples["p_wrong"], _CLEARLY_RIGHT), pc.less_equal(examples["p_wrong"], _CLEARLY_WRONG)
    )
    is_unjudged = pc.and_(pc.is_null(examples["verdict"]), pc.is_valid(examples["dynamics_spread"]))
    shown_columns = examples.select(["example_id", "given_label", "predicted_label", "dynamics_spread"])
    rows = shown_columns.filter(pc.fill_null(pc.and_(is_unclear, is_unjudged), False))
    rows = rows.sort_by([("dynamics_spread", "descending"), ("example_id", "ascending")])
    shown: list[JsonObject] = rows.slice(0, AMBIGUOUS_ROWS).to_pylist()
    return shown
