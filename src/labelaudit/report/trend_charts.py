"""Charts of the trend over all versions of a dataset, in the manner of `labelaudit.report.charts`."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labelaudit.report.charts import GIVEN, INK, MUTED, PANEL, POINTS_PER_INCH, STYLE, SUGGESTED, inline_svg, shortened
from labelaudit.report.trend import AuditEntry

WIDTH, HEIGHT = 580, 230
# More versions than this: a line without dots.
DOTS = 60
# Versions named under the picture, and characters of a name.
NAMES, NAME_COLUMNS = 7, 12
FAILED = "failed"
# A line in a table cell, in units of its own; of its dots half of one stays inside.
SPARK_WIDTH, SPARK_HEIGHT, SPARK_MARGIN = 120, 26, 3


def trend_chart(entries: Sequence[AuditEntry]) -> Markup:
    """Estimated error rate and share of flagged rows over the versions, which `entries` are in order.

    Dotted lines stand where not only the data changed; hollow dots are versions that their gate held.
    """
    places = np.arange(len(entries))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH / POINTS_PER_INCH, HEIGHT / POINTS_PER_INCH))
        axes = figure.add_axes((0.075, 0.11, 0.875, 0.74))
        scored = np.array([max(entry.scored, 1) for entry in entries])
        series = [
            ("estimated wrong", np.array([entry.error_rate for entry in entries]), GIVEN, "-"),
            # On top and with gaps: both lines are often close.
            ("flagged", np.array([entry.issues for entry in entries]) / scored, SUGGESTED, "--"),
        ]
        top = max(0.001, max(float(values.max()) for _, values, _, _ in series)) * 1.15
        held = np.array([entry.gate == FAILED for entry in entries])
        for _, values, colour, style in series:
            _draw_line(axes, places, values, held, colour, style)
        for number, entry in enumerate(entries):
            if number and entry.changed_settings:
                axes.axvline(number - 0.5, color=MUTED, linewidth=1, linestyle=(0, (1, 3)))
        axes.set_xlim(-0.5, max(len(entries) - 0.5, 0.5))
        axes.set_ylim(0, top)
        axes.grid(axis="y")
        ticks = [tick for tick in axes.get_yticks() if 0 <= tick <= top]
        axes.set_yticks(ticks, [f"{100 * tick:.3g}\N{NO-BREAK SPACE}%" for tick in ticks])
        named = np.unique(np.linspace(0, len(entries) - 1, min(NAMES, len(entries))).round().astype(int))
        axes.set_xticks(named, [f"@{number}@" for number in range(len(named))])
        _draw_legend(axes, [(name, colour) for name, _, colour, _ in series])
        return inline_svg(figure, "trend", [shortened(entries[number].version, NAME_COLUMNS) for number in named])


def spark_line(values: Sequence[float | None], top: float) -> Markup:
    """A small line of shares from 0 to `top`, the last value with a dot; gaps where there is none."""
    step = (SPARK_WIDTH - 2 * SPARK_MARGIN) / max(len(values) - 1, 1)
    runs: list[list[str]] = [[]]
    last = ""
    for number, value in enumerate(values):
        if value is None:
            runs.append([])
            continue
        height = (SPARK_HEIGHT - 2 * SPARK_MARGIN) * (1 - value / top if top else 1)
        x, y = f"{SPARK_MARGIN + number * step:.1f}", f"{SPARK_MARGIN + height:.1f}"
        runs[-1].append(f"{x},{y}")
        last = f'<circle cx="{x}" cy="{y}" r="2.5" fill="var(--given)"/>'
    lines = "".join(
        f'<polyline points="{" ".join(run)}" fill="none" stroke="var(--given)" stroke-width="1.5"/>'
        for run in runs
        if len(run) > 1
    )
    size = f'viewBox="0 0 {SPARK_WIDTH} {SPARK_HEIGHT}" width="{SPARK_WIDTH}" height="{SPARK_HEIGHT}"'
    # Numbers of ours alone: nothing of the dataset is in it.
    return Markup(f'<svg {size} aria-hidden="true" focusable="false">{lines}{last}</svg>')


def _draw_line(
    axes: Axes,
    places: npt.NDArray[np.int_],
    values: npt.NDArray[np.float64],
    held: npt.NDArray[np.bool_],
    colour: str,
    style: str,
) -> None:
    axes.plot(places, values, style, color=colour, linewidth=1.8)
    if len(places) <= DOTS:
        axes.plot(places[~held], values[~held], "o", color=colour, markersize=5, clip_on=False)
    axes.plot(places[held], values[held], "o", markerfacecolor=PANEL, markeredgecolor=colour, markersize=6,
              clip_on=False)  # fmt: skip


def _draw_legend(axes: Axes, names: Sequence[tuple[str, str]]) -> None:
    for number, (name, colour) in enumerate(names):
        left = 0.005 + 0.25 * number
        axes.plot([left], [1.09], "o", color=colour, markersize=6, transform=axes.transAxes, clip_on=False)
        axes.text(left + 0.02, 1.09, name, transform=axes.transAxes, color=INK, va="center", clip_on=False)
