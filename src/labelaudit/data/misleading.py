"""Inputs that mislead a network: what is probably not a property of the examples, or was made from the label."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import pyarrow as pa

from labelaudit.data.columns import Columns
from labelaudit.data.dataset import Examples
from labelaudit.data.row_indexes import RowNumbers
from labelaudit.data.stray_words import MIN_DISTINCT_NUMBERS, StrayWords, distinct_numbers, missing_remedy
from labelaudit.schemas import Status
from labelaudit.text import listing

# Rows of the sample, and values of all its columns together, so that a wide table fits into 64 MB.
SAMPLED_ROWS = 20_000
SAMPLED_VALUES = 2**23
# Bytes of strings in the sample.
SAMPLED_BYTES = 2**26
# Fewer rows show a pattern by chance.
MIN_COMPARED_ROWS = 50
# A class with fewer rows in the sample says little.
MIN_CLASS_ROWS = 5
# A column reveals the label if it removes this share of the errors of a guess that always names the largest class.
# The best single columns of iris, wine and breast_cancer remove 94, 70 and 79 %.
REVEALING_SKILL = 0.96
# One value for each class is a stronger sign: such a column may be another version of the label, with other errors.
REVEALING_SKILL_OF_CODES = 0.8
# Rows that must have the usual value of their class, in a column that is constant within each class.
CONSTANT_SHARE = 0.995
# Rows around a number that decide on its class: several, because some labels are wrong.
NEIGHBORS = 5
# Different values, as a share of the rows, from which a column may be an id.
ID_SHARE = 0.95
_ID_NAME = re.compile(
    r"(^|[_\W]|(?<=[a-z]))(id|ids|uuid|guid|key|pk|no|nr|num|number|index|idx|seq|serial|row|record|code|isbn|sku)\d*$",
    re.IGNORECASE,
)
# In wide tables, such as pixels or counts of words, columns without any variation are normal.
WIDE_TABLE = 50
# Rows of each value, on average, with which a column counts as categories that another one may rename.
ROWS_PER_CATEGORY = 10
# A copy of a column with fewer rows outside its most frequent value may be chance.
MIN_COPY_ROWS = 10
# A text that contains the name of its class may contain the answer. Many classes would take long to search for.
NAMED_SHARE, MAX_NAMED_CLASSES = 0.9, 50
# Characters of a text that are searched.
_SEARCHED = 2_000


class SampledInputs:
    """Collects, while a version is read, what `misleading_inputs` looks at: a sample of rows, and counts of all rows.

    A row is in the sample if its content digest is below a limit. The limit is halved whenever the sample is too large.
    So the sample depends on the content alone, not on the order of files and rows.
    """

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self._most_rows = min(SAMPLED_ROWS, max(1, SAMPLED_VALUES // max(1, len(columns.inputs))))
        self._limit = 2**64 - 1
        self._pieces: list[pa.Table] = []
        self._keys: list[np.ndarray] = []
        self._positions: list[np.ndarray] = []
        self._rows = 0
        types = dict(zip(columns.inputs, columns.input_types, strict=False))
        self.row_numbers = {name: RowNumbers() for name, type in types.items() if type == "number"}
        self.stray_words = {name: StrayWords() for name, type in types.items() if type == "category"}

    def add(self, inputs: np.ndarray | pa.Table, digests: Sequence[str]) -> None:
        """Take the next rows of the version, in reading order. Images and vectors are not looked at."""
        if not isinstance(inputs, pa.Table) or not len(digests):
            return
        for name, numbers in self.row_numbers.items():
            if numbers.is_possible:
                numbers.add(inputs.column(name).to_numpy())
        for name, words in self.stray_words.items():
            words.add(inputs.column(name))
        keys = np.array([int(digest[:16], 16) for digest in digests], dtype=np.uint64)
        chosen = np.flatnonzero(keys <= np.uint64(self._limit))
        if len(chosen):
            self._pieces.append(inputs.take(chosen))
            self._keys.append(keys[chosen])
            self._positions.append(self._rows + chosen)
        self._rows += len(digests)
        while self._is_too_large():
            self._halve()

    def _is_too_large(self) -> bool:
        rows = sum(len(keys) for keys in self._keys)
        return rows > self._most_rows or (rows > 1 and sum(piece.nbytes for piece in self._pieces) > SAMPLED_BYTES)

    def _halve(self) -> None:
        self._limit //= 2
        keys = np.concatenate(self._keys)
        kept = np.flatnonzero(keys <= np.uint64(self._limit))
        self._pieces = [pa.concat_tables(self._pieces).combine_chunks().take(kept)]
        self._keys = [keys[kept]]
        self._positions = [np.concatenate(self._positions)[kept]]

    def labeled(self, examples: Examples) -> tuple[pa.Table, np.ndarray, np.ndarray]:
        """Return the scored rows of the sample, ordered by content, with labels and halves.

        Returns:
            The n rows; their labels, (n,) str; and the half of each row, (n,) 0 or 1. Copies are in the same half.
        """
        if not self._pieces:
            return pa.table({}), np.empty(0, dtype=str), np.empty(0, dtype=np.int64)
        position = np.concatenate(self._positions)
        canonical = np.empty(len(examples.position), dtype=np.int64)
        canonical[examples.position] = np.arange(len(examples.position))
        rows = canonical[position]
        is_scored = examples.status[rows] == Status.SCORED.value
        keys = np.concatenate(self._keys)[is_scored]
        labels = examples.given_label[rows[is_scored]].astype(str)
        order = np.lexsort((labels, keys))
        table = pa.concat_tables(self._pieces).combine_chunks().take(np.flatnonzero(is_scored)[order])
        return table, labels[order], (keys[order] % 2).astype(np.int64)


def misleading_inputs(sample: SampledInputs, examples: Examples) -> tuple[str, ...]:
    """Return a sentence with a remedy for each kind of misleading input of a table or of texts."""
    rows, labels, halves = sample.labeled(examples)
    if len(labels) < MIN_COMPARED_ROWS:
        return ()
    classes, codes = np.unique(labels, return_inverse=True)
    if sample.columns.kind == "text":
        return tuple(_about_texts(rows, classes, codes))
    columns = _Table(rows, sample.columns, classes, codes, halves)
    return (
        *_about_stray_words(sample, columns),
        *_about_row_numbers(sample),
        *_about_labels(columns),
        *_about_ids(columns, sample),
        *_about_copies(columns),
        *_about_constants(columns),
    )


class _Table:
    """The sample of a table: each column as codes, its distinct values, and the labels."""

    def __init__(
        self, rows: pa.Table, columns: Columns, classes: np.ndarray, labels: np.ndarray, halves: np.ndarray
    ) -> None:
        self.rows, self.classes, self.labels, self.halves = rows, classes, labels, halves
        self.types = dict(zip(columns.inputs, columns.input_types, strict=True))
        self.format = columns.format
        self.codes: dict[str, np.ndarray] = {}
        self.values: dict[str, pd.Index] = {}
        for name in columns.inputs:
            # Sorted numbers, so that codes are in the order of values. A missing value is -1.
            self.codes[name], self.values[name] = pd.factorize(
                rows.column(name).to_pandas(), sort=self.types[name] == "number"
            )

    def numbers(self, name: str) -> np.ndarray:
        values: np.ndarray = self.rows.column(name).to_numpy()
        return values


def _about_stray_words(sample: SampledInputs, table: _Table) -> Iterator[str]:
    for name, found in sample.stray_words.items():
        if found.are_stray() and distinct_numbers(table.values[name]) >= MIN_DISTINCT_NUMBERS:
            yield (
                f"Column {name!r} is a category, because {found.words.total():,} of {found.total():,} values are not "
                f"numbers: {found.listed()}. If they mean a missing value, {missing_remedy(table.format)}."
            )


def _about_row_numbers(sample: SampledInputs) -> Iterator[str]:
    names = [name for name, numbers in sample.row_numbers.items() if numbers.number_all_rows()]
    if names:
        yield (
            f"{_columns(names)} contains each number of its range exactly once, like a saved row index. A network can "
            "memorize it. Add it to dataset.ignore."
        )


def _about_labels(table: _Table) -> Iterator[str]:
    """Yield sentences on columns that predict the label by themselves, or repeat it."""
    constant: list[str] = []
    for name in table.codes:
        share = _share_of_class_names(table, name)
        accuracy, majority = _accuracy(table, name)
        skill = (accuracy - majority) / (1 - majority) if majority < 1 else 0.0
        has_codes = len(table.values[name]) == len(table.classes)
        if share is not None:
            yield (
                f"Column {name!r} contains names of classes, and the label itself in {_percent(share)} of the rows. It "
                "looks like another label. Add it to dataset.ignore."
            )
        elif skill >= (REVEALING_SKILL_OF_CODES if has_codes else REVEALING_SKILL):
            yield (
                f"Column {name!r} alone predicts the label with an accuracy of {_percent(accuracy)} (the most frequent "
                f"class: {_percent(majority)}). If it was made from the label, add it to dataset.ignore. Otherwise the "
                "audit finds mainly the rows that contradict this column."
            )
        elif _is_constant_within_classes(table, name):
            constant.append(name)
    if constant:
        yield (
            f"{_columns(constant)} has one value within each class, and different values in different classes. It was "
            "probably made from the label, or each class comes from one source. Add it to dataset.ignore."
        )


def _share_of_class_names(table: _Table, name: str) -> float | None:
    """Return the share of rows with the name of their class in a column that contains only class names, else None."""
    if table.types[name] != "category":
        return None
    values = [str(value).strip().casefold() for value in table.values[name]]
    code_of = {str(label).strip().casefold(): code for code, label in enumerate(table.classes)}
    known = np.array([code_of.get(value, -1) for value in values], dtype=np.int64)
    named = np.append(known, -1)[table.codes[name]]
    present = table.codes[name] >= 0
    if not present.any() or len(set(values)) < 2 or np.mean(named[present] >= 0) < CONSTANT_SHARE:
        return None
    agreement = float(np.mean(named == table.labels))
    majority = np.bincount(table.labels).max() / len(table.labels)
    return agreement if agreement > majority else None


def _accuracy(table: _Table, name: str) -> tuple[float, float]:
    """Return the accuracy of a decision by one column, and that of the largest class, both in 0..1.

    Each half of the rows is decided by the other half, so values that occur only once predict nothing.
    """
    codes, halves = table.codes[name], table.halves
    distinct = len(table.values[name])
    decisions = []
    if table.types[name] == "category" or distinct * 2 <= len(codes):
        decisions.append(_largest_class_of_value)
    if table.types[name] == "number" and distinct > len(table.classes):
        decisions.append(_largest_class_of_neighbors)
    right = [0, *(0 for _ in decisions)]
    for part in (0, 1):
        known, asked = np.flatnonzero(halves == part), np.flatnonzero(halves != part)
        if not len(known):
            continue
        for number, decide in enumerate(decisions):
            decided = decide(codes[known], table.labels[known], codes[asked])
            right[number] += int((decided == table.labels[asked]).sum())
    return max(right) / len(codes), float(np.bincount(table.labels).max() / len(codes))


def _largest_class_of_value(known: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Return the largest class of each asked value; of all known rows if the value is unknown."""
    pairs = pd.DataFrame({"value": known, "label": labels}).value_counts().reset_index()
    # Sorted by count, so the first label of a value is its largest class.
    largest = pairs.drop_duplicates("value").set_index("value")["label"]
    decided: np.ndarray = largest.reindex(asked).fillna(np.bincount(labels).argmax()).to_numpy().astype(np.int64)
    return decided


