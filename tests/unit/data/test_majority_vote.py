from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.data.annotations import AnswerTable
from labelaudit.data.majority_vote import Majority, majority_of
from labelaudit.errors import DatasetError
from labelaudit.strings import Strings


def voted(rows: list[tuple[str, str, str]]) -> Majority:
    columns = zip(("example_id", "annotator", "label"), zip(*rows, strict=True), strict=True)
    return majority_of(AnswerTable.from_table(pa.table({name: list(values) for name, values in columns})))


def labels(majority: Majority) -> dict[str, str]:
    ids = majority.answers.ids
    return dict(zip(ids, majority.labels_of(ids), strict=True))


def test_the_most_frequent_answer_is_the_label() -> None:
    found = voted([("a", "x", "cat"), ("a", "y", "cat"), ("a", "z", "dog"), ("b", "x", "dog")])
    assert labels(found) == {"a": "cat", "b": "dog"}
    assert found.ties == 0
    assert found.notes == ("The labels are the majority of the answers in dataset.annotations.",)
    assert found.labels_of(Strings(["b", "unknown", "a"])).tolist() == ["dog", None, "cat"]


def test_a_tie_goes_to_the_annotators_who_agree_more_often() -> None:
    others = [(f"r{row}", who, "cat") for row in range(4) for who in ("x", "y")]
    others += [(f"r{row}", "z", "dog") for row in range(4)]
    found = voted([*others, ("tie", "z", "cat"), ("tie", "x", "dog")])
    assert labels(found)["tie"] == "dog"
    assert found.ties == 1
    assert found.notes[0].startswith(
        "The labels are the majority of the answers in dataset.annotations. In 1 of 5 rows"
    )


def test_other_ties_prefer_no_class() -> None:
    found = labels(
        voted([(f"r{row}", who, label) for row in range(400) for who, label in (("x", "cat"), ("y", "dog"))])
    )
    assert 150 < Counter(found.values())["cat"] < 250
    part = labels(voted([(f"r{row}", who, label) for row in range(9) for who, label in (("y", "dog"), ("x", "cat"))]))
    assert all(found[name] == label for name, label in part.items())


def test_no_common_id() -> None:
    with pytest.raises(DatasetError, match=r"None of the 1 ids in dataset.annotations \('a'\) is an id of the dataset"):
        voted([("a", "x", "cat")]).labels_of(Strings(["b", "c", "d", "e"]))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("wxyz"), st.sampled_from("12")), min_size=1))
def test_no_other_answer_is_more_frequent(rows: list[tuple[str, str, str]]) -> None:
    distinct = list({(row, who): (row, who, label) for row, who, label in rows}.values())
    for name, label in labels(voted(distinct)).items():
        votes = Counter(answer for row, _, answer in distinct if row == name)
        assert votes[label] == max(votes.values())
