"""The charts of the report and of the dashboard."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from labelaudit.findings import ErrorRange
from labelaudit.report.svg import MIDDLE, Chart, coordinate, element, line, text, variable
from labelaudit.shares import percent, range_in_words, short_range

# Bins of a histogram of probabilities.
BINS = 20
# More classes would make a heat map too small to read on a phone.
HEAT_CLASSES = 20
HEAT_LEVELS = 7
# From this level on, text on a cell is light in light mode and dark in dark mode.
STRONG_LEVEL = 5
# Up to this many classes, cells show their counts.
COUNTED_CLASSES = 12
HEAT_SIZE = 609
CELL_SIZE = 86
# Estimates for text, in pixels per character.
CHARACTER = 8.5
# A trend over more versions is a line without dots.
DOTS = 60
# Versions that are named below a trend, and characters of each name.
NAMES, NAME_COLUMNS = 7, 12
SPARK_WIDTH, SPARK_HEIGHT = 120, 26
# Keeps the dot at the end of a small line inside the picture.
SPARK_MARGIN = 3


@dataclass(frozen=True)
class Area:
    """The area of a chart in pixels, and the ranges of x and y that it shows."""

    left: float
    top: float
    width: float
    height: float
    xs: tuple[float, float]
    ys: tuple[float, float]

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height

    def x(self, value: float) -> float:
        return self.left + self.width * (value - self.xs[0]) / (self.xs[1] - self.xs[0])

    def y(self, value: float) -> float:
        return self.bottom - self.height * (value - self.ys[0]) / (self.ys[1] - self.ys[0])

    def x_axis(self, ticks: Mapping[float, str], label: str = "") -> Markup:
        """Return the line at the bottom with a mark and a text for each tick."""
        parts = [line(self.left, self.bottom, self.right, self.bottom)]
        for value, words in ticks.items():
            x = self.x(value)
            parts.append(line(x, self.bottom, x, self.bottom + 4))
            parts.append(text(x, self.bottom + 19, words, colour="muted", text_anchor="middle"))
        if label:
            middle = self.left + self.width / 2
            parts.append(text(middle, self.bottom + 38, label, colour="muted", text_anchor="middle"))
        return _joined(parts)

    def y_labels(self, ticks: Mapping[float, str], *, has_grid: bool = False) -> Markup:
        """Return a text for each tick, left of the area, and lines across it for a grid."""
        parts = []
        for value, words in ticks.items():
            y = self.y(value)
            if has_grid:
                parts.append(line(self.left, y, self.right, y, stroke_width=0.8))
            parts.append(text(self.left - 7, y, words, colour="muted", text_anchor="end", dy=MIDDLE))
        return _joined(parts)


class Measured(StrEnum):
    """A column of EXAMPLES that a histogram is made of."""

    P_WRONG = "p_wrong"
    LABEL_SCORE = "label_score"  # for audits of earlier releases, which have no p_wrong


_AXES = {
    Measured.P_WRONG: "probability that the label is wrong",
    Measured.LABEL_SCORE: "label score (0 doubtful, 1 trusted)",
}


@dataclass(frozen=True)
class Histogram:
    """Scored rows in BINS equal bins of a column from 0 to 1."""

    flagged: tuple[int, ...]
    others: tuple[int, ...]
    measured: Measured = Measured.P_WRONG
    cut: float | None = None  # the lowest value that is flagged; None if other rules chose the flags


@dataclass(frozen=True)
class TrendPoint:
    """The main figures of one version."""

    version: str
    error_range: ErrorRange  # the share of wrong labels
    rows: int  # that count
    flagged_share: float  # of these, 0..1
    is_held: bool = False  # the gate failed
    has_other_settings: bool = False  # than the previous version


def p_wrong_histogram(examples: pa.Table, cut: float | None) -> Histogram:
    """Count the scored rows of an EXAMPLES table by p_wrong. `cut` is the lowest p_wrong that is flagged."""
    scored = examples.select(["p_wrong", "is_label_issue"])
    scored = scored.filter(pc.is_valid(scored["p_wrong"]))
    p_wrong = scored["p_wrong"].to_numpy()
    flagged = scored["is_label_issue"].to_numpy().astype(bool)

    def counts(values: npt.NDArray[np.float32]) -> tuple[int, ...]:
        return tuple(np.histogram(values, bins=BINS, range=(0, 1))[0].tolist())

    return Histogram(counts(p_wrong[flagged]), counts(p_wrong[~flagged]), cut=cut)


def histogram_chart(histogram: Histogram) -> Chart:
    """Draw histograms, one above the other: flagged and other rows, each with its own scale. A line marks the cut."""
    axis = _AXES[histogram.measured]
    parts = [
        _bars("flagged", histogram.flagged, "given", 37, histogram.cut),
        _bars("not flagged", histogram.others, "suggested", 181, histogram.cut, axis),
    ]
    about = f"{sum(histogram.flagged):,} flagged rows and {sum(histogram.others):,} others."
    return Chart(f"Histograms of the {axis}", about, 580, 325, _joined(parts))


def _bars(
    name: str, counts: Sequence[int], colour: str, top: float, cut: float | None = None, axis: str = ""
) -> Markup:
    most = max(*counts, 1)
    area = Area(67, top, 502, 98, (0, 1), (0, 1.05 * most))
    ticks = {value: f"{value:g}" if axis else "" for value in (0, 0.25, 0.5, 0.75, 1)}
    parts = [
        text(area.left, area.top - 6, f"{sum(counts):,} {name}"),
        area.y_labels({value: _short_count(value) for value in ({0, most} if any(counts) else {0})}),
    ]
    for place, count in enumerate(counts):
        if count:
            low, high = place / BINS, (place + 1) / BINS
            box = _box(area.x(low), area.y(count), 0.82 * (area.x(high) - area.x(low)), area.bottom - area.y(count))
            parts.append(_rectangle(box, colour, f"{low:g} to {high:g}: {count:,} rows"))
    if cut is not None:
        x = area.x(cut)
        parts.append(line(x, area.top, x, area.bottom, colour="ink", stroke_dasharray="5 4"))
    parts.append(area.x_axis(ticks, axis))
    return _joined(parts)


def fold_chart(folds: pa.Table) -> Chart:
    """Draw the agreement of predicted and given labels on the held-out rows: a dot per fold, and their mean.

    Args:
        folds: FOLDS, at least one row.
    """
    agreement = folds["agreement"].to_numpy()
    numbers = folds["fold"].to_numpy()
    mean = float(agreement.mean())
    half = max(0.02, 1.6 * float(np.abs(agreement - mean).max()))
    low, high = max(0.0, mean - half), min(1.0, mean + half)
    area = Area(67, 17, 502, 204, (-0.6, len(numbers) - 0.4), (low - 0.02 * half, high + 0.02 * half))
    middle = area.y(mean)
    parts = [line(area.left, middle, area.right, middle, colour="muted", stroke_dasharray="5 4")]
    for fold, share in zip(numbers.tolist(), agreement.tolist(), strict=True):
        x, y = area.x(fold), area.y(share)
        parts.append(line(x, middle, x, y, colour="suggested", stroke_width=1.7))
        parts.append(_dot(x, y, "suggested", f"fold {fold}: {percent(share)}"))
    parts.append(area.y_labels({value: f"{100 * value:.1f}" for value in sorted({low, mean, high})}))
    named = numbers[:: max(1, len(numbers) // 10)].tolist()
    parts.append(area.x_axis({fold: str(fold) for fold in named}, "fold"))
    about = f"{len(numbers):,} folds, {percent(float(agreement.min()))} to {percent(float(agreement.max()))}."
    return Chart("Agreement per fold in percent", about, 580, 267, _joined(parts))


def heat_map(confusions: pa.Table, class_names: Sequence[str]) -> tuple[Chart, int] | None:
    """Draw the flagged rows by given label (down) and suggested label (across).

    Args:
        confusions: CONFUSIONS.
        class_names: the classes in the order in which they appear.

    Returns:
        The chart and how many classes it shows: those with the most flagged rows, at most HEAT_CLASSES.
        None if nothing is flagged.
    """
    flagged = confusions.filter(pc.greater(confusions["examples"], 0))
    if not len(flagged):
        return None
    given, suggested, counts = (flagged[name].to_pylist() for name in ("given_label", "suggested_label", "examples"))
    pairs = dict(zip(zip(given, suggested, strict=True), counts, strict=True))
    shown = _busiest_classes(pairs, class_names)
    place = {name: row for row, name in enumerate(shown)}
    cells = {(place[a], place[b]): count for (a, b), count in pairs.items() if a in place and b in place}
    names = [shortened(name, 16) for name in shown]
    longest = CHARACTER * max(map(_columns, names)) + 12
    left, top, right = longest, 0.75 * longest + 14, 0.6 * longest
    size = min(CELL_SIZE * len(shown), HEAT_SIZE - left - right)
    area = Area(left, top, size, size, (0, len(shown)), (len(shown), 0))
    parts = [_rectangle(_box(area.left, area.top, size, size), "panel"), *_class_names(area, names)]
    most = max(cells.values(), default=1)
    for (row, column), count in sorted(cells.items()):
        pair = f"{names[row]} \N{RIGHTWARDS ARROW} {names[column]}"
        parts.append(_cell(area, row, column, count, most, pair))
    about = f"{sum(cells.values()):,} flagged rows of {len(shown)} classes."
    chart = Chart("Flagged rows by given and suggested label", about, left + size + right, top + size, _joined(parts))
    return chart, len(shown)


def _busiest_classes(pairs: Mapping[tuple[str, str], int], class_names: Sequence[str]) -> list[str]:
    weight = dict.fromkeys(class_names, 0)
    for pair, count in pairs.items():
        for name in pair:
            weight[name] += count
    busiest = set(sorted(class_names, key=lambda name: -weight[name])[:HEAT_CLASSES])
    return [name for name in class_names if name in busiest]


def _class_names(area: Area, names: Sequence[str]) -> list[Markup]:
    """Return the names left of and above a heat map, and a dot in each cell of the diagonal."""
    cell = area.width / len(names)
    font = _heat_font(len(names))
    parts = []
    for place, name in enumerate(names):
        x, y = area.x(place + 0.5), area.y(place + 0.5)
        parts.append(_dot(x, y, "line", radius=min(4.4, cell / 8)))
        parts.append(text(area.left - 7, y, name, text_anchor="end", dy=MIDDLE, font_size=font))
        turn = f"rotate(-45 {coordinate(x)} {coordinate(area.top - 7)})"
        parts.append(text(x, area.top - 7, name, transform=turn, font_size=font))
    return parts


def _cell(area: Area, row: int, column: int, count: int, most: int, name: str) -> Markup:
    # The square root keeps rare pairs visible next to a frequent one.
    level = min(HEAT_LEVELS, 1 + int(math.sqrt(count / most) * HEAT_LEVELS))
    classes = int(area.xs[1])
    side = area.width / classes
    box = _box(area.x(column) + 0.03 * side, area.y(row) + 0.03 * side, 0.94 * side, 0.94 * side)
    cell = _rectangle(box, f"heat-{level}")
    about = element("title", f"{name}: {count:,}")
    if classes > COUNTED_CLASSES:
        return element("g", about, cell)
    shown = _short_count(count)
    words = text(
        area.x(column + 0.5),
        area.y(row + 0.5),
        shown,
        colour="on-heat" if level >= STRONG_LEVEL else "ink",
        text_anchor="middle",
        dy=MIDDLE,
        # A digit is about 0.64 times as wide as the font is high.
        font_size=min(_heat_font(classes), round(0.94 * side / (0.64 * len(shown)), 1)),
    )
    return element("g", about, cell, words)


def trend_chart(points: Sequence[TrendPoint]) -> Chart:
    """Draw the share of wrong labels with its range, and the share of flagged rows, over the versions, oldest first.

    A dotted line means that not only the data changed. A hollow dot is a version that failed its gate.
    """
    # The second line has gaps and is on top, because both lines are often close.
    series = [
        ("wrong labels", "given", "", [point.error_range.estimate for point in points]),
        ("flagged", "suggested", "7 3", [point.flagged_share for point in points]),
    ]
    highest = [point.error_range.high for point in points]
    top = 1.15 * max(0.001, *highest, *(value for *_, values in series for value in values))
    area = Area(63, 50, 736, 247, (-0.5, max(len(points) - 0.5, 0.5)), (0, top))
    ticks = {tick: f"{100 * tick:.3g}\N{NO-BREAK SPACE}%" for tick in _round_ticks(top)}
    parts = [area.y_labels(ticks, has_grid=True), _bands(area, points)]
    for place, point in enumerate(points):
        if place and point.has_other_settings:
            x = area.x(place - 0.5)
            parts.append(line(x, area.top, x, area.bottom, colour="muted", stroke_dasharray="1.4 4"))
    for position, (name, colour, dashes, values) in enumerate(series):
        left = area.left + 4 + 184 * position
        parts.append(_dot(left, 25, colour))
        parts.append(text(left + 14, 25, name, dy=MIDDLE))
        parts.append(_polyline([(area.x(place), area.y(value)) for place, value in enumerate(values)], colour, dashes))
        for place, (point, value) in enumerate(zip(points, values, strict=True)):
            if point.is_held or len(points) <= DOTS:
                share = percent(value) if position else short_range(point.error_range, point.rows)
                about = f"{shortened(point.version, 40)}: {share} {name}"
                parts.append(_dot(area.x(place), area.y(value), colour, about, is_hollow=point.is_held))
    # Names of a few versions, at equal distances.
    named = np.unique(np.linspace(0, len(points) - 1, min(NAMES, len(points))).round().astype(int)).tolist()
    parts.append(area.x_axis({place: shortened(points[place].version, NAME_COLUMNS) for place in named}))
    newest = range_in_words(points[-1].error_range, points[-1].rows, "the labels")
    about = f"{len(points):,} versions. The newest: {newest}."
    return Chart("Share of wrong labels and share of flagged rows by version", about, 841, 325, _joined(parts))


def _bands(area: Area, points: Sequence[TrendPoint]) -> Markup:
    """Return a band from the low to the high ends of the ranges. Versions with a number only interrupt it."""
    bands = []
    for is_range, run in groupby(enumerate(points), key=lambda item: not item[1].error_range.is_single):
        places = list(run) if is_range else []
        # A version between two without a range has a bar of its own.
        ends = [(area.x(place + shift), point) for place, point in places for shift in _shifts(len(places))]
        upper = [(x, area.y(point.error_range.high)) for x, point in ends]
        lower = [(x, area.y(point.error_range.low)) for x, point in reversed(ends)]
        if places:
            corners = " ".join(f"{coordinate(x)},{coordinate(y)}" for x, y in [*upper, *lower])
            bands.append(element("polygon", points=corners, fill=variable("given"), fill_opacity=0.16))
    return _joined(bands)


def _shifts(versions: int) -> tuple[float, ...]:
    return (0.0,) if versions > 1 else (-0.08, 0.08)


def spark_line(values: Sequence[float | None], top: float) -> Markup:
    """Draw a small line of shares from 0 to `top`, with gaps for None and a dot at the last value."""
    span = (0, max(len(values) - 1, 1))
    width, height = SPARK_WIDTH - 2 * SPARK_MARGIN, SPARK_HEIGHT - 2 * SPARK_MARGIN
    area = Area(SPARK_MARGIN, SPARK_MARGIN, width, height, span, (0, top or 1))
    runs: list[list[tuple[float, float]]] = [[]]
    last: tuple[float, float] | None = None
    for place, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            last = area.x(place), area.y(value)
            runs[-1].append(last)
    parts = [_polyline(run, "given", width=1.5) for run in runs if len(run) > 1]
    if last:
        parts.append(element("circle", cx=last[0], cy=last[1], r=2.5, fill=variable("given")))
    # The numbers are in the table next to it, so screen readers skip the line.
    box = f"0 0 {SPARK_WIDTH} {SPARK_HEIGHT}"
    return element("svg", *parts, viewBox=box, width=SPARK_WIDTH, height=SPARK_HEIGHT, aria_hidden="true")


def shortened(name: str, width: int) -> str:
    """Return a name within `width` columns. A longer one loses its middle, because names often differ at the end."""
    flat = " ".join(name[:1000].split())
    if _columns(flat) <= width:
        return flat
    half = width // 2
    while _columns(flat[:half]) + _columns(flat[-half:]) >= width:
        half -= 1
    return f"{flat[:half]}\N{HORIZONTAL ELLIPSIS}{flat[-half:]}"


def _columns(name: str) -> int:
    """Return the width in columns of a fixed font. East Asian characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in name)


