"""Charts as inline SVG with the page's own colours and font, so that they follow light and dark.

matplotlib draws in sentinel colours, which become CSS variables afterwards. Names from the dataset never
pass through matplotlib: numbered marks stand for them, and the escaped names are put in at the end (no
mathtext, no missing glyphs).
"""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

# Colours that occur nowhere else -> what the page defines for them.
INK, MUTED, LINE, PANEL, GIVEN, SUGGESTED, ON_HEAT = (f"#0100{n:02x}" for n in range(7))
HEAT = tuple(f"#0200{n:02x}" for n in range(1, 8))
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    LINE: "--line",
    PANEL: "--panel",
    GIVEN: "--given",
    SUGGESTED: "--suggested",
    ON_HEAT: "--on-heat",
    **{colour: f"--heat-{level}" for level, colour in enumerate(HEAT, start=1)},
}
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "labelaudit",
    "svg.fonttype": "none",
    "font.size": 9.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "text.color": INK,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
}
SCORE_BINS = 20
# Classes in the heat map: more would be too small to read on a phone.
HEAT_CLASSES = 20
# Up to this many classes the cells carry their counts.
COUNTED_CLASSES = 12
HEAT_POINTS = 420
CELL_POINTS = 60
POINTS_PER_INCH = 72
# CSS pixels per point at the most: text of 9.5 points is then as large as the page's own.
ENLARGED = 1.45


@dataclass(frozen=True)
class ScoreHistogram:
    """Scored rows in SCORE_BINS equal bins of label_score from 0 to 1."""

    flagged: tuple[int, ...]
    others: tuple[int, ...]


def score_histogram(examples: pa.Table) -> ScoreHistogram:
    """Counts over the scored rows of an EXAMPLES table."""
    scored = examples.filter(pc.is_valid(examples["label_score"]))
    scores = scored["label_score"].to_numpy()
    flagged = scored["is_label_issue"].to_numpy().astype(bool)

    def counts(values: npt.NDArray[np.float64]) -> tuple[int, ...]:
        return tuple(np.histogram(values, bins=SCORE_BINS, range=(0, 1))[0].tolist())

    return ScoreHistogram(counts(scores[flagged]), counts(scores[~flagged]))


