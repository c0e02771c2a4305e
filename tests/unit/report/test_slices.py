"""The table of slices, its summary and words, and what changed between two tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from labelaudit.audit_changes import Changes
from labelaudit.report.slices import (
    slice_changes,
    slice_changes_in_words,
    slices_found,
    slices_in_words,
    slices_table,
)
from labelaudit.report.slices_section import slices_context
from labelaudit.schemas import SLICES
from labelaudit.slice_findings import SliceRatio

NAMES = [name for name in SLICES.names if name not in ("q_value", "is_worse")]


def row(value: str, ratio: float | None = 1.0, *, p: float | None = 0.5, column: str = "batch", **more: Any) -> Any:
    """Return a slice whose interval is from half of the ratio to twice the ratio."""
    low, high = (None, None) if ratio is None else (ratio / 2, ratio * 2)
    known = {"column": column, "value": value, "rows": 100, "scored": 90, "flagged": 9, "expected_wrong": 9.0}
    ratios = {"share": 0.1, "ratio": ratio, "low": low, "high": high, "flag_ratio": ratio, "p_value": p}
    return {**dict.fromkeys(NAMES), **known, **ratios, **more}


def table(*rows: Any, q: list[float] | None = None) -> pa.Table:
    frame = pd.DataFrame(list(rows), columns=NAMES)
    for name in NAMES[2:]:
        frame[name] = frame[name].astype(float)
    q_values = frame["p_value"].to_numpy() if q is None else np.array(q)
    return slices_table([frame], q_values)


def values(found: pa.Table) -> list[str]:
    return found["value"].to_pylist()


def test_worse_ones_are_first_and_untested_ones_last() -> None:
    found = table(
        row("few", 9.0, p=None), row("b", 1.2), row("worse", 3.0, p=0.001), row("empty", None, p=None), row("a", 1.2)
    )
    assert found.schema.equals(SLICES, check_metadata=True)
    assert values(found) == ["worse", "a", "b", "few", "empty"]
    assert found["is_worse"].to_pylist() == [True, False, False, False, False]
    assert found["p_value"].null_count == 2


@pytest.mark.parametrize(
    ("ratio", "q", "is_worse"), [(2.1, 0.05, True), (2.1, 0.051, False), (2.0, 0.01, False), (0.1, 0.001, False)]
)
def test_worse_means_beyond_chance_and_an_interval_above_one(ratio: float, q: float, is_worse: bool) -> None:
    assert table(row("a", ratio, p=0.5), q=[q])["is_worse"].to_pylist() == [is_worse]


def test_the_summary_and_its_sentences() -> None:
    found = slices_found(table(row("b07", 4.1, p=0.001), row("b08"), row("x", p=None, column="who")))
    assert found.values == {"batch": 2, "who": 1}
    assert (found.tested, found.worse) == (2, 1)
    assert found.worst == (SliceRatio("batch", "b07", 90, 0.1, 4.1, 2.05, 8.2, 4.1),)
    assert slices_in_words(found) == (
        "Slice batch b07: 4.1 times as many wrong labels as the others (95\N{NO-BREAK SPACE}% interval 2.0 to 8.2), "
        "and 4.1 times as many flags.",
    )


def test_the_sentence_if_none_is_worse() -> None:
    assert slices_in_words(slices_found(table(row("a"), row("b")))) == (
        "Slices: no value of batch has more wrong labels than the others, beyond chance.",
    )


def test_many_worse_ones_are_counted() -> None:
    found = slices_found(table(*(row(f"b{number:02d}", 3.0, p=0.001) for number in range(15))))
    assert (found.worse, len(found.worst)) == (15, 10)
    *first, rest = slices_in_words(found)
    assert len(first) == 3
    assert rest == "Slices: 12 more values have more wrong labels than the others; see slices.parquet."


def test_changes() -> None:
    before = table(
        row("same"), row("rises", 1.1), row("was worse", 4.0, p=0.001), row("more", 3.0, p=0.001), row("old"),
        row("still", 3.0, p=0.001), row("x", column="dropped"),
    )  # fmt: skip
    now = table(
        row("same"), row("rises", 4.0, p=0.001), row("was worse", 1.0), row("more", 13.0, p=0.001), row("new"),
        row("new bad", 5.0, p=0.001), row("still", 3.5, p=0.001), row("y", 9.0, p=0.001, column="added"),
    )  # fmt: skip
    found = slice_changes(before, now)
    assert found is not None
    assert found.counts == {"worse": 2, "better": 1, "new": 1, "gone": 1}
    listed = {(one.now or one.before).value: one for one in found.listed}  # type: ignore[union-attr]
    states = {name: one.change for name, one in listed.items()}
    assert states == {"more": "worse", "rises": "worse", "was worse": "better", "new bad": "new", "old": "gone"}
    assert listed["old"].now is None
    assert listed["new bad"].before is None
    assert listed["rises"].before == SliceRatio("batch", "rises", 90, 0.1, 1.1, 0.55, 2.2, 1.1)
    assert slice_changes_in_words(found, "v1") == [
        "Slices with more wrong labels than in version v1, compared with the others: "
        "batch more: 13 times (6.5 to 26), before 3.0 (1.5 to 6.0); batch rises: 4.0 times (2.0 to 8.0), before 1.1 "
        "(0.55 to 2.2).",
        "Slices with fewer wrong labels than in version v1, compared with the others: "
        "batch was worse: 1.0 times (0.50 to 2.0), before 4.0 (2.0 to 8.0).",
        "Slices that are not in version v1 and have more wrong labels than the others: "
        "batch new bad: 5.0 times (2.5 to 10).",
        "Slices of version v1 without rows now: batch old.",
    ]


def test_nothing_to_compare() -> None:
    one = table(row("a"))
    assert slice_changes(None, one) is None
    assert slice_changes(one, None) is None
    assert slice_changes(one, table(row("a", column="other"))) is None
    assert slice_changes_in_words(None, "v1") == []
    same = slice_changes(one, one)
    assert same is not None
    assert slice_changes_in_words(same, "v1") == []


def test_many_changes_are_counted() -> None:
    gone = slice_changes(table(*(row(f"{number:03d}") for number in range(500))), table(row("other")))
    assert gone is not None
    assert gone.counts["gone"] == 500
    assert len(gone.listed) == 10
    assert slice_changes_in_words(gone, "v1")[0].endswith("batch 002; and 497 more.")


def changes_with(before: pa.Table, now: pa.Table) -> Changes:
    found = object.__new__(Changes)
    object.__setattr__(found, "slices", slice_changes(before, now))
    return found


def test_the_page_lists_the_worst() -> None:
    before = table(row("b07"), *(row(f"c{number}") for number in range(50)))
    now = table(row("b07", 4.1, p=0.001), *(row(f"c{number}") for number in range(50)), row("few", 20.0, p=None))
    shown = slices_context(now, changes_with(before, now))["slices"]
    assert isinstance(shown, dict)
    assert [sentence.partition(":")[0] for sentence in shown["sentences"]] == ["batch b07"]
    assert (len(shown["rows"]), shown["total"], shown["untested"], shown["worse"]) == (10, 52, 1, 1)
    first = shown["rows"][0]
    assert (first["changed"], first["interval"]) == ("before 1.0", "2.0 to 8.2")
    # 1 is in the middle of the scale, 8 at its end.
    assert first["bar"]["start"] == pytest.approx(67.3)
    assert first["bar"]["start"] + first["bar"]["width"] == 100
    assert shown["rows"][1]["bar"]["at"] == 50
    assert slices_context(None, None) == {"slices": None}


def test_the_page_says_what_is_new_or_better() -> None:
    before = table(row("a", 4.0, p=0.001), row("b"))
    now = table(row("a", 1.0), row("b"), row("c", 3.0, p=0.001))
    shown = slices_context(now, changes_with(before, now))["slices"]
    assert isinstance(shown, dict)
    changed = {one["value"]: one["changed"] for one in shown["rows"]}
    assert changed == {"a": "better, before 4.0", "b": "", "c": "new"}


def test_a_slice_without_a_ratio_has_no_bar() -> None:
    shown = slices_context(table(row("a", None, p=None)), None)["slices"]
    assert isinstance(shown, dict)
    assert (shown["rows"][0]["bar"], shown["rows"][0]["times"], shown["rows"][0]["interval"]) == (None, "-", "")
