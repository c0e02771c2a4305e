"""Compare the slices of an audit: from the values of its rows and what detection found, to the table SLICES."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from labelaudit.audits.version import Version
from labelaudit.data.slice_values import SliceValues
from labelaudit.detection.issues import LabelIssues
from labelaudit.detection.slice_ratios import Ratios, adjusted_p_values, measure_slices
from labelaudit.report.slices import slices_found, slices_table
from labelaudit.slice_findings import Slices


def compare_slices(rows: Version, found: LabelIssues, stays: np.ndarray) -> tuple[pa.Table, Slices] | None:
    """Return SLICES and its summary; None if the config names no slices.

    Args:
        stays: (M,) bool, scored rows that count (`KnownRows.stays`).
    """
    slices = rows.examples.slices
    if not slices:
        return None
    label, group = rows.of_scored(rows.examples.label), _groups(rows)
    frames = [_measured(name, values, rows, label, found, group, stays) for name, values in slices.items()]
    q_values = adjusted_p_values(np.concatenate([frame["p_value"].to_numpy() for frame in frames]))
    table = slices_table(frames, q_values)
    return table, slices_found(table)


def _groups(rows: Version) -> np.ndarray | None:
    """Return a number for each scored row that rows of a group, or copies of each other, share; None without groups."""
    group, cluster = rows.examples.group, rows.examples.cluster
    if not pa.types.is_null(group.arrow.type):
        # Groups contain copies too (`kept_together`).
        return rows.of_scored(group).numbers()
    if not (cluster >= 0).any():
        return None
    # A cluster is named by the position of one of its rows.
    return rows.of_scored(np.where(cluster >= 0, cluster, np.arange(len(cluster))))


def _measured(
    name: str,
    values: SliceValues,
    rows: Version,
    label: np.ndarray,
    found: LabelIssues,
    group: np.ndarray | None,
    stays: np.ndarray,
) -> pd.DataFrame:
    """Return the columns of SLICES that are known before all columns are compared."""
    count = len(values.names)
    code = rows.of_scored(values.code)
    group = None if group is None else group[stays]
    measures = measure_slices(
        code[stays], count, label[stays], found.p_wrong[stays], found.is_label_issue[stays], group
    )
    scored = measures.scored
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(scored > 0, measures.expected_wrong / scored, np.nan)
    return pd.DataFrame(
        {
            "column": name,
            "value": list(values.names),
            "rows": np.bincount(values.code, minlength=count),
            "scored": scored,
            "flagged": measures.flagged,
            "expected_wrong": measures.expected_wrong,
            "share": share,
            **_named("", measures.ratio),
            **_named("plain_", measures.plain_ratio),
            **_named("flag_", measures.flag_ratio),
            "p_value": measures.p_value,
        }
    )


def _named(prefix: str, ratios: Ratios) -> dict[str, np.ndarray]:
    return {f"{prefix}{name}": values for name, values in vars(ratios).items()}
