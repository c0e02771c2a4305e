"""Charts: the right numbers, names as text, and only colours of the palette."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from labelaudit.findings import ErrorRange, RateBasis
from labelaudit.report.audit_tables import FoldRow, folds_table
from labelaudit.report.charts import (
    BINS,
    HEAT_CLASSES,
    Histogram,
    Measured,
    TrendPoint,
    fold_chart,
    heat_map,
    histogram_chart,
    p_wrong_histogram,
    spark_line,
    trend_chart,
)
from labelaudit.report.palette import PALETTE, declarations
from labelaudit.report.svg import Chart
from labelaudit.schemas import EXAMPLES
from support.contents import make_content


def elements(chart: Chart, tag: str) -> list[ET.Element]:
    return list(ET.fromstring(chart.__html__()).iter(tag))


def texts(chart: Chart, tag: str = "text") -> list[str]:
    return ["".join(node.itertext()) for node in elements(chart, tag)]


def point(version: str, rate: float, **changes: Any) -> TrendPoint:
    """Return a version whose range is from half to twice the rate."""
    values = {"error_range": ErrorRange(rate, rate / 2, 2 * rate, RateBasis.PROBABILITIES), "flagged_share": 0.1}
    return TrendPoint(**{"version": version, "rows": 1000, **values, **changes})


def every_chart() -> Iterator[Chart]:
    content = make_content()
    yield histogram_chart(content.histogram)
    yield fold_chart(content.folds)
    heat = heat_map(content.confusions, ["cat", "dog", "eel"])
    assert heat is not None
    yield heat[0]
    yield trend_chart([point("v1", 0.1), point("v2", 0.2, is_held=True, has_other_settings=True)])


def test_charts_take_colours_and_font_from_the_page() -> None:
    for chart in every_chart():
        svg = chart.__html__()
        used = set(re.findall(r"var\(--([a-z0-9-]+)\)", svg))
        assert used
        assert used <= PALETTE.keys()
        assert not re.search(r"#[0-9a-fA-F]{6}\b|font-family|http|<style| id=", svg)


def test_a_chart_of_its_own_has_colours_and_font() -> None:
    for chart in every_chart():
        document = chart.document(declarations("dark"))
        root = ET.fromstring(document)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root.get("width") == f"{chart.width:.2f}".rstrip("0").rstrip(".")
        assert "--ink:#e6eaec;" in document
        assert "font-family:" in document


@pytest.mark.parametrize("name", ["\x00\x1b[31m", "\ud800", "\ufffe", "a\x08]]>", "a\u202eb\U0001f600"])
def test_a_chart_of_its_own_is_xml_with_any_name(name: str) -> None:
    document = trend_chart([point(name, 0.1), point("v2", 0.1)]).document(declarations("light"))
    shown = ["".join(node.itertext()) for node in ET.fromstring(document.encode()).iter()]
    assert any("\ufffd" in words or "\u202e" in words for words in shown)


def test_screen_readers_find_a_name_and_a_description() -> None:
    for chart in every_chart():
        root = ET.fromstring(chart.__html__())
        assert root.get("role") == "img"
        assert (root[0].tag, root[0].text) == ("title", chart.title)
        assert (root[1].tag, root[1].text) == ("desc", chart.description)


def test_charts_are_the_same_each_time() -> None:
    assert list(every_chart()) == list(every_chart())


def test_histogram_counts_every_scored_row_once() -> None:
    table = pa.table(
        {
            "p_wrong": pa.array([1.0, 0.96, 0.5, 0.0, None], pa.float32()),
            "is_label_issue": pa.array([True, True, False, False, None]),
        }
    )
    table = pa.table(
        [table[n] if n in table.column_names else pa.nulls(5, EXAMPLES.field(n).type) for n in EXAMPLES.names],
        schema=EXAMPLES,
    )
    histogram = p_wrong_histogram(table, 0.9)
    assert histogram.flagged == (0,) * (BINS - 1) + (2,)
    assert (histogram.others[10], histogram.others[0], sum(histogram.others)) == (1, 1, 2)
    assert (histogram.measured, histogram.cut) == (Measured.P_WRONG, 0.9)


def test_histogram_chart_says_how_many_and_where_the_cut_is() -> None:
    counts: tuple[tuple[int, ...], tuple[int, ...]] = ((0,) * 20, (12_345,) + (0,) * 19)
    chart = histogram_chart(Histogram(*counts, cut=0.4))
    assert {"0 flagged", "12,345 not flagged", "probability that the label is wrong"} <= set(texts(chart))
    dashed = [line for line in elements(chart, "line") if line.get("stroke-dasharray")]
    assert [line.get("x1") for line in dashed] == [f"{67 + 0.4 * 502:.1f}"] * 2
    earlier = histogram_chart(Histogram(*counts, measured=Measured.LABEL_SCORE))
    assert "label score (0 doubtful, 1 trusted)" in texts(earlier)
    assert not [line for line in elements(earlier, "line") if line.get("stroke-dasharray")]


@pytest.mark.parametrize("agreements", [[1.0], [0.0, 0.0], [0.5, 0.75, 0.625], list(np.linspace(0.2, 0.9, 60))])
def test_fold_chart_has_a_dot_per_fold(agreements: list[float]) -> None:
    chart = fold_chart(folds_table(FoldRow(i, 0, 1, 1, a, a) for i, a in enumerate(agreements)))
    assert len(elements(chart, "circle")) == len(agreements)
    assert f"{100 * float(np.mean(agreements)):.1f}" in texts(chart)


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


def test_long_counts_fit_into_narrow_cells() -> None:
    names = [f"a class with a long name {i:02d}" for i in range(12)]
    content = make_content(class_names=names, rows=120, flag_every=1)
    counts = pa.array([1_008] * len(content.confusions), pa.int64())
    place = content.confusions.schema.get_field_index("examples")
    heat = heat_map(content.confusions.set_column(place, "examples", counts), names)
    assert heat is not None
    shown = [element for element in elements(heat[0], "text") if element.text == "1,008"]
    side = min(float(element.attrib["width"]) for element in elements(heat[0], "rect"))
    assert len(shown) == 12
    for element in shown:
        assert 0.62 * float(element.attrib["font-size"]) * len("1,008") < side


def test_no_heat_map_where_nothing_is_flagged() -> None:
    assert heat_map(make_content(flag_every=0).confusions, ["cat", "dog", "eel"]) is None


@pytest.mark.parametrize("name", ["<script>", "$\\frac{1}$", "@1@ & @0@", "汉" * 40, "\u202eback", "x" * 9_999])
def test_names_are_put_in_as_text(name: str) -> None:
    heat = heat_map(make_content(class_names=("cat", name)).confusions, ["cat", name])
    assert heat is not None
    shown = texts(heat[0])[-1 if name > "cat" else 0 :]
    assert any(text.startswith(name[:2]) for text in texts(heat[0])), shown
    assert all(len(text) <= 17 for text in texts(heat[0]))


@pytest.mark.parametrize("scores", [[0.0], [0.001], [0.33], [1.0], [0.05, 0.061, 0.057]])
def test_a_trend_has_round_ticks_from_zero(scores: list[float]) -> None:
    chart = trend_chart([point(f"v{place}", score, flagged_share=score / 2) for place, score in enumerate(scores)])
    ticks = [float(shown[:-2]) for shown in texts(chart) if shown.endswith("%")]
    assert ticks[0] == 0
    assert 4 <= len(ticks) <= 10
    # The highest end of a range is twice the rate.
    assert ticks[-1] <= 115 * max(*(2 * score for score in scores), 0.001)
    assert len({round(b - a, 6) for a, b in pairwise(ticks)}) == 1


def test_a_trend_shows_gates_and_other_settings() -> None:
    points = [
        point("v1", 0.1),
        point("v2", 0.2, is_held=True),
        point("v3", 0.2, has_other_settings=True),
    ]
    chart = trend_chart(points)
    hollow = [dot for dot in elements(chart, "circle") if dot.get("fill") == "var(--panel)"]
    assert len(hollow) == 2
    assert len([rule for rule in elements(chart, "line") if rule.get("stroke-dasharray")]) == 1
    assert "v2: 10 to 40\N{NO-BREAK SPACE}% wrong labels" in texts(chart, "title")


def test_a_trend_has_a_band_from_low_to_high() -> None:
    early = ErrorRange(0.2, 0.2, 0.2, RateBasis.EARLIER_RELEASE)
    chart = trend_chart([point("v1", 0.1), point("v2", 0.2), point("v3", 0.2, error_range=early), point("v4", 0.1)])
    first, second = (
        [tuple(map(float, corner.split(","))) for corner in str(band.get("points")).split()]
        for band in elements(chart, "polygon")
    )
    # v1 and v2 share a band: twice the rate, then half of it on the way back. v3 has a number only.
    assert len(first) == 4
    zero = 297.0
    heights = [zero - y for _, y in first]
    assert [round(height / heights[0], 3) for height in heights] == [1, 2, 0.5, 0.25]
    assert first[0][0] == first[3][0] < first[1][0] == first[2][0]
    # v4 stands alone, so its band has a width of its own.
    assert len({x for x, _ in second}) == 2
    assert "v3: 20.0\N{NO-BREAK SPACE}% wrong labels" in texts(chart, "title")


def test_a_long_trend_has_no_dots_but_those_of_the_gate() -> None:
    points = [point(f"v{number}", 0.1, is_held=number == 50) for number in range(100)]
    # Two of the legend, and one on each line.
    assert len(elements(trend_chart(points), "circle")) == 4


def test_names_of_versions_are_text() -> None:
    chart = trend_chart([point("<b>", 0.1), point("v$2$", 0.2)])
    assert {"<b>", "v$2$"} <= set(texts(chart))
    assert "<b>" not in chart.__html__()


def test_small_lines() -> None:
    assert spark_line([0.5, None, 0.25, 0.25], 0.5).count("<polyline") == 1
    assert spark_line([None, None], 0.0).count("circle") == 0
    assert 'cy="23"' in spark_line([0.0], 0.5)
