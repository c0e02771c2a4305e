"""Class names that a config contains: renamed at once, counted, and refused if they do not exist."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.data.named_classes import check_class_names, rename_labels
from labelaudit.errors import DatasetError


def labels(*values: str | None) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def test_rows_are_renamed_and_counted() -> None:
    given = labels("Cat", "cat", None, "cat", "dog", "Cat", "Dgo")
    found = rename_labels(given, {"Cat": "cat", "Dgo": "eel"})
    assert found.labels.tolist() == ["cat", "cat", None, "cat", "dog", "cat", "eel"]
    assert given[0] == "Cat", "the given labels stay"
    assert found.notes == (
        "2 rows labeled 'Cat' are renamed to 'cat' and merged with 2 rows that already had this label "
        "(dataset.rename).",
        "1 row labeled 'Dgo' is renamed to 'eel' (dataset.rename).",
    )


def test_names_change_at_once() -> None:
    swapped = rename_labels(labels("a", "b", "b"), {"a": "b", "b": "a"})
    assert swapped.labels.tolist() == ["b", "a", "a"]
    assert not any("merged" in note for note in swapped.notes)
    chain = rename_labels(labels("a", "b"), {"a": "b", "b": "c"})
    assert chain.labels.tolist() == ["b", "c"]


def test_several_names_become_one() -> None:
    found = rename_labels(labels("Cat", "CAT", "CAT"), {"Cat": "cat", "CAT": "cat"})
    assert found.notes == ("1 row labeled 'Cat', 2 rows labeled 'CAT' are renamed to 'cat' (dataset.rename).",)


def test_many_new_names_are_cut() -> None:
    names = [f"c{number}" for number in range(8)]
    notes = rename_labels(labels(*names), {name: name.upper() for name in names}).notes
    assert len(notes) == 6
    assert notes[-1] == "dataset.rename has 3 more new names."


def test_nothing_to_rename() -> None:
    given = labels("a", None)
    assert rename_labels(given, {}).labels is given
    assert rename_labels(given, {"a": "a"}).notes == ()


def test_a_name_that_does_not_occur() -> None:
    message = (
        r"^No row has the label 'Cta', which dataset\.rename renames to 'cat'\. Did you mean 'Cat'\? "
        r"The labels are 'Cat', 'dog'\.$"
    )
    with pytest.raises(DatasetError, match=message):
        rename_labels(labels("Cat", "dog", None), {"Cta": "cat"})
    with pytest.raises(DatasetError, match=r"'zzzz', which the gate limits\. The labels are 'a', 'b'\.$"):
        check_class_names({"a": "the gate limits", "zzzz": "the gate limits"}, {"a": 1, "b": 2})


NAMES = st.sampled_from("abcde")


@given(st.lists(NAMES | st.none(), max_size=30), st.dictionaries(NAMES, NAMES))
def test_no_row_is_lost(given: list[str | None], rename: dict[str, str]) -> None:
    rename = {old: new for old, new in rename.items() if old in given}
    found = rename_labels(labels(*given), rename).labels.tolist()
    assert found == [None if label is None else rename.get(label, label) for label in given]
    before = Counter(label for label in given if label is not None)
    expected: Counter[str] = Counter()
    for label, rows in before.items():
        expected[rename.get(label, label)] += rows
    assert Counter(label for label in found if label is not None) == expected
