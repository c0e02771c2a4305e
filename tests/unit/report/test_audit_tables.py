"""The tables of an audit from four rows that can be checked by eye, and by properties."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelaudit.errors import LabelauditError
from labelaudit.report.audit_tables import (
    FoldRow,
    classes_table,
    confusions_table,
    folds_table,
    issues_table,
)
from labelaudit.schemas import CLASSES, CONFUSIONS, EXAMPLES, FOLDS, ISSUES
from support.examples import make_examples

# Four rows: b is unlabeled; a and d are flagged, d is the more doubtful.
ROWS: dict[str, Any] = {
    "example_ids": ["a", "b", "c", "d"],
    "given_labels": ["cat", None, "dog", "dog"],
    "status": ["scored", "unlabeled", "scored", "scored"],
    "fold": np.array([0, -1, 1, 0]),
    "files": ["x.csv"] * 4,
    "rows": np.array([7, 8, 9, 10]),
    "digests": ["00", "11", "22", "33"],
    "row": np.array([0, 2, 3]),
    "label": np.array([0, 1, 1]),
    "pred_probs": np.array([[0.25, 0.75, 0], [0.125, 0.75, 0.125], [0.5, 0.125, 0.375]], np.float32),
    "class_names": ["cat", "dog", "eel"],
    "predicted": np.array([1, 1, 0]),
    "label_score": np.array([0.25, 0.75, 0.125]),
    "is_label_issue": np.array([True, False, True]),
    "p_wrong": np.array([0.5, 0.0625, 0.5]),
}


def test_examples_of_four_rows() -> None:
    table = make_examples(**ROWS)
    assert table.schema.equals(EXAMPLES, check_metadata=True)
    assert table["predicted_label"].to_pylist() == ["dog", None, "dog", "cat"]
    assert table["fold"].to_pylist() == [0, None, 1, 0]
    assert table["p_given"].to_pylist() == [0.25, None, 0.75, 0.125]
    assert table["p_predicted"].to_pylist() == [0.75, None, 0.75, 0.5]
    assert table["margin"].to_pylist() == [-0.5, None, 0.625, -0.375]
    assert table["is_label_issue"].to_pylist() == [True, None, False, True]
    assert table["row"].to_pylist() == [7, 8, 9, 10]
    assert table["p_wrong"].to_pylist() == [0.5, None, 0.0625, 0.5]


def test_examples_are_in_the_order_of_their_ids() -> None:
    swapped = {**ROWS, "example_ids": ["d", "c", "b", "a"]}
    table = make_examples(**swapped)
    assert table["example_id"].to_pylist() == ["a", "b", "c", "d"]
    assert table["row"].to_pylist() == [10, 9, 8, 7]
    assert table["label_score"].to_pylist() == [0.125, 0.75, None, 0.25]


@settings(max_examples=30)
@given(rows=st.integers(1, 40), count=st.integers(2, 6), seed=st.integers(0, 999))
def test_margin_is_what_its_definition_says(rows: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pred_probs = rng.dirichlet(np.ones(count), rows).astype(np.float32)
    labels = rng.integers(0, count, rows)
    table = make_examples(
        example_ids=[f"{i:03d}" for i in range(rows)],
        given_labels=[str(k) for k in labels],
        status=["scored"] * rows,
        fold=np.zeros(rows, int),
        files=["f"] * rows,
        rows=np.arange(rows),
        digests=["d"] * rows,
        row=np.arange(rows),
        label=labels,
        pred_probs=pred_probs,
        class_names=[str(k) for k in range(count)],
        predicted=pred_probs.argmax(axis=1),
        label_score=pred_probs[np.arange(rows), labels],
        is_label_issue=pred_probs.argmax(axis=1) != labels,
    )
    for i, margin in enumerate(table["margin"].to_pylist()):
        others = np.delete(pred_probs[i], labels[i])
        assert margin == pytest.approx(float(pred_probs[i, labels[i]]) - float(others.max()), abs=1e-6)
    issues = issues_table(table)
    assert issues["rank"].to_pylist() == list(range(1, len(issues) + 1))
    assert issues["label_score"].to_pylist() == sorted(issues["label_score"].to_pylist())
    assert len(issues) == sum(table["is_label_issue"].to_pylist())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fold": np.zeros(3, int)}, "expected 4 rows, but fold has 3"),
        ({"label_score": np.zeros(4)}, "expected 3 rows, but label_score has 4"),
        ({"p_other": np.zeros(4)}, "expected 3 rows, but p_other has 4"),
        ({"row": np.array([0, 2, 2])}, "3 scores name 2 rows, but 3 rows have the status 'scored'"),
        ({"row": np.array([0, 1, 2])}, "pass each of these exactly once"),
    ],
)
def test_examples_that_do_not_fit_together(change: dict[str, Any], message: str) -> None:
    with pytest.raises(LabelauditError, match=message):
        make_examples(**{**ROWS, **change})


def test_issues_of_four_rows() -> None:
    table = issues_table(make_examples(**ROWS))
    assert table.schema.equals(ISSUES, check_metadata=True)
    assert table.to_pylist()[0] == {
        "rank": 1,
        "example_id": "d",
        "given_label": "dog",
        "suggested_label": "cat",
        "label_score": 0.125,
        "p_given": 0.125,
        "p_suggested": 0.5,
        "margin": -0.375,
        "fold": 0,
        "file": "x.csv",
        "row": 10,
        "verdict": None,
        "right_label": None,
        "p_wrong": 0.5,
        "views_agree": None,
        "input_issues": None,
    }
    assert table["example_id"].to_pylist() == ["d", "a"]


@pytest.mark.parametrize(
    ("p_wrong", "scores", "ids"),
    [
        ([0.9, 0, 0.5], [0.5, 0.75, 0.1], ["a", "d"]),  # by p_wrong, whatever the score
        ([0.5, 0, 0.5], [0.5, 0.75, 0.1], ["d", "a"]),  # ties by score
        ([0.5, 0, 0.5], [0.1, 0.75, 0.1], ["a", "d"]),  # and then by id
    ],
)
def test_issues_are_ranked_by_p_wrong(p_wrong: list[float], scores: list[float], ids: list[str]) -> None:
    changed = {**ROWS, "p_wrong": np.array(p_wrong), "label_score": np.array(scores)}
    assert issues_table(make_examples(**changed))["example_id"].to_pylist() == ids


def test_no_issues() -> None:
    table = issues_table(make_examples(**{**ROWS, "is_label_issue": np.zeros(3, bool)}))
    assert len(table) == 0
    assert table.schema.equals(ISSUES)


def test_flagged_row_whose_prediction_is_its_label_gets_the_next_one() -> None:
    # Some filters flag row c (given and predicted dog); its most probable other label ties: cat.
    examples = make_examples(**{**ROWS, "is_label_issue": np.array([False, True, False])})
    with pytest.raises(LabelauditError, match=r"not the most probable other label \(first: c\)"):
        issues_table(examples)
    table = issues_table(examples, ["cat"])
    assert table["suggested_label"].to_pylist() == ["cat"]
    assert table["p_suggested"].to_pylist() == [0.125]


def test_suggestions_out_of_order_are_noticed() -> None:
    examples = make_examples(**ROWS)
    assert issues_table(examples, ["dog", "cat"]).equals(issues_table(examples))
    with pytest.raises(LabelauditError, match="2 suggested labels are not the most probable"):
        issues_table(examples, ["cat", "dog"])
    with pytest.raises(LabelauditError, match="expected 2 rows, but suggested_labels has 1"):
        issues_table(examples, ["cat"])


def class_frame(**changes: Any) -> pd.DataFrame:
    columns: dict[str, Any] = {
        "class_name": ["dog", "cat"],
        "status": "scored",
        "examples": [3, 5],
        "label_issues": [2, 1],
        "inverse_label_issues": [1, 2],
        "label_noise": [0.5, 0.2],
        "inverse_label_noise": [np.nan, 0.25],
        "label_quality_score": [0.5, 0.8],
        "mean_label_score": [0.4, 0.7],
    }
    return pd.DataFrame({**columns, **changes})


def test_classes_keep_their_order_and_rare_ones_come_last() -> None:
    table = classes_table(class_frame(), rare_classes={"yak": 2, "eel": 1})
    assert table.schema.equals(CLASSES, check_metadata=True)
    assert table["class_name"].to_pylist() == ["dog", "cat", "eel", "yak"]
    assert table["status"].to_pylist() == ["scored", "scored", "rare_class", "rare_class"]
    assert table["examples"].to_pylist() == [3, 5, 1, 2]
    assert table["label_noise"].to_pylist() == [0.5, 0.2, None, None]
    assert table["inverse_label_noise"].to_pylist() == [None, 0.25, None, None]


def test_classes_that_cannot_be_a_table() -> None:
    with pytest.raises(LabelauditError, match="columns label_noise are missing"):
        classes_table(class_frame().drop(columns="label_noise"), rare_classes={})
    with pytest.raises(LabelauditError, match="'cat' comes more than once"):
        classes_table(class_frame(), rare_classes={"cat": 1})


def pair_frame(**changes: Any) -> pd.DataFrame:
    columns: dict[str, Any] = {
        "given_label": ["cat", "dog"],
        "suggested_label": ["dog", "cat"],
        "examples": [2, 1],
        "estimated_examples": [2.5, 0.5],
        "share_of_given": [0.5, 0.1],
    }
    return pd.DataFrame({**columns, **changes})


def test_confusions_keep_their_order() -> None:
    table = confusions_table(pair_frame())
    assert table.schema.equals(CONFUSIONS, check_metadata=True)
    assert table.to_pylist() == pair_frame().to_dict("records")


def test_confusions_that_cannot_be_a_table() -> None:
    with pytest.raises(LabelauditError, match="class 'dog' is paired with itself"):
        confusions_table(pair_frame(suggested_label=["dog", "dog"]))
    with pytest.raises(LabelauditError, match="'cat' -> 'dog' comes more than once"):
        confusions_table(pair_frame(given_label="cat", suggested_label="dog"))


def test_folds_in_their_order_with_nulls_where_nothing_was_trained() -> None:
    table = folds_table([FoldRow(1, 0, None, 2, 0.5, 0.4), FoldRow(0, 0, 6, 2, 0.75, 0.6, 0.1, seed=3)])
    assert table.schema.equals(FOLDS, check_metadata=True)
    assert table["fold"].to_pylist() == [0, 1]
    assert table["agreement"].to_pylist() == [0.75, 0.5]
    assert table["training_examples"].to_pylist() == [6, None]
    assert table["seed"].to_pylist() == [3, None]
    assert folds_table([]).equals(FOLDS.empty_table())


@pytest.mark.parametrize("numbers", [[0, 0], [0, 2], [1]])
def test_a_fold_that_is_lost_or_doubled(numbers: list[int]) -> None:
    with pytest.raises(LabelauditError, match="pass each fold from 0 on exactly once"):
        folds_table(FoldRow(number, 0, 1, 1, 0.5, 0.5) for number in numbers)


def test_tables_are_written_and_read_with_their_version(tmp_path: Any) -> None:
    pq.write_table(make_examples(**ROWS), tmp_path / "examples.parquet")
    assert pq.read_schema(tmp_path / "examples.parquet").metadata[b"schema_version"] == b"2"
