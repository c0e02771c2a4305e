"""The table of copies by hand: order, different labels, leaks, counts and sentences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.findings import Duplicates
from labelaudit.report.duplicates import KNOWN_COLUMNS, duplicates_found, duplicates_in_words, duplicates_table
from labelaudit.schemas import DUPLICATES, EXAMPLES

_NAMES = (*KNOWN_COLUMNS.names, "p_wrong", "verdict", "right_label")


def table_of(*rows: dict[str, Any]) -> pa.Table:
    """Return DUPLICATES of rows; `cluster` is -1 and `distance` 0.1 if not given."""
    defaults = {"given_label": "cat", "status": "scored", "file": "a.parquet"}
    examples = [{**defaults, "example_id": f"r{number}", "row": number, **row} for number, row in enumerate(rows)]
    schema = pa.schema(EXAMPLES.field(name) for name in _NAMES)
    table = pa.Table.from_pylist([{name: row.get(name) for name in _NAMES} for row in examples], schema)
    cluster = np.array([row.get("cluster", -1) for row in rows], np.int64)
    distance = np.array([row.get("distance", 0.1) for row in rows], np.float32)
    return duplicates_table(table, cluster, distance)


def listed(table: pa.Table, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in table.to_pylist()]


def test_only_rows_with_copies_are_listed() -> None:
    table = table_of({}, {"cluster": 1}, {}, {"cluster": 1, "distance": 0.0})
    assert table.schema.equals(DUPLICATES, check_metadata=True)
    assert listed(table, "example_id", "cluster", "has_other_labels", "is_leak") == [
        ("r1", 1, False, False),
        ("r3", 1, False, False),
    ]
    assert table["distance"].to_pylist() == [np.float32(0.1), 0.0]
    assert len(table_of({}, {})) == 0
    assert len(table_of()) == 0


def test_groups_with_different_labels_come_first_then_those_with_the_highest_p_wrong() -> None:
    table = table_of(
        {"cluster": 0, "p_wrong": 0.9},
        {"cluster": 0, "p_wrong": 0.8},
        {"cluster": 2, "p_wrong": 0.2, "given_label": "dog"},
        {"cluster": 2, "p_wrong": 0.3},
        {"cluster": 4, "p_wrong": 0.1, "given_label": "dog"},
        {"cluster": 4, "p_wrong": 0.7},
        {"cluster": 6},
        {"cluster": 6, "p_wrong": 0.95},
    )
    assert listed(table, "cluster", "example_id") == [
        *[(1, "r5"), (1, "r4")],
        *[(2, "r3"), (2, "r2")],
        *[(3, "r7"), (3, "r6")],
        *[(4, "r0"), (4, "r1")],
    ]
    assert table["has_other_labels"].to_pylist() == [True] * 4 + [False] * 4


def test_a_row_without_a_label_has_no_other_label() -> None:
    assert not table_of({"cluster": 0}, {"cluster": 0, "given_label": None})["has_other_labels"][0].as_py()


def has_other_labels(*rows: dict[str, Any]) -> bool:
    (value,) = set(table_of(*({"cluster": 0, **row} for row in rows))["has_other_labels"].to_pylist())
    return bool(value)


def test_what_people_decided_counts() -> None:
    wrong_cat = {"verdict": "wrong", "right_label": "dog"}
    assert has_other_labels({}, {"given_label": "dog"})
    assert not has_other_labels(wrong_cat, {"given_label": "dog"}), "it is corrected to the label of the other one"
    assert has_other_labels({"verdict": "wrong", "right_label": "eel"}, {"given_label": "dog"})
    assert has_other_labels(wrong_cat, {}), "the copy of a corrected row has the old label"
    assert has_other_labels({"verdict": "fine"}, {"given_label": "dog"}), "one of the two may still be wrong"
    assert not has_other_labels({"verdict": "fine"}, {"given_label": "dog", "verdict": "ambiguous"}), "all are decided"
    assert not has_other_labels({}, {"given_label": "dog", "verdict": "remove"}), "only one of the labels stays"
    assert has_other_labels({}, {"given_label": "dog"}, {"given_label": "eel", "verdict": "remove"})


def test_leaks_are_copies_in_several_splits() -> None:
    table = table_of(
        {"cluster": 0, "split": "train"},
        {"cluster": 0, "split": "test"},
        {"cluster": 2, "split": "test"},
        {"cluster": 2, "split": "test"},
        {"cluster": 4, "split": "test"},
        {"cluster": 4, "split": None},
        {"cluster": 6, "split": "train"},
        {"cluster": 6, "split": "test", "verdict": "remove"},
    )
    is_leak = [(1, True)] * 2 + [(number, False) for number in (2, 2, 3, 3, 4, 4)]
    assert listed(table, "cluster", "is_leak") == is_leak


MIXED = (
    {"cluster": 0, "distance": 0.0, "split": "train"},
    {"cluster": 0, "distance": 0.0, "split": "test", "given_label": "dog"},
    {"cluster": 0, "split": "val"},
    {},
    {"cluster": 4, "split": "test"},
    {"cluster": 4, "split": "test"},
)


def test_rows_to_remove_do_not_count() -> None:
    table = table_of(
        {"cluster": 0, "distance": 0.0, "given_label": "cat"},
        {"cluster": 0, "distance": 0.0, "given_label": "dog"},
        {"cluster": 0, "given_label": "eel", "verdict": "remove"},
        {"cluster": 3, "distance": 0.0},
        {"cluster": 3, "distance": 0.0, "verdict": "remove"},
    )
    assert len(table) == 5
    assert duplicates_found(table) == Duplicates(
        clusters=1, rows=2, exact_rows=2, conflicts=1, conflicting_rows=2, leaks=0, leaked_rows=0
    )
    assert duplicates_in_words(table, is_published=True) == (
        "1 group of copies has different labels, 2 rows; see duplicates.parquet.",
        "2 rows are copies or near-copies of others (2 exact), in 1 group. Copies that were found before training "
        "stay in one fold.",
    )


def test_counts_and_sentences() -> None:
    table = table_of(*MIXED)
    assert duplicates_found(table) == Duplicates(
        clusters=2, rows=5, exact_rows=2, conflicts=1, conflicting_rows=3, leaks=1, leaked_rows=3
    )
    assert duplicates_in_words(table, is_published=True) == (
        "1 group of copies has different labels, 3 rows; see duplicates.parquet.",
        "1 group of copies is in several splits (test, train, val), 3 rows; see duplicates.parquet. A model that is "
        "tested on them has seen them. Remove them from all splits but one.",
        "5 rows are copies or near-copies of others (2 exact), in 2 groups. Copies that were found before training "
        "stay in one fold.",
    )
    before = duplicates_in_words(table, is_published=False)
    assert before[0] == "1 group of copies has different labels, 3 rows: r0, r1, r2."
    assert len(before) == 2
    assert duplicates_in_words(table_of({}), is_published=True) == ()
    assert duplicates_found(table_of({})) == Duplicates(0, 0, 0, 0, 0, 0, 0)


def test_many_groups_and_one_group_in_words() -> None:
    conflicts = [{"cluster": at - at % 2, "given_label": "ab"[at % 2], "split": "xy"[at % 2]} for at in range(4)]
    first, second, _ = duplicates_in_words(table_of(*conflicts), is_published=True)
    assert first.startswith("2 groups of copies have different labels, 4 rows")
    assert second.startswith("2 groups of copies are in several splits (x, y), 4 rows")
    (only,) = duplicates_in_words(table_of({"cluster": 0}, {"cluster": 0}), is_published=True)
    assert only.startswith("2 rows are copies or near-copies of others (0 exact), in 1 group. Copies that")


def test_the_same_table_results_before_detection() -> None:
    rows = [{**row, "example_id": f"r{number}", "row": number} for number, row in enumerate(MIXED)]
    known = pa.Table.from_pylist(
        [{"given_label": "cat", "status": "scored", "file": "a.parquet", "split": None, **row} for row in rows],
        KNOWN_COLUMNS,
    )
    cluster = np.array([row.get("cluster", -1) for row in MIXED])
    distance = np.array([row.get("distance", 0.1) for row in MIXED], np.float32)
    assert duplicates_table(known, cluster, distance).equals(table_of(*MIXED))


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "cluster": st.integers(-1, 4),
                "given_label": st.sampled_from(["cat", "dog", None]),
                "split": st.sampled_from(["train", "test", None]),
                "p_wrong": st.none() | st.sampled_from([0.0, 0.25, 0.5]),
                "verdict": st.sampled_from([None, "fine", "ambiguous"]),
            }
        ),
        max_size=12,
    )
)
def test_each_group_is_together_and_flags_are_those_of_the_definition(rows: list[dict[str, Any]]) -> None:
    frame = table_of(*rows).to_pandas()
    assert sorted(frame["row"]) == [number for number, row in enumerate(rows) if row["cluster"] >= 0]
    assert (frame["cluster"].diff().dropna().isin([0, 1])).all()
    assert frame["has_other_labels"].is_monotonic_decreasing
    for _, group in frame.groupby("cluster"):
        assert len({rows[row]["cluster"] for row in group["row"]}) == 1
        labels = {label for label in group["given_label"] if not pd.isna(label)}
        labeled = group[group["given_label"].notna()]
        assert set(group["has_other_labels"]) == {len(labels) > 1 and bool(labeled["verdict"].isna().any())}
        assert set(group["is_leak"]) == {len({split for split in group["split"] if not pd.isna(split)}) > 1}
        assert group["p_wrong"].fillna(-1).is_monotonic_decreasing
