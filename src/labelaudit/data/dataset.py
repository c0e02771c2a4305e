"""All rows of a dataset version in canonical order, each with its status."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.data.columns import Columns
from labelaudit.data.file_layout import IMAGE_FOLDER
from labelaudit.data.labels import LabelChunk, given_labels, sort_class_names
from labelaudit.data.majority_vote import Majority
from labelaudit.data.named_classes import rename_labels
from labelaudit.data.readers import BatchHead
from labelaudit.data.slice_values import SliceValues, check_slices
from labelaudit.data.split_checks import unique_ids
from labelaudit.data.values import reordered, repeated
from labelaudit.errors import DatasetError
from labelaudit.memory import release_if_grown
from labelaudit.schemas import SLICE_PREFIX, Status, slice_column
from labelaudit.strings import Strings
from labelaudit.text import listing

ID_DIGITS = 16  # of the content digest, if there is no id column
# More classes than this, with few rows each, are probably not classes.
MANY_CLASSES = 1_000
# A share of copies that may come from a file that was read twice.
MANY_COPIES = 0.1

_SCHEMA = pa.schema(
    [
        ("example_id", pa.large_string()),
        ("given_label", pa.large_string()),
        ("status", pa.large_string()),
        ("group", pa.large_string()),
        ("content_digest", pa.large_string()),
        ("file", pa.large_string()),
        ("row", pa.int64()),
        ("position", pa.int64()),
        ("label", pa.int64()),
        ("problem", pa.large_string()),
        ("split", pa.large_string()),
        ("cluster", pa.int64()),
        ("copy_distance", pa.float32()),
    ]
)


# Columns with about as many values as rows.
_MANY_VALUES = ("example_id", "group", "content_digest")
# Columns whose values are the same in many rows.
FEW_VALUES = ("given_label", "status", "file", "problem", "split")
# Rows that are encoded at once.
_ENCODED_ROWS = 2**16


@dataclass(frozen=True)
class Examples:
    """N rows, sorted by example id, then digest, label and group. The order of files and rows does not matter.

    Attributes:
        example_id: N strings; unique among scored rows.
        given_label: (N,) object of str, None if unlabeled.
        status: (N,) object of str, values of `schemas.Status`.
        group: N strings: rows with equal ones stay in one fold. The group column's value, else the digest of the input;
            that of the first row if groups have copies in common.
        content_digest: N strings, blake2b-128 of the input in hex.
        file: (N,) object of str, relative to the dataset's root.
        row: (N,) int64, row number within the file, from 0.
        position: (N,) int64, position in reading order: row i was read as number positions[i].
        class_names: K names, sorted (numbers by value, else by code point).
        label: (N,) int64 in 0..K-1, -1 unless status is scored.
        problem: (N,) object of str: why a row is unreadable, else None.
        split: (N,) object of str: train, test, …; None if the dataset has no splits.
        fingerprint: sha256 in hex of ids, given labels, groups (as stored) and digests of all rows.
        cluster: (N,) int64, position of the first row of the cluster of copies and near-copies; -1 if a row has none.
        copy_distance: (N,) float32, to the nearest other member of the cluster: 0 for an exact copy; else inf.
        slices: the values of the columns in `dataset.slices`, by column.
        notes: sentences on what was changed while reading. A table of the examples does not contain them.
    """

    example_id: Strings
    given_label: np.ndarray
    status: np.ndarray
    group: Strings
    content_digest: Strings
    file: np.ndarray
    row: np.ndarray
    position: np.ndarray
    class_names: tuple[str, ...]
    label: np.ndarray
    problem: np.ndarray
    split: np.ndarray
    fingerprint: str
    cluster: np.ndarray
    copy_distance: np.ndarray
    slices: dict[str, SliceValues] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def from_batches(cls, batches: Iterable[BatchHead], columns: Columns, majority: Majority | None = None) -> Examples:
        """Return the rows of all batches, without their inputs.

        Args:
            batches: the rows in reading order.
            columns: how they are read.
            majority: the labels if `columns.is_voted`.

        Raises:
            DatasetError: there are no rows or no labels, ids are missing, or labels cannot be classes.
        """
        rows, notes = _ReadRows.of(batches, columns, majority)
        release_if_grown()
        position, copy_notes = rows.sort(columns)
        total = len(position)
        status = _statuses(rows.ids, rows.digests, rows.given, rows.is_readable)
        class_names = sort_class_names(set(rows.given) - {None})
        return cls(
            example_id=rows.ids,
            given_label=rows.given,
            status=status,
            group=rows.all_groups,
            content_digest=rows.digests,
            file=rows.files,
            row=rows.numbers,
            position=position,
            class_names=class_names,
            label=_encode(rows.given, status, class_names),
            problem=rows.problems,
            split=rows.splits,
            fingerprint=_fingerprint(columns.kind, [rows.ids, rows.given, rows.all_groups, rows.digests]),
            cluster=np.broadcast_to(np.int64(-1), total),
            copy_distance=np.broadcast_to(np.float32(np.inf), total),
            slices=rows.slices,
            notes=(*notes, *copy_notes),
        )

    def with_groups(self, first_of_group: np.ndarray) -> Examples:
        """Return the examples with larger groups: (N,) int64, the position of the first row of each row's group."""
        return replace(self, group=self.group[first_of_group])

    def all_class_counts(self) -> dict[str, int]:
        """Return the number of rows of each class, of any status and with rare classes, in class order."""
        counts = Counter(self.given_label.tolist())
        del counts[None]
        return {name: counts[name] for name in sort_class_names(counts)}

    def status_counts(self) -> dict[str, int]:
        """Return the number of rows of each status, in the order of `schemas.Status`."""
        return {status.value: int((self.status == status.value).sum()) for status in Status}

    def to_table(self) -> pa.Table:
        """Return an Arrow table with one row per example; class names and fingerprint are in its metadata."""
        metadata = {"class_names": json.dumps(self.class_names), "fingerprint": self.fingerprint}
        table = self.select(_SCHEMA.with_metadata(metadata))
        for name, values in self.slices.items():
            table = table.append_column(slice_column(name), values.arrow)
        return table

    def select(self, schema: pa.Schema) -> pa.Table:
        """Return an Arrow table with some of the columns, one row per example. The schema names them."""
        return pa.Table.from_arrays(
            [_as_arrow(getattr(self, field.name), field.type) for field in schema], schema=schema
        )

    def tables(self, rows: int) -> Iterator[pa.Table]:
        """Return what `to_table` returns in pieces of some rows, one after the other."""
        for start in range(0, max(1, len(self.label)), rows):
            columns = {name: getattr(self, name)[start : start + rows] for name in _SCHEMA.names}
            slices = {name: values[start : start + rows] for name, values in self.slices.items()}
            yield replace(self, slices=slices, **columns).to_table()

    @classmethod
    def from_table(cls, table: pa.Table) -> Examples:
        """Return the examples of a table that `to_table` made.

        Raises:
            DatasetError: the table has other columns or metadata.
        """
        metadata = table.schema.metadata or {}
        names = [name for name in table.column_names if not name.startswith(SLICE_PREFIX)]
        if names != _SCHEMA.names or not {b"class_names", b"fingerprint"} <= metadata.keys():
            raise DatasetError(
                f"A table of prepared examples cannot have the columns {listing(table.column_names, shown=12)}. "
                "Prepare the dataset again."
            )
        return cls.from_columns(table)

    @classmethod
    def from_columns(cls, table: pa.Table) -> Examples:
        """Return the examples of some columns of a table that `to_table` made. Other strings are None, numbers -1."""
        metadata = table.schema.metadata
        array = {name: _as_numpy(table, name) for name in _SCHEMA.names if name not in _MANY_VALUES}
        strings = dict.fromkeys(_MANY_VALUES, Strings.missing(len(table)))
        for name in set(_MANY_VALUES) & set(table.column_names):
            strings[name] = Strings(table[name])
            table = table.drop_columns([name])  # joining its parts made a copy
        return cls(
            example_id=strings["example_id"],
            given_label=array["given_label"],
            status=array["status"],
            group=strings["group"],
            content_digest=strings["content_digest"],
            file=array["file"],
            row=array["row"],
            position=array["position"],
            class_names=tuple(json.loads(metadata[b"class_names"])),
            label=array["label"],
            problem=array["problem"],
            split=array["split"],
            fingerprint=metadata[b"fingerprint"].decode(),
            cluster=array["cluster"],
            copy_distance=array["copy_distance"],
            slices={
                name.removeprefix(SLICE_PREFIX): SliceValues.joined([table[name]])
                for name in table.column_names
                if name.startswith(SLICE_PREFIX)
            },
        )


