"""Two audits of a dataset, example by example: what became of each flag, and of each row of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.findings import LabelPair, StatusCount
from labelaudit.schemas import CHANGES, CLASS_CHANGES, DataChange, Decision, IssueChange, Status

_BoolArray = npt.NDArray[np.bool_]
_IntArray = npt.NDArray[np.int64]

# Columns of EXAMPLES.
COMPARED = ("example_id", "given_label", "status", "label_score", "is_label_issue", "content_digest", "verdict")
CONTENT_UNKNOWN = (
    "One of the two audits is of probabilities alone and knows no content: rows with the same id count as the same."
)


@dataclass(frozen=True)
class Comparison:
    """What changed from one audit to another.

    changes: CHANGES; class_changes: CLASS_CHANGES; issues, data: rows of each `IssueChange` and `DataChange`, zeros
    included; statuses: those of which both have another number of rows; other_status: rows of both whose status is
    another one; notes: sentences for people.
    """

    changes: pa.Table
    class_changes: pa.Table
    issues: dict[str, int]
    data: dict[str, int]
    statuses: tuple[StatusCount, ...]
    other_status: int
    notes: tuple[str, ...]


def compare_audits(
    before: pa.Table,
    now: pa.Table,
    *,
    classes_before: pa.Table,
    classes: pa.Table,
    class_order: Sequence[str],
) -> Comparison:
    """Compare two audits by `example_id`, and by content where an id is in one of them only.

    `before` and `now` are EXAMPLES tables in any order of rows, of which the columns COMPARED are enough,
    `classes_before` and `classes` CLASSES tables, `class_order` all their classes in class order.

    Of several rows with one id the scored one counts, else the first: contradictory copies have no scored row, so
    their id counts as not scored. Content is the same where the digests are equal, or one side has none.

    A row whose id is in `before` only and one whose id is in `now` only are one row, which got another id, where they
    have the same digest and no other row of either table has it. So an image that moved to the folder of another class
    is relabeled. Of copies nobody knows which one moved: they are removed and added.

    Every id that is or was flagged has exactly one `IssueChange`:

    - flagged in both: persistent;
    - flagged now alone: flapping where the row had the same content and label and was scored before (also where it
      had been judged `fine` and no longer is), else new;
    - flagged before alone: gone where the row is missing, has other content or is not scored now; else fixed where its
      label is another one; else dismissed where it is judged `fine` now; else flapping.
    """
    rows_before, rows_now = _joined_by_content(before, now, *_joined_by_id(before, now))
    was, is_ = _Side.of(before, rows_before), _Side.of(now, rows_now)
    same_content = _same(was.columns["content_digest"], is_.columns["content_digest"], nulls_differ=False)
    same_label = _same(was.columns["given_label"], is_.columns["given_label"], nulls_differ=True)
    data_change = _chosen(
        (~was.exists, DataChange.ADDED),
        (~is_.exists, DataChange.REMOVED),
        (~same_content, DataChange.REPLACED),
        (~same_label, DataChange.RELABELED),
    )
    issue_change = _issue_changes(was, is_, same_content, same_label)
    same_status = _same(was.columns["status"], is_.columns["status"], nulls_differ=True)
    has_other_status = was.exists & is_.exists & ~same_status
    changed = np.flatnonzero((issue_change != None) | (data_change != None) | has_other_status)  # noqa: E711, elementwise
    columns = {
        "issue_change": pa.array(issue_change[changed], pa.string()),
        "data_change": pa.array(data_change[changed], pa.string()),
        **{f"{name}_before": was.columns[name].take(pa.array(changed)) for name in COMPARED},
        **{name: is_.columns[name].take(pa.array(changed)) for name in COMPARED},
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
        notes=(CONTENT_UNKNOWN,) if _knows_content(before) != _knows_content(now) else (),
    )


def relabeled_pairs(changes: pa.Table) -> list[LabelPair]:
    """Given label before and now of the relabeled rows of a CHANGES table, the most frequent pair first."""
    relabeled = changes.filter(pc.equal(changes["data_change"], DataChange.RELABELED.value))
    sides = ["given_label_before", "given_label"]
    counts = relabeled.group_by(sides).aggregate([([], "count_all")]).to_pylist()
    pairs = [LabelPair(row[sides[0]], row[sides[1]], row["count_all"]) for row in counts]
    return sorted(pairs, key=lambda pair: (-pair.examples, pair.given_label_before or "", pair.given_label or ""))


@dataclass(frozen=True)
class _Side:
    """One of both audits, with a row for each of the (M,) rows of both together; null where it has none."""

    exists: _BoolArray
    scored: _BoolArray
    flagged: _BoolArray
    fine: _BoolArray
    columns: dict[str, pa.Array]

    @classmethod
    def of(cls, examples: pa.Table, rows: _IntArray) -> _Side:
        exists = rows >= 0
        places = pa.array(rows, mask=~exists)
        columns = {name: _whole(examples[name]).take(places) for name in COMPARED}
        return cls(
            exists=exists,
            scored=_is_true(pc.equal(columns["status"], Status.SCORED.value)),
            flagged=_is_true(columns["is_label_issue"]),
            fine=_is_true(pc.equal(columns["verdict"], Decision.FINE.value)),
            columns=columns,
        )


def _issue_changes(was: _Side, is_: _Side, same_content: _BoolArray, same_label: _BoolArray) -> npt.NDArray[np.object_]:
    same = was.exists & is_.exists & same_content & same_label & was.scored & is_.scored
    appeared, vanished = is_.flagged & ~was.flagged, was.flagged & ~is_.flagged
    return _chosen(
        (was.flagged & is_.flagged, IssueChange.PERSISTENT),
        (appeared & ~same, IssueChange.NEW),
        (vanished & ~(is_.exists & same_content & is_.scored), IssueChange.GONE),
        (vanished & ~same_label, IssueChange.FIXED),
        (vanished & is_.fine, IssueChange.DISMISSED),
        (appeared | vanished, IssueChange.FLAPPING),
    )


def _joined_by_id(before: pa.Table, now: pa.Table) -> tuple[_IntArray, _IntArray]:
    """The row of each of all M ids in both tables, -1 where there is none."""
    codes_before, codes_now, ids = _codes(before, now, "example_id")
    return _row_of_ids(before, codes_before, ids), _row_of_ids(now, codes_now, ids)


def _joined_by_content(
    before: pa.Table, now: pa.Table, rows_before: _IntArray, rows_now: _IntArray
) -> tuple[_IntArray, _IntArray]:
    """The same with those of one table only joined where their content is in each table exactly once."""
    only_before, only_now = np.flatnonzero(rows_now < 0), np.flatnonzero(rows_before < 0)
    if not len(only_before) or not len(only_now):
        return rows_before, rows_now
    codes_before, codes_now, digests = _codes(before, now, "content_digest")
    is_unique = _is_once(codes_before, digests) & _is_once(codes_now, digests)
    place_of = np.full(digests + 1, -1, dtype=np.int64)
    place_of[codes_before[rows_before[only_before]]] = only_before
    place_of[~is_unique] = -1
    places = place_of[codes_now[rows_now[only_now]]]
    moved = only_now[places >= 0]
    joined = rows_now.copy()
    joined[places[places >= 0]] = rows_now[moved]
    return np.delete(rows_before, moved), np.delete(joined, moved)


def _codes(before: pa.Table, now: pa.Table, column: str) -> tuple[_IntArray, _IntArray, int]:
    """Values of a column in both tables as numbers from 0, and how many there are; a null has the number after them."""
    values = pa.concat_arrays([_whole(table[column]).cast(pa.large_string()) for table in (before, now)])
    encoded = values.dictionary_encode()
    count = len(encoded.dictionary)
    codes = pc.fill_null(encoded.indices.cast(pa.int64()), count).to_numpy()
    return codes[: len(before)], codes[len(before) :], count


def _is_once(codes: _IntArray, count: int) -> _BoolArray:
    """(count + 1,) whether a number stands there exactly once; that of null never counts."""
    found: _BoolArray = np.bincount(codes, minlength=count + 1) == 1
    found[count] = False
    return found


def _row_of_ids(examples: pa.Table, codes: _IntArray, ids: int) -> _IntArray:
    """(ids,) the row that stands for each id: the scored one, else the first; -1 where there is none."""
    rows = np.arange(len(codes))
    scored = _is_true(pc.equal(_whole(examples["status"]), Status.SCORED.value))
    found = np.full(ids, -1, dtype=np.int64)
    # What is written last stands.
    found[codes[::-1]] = rows[::-1]
    found[codes[scored][::-1]] = rows[scored][::-1]
    return found


def _chosen(*cases: tuple[_BoolArray, StrEnum]) -> npt.NDArray[np.object_]:
    """For each row the value of the first case that holds, None where none does."""
    chosen = np.full(len(cases[0][0]), None, dtype=object)
    for holds, value in reversed(cases):
        chosen[holds] = value.value
    return chosen


def _same(first: pa.Array, second: pa.Array, *, nulls_differ: bool) -> _BoolArray:
    """Whether values are equal; two nulls are, one is as `nulls_differ` says."""
    one_null = pc.xor(pc.is_null(first), pc.is_null(second))
    equal = pc.fill_null(pc.equal(first, second), True)
    return _is_true(pc.and_not(equal, one_null) if nulls_differ else equal)


def _class_changes(before: pa.Table, now: pa.Table, class_order: Sequence[str]) -> pa.Table:
    names = ("examples", "label_issues", "label_noise")
    sides = [{row["class_name"]: row for row in table.to_pylist()} for table in (before, now)]
    rows: list[dict[str, Any]] = []
    for class_name in class_order:
        old, new = (side.get(class_name, {}) for side in sides)
        values = {**{f"{name}_before": old.get(name) for name in names}, **{name: new.get(name) for name in names}}
        rows.append({"class_name": class_name, **values})
    return pa.Table.from_pylist(rows, schema=CLASS_CHANGES)


def _status_counts(before: pa.Table, now: pa.Table) -> tuple[StatusCount, ...]:
    """Of those statuses whose numbers differ, in the order of `Status`."""
    counted = [_value_counts(table["status"]) for table in (before, now)]
    counts = [StatusCount(status.value, *(side.get(status.value, 0) for side in counted)) for status in Status]
    return tuple(count for count in counts if count.examples_before != count.examples)


def _value_counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {count["values"]: count["counts"] for count in pc.value_counts(column).to_pylist()}


def _knows_content(examples: pa.Table) -> bool:
    return bool(examples["content_digest"].null_count < len(examples))


def _counts(values: npt.NDArray[np.object_], kind: type[StrEnum]) -> dict[str, int]:
    return {member.value: int((values == member.value).sum()) for member in kind}


def _whole(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return whole if isinstance(whole, pa.Array) else pa.concat_arrays(whole.chunks)


def _is_true(values: pa.Array) -> _BoolArray:
    flags: _BoolArray = pc.fill_null(values, False).to_numpy(zero_copy_only=False)
    return flags
