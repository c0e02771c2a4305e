"""Slices on the page: the worst ones in sentences, and a table with their ratios."""

from __future__ import annotations

import math

import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.audit_changes import Changes
from labelaudit.codec import JsonObject
from labelaudit.report.html import Context
from labelaudit.report.slices import slice_ratios
from labelaudit.schemas import SliceState
from labelaudit.shares import ratio_in_words, times
from labelaudit.slice_findings import SliceChange

# Sentences, rows of the table, and rows if fewer values are worse than the others.
_SENTENCES = 5
_ROWS = 30
_FEWEST_ROWS = 10
# The bars of ratios show 1/8 to 8 times, on a logarithmic scale.
_LARGEST = 8.0


def slices_context(table: pa.Table | None, changes: Changes | None) -> Context:
    """Return what the page says about slices. `table` is SLICES; None if the config names none."""
    if table is None:
        return {"slices": None}
    worse = table.filter(table["is_worse"])
    shown = table.slice(0, min(_ROWS, max(_FEWEST_ROWS, len(worse))))
    listed = () if changes is None or changes.slices is None else changes.slices.listed
    found = {_key(change): change for change in listed}
    rows = [_row(row, found.get((row["column"], row["value"]))) for row in shown.to_pylist()]
    return {
        "slices": {
            "sentences": [ratio_in_words(one) for one in slice_ratios(worse.slice(0, _SENTENCES))],
            "worse": len(worse),
            "rows": rows,
            "total": len(table),
            "untested": table["p_value"].null_count,
            "scale": pc.max(shown["share"]).as_py() or 0.0,
        }
    }


def _key(change: SliceChange) -> tuple[str, str]:
    one = change.now or change.before
    return ("", "") if one is None else (one.column, one.value)


def _row(row: JsonObject, change: SliceChange | None) -> Context:
    low, ratio, high = (row[name] for name in ("low", "ratio", "high"))
    bar: Context | None = None
    if isinstance(low, float) and isinstance(ratio, float) and isinstance(high, float):
        start, end = _place(low), _place(high)
        bar = {"start": start, "width": round(end - start, 1), "at": _place(ratio)}
    return {
        **row,
        "bar": bar,
        "times": times(ratio if isinstance(ratio, float) else None),
        "interval": f"{times(low)} to {times(high)}" if isinstance(low, float) and isinstance(high, float) else "",
        "changed": "" if change is None else _changed(change),
    }


def _changed(change: SliceChange) -> str:
    """Return how a value changed, such as `better, before 3.1`. A worse one has another mark already."""
    if change.before is None:
        return change.change
    before = f"before {times(change.before.ratio)}"
    return before if change.change == SliceState.WORSE else f"{change.change}, {before}"


def _place(ratio: float) -> float:
    """Return the place of a ratio on the scale, in percent of its length."""
    bounded = min(max(ratio, 1 / _LARGEST), _LARGEST)
    return round(50 + 50 * math.log(bounded) / math.log(_LARGEST), 1)
