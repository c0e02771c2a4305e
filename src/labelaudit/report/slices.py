"""The table of slices, its summary, what changed since another audit, and all of this in words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.schemas import SLICES, SliceState
from labelaudit.shares import interval, ratio_in_words, slice_name, times
from labelaudit.slice_findings import SliceChange, SliceChanges, SliceRatio, Slices

# The largest false discovery rate of the values that are called worse.
SIGNIFICANT = 0.05
# Values in the summary, and changes of each kind.
WORST = 10
# Values in the notes of an audit, and changes of each kind.
_IN_WORDS = 3
_RATIO_COLUMNS = ("column", "value", "scored", "share", "ratio", "low", "high", "flag_ratio")


def slices_table(measured: Sequence[pd.DataFrame], q_values: np.ndarray) -> pa.Table:
    """Return SLICES from the rows of all columns.

    Args:
        measured: for each column, a frame with the columns of SLICES except `q_value` and `is_worse`.
        q_values: (V,) of the values of all columns, one column after the other; NaN if a value is not tested.
    """
    frame = pd.concat(measured, ignore_index=True).assign(q_value=q_values)
    frame["is_worse"] = (frame["q_value"] <= SIGNIFICANT) & (frame["low"] > 1)
    frame["is_tested"] = frame["p_value"].notna()
    order = ["is_worse", "is_tested", "low", "column", "value"]
    frame = frame.sort_values(order, ascending=[False, False, False, True, True], kind="stable", na_position="last")
    table = pa.Table.from_pandas(frame[SLICES.names], SLICES, preserve_index=False)
    return table.replace_schema_metadata(SLICES.metadata)


def slices_found(table: pa.Table) -> Slices:
    """Return the summary of SLICES."""
    counts = {row["values"]: row["counts"] for row in pc.value_counts(table["column"]).to_pylist()}
    worse = table.filter(table["is_worse"])
    return Slices(
        values=dict(sorted(counts.items())),
        tested=len(table) - table["p_value"].null_count,
        worse=len(worse),
        worst=slice_ratios(worse.slice(0, WORST)),
    )


def slice_ratios(table: pa.Table) -> tuple[SliceRatio, ...]:
    """Return rows of SLICES as values."""
    return tuple(SliceRatio(**row) for row in table.select(_RATIO_COLUMNS).to_pylist())


def slices_in_words(found: Slices) -> tuple[str, ...]:
    """Return sentences for the notes of an audit: the worst values, or that none is worse."""
    if not found.worse:
        columns = ", ".join(found.values)
        return (f"Slices: no value of {columns} has more wrong labels than the others, beyond chance.",)
    shown = found.worst[:_IN_WORDS]
    more = found.worse - len(shown)
    are = "1 more value has" if more == 1 else f"{more:,} more values have"
    others = (f"Slices: {are} more wrong labels than the others; see slices.parquet.",) if more else ()
    return (*(f"Slice {ratio_in_words(one)}." for one in shown), *others)


def slice_changes(before: pa.Table | None, now: pa.Table | None) -> SliceChanges | None:
    """Return what changed between two SLICES tables; None if they have no common column.

    A value is worse than before if it is worse than the others now and was not, or if the whole interval of its ratio
    is above the earlier one. A new value counts only if it is worse than the others.
    """
    if before is None or now is None:
        return None
    common = set(before["column"].to_pylist()) & set(now["column"].to_pylist())
    if not common:
        return None
    wanted = pa.array(sorted(common))
    frames = [table.filter(pc.is_in(table["column"], wanted)).to_pandas() for table in (before, now)]
    both = frames[0].merge(frames[1], on=["column", "value"], how="outer", suffixes=("_before", ""))
    both["state"] = _states(both)
    changed = both[both["state"] != ""]
    counts = {str(state): int((changed["state"] == state).sum()) for state in SliceState}
    # The most conspicuous of each kind first.
    order = changed["low"].fillna(changed["low_before"]).fillna(-1.0)
    ordered = changed.assign(order=-order).sort_values(["order", "column", "value"], kind="stable")
    listed = [change for state in SliceState for change in _listed(ordered[ordered["state"] == state], state)]
    return SliceChanges(counts, tuple(listed))


def _states(both: pd.DataFrame) -> np.ndarray:
    """Return for each value a `SliceState`, or an empty text if it did not change."""
    is_new, is_gone = both["rows_before"].isna(), both["rows"].isna()
    was_worse, is_worse = (both[name].eq(True) for name in ("is_worse_before", "is_worse"))
    rose, fell = both["low"] > both["high_before"], both["high"] < both["low_before"]
    states = np.select(
        [is_gone, is_new & is_worse, is_new, is_worse & (~was_worse | rose), was_worse & (~is_worse | fell)],
        [SliceState.GONE, SliceState.NEW, "", SliceState.WORSE, SliceState.BETTER],
        default="",
    )
    return np.asarray(states, dtype=object)


def _listed(changed: pd.DataFrame, state: SliceState) -> list[SliceChange]:
    first = changed.iloc[:WORST]
    return [
        SliceChange(
            str(state),
            None if state == SliceState.NEW else _ratio(row, "_before"),
            None if state == SliceState.GONE else _ratio(row, ""),
        )
        for _, row in first.iterrows()
    ]


def _ratio(row: pd.Series, suffix: str) -> SliceRatio:
    def number(name: str) -> float | None:
        value = row[f"{name}{suffix}"]
        return None if pd.isna(value) else float(value)

    return SliceRatio(
        column=str(row["column"]),
        value=str(row["value"]),
        scored=int(row[f"scored{suffix}"]),
        share=number("share"),
        ratio=number("ratio"),
        low=number("low"),
        high=number("high"),
        flag_ratio=number("flag_ratio"),
    )


def slice_changes_in_words(changes: SliceChanges | None, version: str) -> list[str]:
    """Return sentences for the notes of an audit; none if nothing changed."""
    if changes is None:
        return []
    return [
        sentence
        for state, listed in groupby(changes.listed, key=lambda change: change.change)
        for sentence in _changes_of(SliceState(state), list(listed), changes.counts[state], version)
    ]


def _changes_of(state: SliceState, listed: list[SliceChange], count: int, version: str) -> list[str]:
    shown = "; ".join(map(change_in_words, listed[:_IN_WORDS]))
    more = f"; and {count - _IN_WORDS:,} more" if count > _IN_WORDS else ""
    return [f"Slices {_HEADINGS[state].format(version=version)}: {shown}{more}."]


_HEADINGS = {
    SliceState.WORSE: "with more wrong labels than in version {version}, compared with the others",
    SliceState.BETTER: "with fewer wrong labels than in version {version}, compared with the others",
    SliceState.NEW: "that are not in version {version} and have more wrong labels than the others",
    SliceState.GONE: "of version {version} without rows now",
}


def change_in_words(change: SliceChange) -> str:
    """Return text such as `batch b7: 4.1 times (3.0 to 5.4), before 1.1 (0.8 to 1.5)`."""
    one = change.now or change.before
    assert one is not None
    now = "" if change.now is None else f": {times(change.now.ratio)} times ({interval(change.now)})"
    if change.before is None or change.now is None:
        return f"{slice_name(one)}{now}"
    return f"{slice_name(one)}{now}, before {times(change.before.ratio)} ({interval(change.before)})"
