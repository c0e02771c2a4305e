from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from labelaudit.findings import Annotators
from labelaudit.report.annotators import (
    AnnotatorQuality,
    AnsweredScores,
    WrittenAnswers,
    annotators_found,
    annotators_in_words,
    annotators_table,
    answers_table,
    consensus_table,
    worse_annotators,
)
from labelaudit.schemas import ANNOTATORS, CONSENSUS, EXAMPLES
from labelaudit.shares import whole_percent

NAMES = ("cat", "dog")
# Four rows; the third has no answer. Annotators x, y and z.
ANSWERS = WrittenAnswers(
    row=np.array([0, 0, 1, 1, 3, 3, 3]),
    annotator=np.array([0, 1, 0, 1, 0, 1, 2], np.int32),
    label=np.array([0, 0, 1, 0, 1, 1, 0], np.int32),
    p_right=np.array([0.9, 0.9, 0.6, 0.4, 0.8, 0.8, 0.2]),
    annotators=("x", "y", "z"),
)
CONSENSUS_LABELS = np.array([0, 1, -1, 1], np.int32)


def consensus(verdict: str | None = None) -> pa.Table:
    rows = [
        {"example_id": name, "given_label": label, "p_wrong": 0.1, "file": "a", "row": at}
        for at, (name, label) in enumerate(zip("abcd", ("cat", "cat", "dog", "dog"), strict=True))
    ]
    rows[1]["verdict"] = verdict
    scores = AnsweredScores(
        consensus=CONSENSUS_LABELS,
        quality=np.array([0.9, 0.5, np.nan, 0.7]),
        agreement=np.array([1.0, 0.5, np.nan, 2 / 3]),
        need=np.array([0.8, 0.4, np.nan, 0.6]),
        certainty=np.array([0.95, 0.55, np.nan, 0.75]),
        number=np.array([2, 2, 0, 3]),
        predicted=np.array([1, 1, 0, 1], np.int32),
        p_wrong_of_model=np.array([0.6, 0.2, 0.1, 0.1], np.float32),
        p_consensus_wrong=np.array([0.05, 0.45, np.nan, 0.25]),
    )
    return consensus_table(pa.Table.from_pylist(rows, EXAMPLES), NAMES, scores)


def annotators() -> pa.Table:
    found = AnnotatorQuality(
        quality=np.array([0.9, 0.7, 0.4]),
        low=np.array([0.8, 0.6, 0.2]),
        high=np.array([0.95, 0.8, 0.6]),
        weight=np.array([0.5, 0.4, 0.1]),
    )
    return annotators_table(NAMES, ANSWERS, CONSENSUS_LABELS, found)


def test_only_answered_rows_have_a_consensus() -> None:
    table = consensus()
    assert table.schema.equals(CONSENSUS, check_metadata=True)
    assert table["example_id"].to_pylist() == ["a", "b", "d"]
    assert table["consensus_label"].to_pylist() == ["cat", "dog", "dog"]
    assert table["is_other_label"].to_pylist() == [False, True, False]
    # The model predicts dog for the first row, and both annotators say cat.
    assert table["is_disputed"].to_pylist() == [True, False, False]
    assert table["opinion_rank"].to_pylist() == [3, 1, 2]


def test_a_judged_row_needs_no_other_opinion() -> None:
    assert consensus("fine")["opinion_rank"].to_pylist() == [2, 3, 1]


def test_the_surely_worst_annotator_is_first() -> None:
    table = annotators()
    assert table.schema.equals(ANNOTATORS, check_metadata=True)
    rows = table.to_pylist()
    assert [row["annotator"] for row in rows] == ["z", "y", "x"]
    assert [row["answers"] for row in rows] == [1, 3, 3]
    assert [row["agreement_with_consensus"] for row in rows] == pytest.approx([0, 2 / 3, 1])
    # y agrees with the consensus dog in 1 of 2 rows, and with cat in 1 of 1.
    assert (rows[1]["worst_class"], rows[1]["worst_class_answers"], rows[1]["worst_class_agreement"]) == ("dog", 2, 0.5)


def test_answers_and_counts() -> None:
    answers = answers_table(pa.array([*"abcd"]), NAMES, ANSWERS)
    assert answers["example_id"].to_pylist() == [*"aabbddd"]
    assert answers["label"].to_pylist() == ["cat", "cat", "dog", "cat", "dog", "dog", "cat"]
    found = annotators_found(consensus(), annotators(), answers, are_labels_answers=True)
    quality = (3 * 0.9 + 3 * 0.7 + 0.4) / 7
    assert found == Annotators(3, 7, 3, 1, 1, pytest.approx(quality), 1, True)
    words = annotators_in_words(found, annotators(), has_canaries=True)
    assert words[0].startswith(
        "The consensus of 3 annotators and the model differs from the given label in 1 of 3 rows."
    )
    assert "The given labels are the majority of the answers" in words[0]
    assert words[1].startswith("In 1 row, all annotators agree but the model predicts another label.")
    assert words[2].startswith("1 annotator is below the average, with 95 % confidence each (z).")
    assert words[3].startswith("Canaries are planted in labels")


def test_annotators_who_became_worse() -> None:
    def table(**intervals: tuple[float, float, float]) -> pa.Table:
        rows = [
            {"annotator": name, "quality_low": low, "quality": quality, "quality_high": high}
            for name, (low, quality, high) in intervals.items()
        ]
        return pa.Table.from_pandas(pd.DataFrame(rows), preserve_index=False)

    before = table(x=(0.8, 0.9, 0.95), y=(0.5, 0.6, 0.7), gone=(0.8, 0.9, 0.95))
    now = table(x=(0.3, 0.5, 0.7), y=(0.4, 0.5, 0.6), new=(0.1, 0.2, 0.3))
    (sentence,) = worse_annotators(before, now, "v1")
    assert (
        sentence
        == f"1 annotator is right less often than in version v1: x {whole_percent(0.9)} → {whole_percent(0.5)}."
    )
    assert worse_annotators(before, before, "v1") == []
    assert worse_annotators(None, now, "v1") == []