def _round_ticks(top: float) -> list[float]:
    """Return four to eight round numbers from 0 to `top`, at equal distances."""
    power = 10.0 ** math.floor(math.log10(top / 4))
    step = next(factor * power for factor in (5, 2.5, 2, 1) if 4 * factor * power <= top)
    return [step * place for place in range(int(top / step) + 1)]


def _short_count(value: int) -> str:
    return f"{value:,}" if value < 10_000 else f"{value / 1000:,.0f}k"


def _heat_font(classes: int) -> float:
    return 15 if classes <= COUNTED_CLASSES else 13


def _joined(parts: Iterable[Markup]) -> Markup:
    return Markup("").join(parts)


def _box(x: float, y: float, width: float, height: float) -> dict[str, float]:
    return {"x": x, "y": y, "width": width, "height": height}


def _rectangle(box: Mapping[str, float], colour: str, tooltip: str = "") -> Markup:
    return element("rect", *_tooltip(tooltip), fill=variable(colour), **box)


def _dot(x: float, y: float, colour: str, tooltip: str = "", *, radius: float = 4.4, is_hollow: bool = False) -> Markup:
    style: dict[str, str | float] = {"fill": variable(colour)}
    if is_hollow:
        style = {"fill": variable("panel"), "stroke": variable(colour), "stroke_width": 1.5}
    return element("circle", *_tooltip(tooltip), cx=x, cy=y, r=radius, **style)


def _polyline(points: Sequence[tuple[float, float]], colour: str, dashes: str = "", *, width: float = 2.4) -> Markup:
    places = " ".join(f"{coordinate(x)},{coordinate(y)}" for x, y in points)
    style = {"stroke_dasharray": dashes} if dashes else {}
    return element("polyline", points=places, fill="none", stroke=variable(colour), stroke_width=width, **style)


def _tooltip(words: str) -> list[Markup]:
    return [element("title", words)] if words else []