def score_chart(histogram: ScoreHistogram) -> Markup:
    """Two histograms of the label score under each other, flagged and not, each with its own scale."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(400 / POINTS_PER_INCH, 232 / POINTS_PER_INCH))
        parts = [
            ("flagged", histogram.flagged, GIVEN, (0.115, 0.60, 0.865, 0.29)),
            ("not flagged", histogram.others, SUGGESTED, (0.115, 0.17, 0.865, 0.29)),
        ]
        for name, counts, colour, place in parts:
            axes = figure.add_axes(place)
            lefts = np.arange(SCORE_BINS) / SCORE_BINS
            axes.bar(lefts, counts, width=0.82 / SCORE_BINS, align="edge", color=colour, linewidth=0)
            axes.set_xlim(0, 1)
            top = max(*counts, 1)
            axes.set_ylim(0, top * 1.05)
            ticks = [0, top] if any(counts) else [0]
            axes.set_yticks(ticks, [_count(tick) for tick in ticks])
            axes.set_title(f"{sum(counts):,} {name}", loc="left", fontsize=9.5, color=INK, pad=4)
            axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
            if colour == GIVEN:
                axes.tick_params(labelbottom=False)
        axes.set_xlabel("label score (0 doubtful, 1 trusted)", labelpad=3)
        return inline_svg(figure, "score")


def fold_chart(folds: pa.Table) -> Markup:
    """Agreement of predicted and given label on the held-out rows, one dot per fold, with their mean."""
    agreement = folds["agreement"].to_numpy()
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(400 / POINTS_PER_INCH, 190 / POINTS_PER_INCH))
        axes = figure.add_axes((0.115, 0.2, 0.865, 0.74))
        numbers = folds["fold"].to_numpy()
        mean = float(agreement.mean())
        half = max(0.02, 1.6 * float(np.abs(agreement - mean).max()))
        low, high = max(0.0, mean - half), min(1.0, mean + half)
        axes.axhline(mean, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.vlines(numbers, mean, agreement, color=SUGGESTED, linewidth=1.2)
        axes.plot(numbers, agreement, "o", color=SUGGESTED, markersize=6, clip_on=False)
        axes.set_xlim(-0.6, len(numbers) - 0.4)
        axes.set_ylim(low - 0.02 * half, high + 0.02 * half)
        ticks = sorted({low, mean, high})
        axes.set_yticks(ticks, [f"{100 * value:.1f}" for value in ticks])
        axes.set_xticks(numbers[:: max(1, len(numbers) // 10)])
        axes.set_xlabel("fold", labelpad=3)
        return inline_svg(figure, "folds")


def heat_map(confusions: pa.Table, class_names: Sequence[str]) -> tuple[Markup, int] | None:
    """Flagged rows per given (down) and suggested label (across), and how many classes are shown.

    Shows the classes with the most flagged rows, at most HEAT_CLASSES, in the order of `class_names`.
    None where nothing is flagged.
    """
    flagged = confusions.filter(pc.greater(confusions["examples"], 0)).to_pylist()
    if not flagged:
        return None
    shown = _busiest_classes(flagged, class_names)
    place = {name: number for number, name in enumerate(shown)}
    counts = np.zeros((len(shown), len(shown)), int)
    for pair in flagged:
        if pair["given_label"] in place and pair["suggested_label"] in place:
            counts[place[pair["given_label"]], place[pair["suggested_label"]]] = pair["examples"]
    marks = [shortened(name, 16) for name in shown]
    with mpl.rc_context(STYLE):
        # In points: cells are square, margins have room for the longest name (6 points a character).
        longest = 6 * max(map(_columns, marks)) + 8
        left, top, right = longest, 0.75 * longest + 10, 0.6 * longest
        cells = min(CELL_POINTS * len(shown), HEAT_POINTS - left - right)
        width, height = left + cells + right, top + cells
        figure = Figure(figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH))
        axes = figure.add_axes((left / width, 0.0, cells / width, cells / height))
        _draw_cells(axes, counts)
        return inline_svg(figure, "heat", marks), len(shown)


def _busiest_classes(flagged: Sequence[dict[str, object]], class_names: Sequence[str]) -> list[str]:
    weight = dict.fromkeys(class_names, 0)
    for pair in flagged:
        for side in ("given_label", "suggested_label"):
            weight[str(pair[side])] += int(str(pair["examples"]))
    busiest = sorted(class_names, key=lambda name: -weight[name])[:HEAT_CLASSES]
    return [name for name in class_names if name in set(busiest)]


def _draw_cells(axes: Axes, counts: npt.NDArray[np.int_]) -> None:
    size, most = len(counts), int(counts.max()) or 1
    axes.set_xlim(0, size)
    axes.set_ylim(size, 0)
    axes.axis("off")
    axes.add_patch(Rectangle((0, 0), size, size, facecolor=PANEL, linewidth=0))
    font = _font(size)
    for number in range(size):
        centre, mark, gap = number + 0.5, f"@{number}@", size / 60
        axes.plot(centre, centre, "o", color=LINE, markersize=min(6, 60 / size), markeredgewidth=0)
        axes.text(-gap, centre, mark, ha="right", va="center", fontsize=font)
        slanted = axes.text(centre, -gap, mark, ha="left", va="bottom", fontsize=font, rotation=45)
        slanted.set_rotation_mode("anchor")
    for given, suggested in zip(*np.nonzero(counts), strict=True):
        count = int(counts[given, suggested])
        # The square root keeps rare pairs visible beside a frequent one.
        level = min(len(HEAT) - 1, int(np.sqrt(count / most) * len(HEAT)))
        axes.add_patch(Rectangle((suggested + 0.03, given + 0.03), 0.94, 0.94, facecolor=HEAT[level], linewidth=0))
        if size <= COUNTED_CLASSES:
            colour = ON_HEAT if level >= 4 else INK
            axes.text(suggested + 0.5, given + 0.5, _count(count), ha="center", va="center",
                      color=colour, fontsize=_font(size))  # fmt: skip


def _font(size: int) -> float:
    return 10.5 if size <= COUNTED_CLASSES else 9.0


def _count(value: int) -> str:
    return f"{value:,}" if value < 10_000 else f"{value / 1000:,.0f}k"


def shortened(text: str, width: int) -> str:
    """The text within `width` columns; what is too long loses its middle: names often differ at the end."""
    flat = " ".join(text[:1000].split())
    if _columns(flat) <= width:
        return flat
    half = width // 2
    while _columns(flat[:half]) + _columns(flat[-half:]) >= width:
        half -= 1
    return f"{flat[:half]}\N{HORIZONTAL ELLIPSIS}{flat[-half:]}"


def _columns(text: str) -> int:
    """Width in columns of a fixed font: East Asian characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def inline_svg(figure: Figure, name: str, marks: Sequence[str] = ()) -> Markup:
    """The figure as an SVG element for inline use, in the page's colours and with the marks put in."""
    canvas: Any = FigureCanvasSVG(figure)
    buffer = io.StringIO()
    canvas.print_svg(buffer, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # Its style sheet would reach the whole page; addresses, fonts and sizes are the page's business.
    svg = re.sub(r"<style.*?</style>|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"| (?:width|height)="[0-9.]+pt"| version="[^"]*"', "", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg).replace("xlink:href=", "href=")
    svg = re.sub(r"#0[12]00[0-9a-f]{2}", lambda match: f"var({VARIABLES[match[0]]})", svg)
    svg = re.sub(r"\s+", " ", svg).replace("> <", "><")
    svg = _renamed_ids(svg, name)
    widest = round(ENLARGED * POINTS_PER_INCH * figure.get_figwidth())
    svg = svg.replace("<svg", f'<svg aria-hidden="true" focusable="false" style="max-width:{widest}px"', 1)
    return Markup(re.sub(r"@(\d+)@", lambda match: escape(marks[int(match[1])]), svg))


def _renamed_ids(svg: str, name: str) -> str:
    """Only ids that are referred to, numbered: unique on the page, the same in every run."""
    used = dict.fromkeys(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    numbers = {old: f"{name}-{number}" for number, old in enumerate(used)}
    svg = re.sub(r' id="([^"]+)"', lambda match: f' id="{numbers[match[1]]}"' if match[1] in numbers else "", svg)
    return re.sub(r'(href="|url\()#([^")]+)', lambda match: f"{match[1]}#{numbers[match[2]]}", svg)