@dataclass
class _ReadRows:
    """What was read of all rows. The attributes are columns of `Examples`, in the order of reading until `sort`.

    Attributes:
        groups: None if there is no column of groups, so each content is a group.
        numbers: (N,) int64, row numbers within the files.
        slices: by column.
    """

    ids: Strings
    given: np.ndarray
    digests: Strings
    groups: Strings | None
    splits: np.ndarray
    files: np.ndarray
    numbers: np.ndarray
    is_readable: np.ndarray
    problems: np.ndarray
    slices: dict[str, SliceValues]

    @classmethod
    def of(
        cls, batches: Iterable[BatchHead], columns: Columns, majority: Majority | None
    ) -> tuple[_ReadRows, tuple[str, ...]]:
        """Return the rows of all batches, and sentences on what was changed."""
        heads = [batch.head() for batch in batches]
        digests = Strings.joined(head.digests for head in heads)
        if len(digests) == 0:
            raise DatasetError("The dataset has no rows. Check dataset.url.")
        given = np.empty(0, dtype=object)
        notes: tuple[str, ...] = ()
        if majority is None:
            given, notes = rename_labels(_given_labels(heads, columns), columns.rename)
        has_groups = any(head.groups is not None for head in heads)
        groups = Strings.joined(_groups(head) for head in heads) if has_groups else None
        splits = _splits(heads) if any(head.splits for head in heads) else repeated(None, len(digests))
        files, numbers = _places(heads, columns)
        if _makes_ids(columns):
            ids = Strings(pc.utf8_slice_codeunits(digests.arrow, 0, ID_DIGITS))
        else:
            ids = Strings.joined(head.ids for head in heads if head.ids is not None)
            _check_ids(ids, files, numbers, columns)
            ids, split_notes = unique_ids(ids, digests, splits)
            notes = (*notes, *split_notes)
        if majority is not None:
            given, notes = majority.labels_of(ids), (*notes, *majority.notes)
        is_readable = np.concatenate([head.readable for head in heads])
        slices = {
            name: SliceValues.joined(head.slices[number] for head in heads)
            for number, name in enumerate(columns.slices)
        }
        check_slices(slices)
        return cls(ids, given, digests, groups, splits, files, numbers, is_readable, _problems(heads), slices), notes

    @property
    def all_groups(self) -> Strings:
        return self.digests if self.groups is None else self.groups

    def sort(self, columns: Columns) -> tuple[np.ndarray, tuple[str, ...]]:
        """Bring the rows into canonical order; return their positions in the order of reading, and a note on copies."""
        order = _order(self.ids, self.digests, self.given, self.all_groups)
        notes: tuple[str, ...] = ()
        self.ids = self.ids[order]
        if _makes_ids(columns):
            notes = _about_copies(self.digests[order], self.given[order])
            self.ids = _number_copies(self.ids)
            again = self.ids.order()
            self.ids, order = self.ids[again], order[again]
        # One column after the other, so that only one exists twice.
        self.given, self.digests, self.is_readable = self.given[order], self.digests[order], self.is_readable[order]
        self.groups = None if self.groups is None else self.groups[order]
        self.files, self.numbers = self.files[order], self.numbers[order]
        self.slices = {name: values[order] for name, values in self.slices.items()}
        self.splits, self.problems = reordered(self.splits, order), reordered(self.problems, order)
        return order, notes


