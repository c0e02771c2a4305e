"""Ids across splits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from labelaudit.data.columns import resolve_columns
from labelaudit.data.dataset import Examples
from labelaudit.data.readers import read_batches
from labelaudit.data.split_checks import ids_restart
from labelaudit.strings import Strings


def _object(*values: str | None) -> np.ndarray:
    return np.array(values, dtype=object)


def _strings(*values: str) -> Strings:
    return Strings(values)


def test_ids_restart_if_they_mean_other_examples_in_each_split():
    splits = _object("train", "train", "test", "test")
    assert ids_restart(_strings("0", "1", "0", "1"), _strings("a", "b", "c", "d"), splits)
    assert not ids_restart(_strings("0", "1", "2", "3"), _strings("a", "b", "c", "d"), splits)
    assert not ids_restart(_strings("0", "1", "1", "3"), _strings("a", "b", "b", "d"), splits), "a copy that leaked"
    assert not ids_restart(_strings("0", "0", "2", "3"), _strings("a", "b", "c", "d"), splits), "copies in one split"
    overlapping = _strings(*"0123", *"3456"), _strings(*"abcd", *"efgh"), _object(*["train"] * 4, *["test"] * 4)
    assert not ids_restart(*overlapping), "one id is the same by mistake"
    assert not ids_restart(_strings("0", "0"), _strings("a", "b"), _object(None, None)), "no splits"


def _examples(source):
    columns = resolve_columns(source)
    return columns, Examples.from_batches(read_batches(source, columns), columns)


def _frame(start: int, rows: int) -> pd.DataFrame:
    numbers = np.arange(rows)
    return pd.DataFrame({"idx": numbers, "size": (start + numbers) * 1.5, "label": np.where(numbers % 2, "a", "b")})


def test_ids_that_restart_get_the_name_of_the_split(make_dataset):
    train, test = (pa.Table.from_pandas(frame, preserve_index=False) for frame in (_frame(0, 40), _frame(90, 30)))
    columns, examples = _examples(
        make_dataset({"data/train-00000-of-00001.parquet": train, "data/test-00000-of-00001.parquet": test})
    )
    assert "splits: test, train, by the names of files and folders; all are audited together" in columns.guesses
    assert examples.status_counts()["scored"] == 70
    assert set(examples.example_id[:2]) <= {"test/0", "test/1"}
    assert examples.notes[0].endswith("so the name of the split is part of each id, such as test/0")
    assert dict(zip(*np.unique(examples.split.astype(str), return_counts=True), strict=True)) == {
        "test": 30,
        "train": 40,
    }


def test_a_split_column_is_not_an_input(make_dataset):
    frame = _frame(0, 60).assign(split=["Train"] * 40 + ["test"] * 20)
    columns, examples = _examples(make_dataset({"a.csv": frame.to_csv(index=False)}))
    assert columns.split == "split"
    assert columns.inputs == ("size",)
    assert sorted(set(examples.split)) == ["test", "train"]


def test_another_column_of_this_name_is_an_input(make_dataset):
    frame = _frame(0, 60).assign(split=["banana", "half"] * 30)
    columns, examples = _examples(make_dataset({"a.csv": frame.to_csv(index=False)}))
    assert (columns.split, columns.inputs) == (None, ("size", "split"))
    assert set(examples.split) == {None}


def test_rows_without_ids_that_occur_twice_are_counted(make_dataset):
    text = _frame(0, 30).drop(columns="idx").to_csv(index=False)
    _, examples = _examples(make_dataset({"a.csv": text, "Copy of a.csv": text}))
    assert examples.notes[0].startswith("30 of 60 rows have the input and the label of another row.")
