"""Comparison of two audits of a dataset, row by row: what changed in the flags and in the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.audit_changes import ClassDifferences, LabelPair, StatusCount
from labelaudit.detection.class_shares import compare_classes, labeled_rows
from labelaudit.schemas import CHANGES, CLASS_CHANGES, DataChange, Decision, IssueChange, Status

_BoolArray = npt.NDArray[np.bool_]
_IntArray = npt.NDArray[np.int64]

# The columns of EXAMPLES that a comparison needs.
COMPARED = ("example_id", "given_label", "status", "label_score", "is_label_issue", "content_digest", "verdict")
CONTENT_UNKNOWN = (
    "One of the two audits has probabilities but no content, so rows with the same id count as the same row."
)


@dataclass(frozen=True)
class Comparison:
    """What changed from one audit to another."""

    changes: pa.Table  # CHANGES
    class_changes: pa.Table  # CLASS_CHANGES
    issues: dict[str, int]  # number of rows by `IssueChange`, zeros included
    data: dict[str, int]  # number of rows by `DataChange`, zeros included
    statuses: tuple[StatusCount, ...]  # only statuses whose number of rows differs
    other_status: int  # rows in both audits whose status differs
    notes: tuple[str, ...]  # sentences for people
    classes: ClassDifferences


def compare_audits(
    before: pa.Table,
    now: pa.Table,
    *,
    classes_before: pa.Table,
    classes: pa.Table,
    class_order: Sequence[str],
) -> Comparison:
    """Compare two audits by `example_id`, and by content if an id is in only one of them.

    If several rows have the same id, the scored one counts, or the first one if none is scored. Two contents are the
    same if their digests are equal or if one digest is missing.

    If an id is only in `before` and another is only in `now`, they are the same row under a new id, provided that both
    have the same digest and that no other row of either table has it. So an image that moved to the folder of another
    class is relabeled. It is unknown which of several copies moved, so copies count as removed and added.

    Every row that is or was flagged has exactly one `IssueChange`:

    - Flagged in both: persistent.
    - Flagged only now: flapping if the row was scored before with the same content and label, even if it was judged
      `fine` then; otherwise new.
    - Flagged only before: gone if the row is missing, has other content or is not scored now; otherwise fixed if its
      label changed; otherwise dismissed if it is judged `fine` or `remove` now; otherwise flapping.

    Args:
        before: EXAMPLES, or at least its columns COMPARED. Rows may be in any order.
        now: The same of the later audit.
        classes_before: CLASSES.
        classes: CLASSES of the later audit.
        class_order: All classes of both audits in class order.
    """
    rows_before, rows_now = _joined_by_content(before, now, *_joined_by_id(before, now))
    old, new = _Side.of(before, rows_before), _Side.of(now, rows_now)
    same_content = _same(old.columns["content_digest"], new.columns["content_digest"], nulls_differ=False)
    same_label = _same(old.columns["given_label"], new.columns["given_label"], nulls_differ=True)
    data_change = _chosen(
        (~old.exists, DataChange.ADDED),
        (~new.exists, DataChange.REMOVED),
        (~same_content, DataChange.REPLACED),
        (~same_label, DataChange.RELABELED),
    )
    issue_change = _issue_changes(old, new, same_content, same_label)
    same_status = _same(old.columns["status"], new.columns["status"], nulls_differ=True)
    has_other_status = old.exists & new.exists & ~same_status
    changed = np.flatnonzero((issue_change != None) | (data_change != None) | has_other_status)  # noqa: E711, elementwise
    columns = {
        "issue_change": pa.array(issue_change[changed], pa.string()),
        "data_change": pa.array(data_change[changed], pa.string()),
        **{f"{name}_before": old.columns[name].take(pa.array(changed)) for name in COMPARED},
        **{name: new.columns[name].take(pa.array(changed)) for name in COMPARED},
    }
    columns["example_id"] = pc.coalesce(columns["example_id"], columns["example_id_before"])
    changes = pa.table({name: columns[name] for name in CHANGES.names}).cast(CHANGES).sort_by("example_id")
    return Comparison(
        changes=changes,
        class_changes=_class_changes(classes_before, classes, class_order),
        issues=_counts(issue_change, IssueChange),
        data=_counts(data_change, DataChange),
        statuses=_status_counts(before, now),
        other_status=int(has_other_status.sum()),
        notes=(CONTENT_UNKNOWN,) if _has_content(before) != _has_content(now) else (),
        classes=compare_classes(labeled_rows(classes_before), labeled_rows(classes)),
    )


def relabeled_pairs(changes: pa.Table) -> list[LabelPair]:
    """Return the old and the new label of the relabeled rows of a CHANGES table, the most frequent pair first."""
    relabeled = changes.filter(pc.equal(changes["data_change"], DataChange.RELABELED.value))
    sides = ["given_label_before", "given_label"]
    counts = relabeled.group_by(sides).aggregate([([], "count_all")]).to_pylist()
    pairs = [LabelPair(row[sides[0]], row[sides[1]], row["count_all"]) for row in counts]
    return sorted(pairs, key=lambda pair: (-pair.examples, pair.given_label_before or "", pair.given_label or ""))


@dataclass(frozen=True)
class _Side:
    """One of the two audits, aligned to the M rows of both together. Values of missing rows are null."""

    exists: _BoolArray
    scored: _BoolArray
    flagged: _BoolArray
    dismissed: _BoolArray  # judged fine or to be removed
    columns: dict[str, pa.Array]

    @classmethod
    def of(cls, examples: pa.Table, rows: _IntArray) -> _Side:
        exists = rows >= 0
        positions = pa.array(rows, mask=~exists)
        columns = {name: _whole(examples[name]).take(positions) for name in COMPARED}
        return cls(
            exists=exists,
            scored=_is_true(pc.equal(columns["status"], Status.SCORED.value)),
            flagged=_is_true(columns["is_label_issue"]),
            dismissed=_is_true(pc.is_in(columns["verdict"], pa.array([Decision.FINE, Decision.REMOVE], pa.string()))),
            columns=columns,
        )


def _issue_changes(old: _Side, new: _Side, same_content: _BoolArray, same_label: _BoolArray) -> npt.NDArray[np.object_]:
    same = old.exists & new.exists & same_content & same_label & old.scored & new.scored
    appeared, vanished = new.flagged & ~old.flagged, old.flagged & ~new.flagged
    return _chosen(
        (old.flagged & new.flagged, IssueChange.PERSISTENT),
        (appeared & ~same, IssueChange.NEW),
        (vanished & ~(new.exists & same_content & new.scored), IssueChange.GONE),
        (vanished & ~same_label, IssueChange.FIXED),
        (vanished & new.dismissed, IssueChange.DISMISSED),
        (appeared | vanished, IssueChange.FLAPPING),
    )


def _joined_by_id(before: pa.Table, now: pa.Table) -> tuple[_IntArray, _IntArray]:
    """Return the row of each of the M ids in both tables, or -1 if it is missing."""
    codes_before, codes_now, ids = _codes(before, now, "example_id")
    return _row_of_ids(before, codes_before, ids), _row_of_ids(now, codes_now, ids)


def _joined_by_content(
    before: pa.Table, now: pa.Table, rows_before: _IntArray, rows_now: _IntArray
) -> tuple[_IntArray, _IntArray]:
    """Join rows whose id is in only one table if their content is exactly once in each table."""
    only_before, only_now = np.flatnonzero(rows_now < 0), np.flatnonzero(rows_before < 0)
    if not len(only_before) or not len(only_now):
        return rows_before, rows_now
    codes_before, codes_now, digests = _codes(before, now, "content_digest")
    is_unique = _is_once(codes_before, digests) & _is_once(codes_now, digests)
    position_of = np.full(digests + 1, -1, dtype=np.int64)
    position_of[codes_before[rows_before[only_before]]] = only_before
    position_of[~is_unique] = -1
    positions = position_of[codes_now[rows_now[only_now]]]
    moved = only_now[positions >= 0]
    joined = rows_now.copy()
    joined[positions[positions >= 0]] = rows_now[moved]
    return np.delete(rows_before, moved), np.delete(joined, moved)


def _codes(before: pa.Table, now: pa.Table, column: str) -> tuple[_IntArray, _IntArray, int]:
    """Return the values of a column in both tables as codes from 0, and their number, which is the code of a null."""
    values = pa.concat_arrays([_whole(table[column]).cast(pa.large_string()) for table in (before, now)])
    encoded = values.dictionary_encode()
    count = len(encoded.dictionary)
    codes = pc.fill_null(encoded.indices.cast(pa.int64()), count).to_numpy()
    return codes[: len(before)], codes[len(before) :], count


def _is_once(codes: _IntArray, count: int) -> _BoolArray:
    """Return (count + 1,) whether a code occurs exactly once. The code of a null never does."""
    found: _BoolArray = np.bincount(codes, minlength=count + 1) == 1
    found[count] = False
    return found


def _row_of_ids(examples: pa.Table, codes: _IntArray, ids: int) -> _IntArray:
    """Return (ids,) the row that represents each id: the scored one, else the first; -1 if there is none."""
    rows = np.arange(len(codes))
    scored = _is_true(pc.equal(_whole(examples["status"]), Status.SCORED.value))
    found = np.full(ids, -1, dtype=np.int64)
    # Later assignments replace earlier ones.
    found[codes[::-1]] = rows[::-1]
    found[codes[scored][::-1]] = rows[scored][::-1]
    return found


def _chosen(*cases: tuple[_BoolArray, StrEnum]) -> npt.NDArray[np.object_]:
    """Return for each row the value of the first condition that is true, or None."""
    chosen = np.full(len(cases[0][0]), None, dtype=object)
    for is_true, value in reversed(cases):
        chosen[is_true] = value.value
    return chosen


def _same(first: pa.Array, second: pa.Array, *, nulls_differ: bool) -> _BoolArray:
    """Return whether values are equal. Two nulls are equal; one null differs only with `nulls_differ`."""
    one_null = pc.xor(pc.is_null(first), pc.is_null(second))
    equal = pc.fill_null(pc.equal(first, second), True)
    return _is_true(pc.and_not(equal, one_null) if nulls_differ else equal)


def _class_changes(before: pa.Table, now: pa.Table, class_order: Sequence[str]) -> pa.Table:
    names = ("examples", "label_issues", "label_noise")
    sides = [{row["class_name"]: row for row in table.to_pylist()} for table in (before, now)]
    rows: list[dict[str, object]] = []
    for class_name in class_order:
        old, new = (side.get(class_name, {}) for side in sides)
        values = {**{f"{name}_before": old.get(name) for name in names}, **{name: new.get(name) for name in names}}
        rows.append({"class_name": class_name, **values})
    return pa.Table.from_pylist(rows, schema=CLASS_CHANGES)


def _status_counts(before: pa.Table, now: pa.Table) -> tuple[StatusCount, ...]:
    """Return the counts of statuses whose number of rows differs, in the order of `Status`."""
    counted = [_value_counts(table["status"]) for table in (before, now)]
    counts = [StatusCount(status.value, *(side.get(status.value, 0) for side in counted)) for status in Status]
    return tuple(count for count in counts if count.examples_before != count.examples)


def _value_counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {count["values"]: count["counts"] for count in pc.value_counts(column).to_pylist()}


def _has_content(examples: pa.Table) -> bool:
    return bool(examples["content_digest"].null_count < len(examples))


def _counts(values: npt.NDArray[np.object_], kind: type[StrEnum]) -> dict[str, int]:
    return {member.value: int((values == member.value).sum()) for member in kind}


def _whole(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return whole if isinstance(whole, pa.Array) else pa.concat_arrays(whole.chunks)


def _is_true(values: pa.Array) -> _BoolArray:
    flags: _BoolArray = pc.fill_null(values, False).to_numpy(zero_copy_only=False)
    return flags
