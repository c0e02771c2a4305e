"""Charts: the right numbers, nothing of the dataset in the markup, nothing of matplotlib's own style left."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import pytest

from labelaudit.report.audit_tables import FoldRow, folds_table
from labelaudit.report.charts import (
    HEAT_CLASSES,
    SCORE_BINS,
    ScoreHistogram,
    fold_chart,
    heat_map,
    score_chart,
    score_histogram,
)
from labelaudit.schemas import EXAMPLES
from support.contents import make_content


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter("text")]


def every_chart() -> Iterator[str]:
    content = make_content()
    yield score_chart(content.scores)
    yield fold_chart(content.folds)
    heat = heat_map(content.confusions, ["cat", "dog", "eel"])
    assert heat is not None
    yield heat[0]


def test_charts_take_everything_from_the_page() -> None:
    for svg in every_chart():
        ET.fromstring(svg)
        assert not re.search(r"#[0-9a-fA-F]{6}\b|font-family|http|<style|@\d+@", svg)
        assert "var(--" in svg


def test_ids_are_referred_to_and_unique_on_a_page() -> None:
    ids = [name for svg in every_chart() for name in re.findall(r' id="([^"]+)"', svg)]
    used = [name for svg in every_chart() for name in re.findall(r'(?:href="|url\()#([^")]+)', svg)]
    assert len(ids) == len(set(ids))
    assert set(ids) == set(used)


def test_charts_are_the_same_each_time_and_leave_matplotlib_as_it_was() -> None:
    before = dict(mpl.rcParams)
    assert list(every_chart()) == list(every_chart())
    assert dict(mpl.rcParams) == before


def test_score_histogram_counts_every_scored_row_once() -> None:
    table = pa.table(
        {
            "label_score": pa.array([0.0, 0.04, 0.5, 1.0, None]),
            "is_label_issue": pa.array([True, True, False, False, None]),
        }
    )
    table = pa.table(
        [table[n] if n in table.column_names else pa.nulls(5, EXAMPLES.field(n).type) for n in EXAMPLES.names],
        schema=EXAMPLES,
    )
    histogram = score_histogram(table)
    assert histogram.flagged == (2,) + (0,) * (SCORE_BINS - 1)
    assert (histogram.others[10], histogram.others[-1], sum(histogram.others)) == (1, 1, 2)


def test_score_chart_says_how_many() -> None:
    shown = texts(score_chart(ScoreHistogram((0,) * 20, (12_345,) + (0,) * 19)))
    assert "0 flagged" in shown
    assert "12,345 not flagged" in shown


@pytest.mark.parametrize("agreements", [[1.0], [0.0, 0.0], [0.5, 0.75, 0.625], list(np.linspace(0.2, 0.9, 60))])
def test_fold_chart_has_a_dot_per_fold(agreements: list[float]) -> None:
    svg = fold_chart(folds_table(FoldRow(i, 0, 1, 1, a, a) for i, a in enumerate(agreements)))
    assert svg.count("<use") >= len(agreements)
    assert f"{100 * float(np.mean(agreements)):.1f}" in texts(svg)


@pytest.mark.parametrize(("classes", "shown"), [(2, 2), (12, 12), (20, 20), (200, HEAT_CLASSES)])
def test_heat_map_of_few_and_of_many_classes(classes: int, shown: int) -> None:
    names = [f"class {i:03d}" for i in range(classes)]
    content = make_content(class_names=names, rows=4 * classes, flag_every=1)
    heat = heat_map(content.confusions, names)
    assert heat is not None
    assert heat[1] == shown
    assert len([text for text in texts(heat[0]) if text.startswith("class")]) == 2 * shown


def test_heat_map_has_the_counts() -> None:
    content = make_content(rows=120, flag_every=2)
    heat = heat_map(content.confusions, ["cat", "dog", "eel"])
    assert heat is not None
    counts = [str(n) for n in content.confusions["examples"].to_pylist()]
    assert sorted(text for text in texts(heat[0]) if text.isdigit()) == sorted(counts)


def test_no_heat_map_where_nothing_is_flagged() -> None:
    assert heat_map(make_content(flag_every=0).confusions, ["cat", "dog", "eel"]) is None


@pytest.mark.parametrize("name", ["<script>", "$\\frac{1}$", "@1@ & @0@", "汉" * 40, "\u202eback", "x" * 9_999])
def test_names_are_put_in_as_text(name: str) -> None:
    heat = heat_map(make_content(class_names=("cat", name)).confusions, ["cat", name])
    assert heat is not None
    shown = texts(heat[0])[-1 if name > "cat" else 0 :]
    assert any(text.startswith(name[:2]) for text in texts(heat[0])), shown
    assert all(len(text) <= 17 for text in texts(heat[0]))