def _makes_ids(columns: Columns) -> bool:
    return columns.id is None and columns.format != IMAGE_FOLDER


def _as_arrow(column: Strings | np.ndarray, type: pa.DataType) -> pa.Array:
    return column.arrow.cast(type) if isinstance(column, Strings) else pa.array(column, type)


def _missing(type: pa.DataType, rows: int) -> np.ndarray:
    """Return the values of a column that is not read."""
    if pa.types.is_integer(type):
        return np.broadcast_to(np.int64(-1), rows)
    return np.broadcast_to(np.float32(np.inf), rows) if pa.types.is_floating(type) else repeated(None, rows)


def _as_numpy(table: pa.Table, name: str) -> np.ndarray:
    if name not in table.column_names:
        return _missing(_SCHEMA.field(name).type, len(table))
    if name not in FEW_VALUES:
        return np.asarray(table[name].to_numpy())
    # One string object per value, not per row.
    encoded = table[name].combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    values = np.array([*encoded.dictionary.to_pylist(), None], dtype=object)
    if len(values) == 1 or (len(values) == 2 and not encoded.null_count):
        return repeated(values[0], len(table))
    named: np.ndarray = values[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
    return named


def set_aside_rare_classes(examples: Examples, *, folds: int, policy: Literal["set_aside", "error"]) -> Examples:
    """Return the examples without the classes that cannot be in every fold; their rows get the status rare_class.

    A class is rare if its scored rows are in fewer than `folds` groups. So copies of one example count once.

    Args:
        examples: N rows.
        folds: how many groups a class needs.
        policy: "set_aside" or "error", which raises if there are rare classes.

    Returns:
        Examples whose `class_names` and `labels` contain only the classes that are trained.

    Raises:
        DatasetError: there are rare classes and the policy is "error", or fewer than two classes are left.
    """
    scored = examples.label >= 0
    count = len(examples.class_names)
    numbers = examples.group[scored].numbers()
    pairs = np.unique(numbers * max(1, count) + examples.label[scored])
    groups_per_class = np.bincount(pairs % max(1, count), minlength=count)
    kept = groups_per_class >= folds
    rare = [name for name, is_kept in zip(examples.class_names, kept, strict=True) if not is_kept]
    if rare and policy == "error":
        raise DatasetError(
            f"{len(rare)} classes have fewer than {folds} independent examples: {listing(rare, shown=10)}. "
            "Add examples, merge classes, or set cross_validation.rare_classes to set_aside."
        )
    if kept.sum() < 2:
        raise DatasetError(_too_few_classes(examples, groups_per_class, folds))
    status = examples.status.copy()
    status[scored & ~kept[examples.label]] = Status.RARE_CLASS.value
    class_names = tuple(name for name, is_kept in zip(examples.class_names, kept, strict=True) if is_kept)
    labels = _encode(examples.given_label, status, class_names)
    return replace(examples, status=status, class_names=class_names, label=labels)


def _given_labels(heads: Sequence[BatchHead], columns: Columns) -> np.ndarray:
    if columns.format == IMAGE_FOLDER:
        # Folder names are names, even if they look like numbers.
        return _concatenate(head.labels.to_pylist() for head in heads)
    label = columns.label or ""
    given = given_labels(
        [LabelChunk(head.file, head.first_row, head.labels) for head in heads],
        column=label,
        label_names=columns.label_names,
        is_untyped=columns.format == "csv",
    )
    if all(value is None for value in given):
        raise DatasetError(f"Column {label!r} has no label in any of {len(given)} rows. Check dataset.label.")
    return given


def _concatenate(parts: Iterable[Sequence[str | None]]) -> np.ndarray:
    columns = []
    for part in parts:
        columns.append(np.empty(len(part), dtype=object))
        columns[-1][:] = part
    return np.concatenate(columns) if columns else np.empty(0, dtype=object)


def _splits(heads: Sequence[BatchHead]) -> np.ndarray:
    return _concatenate(head.splits or [None] * len(head.digests) for head in heads)


def _groups(head: BatchHead) -> Strings:
    return head.digests if head.groups is None else Strings(pc.coalesce(head.groups.arrow, head.digests.arrow))


def _places(heads: Sequence[BatchHead], columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Return file and row of each example; in an image folder the ids are the files."""
    if columns.format == IMAGE_FOLDER:
        files = np.asarray(Strings.joined(head.ids for head in heads if head.ids is not None), object)
        return files, np.zeros(len(files), dtype=np.int64)
    names = np.array([head.file for head in heads], dtype=object)
    files = np.repeat(names, [len(head.digests) for head in heads])
    rows = [np.arange(head.first_row, head.first_row + len(head.digests), dtype=np.int64) for head in heads]
    return files, np.concatenate(rows)


def _check_ids(ids: Strings, files: np.ndarray, rows: np.ndarray, columns: Columns) -> None:
    missing = np.flatnonzero(ids.arrow.is_null().to_numpy(zero_copy_only=False))
    if len(missing):
        places = listing((f"{files[index]} row {rows[index]}" for index in missing), shown=3)
        raise DatasetError(
            f"{len(missing)} of {len(ids)} rows have no id in column {columns.id!r}: {places}. "
            f"Add the ids, or put {columns.id!r} into dataset.ignore, so that ids are made from the content."
        )


def _order(ids: Strings, *keys: Strings | np.ndarray) -> np.ndarray:
    """Return (N,) int64 positions sorted by the ids, then by the other keys; stable."""
    order = ids.order()
    if not ids.repeats(order).any():
        return order  # Distinct values need no other keys.
    table = pa.table({str(index): _as_arrow(key, pa.large_string()) for index, key in enumerate((ids, *keys))})
    order = pc.sort_indices(table, sort_keys=[(name, "ascending") for name in table.column_names])
    return np.asarray(order).astype(np.int64)


def _about_copies(digests: Strings, given: np.ndarray) -> tuple[str, ...]:
    """Return a sentence if many rows repeat another row; rows are in canonical order."""
    copies = int((digests.repeats()[1:] & (given[1:] == given[:-1])).sum())
    if copies < MANY_COPIES * len(digests):
        return ()
    return (
        f"{copies:,} of {len(digests):,} rows have the input and the label of another row. If a file was read twice, "
        "remove the copy.",
    )


def _number_copies(ids: Strings) -> Strings:
    """Return sorted ids made unique: the second copy of an id gets "-2", the third "-3"."""
    is_copy = ids.repeats()
    row = np.arange(len(ids))
    first = np.maximum.accumulate(np.where(is_copy, 0, row))  # the row of the first copy
    numbers = pa.array(row - first + 1).cast(pa.large_string())
    numbered = pc.binary_join_element_wise(ids.arrow, numbers, pa.scalar("-", numbers.type))
    return Strings(pc.if_else(is_copy, numbered, ids.arrow))


def _statuses(ids: Strings, digests: Strings, given: np.ndarray, readable: np.ndarray) -> np.ndarray:
    """Return the status of each row in canonical order; a later rule overrides an earlier one."""
    status = np.full(len(ids), Status.SCORED.value, dtype=object)
    status[given == None] = Status.UNLABELED.value  # noqa: E711, elementwise
    status[_is_duplicate(ids, digests, given)] = Status.DUPLICATE_ID.value
    status[~readable] = Status.UNREADABLE.value
    return status


def _is_duplicate(ids: Strings, digests: Strings, given: np.ndarray) -> np.ndarray:
    """Return (N,) bool, True for rows with the id of another row: all but the first copy, and all that conflict."""
    is_same_id = ids.repeats()
    if not is_same_id.any():
        return is_same_id
    is_same = is_same_id & digests.repeats() & np.append(False, given[1:] == given[:-1]).astype(bool)
    number = np.cumsum(~is_same_id) - 1  # of the distinct id
    is_conflicting = np.bincount(number[is_same_id & ~is_same], minlength=number[-1] + 1) > 0
    is_duplicate: np.ndarray = is_same_id | is_conflicting[number]
    return is_duplicate


def _encode(given: np.ndarray, status: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    code_of = {name: code for code, name in enumerate(class_names)}
    codes = np.fromiter((code_of.get(label, -1) for label in given), np.int64, len(given))
    codes[status != Status.SCORED.value] = -1
    return codes


def _problems(heads: Sequence[BatchHead]) -> np.ndarray:
    total = sum(len(head.digests) for head in heads)
    if not any(head.problems for head in heads):
        return repeated(None, total)
    problems = np.full(total, None, dtype=object)
    start = 0
    for head in heads:
        for offset, problem in head.problems.items():
            problems[start + offset] = problem
        start += len(head.digests)
    return problems


def _fingerprint(kind: str, columns: Sequence[Strings | np.ndarray]) -> str:
    """Return the sha256 of canonical rows: for each column all lengths, then all bytes, so values cannot mix."""
    hasher = hashlib.sha256(f"labelaudit dataset 1 {kind} {len(columns[0])}\n".encode())
    for column in columns:
        parts = [slice(start, start + _ENCODED_ROWS) for start in range(0, len(column), _ENCODED_ROWS)]
        for part in parts:
            lengths = pc.binary_length(_as_arrow(column[part], pa.large_string())).fill_null(-1)
            hasher.update(lengths.to_numpy(zero_copy_only=False).astype("<i8").tobytes())
        for part in parts:
            hasher.update("".join(value for value in column[part] if value is not None).encode())
    return hasher.hexdigest()


def _too_few_classes(examples: Examples, groups_per_class: np.ndarray, folds: int) -> str:
    counts = examples.all_class_counts()
    rows = len(examples.label)
    found = (
        f"Only {int((groups_per_class >= folds).sum())} of {len(counts)} classes can be trained "
        f"({rows} rows, {int((examples.label >= 0).sum())} of them usable). A class needs at least {folds} "
        "independent examples, and an audit needs two classes."
    )
    if len(counts) > min(MANY_CLASSES, rows / 2):
        return f"{found} So many classes are probably ids or quantities. Name another column with dataset.label."
    return f"{found} Add examples, merge classes, or lower cross_validation.folds."
