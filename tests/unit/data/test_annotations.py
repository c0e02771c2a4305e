"""Tables of answers: their columns, the answers that count, and the answers that do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.data.annotations import AnswerColumns, AnswerTable, classes_of_answers, read_answers, with_class_names
from labelaudit.errors import DatasetError
from labelaudit.storage.store import open_dataset
from support.audits import png

ROWS = [
    ("b", "ann", "dog"),
    ("a", "bob", "cat"),
    ("a", "ann", "dog"),
    ("b", "bob", "dog"),
    ("c", "ann", "cat"),
]


def written(folder: Path, rows: list[tuple[object, object, object]], *names: str, kind: str = "parquet") -> str:
    frame = pd.DataFrame(rows, columns=names or ("id", "annotator", "label"))
    path = folder / f"answers.{kind}"
    if kind == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False)
    return str(path)


def shown(answers: AnswerTable) -> list[tuple[str, str, str]]:
    return [tuple(row.values()) for row in answers.to_table().to_pylist()]


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_answers_are_ordered_by_id_and_annotator(tmp_path: Path, kind: str) -> None:
    answers = read_answers(open_dataset(written(tmp_path, ROWS, kind=kind)))
    assert shown(answers) == sorted(ROWS)
    assert (answers.annotators, answers.labels, answers.ids.tolist()) == (("ann", "bob"), ("cat", "dog"), [*"abc"])
    assert answers.notes == ()
    assert answers.guesses == ("annotations: ids in 'id', annotators in 'annotator', labels in 'label'",)
    assert shown(AnswerTable.from_table(answers.to_table())) == sorted(ROWS)


@given(st.permutations(ROWS))
def test_the_order_of_the_table_does_not_matter(rows: list[tuple[str, str, str]]) -> None:
    columns = dict(zip(("example_id", "annotator", "label"), zip(*rows, strict=True), strict=True))
    first = AnswerTable.from_table(pa.table({name: list(values) for name, values in columns.items()}))
    assert shown(first) == sorted(ROWS)
    again = AnswerTable.from_table(first.to_table())
    assert first.digest == again.digest
    changed = AnswerTable.from_table(pa.table({**{k: list(v) for k, v in columns.items()}, "label": ["dog"] * 5}))
    assert changed.digest != first.digest


def test_columns_are_found_by_their_names_and_can_be_named(tmp_path: Path) -> None:
    rows = [("t1", "w1", "cat", "x"), ("t1", "w2", "dog", "y")]
    url = written(tmp_path, rows, "sentence", "Worker_ID", "answer", "note")
    assert read_answers(open_dataset(url), id_name="sentence").annotators == ("w1", "w2")
    named = AnswerColumns("sentence", "note", "answer")
    assert read_answers(open_dataset(url), named).annotators == ("x", "y")


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (
            AnswerColumns(),
            r"No column of .* looks like the ids of the rows\. Name it with .*\.id",
        ),
        (
            AnswerColumns(id="sentense"),
            r"Column 'sentense' \(.*\.id\) .* Did you mean 'sentence'\?",
        ),
        (
            AnswerColumns(id="sentence"),
            r"looks like the annotators\. Name it with dataset\..*\.annotator",
        ),
    ],
)
def test_columns_that_are_missing(tmp_path: Path, named: AnswerColumns, message: str) -> None:
    url = written(tmp_path, [("t1", "w1", "cat")], "sentence", "who", "label")
    with pytest.raises(DatasetError, match=message):
        read_answers(open_dataset(url), named)


def test_answers_that_do_not_count_are_counted(tmp_path: Path) -> None:
    rows = [
        ("a", "ann", "cat"),
        ("a", "ann", "cat"),  # repeats the answer
        ("a", "bob", "cat"),
        ("a", "bob", "dog"),  # contradicts it
        ("b", None, "cat"),
        (None, "ann", "cat"),
        ("b", "ann", None),
        ("b", "ann", "  "),
        ("b", "cid", "dog"),
    ]
    answers = read_answers(open_dataset(written(tmp_path, rows)))
    assert shown(answers) == [("a", "ann", "cat"), ("b", "cid", "dog")]
    assert answers.notes == (
        "2 rows of the annotations have no label and do not count.",
        "1 row of the annotations has no annotator and does not count.",
        "1 row of the annotations has no id and does not count.",
        "1 repeated equal answers of an annotator to a row count once.",
        "2 answers do not count, because an annotator gave several different answers to one row.",
    )


def test_labels_are_renamed_and_numbers_get_their_names(tmp_path: Path) -> None:
    url = written(tmp_path, [("a", "ann", 0), ("a", "bob", 1)])
    answers = read_answers(open_dataset(url), label_names=("cat", "dog"), rename={"dog": "wolf"})
    assert shown(answers) == [("a", "ann", "cat"), ("a", "bob", "wolf")]
    merged = read_answers(open_dataset(url), label_names=("cat", "dog"), rename={"dog": "cat"})
    assert merged.labels == ("cat",)
    with pytest.raises(DatasetError, match=r"No row has the label 'wolf', which dataset\.rename renames to 'dog'"):
        read_answers(open_dataset(url), label_names=("cat", "dog"), rename={"wolf": "dog"}, is_rename_checked=True)


def test_tables_without_answers(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"None of the 1 rows of .* has an id, an annotator and a label"):
        read_answers(
            open_dataset(
                written(
                    tmp_path,
                    [
                        ("a", "ann", None),
                    ],
                )
            )
        )
    pictures = tmp_path / "pictures" / "cat"
    pictures.mkdir(parents=True)
    (pictures / "1.png").write_bytes(png(np.zeros((4, 4, 3), np.uint8)))
    with pytest.raises(DatasetError, match="contains images but no table of answers"):
        read_answers(open_dataset(str(tmp_path / "pictures")))


def test_a_table_in_shards(tmp_path: Path) -> None:
    for number, part in enumerate((ROWS[:2], ROWS[2:])):
        table = pa.Table.from_pandas(pd.DataFrame(part, columns=["id", "annotator", "label"]), preserve_index=False)
        pq.write_table(table, tmp_path / f"{number}.parquet")
    assert shown(read_answers(open_dataset(str(tmp_path)))) == sorted(ROWS)


# In this order, the number of a class is not its rank among the names.
CLASS_NAMES = ("dog", "eel", "cat")


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("xyz"), st.integers(0, 2)), min_size=1))
def test_numbers_of_classes_are_read_as_their_names(rows: list[tuple[str, str, int]]) -> None:
    rows = list({row[:2]: row for row in rows}.values())

    def answers(labels: list[str]) -> AnswerTable:
        columns = [[id for id, _, _ in rows], [who for _, who, _ in rows], labels]
        return AnswerTable.from_table(pa.table(columns, names=["example_id", "annotator", "label"]))

    def read(labels: list[str]) -> AnswerTable:
        return with_class_names(answers(labels), classes_of_answers(answers(labels), CLASS_NAMES))

    numbered = read([str(number) for _, _, number in rows])
    named = answers([CLASS_NAMES[number] for _, _, number in rows])
    assert shown(numbered) == shown(named)
    assert numbered.digest == named.digest
    assert shown(read([CLASS_NAMES[number] for _, _, number in rows])) == shown(named)


def answered_with(*labels: str) -> AnswerTable:
    rows = [("r1", f"who-{number}", label) for number, label in enumerate(labels)]
    return AnswerTable.from_table(
        pa.Table.from_pandas(pd.DataFrame(rows, columns=["example_id", "annotator", "label"]))
    )


def test_other_answers_next_to_names_stay_as_they_are() -> None:
    answers = answered_with("cat", "unsure", "1")
    assert shown(with_class_names(answers, classes_of_answers(answers, CLASS_NAMES))) == shown(answers)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["1", "2", "3", "3"], r"2 of 4 answers in dataset\.annotations \('3'\) are neither a class of the "),
        (
            ["0", "unsure"],
            r"1 of 2 answers .*\('unsure'\) .* \('dog', 'eel', 'cat'\) nor the number of one, 0 to 2\. Cor",
        ),
        (
            ["Cat", "Dog"],
            r"2 of 2 answers .*\('Cat', 'Dog'\) .* the class of each column of probabilities with --classes",
        ),
    ],
)
def test_answers_that_are_neither_names_nor_numbers_of_classes(labels: list[str], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        classes_of_answers(answered_with(*labels), CLASS_NAMES)