def _largest_class_of_neighbors(known: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Return the largest class of the NEIGHBORS known rows around each asked value, in the order of values."""
    order = np.argsort(known, kind="stable")
    window = min(NEIGHBORS, len(order))
    starts = np.clip(np.searchsorted(known[order], asked) - window // 2, 0, len(order) - window)
    nearest = labels[order][starts[:, None] + np.arange(window)]
    votes = (nearest[:, :, None] == nearest[:, None, :]).sum(axis=2)
    decided: np.ndarray = np.take_along_axis(nearest, votes.argmax(axis=1)[:, None], axis=1)[:, 0]
    return decided


def _is_constant_within_classes(table: _Table, name: str) -> bool:
    sizes = np.bincount(table.labels)
    large = np.flatnonzero(sizes >= MIN_CLASS_ROWS)
    if len(large) < 2 or len(table.values[name]) > len(sizes):
        return False
    usual = []
    for label in large:
        counts = np.bincount(table.codes[name][table.labels == label] + 1)
        if counts.max() < CONSTANT_SHARE * sizes[label]:
            return False
        usual.append(int(counts.argmax()))
    return len(set(usual)) > 1


def _about_ids(table: _Table, sample: SampledInputs) -> Iterator[str]:
    names = [name for name in table.codes if _may_be_id(table, name) and not _is_named_already(sample, name)]
    if names:
        yield (
            f"{_columns(names)} has a value of its own in nearly every row, like an id. A network can only memorize "
            "it. Add it to dataset.ignore, or name it with dataset.id."
        )


def _is_named_already(sample: SampledInputs, name: str) -> bool:
    if name in sample.row_numbers:
        return sample.row_numbers[name].number_all_rows()
    return sample.stray_words[name].are_stray()


def _may_be_id(table: _Table, name: str) -> bool:
    if len(table.values[name]) < ID_SHARE * len(table.labels):
        return False
    if table.types[name] == "category":
        return True
    numbers = table.numbers(name)
    present = numbers[np.isfinite(numbers)]
    is_whole = bool(np.all(present == np.floor(present)))
    # Measurements may be different whole numbers as well, so the name decides.
    return is_whole and _ID_NAME.search(name) is not None


def _about_copies(table: _Table) -> Iterator[str]:
    """Yield a sentence on columns that have the same values as an earlier one, under any names of values."""
    first: dict[bytes, str] = {}
    copies = []
    for name, codes in table.codes.items():
        # Numbered by first appearance, so renamed categories are equal too.
        renamed = pd.factorize(codes)[0]
        if len(renamed) - np.bincount(renamed).max() < MIN_COPY_ROWS:
            continue
        # Two columns with few rows of each value, such as a table that was written twice, are renamed by chance.
        has_categories = len(table.values[name]) * ROWS_PER_CATEGORY <= len(codes)
        content = renamed if has_categories else pd.util.hash_array(table.rows.column(name).to_pandas().to_numpy())
        original = first.setdefault(content.tobytes(), name)
        if original != name:
            copies.append(f"{name!r} of {original!r}")
    if copies:
        yield (
            f"Columns are copies of others: {listing(copies)}. If that is a mistake, add the copies to dataset.ignore."
        )


def _about_constants(table: _Table) -> Iterator[str]:
    names = [name for name, codes in table.codes.items() if len(np.unique(codes)) < 2]
    if names and len(table.codes) <= WIDE_TABLE:
        yield (
            f"{_columns(names)} has the same value in all {len(table.labels):,} rows that were compared, so it says "
            "nothing about the label. Check how it was exported, or add it to dataset.ignore."
        )


def _about_texts(rows: pa.Table, classes: np.ndarray, labels: np.ndarray) -> Iterator[str]:
    """Yield sentences on texts that name their class, and on columns that repeat each other."""
    for name in rows.column_names:
        own, other = _shares_of_named_classes(rows.column(name), classes, labels)
        if own >= NAMED_SHARE and other <= 1 - NAMED_SHARE:
            yield (
                f"The text in column {name!r} contains the name of its own class in {_percent(own)} of the rows, and "
                f"that of another class in {_percent(other)}. It probably contains the label. Remove the label from it."
            )
    for first, second in combinations(rows.column_names, 2):
        if rows.column(first).equals(rows.column(second)):
            yield f"Columns are copies of others: {second!r} of {first!r}. Remove one from dataset.input."


def _shares_of_named_classes(texts: pa.ChunkedArray, classes: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return the shares of rows whose text contains the name of their class, and that of the next class in order."""
    if not 2 <= len(classes) <= MAX_NAMED_CLASSES:
        return 0.0, 0.0
    patterns = [_class_name_pattern(str(name)) for name in classes]
    own = other = 0
    for text, label in zip(texts.to_pylist(), labels, strict=True):
        start = text[:_SEARCHED].casefold()
        own += patterns[label].search(start) is not None
        other += patterns[(label + 1) % len(classes)].search(start) is not None
    return own / len(labels), other / len(labels)


def _class_name_pattern(name: str) -> re.Pattern[str]:
    name = name.strip().casefold()
    # Names such as "0" and "a" occur by chance, unless they are marked as a label.
    if name.isdigit() or (len(name) < 2 and name.isascii()):
        return re.compile(rf"label\W{{0,3}}_*{re.escape(name)}(?!\w)")
    return re.compile(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])" if name.isascii() else re.escape(name))


def _columns(names: Sequence[str]) -> str:
    """Return the subject of a sentence, which is singular."""
    return f"Column {names[0]!r}" if len(names) == 1 else f"Each of the columns {listing(map(repr, names))}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
