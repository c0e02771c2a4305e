"""Figures as text, and Markdown tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from detection_bench.measures import CLEANLAB, CellFigures, MethodFigures

# An F1 that is lower than cleanlab's by more than this counts as a loss.
LOSS = 0.01
# A figure that does not exist.
NONE = "-"


def is_loss(cell: CellFigures, least: float = LOSS, *, against: str = CLEANLAB) -> bool:
    """Return whether another method's flags have an F1 that is better by more than `least`."""
    return (cell.difference(against) or 0) < -least


def loss_mark(cell: CellFigures) -> str:
    return " ▼" if is_loss(cell) else ""


def covered(cell: CellFigures) -> str:
    return "✓" if cell.is_covered else "✗"


def range_of(cell: CellFigures) -> str:
    """Return the range in percent, marked with * if it was narrowed."""
    return f"{100 * cell.low:.1f} to {100 * cell.high:.1f} %{'*' if cell.is_narrowed else ''}"


def mean(figures: Sequence[MethodFigures], get: Callable[[MethodFigures], float | None]) -> str:
    """Return the mean of what exists."""
    values = [value for value in map(get, figures) if value is not None]
    return share(sum(values) / len(values)) if values else NONE


def share(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}".replace("0.", ".", 1)


def best_marked(values: Sequence[str]) -> list[str]:
    """Return shares with the best one in bold."""
    best = max((value for value in values if value != NONE), default="", key=float)
    return [f"**{value}**" if value == best else value for value in values]


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def points(value: float | None) -> str:
    """Return percentage points."""
    return NONE if value is None else f"{100 * value:.1f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, and nothing without rows."""
    rows = list(rows)
    if not rows:
        return ""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
