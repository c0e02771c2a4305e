"""Which other label is suggested for a row: in cleaned labels, and in the dashboard."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.schemas import Decision, Status

# The columns of EXAMPLES, ISSUES and CONSENSUS that decide which label is suggested.
SUGGESTED_FROM = ("example_id", "given_label", "status", "predicted_label", "is_label_issue", "verdict")
ISSUES_NEEDED = ("example_id", "suggested_label")
CONSENSUS_NEEDED = ("example_id", "consensus_label")


def suggested_labels(examples: pa.Table, issues: pa.Table, consensus: pa.Table | None) -> pa.ChunkedArray:
    """Return the other label that is suggested for each of the N rows; null if there is none.

    It is that of ISSUES if the row is flagged. Otherwise it is the consensus of annotators and models, or without
    answers the prediction of the models, if that is not the given label.

    Args:
        examples: EXAMPLES, at least its columns SUGGESTED_FROM.
        issues: ISSUES, at least its columns ISSUES_NEEDED.
        consensus: CONSENSUS, at least its columns CONSENSUS_NEEDED; None without answers of annotators.
    """
    given, best = examples["given_label"], examples["predicted_label"]
    none = pa.scalar(None, pa.string())
    if consensus is not None:
        # A row that was to be removed has no consensus, although it may have answers.
        was_removed = pc.fill_null(pc.equal(examples["verdict"], Decision.REMOVE.value), False)
        # Other rows with the id of a scored one have no answers of their own.
        is_scored = pc.equal(examples["status"], Status.SCORED.value)
        agreed = pc.if_else(is_scored, _of_rows(consensus, "consensus_label", examples), none)
        best = pc.coalesce(agreed, pc.if_else(was_removed, none, best))
    differing = pc.if_else(pc.equal(best, given), none, best)
    flagged = pc.if_else(examples["is_label_issue"], _of_rows(issues, "suggested_label", examples), none)
    return pc.coalesce(flagged, differing)


def _of_rows(table: pa.Table, column: str, examples: pa.Table) -> pa.Array:
    """Return a column of a table of some rows for all N rows, found by their ids; null for the others."""
    place = pc.index_in(examples["example_id"], value_set=table["example_id"].combine_chunks())
    return table[column].combine_chunks().take(place.combine_chunks())
